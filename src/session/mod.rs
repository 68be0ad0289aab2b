//! L2: what a client and the broker must remember about each other, as small state machines.
//!
//! Each file is one machine with its transition table on top. None does I/O, asks a clock or draws a random number:
//! `now` comes in as an argument, and the caller sends what the machine says. All are generic over the message handle
//! `M`, so this layer knows nothing of messages.
//!
//! | file | remembers | lives as long as |
//! |---|---|---|
//! | [`phase`](Phase) | how far the connection has come, hence which packets may arrive | the connection |
//! | [`keep_alive`](KeepAlive) | when silence means the client is gone | the connection |
//! | [`alias`](InboundAliases) | Topic Aliases of both directions | the connection |
//! | [`outbound`](Outbound) | QoS 1 and 2 messages on their way to the client | the session |
//! | [`inbound`](Inbound) | QoS 1 and 2 messages on their way from the client | the session |
//! | [`queue`](Queue) | messages that wait for a connection or for the window | the session |
//! | [`will`](WillState) | the message of the client's death | the session |
//! | [`expiry`](SessionExpiry) | when a session, and a message, is over | the session |
//!
//! A broker holds a million idle sessions, so each type is one or two words while it has nothing to remember and takes
//! memory at first use. That memory stays for the next message, so that a client that sends one at a time does not
//! allocate each time; `shrink` gives it back, and is called from a timer.

mod alias;
mod expiry;
mod inbound;
mod keep_alive;
mod outbound;
mod packet_ids;
mod phase;
mod queue;
mod will;

pub use alias::{AliasError, AliasUse, InboundAliases, OutboundAliases};
pub use expiry::{ExpiryRaisedFromZero, SessionExpiry, remaining_secs};
pub use inbound::{AckKind, AckTicket, Inbound, ReadyAck, Received};
pub use keep_alive::KeepAlive;
pub use outbound::{Outbound, OutboundPhase, Resend, SendQos, UnexpectedAck};
pub use packet_ids::{PacketId, PacketIdSet};
pub use phase::{Admission, ClientPacket, Phase, Unexpected};
pub use queue::{Dropped, FullPolicy, Left, Pushed, Queue, QueueBounds, QueueItem};
pub use will::{WillState, WillStep};
