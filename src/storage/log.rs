//! The writer of one shard's log, without the disk: it is told of records, time and how its operations went, and says
//! which come next. Batches wait in order; the last of them still forms. One is being committed.
//!
//! | commit | event | commit | what else |
//! |---|---|---|---|
//! | Idle | a batch is due, the segment has room | Write | |
//! | Idle | a batch is due, the segment has no room | Idle | the segment is full, the one that is prepared begins |
//! | Idle | a batch is due, nothing is prepared | Idle | a segment is wanted of [`Upkeep`] |
//! | Write | `done(Ok)` | Sync | |
//! | Sync | `done(Ok)` | Idle | its records are committed; a failure is over; half full: the next segment is wanted |
//! | Write, Sync | `done(Err)` | Idle | the segment is abandoned; the batch is the first that waits, for a second |
//!
//! A batch is due when a later one forms, when it has the bytes, when it has waited for the delay, or when somebody asked
//! for it (`commit_now`, `rotate`, `close`). While too many segments are not settled no other one begins.
//!
//! A write or a sync that failed says nothing about what is on the disk, and the next sync of the same file would not
//! either. So the segment is never written to again, what of it was synced before counts, and the batch goes as it is,
//! with the same numbers, into another file. Whoever reads both takes it once (see [`super::segment::Chain`]).

use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use super::batch::{Batch, Buffer, Extent, Shared};
use super::operation::{FileName, Lane, Operation};
use super::segment::{BLOCK_BYTES, Header, Salt};
use super::upkeep::{Prepared, RETRY, Upkeep};
use crate::base::ShardId;
use crate::broker::Record;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Nothing is committed before it is synced.
    Commit,
    /// Synced so often, and committed at once: what was recorded since the last time can be lost.
    Interval(Duration),
}

#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    pub store_id: u64,
    pub epoch: u64,
    pub shard: ShardId,
    /// Of the first record.
    pub next_number: u64,
    pub durability: Durability,
    /// How long a batch waits for more records. Zero: as long as the one before it takes.
    pub commit_delay: Duration,
    /// A batch of so many bytes waits no longer, and takes no more records.
    pub commit_bytes_max: usize,
    /// Of a segment's file; one for a longer batch is longer.
    pub segment_bytes: u64,
    /// Full and not settled; while there are more, no other segment begins.
    pub segments_max: usize,
}

/// Why nothing can be committed now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What happened, and where.
    pub what: String,
}

/// A segment that is synced, and never written to again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub sequence: u64,
    /// Of the records in it that count: what may stand behind it, stands in a later segment again.
    pub last_number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LogCounters {
    pub commits: u64,
    pub records: u64,
    /// Written, padding and all.
    pub bytes: u64,
    pub sync_sum: Duration,
    pub sync_max: Duration,
    /// Failed writes, syncs and preparations.
    pub failures: u64,
    pub segments_unsettled: usize,
    /// Recorded, and not on the disk yet.
    pub bytes_waiting: usize,
}

#[derive(Debug)]
pub struct Log<B> {
    options: LogOptions,
    upkeep: Upkeep<B>,
    is_upkeep_busy: bool,
    /// In the order of their numbers; only the last one takes records.
    waiting: VecDeque<Batch<B>>,
    /// How long the last batch was that began to be committed: the next one will be as long.
    batch_bytes: usize,
    /// When the last batch that waits got its first record.
    formed: Option<Instant>,
    commit: Commit<B>,
    active: Option<Active>,
    /// Numbers of the next record, and behind the last one that is on the disk.
    next_number: u64,
    synced_end: u64,
    /// All before this number is due.
    due_before: u64,
    /// The segment ends when all before this number is on the disk.
    rotate_at: Option<u64>,
    is_closing: bool,
    /// A batch was due and there was no segment for it; what brings one is no matter of time.
    lacks_segment: bool,
    /// Why the last commit failed, and when there will be another.
    failed: Option<(String, Instant)>,
    full: Vec<Ended>,
    unsettled: Vec<Unsettled>,
    counters: LogCounters,
}

#[derive(Debug)]
enum Commit<B> {
    Idle,
    Write(InFlight<B>),
    Sync(InFlight<B>),
}

#[derive(Debug)]
struct InFlight<B> {
    batch: Shared<B>,
    /// When the step was begun; None: it is to be.
    began: Option<Instant>,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    header: Header,
    salt: Salt,
    bytes: u64,
    /// Where the next batch goes.
    end: u64,
    batches: u32,
    /// The number behind its last record that is synced; the first one's where it has none.
    synced_end: u64,
}

#[derive(Debug)]
struct Unsettled {
    sequence: u64,
    may_recycle: bool,
}

impl<B: Buffer> Log<B> {
    /// `found` is what is in the shard's folder, with the length of each file.
    pub fn new(options: LogOptions, found: &[(FileName, u64)]) -> Self {
        let LogOptions { store_id, epoch, shard, next_number, .. } = options;
        let segment_bytes = options.segment_bytes.max(2 * BLOCK_BYTES as u64).next_multiple_of(BLOCK_BYTES as u64);
        let mut upkeep = Upkeep::new(Header { store_id, epoch, shard, sequence: 0 }, segment_bytes, found);
        upkeep.want(0);
        Self {
            options: LogOptions { segment_bytes, ..options },
            upkeep,
            is_upkeep_busy: false,
            waiting: VecDeque::new(),
            batch_bytes: BLOCK_BYTES,
            formed: None,
            commit: Commit::Idle,
            active: None,
            next_number,
            synced_end: next_number,
            due_before: next_number,
            rotate_at: None,
            is_closing: false,
            lacks_segment: false,
            failed: None,
            full: Vec::new(),
            unsettled: Vec::new(),
            counters: LogCounters::default(),
        }
    }

    /// Takes the records, all of them whole groups, into one batch.
    pub fn record(&mut self, now: Instant, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let max = self.options.commit_bytes_max;
        if self.waiting.back().is_none_or(|last| last.is_sealed() || last.extent().bytes >= max) {
            self.waiting.push_back(Batch::new(self.next_number, self.batch_bytes));
            self.formed = Some(now);
        }
        let Some(batch) = self.waiting.back_mut() else { return };
        let before = batch.extent().bytes;
        for record in records.drain(..) {
            batch.push(&record);
        }
        self.next_number = batch.extent().end();
        self.counters.bytes_waiting += batch.extent().bytes - before;
    }

    /// The number of the last record that need not be waited for any more.
    pub const fn committed(&self) -> u64 {
        match self.options.durability {
            Durability::Commit => self.synced_end - 1,
            Durability::Interval(_) => self.next_number - 1,
        }
    }

    /// The number of the last record that is on the disk.
    pub const fn synced(&self) -> u64 {
        self.synced_end - 1
    }

    /// Of the last record there is.
    pub const fn recorded(&self) -> u64 {
        self.next_number - 1
    }

    /// The batch that forms waits no longer.
    pub const fn commit_now(&mut self) {
        self.due_before = self.next_number;
    }

    /// Commits, and ends the segment even if it is not full.
    pub fn rotate(&mut self) {
        self.commit_now();
        self.rotate_at = Some(self.next_number);
        if matches!(self.commit, Commit::Idle) {
            self.rotate_if_due();
        }
    }

    /// Commits; nothing is prepared from now on but what is needed for that.
    pub const fn close(&mut self) {
        self.commit_now();
        self.is_closing = true;
    }

    /// Segments that have ended since this was asked last.
    pub fn full_segments(&mut self) -> Vec<Ended> {
        mem::take(&mut self.full)
    }

    /// What counts in the segment is safe elsewhere.
    pub fn settled(&mut self, sequence: u64) {
        if let Some(at) = self.unsettled.iter().position(|segment| segment.sequence == sequence) {
            let segment = self.unsettled.remove(at);
            self.upkeep.retire(sequence, segment.may_recycle);
        }
    }

    /// Why it cannot commit; none when it can, or nobody wants it to.
    pub fn failure(&self) -> Option<Failure> {
        let what = match &self.failed {
            Some((what, _)) => Some(what.as_str()),
            None if self.active.is_none() => self.upkeep.failure(),
            None => None,
        };
        what.map(|what| Failure { what: what.to_owned() })
    }

    /// A first segment is there.
    pub const fn is_ready(&self) -> bool {
        self.active.is_some() || self.upkeep.has_prepared()
    }

    /// Whether an operation was begun and is not done.
    pub const fn is_busy(&self, lane: Lane) -> bool {
        match (lane, &self.commit) {
            (Lane::Upkeep, _) => self.is_upkeep_busy,
            (Lane::Commit, Commit::Write(batch) | Commit::Sync(batch)) => batch.began.is_some(),
            (Lane::Commit, Commit::Idle) => false,
        }
    }

    /// When an operation will come by time, and by nothing else.
    pub fn due(&self) -> Option<Instant> {
        let upkeep = self.upkeep.due().filter(|_| self.may_prepare());
        let commit = match (&self.commit, self.waiting.front()) {
            (Commit::Idle, Some(front)) if !self.lacks_segment => {
                let again = self.failed.as_ref().map(|(_, again)| *again);
                let formed = self.formed.filter(|_| !self.is_front_due_now(front));
                formed.map(|formed| formed + self.delay()).max(again)
            }
            _ => None,
        };
        [upkeep, commit].into_iter().flatten().min()
    }

    /// Nobody needs a segment who is closing and has committed all.
    fn may_prepare(&self) -> bool {
        !self.is_closing || self.synced_end < self.next_number
    }

    pub fn counters(&self) -> LogCounters {
        LogCounters { segments_unsettled: self.unsettled.len(), ..self.counters }
    }

    const fn delay(&self) -> Duration {
        match self.options.durability {
            Durability::Commit => self.options.commit_delay,
            Durability::Interval(interval) => interval,
        }
    }

    /// Whatever the time is.
    fn is_front_due_now(&self, front: &Batch<B>) -> bool {
        self.waiting.len() > 1
            || front.extent().bytes >= self.options.commit_bytes_max
            || front.extent().first < self.due_before
            || self.delay() == Duration::ZERO
    }

    fn is_front_due(&self, now: Instant) -> bool {
        self.waiting.front().is_some_and(|front| {
            let has_waited = self.formed.is_some_and(|formed| formed + self.delay() <= now);
            (has_waited || self.is_front_due_now(front)) && self.failed.as_ref().is_none_or(|(_, again)| *again <= now)
        })
    }
}

/// The operations.
impl<B: Buffer> Log<B> {
    /// The operation to begin now, if the lane's last one is done. When it is done, [`Self::done`] is told.
    pub fn next(&mut self, now: Instant, lane: Lane) -> Option<Operation<B>> {
        if self.is_busy(lane) {
            return None;
        }
        match lane {
            Lane::Commit => self.next_commit(now),
            Lane::Upkeep => {
                let operation = self.upkeep.next(now, self.may_prepare());
                self.is_upkeep_busy = operation.is_some();
                operation
            }
        }
    }

    /// How the lane's operation went. An error says what happened, and to which file.
    pub fn done(&mut self, now: Instant, lane: Lane, result: Result<(), String>) {
        self.counters.failures += u64::from(result.is_err());
        match lane {
            Lane::Upkeep => {
                self.is_upkeep_busy = false;
                self.upkeep.done(now, result);
            }
            Lane::Commit => self.commit_done(now, result),
        }
    }

    fn next_commit(&mut self, now: Instant) -> Option<Operation<B>> {
        if matches!(self.commit, Commit::Idle) && self.is_front_due(now) {
            self.begin_commit();
        }
        let active = self.active.as_ref()?;
        let file = FileName::Segment(active.header.sequence);
        match &mut self.commit {
            Commit::Idle => None,
            Commit::Write(InFlight { batch, began }) => {
                *began = Some(now);
                Some(Operation::Write { file, offset: active.end, buffer: batch.buffer() })
            }
            Commit::Sync(InFlight { began, .. }) => {
                *began = Some(now);
                Some(Operation::Sync(file))
            }
        }
    }

    fn begin_commit(&mut self) {
        let Some(bytes) = self.waiting.front().map(|front| front.extent().padded_bytes()) else { return };
        if self.active.as_ref().is_some_and(|active| active.end + bytes as u64 > active.bytes) {
            self.end_segment(true);
        }
        self.lacks_segment = self.active.is_none() && !self.open_segment(bytes);
        if self.lacks_segment {
            return;
        }
        let (Some(active), Some(mut batch)) = (&self.active, self.waiting.pop_front()) else { return };
        batch.seal(active.salt, active.header.sequence, active.batches, active.end);
        self.batch_bytes = batch.extent().bytes.min(self.options.commit_bytes_max);
        self.commit = Commit::Write(InFlight { batch: batch.share(), began: None });
    }

    fn open_segment(&mut self, bytes: usize) -> bool {
        if self.unsettled.len() > self.options.segments_max {
            return false;
        }
        let Some(Prepared { header, bytes }) = self.upkeep.take(bytes) else { return false };
        let (salt, end) = (header.salt(), BLOCK_BYTES as u64);
        self.active = Some(Active { header, salt, bytes, end, batches: 0, synced_end: self.synced_end });
        true
    }

    fn commit_done(&mut self, now: Instant, result: Result<(), String>) {
        match (mem::replace(&mut self.commit, Commit::Idle), result) {
            (Commit::Write(InFlight { batch, .. }), Ok(())) => {
                self.commit = Commit::Sync(InFlight { batch, began: None });
            }
            (Commit::Sync(InFlight { batch, began }), Ok(())) => {
                let took = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
                self.counters.sync_sum += took;
                self.counters.sync_max = self.counters.sync_max.max(took);
                self.batch_synced(batch.extent());
            }
            (Commit::Write(InFlight { batch, .. }) | Commit::Sync(InFlight { batch, .. }), Err(what)) => {
                self.waiting.push_front(batch.unshare());
                self.failed = Some((what, now + RETRY));
                self.end_segment(false);
            }
            (Commit::Idle, _) => debug_assert!(false, "nothing was begun"),
        }
    }

    fn batch_synced(&mut self, batch: Extent) {
        self.failed = None;
        self.synced_end = batch.end();
        self.counters.commits += 1;
        self.counters.records += u64::from(batch.records);
        self.counters.bytes += batch.padded_bytes() as u64;
        self.counters.bytes_waiting -= batch.record_bytes();
        let Some(active) = &mut self.active else { return };
        active.end += batch.padded_bytes() as u64;
        active.batches += 1;
        active.synced_end = batch.end();
        if active.end >= active.bytes / 2 {
            self.upkeep.want(0);
        }
        self.rotate_if_due();
    }

    fn rotate_if_due(&mut self) {
        if self.rotate_at.is_some_and(|number| self.synced_end >= number) {
            self.rotate_at = None;
            if self.active.as_ref().is_some_and(|active| active.batches > 0) {
                self.end_segment(true);
            }
        }
    }

    /// What is synced of the segment that was written to, counts; nobody writes to it any more.
    fn end_segment(&mut self, may_recycle: bool) {
        let Some(Active { header, bytes, batches, synced_end, .. }) = self.active.take() else { return };
        let may_recycle = may_recycle && bytes == self.options.segment_bytes;
        self.upkeep.close(header.sequence);
        self.upkeep.want(0);
        if batches == 0 {
            self.upkeep.retire(header.sequence, may_recycle);
        } else {
            self.full.push(Ended { sequence: header.sequence, last_number: synced_end - 1 });
            self.unsettled.push(Unsettled { sequence: header.sequence, may_recycle });
        }
    }
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
