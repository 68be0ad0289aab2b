//! What the store gives back: at a start all of it, later the messages of a long queue, page by page.

use super::message::Message;
use super::record::{Owner, StoredCopy};
use super::session::Outgoing;
use crate::base::{RecordId, SessionRef, Timestamp};
use crate::mqtt::PacketId;
use crate::routing::SubscriptionOptions;

/// A durable session as the records left it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredSession {
    pub id: RecordId,
    pub client_id: Box<str>,
    /// None: it was stored when none was recorded. The first that comes with its client identifier owns it.
    pub owner: Option<Owner>,
    pub expiry_secs: u32,
    /// None: its client was connected when the records ended.
    pub left_at: Option<Timestamp>,
    /// The filters as they stood in SUBSCRIBE.
    pub subscriptions: Vec<(Box<str>, SubscriptionOptions)>,
    /// Sent and not yet received, in the order of their items.
    pub in_flight: Vec<(PacketId, StoredMessage)>,
    /// To be released, in the order of their PUBRECs.
    pub releases: Vec<PacketId>,
    /// What waits, in the order of the items. Behind the first that was loaded, all are.
    pub queue: Vec<StoredItem>,
    /// QoS 2 publishes of the client that it has not released.
    pub received: Vec<PacketId>,
    pub will: Option<StoredWill>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct StoredMessage {
    pub item: RecordId,
    pub message: Message,
    pub copy: StoredCopy,
}

/// A message in a session's queue.
#[derive(Clone, PartialEq, Debug)]
pub enum StoredItem {
    /// It stays in the store until it is asked for; `bytes` are those that it counts for.
    Left { item: RecordId, bytes: u32 },
    /// In a box, as a million others need none.
    Loaded(Box<StoredMessage>),
}

impl StoredItem {
    pub fn left(item: RecordId, message: &Message) -> Self {
        let bytes = message.held_bytes() + size_of::<Outgoing>();
        Self::Left { item, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct StoredWill {
    pub message: Message,
    pub delay_secs: u32,
    pub expiry_secs: Option<u32>,
}

/// Asks the store for messages of a session's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// To whom the answer goes.
    pub session: SessionRef,
    /// The session, as the store knows it.
    pub id: RecordId,
    /// The first and the last item that are wanted.
    pub first: RecordId,
    pub last: RecordId,
}
