//! L5: the process: configuration, boot, one pinned executor per shard, its loop, logs, reload, drain.

mod access_config;
mod access_files;
mod bans_answer;
mod bans_command;
mod bans_config;
mod boot;
mod checks;
mod clock;
mod command;
mod command_line;
mod config;
pub mod config_file;
mod connections;
mod control;
mod doors;
mod drain;
mod gather;
mod hook;
mod hook_cache;
mod host;
mod limit_rules;
mod listener_config;
mod listeners;
mod listening;
mod log;
mod log_writer;
mod memory;
mod named_file;
mod open_store;
mod overload;
mod parcel;
mod prepared;
mod report;
mod restore;
mod rounds;
mod run;
mod shard;
mod shard_input;
mod shard_journal;
mod shard_output;
mod shard_reload;
mod shard_sleep;
mod shard_stats;
mod shard_store;
#[cfg(test)]
mod shard_tests;
mod stage;
mod steps;
mod store_command;
mod store_config;
mod sys;
mod tls_files;
mod watch;

pub use access_config::{AccessConfig, HookConfig, IdentitySource, JwtAlgorithm, JwtConfig, RefusedPublish, Subscribe};
pub use boot::{Broker, StartError};
pub use command_line::CommandLine;
pub use config::{Config, ConfigError, Limits, LogConfig, LogFormat, LogLevel};
pub use hook::{Hook, HookError, HookSettings};
pub use host::{HostError, HostLimits, raise_descriptor_limit};
pub use listener_config::{
    Address, Anonymous, CertificateFiles, ClientCertificates, FileMode, ListenerConfig, TlsVersion, UserNameFrom,
};
pub use log::{Log, log_event};
pub use memory::{HeapBytes, set_give_back};
pub use run::run;
pub use store_config::{Durability, StoreConfig};
