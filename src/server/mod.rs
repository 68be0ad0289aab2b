//! L5: the process: configuration, boot, one pinned executor per shard, its loop, logs, reload, drain.

mod boot;
mod clock;
mod config;
mod doors;
mod drain;
mod parcel;
mod shard;
mod shard_input;
mod shard_output;
mod stage;

pub use boot::{Broker, StartError};
pub use config::{Config, Limits, ListenerConfig, LogConfig, LogFormat, LogLevel};
