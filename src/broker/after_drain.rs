//! What waits until whatever other shards had sent before it came is here: until every ring to this shard was drained
//! past that moment.

use std::collections::VecDeque;

use super::mesh::RetainedQuestion;
use super::message::Message;
use super::pending::SubAckDue;
use crate::base::ShardId;

#[derive(Debug)]
pub(super) enum AfterDrain {
    /// For this shard to answer: with what was retained when it was asked.
    Question { from: ShardId, question: RetainedQuestion },
    /// An answer: what came live of its messages is known by then.
    Page { question: RetainedQuestion, messages: Vec<Message> },
    /// What comes live from then on was published after the subscription.
    SubAck(SubAckDue),
}

#[derive(Debug, Default)]
pub(super) struct AfterDrainQueue {
    waiting: VecDeque<AfterDrain>,
    /// So many, from the front, came before the draining that is under way.
    ready: usize,
}

impl AfterDrainQueue {
    pub(super) fn push(&mut self, waiting: AfterDrain) {
        self.waiting.push_back(waiting);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A draining has ended: what it was there for.
    pub(super) fn take_ready(&mut self) -> Vec<AfterDrain> {
        self.waiting.drain(..self.ready).collect()
    }

    /// The next draining begins.
    pub(super) fn begin_draining(&mut self) {
        self.ready = self.waiting.len();
    }
}
