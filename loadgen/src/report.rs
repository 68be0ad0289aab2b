//! What a run came to, in words.

use std::fmt;

use crate::summary::{BrokerFigures, Percentiles, Summary};

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
        if let Some(connecting) = summary.connect_micros {
            write_percentiles(f, "connecting", connecting)?;
        }
        if let Some(fetch) = summary.fetch_micros {
            write_percentiles(f, &format!("{} fetches", summary.fetches), fetch)?;
        }
        if let Some(broker) = &summary.broker {
            write_broker(f, broker)?;
        }
        if let Some(limit) = &summary.own_limit {
            writeln!(f, "  NOTE: {limit}: the broker may be able to do more than this")?;
        }
        summary.failures.iter().take(FAILURES_TOLD).try_for_each(|failure| writeln!(f, "  FAILED: {failure}"))
    }
}

fn write_broker(f: &mut fmt::Formatter<'_>, broker: &BrokerFigures) -> fmt::Result {
    let figures = [
        (broker.micros_per_message, 3, "us of CPU a delivery"),
        (broker.micros_per_connect, 1, "us of CPU a connect"),
        (broker.holding_busy.map(|share| share * 100.0), 2, "% of a core while connections are held"),
        (broker.bytes_per_connection, 0, "bytes of memory a connection"),
        (broker.bytes_per_subscription, 0, "bytes of memory a subscription"),
        (broker.bytes_per_retained, 0, "bytes of memory a retained message"),
    ];
    figures.into_iter().try_for_each(|(figure, digits, of)| match figure {
        Some(figure) => writeln!(f, "  broker: {figure:.digits$} {of}"),
        None => Ok(()),
    })
}

fn write_percentiles(f: &mut fmt::Formatter<'_>, what: &str, micros: Percentiles) -> fmt::Result {
    let Percentiles { p50, p90, p99, p999, max } = micros;
    writeln!(f, "  {what} in us: p50 {p50:.0}, p90 {p90:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0}")
}
