//! L5: the process: configuration, boot, one pinned executor per shard, its loop, logs, reload, drain.

mod config;
mod memory;
mod sys;

pub use config::{Config, Limits, ListenerConfig, LogConfig, LogFormat, LogLevel};
pub use memory::HeapBytes;
pub use sys::SysTopics;
