//! Identifiers that cross layers. Each is a newtype, so that a slot of one table cannot index another.

use std::num::{NonZeroU32, NonZeroU64};

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

/// Where clients come in; counted from zero over all listeners that ever were, so that one that is gone is not taken for
/// another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ListenerId(pub u16);

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

/// Names a record of the store for ever: by its number on its shard, which never comes again, whatever happens to the
/// broker. Of those that one shard makes, the later one is the higher.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordId(NonZeroU64);

impl RecordId {
    /// `number` counts from one.
    pub const fn new(number: u64, shard: ShardId) -> Option<Self> {
        match NonZeroU64::new(number << SHARD_BITS | shard.0 as u64) {
            Some(id) if number != 0 && number <= Self::NUMBER_MAX => Some(Self(id)),
            _ => None,
        }
    }

    pub const NUMBER_MAX: u64 = u64::MAX >> SHARD_BITS;

    /// As it is stored; `None` for what cannot be one.
    pub const fn from_u64(value: u64) -> Option<Self> {
        if value >> SHARD_BITS == 0 {
            return None;
        }
        match NonZeroU64::new(value) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    pub const fn get(self) -> u64 {
        self.0.get()
    }

    pub const fn number(self) -> u64 {
        self.0.get() >> SHARD_BITS
    }

    /// Of the shard that made it.
    pub const fn shard(self) -> ShardId {
        ShardId((self.0.get() & (SHARDS_MAX as u64 - 1)) as u8)
    }
}

const SHARD_BITS: u32 = SHARDS_MAX.trailing_zeros();

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
    fn the_records_of_a_shard_are_in_order_and_those_of_two_shards_have_two_names() {
        let id = |number, shard| RecordId::new(number, ShardId::new(shard)).unwrap();
        assert!(id(1, 63) < id(2, 0) && id(1, 0) != id(1, 1));
        assert_eq!((id(7, 5).number(), id(7, 5).shard()), (7, ShardId::new(5)));
        assert_eq!(RecordId::from_u64(id(7, 5).get()), Some(id(7, 5)));
        assert_eq!(RecordId::new(0, ShardId::new(1)), None);
        assert_eq!(RecordId::from_u64(1), None);
        assert_eq!(RecordId::new(RecordId::NUMBER_MAX + 1, ShardId::new(0)), None);
    }

    #[test]
    fn a_subscription_identifier_is_neither_zero_nor_over_four_varint_bytes() {
        assert_eq!(SubscriptionId::new(0), None);
        assert_eq!(SubscriptionId::new(SUBSCRIPTION_ID_MAX + 1), None);
        assert_eq!(SubscriptionId::new(SUBSCRIPTION_ID_MAX).map(SubscriptionId::get), Some(SUBSCRIPTION_ID_MAX));
    }
}
