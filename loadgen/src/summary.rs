//! The figures of a run: what is printed, kept and compared.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thrum::mqtt::Version;

use crate::outcome::{Outcome, Sample};

/// A generator that was busy for so much of the time, or late with so many of its messages, was the limit, or may have
/// been.
const BUSY_SHARE: f64 = 0.9;
const LATE_SHARE: f64 = 0.01;

/// A generator whose own lateness is so much of the median latency has measured itself.
const LATENESS_SHARE: f64 = 0.2;

#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Summary {
    pub scenario: String,
    pub protocol: String,
    pub qos: u8,
    pub payload_bytes: usize,
    pub clients: usize,
    /// Of the measurement.
    pub secs: f64,
    pub connects: u64,
    pub connects_per_sec: f64,
    pub connect_micros: Option<Percentiles>,
    pub sent: u64,
    pub received: u64,
    pub due: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub wrong_payload: u64,
    /// Deliveries in the measurement.
    pub messages_per_sec: f64,
    pub latency_micros: Option<Percentiles>,
    /// From SUBSCRIBE to the last of all retained messages.
    pub fetch_micros: Option<Percentiles>,
    pub fetches: u64,
    /// Messages sent more than a millisecond later than they were to be.
    pub late: u64,
    /// Share of a core that the generator used.
    pub generator_busy: f64,
    /// Why the figures may be the generator's and not the broker's, in words.
    pub own_limit: Option<String>,
    pub broker: Option<BrokerFigures>,
    /// Whether the broker kept what the QoS promises.
    pub is_kept: bool,
    pub failures: Vec<String>,
    pub samples: Vec<Point>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct BrokerFigures {
    /// Of its processor, for a delivery.
    pub micros_per_message: Option<f64>,
    pub micros_per_connect: Option<f64>,
    /// With its subscriptions.
    pub bytes_per_connection: Option<f64>,
    pub bytes_per_subscription: Option<f64>,
    pub bytes_per_retained: Option<f64>,
    /// Share of a core that it used while connections were held.
    pub holding_busy: Option<f64>,
}

/// A part of the measurement, for a plot.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct Point {
    /// Seconds from the measurement's beginning to this part's end.
    pub at_secs: f64,
    pub connects_per_sec: f64,
    pub sent_per_sec: f64,
    pub received_per_sec: f64,
    pub p50_micros: f64,
    pub p99_micros: f64,
    pub max_micros: f64,
}

impl Summary {
    pub fn of(outcome: &Outcome) -> Self {
        let Outcome { connects, messages, cost, span, .. } = outcome;
        let faults = &messages.faults;
        let each = |micros: f64, count: u64| (count > 0).then(|| micros / count as f64);
        let grown = |bytes: u64, count: u64| (bytes > 0 && count > 0).then(|| bytes as f64 / count as f64);
        Self {
            scenario: outcome.name.clone(),
            protocol: match outcome.version {
                Version::V3_1 => "3.1",
                Version::V3_1_1 => "3.1.1",
                Version::V5 => "5",
            }
            .into(),
            qos: outcome.qos as u8,
            payload_bytes: outcome.payload_bytes,
            clients: outcome.clients,
            secs: span.as_secs_f64(),
            connects: connects.count,
            connects_per_sec: rate(connects.count, connects.span.as_secs_f64()),
            connect_micros: Percentiles::of(&connects.latency),
            sent: messages.sent,
            received: messages.received,
            due: messages.due,
            lost: faults.lost,
            duplicated: faults.duplicated,
            out_of_order: faults.out_of_order,
            wrong_payload: faults.wrong_payload,
            messages_per_sec: rate(messages.received_in_span, span.as_secs_f64()),
            latency_micros: Percentiles::of(&messages.latency),
            fetch_micros: Percentiles::of(&outcome.fetches),
            fetches: outcome.fetches.len(),
            late: messages.late,
            generator_busy: cost.generator_cpu.as_secs_f64() / span.as_secs_f64().max(f64::MIN_POSITIVE),
            own_limit: own_limit(outcome),
            broker: cost.broker.map(|broker| BrokerFigures {
                micros_per_message: each(broker.messages_cpu.as_secs_f64() * 1e6, messages.received),
                micros_per_connect: each(broker.connecting_cpu.as_secs_f64() * 1e6, connects.count)
                    .filter(|micros| *micros > 0.0),
                bytes_per_connection: grown(broker.connecting_bytes, outcome.clients as u64),
                bytes_per_subscription: grown(broker.subscribing_bytes, outcome.subscriptions),
                bytes_per_retained: grown(broker.retained_bytes, outcome.retained),
                holding_busy: (!broker.holding_cpu.is_zero())
                    .then(|| broker.holding_cpu.as_secs_f64() / span.as_secs_f64().max(f64::MIN_POSITIVE)),
            }),
            is_kept: is_kept(outcome),
            failures: outcome.failures.clone(),
            samples: outcome.samples.iter().map(Point::of).collect(),
        }
    }
}

fn rate(count: u64, secs: f64) -> f64 {
    if secs > 0.0 { count as f64 / secs } else { 0.0 }
}

impl Percentiles {
    /// In microseconds; none of nothing.
    fn of(histogram: &hdrhistogram::Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        })
    }
}

impl Point {
    fn of(sample: &Sample) -> Self {
        let secs = sample.span.as_secs_f64();
        Self {
            at_secs: sample.at.as_secs_f64(),
            connects_per_sec: rate(sample.connects, secs),
            sent_per_sec: rate(sample.sent, secs),
            received_per_sec: rate(sample.received, secs),
            p50_micros: sample.p50 as f64 / 1e3,
            p99_micros: sample.p99 as f64 / 1e3,
            max_micros: sample.max as f64 / 1e3,
        }
    }
}

fn own_limit(outcome: &Outcome) -> Option<String> {
    let messages = &outcome.messages;
    if messages.is_paced {
        let late = messages.late as f64 / messages.sent.max(1) as f64;
        if late > LATE_SHARE {
            return Some(format!("the generator sent {:.1} % of its messages more than 1 ms late", late * 100.0));
        }
        let lateness = messages.lateness.as_nanos() as f64;
        return (lateness > messages.latency.value_at_quantile(0.5) as f64 * LATENESS_SHARE).then(|| {
            format!(
                "the generator was {:.0} us late on the average, which is in the latencies (see --spin)",
                lateness / 1e3
            )
        });
    }
    let share = |cpu: Duration, span: Duration| cpu.as_secs_f64() / span.as_secs_f64().max(f64::MIN_POSITIVE);
    let busy = share(outcome.cost.generator_cpu, outcome.span);
    if busy > BUSY_SHARE {
        return Some(format!("the generator was busy for {:.0} % of the time", busy * 100.0));
    }
    // Where there are messages, nobody looks at how fast their clients connected.
    let connecting = share(outcome.cost.generator_connecting_cpu, outcome.connects.span);
    (messages.due == 0 && connecting > BUSY_SHARE)
        .then(|| format!("the generator was busy for {:.0} % of the time it took to connect", connecting * 100.0))
}

/// Every delivery as its QoS promises: nothing lost above QoS 0, nothing twice but at QoS 1, and all of it in order and
/// as it was sent.
const fn is_kept(outcome: &Outcome) -> bool {
    outcome.messages.broken == 0 && outcome.failures.is_empty()
}
