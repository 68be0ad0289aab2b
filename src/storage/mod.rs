//! L4: what survives. Each shard appends its records to a log of its own ([`Journal`], through [`Log`] and
//! [`segment`]'s format).

pub mod codec;
mod journal;
mod log;
pub mod segment;
mod wire;

pub use journal::{Journal, JournalCounters, JournalOptions};
pub use log::{Durability, Failure, FullSegment};
pub use wire::Sink;
