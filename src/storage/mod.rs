//! L4: what survives the process. Each shard appends its records to a log of its own: [`Log`] is its writer without a
//! disk, [`Journal`] the same on the disk of the machine, [`segment`] its format and its reader. A thread moves what of
//! them is still needed into the settled store ([`StoreHandle`]), and a start ([`Store::open`]) puts both together.

mod backup;
mod batch;
pub mod codec;
mod directory;
mod disk;
mod dump;
mod error;
mod inspect;
#[cfg(test)]
mod inspect_tests;
mod journal;
mod load;
mod log;
mod operation;
mod overlay;
mod recovery;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod replay_tests;
mod rows;
mod salvage;
#[cfg(test)]
mod samples;
pub mod segment;
mod settled;
mod settler;
mod spool;
mod stretch;
mod tables;
mod upkeep;
mod wire;

pub use backup::BackupReport;
pub use batch::Buffer;
pub use directory::StoreDirectory;
pub use dump::dump;
pub use error::StoreError;
pub use inspect::{check, stats};
pub use journal::{FullSegment, Journal};
pub use log::{Durability, Ended, Failure, Log, LogCounters, LogOptions};
pub use operation::{FileName, Lane, Operation};
pub use recovery::{Identity, Opened, Phase, Progress, RecoveryReport, ShardImage, Store, TornTail};
pub use salvage::salvage;
pub use settler::{SettledNow, StoreHandle, StoreStats, Told};
pub use wire::Sink;
