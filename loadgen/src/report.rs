//! What a run came to, in words: the rows and remarks that the table and the page share, and the table.

use std::fmt;

use crate::summary::{BrokerFigures, Percentiles, Summary};
use crate::units::{bytes, count, digits, micros, percent, short};

/// Failures that are told one by one.
const FAILURES_TOLD: usize = 3;

/// Beside messages, so many connects have a rate and a latency worth telling; fewer are over before they are measured.
const CONNECTS_TOLD_MIN: u64 = 100;

/// The memory of fewer connections drowns in the pages and reserves of an allocator.
const CONNECTIONS_WEIGHED_MIN: usize = 1_000;

/// The worst of fewer messages than this is their p99.9.
const P999_COUNT_MIN: u64 = 1_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remark {
    /// The figures are to be read with this in mind.
    Note,
    /// The broker did what the QoS does not allow.
    Broken,
    /// A client could not go on, and the run ended.
    Failed,
}

/// A summary as a table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(pub &'a Summary);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.0;
        writeln!(f, "{}: {}", summary.scenario, circumstances(summary))?;
        for (what, words) in rows(summary) {
            writeln!(f, "  {what:<14}{words}")?;
        }
        let latencies = latencies(summary);
        if !latencies.is_empty() {
            writeln!(f, "  {:<14}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99", "p99.9", "max")?;
        }
        for (what, Percentiles { p50, p90, p99, p999, max }) in latencies {
            let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(micros);
            writeln!(f, "  {what:<14}{p50:>10}{p90:>10}{p99:>10}{p999:>10}{max:>10}")?;
        }
        for (remark, words) in remarks(summary) {
            writeln!(f, "  {remark}: {words}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "NOTE",
            Self::Broken => "BROKEN",
            Self::Failed => "FAILED",
        })
    }
}

/// What was asked for.
pub fn circumstances(summary: &Summary) -> String {
    let Summary { protocol, qos, payload_bytes, is_paced, .. } = summary;
    let clients = count(summary.clients as u64);
    if !summary.has_messages() {
        return format!("MQTT {protocol}, {clients} clients");
    }
    let pace = if *is_paced { "at a rate" } else { "as fast as windows allow" };
    format!("MQTT {protocol}, QoS {qos}, {} bytes, {clients} clients, {pace}", count(*payload_bytes as u64))
}

/// What there is to tell, with its name.
pub fn rows(summary: &Summary) -> Vec<(&'static str, String)> {
    let messages = || summary.has_messages();
    [
        messages().then(|| ("throughput", throughput(summary))),
        messages().then(|| ("messages", deliveries(summary))),
        messages().then(|| ("faults", faults(summary))),
        (summary.connects > 0).then(|| ("connects", connects(summary))),
        summary.broker.and_then(|broker| Some(("broker CPU", broker_cpu(broker)?))),
        summary.broker.and_then(|broker| Some(("broker memory", broker_memory(broker)?))),
        messages().then(|| ("generator", generator(summary))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Latencies that are worth telling, with their names.
pub fn latencies(summary: &Summary) -> Vec<(&'static str, Percentiles)> {
    let messages = summary.latency_micros.map(|latency| ("latency", latency));
    let acknowledging = summary.acknowledging_micros.map(|latency| ("acknowledging", latency));
    let connects = summary.connect_micros.filter(|_| tells_connects(summary)).map(|latency| ("connecting", latency));
    let fetches = summary.fetch_micros.map(|fetches| ("fetching all", fetches));
    messages.into_iter().chain(acknowledging).chain(fetches).chain(connects).collect()
}

/// What the figures do not say by themselves.
pub fn remarks(summary: &Summary) -> Vec<(Remark, String)> {
    let Summary { broken, qos, .. } = summary;
    let broken = (*broken > 0)
        .then(|| (Remark::Broken, format!("{} of the faults break what QoS {qos} promises", count(*broken))));
    let failures = &summary.failures;
    let untold = failures.len().saturating_sub(FAILURES_TOLD);
    let more = (untold > 0).then(|| format!("and {untold} more"));
    let failed = failures.iter().take(FAILURES_TOLD).cloned().chain(more).map(|words| (Remark::Failed, words));
    notes(summary).into_iter().map(|words| (Remark::Note, words)).chain(broken).chain(failed).collect()
}

fn notes(summary: &Summary) -> Vec<String> {
    let Summary { own_limit, is_paced, late, latency_count, clients, qos, lost, due, .. } = summary;
    let limit = own_limit.as_ref().map(|limit| match is_paced {
        true => format!("{limit}: the latencies are its own in part, and the broker's may be lower"),
        false => format!("{limit}: it was the limit, and the broker may be able to do more than this"),
    });
    let lateness = (own_limit.is_none() && *is_paced && *late > 0)
        .then(|| "latency counts from when a message was due, so the generator's late sends are in it".into());
    let dropped = (*qos == 0 && *lost > 0).then(|| {
        format!("{} of the deliveries were lost, as QoS 0 allows: the throughput is what came", percent(*lost, *due))
    });
    let few = (1..P999_COUNT_MIN)
        .contains(latency_count)
        .then(|| format!("of so few latencies ({latency_count}), p99.9 is the worst"));
    let is_coarse = *clients < CONNECTIONS_WEIGHED_MIN && summary.broker.is_some_and(|it| it.connecting_bytes > 0);
    let coarse = is_coarse.then(|| {
        let enough = count(CONNECTIONS_WEIGHED_MIN as u64);
        format!("memory grows by pages and more: it takes {enough} connections, to a broker just started, to weigh one")
    });
    [limit, lateness, dropped, few, coarse].into_iter().flatten().collect()
}

/// A rate of connects that were over at once says nothing, unless there was nothing else.
const fn tells_connects(summary: &Summary) -> bool {
    summary.connects >= CONNECTS_TOLD_MIN || !summary.has_messages()
}

fn throughput(summary: &Summary) -> String {
    let Summary { messages_per_sec, secs, .. } = *summary;
    let received = count((messages_per_sec * secs).round() as u64);
    format!("{} messages/s ({received} in {} s)", short(messages_per_sec), digits(secs))
}

fn deliveries(summary: &Summary) -> String {
    let Summary { sent, received, due, .. } = *summary;
    format!("{} sent, {} received of {} due", count(sent), count(received), count(due))
}

fn faults(summary: &Summary) -> String {
    let Summary { lost, duplicated, out_of_order, wrong_payload, due, .. } = *summary;
    let share = if lost > 0 { format!(" ({})", percent(lost, due)) } else { String::new() };
    let [lost, duplicated, out_of_order, wrong_payload] = [lost, duplicated, out_of_order, wrong_payload].map(count);
    format!("lost {lost}{share}, duplicated {duplicated}, out of order {out_of_order}, wrong payload {wrong_payload}")
}

fn connects(summary: &Summary) -> String {
    let rate = tells_connects(summary).then(|| format!(" at {}/s", short(summary.connects_per_sec)));
    count(summary.connects) + &rate.unwrap_or_default()
}

/// In microseconds, whatever their number, so that runs can be compared by eye.
fn broker_cpu(broker: BrokerFigures) -> Option<String> {
    let each = |micros: Option<f64>, of: &str| micros.map(|micros| format!("{} us a {of}", digits(micros)));
    let held = broker.holding_busy.map(|share| format!("{} % of a core to hold them", digits(share * 100.0)));
    let parts: Vec<_> = [each(broker.micros_per_message, "message"), each(broker.micros_per_connect, "connect"), held]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn broker_memory(broker: BrokerFigures) -> Option<String> {
    let all = bytes(broker.connecting_bytes as f64);
    let each = |bytes: Option<f64>| bytes.map(|each| count(each.round() as u64));
    let parts: Vec<_> = [
        each(broker.bytes_per_connection).map(|each| format!("{each} bytes a connection ({all} in all)")),
        each(broker.bytes_per_subscription).map(|each| format!("{each} bytes a subscription")),
        each(broker.bytes_per_retained).map(|each| format!("{each} bytes a retained message")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Of a generator that spins, how late it was; of one that waits, how busy.
fn generator(summary: &Summary) -> String {
    let Summary { is_paced, late, sent, generator_busy, generator_waited, .. } = *summary;
    if is_paced {
        return format!("{} of the messages sent more than 1 ms late ({})", percent(late, sent), count(late));
    }
    let [busy, waited] = [generator_busy, generator_waited].map(|share| share * 100.0);
    format!("busy for {busy:.0} % of the time, waiting for a core for {waited:.0} %")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use thrum::mqtt::QoS;

    use super::*;
    use crate::ledger::Faults;
    use crate::outcome::Outcome;

    fn table(change: impl FnOnce(&mut Outcome)) -> String {
        Table(&Summary::example(change)).to_string()
    }

    #[test]
    fn a_run_is_told_in_a_table() {
        let expected = "\
p2p, 500 pairs: MQTT 5, QoS 1, 16 bytes, 1,000 clients, as fast as windows allow
  throughput    90.0 k messages/s (900,000 in 10.0 s)
  messages      1,000,000 sent, 1,000,000 received of 1,000,000 due
  faults        lost 0, duplicated 0, out of order 0, wrong payload 0
  connects      1,000 at 4.00 k/s
  broker CPU    2.50 us a message, 40.0 us a connect
  broker memory 1,765 bytes a connection (1.76 MB in all)
  generator     busy for 50 % of the time, waiting for a core for 10 %
                       p50       p90       p99     p99.9       max
  latency           450 us    810 us    891 us    900 us    900 us
  connecting        500 us    900 us    990 us    999 us   1.00 ms
";
        assert_eq!(table(|_| {}), expected);
    }

    #[test]
    fn connections_without_messages_are_told_as_such() {
        let expected = "\
p2p, 500 pairs: MQTT 5, 50 clients
  connects      50 at 200/s
  broker CPU    800 us a connect
  broker memory 35,300 bytes a connection (1.76 MB in all)
                       p50       p90       p99     p99.9       max
  connecting        500 us    900 us    990 us    999 us   1.00 ms
  NOTE: memory grows by pages and more: it takes 1,000 connections, to a broker just started, to weigh one
";
        let table = table(|outcome| {
            (outcome.messages.sent, outcome.messages.received, outcome.messages.due) = (0, 0, 0);
            outcome.messages.latency.reset();
            (outcome.clients, outcome.connects.count) = (50, 50);
        });
        assert_eq!(table, expected);
    }

    #[test]
    fn a_few_connects_beside_messages_have_no_rate_and_no_latency() {
        let table = table(|outcome| (outcome.clients, outcome.connects.count, outcome.cost.broker) = (2, 2, None));
        assert!(table.contains("  connects      2\n") && !table.contains("connecting"), "{table}");
    }

    #[test]
    fn what_the_broker_broke_and_where_the_run_failed_is_told_last() {
        let table = table(|outcome| {
            (outcome.messages.faults, outcome.messages.broken) = (Faults { lost: 24, ..Faults::default() }, 24);
            outcome.failures = (1..=5).map(|client| format!("client {client} went")).collect();
        });
        assert!(table.contains("lost 24 (0.0024 %), duplicated 0"), "{table}");
        let end = "  BROKEN: 24 of the faults break what QoS 1 promises\n  FAILED: client 1 went\n  FAILED: client 2 went\n  FAILED: client 3 went\n  FAILED: and 2 more\n";
        assert!(table.ends_with(end), "{table}");
    }

    #[test]
    fn a_generator_that_was_the_limit_says_so() {
        let closed = table(|outcome| outcome.cost.generator_cpu = Duration::from_millis(8_500));
        let words = "NOTE: the generator was busy for 85 % of the time, and waited for a core that others had for 10 %: it was the limit, and the broker may be able to do more than this";
        assert!(closed.contains(words), "{closed}");
        let open = table(|outcome| (outcome.messages.is_paced, outcome.messages.late) = (true, 50_000));
        let words =
            "NOTE: the generator sent 5.0 % of its messages more than 1 ms late: the latencies are its own in part";
        assert!(open.contains(words) && open.contains("16 bytes, 1,000 clients, at a rate"), "{open}");
        assert!(open.contains("  generator     5.00 % of the messages sent more than 1 ms late (50,000)\n"), "{open}");
        let punctual =
            remarks(&Summary::example(|outcome| (outcome.messages.is_paced, outcome.messages.late) = (true, 7)));
        assert_eq!(punctual.len(), 1);
        assert!(punctual[0].1.contains("the generator's late sends are in it"), "{punctual:?}");
    }

    #[test]
    fn figures_that_say_less_than_they_seem_to_have_a_note() {
        let dropped = table(|outcome| {
            outcome.qos = QoS::AtMostOnce;
            outcome.messages.faults.lost = 250_000;
        });
        assert!(dropped.contains("NOTE: 25.0 % of the deliveries were lost, as QoS 0 allows"), "{dropped}");
        assert!(!dropped.contains("BROKEN"), "{dropped}");
        let few = table(|outcome| {
            outcome.messages.latency.reset();
            outcome.messages.latency.saturating_record(1_000);
        });
        assert!(few.contains("NOTE: of so few latencies (1), p99.9 is the worst"), "{few}");
    }
}
