//! Filters without a wildcard: one hash table over entries of one cache line, text and first subscriber inside, so that
//! a topic costs three cache misses among a million: control byte, slot, entry.

use super::hash::{TopicHash, TopicHasher};
use super::index_table::IndexTable;
use super::pool::Pool;
use super::subscriber_lists::Subscribers;
use super::text::Text;

#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    text: Text<54>,
    subscribers: Subscribers,
}

const _: () = assert!(Pool::<Entry>::SLOT_BYTES == 64);

#[derive(Debug)]
pub(super) struct ExactFilters {
    hasher: TopicHasher,
    table: IndexTable,
    entries: Pool<Entry>,
}

impl ExactFilters {
    pub(super) fn new(seed: u64) -> Self {
        Self { hasher: TopicHasher::new(seed), table: IndexTable::new(), entries: Pool::new() }
    }

    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.entries.len(), self.table.len());
        self.entries.len()
    }

    #[inline]
    pub(super) fn hash(&self, text: &str) -> TopicHash {
        self.hasher.hash(text)
    }

    #[inline]
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.find_hashed(self.hasher.hash(text), text)
    }

    /// The same with the hash that was made of the text before.
    #[inline]
    pub(super) fn find_hashed(&self, hash: TopicHash, text: &str) -> Option<u32> {
        debug_assert_eq!(hash, self.hasher.hash(text));
        self.table.find(hash.get(), |index| self.entries[index].text.as_bytes() == text.as_bytes())
    }

    /// The filter's entry, made if it is not there yet.
    pub(super) fn insert(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash(text);
        self.find_hashed(hash, text).unwrap_or_else(|| {
            let index = self.entries.insert(Entry { text: Text::new(text), subscribers: Subscribers::default() });
            self.table.insert(hash.get(), index);
            index
        })
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Subscribers> {
        self.entries.get(index).map(|entry| &entry.subscribers)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Subscribers> {
        self.entries.get_mut(index).map(|entry| &mut entry.subscribers)
    }

    pub(super) fn text(&self, index: u32) -> Option<&str> {
        self.entries.get(index).map(|entry| entry.text.as_str())
    }

    pub(super) fn remove(&mut self, index: u32) {
        if let Some(entry) = self.entries.remove(index) {
            self.table.remove(self.hasher.hash(entry.text.as_str()).get(), index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_any_length_are_found_until_they_are_removed() {
        let mut filters = ExactFilters::new(1);
        let texts: Vec<String> = (1..200).map(|len| "ab/".repeat(len)[..len].to_owned()).collect();
        let indexes: Vec<u32> = texts.iter().map(|text| filters.insert(text)).collect();
        for (text, &index) in texts.iter().zip(&indexes) {
            assert_eq!((filters.find(text), filters.insert(text)), (Some(index), index));
            assert_eq!(filters.text(index), Some(text.as_str()));
        }
        for (text, &index) in texts.iter().zip(&indexes) {
            filters.remove(index);
            assert!(filters.find(text).is_none() && filters.get(index).is_none());
        }
        assert_eq!(filters.len(), 0);
    }
}
