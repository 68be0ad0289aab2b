//! What all shards said of how they are doing, added up for `$SYS`. The first shard has it.

use super::memory::HeapBytes;
use super::sys::SysTopics;
use crate::base::{Millis, Timestamp};
use crate::broker::ShardStats;
use crate::mqtt::TopicName;

#[derive(Debug)]
pub(super) struct Report {
    topics: SysTopics,
    /// When the shards are asked next.
    due: Timestamp,
    /// What was answered so far, and by how many shards it is still to be.
    sum: ShardStats,
    missing: usize,
    /// Tells an answer from one that comes too late.
    round: u32,
}

impl Report {
    pub(super) fn new(now: Timestamp) -> Self {
        let topics = SysTopics::new(env!("CARGO_PKG_VERSION"), now);
        Self { topics, due: now, sum: ShardStats::default(), missing: 0, round: 0 }
    }

    pub(super) const fn due(&self) -> Timestamp {
        self.due
    }

    /// The interval is another one: the next round is now.
    pub(super) const fn hurry(&mut self, now: Timestamp) {
        self.due = now;
    }

    /// Begins a new round, whatever is still missing.
    pub(super) fn begin(&mut self, now: Timestamp, shards: usize, interval: Millis) -> u32 {
        self.due = now + interval;
        (self.sum, self.missing) = (ShardStats::default(), shards);
        self.round = self.round.wrapping_add(1);
        self.round
    }

    /// Takes one shard's answer, and publishes when it was the last one.
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        round: u32,
        stats: &ShardStats,
        publish: impl FnMut(TopicName<'_>, &[u8]),
    ) {
        if round != self.round {
            return;
        }
        self.sum.add(stats);
        self.missing -= 1;
        if self.missing == 0 {
            self.topics.update(now, &self.sum, HeapBytes::own(), publish);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_comes_too_late_is_not_counted_in_the_next_round() {
        let mut report = Report::new(Timestamp(0));
        let mut said = Vec::new();
        let mut add = |report: &mut Report, round, bytes_received| {
            let stats = ShardStats { bytes_received, ..ShardStats::default() };
            report.add(Timestamp(1), round, &stats, |topic, payload| {
                if topic.as_str() == "$SYS/broker/bytes/received" {
                    said.push(String::from_utf8_lossy(payload).into_owned());
                }
            });
        };
        let first = report.begin(Timestamp(0), 2, Millis(10));
        add(&mut report, first, 1);
        let second = report.begin(Timestamp(10), 2, Millis(10));
        add(&mut report, second, 20);
        add(&mut report, first, 300);
        add(&mut report, second, 4_000);
        add(&mut report, first, 50_000);
        assert_eq!(said, ["4020"]);
        assert_eq!(report.due(), Timestamp(20));
    }
}
