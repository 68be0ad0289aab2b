//! A hash table whose buckets are cache lines. A general one keeps control bytes apart from its slots, two cache misses
//! in a large table where this has one: with it a match among a million filters took a quarter to a third less time
//! than with `hashbrown::HashTable` (2026-11, `benches/routing.rs`, the two builds in turn).
//!
//! Buckets are in the order of the hashes, so growing copies from front to back, without a cache miss per entry.

use std::fmt::Debug;

/// Lines hold this many sixteenths of what they have room for, then the table grows by half: any fuller, and too many
/// entries lie in the next line.
const LOAD_MAX_SIXTEENTHS: usize = 13;

/// A table with more lines than this shrinks when seven in eight slots are vacant.
const SHRUNK_LINES_MIN: usize = 8;

/// What a slot holds: an entry, or one of two marks.
pub(super) trait Slot: Copy + PartialEq + Debug {
    /// Never held anything since the last rebuild: a search ends here.
    const VACANT: Self;
    /// Held something: a search goes on.
    const GONE: Self;

    /// 32 well-mixed bits of the entry's hash, which decide about its line; a mark's are no entry's.
    fn place(&self) -> u32;
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Line<S, const N: usize>([S; N]);

#[derive(Debug)]
pub(super) struct LineTable<S, const N: usize> {
    lines: Vec<Line<S, N>>,
    len: usize,
    gone: usize,
}

impl<S: Slot, const N: usize> LineTable<S, N> {
    pub(super) const fn new() -> Self {
        const { assert!(size_of::<Line<S, N>>() == 64) };
        Self { lines: Vec::new(), len: 0, gone: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// In the order of places, so that a table's order does not change when it grows.
    fn home(&self, place: u32) -> usize {
        ((u64::from(place) * self.lines.len() as u64) >> 32) as usize
    }

    fn after(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// The line and slot of the entry of this place that `is_it`.
    #[inline]
    fn position(&self, place: u32, is_it: impl Fn(&S) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(place);
        loop {
            // Empty only where there is no line at all: some slot is vacant always.
            let line = &self.lines.get(at)?.0;
            let same = |slot: &S| slot.place() == place && is_it(slot);
            if let Some(slot) = line.iter().position(same) {
                return Some((at, slot));
            }
            // Lines are filled from the front.
            if line[N - 1] == S::VACANT {
                return None;
            }
            at = self.after(at);
        }
    }

    #[inline]
    pub(super) fn find(&self, place: u32, is_it: impl Fn(&S) -> bool) -> Option<&S> {
        self.position(place, is_it).map(|(line, slot)| &self.lines[line].0[slot])
    }

    /// The caller leaves the place as it is, and makes no mark of the entry.
    pub(super) fn find_mut(&mut self, place: u32, is_it: impl Fn(&S) -> bool) -> Option<&mut S> {
        self.position(place, is_it).map(|(line, slot)| &mut self.lines[line].0[slot])
    }

    /// The caller has seen that it is not there.
    pub(super) fn insert(&mut self, entry: S) {
        if (self.len + self.gone + 1) * 16 > self.lines.len() * N * LOAD_MAX_SIXTEENTHS {
            // Where much is gone, the same size without it may do.
            let lines = if self.gone > self.len / 4 { self.lines.len() } else { self.lines.len() * 3 / 2 + 1 };
            self.rebuild(lines);
        }
        self.place(entry);
        self.len += 1;
    }

    fn place(&mut self, entry: S) {
        let mut at = self.home(entry.place());
        loop {
            let line = &mut self.lines[at].0;
            if let Some(slot) = line.iter_mut().find(|slot| **slot == S::VACANT || **slot == S::GONE) {
                if *slot == S::GONE {
                    self.gone -= 1;
                }
                *slot = entry;
                return;
            }
            at = self.after(at);
        }
    }

    pub(super) fn remove(&mut self, place: u32, is_it: impl Fn(&S) -> bool) -> Option<S> {
        let (at, slot) = self.position(place, is_it)?;
        let line = &mut self.lines[at].0;
        let entry = line[slot];
        let used = line.iter().position(|slot| *slot == S::VACANT).unwrap_or(N);
        if used == N {
            // Searches may have to go on to the next line.
            line[slot] = S::GONE;
            self.gone += 1;
        } else {
            line[slot] = line[used - 1];
            line[used - 1] = S::VACANT;
        }
        self.len -= 1;
        if self.lines.len() > SHRUNK_LINES_MIN && self.len * 8 < self.lines.len() * N {
            self.rebuild(self.lines.len() / 4);
        }
        Some(entry)
    }

    fn rebuild(&mut self, lines: usize) {
        let old = std::mem::replace(&mut self.lines, vec![Line([S::VACANT; N]); lines]);
        self.gone = 0;
        for entry in old.into_iter().flat_map(|line| line.0) {
            if entry != S::VACANT && entry != S::GONE {
                self.place(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl Slot for u64 {
        const VACANT: Self = u64::MAX;
        const GONE: Self = u64::MAX - 1;

        fn place(&self) -> u32 {
            // Bunched at both ends, so that lines overflow and searches wrap around.
            match *self {
                Self::VACANT => 1,
                Self::GONE => 2,
                entry if entry % 3 == 0 => u32::MAX - (entry as u32 & 1),
                entry => (entry as u32) << 26,
            }
        }
    }

    proptest! {
        #[test]
        fn entries_are_found_until_they_are_removed(changes in prop::collection::vec((0u64..150, any::<bool>()), 0..1500)) {
            let mut table = LineTable::<u64, 8>::new();
            let mut model = BTreeSet::new();
            for (entry, insert) in changes {
                let found = table.find(entry.place(), |slot| *slot == entry);
                prop_assert_eq!(found.is_some(), model.contains(&entry));
                if insert && model.insert(entry) {
                    table.insert(entry);
                } else if !insert {
                    let removed = table.remove(entry.place(), |slot| *slot == entry);
                    prop_assert_eq!(removed.is_some(), model.remove(&entry));
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for entry in 0..150 {
                prop_assert_eq!(table.find(entry.place(), |slot| *slot == entry).is_some(), model.contains(&entry));
            }
        }
    }

    #[test]
    fn a_table_that_empties_gives_its_memory_back() {
        let mut table = LineTable::<u64, 8>::new();
        for entry in 0..10_000 {
            table.insert(entry);
        }
        for entry in 0..10_000 {
            assert!(table.remove(entry.place(), |slot| *slot == entry).is_some());
        }
        assert!(table.len() == 0 && table.lines.len() <= SHRUNK_LINES_MIN);
    }
}
