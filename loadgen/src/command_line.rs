//! What can be asked for on the command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use thrum::mqtt::{QoS, Version};

use crate::plan::Plan;
use crate::swarm::Access;
use crate::traffic::Load;

/// Measures MQTT brokers: throughput, latency, and what was lost, duplicated or came in the wrong order.
#[derive(Debug, Parser)]
#[command(name = "thrum-loadgen", version)]
pub struct CommandLine {
    #[command(subcommand)]
    pub scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Pairs of one publisher and one subscriber
    P2p {
        #[arg(long, default_value_t = 50)]
        pairs: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Many publishers to few subscribers
    Fanin {
        #[arg(long, default_value_t = 100)]
        publishers: usize,
        #[arg(long, default_value_t = 1)]
        subscribers: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Few publishers to many subscribers
    Fanout {
        #[arg(long, default_value_t = 1)]
        publishers: usize,
        #[arg(long, default_value_t = 1_000)]
        subscribers: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Pairs of every QoS to publish with and to subscribe with
    Mixed {
        #[arg(long, default_value_t = 90)]
        pairs: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Shared subscriptions: each group's members share the messages
    Shared {
        #[arg(long, default_value_t = 100)]
        publishers: usize,
        #[arg(long, default_value_t = 1)]
        groups: usize,
        #[arg(long, default_value_t = 5)]
        members: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Many filters with wildcards
    Wild {
        #[arg(long, default_value_t = 10)]
        publishers: usize,
        #[arg(long, default_value_t = 100)]
        subscribers: usize,
        #[arg(long, default_value_t = 100_000)]
        filters: usize,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Protocol {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Address of the broker
    #[arg(long, short = 'b', default_value = "127.0.0.1:1883")]
    pub broker: SocketAddr,
    /// Protocol version
    #[arg(long, short = 'V', value_enum, default_value = "3.1.1")]
    pub protocol: Protocol,
    /// QoS of publishes and subscriptions
    #[arg(long, short = 'q', default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Bytes of payload, at least 16
    #[arg(long, default_value_t = 16)]
    pub size: usize,
    /// Messages a second, of all publishers together; 0: as many as the windows let through
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Messages that a publisher has under way, end to end, where there is no rate
    #[arg(long, default_value_t = 64)]
    pub window: u32,
    /// Messages that are sent together
    #[arg(long, default_value_t = 16)]
    pub batch: u32,
    /// Seconds of the measurement
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds before it that do not count
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Connections opened a second; 0: as fast as they can be
    #[arg(long, default_value_t = 0.0)]
    pub ramp: f64,
    /// Never sleep: the generator is not late to wake, which a low latency needs, and keeps its core busy
    #[arg(long)]
    pub spin: bool,
    /// What payloads and choices are made from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep alive of the clients in seconds
    #[arg(long, default_value_t = 300)]
    pub keep_alive: u16,
    /// Process of the broker, whose CPU and memory are then told
    #[arg(long)]
    pub pid: Option<u32>,
    /// Core to run on
    #[arg(long)]
    pub core: Option<usize>,
}

impl Options {
    pub fn load(&self) -> Load {
        Load {
            access: Access {
                brokers: vec![self.broker],
                sources: Vec::new(),
                version: match self.protocol {
                    Protocol::V311 => Version::V3_1_1,
                    Protocol::V5 => Version::V5,
                },
                keep_alive_secs: self.keep_alive,
                user_name: None,
                password: None,
                ramp: self.ramp,
            },
            qos: QoS::from_u8(self.qos).expect("clap lets no other in"),
            payload_bytes: self.size,
            window: self.window.max(self.batch),
            batch: self.batch.max(1),
            rate: self.rate,
            warm_up: Duration::from_secs_f64(self.warm_up),
            duration: Duration::from_secs_f64(self.duration),
            spins: self.spin,
            seed: self.seed,
            pid: self.pid,
        }
    }
}

impl Scenario {
    pub fn plan(&self) -> Plan {
        match *self {
            Self::P2p { pairs, .. } => Plan::pairs(pairs),
            Self::Mixed { pairs, .. } => Plan::mixed(pairs),
            Self::Fanin { publishers, subscribers, .. } => Plan::fan_in(publishers, subscribers),
            Self::Fanout { publishers, subscribers, .. } => Plan::fan_out(publishers, subscribers),
            Self::Shared { publishers, groups, members, .. } => Plan::shared(publishers, groups, members),
            Self::Wild { publishers, subscribers, filters, .. } => Plan::wild(publishers, subscribers, filters),
        }
    }

    pub fn options(&self) -> &Options {
        match self {
            Self::P2p { options, .. }
            | Self::Mixed { options, .. }
            | Self::Fanin { options, .. }
            | Self::Fanout { options, .. }
            | Self::Shared { options, .. }
            | Self::Wild { options, .. } => options,
        }
    }
}
