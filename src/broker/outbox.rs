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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::broker::message::Parts;
    use crate::mqtt::{Properties, QoS, TopicName};
    use crate::routing::TopicHasher;

    const TOKEN: Token = Token { slot: 1, generation: 1 };

    fn publish(outbox: &mut Outbox, to: usize, payload: &[u8]) {
        let parts = Parts {
            topic: TopicName::new("a").expect("a topic"),
            topic_hash: TopicHasher::new(1).hash("a"),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: &Properties::EMPTY,
            payload,
            publisher: 0,
        };
        outbox.publish(ShardId::new(to), &mut Draft::write(Timestamp(1), &parts, &mut Vec::new()), None);
    }

    /// To whom, and what: the payloads of a batch, or nothing.
    fn drain(outbox: &mut Outbox) -> Vec<(usize, Vec<Vec<u8>>)> {
        let payloads = |message: &MeshMessage| {
            let mut payloads = Vec::new();
            if let MeshMessage::Publishes(batch) = message {
                batch.for_each(|draft, _| payloads.push(draft.body().payload().to_vec()));
            }
            payloads
        };
        outbox.drain().map(|(to, message)| (to.index(), payloads(&message))).collect()
    }

    #[test]
    fn publishes_to_one_shard_go_together_where_only_publishes_are_between_them() {
        let mut outbox = Outbox::default();
        for (to, payload) in [(1, b"a"), (2, b"b"), (1, b"c"), (2, b"d")] {
            publish(&mut outbox, to, payload);
        }
        // To another shard; but it may be a retained message that must be there before who reads "e" asks for it.
        outbox.push(ShardId::new(3), MeshMessage::Done { token: TOKEN, is_refused: false });
        publish(&mut outbox, 1, b"e");
        let batch = |to, payloads: [&[u8]; 2]| (to, payloads.map(<[u8]>::to_vec).to_vec());
        let expected = [batch(1, [b"a", b"c"]), batch(2, [b"b", b"d"]), (3, Vec::new()), (1, vec![b"e".to_vec()])];
        assert_eq!(drain(&mut outbox), expected);
        // What was sent grows no more.
        publish(&mut outbox, 1, b"f");
        assert_eq!(drain(&mut outbox), [(1, vec![b"f".to_vec()])]);
    }

    #[test]
    fn a_full_batch_is_followed_by_another_and_an_emptied_one_is_filled_again() {
        let mut outbox = Outbox::default();
        (0..3).for_each(|_| publish(&mut outbox, 1, &[7; 2_000]));
        let sizes: Vec<_> = drain(&mut outbox).iter().map(|(_, payloads)| payloads.len()).collect();
        assert_eq!(sizes, [3]);
        publish(&mut outbox, 1, &[7; 2_000]);
        let Some((_, MeshMessage::Publishes(batch))) = outbox.drain().next() else { panic!("no batch") };
        outbox.reuse(batch);
        (0..5).for_each(|_| publish(&mut outbox, 1, &[8; 2_000]));
        let sizes: Vec<_> = drain(&mut outbox).iter().map(|(_, payloads)| payloads.len()).collect();
        assert_eq!(sizes, [3, 2], "nothing of what was in it");
        assert!(outbox.spare.is_empty());
    }
}
