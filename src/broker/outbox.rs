//! What other shards are to be told, in the order in which it is to be sent. Publishes to one shard that nothing else
//! stands between go together.

use super::mesh::{MeshMessage, PublishBatch, Token};
use super::message::Draft;
use crate::base::ShardId;

/// Emptied batches that are kept to be filled again.
const SPARE_MAX: usize = 8;

#[derive(Debug, Default)]
pub struct Outbox {
    messages: Vec<(ShardId, MeshMessage)>,
    /// Where batches are that may still grow. Only publishes stand behind them: anything else may be what a later publish
    /// must not overtake, whichever shard it is for.
    growing: Vec<(ShardId, usize)>,
    /// What other shards sent, emptied: shards that talk to each other allocate nothing for it.
    #[expect(clippy::vec_box, reason = "a box goes into the next message as it is")]
    spare: Vec<Box<PublishBatch>>,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn push(&mut self, to: ShardId, message: MeshMessage) {
        self.growing.clear();
        self.messages.push((to, message));
    }

    pub(super) fn publish(&mut self, to: ShardId, draft: &mut Draft<'_>, token: Option<Token>) {
        let place = self.growing.iter().position(|(shard, _)| *shard == to);
        if let Some(place) = place
            && let (_, MeshMessage::Publishes(batch)) = &mut self.messages[self.growing[place].1]
        {
            batch.push(draft, token);
            if batch.is_full() {
                self.growing.swap_remove(place);
            }
            return;
        }
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.push(draft, token);
        self.growing.push((to, self.messages.len()));
        self.messages.push((to, MeshMessage::Publishes(batch)));
    }

    pub(super) fn reuse(&mut self, mut batch: Box<PublishBatch>) {
        if self.spare.len() < SPARE_MAX {
            batch.clear();
            self.spare.push(batch);
        }
    }

    pub fn drain(&mut self) -> impl Iterator<Item = (ShardId, MeshMessage)> {
        self.growing.clear();
        self.messages.drain(..)
    }
}
