//! What an operator can choose, with its defaults; thrum.toml at the top of the repository explains each.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::base::Millis;
use crate::broker::Options;
use crate::session::{FullPolicy, QueueBounds};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Zero: one for each core that the process may use.
    pub shards: usize,
    /// How long an idle shard asks for work again and again before it sleeps.
    pub spin_us: u32,
    pub connections_max: usize,
    /// Zero: no $SYS topics.
    pub sys_interval_secs: u32,
    /// The longest that a shutdown takes.
    pub drain_secs: u32,
    pub listeners: Vec<ListenerConfig>,
    pub log: LogConfig,
    pub limits: Limits,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    pub address: SocketAddr,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// What a client may make the broker hold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub packet_bytes_max: u32,
    pub connect_timeout_secs: u32,
    pub output_bytes_max: u32,
    pub queue_messages_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 0,
            spin_us: 0,
            connections_max: 1_000_000,
            sys_interval_secs: 10,
            drain_secs: 5,
            listeners: vec![ListenerConfig { address: (Ipv4Addr::LOCALHOST, 1883).into() }],
            log: LogConfig::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let options = Options::default();
        Self {
            packet_bytes_max: options.packet_bytes_max,
            connect_timeout_secs: 10,
            output_bytes_max: options.output_bytes_max,
            queue_messages_max: options.queue.messages_max,
        }
    }
}

impl Config {
    /// What the shards are told, but for what the server finds out itself: `shards`, `seed`, `secret`.
    pub fn options(&self) -> Options {
        let defaults = Options::default();
        Options {
            packet_bytes_max: self.limits.packet_bytes_max,
            connect_timeout: Millis::from_secs(self.limits.connect_timeout_secs),
            output_bytes_max: self.limits.output_bytes_max,
            queue: QueueBounds {
                messages_max: self.limits.queue_messages_max,
                policy: FullPolicy::DropNewest,
                ..defaults.queue
            },
            connections_max: self.connections_max,
            ..defaults
        }
    }
}
