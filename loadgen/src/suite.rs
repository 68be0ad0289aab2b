//! The cases of the Open MQTT Benchmark Suite, by name. Each connects and subscribes everything before it publishes.

use std::fmt::Write as _;
use std::io;

use thrum::mqtt::QoS;

use crate::access::Access;
use crate::crowd::Crowd;
use crate::measurement::{Measurement, Task};
use crate::plan::Plan;
use crate::swarm::descriptors;
use crate::traffic::Load;

const KEEP_ALIVE_SECS: u16 = 300;

const PAYLOAD_BYTES: usize = 16;

/// Descriptors that are left to what a run opens besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Case {
    pub name: &'static str,
    pub words: &'static str,
    shape: Shape,
}

/// Rates are of all together.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Shape {
    Connections {
        clients: usize,
        per_sec: f64,
    },
    /// To a topic of each publisher, to all of which each subscriber subscribes.
    FanOut {
        publishers: usize,
        subscribers: usize,
        rate: f64,
    },
    Pairs {
        pairs: usize,
        rate: f64,
    },
    Shared {
        publishers: usize,
        members: usize,
        rate: f64,
    },
}

pub const CASES: [Case; 8] = [
    Case {
        name: "conn-tcp-10k-100",
        words: "10,000 connections, 100 a second",
        shape: Shape::Connections { clients: 10_000, per_sec: 100.0 },
    },
    Case {
        name: "conn-tcp-1M-5k",
        words: "1,000,000 connections, 5,000 a second",
        shape: Shape::Connections { clients: 1_000_000, per_sec: 5_000.0 },
    },
    Case {
        name: "fanout-1-1k-1-1k",
        words: "1 publisher to 1,000 subscribers, 1 message a second in, 1,000 out",
        shape: Shape::FanOut { publishers: 1, subscribers: 1_000, rate: 1.0 },
    },
    Case {
        name: "fanout-5-1000-5-250k",
        words: "5 publishers to 1,000 subscribers each, 250 messages a second in, 250,000 out",
        shape: Shape::FanOut { publishers: 5, subscribers: 1_000, rate: 250.0 },
    },
    Case {
        name: "p2p-1k",
        words: "1,000 pairs, a message a second each",
        shape: Shape::Pairs { pairs: 1_000, rate: 1_000.0 },
    },
    Case {
        name: "p2p-50k",
        words: "50,000 pairs, a message a second each",
        shape: Shape::Pairs { pairs: 50_000, rate: 50_000.0 },
    },
    Case {
        name: "sharedsub-1k-5",
        words: "1,000 publishers, a message a second each, shared by 5 subscribers",
        shape: Shape::Shared { publishers: 1_000, members: 5, rate: 1_000.0 },
    },
    Case {
        name: "sharedsub-50k-500",
        words: "50,000 publishers, a message a second each, shared by 500 subscribers",
        shape: Shape::Shared { publishers: 50_000, members: 500, rate: 50_000.0 },
    },
];

pub fn names() -> [&'static str; CASES.len()] {
    CASES.map(|case| case.name)
}

/// A line for each case.
pub fn list() -> String {
    let mut list = String::new();
    for Case { name, words, .. } in CASES {
        let _ = writeln!(list, "{name:<22}{words}");
    }
    list
}

/// More than nothing, and no more than all.
pub fn fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction| *fraction > 0.0 && *fraction <= 1.0);
    fraction.ok_or_else(|| format!("{text} is not more than 0 and at most 1"))
}

impl Case {
    pub fn named(name: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.name == name)
    }

    /// So much of the case's clients and rates, which must not be more than this process may have. The rest of the load
    /// is as it is given.
    pub fn part(self, fraction: f64, load: Load) -> io::Result<Task> {
        let some = |count: usize| ((count as f64 * fraction).round() as usize).max(1);
        let (measurement, rate, ramp) = match self.shape {
            Shape::Connections { clients, per_sec } => {
                let crowd = Crowd { clients: some(clients), filters_each: 0 };
                (Measurement::Crowd(crowd), 0.0, per_sec * fraction)
            }
            // The publishers are what is fanned out, and stay.
            Shape::FanOut { publishers, subscribers, rate } => {
                (Plan::fan_out(publishers, some(subscribers)).into(), rate, 0.0)
            }
            Shape::Pairs { pairs, rate } => (Plan::pairs(some(pairs)).into(), rate * fraction, 0.0),
            Shape::Shared { publishers, members, rate } => {
                (Plan::shared(some(publishers), 1, some(members)).into(), rate * fraction, 0.0)
            }
        };
        self.check(&measurement, fraction)?;
        let ramp = if load.access.ramp > 0.0 { load.access.ramp } else { ramp };
        let access = Access { keep_alive_secs: KEEP_ALIVE_SECS, ramp, ..load.access };
        let load = Load { access, qos: QoS::AtLeastOnce, payload_bytes: PAYLOAD_BYTES, rate, ..load };
        let part = if fraction < 1.0 { format!(", {fraction} of it") } else { String::new() };
        Ok(Task { title: Some(format!("omb {}{part}", self.name)), measurement, load })
    }

    fn check(self, measurement: &Measurement, fraction: f64) -> io::Result<()> {
        let (clients, (descriptors, used)) = (measurement.clients() as u64, descriptors());
        let most = descriptors.saturating_sub(used + SPARE_DESCRIPTORS);
        if clients <= most {
            return Ok(());
        }
        // Rounded down, so that it fits.
        let fits = (fraction * most as f64 / clients as f64 * 1_000.0).floor() / 1_000.0;
        Err(io::Error::other(format!(
            "{} has {clients} connections here, and this process may have {descriptors} open files: raise its limit \
             (ulimit -n), or run a part of it (--fraction {fits})",
            self.name
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use thrum::mqtt::Version;

    use super::*;

    fn load() -> Load {
        let access = Access::plain(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), Version::V3_1_1);
        let second = Duration::from_secs(1);
        Load {
            access: Access { keep_alive_secs: 7, ..access },
            qos: QoS::AtMostOnce,
            payload_bytes: 99,
            window: 1,
            batch: 1,
            rate: 7.0,
            warm_up: second,
            duration: second,
            spins: false,
            seed: 1,
            pid: None,
        }
    }

    /// Clients, connections a second, messages a second in and out.
    fn sizes(name: &str, fraction: f64) -> (usize, f64, f64, f64) {
        let Task { measurement, load, .. } =
            Case::named(name).expect("a case").part(fraction, load()).expect("one that fits");
        assert_eq!((load.qos, load.payload_bytes, load.access.keep_alive_secs), (QoS::AtLeastOnce, 16, 300));
        let audiences = match &measurement {
            Measurement::Traffic(plan) => plan.streams[0].audiences.len() as f64,
            _ => 0.0,
        };
        (measurement.clients(), load.access.ramp, load.rate, load.rate * audiences)
    }

    #[test]
    fn the_cases_are_what_the_suite_says() {
        assert_eq!(sizes("conn-tcp-10k-100", 1.0), (10_000, 100.0, 0.0, 0.0));
        assert_eq!(sizes("fanout-1-1k-1-1k", 1.0), (1_001, 0.0, 1.0, 1_000.0));
        assert_eq!(sizes("fanout-5-1000-5-250k", 1.0), (1_005, 0.0, 250.0, 250_000.0));
        assert_eq!(sizes("p2p-1k", 1.0), (2_000, 0.0, 1_000.0, 1_000.0));
        assert_eq!(sizes("sharedsub-1k-5", 1.0), (1_005, 0.0, 1_000.0, 1_000.0));
    }

    #[test]
    fn a_part_of_a_case_has_that_part_of_its_clients_and_rates() {
        assert_eq!(sizes("conn-tcp-1M-5k", 0.001), (1_000, 5.0, 0.0, 0.0));
        assert_eq!(sizes("p2p-50k", 0.01), (1_000, 0.0, 500.0, 500.0));
        assert_eq!(sizes("sharedsub-50k-500", 0.01), (505, 0.0, 500.0, 500.0));
        assert_eq!(sizes("sharedsub-1k-5", 0.01), (11, 0.0, 10.0, 10.0));
        assert_eq!(sizes("fanout-5-1000-5-250k", 0.1), (105, 0.0, 250.0, 25_000.0));
        for bad in ["0", "1.1", "-1", "half", "NaN"] {
            assert!(fraction(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_case_that_does_not_fit_says_what_part_does() {
        let case = Case { shape: Shape::Pairs { pairs: 1 << 40, rate: 1.0 }, ..CASES[0] };
        let measurement = Measurement::Crowd(Crowd { clients: 1 << 40, filters_each: 0 });
        let error = case.check(&measurement, 1.0).expect_err("more than there can be").to_string();
        assert!(error.contains("1099511627776 connections") && error.contains("--fraction"), "{error}");
        assert_eq!(CASES.map(|case| Case::named(case.name)), CASES.map(Some));
    }
}
