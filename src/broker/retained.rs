//! The retained messages of a shard, who asks for them, and how far a subscription's replay of them has come.

use std::collections::VecDeque;

use super::mesh::RetainedQuestion;
use super::message::Message;
use crate::base::ShardId;
use crate::mqtt::TopicFilter;
use crate::routing::{RetainedCursor, RetainedIndex, SubscriptionOptions};

/// The messages, and what they hold.
#[derive(Debug, Default)]
pub(super) struct Retained {
    pub(super) index: RetainedIndex<Message>,
    pub(super) bytes: usize,
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
