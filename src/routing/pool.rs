//! Values at stable indexes, in chunks: growing never copies what is there, and a chunk that empties is given back.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

/// Slots of a chunk: 32 KiB of 64-byte values, so that a small broker stays small and a large one has few chunks.
const CHUNK_SLOTS: usize = 512;

/// Indexes stay below this, so that those who keep them may use the high bits.
pub(super) const INDEX_MAX: u32 = 1 << 30;

#[derive(Debug)]
enum Slot<T> {
    /// The next vacant slot of the chunk, [`CHUNK_SLOTS`] after the last.
    Vacant {
        next: u32,
    },
    Used(T),
}

#[derive(Debug)]
struct Chunk<T> {
    /// Empty while nothing is in the chunk.
    slots: Box<[Slot<T>]>,
    vacant: u32,
    used: u32,
}

#[derive(Debug)]
pub(super) struct Pool<T> {
    chunks: Vec<Chunk<T>>,
    /// Chunks with a vacant slot. The lowest is filled first, so that after a peak the high ones empty.
    open: BTreeSet<u32>,
    len: usize,
}

impl<T> Pool<T> {
    /// What a value takes, which those who aim at a cache line look at.
    pub(super) const SLOT_BYTES: usize = size_of::<Slot<T>>();

    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), open: BTreeSet::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        let at = self.open.first().copied().unwrap_or_else(|| {
            self.chunks.push(Chunk { slots: Box::new([]), vacant: 0, used: 0 });
            let at = self.chunks.len() as u32 - 1;
            self.open.insert(at);
            at
        });
        let chunk = &mut self.chunks[at as usize];
        let slot = chunk.insert(value);
        if chunk.used as usize == CHUNK_SLOTS {
            self.open.remove(&at);
        }
        self.len += 1;
        let index = at * CHUNK_SLOTS as u32 + slot;
        assert!(index < INDEX_MAX, "a billion filters, and memory left for more");
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        match self.chunks.get(index as usize / CHUNK_SLOTS)?.slots.get(index as usize % CHUNK_SLOTS)? {
            Slot::Used(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.chunks.get_mut(index as usize / CHUNK_SLOTS)?.slots.get_mut(index as usize % CHUNK_SLOTS)? {
            Slot::Used(value) => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let at = index as usize / CHUNK_SLOTS;
        let value = self.chunks.get_mut(at)?.remove(index % CHUNK_SLOTS as u32)?;
        self.open.insert(at as u32);
        self.len -= 1;
        while self.chunks.last().is_some_and(|chunk| chunk.used == 0) {
            self.chunks.pop();
            self.open.remove(&(self.chunks.len() as u32));
        }
        Some(value)
    }
}

impl<T> Chunk<T> {
    fn insert(&mut self, value: T) -> u32 {
        if self.slots.is_empty() {
            self.slots = (1..=CHUNK_SLOTS as u32).map(|next| Slot::Vacant { next }).collect();
            self.vacant = 0;
        }
        let index = self.vacant;
        let slot = &mut self.slots[index as usize];
        let Slot::Vacant { next } = *slot else { unreachable!("a used slot on the list of vacant ones") };
        *slot = Slot::Used(value);
        self.vacant = next;
        self.used += 1;
        index
    }

    fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        if let Slot::Vacant { .. } = slot {
            return None;
        }
        let Slot::Used(value) = std::mem::replace(slot, Slot::Vacant { next: self.vacant }) else { return None };
        self.vacant = index;
        self.used -= 1;
        if self.used == 0 {
            self.slots = Box::new([]);
        }
        Some(value)
    }
}

impl<T> Index<u32> for Pool<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        self.get(index).expect("the index of a value in the pool")
    }
}

impl<T> IndexMut<u32> for Pool<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect("the index of a value in the pool")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_stay_and_slots_are_used_again() {
        let mut pool = Pool::new();
        let indexes: Vec<u32> = (0..2000).map(|value| pool.insert(value)).collect();
        for &index in indexes.iter().filter(|index| *index % 3 != 0) {
            assert!(pool.remove(index).is_some() && pool.remove(index).is_none());
        }
        assert!(indexes.iter().all(|&index| pool.get(index).is_some_and(|v| *v == index) == (index % 3 == 0)));
        while pool.len() < 2000 {
            assert!(pool.insert(7) < 2048);
        }
    }

    #[test]
    fn chunks_that_empty_are_given_back() {
        let mut pool = Pool::new();
        let indexes: Vec<u32> = (0..4 * CHUNK_SLOTS as u32).map(|value| pool.insert(value)).collect();
        for &index in &indexes[CHUNK_SLOTS..2 * CHUNK_SLOTS] {
            pool.remove(index);
        }
        assert!(pool.chunks[1].slots.is_empty());
        assert!(pool.get(CHUNK_SLOTS as u32).is_none());
        for &index in &indexes {
            pool.remove(index);
        }
        assert!(pool.chunks.is_empty() && pool.open.is_empty() && pool.len() == 0);
    }
}
