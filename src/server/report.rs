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
}

impl Report {
    pub(super) fn new(now: Timestamp) -> Self {
        let topics = SysTopics::new(env!("CARGO_PKG_VERSION"), now);
        Self { topics, due: now, sum: ShardStats::default(), missing: 0 }
    }

    pub(super) const fn due(&self) -> Timestamp {
        self.due
    }

    /// Begins anew, whatever is still missing. Without an interval there is none.
    pub(super) fn begin(&mut self, now: Timestamp, shards: usize, interval: Millis) {
        self.due = now + interval;
        (self.sum, self.missing) = (ShardStats::default(), shards);
    }

    /// Takes one shard's answer, and publishes when it was the last one.
    pub(super) fn add(&mut self, now: Timestamp, stats: &ShardStats, publish: impl FnMut(TopicName<'_>, &[u8])) {
        self.sum.add(stats);
        self.missing = self.missing.saturating_sub(1);
        if self.missing == 0 {
            self.topics.update(now, &self.sum, HeapBytes::of_process(), publish);
        }
    }
}
