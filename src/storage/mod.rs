//! L4: what survives the process. Each shard appends its records to a log of its own ([`Journal`], through [`Log`] and
//! [`segment`]'s format) and waits until they are on disk; a thread moves what of them is still needed into the settled
//! store, and a start puts both together.

mod backup;
pub mod codec;
mod directory;
mod dump;
mod error;
mod inspect;
mod journal;
mod load;
mod log;
mod overlay;
mod recovery;
#[cfg(test)]
mod replay_tests;
mod rows;
mod salvage;
pub mod segment;
mod settled;
mod settler;
mod spool;
mod stretch;
mod tables;
mod wire;

pub use backup::BackupReport;
pub use directory::StoreDirectory;
pub use dump::dump;
pub use error::StoreError;
pub use inspect::{check, stats};
pub use journal::{Journal, JournalCounters, JournalOptions};
pub use log::{Durability, Failure, FullSegment};
pub use recovery::{Opened, Phase, Progress, RecoveryReport, ShardImage, Store, TornTail};
pub use salvage::salvage;
pub use settler::{StoreHandle, StoreStats, Told};
pub use wire::Sink;
