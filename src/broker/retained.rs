//! The retained messages of a shard, how far a subscription's replay of them has come, and what of them need not be
//! replayed.

use std::collections::{BTreeMap, VecDeque};

use super::held::Held;
use super::message::Message;
use crate::base::limits::LIVE_TOPICS_MAX;
use crate::mqtt::{TopicFilter, TopicName};
use crate::routing::{RetainedCursor, RetainedIndex, SubscriptionOptions, TopicHash};

/// The messages, and what they hold. What the broker retained of its own is counted apart: it takes no room from the
/// clients, whose messages are bounded.
#[derive(Debug, Default)]
pub(super) struct Retained {
    pub(super) index: RetainedIndex<Message>,
    of_clients: Held,
    of_broker: Held,
}

impl Retained {
    pub(super) fn held(&self) -> Held {
        let mut held = self.of_clients;
        held.add(&self.of_broker);
        held
    }

    /// What the clients' messages would hold with this one among them.
    pub(super) fn held_with(&self, message: &Message) -> Held {
        let mut held = self.of_clients;
        held.put(message);
        if let Some(replaced) = self.index.get(message.topic()) {
            held.take(replaced);
        }
        held
    }

    pub(super) fn put(&mut self, message: &Message) {
        let replaced = self.index.put(message.topic(), message.clone());
        let held = self.held_mut(message.topic());
        held.put(message);
        if let Some(replaced) = replaced {
            held.take(&replaced);
        }
    }

    pub(super) fn remove(&mut self, topic: TopicName<'_>) -> Option<Message> {
        let removed = self.index.remove(topic)?;
        self.held_mut(topic).take(&removed);
        Some(removed)
    }

    fn held_mut(&mut self, topic: TopicName<'_>) -> &mut Held {
        if topic.is_dollar() { &mut self.of_broker } else { &mut self.of_clients }
    }
}

/// One subscription's way through the retained messages.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Replay {
    /// Higher than that of any replay which began before; zero until it begins.
    pub(super) id: u64,
    pub(super) filter: Box<str>,
    pub(super) options: SubscriptionOptions,
    /// The shard that is asked, and the last one to ask.
    pub(super) shard: usize,
    pub(super) last_shard: usize,
    pub(super) cursor: RetainedCursor,
    pub(super) is_asked: bool,
    /// Fetched, and waiting for room.
    pub(super) held: VecDeque<Message>,
}

impl Replay {
    pub(super) fn filter(&self) -> TopicFilter<'_> {
        TopicFilter::trusted(&self.filter)
    }

    /// Goes on to the next shard. False: there is none.
    pub(super) fn next_shard(&mut self) -> bool {
        self.shard += 1;
        self.cursor = RetainedCursor::default();
        self.shard <= self.last_shard
    }
}

/// What a session was sent live, from publishes with RETAIN, while it had replays to do: of these topics nothing is to
/// be replayed any more, as it would be the same message or an older one. Topics are known by their hash, whose seed no
/// client knows.
#[derive(Debug, Default)]
pub(super) struct LiveTopics {
    /// The newest replay that was there, by topic and by whether the session's own client had published the message.
    newest_replays: BTreeMap<(TopicHash, bool), u64>,
}

impl LiveTopics {
    pub(super) fn put(&mut self, topic_hash: TopicHash, is_own: bool, newest_replay: u64) {
        let key = (topic_hash, is_own);
        if self.newest_replays.len() < LIVE_TOPICS_MAX || self.newest_replays.contains_key(&key) {
            self.newest_replays.insert(key, newest_replay);
        }
    }

    /// What came last was dropped, and only a replay can bring it.
    pub(super) fn remove(&mut self, topic_hash: TopicHash) {
        for is_own in [false, true] {
            self.newest_replays.remove(&(topic_hash, is_own));
        }
    }

    /// Whether there is nothing of a topic to be replayed for a subscription any more.
    pub(super) fn stand_for(&self, replay: &Replay, topic_hash: TopicHash) -> bool {
        let came_live = |is_own: bool| {
            let newest_replay = self.newest_replays.get(&(topic_hash, is_own));
            newest_replay.is_some_and(|&newest_replay| replay.id <= newest_replay)
        };
        // [MQTT-3.8.3-3]: its own did not come by this subscription.
        came_live(false) || !replay.options.no_local && came_live(true)
    }

    /// Keeps what matters to the replays from this one on.
    pub(super) fn keep_from(&mut self, oldest_replay: u64) {
        self.newest_replays.retain(|_, newest_replay| *newest_replay >= oldest_replay);
    }

    pub(super) fn clear(&mut self) {
        self.newest_replays.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::QoS;
    use crate::routing::TopicHasher;

    fn hash(topic: u64) -> TopicHash {
        TopicHasher::new(1).hash(&topic.to_string())
    }

    fn replay(id: u64, no_local: bool) -> Replay {
        Replay {
            id,
            filter: "#".into(),
            options: SubscriptionOptions { qos: QoS::AtMostOnce, no_local, retain_as_published: false, id: None },
            shard: 0,
            last_shard: 0,
            cursor: RetainedCursor::default(),
            is_asked: false,
            held: VecDeque::new(),
        }
    }

    #[test]
    fn what_came_live_stands_for_what_began_before_it() {
        let mut live = LiveTopics::default();
        live.put(hash(7), false, 2);
        assert!(live.stand_for(&replay(1, false), hash(7)) && live.stand_for(&replay(2, true), hash(7)));
        assert!(!live.stand_for(&replay(3, false), hash(7)) && !live.stand_for(&replay(1, false), hash(8)));
        live.keep_from(2);
        assert!(live.stand_for(&replay(2, false), hash(7)));
        live.keep_from(3);
        assert!(live.newest_replays.is_empty());
    }

    #[test]
    fn its_own_stands_for_nothing_where_no_local_kept_it_back() {
        let mut live = LiveTopics::default();
        live.put(hash(7), true, 1);
        assert!(live.stand_for(&replay(1, false), hash(7)) && !live.stand_for(&replay(1, true), hash(7)));
        live.put(hash(7), false, 1);
        assert!(live.stand_for(&replay(1, true), hash(7)));
        live.remove(hash(7));
        assert!(!live.stand_for(&replay(1, false), hash(7)));
    }

    #[test]
    fn beyond_the_bound_the_known_topics_stay_known() {
        let mut live = LiveTopics::default();
        (0..2 * LIVE_TOPICS_MAX as u64).for_each(|topic| live.put(hash(topic), false, 1));
        live.put(hash(0), false, 2);
        assert_eq!(live.newest_replays.len(), LIVE_TOPICS_MAX);
        assert!(live.stand_for(&replay(2, false), hash(0)) && !live.stand_for(&replay(2, false), hash(1)));
        assert!(!live.stand_for(&replay(1, false), hash(LIVE_TOPICS_MAX as u64)));
    }
}
