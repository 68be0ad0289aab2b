//! Which shards want a topic. Every shard has one, told of each shard's first and last subscriber of a filter, so it
//! holds no text of exact filters: a hash they share costs a needless hop, never a message.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::base::limits::SHARDS_MAX;
use crate::base::{ShardId, ShardSet};
use crate::mqtt::{TopicFilter, TopicName};

use super::hash::{self, TopicHash, TopicHasher};
use super::line_table::{LineTable, Slot};
use super::trie::{PathId, Trie};

#[derive(Clone, Copy, PartialEq, Debug)]
struct Exact {
    hash: u64,
    shards: ShardSet,
}

/// The marks are told from entries by having no shards; entries' hashes do not begin with 32 zeros.
impl Slot for Exact {
    const VACANT: Self = Self { hash: 0, shards: ShardSet::EMPTY };
    const GONE: Self = Self { hash: 1, shards: ShardSet::EMPTY };

    fn place(&self) -> u32 {
        place(self.hash)
    }
}

/// Shards per filter, with counts: what a shard added twice it has to remove twice. Two filters with one hash are
/// thus told apart, although the index does not know either.
#[derive(Debug)]
pub struct InterestIndex {
    hasher: TopicHasher,
    exact: LineTable<Exact, 4>,
    wildcard: Trie<ShardSet>,
    /// How often beyond the first time a shard added the exact filters of a hash.
    exact_again: HashMap<(u64, ShardId), u32, RandomState>,
    wildcard_again: HashMap<(PathId, ShardId), u32, RandomState>,
    /// Wildcard filters per shard: where a walk is cut, all shards that have any are taken to be interested.
    wildcards_of: [u32; SHARDS_MAX],
}

impl InterestIndex {
    /// All shards are given the same seed.
    pub fn new(seed: u64) -> Self {
        let keys = hash::keyed(seed);
        Self {
            exact: LineTable::new(),
            wildcard: Trie::new(seed),
            exact_again: HashMap::with_hasher(keys.clone()),
            wildcard_again: HashMap::with_hasher(keys),
            wildcards_of: [0; SHARDS_MAX],
            hasher: TopicHasher::new(seed),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.exact.len() == 0
            && self.wildcard.is_empty()
            && self.exact_again.is_empty()
            && self.wildcard_again.is_empty()
    }

    pub fn add(&mut self, filter: TopicFilter<'_>, shard: ShardId) {
        if filter.has_wildcard() {
            let path = self.wildcard.insert(filter);
            let shards = self.wildcard.get_mut(path).expect("a filter is there once inserted");
            if shards.contains(shard) {
                *self.wildcard_again.entry((path, shard)).or_insert(0) += 1;
            } else {
                shards.insert(shard);
                self.wildcards_of[shard.index()] += 1;
            }
            return;
        }
        let hash = stored(self.hasher.hash(filter.as_str()));
        match self.exact.find_mut(place(hash), |entry| entry.hash == hash) {
            Some(entry) if entry.shards.contains(shard) => *self.exact_again.entry((hash, shard)).or_insert(0) += 1,
            Some(entry) => entry.shards.insert(shard),
            None => {
                let mut shards = ShardSet::EMPTY;
                shards.insert(shard);
                self.exact.insert(Exact { hash, shards });
            }
        }
    }

    /// Takes back one `add`; without one it does nothing.
    pub fn remove(&mut self, filter: TopicFilter<'_>, shard: ShardId) {
        if filter.has_wildcard() {
            self.remove_wildcard(filter, shard);
            return;
        }
        let hash = stored(self.hasher.hash(filter.as_str()));
        if take_one(&mut self.exact_again, (hash, shard)) {
            return;
        }
        let Some(entry) = self.exact.find_mut(place(hash), |entry| entry.hash == hash) else { return };
        let mut left = entry.shards;
        left.remove(shard);
        if left.is_empty() {
            self.exact.remove(place(hash), |entry| entry.hash == hash);
        } else {
            entry.shards = left;
        }
    }

    fn remove_wildcard(&mut self, filter: TopicFilter<'_>, shard: ShardId) {
        let Some(path) = self.wildcard.find(filter) else { return };
        if take_one(&mut self.wildcard_again, (path, shard)) {
            return;
        }
        let Some(shards) = self.wildcard.get_mut(path) else { return };
        if shards.contains(shard) {
            shards.remove(shard);
            self.wildcards_of[shard.index()] -= 1;
            if shards.is_empty() {
                self.wildcard.prune(path);
            }
        }
    }

    /// Where a message of this topic, whose hash is of this index's seed, has to go: every shard with a matching filter,
    /// and seldom one without.
    pub fn shards(&self, topic: TopicName<'_>, hash: TopicHash) -> ShardSet {
        debug_assert_eq!(hash, self.hasher.hash(topic.as_str()));
        let hash = stored(hash);
        let exact = self.exact.find(place(hash), |entry| entry.hash == hash);
        let mut shards = exact.map_or(ShardSet::EMPTY, |entry| entry.shards);
        let whole = self.wildcard.walk(topic, |more| shards = shards.union(*more));
        if !whole {
            for (index, &filters) in self.wildcards_of.iter().enumerate() {
                if filters > 0 {
                    shards.insert(ShardId::new(index));
                }
            }
        }
        shards
    }
}

/// As entries hold it.
const fn stored(hash: TopicHash) -> u64 {
    let hash = hash.get();
    if place(hash) == 0 { hash | 1 << 32 } else { hash }
}

const fn place(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Counts down; `false` if nothing was counted.
fn take_one<K: Eq + std::hash::Hash>(again: &mut HashMap<K, u32, RandomState>, key: K) -> bool {
    let Some(count) = again.get_mut(&key) else { return false };
    *count -= 1;
    if *count == 0 {
        again.remove(&key);
        if again.is_empty() {
            again.shrink_to_fit();
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::base::limits::MATCH_NODES_MAX;

    use super::*;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn shards(index: &InterestIndex, name: &str) -> ShardSet {
        index.shards(topic(name), TopicHasher::new(1).hash(name))
    }

    fn topic(text: &str) -> TopicName<'_> {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn what_was_added_twice_is_gone_after_two_removals() {
        let mut index = InterestIndex::new(1);
        let shard = ShardId::new(3);
        for text in ["a/b", "a/+"] {
            index.add(filter(text), shard);
            index.add(filter(text), shard);
            index.remove(filter(text), shard);
            assert!(shards(&index, "a/b").contains(shard), "{text}");
            index.remove(filter(text), shard);
            assert!(shards(&index, "a/b").is_empty() && index.is_empty(), "{text}");
            index.remove(filter(text), shard);
        }
    }

    #[test]
    fn a_walk_that_is_cut_asks_all_shards_with_wildcards() {
        let mut index = InterestIndex::new(1);
        let levels = 17;
        for word in 1..1u32 << levels {
            let levels: Vec<&str> = (0..levels).map(|bit| if word >> bit & 1 == 0 { "a" } else { "+" }).collect();
            index.add(filter(&levels.join("/")), ShardId::new(0));
        }
        index.add(filter("else/+"), ShardId::new(5));
        index.add(filter("else"), ShardId::new(6));
        assert!(1 << levels > MATCH_NODES_MAX);
        let shards = shards(&index, &vec!["a"; levels].join("/"));
        assert_eq!(shards.iter().map(ShardId::index).collect::<Vec<_>>(), [0, 5]);
    }

    proptest! {
        #[test]
        fn every_shard_with_a_matching_filter_is_asked_and_no_other(
            changes in prop::collection::vec((0usize..12, 0usize..4, prop::bool::weighted(0.6)), 0..120),
        ) {
            const FILTERS: [&str; 12] =
                ["a", "a/b", "a//b", "#", "+", "a/#", "a/+", "+/b", "a/+/b", "a/+/c", "$x/#", "$x/y"];
            let mut index = InterestIndex::new(1);
            let mut model = Vec::new();
            for (at, shard, add) in changes {
                let (text, shard) = (FILTERS[at], ShardId::new(shard));
                if add {
                    index.add(filter(text), shard);
                    model.push((text, shard));
                } else {
                    index.remove(filter(text), shard);
                    if let Some(at) = model.iter().position(|&added| added == (text, shard)) {
                        model.swap_remove(at);
                    }
                }
                for name in ["a", "a/b", "a//b", "a/c/b", "a/c/c", "$x/y", "$x", "b/b", "c"] {
                    let mut wanted = ShardSet::EMPTY;
                    for &(text, shard) in &model {
                        if filter(text).matches(topic(name)) {
                            wanted.insert(shard);
                        }
                    }
                    prop_assert_eq!(shards(&index, name), wanted);
                }
            }
            for (text, shard) in model {
                index.remove(filter(text), shard);
            }
            prop_assert!(index.is_empty());
        }
    }
}
