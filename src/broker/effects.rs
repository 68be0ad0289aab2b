//! What a shard wants done. The caller owns the buffers, empties them after each batch and reuses them.

use super::outbox::Outbox;
use super::output::Output;
use super::record::Record;
use super::stored::Fetch;
use crate::access::Check;
use crate::base::{ConnId, ShardId};
use crate::mqtt::{ReasonCode, Version};

/// Everything that a batch of inputs asks the driver to do. Order: records may be written while the rest is done;
/// output is written before a connection is closed.
#[derive(Debug, Default)]
pub struct Effects {
    pub output: Output,
    pub mesh: Outbox,
    /// To be made durable, in this order, and then told of by `Input::Committed`.
    pub records: Vec<Record>,
    /// Messages to be read from the store, and answered by `Input::Fetched`.
    pub fetches: Vec<Fetch>,
    /// To be closed once their output is written; then `Input::Closed` gives the identifier back.
    pub close: Vec<ConnId>,
    /// To be handed to the client's home shard with all bytes that were not consumed. The identifier is free again.
    pub moves: Vec<(ConnId, ShardId)>,
    /// Connections whose `Consumed::held` is over: give them their bytes again.
    pub resumed: Vec<ConnId>,
    /// Verdicts that take long: to be run elsewhere and answered by `Input::Verdict`.
    pub checks: Vec<(CheckId, Box<dyn Check>)>,
    pub events: Vec<Event>,
}

impl Effects {
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing left to do.
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
            && self.mesh.is_empty()
            && self.records.is_empty()
            && self.fetches.is_empty()
            && self.close.is_empty()
            && self.moves.is_empty()
            && self.resumed.is_empty()
            && self.checks.is_empty()
            && self.events.is_empty()
    }
}

/// Which CONNECT a verdict is about. One that comes late cannot let in another client that has the connection's
/// identifier by then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CheckId {
    pub conn: ConnId,
    pub serial: u64,
}

/// For the log: never one per message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Connected {
        conn: ConnId,
        client_id: Box<str>,
        user: Option<Box<str>>,
        version: Version,
        clean_start: bool,
        session_present: bool,
        keep_alive_secs: u16,
    },
    /// A CONNECT that was not let in.
    Refused {
        conn: ConnId,
        client_id: Box<str>,
        /// Whom the CONNECT named, whether he exists or not.
        user_name: Option<Box<str>>,
        reason: ReasonCode,
    },
    /// The connection is over.
    Disconnected {
        conn: ConnId,
        client_id: Option<Box<str>>,
        cause: DisconnectCause,
    },
    SessionEnded {
        client_id: Box<str>,
        expired: bool,
    },
    /// The first of a connection; the counters tell of the rest.
    PublishRefused {
        client_id: Box<str>,
        topic: Box<str>,
        reason: ReasonCode,
    },
    SubscribeRefused {
        client_id: Box<str>,
        filter: Box<str>,
        reason: ReasonCode,
    },
}

impl Event {
    /// The connection that it happened on, where it is about one.
    pub const fn connection(&self) -> Option<ConnId> {
        match self {
            Self::Connected { conn, .. } | Self::Refused { conn, .. } | Self::Disconnected { conn, .. } => Some(*conn),
            Self::SessionEnded { .. } | Self::PublishRefused { .. } | Self::SubscribeRefused { .. } => None,
        }
    }
}

/// What ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisconnectCause {
    /// The reason is that of its DISCONNECT.
    ByClient(ReasonCode),
    /// The reason is told where the client can be told one.
    ByBroker(ReasonCode),
    /// The socket was closed, or the network broke, without a word from either.
    Lost,
}
