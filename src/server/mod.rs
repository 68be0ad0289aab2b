//! L5: the process: configuration, boot, one pinned executor per shard, its loop, logs, reload, drain.

mod command_line;
mod config;
pub mod config_file;
mod host;
mod log;
mod run;

pub use command_line::CommandLine;
pub use config::{Config, ConfigError, Limits, ListenerConfig, LogConfig, LogFormat, LogLevel};
pub use host::{HostError, HostLimits, raise_descriptor_limit};
pub use log::{Log, log_event};
pub use run::run;
