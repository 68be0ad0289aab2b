//! What shards tell each other. Between two shards messages keep their order.

use super::message::{Draft, Message, MessageHeader};
use crate::base::limits::PAYLOAD_COPY_BYTES_MAX;
use crate::base::{RecordId, SessionRef, ShardId};
use crate::routing::{GroupRef, RetainedCursor, SubscriptionOptions};

/// What a request's answer is for, on the shard that asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A message on its way to one member of a shared group.
#[derive(Clone, PartialEq, Debug)]
pub struct ShareDelivery {
    pub group: GroupRef,
    pub message: Message,
    pub options: SubscriptionOptions,
    /// Answered when the message is stored, where the publisher waits for that.
    pub token: Option<Token>,
    /// The name of the message in its sender's spool.
    pub spooled: Option<RecordId>,
}

/// A page of retained messages, asked for by one subscription's replay.
#[derive(Clone, PartialEq, Debug)]
pub struct RetainedQuestion {
    pub session: SessionRef,
    pub replay: u64,
    pub filter: Box<str>,
    pub cursor: RetainedCursor,
    pub messages_max: usize,
}

/// Publishes in the order in which they are to be delivered. Their bodies are copied into it one behind the other, so
/// that the receiver reads memory in order, and keeps, and gives back, only what it allocates itself.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct PublishBatch {
    entries: Vec<Entry>,
    bodies: Vec<u8>,
}

#[derive(Clone, PartialEq, Debug)]
struct Entry {
    header: MessageHeader,
    /// Answered by `Done` once the message is stored.
    token: Option<Token>,
    body: EntryBody,
}

#[derive(Clone, PartialEq, Debug)]
enum EntryBody {
    /// Among the batch's bodies, up to here.
    EndsAt(u32),
    /// Too large to be copied.
    Shared(Message),
}

impl PublishBatch {
    /// A batch is full with so many bytes of bodies, or so many messages: under 12 KiB, as a ring may hold a thousand.
    const BODY_BYTES_MAX: usize = 4 * 1024;
    const MESSAGES_MAX: usize = 64;

    pub(super) fn push(&mut self, draft: &mut Draft<'_>, token: Option<Token>) {
        let bytes = draft.body().bytes;
        let body = if bytes.len() > PAYLOAD_COPY_BYTES_MAX {
            EntryBody::Shared(draft.message())
        } else {
            self.bodies.extend_from_slice(bytes);
            EntryBody::EndsAt(self.bodies.len() as u32)
        };
        self.entries.push(Entry { header: *draft.header(), token, body });
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bodies.clear();
    }

    pub(super) fn is_full(&self) -> bool {
        self.bodies.len() >= Self::BODY_BYTES_MAX || self.entries.len() >= Self::MESSAGES_MAX
    }

    pub(super) fn for_each(&self, mut take: impl FnMut(&mut Draft<'_>, Option<Token>)) {
        let mut from = 0;
        for Entry { header, token, body } in &self.entries {
            match body {
                EntryBody::EndsAt(end) => {
                    let end = *end as usize;
                    take(&mut Draft::read(header, &self.bodies[from..end]), *token);
                    from = end;
                }
                EntryBody::Shared(message) => take(&mut Draft::of(message), *token),
            }
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub enum MeshMessage {
    /// For the receiver's own subscribers.
    Publishes(Box<PublishBatch>),
    /// The sender got its first, or lost its last, subscriber of a filter.
    Interest {
        filter: Box<str>,
        wanted: bool,
        token: Option<Token>,
    },
    /// For the receiver's own subscribers, and, where its RETAIN says so and the receiver is the home of its topic, to be
    /// retained; exactly once.
    Spooled {
        message: Message,
        spooled: RecordId,
        token: Token,
    },
    /// To the home shard of a topic: its new retained message, or none where the payload is empty.
    Retain {
        message: Message,
        token: Option<Token>,
    },
    /// To a home of retained messages: the next page of those that match.
    RetainedAsk(RetainedQuestion),
    /// The question comes back with its cursor moved on.
    RetainedPage {
        question: RetainedQuestion,
        messages: Vec<Message>,
    },
    /// To the home shard of a group.
    ShareJoin {
        group: Box<str>,
        filter: Box<str>,
        session: SessionRef,
        options: SubscriptionOptions,
        online: bool,
        token: Token,
    },
    ShareLeave {
        group: Box<str>,
        filter: Box<str>,
        session: SessionRef,
    },
    /// A member of groups homed at the receiver connected or disconnected.
    ShareOnline {
        session: SessionRef,
        online: bool,
    },
    /// From a group's home to the shard of the chosen member. `last_resort`: no member is online, keep it.
    ShareDeliver {
        session: SessionRef,
        delivery: ShareDelivery,
        last_resort: bool,
    },
    /// Back to the group's home: this member cannot take it.
    ShareReturn {
        session: SessionRef,
        delivery: ShareDelivery,
    },
    /// To the group's home: a message out of the sender's spool, for whichever member.
    ShareAgain {
        delivery: ShareDelivery,
    },
    /// A member's delivery is over: acknowledged or dropped.
    ShareFinished {
        session: SessionRef,
        group: GroupRef,
    },
    /// The answer to a token.
    Done {
        token: Token,
        /// It could not be stored, and was not.
        is_refused: bool,
    },
}

/// Where a request is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReplyTo {
    pub(super) shard: ShardId,
    pub(super) token: Token,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::broker::message::Parts;
    use crate::mqtt::{Properties, QoS, TopicName};
    use crate::routing::TopicHasher;

    #[test]
    fn a_batch_gives_back_what_went_in_small_or_large_and_in_order() {
        let topic = TopicName::new("a/b").expect("a topic");
        let payloads = [vec![1; 10], vec![2; PAYLOAD_COPY_BYTES_MAX], vec![3; 0], vec![4; 9_000], vec![5; 100]];
        let (mut batch, mut scratch) = (PublishBatch::default(), Vec::new());
        for (number, payload) in payloads.iter().enumerate() {
            let parts = Parts {
                topic,
                topic_hash: TopicHasher::new(number as u64).hash("a/b"),
                qos: QoS::AtLeastOnce,
                retain: false,
                properties: &Properties::EMPTY,
                payload,
                publisher: 0,
            };
            let token = (number % 2 == 0).then_some(Token { slot: number as u32, generation: 1 });
            batch.push(&mut Draft::write(Timestamp(1), &parts, &mut scratch), token);
        }
        let mut number = 0;
        batch.for_each(|draft, token| {
            assert_eq!((draft.topic(), draft.body().payload()), (topic, &payloads[number][..]));
            assert_eq!(draft.header().topic_hash, TopicHasher::new(number as u64).hash("a/b"));
            assert_eq!(token.map(|token| token.slot as usize), (number % 2 == 0).then_some(number));
            number += 1;
        });
        assert_eq!(number, payloads.len());
        assert!(batch.bodies.len() < 2_000, "what is large goes by reference");
    }
}
