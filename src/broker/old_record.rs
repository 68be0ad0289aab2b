//! What has to survive: each change of a durable session or of the retained messages, in the order in which it was made.
//! Replayed from the start they give the state back.

use super::message::Message;
use crate::base::{SessionRef, SubscriptionId, Timestamp};
use crate::mqtt::{PacketId, QoS};
use crate::routing::SubscriptionOptions;

#[derive(Clone, PartialEq, Debug)]
pub enum OldRecord {
    SessionStarted {
        session: SessionRef,
        client_id: Box<str>,
        expiry_secs: u32,
    },
    /// The client is away since `at`; its session expires `expiry_secs` later.
    SessionLeft {
        session: SessionRef,
        at: Timestamp,
        expiry_secs: u32,
    },
    SessionEnded {
        session: SessionRef,
    },
    /// The filter as it stood in SUBSCRIBE, `$share/...` included.
    Subscribed {
        session: SessionRef,
        filter: Box<str>,
        options: SubscriptionOptions,
    },
    Unsubscribed {
        session: SessionRef,
        filter: Box<str>,
    },
    /// At the end of the session's queue, or in the place of the message of the same topic that waited there.
    Queued {
        session: SessionRef,
        message: Message,
        qos: QoS,
        retain: bool,
        subscription_ids: Box<[SubscriptionId]>,
        replaces: bool,
    },
    /// The front of the session's queue went out with this packet identifier.
    Sent {
        session: SessionRef,
        packet_id: PacketId,
    },
    /// The front of the session's queue was dropped, or went out at QoS 0.
    Dropped {
        session: SessionRef,
    },
    /// PUBREC came: from now on PUBREL is resent, not the message.
    Received {
        session: SessionRef,
        packet_id: PacketId,
    },
    /// The delivery is over.
    Completed {
        session: SessionRef,
        packet_id: PacketId,
    },
    /// A QoS 2 publish of the client was taken over: its packet identifier is in use until it is released.
    Accepted {
        session: SessionRef,
        packet_id: PacketId,
    },
    Released {
        session: SessionRef,
        packet_id: PacketId,
    },
    Retained {
        message: Message,
    },
    RetainedCleared {
        topic: Box<str>,
    },
    Will {
        session: SessionRef,
        message: Message,
        delay_secs: u32,
    },
    WillGone {
        session: SessionRef,
    },
}
