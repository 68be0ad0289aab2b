//! A segment's file, read as far as it has something to say.

use std::fs;
use std::path::Path;

use super::error::StoreError;
use super::segment::{Batch, Chain, Header, Segment, SegmentError};
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
    /// Gives all of it that is new to the chain, batch by batch. Damage and gaps are errors; what stands before them was
    /// given then.
    pub(super) fn read(
        &self,
        meta: &Meta,
        hasher: &TopicHasher,
        chain: &mut Chain,
        take: &mut dyn FnMut(Vec<(RecordId, Record)>),
    ) -> Result<StretchRead, StoreError> {
        let bytes = fs::read(self.path).map_err(StoreError::io("read the segment", self.path))?;
        let damaged = |error: SegmentError| StoreError::damaged(self.path, error.offset, error.what);
        let mut read = StretchRead { bytes: bytes.len() as u64, is_of_log: false, torn_at: None };
        let (header, mut batches) = Segment::open(&bytes).map_err(damaged)?;
        read.is_of_log = self.is_of_log(&header, meta)?;
        while read.is_of_log && chain.next() <= self.last_number {
            let Some(batch) = batches.next() else { break };
            let batch = batch.map_err(damaged)?;
            if chain.take(&batch).map_err(damaged)? {
                take(decode(&batch, hasher).map_err(damaged)?);
            }
        }
        read.torn_at = batches.torn().map(|torn| torn.offset);
        Ok(read)
    }

    /// Whether it is one of this epoch: one of an earlier start was settled then, and only its removal is missing.
    pub(super) fn is_of_log(&self, header: &Header, meta: &Meta) -> Result<bool, StoreError> {
        let what = if header.store_id != meta.store_id {
            "a segment of another store"
        } else if header.epoch > meta.epoch {
            "a segment of a later start than the settled store knows of"
        } else if header.sequence != self.sequence || header.shard != self.shard {
            "a segment of another place in the log"
        } else {
            return Ok(header.epoch == meta.epoch);
        };
        Err(StoreError::damaged(self.path, 0, what))
    }
}

/// All of a batch, so that it is applied as a whole.
pub(super) fn decode(batch: &Batch<'_>, hasher: &TopicHasher) -> Result<Vec<(RecordId, Record)>, SegmentError> {
    batch.records().map(|record| Ok((record.id, record.decode(hasher)?))).collect()
}
