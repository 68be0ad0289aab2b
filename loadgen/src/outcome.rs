//! What a run came to, as it was counted.

use std::time::Duration;

use hdrhistogram::Histogram;
use thrum::mqtt::{QoS, Version};

use crate::ledger::Faults;

/// Nanoseconds that a histogram tells apart at most: a minute.
const NANOS_MAX: u64 = 60_000_000_000;

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(NANOS_MAX, 3).expect("a histogram of a minute")
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
    /// Of this process, from the first connection opened to the last one ready.
    pub generator_connecting_cpu: Duration,
    /// Where its process is known.
    pub broker: Option<BrokerCost>,
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
