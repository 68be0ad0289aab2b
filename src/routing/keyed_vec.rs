//! A list that finds its items by key: by looking through while it is short, by a table of positions once it is long,
//! so that a filter with a million subscribers loses one as quickly as a filter with ten.

use std::fmt::Debug;

use hashbrown::HashTable;

/// From this length on a list has a table of positions; it loses it at half the length, so as not to flap.
const TABLE_FROM: usize = 32;

/// Room that a list gets when it is full, at least; else an eighth of its length, so that little lies idle.
const GROWTH_MIN: usize = 4;

pub(super) trait Keyed {
    type Key: Copy + Eq;

    fn key(&self) -> Self::Key;

    fn hash(key: Self::Key) -> u64;
}

#[derive(Debug)]
pub(super) struct KeyedVec<T> {
    items: Vec<T>,
    /// Where the item of a key is; boxed, because most lists are short.
    positions: Option<Box<HashTable<u32>>>,
}

impl<T: Keyed + Debug> KeyedVec<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), positions: None }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.items
    }

    /// The caller leaves the key as it is.
    pub(super) fn get_mut(&mut self, at: usize) -> &mut T {
        &mut self.items[at]
    }

    pub(super) fn find(&self, key: T::Key) -> Option<usize> {
        match &self.positions {
            None => self.items.iter().position(|item| item.key() == key),
            Some(positions) => {
                let found = positions.find(T::hash(key), |&at| self.items[at as usize].key() == key)?;
                Some(*found as usize)
            }
        }
    }

    /// The caller has seen that no item has this key.
    pub(super) fn push(&mut self, item: T) {
        if self.items.len() == self.items.capacity() {
            let room = if self.items.is_empty() { 2 } else { (self.items.len() / 8).max(GROWTH_MIN) };
            self.items.reserve_exact(room);
        }
        self.items.push(item);
        let at = self.items.len() - 1;
        let items = &self.items;
        let rehash = |&at: &u32| T::hash(items[at as usize].key());
        if let Some(positions) = &mut self.positions {
            positions.insert_unique(rehash(&(at as u32)), at as u32, rehash);
        } else if items.len() >= TABLE_FROM {
            let mut positions = HashTable::with_capacity(items.len());
            for at in 0..items.len() as u32 {
                positions.insert_unique(rehash(&at), at, rehash);
            }
            self.positions = Some(Box::new(positions));
        }
    }

    pub(super) fn swap(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        let keys = (self.items[one].key(), self.items[other].key());
        if let Some(positions) = &mut self.positions {
            // Both are found before either changes: meanwhile two entries would say the same position.
            *positions.find_mut(T::hash(keys.0), |&at| at as usize == one).expect("a position of an item") = u32::MAX;
            *positions.find_mut(T::hash(keys.1), |&at| at as usize == other).expect("a position of an item") =
                one as u32;
            *positions.find_mut(T::hash(keys.0), |&at| at == u32::MAX).expect("a position of an item") = other as u32;
        }
        self.items.swap(one, other);
    }

    /// Takes an item out; the last one moves to its place.
    pub(super) fn swap_remove(&mut self, at: usize) -> T {
        let last = self.items.len() - 1;
        self.swap(at, last);
        if let Some(positions) = &mut self.positions {
            let hash = T::hash(self.items[last].key());
            positions.find_entry(hash, |&at| at as usize == last).expect("a position of an item").remove();
        }
        let item = self.items.swap_remove(last);
        self.shrink();
        item
    }

    fn shrink(&mut self) {
        let len = self.items.len();
        if self.items.capacity() > GROWTH_MIN && len < self.items.capacity() / 4 {
            self.items.shrink_to(len + (len / 8).max(GROWTH_MIN));
        }
        if len < TABLE_FROM / 2 {
            self.positions = None;
        } else if let Some(positions) = &mut self.positions
            && len < positions.capacity() / 8
        {
            let items = &self.items;
            positions.shrink_to(len * 2, |&at| T::hash(items[at as usize].key()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Keyed for u32 {
        type Key = Self;

        fn key(&self) -> Self {
            *self
        }

        fn hash(key: Self) -> u64 {
            // Weak on purpose: keys that share a hash must not be taken for each other.
            u64::from(key / 4)
        }
    }

    proptest! {
        #[test]
        fn items_are_found_where_they_are(changes in prop::collection::vec((0u32..120, 0u8..3, 0usize..120), 0..400)) {
            let mut list = KeyedVec::new();
            for (key, change, other) in changes {
                match (list.find(key), change) {
                    (None, _) => list.push(key),
                    (Some(at), 0) => { prop_assert_eq!(list.swap_remove(at), key); }
                    (Some(at), _) => list.swap(at, other % list.as_slice().len()),
                }
                for (at, &key) in list.as_slice().iter().enumerate() {
                    prop_assert_eq!(list.find(key), Some(at));
                }
            }
        }
    }

    #[test]
    fn a_list_that_empties_gives_its_memory_back() {
        let mut list = KeyedVec::new();
        for key in 0..5000u32 {
            list.push(key);
        }
        for key in 0..4999 {
            let at = list.find(key).unwrap();
            list.swap_remove(at);
        }
        assert!(list.positions.is_none() && list.items.capacity() <= 8);
    }
}
