//! Drives a shard's log through glommio.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::log::{Durability, Failure, FullSegment};
use crate::base::ShardId;
use crate::broker::Record;

#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    pub store_id: u64,
    pub epoch: u64,
    pub shard: ShardId,
    pub next_number: u64,
    pub durability: Durability,
    pub commit_delay: Duration,
    pub commit_bytes_max: usize,
    pub segment_bytes: u64,
    pub segments_max: usize,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct JournalCounters {
    pub commits: u64,
    pub records: u64,
    pub bytes: u64,
    pub sync_sum: Duration,
    pub sync_max: Duration,
    pub segments_unsettled: usize,
    /// Recorded, and not yet on the disk.
    pub bytes_waiting: u64,
}

#[derive(Debug)]
pub struct Journal;

impl Journal {
    /// `folder` is the shard's, `thrum-data/shard-00`.
    pub async fn start(folder: &Path, options: JournalOptions) -> io::Result<Self> {
        let _ = (folder, options);
        Ok(Self)
    }

    pub fn record(&mut self, records: &mut Vec<Record>) {
        records.clear();
    }

    pub fn turn(&mut self, now: Instant) {
        let _ = now;
    }

    /// Returns when something is new: committed, failed or a segment full.
    pub async fn changed(&self) {}

    pub fn committed(&self) -> u64 {
        0
    }

    pub fn is_busy(&self) -> bool {
        false
    }

    pub fn due(&self) -> Option<Instant> {
        None
    }

    pub fn commit_now(&mut self) {}

    pub fn rotate(&mut self) {}

    pub fn full_segments(&mut self) -> Vec<FullSegment> {
        Vec::new()
    }

    pub fn settled(&mut self, sequence: u64) {
        let _ = sequence;
    }

    pub fn failure(&self) -> Option<Failure> {
        None
    }

    pub fn counters(&self) -> JournalCounters {
        JournalCounters::default()
    }

    pub async fn close(&mut self) {}
}
