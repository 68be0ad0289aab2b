//! How a shard is doing, in numbers that add up to the broker's.

use super::core::ShardCore;
use super::held::Held;
use crate::base::Counters;

/// One shard's numbers, or the sum of several.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ShardStats {
    pub counters: Counters,
    pub shards: u64,
    pub sessions: u64,
    /// Those of them whose client is there.
    pub sessions_connected: u64,
    /// Without the shared ones.
    pub subscriptions: u64,
    pub shared_subscriptions: u64,
    /// Messages that wait for clients, or are under way to them.
    pub held: Held,
    pub retained: Held,
    /// Bytes that wait for their sockets.
    pub output_bytes_waiting: u64,
    /// Here begins what only the driver knows.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub sockets_open: u64,
    /// Since the start.
    pub sockets_opened: u64,
    pub journal: JournalStats,
    pub load: LoadStats,
}

/// How long input waits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LoadStats {
    /// On average, of the shard where it waits longest.
    pub delay_ms: u64,
    /// The longest since this was asked last.
    pub delay_ms_max: u64,
    /// Shards that let nobody new in.
    pub overloaded: u64,
}

impl LoadStats {
    fn add(&mut self, other: &Self) {
        let Self { delay_ms, delay_ms_max, overloaded } = other;
        self.delay_ms = self.delay_ms.max(*delay_ms);
        self.delay_ms_max = self.delay_ms_max.max(*delay_ms_max);
        self.overloaded += overloaded;
    }
}

/// What was stored since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct JournalStats {
    pub commits: u64,
    pub records: u64,
    pub bytes: u64,
    /// Recorded, and not yet on the disk.
    pub bytes_waiting: u64,
    /// Files of the log that are written, and not yet settled.
    pub segments: u64,
    /// The longest that the disk took for a commit.
    pub sync_us_max: u64,
    /// Shards that cannot store.
    pub failing: u64,
}

impl JournalStats {
    fn add(&mut self, other: &Self) {
        let Self { commits, records, bytes, bytes_waiting, segments, sync_us_max, failing } = other;
        self.commits += commits;
        self.records += records;
        self.bytes += bytes;
        self.bytes_waiting += bytes_waiting;
        self.segments += segments;
        self.sync_us_max = self.sync_us_max.max(*sync_us_max);
        self.failing += failing;
    }
}

impl ShardStats {
    pub fn add(&mut self, other: &Self) {
        let Self {
            counters,
            shards,
            sessions,
            sessions_connected,
            subscriptions,
            shared_subscriptions,
            held,
            retained,
            output_bytes_waiting,
            bytes_received,
            bytes_sent,
            sockets_open,
            sockets_opened,
            journal,
            load,
        } = other;
        self.counters.add(counters);
        self.shards += shards;
        self.sessions += sessions;
        self.sessions_connected += sessions_connected;
        self.subscriptions += subscriptions;
        self.shared_subscriptions += shared_subscriptions;
        self.held.add(held);
        self.retained.add(retained);
        self.output_bytes_waiting += output_bytes_waiting;
        self.bytes_received += bytes_received;
        self.bytes_sent += bytes_sent;
        self.sockets_open += sockets_open;
        self.sockets_opened += sockets_opened;
        self.journal.add(journal);
        self.load.add(load);
    }
}

impl ShardCore {
    /// Costs the same however much the shard holds. What only the driver knows is zero.
    pub fn stats(&self) -> ShardStats {
        ShardStats {
            counters: self.counters.clone(),
            shards: 1,
            sessions: self.sessions.len() as u64,
            sessions_connected: self.sessions.connected_len() as u64,
            // Each group has one in the index, and its members have theirs in the group.
            subscriptions: (self.index.subscriptions_len() - self.groups.len()) as u64,
            shared_subscriptions: self.groups.memberships_len() as u64,
            held: self.held,
            retained: self.retained.held(),
            output_bytes_waiting: self.counters.output_bytes_waiting(),
            ..ShardStats::default()
        }
    }

    /// The same, found by looking at every session, connection and message: for tests to compare.
    pub fn stats_counted_anew(&self) -> ShardStats {
        let mut held = Held::default();
        for (_, session) in self.sessions.iter() {
            held.add(&Held::of(session.queue.iter()));
            session.queue.left().for_each(|left| held.put_left(*left));
            held.add(&Held::of(session.outbound.messages()));
        }
        let connections = self.connections.ids();
        ShardStats {
            sessions_connected: self.sessions.iter().filter(|(_, session)| session.conn.is_some()).count() as u64,
            held,
            retained: Held::of(self.retained.index.iter()),
            output_bytes_waiting: connections.iter().map(|&conn| u64::from(self.connections[conn].unsent)).sum(),
            ..self.stats()
        }
    }
}
