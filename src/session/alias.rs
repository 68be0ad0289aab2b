//! Topic Aliases, of both directions. They belong to a connection, not to a session. [MQTT-3.3.2-7]
//!
//! From the client, who decides:
//!
//! | PUBLISH has | alias | what happens |
//! |---|---|---|
//! | topic and alias | allowed | `set`: the alias means this topic from now on |
//! | alias alone | set before | `get`: the topic |
//! | alias alone | never set | error |
//! | any | 0, or above the maximum that the client was given | error |
//!
//! To the client, where the broker decides:
//!
//! | topic | aliases left | PUBLISH has |
//! |---|---|---|
//! | has an alias | | alias alone (`Known`) |
//! | new | yes | topic and alias (`New`) |
//! | new | no, and the hand is at an alias not used since it last came by | topic and that alias (`New`) |
//! | new | no, and the hand is at one that was used | topic alone (`None`); the hand goes on |
//!
//! The hand moves one alias for each topic without one, so that a thousand topics that come once each do not take the
//! aliases away from those that keep coming.

use ahash::RandomState;
use hashbrown::HashTable;

/// Aliases that the broker uses at most for one client, however many that allows: they cost memory, and a client with
/// more topics than this has few repetitions in sight.
const OUTBOUND_MAX: u16 = 256;

/// An alias is a property of three bytes; a topic that is not longer is better sent itself.
const ALIAS_BYTES: usize = 3;

/// Fixed, as this layer has no randomness: whoever finds colliding topics gains at most `OUTBOUND_MAX` comparisons.
const HASH_SEEDS: (u64, u64, u64, u64) =
    (0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93);

/// An alias in a PUBLISH that means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AliasError {
    /// 0, or above the Topic Alias Maximum: Topic Alias invalid (0x94). [MQTT-3.3.2-8] [MQTT-3.3.2-9]
    Invalid,
    /// Without a topic, and never with one before: Protocol Error (0x82). (MQTT 5.0, 3.3.4)
    Unknown,
}

/// The aliases that a client has set. One word while there are none.
#[derive(Default, Debug)]
pub struct InboundAliases(Option<Box<Topics>>);

#[derive(Default, Debug)]
struct Topics {
    /// Alias 1 is the first.
    by_alias: Vec<Option<Box<str>>>,
}

impl InboundAliases {
    /// A PUBLISH with a topic and an alias, of which the client was allowed `max`. [MQTT-3.3.2-12]
    pub fn set(&mut self, alias: u16, topic: &str, max: u16) -> Result<(), AliasError> {
        let index = index_of(alias, max)?;
        let topics = &mut self.0.get_or_insert_default().by_alias;
        if topics.len() <= index {
            topics.resize_with(index + 1, || None);
        }
        let known = &mut topics[index];
        if known.as_deref() != Some(topic) {
            *known = Some(topic.into());
        }
        Ok(())
    }

    /// The topic of a PUBLISH with an alias alone.
    pub fn get(&self, alias: u16, max: u16) -> Result<&str, AliasError> {
        let index = index_of(alias, max)?;
        let topics = self.0.as_ref().ok_or(AliasError::Unknown)?;
        topics.by_alias.get(index).and_then(Option::as_deref).ok_or(AliasError::Unknown)
    }

    /// Another connection: no alias is carried over. [MQTT-3.3.2-7]
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

const fn index_of(alias: u16, max: u16) -> Result<usize, AliasError> {
    match alias {
        0 => Err(AliasError::Invalid),
        alias if alias > max => Err(AliasError::Invalid),
        alias => Ok(alias as usize - 1),
    }
}

/// How a PUBLISH names its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AliasUse {
    /// The alias alone.
    Known(u16),
    /// The topic, and the alias that means it from now on.
    New(u16),
    /// The topic alone.
    None,
}

/// The aliases that the broker has set with a client. One word while there are none.
#[derive(Default, Debug)]
pub struct OutboundAliases(Option<Box<Aliases>>);

#[derive(Debug)]
struct Aliases {
    /// Alias 1 is the first.
    entries: Vec<Entry>,
    by_topic: HashTable<u16>,
    /// The entry that is looked at next for replacement.
    hand: u16,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    topic: String,
    /// Since the hand came by.
    used: bool,
}

impl OutboundAliases {
    /// How to name `topic` in a PUBLISH that is sent now, to a client that allows `max` aliases [MQTT-3.3.2-11]. Where
    /// the packet is then not sent, call `forget` with its new alias.
    pub fn assign(&mut self, topic: &str, max: u16) -> AliasUse {
        // [MQTT-3.1.2-27]
        if max == 0 || topic.len() <= ALIAS_BYTES {
            return AliasUse::None;
        }
        self.0.get_or_insert_with(|| Box::new(Aliases::new())).assign(topic, max.min(OUTBOUND_MAX))
    }

    /// The packet with this new alias was not sent: the client does not know it.
    pub fn forget(&mut self, alias: u16) {
        if let Some(aliases) = &mut self.0 {
            aliases.forget(alias);
        }
    }

    /// Another connection: no alias is carried over. [MQTT-3.3.2-7]
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

impl Aliases {
    fn new() -> Self {
        let (a, b, c, d) = HASH_SEEDS;
        let hasher = RandomState::with_seeds(a, b, c, d);
        Self { entries: Vec::new(), by_topic: HashTable::new(), hand: 0, hasher }
    }

    fn assign(&mut self, topic: &str, max: u16) -> AliasUse {
        let hash = self.hasher.hash_one(topic);
        if let Some(&index) = self.by_topic.find(hash, |&index| self.entries[index as usize].topic == topic) {
            self.entries[index as usize].used = true;
            return AliasUse::Known(index + 1);
        }
        let index = if self.entries.len() < max as usize {
            self.entries.push(Entry { topic: topic.to_owned(), used: false });
            self.entries.len() as u16 - 1
        } else {
            let Some(index) = self.replaceable() else { return AliasUse::None };
            self.unlink(index);
            let entry = &mut self.entries[index as usize];
            entry.topic.clear();
            entry.topic.push_str(topic);
            index
        };
        let Self { entries, hasher, .. } = self;
        self.by_topic.insert_unique(hash, index, |&index| hasher.hash_one(entries[index as usize].topic.as_str()));
        AliasUse::New(index + 1)
    }

    /// One step of the hand.
    fn replaceable(&mut self) -> Option<u16> {
        let index = self.hand;
        self.hand = (self.hand + 1) % self.entries.len() as u16;
        let used = &mut self.entries[index as usize].used;
        let spared = *used;
        *used = false;
        (!spared).then_some(index)
    }

    fn unlink(&mut self, index: u16) {
        let hash = self.hasher.hash_one(self.entries[index as usize].topic.as_str());
        if let Ok(entry) = self.by_topic.find_entry(hash, |&linked| linked == index) {
            entry.remove();
        }
    }

    /// The entry is the next to be replaced.
    fn forget(&mut self, alias: u16) {
        let Some(index) = alias.checked_sub(1).filter(|&index| (index as usize) < self.entries.len()) else { return };
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        entry.topic.clear();
        entry.used = false;
        self.hand = index;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    // [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.3.2-12]
    #[test]
    fn a_client_sets_what_it_was_allowed() {
        let mut aliases = InboundAliases::default();
        assert_eq!(aliases.get(1, 3), Err(AliasError::Unknown));
        for alias in [3, 1] {
            assert_eq!(aliases.set(alias, "a/b", 3), Ok(()));
            assert_eq!(aliases.get(alias, 3), Ok("a/b"));
        }
        assert_eq!(aliases.set(3, "c", 3), Ok(()));
        assert_eq!((aliases.get(1, 3), aliases.get(3, 3)), (Ok("a/b"), Ok("c")));
        assert_eq!(aliases.get(2, 3), Err(AliasError::Unknown));
        for invalid in [0, 4, u16::MAX] {
            assert_eq!(aliases.set(invalid, "d", 3), Err(AliasError::Invalid));
            assert_eq!(aliases.get(invalid, 3), Err(AliasError::Invalid));
        }
        assert_eq!(aliases.set(1, "d", 0), Err(AliasError::Invalid));
        assert_eq!(aliases.set(u16::MAX, "d", u16::MAX), Ok(()));
    }

    // [MQTT-3.3.2-7]
    #[test]
    fn no_alias_is_carried_over() {
        let (mut inbound, mut outbound) = (InboundAliases::default(), OutboundAliases::default());
        inbound.set(1, "a/b", 1).unwrap();
        inbound.clear();
        assert_eq!(inbound.get(1, 1), Err(AliasError::Unknown));
        assert_eq!(outbound.assign("a/b/c", 1), AliasUse::New(1));
        outbound.clear();
        assert_eq!(outbound.assign("a/b/c", 1), AliasUse::New(1));
    }

    // [MQTT-3.1.2-26] [MQTT-3.1.2-27]
    #[test]
    fn the_first_topics_get_the_aliases() {
        let mut aliases = OutboundAliases::default();
        assert_eq!(aliases.assign("t/one", 0), AliasUse::None);
        assert_eq!(aliases.assign("a/b", 2), AliasUse::None, "an alias would not be shorter");
        assert_eq!(aliases.assign("t/one", 2), AliasUse::New(1));
        assert_eq!(aliases.assign("t/two", 2), AliasUse::New(2));
        assert_eq!(aliases.assign("t/one", 2), AliasUse::Known(1));
        assert_eq!(aliases.assign("t/two", 2), AliasUse::Known(2));
        // Both were used: the hand spares each of them once.
        assert_eq!(aliases.assign("t/three", 2), AliasUse::None);
        assert_eq!(aliases.assign("t/three", 2), AliasUse::None);
        assert_eq!(aliases.assign("t/three", 2), AliasUse::New(1));
        assert_eq!(aliases.assign("t/two", 2), AliasUse::Known(2));
    }

    #[test]
    fn topics_that_come_once_do_not_push_out_those_that_keep_coming() {
        let mut aliases = OutboundAliases::default();
        let hot: Vec<_> = (0..4).map(|number| format!("hot/{number}")).collect();
        let mut misses = 0;
        for round in 0..1000 {
            for topic in &hot {
                misses += usize::from(!matches!(aliases.assign(topic, 8), AliasUse::Known(_)));
            }
            aliases.assign(&format!("once/{round}"), 8);
        }
        assert_eq!(misses, hot.len());
    }

    #[test]
    fn a_new_alias_that_was_not_sent_is_given_out_again() {
        let mut aliases = OutboundAliases::default();
        assert_eq!(aliases.assign("t/one", 2), AliasUse::New(1));
        assert_eq!(aliases.assign("t/two", 2), AliasUse::New(2));
        aliases.forget(1);
        aliases.forget(0);
        aliases.forget(3);
        assert_eq!(aliases.assign("t/one", 2), AliasUse::New(1));
        assert_eq!(aliases.assign("t/one", 2), AliasUse::Known(1));
        assert_eq!(aliases.assign("t/two", 2), AliasUse::Known(2));
    }

    #[test]
    fn both_are_one_word_while_empty() {
        assert_eq!((size_of::<InboundAliases>(), size_of::<OutboundAliases>()), (8, 8));
    }

    proptest! {
        /// What a client makes of it: every PUBLISH arrives with the topic it was sent with.
        // [MQTT-3.3.2-11]
        #[test]
        fn the_client_always_knows_the_topic(
            max in 1..6u16,
            topics in prop::collection::vec((0..12u8, prop::bool::weighted(0.05)), 0..300),
        ) {
            let mut aliases = OutboundAliases::default();
            let mut client = BTreeMap::new();
            for (topic, lost) in topics {
                let topic = format!("topic/{topic}");
                match aliases.assign(&topic, max) {
                    AliasUse::Known(alias) => prop_assert_eq!(client.get(&alias), Some(&topic)),
                    AliasUse::New(alias) if lost => aliases.forget(alias),
                    AliasUse::New(alias) => {
                        prop_assert!((1..=max).contains(&alias));
                        client.insert(alias, topic);
                    }
                    AliasUse::None => {}
                }
                let inner = aliases.0.as_ref().unwrap();
                prop_assert!(inner.entries.len() <= max as usize && inner.by_topic.len() <= inner.entries.len());
            }
        }
    }
}
