//! A segment of a shard's log: the format, and its reader over the bytes of a whole file.

use std::fmt;

use super::codec;
use crate::base::{RecordId, ShardId};
use crate::broker::Record;
use crate::routing::TopicHasher;

/// Whose segment it is; the file's first block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub store_id: u64,
    pub epoch: u64,
    pub shard: ShardId,
    /// Of the shard's segments, a later one has a higher one.
    pub sequence: u64,
}

/// Damage: not what a crash leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentError {
    pub offset: u64,
    pub what: &'static str,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)
    }
}

impl std::error::Error for SegmentError {}

#[derive(Clone, Copy, Debug)]
pub struct Segment;

impl Segment {
    pub fn open(bytes: &[u8]) -> Result<(Header, Batches<'_>), SegmentError> {
        let _ = bytes;
        Err(SegmentError { offset: 0, what: "no segment" })
    }
}

/// The whole batches, in order. An error is damage with sound batches behind it: who asks on gets those.
#[derive(Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Once all batches were given: a commit that did not come to its end, cut off there.
    pub fn torn(&self) -> Option<SegmentError> {
        None
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.bytes;
        None
    }
}

/// What one commit made durable.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// In the file.
    pub offset: u64,
    /// The number of the first record, and of the last.
    pub first: u64,
    pub last: u64,
    records: &'a [u8],
}

impl<'a> Batch<'a> {
    pub fn records(&self) -> impl Iterator<Item = StoredRecord<'a>> {
        let _ = self.records;
        std::iter::empty()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct StoredRecord<'a> {
    pub id: RecordId,
    /// In the file.
    pub offset: u64,
    pub kind: u8,
    pub body: &'a [u8],
}

impl StoredRecord<'_> {
    pub fn decode(&self, hasher: &TopicHasher) -> Result<Record, SegmentError> {
        codec::read(self.kind, self.body, hasher).ok_or(SegmentError {
            offset: self.offset,
            what: "a record of a kind or form that this version does not know",
        })
    }
}

/// Follows a shard's log over its segments, in the order of their sequences: nothing missing, nothing twice.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    next: u64,
}

impl Chain {
    /// `next`: the number of the first record that is not settled.
    pub const fn new(next: u64) -> Self {
        Self { next }
    }

    /// The number of the record that is due next.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Whether the batch is new: one that stands twice, or is settled, is not. An error where records are missing
    /// before it.
    pub fn take(&mut self, batch: &Batch<'_>) -> Result<bool, SegmentError> {
        if batch.last < self.next {
            return Ok(false);
        }
        if batch.first != self.next {
            return Err(SegmentError { offset: batch.offset, what: "records are missing before this batch" });
        }
        self.next = batch.last + 1;
        Ok(true)
    }
}
