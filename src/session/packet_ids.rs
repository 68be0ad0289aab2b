//! Packet identifiers, and the set of those that a receiver must remember.

use std::num::NonZeroU16;

/// A Packet Identifier is never zero. [MQTT-2.2.1-3]
pub type PacketId = NonZeroU16;

/// Up to this many identifiers are a plain list; the bitmap, at 8 KB, is for clients that really keep more exchanges
/// open. A QoS 2 message, received and released, took 10 ns with one identifier in the list, 26 ns with 64, and 7 ns in
/// the bitmap.
const FEW_MAX: usize = 64;

/// A list this short is what `shrink` turns a bitmap back into. Far below `FEW_MAX`, so that a client at the limit does
/// not go back and forth.
const FEW_AGAIN_MAX: usize = 16;

/// Identifiers compared at once: a vector register of 128 bits. Faster here than 16 or 32.
const LANES: usize = 8;
const WORDS: usize = (u16::MAX as usize + 1) / u64::BITS as usize;

/// A set of packet identifiers: one list of a few, or a bit for each there is.
#[derive(Debug)]
pub struct PacketIdSet(Ids);

#[derive(Debug)]
enum Ids {
    Few(Vec<PacketId>),
    Many(Box<Bitmap>),
}

#[derive(Debug)]
struct Bitmap {
    words: [u64; WORDS],
    len: usize,
}

impl Default for PacketIdSet {
    fn default() -> Self {
        Self(Ids::Few(Vec::new()))
    }
}

impl PacketIdSet {
    /// False when `id` was there already.
    pub fn insert(&mut self, id: PacketId) -> bool {
        match &mut self.0 {
            Ids::Few(list) => {
                if position(list, id).is_some() {
                    return false;
                }
                if list.len() < FEW_MAX {
                    list.push(id);
                    return true;
                }
                let mut bitmap = Bitmap::of(list);
                bitmap.insert(id);
                self.0 = Ids::Many(bitmap);
                true
            }
            Ids::Many(bitmap) => bitmap.insert(id),
        }
    }

    pub fn contains(&self, id: PacketId) -> bool {
        match &self.0 {
            Ids::Few(list) => position(list, id).is_some(),
            Ids::Many(bitmap) => bitmap.contains(id),
        }
    }

    /// False when `id` was not there.
    pub fn remove(&mut self, id: PacketId) -> bool {
        match &mut self.0 {
            Ids::Few(list) => {
                let found = position(list, id);
                if let Some(index) = found {
                    list.swap_remove(index);
                }
                found.is_some()
            }
            Ids::Many(bitmap) => bitmap.remove(id),
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Ids::Few(list) => list.len(),
            Ids::Many(bitmap) => bitmap.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> {
        let (list, words): (&[PacketId], &[u64]) = match &self.0 {
            Ids::Few(list) => (list, &[]),
            Ids::Many(bitmap) => (&[], &bitmap.words),
        };
        let bits = words.iter().enumerate().flat_map(|(index, &word)| ids_of(index, word));
        list.iter().copied().chain(bits)
    }

    /// Back to a list, of the right size, where a few are left. Linear in the bitmap; for a timer.
    pub fn shrink(&mut self) {
        match &mut self.0 {
            Ids::Few(list) => list.shrink_to_fit(),
            Ids::Many(bitmap) if bitmap.len <= FEW_AGAIN_MAX => self.0 = Ids::Few(self.iter().collect()),
            Ids::Many(_) => {}
        }
    }
}

/// Looks for a chunk first, without an early exit inside it, so that the compiler compares a whole chunk at once.
fn position(list: &[PacketId], id: PacketId) -> Option<usize> {
    let holds = |chunk: &[PacketId]| chunk.iter().fold(false, |found, &known| found | (known == id));
    let (index, chunk) = list.chunks(LANES).enumerate().find(|(_, chunk)| holds(chunk))?;
    let offset = chunk.iter().position(|&known| known == id)?;
    Some(index * LANES + offset)
}

fn ids_of(index: usize, word: u64) -> impl Iterator<Item = PacketId> {
    let mut bits = word;
    std::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let bit = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        PacketId::new((index * u64::BITS as usize + bit) as u16)
    })
}

impl Bitmap {
    fn of(list: &[PacketId]) -> Box<Self> {
        let mut bitmap = Box::new(Self { words: [0; WORDS], len: 0 });
        for &id in list {
            bitmap.insert(id);
        }
        bitmap
    }

    const fn place(id: PacketId) -> (usize, u64) {
        let id = id.get();
        ((id / u64::BITS as u16) as usize, 1 << (id % u64::BITS as u16))
    }

    const fn contains(&self, id: PacketId) -> bool {
        let (word, bit) = Self::place(id);
        self.words[word] & bit != 0
    }

    // Branches where `len += usize::from(is_new)` would do: rustc 1.95 leaves such an addition out, from opt-level 2 on,
    // where a caller branches on `is_new` and then looks at `len`.
    fn insert(&mut self, id: PacketId) -> bool {
        let (word, bit) = Self::place(id);
        if self.words[word] & bit != 0 {
            return false;
        }
        self.words[word] |= bit;
        self.len += 1;
        true
    }

    fn remove(&mut self, id: PacketId) -> bool {
        let (word, bit) = Self::place(id);
        if self.words[word] & bit == 0 {
            return false;
        }
        self.words[word] &= !bit;
        self.len -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    fn is_list(set: &PacketIdSet) -> bool {
        matches!(set.0, Ids::Few(_))
    }

    #[test]
    fn a_list_becomes_a_bitmap_and_a_list_again() {
        let mut set = PacketIdSet::default();
        for value in 1..=FEW_MAX as u16 {
            assert!(set.insert(id(value)));
        }
        assert!(is_list(&set));
        assert!(set.insert(id(u16::MAX)));
        assert!(!is_list(&set) && set.len() == FEW_MAX + 1);
        assert!(!set.insert(id(u16::MAX)) && !set.insert(id(1)));

        for value in 1..=FEW_MAX as u16 {
            assert!(set.remove(id(value)));
            assert!(!set.remove(id(value)));
        }
        assert!(!is_list(&set), "no conversion on the way, only from the timer");
        set.shrink();
        assert!(is_list(&set));
        assert_eq!(set.iter().collect::<Vec<_>>(), [id(u16::MAX)]);
    }

    #[test]
    fn every_identifier_fits_at_once() {
        let mut set = PacketIdSet::default();
        for value in 1..=u16::MAX {
            assert!(set.insert(id(value)));
        }
        assert_eq!(set.len(), u16::MAX as usize);
        assert_eq!(set.iter().count(), u16::MAX as usize);
        set.shrink();
        assert!(!is_list(&set));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u16),
        Remove(u16),
        Shrink,
    }

    fn op() -> impl Strategy<Value = Op> {
        let value = prop_oneof![4 => 1..200u16, 1 => 1..=u16::MAX];
        prop_oneof![
            6 => value.clone().prop_map(Op::Insert),
            5 => value.prop_map(Op::Remove),
            1 => Just(Op::Shrink),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_set(ops in prop::collection::vec(op(), 0..600)) {
            let mut set = PacketIdSet::default();
            let mut model = BTreeSet::new();
            for op in ops {
                match op {
                    Op::Insert(value) => prop_assert_eq!(set.insert(id(value)), model.insert(id(value))),
                    Op::Remove(value) => prop_assert_eq!(set.remove(id(value)), model.remove(&id(value))),
                    Op::Shrink => set.shrink(),
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.is_empty(), model.is_empty());
            }
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), model.clone());
            prop_assert!(model.iter().all(|&id| set.contains(id)));
        }
    }
}
