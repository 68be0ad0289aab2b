//! L5: the process: configuration, boot, one pinned executor per shard, its loop, logs, reload, drain.

mod config;
pub mod config_file;
mod log;

pub use config::{Config, ConfigError, Limits, ListenerConfig, LogConfig, LogFormat, LogLevel};
pub use log::{Log, log_event};
