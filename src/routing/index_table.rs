//! A hash table of pool indexes. What an index stands for lies in the pool; the table keeps 32 bits of its hash, so
//! that neither growing nor (but once in thousands) a look-up reads a value that is not the one sought.

use super::line_table::{LineTable, Slot};

#[derive(Clone, Copy, PartialEq, Debug)]
struct Entry {
    index: u32,
    tag: u32,
}

impl Slot for Entry {
    // No pool has such an index.
    const VACANT: Self = Self { index: u32::MAX, tag: 0 };
    const GONE: Self = Self { index: u32::MAX - 1, tag: 0 };

    fn place(&self) -> u32 {
        self.tag
    }
}

/// Both marks have the tag 0, so entries do not.
const fn tag_of(hash: u64) -> u32 {
    let tag = (hash ^ (hash >> 32)) as u32;
    if tag == 0 { 1 } else { tag }
}

#[derive(Debug)]
pub(super) struct IndexTable {
    table: LineTable<Entry, 8>,
}

impl IndexTable {
    pub(super) const fn new() -> Self {
        Self { table: LineTable::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.table.len()
    }

    /// The index with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let found = self.table.find(tag, |entry| is_it(entry.index))?;
        Some(found.index)
    }

    pub(super) fn insert(&mut self, hash: u64, index: u32) {
        self.table.insert(Entry { index, tag: tag_of(hash) });
    }

    /// Lets `to` stand where `from` stands; both have this hash.
    pub(super) fn replace(&mut self, hash: u64, from: u32, to: u32) {
        let entry = self.table.find_mut(tag_of(hash), |entry| entry.index == from);
        entry.expect("an index in the table").index = to;
    }

    pub(super) fn remove(&mut self, hash: u64, index: u32) {
        let entry = self.table.remove(tag_of(hash), |entry| entry.index == index);
        debug_assert!(entry.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_found_by_hash() {
        let mut table = IndexTable::new();
        let hash = |index: u32| u64::from(index).wrapping_mul(0xA076_1D64_78BD_642F);
        for index in 0..10_000 {
            table.insert(hash(index), index);
        }
        table.replace(hash(77), 77, 20_077);
        assert_eq!(table.find(hash(77), |_| true), Some(20_077));
        table.replace(hash(77), 20_077, 77);
        for index in 0..10_000 {
            assert_eq!(table.find(hash(index), |found| found == index), Some(index));
            table.remove(hash(index), index);
            assert_eq!(table.find(hash(index), |found| found == index), None);
        }
        assert_eq!(table.len(), 0);
    }
}
