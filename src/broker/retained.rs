//! The retained messages of a shard, who asks for them, and how far a subscription's replay of them has come.

use std::collections::VecDeque;

use super::held::Held;
use super::mesh::RetainedQuestion;
use super::message::Message;
use crate::base::ShardId;
use crate::mqtt::{TopicFilter, TopicName};
use crate::routing::{RetainedCursor, RetainedIndex, SubscriptionOptions};

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
    pub(super) id: u32,
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

/// A question on its way through the answering shard.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) from: ShardId,
    pub(super) question: RetainedQuestion,
}

/// Questions that wait for the mesh to be drained.
#[derive(Debug, Default)]
pub(super) struct Questions {
    pub(super) waiting: VecDeque<Asked>,
    /// So many, from the front, came before the draining that is under way.
    pub(super) ready: usize,
}

impl Questions {
    pub(super) fn push(&mut self, from: ShardId, question: RetainedQuestion) {
        self.waiting.push_back(Asked { from, question });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
