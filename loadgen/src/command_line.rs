//! What can be asked for on the command line.

use std::io;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use thrum::mqtt::QoS;

use crate::access::{AccessOptions, amount};
use crate::plan::Plan;
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

#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub access: AccessOptions,
    #[command(flatten)]
    pub load: LoadOptions,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// QoS of publishes and subscriptions
    #[arg(long, short = 'q', default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Bytes of payload, at least 16
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub size: usize,
    /// Messages a second, of all publishers together; 0: as many as the windows let through
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, value_parser = amount)]
    pub rate: f64,
    /// Messages that a publisher has under way, end to end, where there is no rate
    #[arg(long, value_name = "MESSAGES", default_value_t = 64)]
    pub window: u32,
    /// Messages that go into one write, where there is no rate
    #[arg(long, value_name = "MESSAGES", default_value_t = 16)]
    pub batch: u32,
    /// What payloads and choices are made from: the same again for the same number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Of the measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = amount, help_heading = "Measurement")]
    pub duration: f64,
    /// Before the measurement; what comes meanwhile is checked, and left out of the figures
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = amount, help_heading = "Measurement")]
    pub warm_up: f64,
    /// Never sleep: the generator is not late to wake, which short latencies need, and keeps its core busy
    #[arg(long, help_heading = "Measurement")]
    pub spin: bool,
    /// Process of the broker, whose CPU and memory are then told
    #[arg(long, help_heading = "Measurement")]
    pub pid: Option<u32>,
    /// Core to run on
    #[arg(long, help_heading = "Measurement")]
    pub core: Option<usize>,
}

impl Options {
    /// What is asked for, with names resolved and files read.
    pub fn load(&self) -> io::Result<Load> {
        let LoadOptions { qos, size, rate, window, batch, seed, duration, warm_up, spin, pid, .. } = self.load;
        Ok(Load {
            access: self.access.access().map_err(io::Error::other)?,
            qos: QoS::from_u8(qos).expect("clap lets no other in"),
            payload_bytes: size,
            window: window.max(batch).max(1),
            batch: batch.max(1),
            rate,
            warm_up: Duration::from_secs_f64(warm_up),
            duration: Duration::from_secs_f64(duration),
            spins: spin,
            seed,
            pid,
        })
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
