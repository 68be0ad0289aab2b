//! How a shard's numbers get to the first shard, which publishes the sum.

use super::parcel::Parcel;
use super::shard::Shard;
use super::shard_store::ShardStore;
use crate::base::{Millis, ShardId, Timestamp};
use crate::broker::{Input, LoadStats, ShardStats};

/// How often the first shard looks whether $SYS topics are wanted, while they are not.
const OFF_INTERVAL: Millis = Millis::from_secs(60);

impl Shard {
    /// Asks every shard, when it is time to.
    pub(super) fn ask_for_stats(&mut self, now: Timestamp) {
        if self.stage.is_starting() {
            return;
        }
        let Some(report) = self.report.as_mut().filter(|report| report.due() <= now) else { return };
        if self.config.sys_interval_secs == 0 {
            report.begin(now, self.port.shards(), OFF_INTERVAL);
            return;
        }
        let round = report.begin(now, self.port.shards(), Millis::from_secs(self.config.sys_interval_secs));
        for to in 1..self.port.shards() {
            self.port.send(ShardId::new(to), Parcel::StatsAsked { round });
        }
        let own = self.stats();
        self.add_stats(now, round, &own);
    }

    pub(super) fn answer_stats(&mut self, to: ShardId, round: u32) {
        let stats = Box::new(self.stats());
        self.port.send(to, Parcel::Stats { round, stats });
    }

    pub(super) fn add_stats(&mut self, now: Timestamp, round: u32, stats: &ShardStats) {
        let (core, effects) = (&mut self.core, &mut self.effects);
        if let Some(report) = &mut self.report {
            report.add(now, round, stats, |topic, payload| {
                core.handle(now, Input::Announce { topic, payload }, effects);
            });
        }
    }

    pub(super) fn stats(&mut self) -> ShardStats {
        let mut stats = self.core.stats();
        stats.counters.add(&self.counters);
        stats.bytes_received = self.traffic.bytes_received;
        stats.bytes_sent = self.traffic.bytes_sent;
        stats.sockets_opened = self.traffic.sockets_opened;
        stats.load = LoadStats {
            delay_ms: self.overload.average().0,
            delay_ms_max: self.overload.take_longest().0,
            overloaded: self.overload.is_over().into(),
        };
        stats.journal = self.store.as_ref().map(ShardStore::stats).unwrap_or_default();
        stats.sockets_open = (self.connections.len() + self.lingering.len()) as u64;
        stats
    }
}
