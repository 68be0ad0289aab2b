//! A segment's file, read into an overlay.

use std::fs;
use std::path::Path;

use super::error::StoreError;
use super::overlay::Overlay;
use super::segment::{Batch, Chain, Segment, SegmentError};
use super::settled::Meta;
use crate::base::{RecordId, ShardId};
use crate::broker::Record;
use crate::routing::TopicHasher;

/// A segment of the store, and how far it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'a> {
    pub(super) path: &'a Path,
    pub(super) shard: ShardId,
    pub(super) sequence: u64,
    /// What stands behind this number stands again in a later segment.
    pub(super) last_number: u64,
}

/// What was read of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct StretchRead {
    pub(super) bytes: u64,
    /// It is one of this epoch; others have nothing to say any more.
    pub(super) is_of_log: bool,
    /// Where a commit begins that did not come to its end.
    pub(super) torn_at: Option<u64>,
}

impl Stretch<'_> {
    /// Applies all of it that is not settled, batch by batch. Damage and gaps are errors; what stands before them is in
    /// the overlay then.
    pub(super) fn read(
        &self,
        meta: &Meta,
        hasher: &TopicHasher,
        chain: &mut Chain,
        overlay: &mut Overlay,
    ) -> Result<StretchRead, StoreError> {
        let bytes = fs::read(self.path).map_err(StoreError::io("read the segment", self.path))?;
        let damaged = |error: SegmentError| StoreError::damaged(self.path, error.offset, error.what);
        let mut read = StretchRead { bytes: bytes.len() as u64, is_of_log: false, torn_at: None };
        if !self.is_begun(&bytes) {
            return Ok(read);
        }
        let (header, mut batches) = Segment::open(&bytes).map_err(damaged)?;
        let is_old = header.epoch < meta.epoch || header.sequence != self.sequence || header.shard != self.shard;
        if header.store_id != meta.store_id || header.epoch > meta.epoch {
            return Err(StoreError::damaged(self.path, 0, "a segment of another store, or of a later start of it"));
        }
        // A file that was to be used again still has what it had before.
        if is_old {
            return Ok(read);
        }
        read.is_of_log = true;
        while chain.next() <= self.last_number {
            let Some(batch) = batches.next() else { break };
            let batch = batch.map_err(damaged)?;
            if chain.take(&batch).map_err(damaged)? {
                overlay.apply_batch(self.shard, decode(&batch, hasher).map_err(damaged)?);
            }
        }
        read.torn_at = batches.torn().map(|torn| torn.offset);
        Ok(read)
    }

    /// A file that was only prepared is zeros from its beginning.
    fn is_begun(&self, bytes: &[u8]) -> bool {
        bytes.iter().take(HEADER_BYTES).any(|&byte| byte != 0)
    }
}

/// A segment's first block.
const HEADER_BYTES: usize = 4096;

/// All of a batch, so that it is applied as a whole.
pub(super) fn decode(batch: &Batch<'_>, hasher: &TopicHasher) -> Result<Vec<(RecordId, Record)>, SegmentError> {
    batch.records().map(|record| Ok((record.id, record.decode(hasher)?))).collect()
}
