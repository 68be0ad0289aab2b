//! L5: the process: configuration, boot, one pinned executor per shard, its loop, logs, reload, drain.

mod config;

pub use config::{Config, Limits, ListenerConfig, LogConfig, LogFormat, LogLevel};
