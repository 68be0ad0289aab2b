//! A hash table of pool indexes. What an index stands for lies in the pool; the table keeps 32 bits of its hash, so
//! that neither growing nor (but once in billions) a look-up reads a value that is not the one sought.

use hashbrown::HashTable;

use super::hash::spread;

/// Tables of up to this many entries are not worth shrinking.
const SMALL: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    index: u32,
    tag: u32,
}

#[derive(Default, Debug)]
pub(super) struct IndexTable {
    table: HashTable<Entry>,
}

const fn tag_of(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

fn rehash(entry: &Entry) -> u64 {
    spread(entry.tag as u64)
}

impl IndexTable {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The index with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let found = self.table.find(spread(tag.into()), |entry| entry.tag == tag && is_it(entry.index))?;
        Some(found.index)
    }

    pub(super) fn insert(&mut self, hash: u64, index: u32) {
        let tag = tag_of(hash);
        self.table.insert_unique(spread(tag.into()), Entry { index, tag }, rehash);
    }

    /// Lets `to` stand where `from` stands; both have this hash.
    pub(super) fn replace(&mut self, hash: u64, from: u32, to: u32) {
        let entry = self.table.find_mut(spread(tag_of(hash).into()), |entry| entry.index == from);
        entry.expect("an index in the table").index = to;
    }

    pub(super) fn remove(&mut self, hash: u64, index: u32) {
        let entry = self.table.find_entry(spread(tag_of(hash).into()), |entry| entry.index == index);
        entry.expect("an index in the table").remove();
        if self.table.capacity() > SMALL && self.table.len() * 8 < self.table.capacity() {
            self.table.shrink_to(self.table.len() * 2, rehash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_empties_gives_its_memory_back() {
        let mut table = IndexTable::default();
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
        assert!(table.len() == 0 && table.table.capacity() <= SMALL);
    }
}
