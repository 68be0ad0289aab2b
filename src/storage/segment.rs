//! A segment of a shard's log: the format, and its reader over the bytes of a whole file. All numbers are little endian.
//!
//! ```text
//! 0        4096                        a multiple of 4096
//! | header | batch 0, zeros to a block | batch 1, zeros to a block | ... | what the file had before, or zeros |
//!
//! header: 0  magic "THRUMLOG"            batch: 0  magic "BTCH"               record: 0 bytes of the body u32
//!         8  CRC of what follows  u32           4  CRC of the rest of it u32          4 CRC              u32
//!        12  format version       u32           8  sequence              u64          8 kind             u8
//!        16  store                u64          16  number of record 0    u64          9 body
//!        24  epoch                u64          24  records               u32
//!        32  sequence             u64          28  batch in the segment  u32
//!        40  shard                u32          32  bytes of the records  u64
//!        44  zeros                             40  records, one behind the other
//! ```
//! A batch is what one commit makes durable: all of it counts, or nothing. It begins a block, so that no commit touches
//! what an earlier one wrote. CRCs are CRC32C. Those of a batch and of a record go over more than their bytes: over the
//! store, the epoch, the shard, the sequence and the place in the file, so that what a recycled file still has of its
//! former life, or a client has put into a message, can pass for neither.
//!
//! What a crash leaves is a batch that is not whole, with nothing behind it, as a batch is not begun before the one before
//! it is on the disk. Where a batch is not whole and a later one was begun, there is damage. Whether a later segment was
//! begun is for [`Chain`] to tell: the numbers of the records have no gap.

use std::fmt;

use crc32c::{crc32c, crc32c_append};

use super::codec;
use crate::base::limits::SHARDS_MAX;
use crate::base::{RecordId, ShardId};
use crate::broker::Record;
use crate::routing::TopicHasher;

/// What batches begin at multiples of; the header is as long. No disk writes in larger units.
pub const BLOCK_BYTES: usize = 4096;

const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"THRUMLOG";
const BATCH_MAGIC: [u8; 4] = *b"BTCH";
pub(super) const BATCH_HEADER_BYTES: usize = 40;
pub(super) const RECORD_HEADER_BYTES: usize = 9;

/// Whose segment it is; the file's first block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub store_id: u64,
    pub epoch: u64,
    pub shard: ShardId,
    /// Of the shard's segments, a later one has a higher one.
    pub sequence: u64,
}

impl Header {
    pub fn to_block(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[12..16].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.store_id.to_le_bytes());
        block[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        block[32..40].copy_from_slice(&self.sequence.to_le_bytes());
        block[40..44].copy_from_slice(&(self.shard.index() as u32).to_le_bytes());
        let crc = crc32c(&block[12..]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Of a segment's first block.
    pub fn read(bytes: &[u8]) -> Result<Self, SegmentError> {
        let error = |what| SegmentError { offset: 0, what };
        let block: &[u8; BLOCK_BYTES] = bytes.first_chunk().ok_or(error("a file too short for a segment"))?;
        if block[..8] != MAGIC {
            return Err(error("a file that is no segment"));
        }
        if u32_at(block, 12) != VERSION {
            return Err(error("a segment of a format version that this program does not know"));
        }
        if u32_at(block, 8) != crc32c(&block[12..]) {
            return Err(error("a damaged segment header"));
        }
        let shard = u32_at(block, 40) as usize;
        if shard >= SHARDS_MAX {
            return Err(error("a segment of a shard that cannot be"));
        }
        let (store_id, epoch, sequence) = (u64_at(block, 16), u64_at(block, 24), u64_at(block, 32));
        Ok(Self { store_id, epoch, shard: ShardId::new(shard), sequence })
    }

    pub(super) fn salt(&self) -> Salt {
        let crc = crc32c(&self.store_id.to_le_bytes());
        let crc = crc32c_append(crc, &self.epoch.to_le_bytes());
        let crc = crc32c_append(crc, &[self.shard.index() as u8]);
        Salt(crc32c_append(crc, &self.sequence.to_le_bytes()))
    }
}

/// What the CRCs within a segment begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Salt(u32);

impl Salt {
    fn at(self, offset: usize) -> u32 {
        crc32c_append(self.0, &(offset as u64).to_le_bytes())
    }

    /// Of a record that stands there; `rest` is its kind and body.
    fn record(self, offset: usize, rest: &[u8]) -> u32 {
        let mut front = [0; 12];
        front[..8].copy_from_slice(&(offset as u64).to_le_bytes());
        front[8..].copy_from_slice(&((rest.len() - 1) as u32).to_le_bytes());
        crc32c_append(crc32c_append(self.0, &front), rest)
    }
}

/// What a batch says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchHeader {
    pub(super) sequence: u64,
    pub(super) first: u64,
    pub(super) records: u32,
    /// Counts the batches of the segment.
    pub(super) batch: u32,
    /// Of the records.
    pub(super) bytes: u64,
}

impl BatchHeader {
    /// Writes it, and the CRCs of the records behind it, whose lengths, kinds and bodies stand there already.
    pub(super) fn seal(&self, salt: Salt, offset: usize, batch: &mut [u8]) {
        let mut header = [0; BATCH_HEADER_BYTES];
        header[..4].copy_from_slice(&BATCH_MAGIC);
        header[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        header[16..24].copy_from_slice(&self.first.to_le_bytes());
        header[24..28].copy_from_slice(&self.records.to_le_bytes());
        header[28..32].copy_from_slice(&self.batch.to_le_bytes());
        header[32..].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c_append(salt.at(offset), &header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        batch[..BATCH_HEADER_BYTES].copy_from_slice(&header);
        let (mut at, end) = (BATCH_HEADER_BYTES, BATCH_HEADER_BYTES + self.bytes as usize);
        while at < end {
            let next = at + RECORD_HEADER_BYTES + u32_at(batch, at) as usize;
            let crc = salt.record(offset + at, &batch[at + RECORD_HEADER_BYTES - 1..next]);
            batch[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
            at = next;
        }
    }

    fn read(salt: Salt, offset: usize, bytes: &[u8]) -> Option<Self> {
        let header: &[u8; BATCH_HEADER_BYTES] = bytes.get(offset..)?.first_chunk()?;
        if header[..4] != BATCH_MAGIC || u32_at(header, 4) != crc32c_append(salt.at(offset), &header[8..]) {
            return None;
        }
        let (sequence, first, bytes) = (u64_at(header, 8), u64_at(header, 16), u64_at(header, 32));
        Some(Self { sequence, first, records: u32_at(header, 24), batch: u32_at(header, 28), bytes })
    }
}

/// Damage: not what a crash leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentError {
    /// In the file.
    pub offset: u64,
    pub what: &'static str,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)
    }
}

impl std::error::Error for SegmentError {}

const fn error(offset: usize, what: &'static str) -> SegmentError {
    SegmentError { offset: offset as u64, what }
}

#[derive(Clone, Copy, Debug)]
pub struct Segment;

impl Segment {
    /// Of the bytes of a whole file.
    pub fn open(bytes: &[u8]) -> Result<(Header, Batches<'_>), SegmentError> {
        let header = Header::read(bytes)?;
        let due = Some(Due { batch: 0, first: None });
        Ok((header, Batches { bytes, header, salt: header.salt(), at: BLOCK_BYTES, due, torn: None, torn_at: 0 }))
    }

    /// Of a damaged segment every record that is sound by itself, in front of a commit that did not come to its end.
    pub fn sound_records(bytes: &[u8]) -> Result<Vec<StoredRecord<'_>>, SegmentError> {
        let (header, batches) = Self::open(bytes)?;
        let mut all = batches.clone();
        all.by_ref().for_each(drop);
        let end = all.torn.map_or(bytes.len(), |_| all.torn_at);
        let mut found = Vec::new();
        for at in (BLOCK_BYTES..end).step_by(BLOCK_BYTES) {
            let Some(batch) = batches.header_at(at) else { continue };
            let from = at + BATCH_HEADER_BYTES;
            let len = usize::try_from(batch.bytes).unwrap_or(usize::MAX).min(bytes.len() - from);
            let walk = Walk { bytes: &bytes[from..from + len], at: 0 };
            for (raw, number) in walk.zip(batch.first..) {
                let is_sound = batches.salt.record(from + raw.at, raw.kind_and_body) == raw.crc;
                let name = RecordId::new(number, header.shard).filter(|_| is_sound);
                if let (Some(id), Some((&kind, body))) = (name, raw.kind_and_body.split_first()) {
                    found.push(StoredRecord { id, offset: (from + raw.at) as u64, kind, body });
                }
            }
        }
        Ok(found)
    }
}

/// The whole batches, in order. An error is damage, with a later batch behind it: who asks on, gets that.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    header: Header,
    salt: Salt,
    at: usize,
    /// Behind damage, any batch may come.
    due: Option<Due>,
    torn: Option<SegmentError>,
    /// Where the batch began that was cut off.
    torn_at: usize,
}

/// What the next batch must say of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Due {
    batch: u32,
    /// None: it is the segment's first.
    first: Option<u64>,
}

impl<'a> Batches<'a> {
    /// A commit that did not come to its end, and was cut off; known once all batches were given.
    pub const fn torn(&self) -> Option<SegmentError> {
        self.torn
    }

    fn header_at(&self, at: usize) -> Option<BatchHeader> {
        BatchHeader::read(self.salt, at, self.bytes).filter(|batch| batch.sequence == self.header.sequence)
    }

    /// What stands at `at`, whole.
    fn batch(&self) -> Result<(BatchHeader, Batch<'a>), SegmentError> {
        let begun = self.header_at(self.at).ok_or(error(self.at, "a damaged batch header"))?;
        let from = self.at + BATCH_HEADER_BYTES;
        let behind = self.bytes.get(from..).unwrap_or_default();
        let len = usize::try_from(begun.bytes).ok().filter(|len| *len <= behind.len());
        let (records, behind) = behind.split_at(len.ok_or(error(self.at, "a batch longer than its file"))?);
        let last = begun.first.checked_add(u64::from(begun.records)).map(|end| end - 1);
        let last = last.filter(|last| begun.first > 0 && begun.records > 0 && *last <= RecordId::NUMBER_MAX);
        let last = last.ok_or(error(self.at, "a batch with numbers that cannot be"))?;
        self.check_records(begun.records, records)?;
        let padding = behind.len().min((from + records.len()).wrapping_neg() % BLOCK_BYTES);
        if let Some(at) = behind[..padding].iter().position(|&byte| byte != 0) {
            return Err(error(from + records.len() + at, "something between two batches"));
        }
        let shard = self.header.shard;
        Ok((begun, Batch { offset: self.at as u64, first: begun.first, last, shard, records }))
    }

    fn check_records(&self, count: u32, records: &[u8]) -> Result<(), SegmentError> {
        let from = self.at + BATCH_HEADER_BYTES;
        let mut found = 0;
        let mut walk = Walk { bytes: records, at: 0 };
        for raw in walk.by_ref() {
            if self.salt.record(from + raw.at, raw.kind_and_body) != raw.crc {
                return Err(error(from + raw.at, "a damaged record"));
            }
            found += 1;
        }
        match found == u64::from(count) && walk.at == records.len() {
            true => Ok(()),
            false => Err(error(from + walk.at, "a batch of other records than it says")),
        }
    }

    /// What stands at `at` is not whole, for this reason.
    fn cut_or_damage(&mut self, why: SegmentError) -> Option<SegmentError> {
        // A batch that was not whole may have been as long as the file.
        let mut later = (self.at + BLOCK_BYTES..self.bytes.len()).step_by(BLOCK_BYTES);
        if let Some(later) = later.find(|&at| self.header_at(at).is_some()) {
            (self.at, self.due) = (later, None);
            return Some(why);
        }
        self.torn = self.was_begun().then_some(why);
        self.torn_at = self.at;
        self.at = self.bytes.len();
        None
    }

    /// Whether what stands at `at` was to be a batch of this segment, and not of a former one in its file.
    fn was_begun(&self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let header = rest.first_chunk::<BATCH_HEADER_BYTES>();
        header.is_some_and(|header| header[..4] == BATCH_MAGIC && u64_at(header, 8) == self.header.sequence)
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (begun, batch) = match self.batch() {
            Ok(found) => found,
            Err(why) => return self.cut_or_damage(why).map(Err),
        };
        let is_due = |due: Due| due.batch == begun.batch && due.first.is_none_or(|first| first == batch.first);
        if !self.due.is_none_or(is_due) {
            self.due = None;
            return Some(Err(error(self.at, "a batch that is not the one due")));
        }
        self.at = (self.at + BATCH_HEADER_BYTES + batch.records.len()).next_multiple_of(BLOCK_BYTES);
        self.due = Some(Due { batch: begun.batch.wrapping_add(1), first: Some(batch.last + 1) });
        Some(Ok(batch))
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
    shard: ShardId,
    records: &'a [u8],
}

impl<'a> Batch<'a> {
    pub fn records(&self) -> impl Iterator<Item = StoredRecord<'a>> + use<'a> {
        let Self { offset, first, shard, records, .. } = *self;
        let walk = Walk { bytes: records, at: 0 };
        walk.zip(first..).filter_map(move |(raw, number)| {
            let (&kind, body) = raw.kind_and_body.split_first()?;
            let offset = offset + (BATCH_HEADER_BYTES + raw.at) as u64;
            Some(StoredRecord { id: RecordId::new(number, shard)?, offset, kind, body })
        })
    }
}

/// A record, not decoded yet.
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
        let what = "a record of a kind or form that this version does not know";
        codec::read(self.kind, self.body, hasher).ok_or(SegmentError { offset: self.offset, what })
    }
}

/// Goes over records as they stand; ends where there is no whole one.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

struct Raw<'a> {
    /// Of the record, behind where the walk began.
    at: usize,
    crc: u32,
    kind_and_body: &'a [u8],
}

impl<'a> Iterator for Walk<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let header: &[u8; RECORD_HEADER_BYTES] = rest.first_chunk()?;
        let end = RECORD_HEADER_BYTES.checked_add(u32_at(header, 0) as usize)?;
        let kind_and_body = rest.get(RECORD_HEADER_BYTES - 1..end)?;
        let at = self.at;
        self.at += end;
        Some(Raw { at, crc: u32_at(header, 4), kind_and_body })
    }
}

/// Follows a shard's log over its segments, in the order of their sequences: nothing missing, nothing twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    next: u64,
}

impl Chain {
    /// `next`: the number of the first record that is not settled.
    pub const fn new(next: u64) -> Self {
        Self { next }
    }

    /// The number of the record that is due.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Whether the batch is new; it is not when it was settled before, or stands twice, as one does that could not be
    /// synced and was written again into the next segment. An error is damage: records are missing before it.
    pub const fn take(&mut self, batch: &Batch<'_>) -> Result<bool, SegmentError> {
        if batch.last < self.next {
            return Ok(false);
        }
        if batch.first != self.next {
            let is_gap = batch.first > self.next;
            let what = if is_gap { "records are missing before a batch" } else { "a batch that is new only in part" };
            return Err(SegmentError { offset: batch.offset, what });
        }
        self.next = batch.last + 1;
        Ok(true)
    }
}

/// `at` is of the format, below the length.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
#[path = "segment/tests.rs"]
mod tests;
