//! What can be asked for on the command line.

use std::io;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use thrum::mqtt::QoS;

use crate::access::{AccessOptions, amount};
use crate::crowd::Crowd;
use crate::measurement::{Measurement, Task};
use crate::output::Destinations;
use crate::plan::Plan;
use crate::retained::Collection;
use crate::stamp::STAMP_BYTES;
use crate::suite::{self, Case};
use crate::traffic::Load;
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
    /// What a site looks like: pairs of every QoS, groups, workers, retained states, and clients that come and go
    Mixed {
        /// How many times about 178 clients, 10 of which come and go
        #[arg(long, default_value_t = 1)]
        scale: usize,
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
        /// Topics that are published to, each of another filter; without it as many as there are filters
        #[arg(long)]
        topics: Option<usize>,
        #[command(flatten)]
        options: Options,
    },
    /// Connections that are opened and held
    Conn {
        #[arg(long, default_value_t = 1_000)]
        clients: usize,
        /// Each subscribes to a filter of its own
        #[arg(long)]
        subscribe: bool,
        /// Each subscribes to so many filters of its own
        #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "subscribe")]
        filters: usize,
        #[command(flatten)]
        options: PlainOptions,
    },
    /// Clients that connect, leave, and connect again
    Churn {
        /// At a time
        #[arg(long, default_value_t = 50)]
        clients: usize,
        /// Each subscribes before it leaves
        #[arg(long)]
        subscribe: bool,
        #[command(flatten)]
        options: PlainOptions,
    },
    /// Retained messages that are fetched again and again
    Retained {
        #[arg(long, default_value_t = 20_000)]
        messages: usize,
        #[arg(long, default_value_t = 1)]
        subscribers: usize,
        /// They are fetched by retained/+, and not by retained/#
        #[arg(long)]
        single_level: bool,
        /// They stay with the broker
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        options: PlainOptions,
        #[command(flatten)]
        payload: PayloadOptions,
    },
    /// A case of the Open MQTT Benchmark Suite: keep alive 300, QoS 1, payloads of 16 bytes
    Omb {
        /// See --list
        #[arg(required_unless_present = "list", value_parser = PossibleValuesParser::new(suite::names()))]
        case: Option<String>,
        /// Tell the cases and end
        #[arg(long)]
        list: bool,
        /// Run a part of the case: so much of its clients and of its rate
        #[arg(long, default_value_t = 1.0, value_parser = suite::fraction)]
        fraction: f64,
        #[command(flatten)]
        access: AccessOptions,
        #[command(flatten)]
        run: RunOptions,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub access: AccessOptions,
    #[command(flatten)]
    pub qos: QosOption,
    #[command(flatten)]
    pub payload: PayloadOptions,
    #[command(flatten)]
    pub load: LoadOptions,
    #[command(flatten)]
    pub run: RunOptions,
}

/// Where nothing is published, or not at a pace that can be chosen.
#[derive(Clone, Debug, Args)]
pub struct PlainOptions {
    #[command(flatten)]
    pub access: AccessOptions,
    #[command(flatten)]
    pub qos: QosOption,
    #[command(flatten)]
    pub run: RunOptions,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct QosOption {
    /// QoS of publishes and subscriptions
    #[arg(long, short = 'q', default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct PayloadOptions {
    /// Bytes of payload, at least 16
    #[arg(long, value_name = "BYTES", default_value_t = STAMP_BYTES)]
    pub size: usize,
    /// What payloads and choices are made from: the same again for the same number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// Messages a second, of all publishers together; 0: as many as the windows let through
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, value_parser = amount)]
    pub rate: f64,
    /// Messages that a publisher has under way, end to end, where there is no rate
    #[arg(long, value_name = "MESSAGES", default_value_t = 64)]
    pub window: u32,
    /// Messages that go into one write, where there is no rate
    #[arg(long, value_name = "MESSAGES", default_value_t = 16)]
    pub batch: u32,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Measurement")]
pub struct RunOptions {
    /// Of the measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = amount)]
    pub duration: f64,
    /// Before the measurement; what comes meanwhile is checked, and left out of the figures
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = amount)]
    pub warm_up: f64,
    /// Never sleep, also where all windows are full or nothing is due for milliseconds: shorter latencies, and a core that
    /// is always busy
    #[arg(long)]
    pub spin: bool,
    /// Process of the broker, whose CPU and memory are then told
    #[arg(long)]
    pub pid: Option<u32>,
    /// Core to run on
    #[arg(long)]
    pub core: Option<usize>,
}

impl RunOptions {
    /// With names resolved and files read; of messages that are published as fast as they are acknowledged.
    fn load(&self, access: &AccessOptions, qos: u8) -> io::Result<Load> {
        Ok(Load {
            access: access.access().map_err(io::Error::other)?,
            qos: QoS::from_u8(qos).expect("clap lets no other in"),
            payload_bytes: STAMP_BYTES,
            window: 1,
            batch: 1,
            rate: 0.0,
            warm_up: Duration::from_secs_f64(self.warm_up),
            duration: Duration::from_secs_f64(self.duration),
            spins: self.spin,
            seed: 0,
            pid: self.pid,
        })
    }
}

impl Options {
    fn load(&self) -> io::Result<Load> {
        let LoadOptions { rate, window, batch } = self.load;
        Ok(Load {
            payload_bytes: self.payload.size,
            seed: self.payload.seed,
            window: window.max(batch).max(1),
            batch: batch.max(1),
            rate,
            ..self.run.load(&self.access, self.qos.qos)?
        })
    }
}

impl PlainOptions {
    fn load(&self) -> io::Result<Load> {
        self.run.load(&self.access, self.qos.qos)
    }
}

impl Scenario {
    /// With names resolved and files read.
    pub fn task(&self) -> io::Result<Task> {
        let (measurement, load) = match self {
            Self::Omb { case, fraction, access, run, .. } => {
                let case = Case::named(case.as_deref().unwrap_or_default()).expect("clap lets no other in");
                return case.part(*fraction, run.load(access, 1)?);
            }
            Self::Conn { clients, subscribe, filters, options } => {
                let filters_each = if *subscribe { 1 } else { *filters };
                (Measurement::Crowd(Crowd { clients: *clients, filters_each }), options.load()?)
            }
            Self::Churn { clients, subscribe, options } => {
                (Measurement::Churn { clients: *clients, subscribes: *subscribe }, options.load()?)
            }
            Self::Retained { messages, subscribers, single_level, keep, options, payload } => {
                let collection = Collection {
                    messages: *messages,
                    subscribers: *subscribers,
                    is_single_level: *single_level,
                    is_kept: *keep,
                };
                let load = Load { payload_bytes: payload.size, seed: payload.seed, ..options.load()? };
                (Measurement::Retained(collection), load)
            }
            Self::P2p { pairs, options } => (Plan::pairs(*pairs).into(), options.load()?),
            Self::Mixed { scale, options } => (Plan::mixed(*scale).into(), options.load()?),
            Self::Fanin { publishers, subscribers, options } => {
                (Plan::fan_in(*publishers, *subscribers).into(), options.load()?)
            }
            Self::Fanout { publishers, subscribers, options } => {
                (Plan::fan_out(*publishers, *subscribers).into(), options.load()?)
            }
            Self::Shared { publishers, groups, members, options } => {
                (Plan::shared(*publishers, *groups, *members).into(), options.load()?)
            }
            Self::Wild { publishers, subscribers, filters, topics, options } => {
                let topics = topics.unwrap_or(*filters).clamp(*publishers, *filters);
                (Plan::wild(*publishers, *subscribers, *filters, topics).into(), options.load()?)
            }
        };
        Ok(Task { title: None, measurement, load })
    }

    pub const fn run_options(&self) -> &RunOptions {
        match self {
            Self::P2p { options, .. }
            | Self::Mixed { options, .. }
            | Self::Fanin { options, .. }
            | Self::Fanout { options, .. }
            | Self::Shared { options, .. }
            | Self::Wild { options, .. } => &options.run,
            Self::Conn { options, .. } | Self::Churn { options, .. } | Self::Retained { options, .. } => &options.run,
            Self::Omb { run, .. } => run,
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

    fn task(arguments: &str) -> Task {
        match parse(arguments).expect("a command").command {
            Command::Measure(scenario) => scenario.task().expect("a task"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_options_fit_together() {
        CommandLine::command().debug_assert();
        for good in [
            "p2p -b a:1,b,[::1]:2 --source 127.0.0.2-127.0.0.9,127.0.0.20 --user a --password b",
            "p2p --tls --ca file --ws /path --cert a --key b",
            "p2p --ws",
            "churn --tls --insecure",
            "omb conn-tcp-1M-5k --duration 0.5",
            "omb --list",
            "conn --clients 5 --filters 3",
            "retained --messages 5 --spin",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "p2p --insecure",
            "p2p --tls --cert a",
            "p2p --qos 3",
            "p2p --rate -1",
            "p2p --duration nan",
            "omb",
            "omb a",
            "omb p2p-1k --qos 0",
            "conn --rate 5",
            "omb p2p-1k --fraction 2",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_case_of_the_suite_sets_what_it_prescribes() {
        let load = task("omb fanout-5-1000-5-250k").load;
        assert_eq!((load.qos, load.rate, load.payload_bytes), (QoS::AtLeastOnce, 250.0, 16));
    }

    #[test]
    fn a_window_holds_a_batch() {
        let load = task("p2p --window 5 --batch 20").load;
        assert_eq!((load.window, load.batch), (20, 20));
    }
}
