//! Keyed hashing: clients choose topics and filters, so nobody without the seed may choose where they collide.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

/// The hash function of `seed`; the same on every shard that was given the same seed.
pub(super) fn keyed(seed: u64) -> RandomState {
    // Digits of pi, so that seeds that differ in one bit still give four unlike words.
    RandomState::with_seeds(
        seed,
        seed ^ 0x243F_6A88_85A3_08D3,
        seed.rotate_left(32) ^ 0x1319_8A2E_0370_7344,
        !seed ^ 0xA409_3822_299F_31D0,
    )
}

/// What hashes topics, and the filters without a wildcard that are found by it. Of one seed it is the same everywhere, so
/// that a message's topic is hashed once, however many tables and shards look for it.
#[derive(Clone, Debug)]
pub struct TopicHasher(RandomState);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicHash(u64);

impl TopicHasher {
    pub fn new(seed: u64) -> Self {
        Self(keyed(seed))
    }

    #[inline]
    pub fn hash(&self, topic: &str) -> TopicHash {
        TopicHash(of_bytes(&self.0, topic.as_bytes()))
    }
}

impl TopicHash {
    pub const fn get(self) -> u64 {
        self.0
    }
}

pub(super) fn of_bytes(keys: &RandomState, bytes: &[u8]) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// The fixed-size part goes first, so that no two pairs read as the same bytes.
pub(super) fn of_pair(keys: &RandomState, number: u32, bytes: &[u8]) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write_u32(number);
    hasher.write(bytes);
    hasher.finish()
}

/// Spreads a number that no client chose over a hash table: low bits stay distinct, high bits get mixed.
pub(super) const fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
