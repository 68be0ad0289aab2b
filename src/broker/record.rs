//! What has to survive: each change of a durable session or of the retained messages, in the order in which it was made.
//! Replayed from the start they give the state back. Each has a number, one higher than that of the one before it on its
//! shard, and so a name: its [`RecordId`].
//!
//! What one call of [`super::ShardCore::handle`] recorded belongs together: it becomes durable as a whole or not at all.

use super::message::Message;
use crate::base::{RecordId, SubscriptionId, Timestamp};
use crate::mqtt::{PacketId, QoS};
use crate::routing::SubscriptionOptions;

#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// The session's name is that of this record.
    SessionStarted {
        client_id: Box<str>,
        expiry_secs: u32,
        /// None: of a time when none was recorded.
        owner: Option<Owner>,
    },
    /// A session that had no known owner has one.
    SessionOwned {
        session: RecordId,
        owner: Owner,
    },
    /// The client is back.
    SessionResumed {
        session: RecordId,
        expiry_secs: u32,
    },
    /// The client is away since `at`; its session expires `expiry_secs` later.
    SessionLeft {
        session: RecordId,
        at: Timestamp,
        expiry_secs: u32,
    },
    /// The session is over, with all that belongs to it.
    SessionEnded {
        session: RecordId,
    },
    /// The filter as it stood in SUBSCRIBE, `$share/...` included.
    Subscribed {
        session: RecordId,
        filter: Box<str>,
        options: SubscriptionOptions,
    },
    Unsubscribed {
        session: RecordId,
        filter: Box<str>,
    },
    /// A message for those sessions whose `Queued` name it. All of them follow in the same group.
    Message {
        message: Message,
    },
    /// At the end of the session's queue; the item's name is that of this record.
    Queued {
        session: RecordId,
        /// Of the `Message`.
        message: RecordId,
        copy: StoredCopy,
        /// It goes out at once, with this packet identifier.
        sent: Option<PacketId>,
    },
    /// An item of the queue goes out with this packet identifier.
    Sent {
        session: RecordId,
        item: RecordId,
        packet_id: PacketId,
    },
    /// An item of the queue, sent or not, is done with: delivered or dropped.
    Dequeued {
        session: RecordId,
        item: RecordId,
    },
    /// PUBREC came: the item is done with, and from now on PUBREL is resent. Those of a session are in the order of
    /// their PUBRECs.
    Received {
        session: RecordId,
        item: RecordId,
        packet_id: PacketId,
    },
    /// PUBCOMP came.
    Completed {
        session: RecordId,
        packet_id: PacketId,
    },
    /// A QoS 2 publish of the client was taken over: its packet identifier is in use until it is released.
    Accepted {
        session: RecordId,
        packet_id: PacketId,
    },
    Released {
        session: RecordId,
        packet_id: PacketId,
    },
    Retained {
        message: Message,
    },
    RetainedCleared {
        topic: Box<str>,
    },
    /// In the place of any other that the session has.
    Will {
        session: RecordId,
        message: Message,
        delay_secs: u32,
        /// The Message Expiry Interval, which begins when the will is published.
        expiry_secs: Option<u32>,
    },
    WillGone {
        session: RecordId,
    },
    /// A message that was taken over and is still to be given to those who want it, exactly once. It is gone with
    /// `Unspooled`; what a shard has done about it until then, it says in one group with its `Arrived`.
    Spooled {
        message: Message,
        /// The session that published it, which with No Local does not get it.
        publisher: Option<RecordId>,
        /// Only for a member of this shared group: `$share/group/filter`.
        share: Option<Box<str>>,
    },
    /// All that this shard's subscribers (or, where RETAIN asks for it, its retained messages) were to get of a spooled
    /// message, they have got.
    Arrived {
        spooled: RecordId,
    },
    /// Every shard has it.
    Unspooled {
        spooled: RecordId,
    },
}

/// Whose a session is: only who comes in as the same user, with the same mount point, gets it again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// None: anonymous.
    pub user: Option<Box<str>>,
    pub mount: Box<str>,
}

/// What one session's copy of a message has of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredCopy {
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Box<[SubscriptionId]>,
    /// The shared group that chose the session: `$share/group/filter`.
    pub share: Option<Box<str>>,
}
