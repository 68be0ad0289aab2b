//! What shards tell each other. Between two shards messages keep their order.

use super::message::Message;
use crate::base::{SessionRef, ShardId};
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

#[derive(Clone, PartialEq, Debug)]
pub enum MeshMessage {
    /// For the receiver's own subscribers. With a token `Done` is sent once it is stored.
    Publish {
        message: Message,
        token: Option<Token>,
    },
    /// The sender got its first, or lost its last, subscriber of a filter.
    Interest {
        filter: Box<str>,
        wanted: bool,
        token: Option<Token>,
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
    /// A member's delivery is over: acknowledged or dropped.
    ShareFinished {
        session: SessionRef,
        group: GroupRef,
    },
    /// The answer to a token.
    Done {
        token: Token,
    },
}

/// Where a request is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReplyTo {
    pub(super) shard: ShardId,
    pub(super) token: Token,
}
