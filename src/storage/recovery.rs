//! A start: the settled store and what the segments have beyond it, put together.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory::{StoreDirectory, create_folder, sync_folder};
use super::error::StoreError;
use super::load::Waiting;
use super::overlay::Overlay;
use super::segment::Chain;
use super::settled::{Meta, Settled, apply, meta_in, write_meta};
use super::spool;
use super::stretch::Stretch;
use super::tables::{ARRIVED, NUMBERS, Outcome, SPOOL};
use crate::base::ShardId;
use crate::broker::{Homes, Message, StoredSession};

/// A store that is open, with nothing in its segments any more.
#[derive(Debug)]
pub struct Store {
    pub(super) directory: StoreDirectory,
    pub(super) settled: Settled,
}

/// What tells a store from every other one, for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub store_id: u64,
    /// Of all hashes, so that homes stay.
    pub seed: u64,
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
    /// Changes of sessions that are not there: none, unless records were lost.
    pub orphans: u64,
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
    /// Segments are read, in bytes.
    Reading,
    /// What they came to is written, in records.
    Settling,
    /// All is read for the shards, in sessions and retained messages.
    Loading,
}

/// How much of the segments is put together at once, so that a start needs little memory however much there is to settle.
const OVERLAY_BYTES_MAX: usize = 256 << 20;

/// Told of progress every so many sessions or messages.
const PROGRESS_STEP: u64 = 1 << 16;

impl Store {
    /// Opens the store of a directory, or makes one, for this number of shards.
    pub fn open(path: &Path, shards: usize, progress: &mut dyn FnMut(Progress)) -> Result<Opened, StoreError> {
        Self::open_as(path, shards, Identity::random(), progress)
    }

    /// The same, where a new store is to be this one.
    pub fn open_as(
        path: &Path,
        shards: usize,
        new: Identity,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Opened, StoreError> {
        let directory = StoreDirectory::lock(path)?;
        let settled = Settled::open(&directory.settled_file(), new.meta())?;
        sync_folder(directory.path())?;
        let mut report = RecoveryReport::default();
        let segments = settle_segments(&directory, &settled, &mut report, progress)?;
        let meta = begin_epoch(&settled, shards, &mut report).map_err(settled.at())?;
        forget(&directory, &segments, shards)?;
        let shards = load(&settled, &meta, progress).map_err(settled.at())?;
        let Meta { store_id, seed, epoch, next_number, .. } = meta;
        Ok(Opened { store: Self { directory, settled }, store_id, seed, epoch, next_number, shards, report })
    }

    pub fn directory(&self) -> &StoreDirectory {
        &self.directory
    }
}

/// Of a store that was never started.
pub(super) fn new_meta() -> Meta {
    Identity::random().meta()
}

impl Identity {
    fn random() -> Self {
        Self { store_id: random(), seed: random() }
    }

    const fn meta(self) -> Meta {
        Meta { store_id: self.store_id, seed: self.seed, epoch: 0, shards: 0, next_number: 1, highest: 0 }
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    u64::from_le_bytes(bytes)
}

/// Settles what the segments have beyond the settled store. Gives every segment that there is.
fn settle_segments(
    directory: &StoreDirectory,
    settled: &Settled,
    report: &mut RecoveryReport,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<PathBuf>, StoreError> {
    let meta = settled.meta().map_err(settled.at())?;
    let numbers = settled.numbers().map_err(settled.at())?;
    let mut segments = Vec::new();
    for shard in directory.shards() {
        let of_shard = directory.segments(shard)?;
        segments.extend(of_shard.into_iter().map(|(sequence, path)| (shard, sequence, path)));
    }
    let total = segments.iter().map(|(_, _, path)| fs::metadata(path).map_or(0, |file| file.len())).sum();
    let mut overlay = Overlay::new(numbers);
    let mut chain: Option<(ShardId, Chain)> = None;
    for (shard, sequence, path) in &segments {
        let (_, chain) = match &mut chain {
            Some(of) if of.0 == *shard => of,
            of => of.insert((*shard, Chain::new(overlay.next_number(*shard)))),
        };
        let stretch = Stretch { path, shard: *shard, sequence: *sequence, last_number: u64::MAX };
        let read = stretch.read(&meta, &settled.hasher, chain, &mut |batch| overlay.apply_batch(*shard, batch))?;
        report.segments += u64::from(read.is_of_log);
        report.segment_bytes += read.bytes;
        if let Some(offset) = read.torn_at {
            report.torn.push(TornTail { path: path.clone(), offset, bytes: read.bytes.saturating_sub(offset) });
        }
        progress(Progress { phase: Phase::Reading, done: report.segment_bytes, total });
        if overlay.weight() > OVERLAY_BYTES_MAX {
            settle(settled, &mut overlay, report, progress)?;
        }
    }
    settle(settled, &mut overlay, report, progress)?;
    Ok(segments.into_iter().map(|(_, _, path)| path).collect())
}

fn settle(
    settled: &Settled,
    overlay: &mut Overlay,
    report: &mut RecoveryReport,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    let total = overlay.records;
    progress(Progress { phase: Phase::Settling, done: 0, total });
    if total > 0 {
        report.orphans += settled.settle(overlay).map_err(settled.at())?;
        report.records += total;
        *overlay = Overlay::new(settled.numbers().map_err(settled.at())?);
    }
    progress(Progress { phase: Phase::Settling, done: total, total });
    Ok(())
}

/// Gives everybody what was on its way and makes all segments those of an older epoch, in one transaction: a crash before
/// it has all to be done again, a crash behind it nothing.
fn begin_epoch(settled: &Settled, shards: usize, report: &mut RecoveryReport) -> Outcome<Meta> {
    let txn = settled.begin()?;
    let old = meta_in(&txn)?;
    let (overlay, resolved) = spool::resolve(&txn, &old, &settled.hasher, old.next_number.max(old.highest + 1))?;
    report.spooled = resolved;
    report.orphans += apply(&txn, &overlay)?;
    txn.open_table(SPOOL)?.retain(|_, _| false)?;
    txn.open_table(ARRIVED)?.retain(|_, ()| false)?;
    txn.open_table(NUMBERS)?.retain(|_, _| false)?;
    let highest = meta_in(&txn)?.highest;
    let next_number = old.next_number.max(highest + 1);
    let meta = Meta { epoch: old.epoch + 1, shards: shards as u64, next_number, highest, ..old };
    write_meta(&txn, meta)?;
    txn.commit()?;
    Ok(meta)
}

/// All segments are of an older epoch now, and nobody would read them. The shards get the folders that they have not.
fn forget(directory: &StoreDirectory, segments: &[PathBuf], shards: usize) -> Result<(), StoreError> {
    for path in segments {
        fs::remove_file(path).map_err(StoreError::io("remove the segment", path))?;
    }
    for shard in directory.shards().into_iter().filter(|shard| shard.index() >= shards) {
        let folder = directory.shard_folder(shard);
        fs::remove_dir_all(&folder).map_err(StoreError::io("remove the folder", &folder))?;
    }
    // What a shard syncs in its folder is nowhere after a power loss if the folder itself is not.
    for shard in (0..shards).map(ShardId::new) {
        create_folder(&directory.shard_folder(shard))?;
    }
    sync_folder(directory.path())
}

fn load(settled: &Settled, meta: &Meta, progress: &mut dyn FnMut(Progress)) -> Outcome<Vec<ShardImage>> {
    let homes = Homes::new(meta.seed, meta.shards as usize);
    let mut images: Vec<ShardImage> = (0..meta.shards).map(|_| ShardImage::default()).collect();
    let (mut done, total) = (0, settled.len()?);
    let mut step = || {
        done += 1;
        if done % PROGRESS_STEP == 0 || done == total {
            progress(Progress { phase: Phase::Loading, done, total });
        }
    };
    settled.sessions(Waiting::FromFirstShared, &mut |session| {
        images[homes.of_client(&session.client_id).index()].sessions.push(session);
        step();
    })?;
    settled.retained(&mut |message| {
        images[homes.of_topic(message.header().topic_hash).index()].retained.push(message);
        step();
    })?;
    Ok(images)
}
