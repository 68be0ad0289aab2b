//! What can be asked for on the command line.

use std::io;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use thrum::mqtt::QoS;

use crate::access::{AccessOptions, amount};
use crate::connecting::{self, Crowd};
use crate::outcome::Outcome;
use crate::output::Destinations;
use crate::plan::Plan;
use crate::retained::{self, Library};
use crate::suite::{Case, Work};
use crate::traffic::{self, Load, Stage};
use crate::{compare, relay};

const EXIT_STATUS: &str = "Exit status: 0 when the broker kept what the QoS promises, 1 when it did not or the run was cut \
short, 2 for a wrong command line, 3 when the run could not be made.";

/// Measures MQTT brokers: throughput, latency, and what was lost, duplicated or came in the wrong order.
#[derive(Debug, Parser)]
#[command(name = "thrum-loadgen", version, after_help = EXIT_STATUS)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub to: Destinations,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Measure(Scenario),
    /// Brokers side by side, in the same scenarios
    Compare(compare::Options),
    /// A relay that does nothing, to measure in a broker's place: the ceiling of the machine
    Relay(relay::Options),
}

#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Connections that are opened and held for the duration
    Conn {
        #[arg(long, default_value_t = 1_000)]
        clients: usize,
        /// Subscriptions of each client, to topics of its own
        #[arg(long, default_value_t = 0)]
        filters: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Connections that are opened and closed over and over
    Churn {
        /// Connections that there are at most at a time
        #[arg(long, default_value_t = 100)]
        clients: usize,
        /// Subscriptions of each connection, to topics of its own
        #[arg(long, default_value_t = 0)]
        filters: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Retained messages, which subscribers fetch over and over
    Retained {
        #[arg(long, default_value_t = 20_000)]
        messages: usize,
        #[arg(long, default_value_t = 1)]
        subscribers: usize,
        #[command(flatten)]
        options: Options,
    },
    /// A case of the Open MQTT Benchmark Suite, which sets QoS 1, 16 bytes, keep alive 300 and its own rate
    Suite {
        #[arg(value_enum)]
        case: Case,
        #[command(flatten)]
        options: Options,
    },
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
    /// Never sleep, also where all windows are full or nothing is due for milliseconds: shorter latencies, and a core that
    /// is always busy
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
    /// What it is to be run with.
    pub fn load(&self) -> io::Result<Load> {
        let mut load = self.options().load()?;
        if let Self::Suite { case, .. } = self {
            case.prescribe(&mut load);
        }
        Ok(load)
    }

    /// Runs it. `watch` is told now and then how far it is.
    pub fn run(&self, load: &Load, watch: impl FnMut(Stage)) -> io::Result<Outcome> {
        let plan = match *self {
            Self::Conn { clients, filters, .. } => return connecting::hold(&Crowd { clients, filters }, load, watch),
            Self::Churn { clients, filters, .. } => return connecting::churn(&Crowd { clients, filters }, load, watch),
            Self::Retained { messages, subscribers, .. } => {
                return retained::run(&Library { messages, subscribers }, load, watch);
            }
            Self::Suite { case, .. } => match case.work() {
                Work::Connect(crowd) => return connecting::hold(&crowd, load, watch),
                Work::Publish(plan) => plan,
            },
            Self::P2p { pairs, .. } => Plan::pairs(pairs),
            Self::Mixed { pairs, .. } => Plan::mixed(pairs),
            Self::Fanin { publishers, subscribers, .. } => Plan::fan_in(publishers, subscribers),
            Self::Fanout { publishers, subscribers, .. } => Plan::fan_out(publishers, subscribers),
            Self::Shared { publishers, groups, members, .. } => Plan::shared(publishers, groups, members),
            Self::Wild { publishers, subscribers, filters, .. } => Plan::wild(publishers, subscribers, filters),
        };
        traffic::run(&plan, load, watch)
    }

    pub fn options(&self) -> &Options {
        match self {
            Self::Conn { options, .. }
            | Self::Churn { options, .. }
            | Self::Retained { options, .. }
            | Self::Suite { options, .. }
            | Self::P2p { options, .. }
            | Self::Mixed { options, .. }
            | Self::Fanin { options, .. }
            | Self::Fanout { options, .. }
            | Self::Shared { options, .. }
            | Self::Wild { options, .. } => options,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(["thrum-loadgen"].into_iter().chain(arguments.split(' ')))
    }

    #[test]
    fn the_options_fit_together() {
        CommandLine::command().debug_assert();
        for good in [
            "p2p -b a:1,b,[::1]:2 --source 127.0.0.2-127.0.0.9,127.0.0.20 --user a --password b",
            "p2p --tls --ca file --ws /path --cert a --key b",
            "p2p --ws",
            "churn --tls --insecure",
            "suite conn-tcp-1M-5k --duration 0.5",
            "retained --messages 5 --spin",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in
            ["p2p --insecure", "p2p --tls --cert a", "p2p --qos 3", "p2p --rate -1", "p2p --duration nan", "suite a"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    fn load(arguments: &str) -> Load {
        let Command::Measure(scenario) = parse(arguments).expect("a command").command else { panic!("no scenario") };
        scenario.load().expect("a load")
    }

    #[test]
    fn a_case_of_the_suite_sets_what_it_prescribes() {
        let load = load("suite fanout-5-1000-5-250k --qos 0 --rate 7 --size 99");
        assert_eq!((load.qos, load.rate, load.payload_bytes), (QoS::AtLeastOnce, 250.0, 16));
    }

    #[test]
    fn a_window_holds_a_batch() {
        let load = load("p2p --window 5 --batch 20");
        assert_eq!((load.window, load.batch), (20, 20));
    }
}
