//! A shard's part of the store: its journal, the way to the store's threads, and how far both are.

use std::sync::mpsc::Sender;

use tracing::{error, info};

use crate::broker::JournalStats;
use crate::storage::{Journal, StoreHandle};

/// What a shard's clients may have recorded that the disk has not taken yet; who adds to more is not read until it has.
const WAITING_BYTES_MAX: usize = 64 << 20;

pub(super) struct ShardStore {
    pub(super) journal: Journal,
    pub(super) handle: StoreHandle,
    /// What the core was told to be durable, and what the settled store has.
    committed: u64,
    settled: u64,
    is_writable: bool,
    settles: bool,
    /// Who waits until all up to a record is settled.
    rotations: Vec<(u64, Sender<()>)>,
}

impl ShardStore {
    pub(super) fn new(journal: Journal, handle: StoreHandle) -> Self {
        // What was recorded before this start.
        let before = journal.recorded();
        Self {
            journal,
            handle,
            committed: before,
            settled: before,
            is_writable: true,
            settles: true,
            rotations: Vec::new(),
        }
    }

    /// Has everything written that was recorded, as far as the disk lets it.
    pub(super) fn close(&mut self) {
        if !self.journal.close() {
            let why = self.journal.failure().map(|failure| failure.what);
            error!("not all was stored at the end: {}", why.as_deref().unwrap_or("the disk took too long"));
        }
    }

    /// The disk does not keep up, or does not work.
    pub(super) fn is_behind(&self) -> bool {
        self.journal.counters().bytes_waiting > WAITING_BYTES_MAX
    }

    pub(super) fn stats(&self) -> JournalStats {
        let counters = self.journal.counters();
        JournalStats {
            commits: counters.commits,
            records: counters.records,
            bytes: counters.bytes,
            bytes_waiting: counters.bytes_waiting as u64,
            segments: counters.segments_unsettled as u64,
            sync_us_max: counters.sync_max.as_micros() as u64,
            failing: u64::from(!self.is_writable || !self.settles),
        }
    }

    /// Ends the segment that is written; `done` hears when everything so far is in the settled store.
    pub(super) fn rotate(&mut self, done: Sender<()>) {
        self.journal.rotate();
        self.rotations.push((self.journal.recorded(), done));
        self.end_rotations();
    }

    /// The number of the last durable record, if that is news.
    pub(super) fn take_committed(&mut self) -> Option<u64> {
        let committed = self.journal.committed();
        let is_news = committed > self.committed;
        self.committed = committed;
        is_news.then_some(committed)
    }

    /// The settled store has all of the segment, whose last record this was.
    pub(super) fn hear_settled(&mut self, sequence: u64, last_number: u64) {
        self.journal.settled(sequence);
        self.settled = self.settled.max(last_number);
        self.end_rotations();
    }

    /// Why settling does not succeed; `None`: it does again.
    pub(super) fn hear_settler(&mut self, failure: Option<String>) {
        self.settles = failure.is_none();
        match failure {
            Some(what) => error!("what is stored cannot be settled, and stays in segments: {what}"),
            None => info!("what is stored is settled again"),
        }
    }

    fn end_rotations(&mut self) {
        let settled = self.settled;
        for (_, done) in self.rotations.extract_if(.., |(until, _)| *until <= settled) {
            // Who has given up waiting needs no answer.
            let _ = done.send(());
        }
    }

    /// The one line that says so when the store cannot be written, and when it can again; and which of both it is.
    pub(super) fn look_for_failure(&mut self) -> Option<bool> {
        let failure = self.journal.failure();
        if failure.is_none() == self.is_writable {
            return None;
        }
        self.is_writable = failure.is_none();
        match failure {
            Some(failure) => error!("the store cannot be written: {}", failure.what),
            None => info!("the store is written again"),
        }
        Some(self.is_writable)
    }
}
