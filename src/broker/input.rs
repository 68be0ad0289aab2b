//! What can happen to a shard.

use super::effects::CheckId;
use super::mesh::MeshMessage;
use super::stored::StoredMessage;
use crate::access::{Entrance, Verdict};
use crate::base::{ConnId, RecordId, SessionRef, ShardId};
use crate::mqtt::{Packet, TopicName};

/// One thing that happened. Identifiers of connections are the driver's: small, dense, and not used again before
/// `Closed` was said of them, or a move was asked for.
#[derive(Debug)]
pub enum Input<'a> {
    Opened {
        conn: ConnId,
    },
    /// Where the client comes in, and what its transport found out about it: before any of its bytes, where it is told
    /// at all.
    Entered {
        conn: ConnId,
        entrance: Entrance,
    },
    /// What a client sent and was not consumed yet, from the first byte of a packet on.
    Bytes {
        conn: ConnId,
        bytes: &'a [u8],
    },
    /// A packet that was decoded elsewhere.
    Packet {
        conn: ConnId,
        packet: &'a Packet<'a>,
    },
    /// So much of the connection's output has left.
    Sent {
        conn: ConnId,
        bytes: usize,
    },
    /// The transport is gone, by whomever.
    Closed {
        conn: ConnId,
    },
    /// The answer to one of `Effects::checks`.
    Verdict {
        check: CheckId,
        verdict: Verdict,
    },
    Mesh {
        from: ShardId,
        message: MeshMessage,
    },
    /// Every ring to this shard was drained at least to where it ended when the draining began.
    MeshDrained,
    /// Time has passed; see `ShardCore::next_timeout`.
    Tick,
    /// All records up to the one with this number are durable.
    Committed {
        number: u64,
    },
    /// All records up to the one with this number are where `Effects::fetches` are answered from.
    Settled {
        number: u64,
    },
    /// The answer to one of `Effects::fetches`: what the store has, in order, up to `last`.
    Fetched {
        session: SessionRef,
        last: RecordId,
        messages: Vec<StoredMessage>,
    },
    /// Whether there is too much to do for those inside: until it is over, nobody new is let in.
    Load {
        is_overloaded: bool,
    },
    /// Whether records can be made durable now; until the first of these they can.
    Store {
        is_writable: bool,
    },
    /// The broker itself publishes, on a topic of its own: one that starts with `$`. It is retained.
    Announce {
        topic: TopicName<'a>,
        payload: &'a [u8],
    },
    /// The server is going away: every client is told [MQTT-4.13.2-1] and closed.
    Shutdown,
}

/// What became of an `Input::Bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Consumed {
    /// To be dropped from the front of the input; the rest comes again with what follows it.
    pub bytes: usize,
    /// So many bytes more are needed at least before anything can be done.
    pub need: usize,
    /// Nothing more is taken until `Effects::resumed` names the connection.
    pub held: bool,
    /// Credentials were or are among the input, or a part of them: where it lies, it is to be wiped, once what is to come
    /// again was copied.
    pub had_secret: bool,
}
