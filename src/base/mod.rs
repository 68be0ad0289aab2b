//! L0: identifiers, time, bounds and counters that every other layer speaks in.

mod counters;
mod ids;
pub mod limits;
mod time;

pub use counters::{Counters, DropReason, Refusal};
pub use ids::{ConnId, ListenerId, RecordId, SessionRef, ShardId, ShardSet, SubscriptionId};
pub use time::{Millis, Timestamp};
