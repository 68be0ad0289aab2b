//! What a run came to, in words: a table, and whether the generator itself was the limit.

use std::fmt;
use std::time::Duration;

use crate::engine::Outcome;
use thrum::mqtt::QoS;

/// A generator that was busy for so much of the time, or late with so many of its messages, was the limit, or may have
/// been.
const BUSY_SHARE: f64 = 0.9;
const LATE_SHARE: f64 = 0.01;

/// An outcome with what was measured around it.
#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    pub qos: QoS,
    pub outcome: Outcome,
    /// Of this process, while it published.
    pub generator_cpu: f64,
    /// Of the broker, while messages were published and arrived, where its process is known.
    pub broker_cpu: Option<f64>,
    /// What the broker's resident memory grew by while the clients connected.
    pub broker_bytes: Option<u64>,
    /// An open loop, which is meant to send at its rate and not as fast as it can.
    pub is_paced: bool,
}

impl Report {
    /// Deliveries a second.
    pub fn rate(&self) -> f64 {
        self.outcome.received_in_span as f64 / self.outcome.span.as_secs_f64()
    }

    /// Microseconds of the broker's processor for one delivery.
    pub fn broker_micros_each(&self) -> Option<f64> {
        Some(self.broker_cpu? * 1e6 / self.outcome.received as f64)
    }

    /// Why the figures may be the generator's and not the broker's.
    pub fn own_limit(&self) -> Option<String> {
        let busy = self.generator_cpu / self.outcome.span.as_secs_f64();
        let late = self.outcome.late as f64 / self.outcome.sent.max(1) as f64;
        if self.is_paced {
            return (late > LATE_SHARE)
                .then(|| format!("the generator sent {:.1} % of its messages more than 1 ms late", late * 100.0));
        }
        (busy > BUSY_SHARE).then(|| format!("the generator was busy for {:.0} % of the time", busy * 100.0))
    }

    /// Whether the broker kept what the QoS promises: nothing lost above 0, nothing twice at 2.
    pub fn is_kept(&self) -> bool {
        let faults = &self.outcome.faults;
        let lost = self.qos != QoS::AtMostOnce && faults.lost > 0;
        let duplicated = self.qos != QoS::AtLeastOnce && faults.duplicated > 0;
        !lost
            && !duplicated
            && faults.wrong_payload == 0
            && faults.out_of_order == 0
            && self.outcome.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { sent, received, due, faults, latency, span, connect_span, clients, failures, .. } = &self.outcome;
        writeln!(f, "{}, QoS {}: {clients} clients in {:.2} s", self.name, self.qos as u8, connect_span.as_secs_f64())?;
        writeln!(
            f,
            "  sent {sent}, received {received} of {due} in {:.2} s, {:.0} a second",
            span.as_secs_f64(),
            self.rate()
        )?;
        writeln!(
            f,
            "  lost {}, duplicated {}, out of order {}, wrong payload {}",
            faults.lost, faults.duplicated, faults.out_of_order, faults.wrong_payload
        )?;
        let at = |quantile| Duration::from_nanos(latency.value_at_quantile(quantile)).as_secs_f64() * 1e6;
        let most = Duration::from_nanos(latency.max()).as_secs_f64() * 1e6;
        writeln!(
            f,
            "  latency in us: p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {most:.0}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999)
        )?;
        if let Some(micros) = self.broker_micros_each() {
            writeln!(f, "  broker: {micros:.3} us of CPU a delivery")?;
        }
        if let Some(bytes) = self.broker_bytes {
            writeln!(f, "  broker: {} bytes of memory a connection", bytes / (*clients).max(1) as u64)?;
        }
        if let Some(limit) = self.own_limit() {
            writeln!(f, "  NOTE: {limit}: the broker may be able to do more than this")?;
        }
        failures.iter().take(3).try_for_each(|failure| writeln!(f, "  FAILED: {failure}"))
    }
}
