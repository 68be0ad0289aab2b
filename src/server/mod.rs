//! L5: the process: configuration, boot, one pinned executor per shard, its loop, logs, reload, drain.

mod config;
pub mod config_file;

pub use config::{Config, ConfigError, Limits, ListenerConfig, LogConfig, LogFormat, LogLevel};
