//! A measurement's parts, one after the other, and the latencies of all of them.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::outcome::{Sample, histogram};

/// A part is a second long, or shorter, so that there are no fewer than this.
const PARTS_MIN: u32 = 20;

/// What was counted up to a time.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub connects: u64,
    pub sent: u64,
    pub received: u64,
}

#[derive(Debug)]
pub struct Timeline {
    began: u64,
    part_nanos: u64,
    /// When the current part began, and what was counted by then.
    part_from: u64,
    counted: Counts,
    latency: Histogram<u64>,
    samples: Vec<Sample>,
}

impl Timeline {
    /// Of a measurement that begins now and is to take so long.
    pub fn new(now: u64, counted: Counts, duration: Duration) -> Self {
        let part = Duration::from_secs(1).min(duration / PARTS_MIN);
        Self {
            began: now,
            part_nanos: part.as_nanos() as u64,
            part_from: now,
            counted,
            latency: histogram(),
            samples: Vec::new(),
        }
    }

    pub const fn is_due(&self, now: u64) -> bool {
        now >= self.part_from + self.part_nanos
    }

    /// Ends a part, whose latencies these are. One without length is none.
    pub fn end_part(&mut self, now: u64, counts: Counts, latency: &Histogram<u64>) {
        self.add_latency(latency);
        if now <= self.part_from {
            return;
        }
        self.samples.push(Sample {
            at: Duration::from_nanos(now - self.began),
            span: Duration::from_nanos(now - self.part_from),
            connects: counts.connects - self.counted.connects,
            sent: counts.sent - self.counted.sent,
            received: counts.received - self.counted.received,
            p50: latency.value_at_quantile(0.5),
            p99: latency.value_at_quantile(0.99),
            max: latency.max(),
        });
        (self.part_from, self.counted) = (now, counts);
    }

    /// Latencies that are of the measurement and of none of its parts.
    pub fn add_latency(&mut self, latency: &Histogram<u64>) {
        self.latency.add(latency).expect("two histograms of one kind");
    }

    /// From the measurement's beginning to the end of its last part.
    pub const fn span(&self) -> Duration {
        Duration::from_nanos(self.part_from - self.began)
    }

    /// What was counted by the end of its last part.
    pub const fn counted(&self) -> Counts {
        self.counted
    }

    pub fn finish(self) -> (Vec<Sample>, Histogram<u64>) {
        (self.samples, self.latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_what_came_in_it_and_the_whole_has_all() {
        let second = 1_000_000_000;
        let mut timeline = Timeline::new(5, Counts { sent: 10, ..Counts::default() }, Duration::from_secs(100));
        assert!(!timeline.is_due(second) && timeline.is_due(second + 5));
        let mut latency = histogram();
        latency.record(7).expect("a latency");
        timeline.end_part(second + 5, Counts { sent: 15, received: 3, connects: 0 }, &latency);
        timeline.end_part(2 * second + 5, Counts { sent: 15, received: 4, connects: 1 }, &latency);
        timeline.end_part(2 * second + 5, Counts { sent: 16, received: 9, connects: 9 }, &latency);
        assert_eq!(timeline.span(), Duration::from_secs(2));
        let (samples, latency) = timeline.finish();
        let counted: Vec<_> = samples.iter().map(|sample| (sample.sent, sample.received, sample.connects)).collect();
        assert_eq!((counted, latency.len()), (vec![(5, 3, 0), (0, 1, 1)], 3));
        assert_eq!((samples[1].at, samples[1].span), (Duration::from_secs(2), Duration::from_secs(1)));
        assert_eq!((samples[0].p50, samples[0].max), (7, 7));
    }

    #[test]
    fn a_short_measurement_has_parts_too() {
        let timeline = Timeline::new(0, Counts::default(), Duration::from_secs(1));
        assert!(timeline.is_due(50_000_000) && !timeline.is_due(49_999_999));
    }
}
