//! L4: what survives the process. Each shard has a log of segments, to which it appends its records and waits until they
//! are on disk; a thread moves what of them is still needed into the settled store, and a start puts both together.

mod backup;
mod directory;
mod error;
mod inspect;
mod load;
mod overlay;
mod recovery;
mod rows;
mod settled;
mod settler;
mod tables;

pub use backup::BackupReport;
pub use directory::StoreDirectory;
pub use error::StoreError;
pub use inspect::{check, dump, salvage, stats};
pub use recovery::{Opened, Phase, Progress, RecoveryReport, ShardImage, Store, TornTail};
pub use settler::{StoreHandle, StoreStats, Told};
