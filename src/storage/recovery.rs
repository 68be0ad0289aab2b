//! A start: the settled store and what the segments have beyond it, put together.

use std::path::{Path, PathBuf};

use super::directory::StoreDirectory;
use super::error::StoreError;
use super::settled::Settled;
use crate::broker::{Message, StoredSession};

/// A store that is open, with nothing in its segments any more.
#[derive(Debug)]
pub struct Store {
    pub(super) directory: StoreDirectory,
    pub(super) settled: Settled,
}

/// What a start found.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub store_id: u64,
    /// Of all hashes; the same as long as the store lives, so that homes are.
    pub seed: u64,
    pub epoch: u64,
    /// Of the first record that each shard makes.
    pub next_number: u64,
    pub shards: Vec<ShardImage>,
    pub report: RecoveryReport,
}

/// What a shard begins with.
#[derive(Default, Debug)]
pub struct ShardImage {
    pub sessions: Vec<StoredSession>,
    pub retained: Vec<Message>,
}

/// What there was to do, for the log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RecoveryReport {
    pub segments: u64,
    pub segment_bytes: u64,
    pub records: u64,
    /// Messages that were on their way between shards, and were given to who had not got them.
    pub spooled: u64,
    pub torn: Vec<TornTail>,
}

/// What a crash had left half written: nobody was told that it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}

/// How far a recovery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub phase: Phase,
    pub done: u64,
    pub total: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The settled store puts itself in order, in thousandths.
    Repairing,
    /// Segments are read, in bytes.
    Reading,
    /// What they came to is written, in sessions and retained messages.
    Settling,
    /// All is read for the shards, in sessions and retained messages.
    Loading,
}

impl Store {
    /// Opens the store of a directory, or makes one, for this number of shards.
    pub fn open(path: &Path, shards: usize, progress: &mut dyn FnMut(Progress)) -> Result<Opened, StoreError> {
        let _ = (path, shards, progress);
        Err(StoreError::Stopped)
    }

    pub fn directory(&self) -> &StoreDirectory {
        &self.directory
    }
}
