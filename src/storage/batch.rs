//! A batch while it forms: records are written where the disk will be given them from. How long it gets is not known
//! before, so a buffer that is too small is replaced by a larger one; who begins a batch knows how long the last one was.

use std::sync::Arc;

use super::codec;
use super::segment::{BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, RECORD_HEADER_BYTES, Salt};
use super::wire::Sink;
use crate::broker::Record;

/// Bytes that a disk takes as they are.
pub trait Buffer {
    /// What is in it need not be anything.
    fn allocate(bytes: usize) -> Self;
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Makes it so short; never longer.
    fn truncate(&mut self, bytes: usize);
}

impl Buffer for Vec<u8> {
    fn allocate(bytes: usize) -> Self {
        vec![0; bytes]
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn truncate(&mut self, bytes: usize) {
        self.truncate(bytes);
    }
}

/// What a batch is without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    /// The number of the first record.
    pub(super) first: u64,
    pub(super) records: u32,
    /// With the batch's header, without padding.
    pub(super) bytes: usize,
}

impl Extent {
    /// The number behind that of the last record.
    pub(super) const fn end(self) -> u64 {
        self.first + self.records as u64
    }

    /// Of the records.
    pub(super) const fn record_bytes(self) -> usize {
        self.bytes - BATCH_HEADER_BYTES
    }

    /// In a segment.
    pub(super) const fn padded_bytes(self) -> usize {
        self.bytes.next_multiple_of(BLOCK_BYTES)
    }
}

/// Records that become durable together.
#[derive(Debug)]
pub(super) struct Batch<B> {
    buffer: B,
    extent: Extent,
    is_sealed: bool,
}

impl<B: Buffer> Batch<B> {
    /// `bytes` is how long it will be, as far as that is known.
    pub(super) fn new(first: u64, bytes: usize) -> Self {
        let buffer = B::allocate(bytes.max(BATCH_HEADER_BYTES).next_multiple_of(BLOCK_BYTES));
        Self { buffer, extent: Extent { first, records: 0, bytes: BATCH_HEADER_BYTES }, is_sealed: false }
    }

    pub(super) const fn extent(&self) -> Extent {
        self.extent
    }

    /// Whether it may stand somewhere already, so that it must stay what it is.
    pub(super) const fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    pub(super) fn push(&mut self, record: &Record) {
        debug_assert!(!self.is_sealed);
        let at = self.extent.bytes;
        self.put(&[0, 0, 0, 0, 0, 0, 0, 0, codec::kind(record)]);
        codec::put(record, self);
        let body = (self.extent.bytes - at - RECORD_HEADER_BYTES) as u32;
        self.buffer.bytes_mut()[at..at + 4].copy_from_slice(&body.to_le_bytes());
        self.extent.records += 1;
    }

    /// Makes it the batch of this number that stands there, in the segment of this salt and sequence. It may be sealed
    /// again, for another place.
    pub(super) fn seal(&mut self, salt: Salt, sequence: u64, batch: u32, offset: u64) {
        let Extent { first, records, bytes } = self.extent;
        let padded = self.extent.padded_bytes();
        self.is_sealed = true;
        self.buffer.truncate(padded);
        self.buffer.bytes_mut()[bytes..padded].fill(0);
        let header = BatchHeader { sequence, first, records, batch, bytes: self.extent.record_bytes() as u64 };
        header.seal(salt, offset as usize, self.buffer.bytes_mut());
    }

    /// To be shared with who writes it.
    pub(super) fn share(self) -> Shared<B> {
        Shared { buffer: Arc::new(self.buffer), extent: self.extent }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let bytes = bytes.max(2 * self.buffer.bytes().len()).next_multiple_of(BLOCK_BYTES);
        let mut larger = B::allocate(bytes);
        let len = self.extent.bytes;
        larger.bytes_mut()[..len].copy_from_slice(&self.buffer.bytes()[..len]);
        self.buffer = larger;
    }
}

impl<B: Buffer> Sink for Batch<B> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.extent.bytes + bytes.len();
        if end > self.buffer.bytes().len() {
            self.grow(end);
        }
        self.buffer.bytes_mut()[self.extent.bytes..end].copy_from_slice(bytes);
        self.extent.bytes = end;
    }
}

/// A batch that is being written.
#[derive(Debug)]
pub(super) struct Shared<B> {
    buffer: Arc<B>,
    extent: Extent,
}

impl<B: Buffer> Shared<B> {
    pub(super) fn buffer(&self) -> Arc<B> {
        Arc::clone(&self.buffer)
    }

    pub(super) const fn extent(&self) -> Extent {
        self.extent
    }

    /// Was not written, as far as anybody knows.
    pub(super) fn unshare(self) -> Batch<B> {
        let buffer = Arc::try_unwrap(self.buffer).unwrap_or_else(|shared| {
            // Who wrote it has not let go yet.
            let mut own = B::allocate(shared.bytes().len());
            own.bytes_mut().copy_from_slice(shared.bytes());
            own
        });
        Batch { buffer, extent: self.extent, is_sealed: true }
    }
}
