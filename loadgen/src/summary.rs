//! The figures of a run: what is printed, kept and compared. Each of them is finite, so that it outlives JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use thrum::mqtt::Version;

use crate::outcome::{Outcome, Sample};
use crate::stamp::STAMP_BYTES;
use crate::usage::Spent;

/// A generator that was busy for so much of the time, or late with so many of its messages, was the limit, or may have
/// been.
const BUSY_SHARE: f64 = 0.9;
const LATE_SHARE: f64 = 0.01;

/// A generator whose own lateness is so much of the median latency has measured itself.
const LATENESS_SHARE: f64 = 0.2;
/// Points of a latency curve for each tenth of the messages that is left: 90 %, 99 %, 99.9 %.
const CURVE_POINTS_PER_DECADE: i32 = 10;

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
    /// Those of the faults that the QoS does not allow.
    #[serde(default)]
    pub broken: u64,
    /// Deliveries in the measurement.
    pub messages_per_sec: f64,
    /// From when a message was to be sent to when it came; of those that came after the warm-up.
    pub latency_micros: Option<Percentiles>,
    /// The same to when its publisher had the last acknowledgement, where sessions are durable.
    #[serde(default)]
    pub acknowledging_micros: Option<Percentiles>,
    /// From SUBSCRIBE to the last of all retained messages.
    #[serde(default)]
    pub fetch_micros: Option<Percentiles>,
    #[serde(default)]
    pub fetches: u64,
    #[serde(default)]
    pub latency_count: u64,
    /// The whole of it: shares of the messages from 0 to 1, and the microseconds that they took at most.
    #[serde(default)]
    pub latency_curve: Vec<(f64, f64)>,
    /// Sent at a rate, whether or not the broker kept up: the latency hides no stall.
    #[serde(default)]
    pub is_paced: bool,
    /// Messages sent more than a millisecond later than they were to be.
    pub late: u64,
    /// Share of a core that the generator used.
    pub generator_busy: f64,
    /// Share of the time that it could have used one and had none, because others had it.
    #[serde(default)]
    pub generator_waited: f64,
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
    /// With its subscriptions. Of these bytes nothing is known where the memory did not grow: what was freed before was
    /// used again.
    pub bytes_per_connection: Option<f64>,
    #[serde(default)]
    pub bytes_per_subscription: Option<f64>,
    #[serde(default)]
    pub bytes_per_retained: Option<f64>,
    /// Share of a core that it used while connections were held.
    #[serde(default)]
    pub holding_busy: Option<f64>,
    /// What its memory grew by while all of them connected: kernels count it in pages, allocators in larger parts.
    #[serde(default)]
    pub connecting_bytes: u64,
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
        let each = |total: f64, count: u64| (count > 0).then(|| total / count as f64);
        let grown = |bytes: u64, count: u64| each(bytes as f64, count).filter(|_| bytes > 0);
        let spent = |cpu: Duration, count: u64| each(cpu.as_secs_f64() * 1e6, count).filter(|_| !cpu.is_zero());
        Self {
            scenario: outcome.name.clone(),
            protocol: match outcome.version {
                Version::V3_1 => "3.1",
                Version::V3_1_1 => "3.1.1",
                Version::V5 => "5",
            }
            .into(),
            qos: outcome.qos as u8,
            payload_bytes: outcome.payload_bytes.max(STAMP_BYTES),
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
            broken: messages.broken,
            messages_per_sec: rate(messages.received_in_span, span.as_secs_f64()),
            latency_micros: Percentiles::of(&messages.latency),
            acknowledging_micros: Percentiles::of(&messages.acknowledging),
            fetch_micros: Percentiles::of(&outcome.fetches),
            fetches: outcome.fetches.len(),
            latency_count: messages.latency.len(),
            latency_curve: curve(&messages.latency),
            is_paced: messages.is_paced,
            late: messages.late,
            generator_busy: share(cost.generator_cpu, *span),
            generator_waited: share(cost.generator_waited, *span),
            own_limit: own_limit(outcome),
            broker: cost.broker.map(|broker| BrokerFigures {
                micros_per_message: spent(broker.messages_cpu, messages.received),
                micros_per_connect: spent(broker.connecting_cpu, connects.count),
                bytes_per_connection: grown(broker.connecting_bytes, outcome.clients as u64),
                bytes_per_subscription: grown(broker.subscribing_bytes, outcome.subscriptions),
                bytes_per_retained: grown(broker.retained_bytes, outcome.retained),
                holding_busy: Some(share(broker.holding_cpu, *span)).filter(|share| *share > 0.0),
                connecting_bytes: broker.connecting_bytes,
            }),
            is_kept: messages.broken == 0 && outcome.failures.is_empty(),
            failures: outcome.failures.clone(),
            samples: outcome.samples.iter().map(Point::of).collect(),
        }
    }

    /// Whether it was about messages at all, and not about connections alone.
    pub const fn has_messages(&self) -> bool {
        self.sent > 0 || self.received > 0 || self.due > 0
    }
}

fn rate(count: u64, secs: f64) -> f64 {
    if secs > 0.0 { count as f64 / secs } else { 0.0 }
}

impl Percentiles {
    /// In microseconds; none of nothing.
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
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

/// The latency that so many messages do not exceed, closer the nearer it comes to all of them; the last one is the worst.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let left = (0..).map(|step| 10_f64.powf(f64::from(step) / f64::from(CURVE_POINTS_PER_DECADE)));
    let shares: Vec<f64> =
        left.take_while(|left| *left <= histogram.len() as f64).map(|left| 1.0 - 1.0 / left).chain([1.0]).collect();
    let micros = histogram.value_at_quantiles(shares.clone()).map(|nanos| nanos as f64 / 1e3);
    shares.into_iter().zip(micros).collect()
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole > Duration::ZERO { part.as_secs_f64() / whole.as_secs_f64() } else { 0.0 }
}

/// A generator that sends at a rate may spin, or be busy and yet in time; that it was late shows that it did not keep up.
fn own_limit(outcome: &Outcome) -> Option<String> {
    let Outcome { messages, cost, span, .. } = outcome;
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
    // Where there are messages, nobody looks at how fast their clients connected.
    let connecting = (messages.due == 0).then(|| {
        let Spent { cpu, waited } = cost.generator_connecting;
        busy(cpu, waited, outcome.connects.span, "time it took to connect")
    });
    busy(cost.generator_cpu, cost.generator_waited, *span, "time").or(connecting.flatten())
}

/// Whether it was busy for nearly all of it, in words.
fn busy(cpu: Duration, waited: Duration, span: Duration, of: &str) -> Option<String> {
    let (busy, waited) = (share(cpu, span), share(waited, span));
    let words = match waited {
        ..0.01 => String::new(),
        _ => format!(", and waited for a core that others had for {:.0} %", waited * 100.0),
    };
    (busy + waited > BUSY_SHARE).then(|| format!("the generator was busy for {:.0} % of the {of}{words}", busy * 100.0))
}

#[cfg(test)]
impl Summary {
    /// Of the example outcome, with a change.
    pub(crate) fn example(change: impl FnOnce(&mut Outcome)) -> Self {
        let mut outcome = Outcome::example();
        change(&mut outcome);
        Self::of(&outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Faults;
    use crate::outcome::{BrokerCost, Connects, Cost, Messages, histogram};

    /// To the three digits that a histogram keeps; never less than what was recorded.
    fn assert_close(found: f64, recorded: f64) {
        assert!(found >= recorded && found <= recorded * 1.001, "{found} for {recorded}");
    }

    #[test]
    fn percentiles_are_those_of_the_histogram() {
        let Percentiles { p50, p90, p99, p999, max } = Summary::example(|_| {}).latency_micros.expect("latencies");
        assert_close(p50, 450.0);
        assert_close(p90, 810.0);
        assert_close(p99, 891.0);
        assert_close(p999, 899.1);
        assert_close(max, 900.0);
        assert_close(Summary::example(|_| {}).connect_micros.expect("connects").p99, 990.0);
    }

    #[test]
    fn one_message_is_every_percentile_and_none_is_no_percentile() {
        let one = Summary::example(|outcome| {
            outcome.messages.latency = histogram();
            outcome.messages.latency.saturating_record(5_000_000);
        });
        let Percentiles { p50, max, .. } = one.latency_micros.expect("a latency");
        assert_close(p50, 5_000.0);
        assert_eq!((one.latency_count, p50), (1, max));
        // The histogram's own part of the scale, from its beginning to its end.
        let [(0.0, least), (1.0, most)] = one.latency_curve[..] else { panic!("{:?}", one.latency_curve) };
        assert_close(5_000.0, least);
        assert_eq!(most, p50);
        let none = Summary::example(|outcome| outcome.messages.latency = histogram());
        assert_eq!((none.latency_micros, none.latency_count, none.latency_curve), (None, 0, Vec::new()));
    }

    #[test]
    fn a_stall_of_minutes_is_told_as_what_it_was() {
        let stalled = Summary::example(|outcome| outcome.messages.latency.saturating_record(600_000_000_000));
        assert_close(stalled.latency_micros.expect("latencies").max, 600e6);
    }

    #[test]
    fn the_curve_goes_from_the_best_message_to_the_worst_and_never_down() {
        let Summary { latency_curve, latency_micros, .. } = Summary::example(|_| {});
        let (first, last) = (latency_curve[0], latency_curve[latency_curve.len() - 1]);
        assert_eq!((first.0, last), (0.0, (1.0, latency_micros.expect("latencies").max)));
        assert!(latency_curve.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
        let of = |share: f64| latency_curve.iter().find(|point| (point.0 - share).abs() < 1e-9).expect("a point").1;
        assert_close(of(0.9), 810.0);
        assert_close(of(0.9999), 899.91);
        // Nothing is told of one in a million of 900,000.
        assert!(latency_curve.iter().rev().nth(1).expect("points").0 < 1.0 - 1.0 / 900_000.0);
    }

    #[test]
    fn rates_and_costs_are_of_what_they_are_for() {
        let Summary { messages_per_sec, connects_per_sec, generator_busy, broker, secs, .. } = Summary::example(|_| {});
        // The warm-up's messages are in its CPU and in what it is divided by, and not in the rate.
        assert_eq!((secs, messages_per_sec, connects_per_sec, generator_busy), (10.0, 90_000.0, 4_000.0, 0.5));
        let broker = broker.expect("its figures");
        assert_eq!((broker.micros_per_message, broker.micros_per_connect), (Some(2.5), Some(40.0)));
        assert_eq!((broker.bytes_per_connection, broker.connecting_bytes), (Some(1_765.0), 1_765_000));
    }

    #[test]
    fn memory_is_of_the_clients_and_cpu_of_every_connect() {
        let churned = Summary::example(|outcome| outcome.connects.count = 4_000).broker.expect("its figures");
        assert_eq!((churned.micros_per_connect, churned.bytes_per_connection), (Some(10.0), Some(1_765.0)));
    }

    #[test]
    fn cpu_is_of_each_delivery_and_not_of_each_publish() {
        let fanned_out = Summary::example(|outcome| outcome.messages.sent = 1_000).broker.expect("its figures");
        assert_eq!(fanned_out.micros_per_message, Some(2.5));
    }

    #[test]
    fn parts_of_the_measurement_have_rates_of_their_own() {
        let points = Summary::example(|outcome| outcome.samples[1].span = Duration::from_millis(500)).samples;
        let of = |point: Point| (point.at_secs, point.sent_per_sec, point.received_per_sec, point.p50_micros);
        assert_eq!(of(points[0]), (1.0, 90_000.0, 90_000.0, 450.0));
        assert_eq!(of(points[1]), (2.0, 180_000.0, 180_000.0, 450.0));
        assert_eq!((points[1].p99_micros, points[1].max_micros, points[1].connects_per_sec), (891.0, 180.0, 0.0));
    }

    #[test]
    fn a_run_of_nothing_has_no_figures_and_none_that_json_cannot_hold() {
        let nothing = Summary::example(|outcome| {
            let connects = Connects { count: 0, span: Duration::ZERO, latency: histogram() };
            let (latency, faults) = (histogram(), Faults::default());
            let (sent, received, due, received_in_span, late) = (0, 0, 0, 0, 0);
            outcome.messages = Messages {
                sent,
                received,
                due,
                received_in_span,
                faults,
                latency,
                acknowledging: histogram(),
                is_paced: true,
                late,
                ..outcome.messages
            };
            (outcome.connects, outcome.clients, outcome.span) = (connects, 0, Duration::ZERO);
            outcome.samples[0].span = Duration::ZERO;
        });
        assert!(!nothing.has_messages() && nothing.is_kept);
        assert_eq!((nothing.messages_per_sec, nothing.connects_per_sec, nothing.generator_busy), (0.0, 0.0, 0.0));
        assert_eq!((nothing.latency_micros, nothing.connect_micros, &nothing.own_limit), (None, None, &None));
        let broker = nothing.broker.expect("its figures");
        let each = (broker.micros_per_message, broker.micros_per_connect, broker.bytes_per_connection);
        assert_eq!(each, (None, None, None));
        let json = serde_json::to_string(&nothing).expect("JSON");
        assert_eq!(serde_json::from_str::<Summary>(&json).expect("a summary"), nothing);
    }

    #[test]
    fn connections_alone_are_told_without_messages() {
        let connected = Summary::example(|outcome| {
            (outcome.messages.sent, outcome.messages.received, outcome.messages.due) = (0, 0, 0);
            outcome.messages.received_in_span = 0;
            outcome.cost.broker =
                Some(BrokerCost { messages_cpu: Duration::ZERO, ..outcome.cost.broker.expect("one") });
        });
        assert!(!connected.has_messages());
        assert_eq!((connected.connects_per_sec, connected.messages_per_sec), (4_000.0, 0.0));
        assert_eq!(connected.broker.expect("its figures").micros_per_message, None);
    }

    #[test]
    fn a_generator_without_an_idle_moment_is_the_limit_of_a_closed_loop() {
        let limit = |busy_secs, waited_secs| {
            let (generator_cpu, generator_waited) = (Duration::from_secs(busy_secs), Duration::from_secs(waited_secs));
            Summary::example(|outcome| outcome.cost = Cost { generator_cpu, generator_waited, ..Cost::default() })
                .own_limit
        };
        assert_eq!((limit(9, 0), limit(4, 5)), (None, None));
        assert_eq!(limit(10, 0).as_deref(), Some("the generator was busy for 100 % of the time"));
        let words = "the generator was busy for 40 % of the time, and waited for a core that others had for 60 %";
        assert_eq!(limit(4, 6).as_deref(), Some(words));
    }

    #[test]
    fn a_late_generator_is_the_limit_of_an_open_loop_and_a_busy_one_is_not() {
        let limit = |late| {
            Summary::example(|outcome| {
                outcome.cost.generator_cpu = Duration::from_secs(10);
                (outcome.messages.is_paced, outcome.messages.late) = (true, late);
            })
            .own_limit
        };
        assert_eq!((limit(0), limit(10_000)), (None, None));
        let words = "the generator sent 2.5 % of its messages more than 1 ms late";
        assert_eq!(limit(25_000).as_deref(), Some(words));
    }

    #[test]
    fn a_failure_is_no_breach_of_the_qos_and_yet_nothing_kept() {
        let failed = Summary::example(|outcome| outcome.failures.push("the broker closed a connection".into()));
        assert_eq!((failed.is_kept, failed.broken), (false, 0));
    }

    #[test]
    fn what_breaks_the_qos_is_told_and_nothing_kept() {
        let broken = Summary::example(|outcome| outcome.messages.broken = 8);
        assert_eq!((broken.broken, broken.is_kept), (8, false));
    }

    #[test]
    fn a_generator_that_was_late_by_much_of_the_latency_has_measured_itself() {
        let limit = |lateness| {
            Summary::example(|outcome| {
                (outcome.messages.is_paced, outcome.messages.lateness) = (true, Duration::from_micros(lateness));
            })
            .own_limit
        };
        assert_eq!(limit(80), None);
        let words = "the generator was 100 us late on the average, which is in the latencies (see --spin)";
        assert_eq!(limit(100).as_deref(), Some(words));
    }

    #[test]
    fn memory_that_did_not_grow_says_nothing_of_a_connection() {
        let reused = Summary::example(|outcome| {
            outcome.cost.broker = Some(BrokerCost { connecting_bytes: 0, ..outcome.cost.broker.expect("one") });
        });
        assert_eq!(reused.broker.expect("its figures").bytes_per_connection, None);
    }
}
