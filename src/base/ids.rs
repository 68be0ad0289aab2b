//! Identifiers that cross layers. Each is a newtype, so that a slot of one table cannot index another.

use std::num::NonZeroU32;

use super::limits::{SHARDS_MAX, SUBSCRIPTION_ID_MAX};

/// One core's share of the broker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(u8);

impl ShardId {
    /// # Panics
    /// When `index` is not below [`SHARDS_MAX`]: the number of shards is checked at start.
    pub const fn new(index: usize) -> Self {
        assert!(index < SHARDS_MAX);
        Self(index as u8)
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of shards, as one word.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ShardSet(u64);

impl ShardSet {
    pub const EMPTY: Self = Self(0);

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains(self, shard: ShardId) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    pub const fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }

    pub const fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let index = bits.trailing_zeros();
            bits &= bits - 1;
            Some(ShardId(index as u8))
        })
    }
}

/// A connection of one shard: given out when it is opened, valid until the driver reports it closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId(pub u32);

/// A session seen from any shard. The generation tells a session from a later one in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionRef {
    pub shard: ShardId,
    pub slot: u32,
    pub generation: u32,
}

/// A Subscription Identifier: 1 to 268,435,455. (MQTT 5.0, 3.8.2.1.2)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(id) if value <= SUBSCRIPTION_ID_MAX => Some(Self(id)),
            _ => None,
        }
    }

    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_set_holds_what_was_inserted_in_ascending_order() {
        let mut set = ShardSet::EMPTY;
        for index in [63, 0, 17] {
            set.insert(ShardId::new(index));
        }
        set.remove(ShardId::new(17));
        assert_eq!(set.iter().map(ShardId::index).collect::<Vec<_>>(), [0, 63]);
        assert!(set.contains(ShardId::new(63)) && !set.contains(ShardId::new(17)));
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn a_subscription_identifier_is_neither_zero_nor_over_four_varint_bytes() {
        assert_eq!(SubscriptionId::new(0), None);
        assert_eq!(SubscriptionId::new(SUBSCRIPTION_ID_MAX + 1), None);
        assert_eq!(SubscriptionId::new(SUBSCRIPTION_ID_MAX).map(SubscriptionId::get), Some(SUBSCRIPTION_ID_MAX));
    }
}
