//! L4: what survives. Each shard appends its records to a log of its own: [`Log`] is its writer without a disk,
//! [`Journal`] the same on a disk by way of glommio, [`segment`] its format and its reader.

mod batch;
pub mod codec;
mod disk;
mod journal;
mod log;
mod operation;
#[cfg(test)]
mod samples;
pub mod segment;
mod upkeep;
mod wire;

pub use batch::Buffer;
pub use journal::{FullSegment, Journal};
pub use log::{Durability, Ended, Failure, Log, LogCounters, LogOptions};
pub use operation::{FileName, Lane, Operation};
pub use wire::Sink;
