//! L3: the broker of one shard. `ShardCore::handle(now, input, &mut effects)` is the whole of it: what comes in is
//! client bytes, messages of other shards, time and verdicts; what goes out is bytes to send, messages to other shards,
//! records to store and connections to close. It does no I/O and asks no clock.

mod after_drain;
mod auth;
mod connect;
mod connection;
mod core;
mod delayed;
mod deliver;
mod disconnect;
mod effects;
mod entropy;
mod gate;
mod held;
mod homes;
mod input;
mod judge;
mod judging;
mod load;
mod mesh;
mod message;
mod mount;
mod options;
mod outbox;
mod output;
mod pending;
mod publish;
mod record;
mod replay;
mod restore;
mod retain;
mod retained;
mod session;
mod share;
mod slow_reader;
mod spool;
mod stats;
mod stored;
mod subscribe;
mod throttle;
mod throttled;
mod timers;
mod write;

pub use self::core::{Fullest, ShardCore};
pub use effects::{CheckId, DisconnectCause, Effects, Event};
pub use held::Held;
pub use homes::Homes;
pub use input::{Consumed, Input};
pub use mesh::{MeshMessage, PublishBatch, RetainedQuestion, ShareDelivery, Token};
pub use message::{Message, MessageHeader};
pub use options::{OptionError, Options, RefusedPublish};
pub use outbox::Outbox;
pub use output::{Output, OutputBuffer};
pub use record::{Owner, Record, StoredCopy};
pub use stats::{JournalStats, LoadStats, ShardStats};
pub use stored::{Fetch, StoredItem, StoredMessage, StoredSession, StoredWill};
