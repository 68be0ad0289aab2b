//! What a run came to, as it was counted.

use std::time::Duration;

use hdrhistogram::Histogram;
use thrum::mqtt::{QoS, Version};

use crate::ledger::Faults;
use crate::usage::Spent;

/// Nanoseconds that a histogram tells apart at most: an hour, for latency in an open loop that a broker does not keep up
/// with grows to the length of the run, and what is longer would be told as this.
const NANOS_MAX: u64 = 3_600_000_000_000;

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(NANOS_MAX, 3).expect("a histogram of an hour")
}

#[derive(Clone, Debug)]
pub struct Outcome {
    /// What ran: the scenario and its sizes.
    pub name: String,
    pub version: Version,
    /// The highest of the run.
    pub qos: QoS,
    pub payload_bytes: usize,
    pub clients: usize,
    pub connects: Connects,
    /// Filters that clients subscribed to, in all.
    pub subscriptions: u64,
    /// Messages that the broker was given to retain before the measurement.
    pub retained: u64,
    pub messages: Messages,
    /// Nanoseconds from SUBSCRIBE to the last of all retained messages, where they were fetched.
    pub fetches: Histogram<u64>,
    /// Of the measurement, without connecting, warm-up and what came after it.
    pub span: Duration,
    /// Of connecting instead, where connections were only held.
    pub samples: Vec<Sample>,
    pub cost: Cost,
    pub failures: Vec<String>,
}

/// Connections that were opened, and when they could be used.
#[derive(Clone, Debug)]
pub struct Connects {
    pub count: u64,
    pub span: Duration,
    /// Nanoseconds from opening the socket to CONNACK.
    pub latency: Histogram<u64>,
}

#[derive(Clone, Debug)]
pub struct Messages {
    pub sent: u64,
    /// Deliveries, of which a message has one for each audience.
    pub received: u64,
    /// Deliveries that there should have been.
    pub due: u64,
    pub received_in_span: u64,
    pub faults: Faults,
    /// Those of the faults that break what the QoS of the delivery promises.
    pub broken: u64,
    /// Nanoseconds from when a message was to be sent to when it came.
    pub latency: Histogram<u64>,
    /// The same to when the exchange with the publisher was complete, where sessions are durable.
    pub acknowledging: Histogram<u64>,
    /// Sent at a rate, and not as fast as windows let through.
    pub is_paced: bool,
    /// Messages that were sent later than they were to be, by more than a millisecond.
    pub late: u64,
    /// By how much messages were late on the average: it is in their latencies.
    pub lateness: Duration,
}

impl Messages {
    pub fn none() -> Self {
        Self {
            sent: 0,
            received: 0,
            due: 0,
            received_in_span: 0,
            faults: Faults::default(),
            broken: 0,
            latency: histogram(),
            acknowledging: histogram(),
            is_paced: false,
            late: 0,
            lateness: Duration::ZERO,
        }
    }
}

/// A part of the measurement.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    /// Its end, from the measurement's beginning.
    pub at: Duration,
    pub span: Duration,
    pub connects: u64,
    pub sent: u64,
    pub received: u64,
    /// Nanoseconds of latency.
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Cost {
    /// Of this process, during the measurement, without what it spent on asking in vain where it does not sleep.
    pub generator_cpu: Duration,
    /// How long its thread could have run meanwhile and had no core, because others had it.
    pub generator_waited: Duration,
    /// Both, from the first connection opened to the last one ready.
    pub generator_connecting: Spent,
    /// Where its process is known.
    pub broker: Option<BrokerCost>,
}

impl Cost {
    pub const fn new(connecting: Spent, generator: Spent, broker: Option<BrokerCost>) -> Self {
        Self {
            generator_cpu: generator.cpu,
            generator_waited: generator.waited,
            generator_connecting: connecting,
            broker,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct BrokerCost {
    /// From the first connection opened to the last one ready.
    pub connecting_cpu: Duration,
    /// From the first message sent to the last one received, warm-up included.
    pub messages_cpu: Duration,
    /// What its resident memory grew by meanwhile, from the first connection opened to the last one ready; zero: it was
    /// not looked at.
    pub connecting_bytes: u64,
    /// Of that, what subscriptions took, where they can be told from connections.
    pub subscribing_bytes: u64,
    /// What it grew by while it was given messages to retain.
    pub retained_bytes: u64,
    /// During the measurement, where connections were only held.
    pub holding_cpu: Duration,
}

#[cfg(test)]
impl Outcome {
    /// Ten seconds of 1,000 clients without a fault: a million messages, 100,000 of them in the warm-up, and each of the
    /// measurement took as many nanoseconds as its number.
    pub(crate) fn example() -> Self {
        let mut latency = histogram();
        (1..=900_000).for_each(|nanos| latency.saturating_record(nanos));
        let mut connecting = histogram();
        (1..=1_000).for_each(|number| connecting.saturating_record(number * 1_000));
        Self {
            name: "p2p, 500 pairs".into(),
            version: Version::V5,
            qos: QoS::AtLeastOnce,
            payload_bytes: 16,
            clients: 1_000,
            connects: Connects { count: 1_000, span: Duration::from_millis(250), latency: connecting },
            subscriptions: 0,
            retained: 0,
            messages: Messages {
                sent: 1_000_000,
                received: 1_000_000,
                due: 1_000_000,
                received_in_span: 900_000,
                faults: Faults::default(),
                broken: 0,
                latency,
                acknowledging: histogram(),
                is_paced: false,
                late: 0,
                lateness: Duration::ZERO,
            },
            fetches: histogram(),
            span: Duration::from_secs(10),
            samples: (1..=10)
                .map(|second| Sample {
                    at: Duration::from_secs(second),
                    span: Duration::from_secs(1),
                    connects: 0,
                    sent: 90_000,
                    received: 90_000,
                    p50: 450_000,
                    p99: 891_000,
                    max: 90_000 * second,
                })
                .collect(),
            cost: Cost {
                generator_cpu: Duration::from_secs(5),
                generator_waited: Duration::from_secs(1),
                generator_connecting: Spent { cpu: Duration::from_millis(100), waited: Duration::ZERO },
                broker: Some(BrokerCost {
                    connecting_cpu: Duration::from_millis(40),
                    messages_cpu: Duration::from_millis(2_500),
                    connecting_bytes: 1_765_000,
                    ..BrokerCost::default()
                }),
            },
            failures: Vec::new(),
        }
    }
}
