//! What a run came to, in words.

use std::fmt;

use crate::summary::{Percentiles, Summary};

/// Failures that are told one by one.
const FAILURES_TOLD: usize = 3;

/// A summary as a table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(pub &'a Summary);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.0;
        writeln!(
            f,
            "{}, MQTT {}, QoS {}, {} bytes: {} clients, {:.0} connects a second",
            summary.scenario,
            summary.protocol,
            summary.qos,
            summary.payload_bytes,
            summary.clients,
            summary.connects_per_sec
        )?;
        let Summary { sent, received, due, secs, messages_per_sec, .. } = summary;
        writeln!(f, "  sent {sent}, received {received} of {due}; in {secs:.2} s {messages_per_sec:.0} a second")?;
        let Summary { lost, duplicated, out_of_order, wrong_payload, .. } = summary;
        writeln!(
            f,
            "  lost {lost}, duplicated {duplicated}, out of order {out_of_order}, wrong payload {wrong_payload}"
        )?;
        if let Some(latency) = summary.latency_micros {
            write_percentiles(f, "latency", latency)?;
        }
        if let Some(micros) = summary.broker.and_then(|broker| broker.micros_per_message) {
            writeln!(f, "  broker: {micros:.3} us of CPU a delivery")?;
        }
        if let Some(bytes) = summary.broker.and_then(|broker| broker.bytes_per_connection) {
            writeln!(f, "  broker: {bytes:.0} bytes of memory a connection")?;
        }
        if let Some(limit) = &summary.own_limit {
            writeln!(f, "  NOTE: {limit}: the broker may be able to do more than this")?;
        }
        summary.failures.iter().take(FAILURES_TOLD).try_for_each(|failure| writeln!(f, "  FAILED: {failure}"))
    }
}

fn write_percentiles(f: &mut fmt::Formatter<'_>, what: &str, micros: Percentiles) -> fmt::Result {
    let Percentiles { p50, p90, p99, p999, max } = micros;
    writeln!(f, "  {what} in us: p50 {p50:.0}, p90 {p90:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0}")
}
