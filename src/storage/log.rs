//! The writer of one shard's log, without the disk.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::ShardId;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Nothing is committed before it is synced.
    Commit,
    /// Synced so often; committed at once.
    Interval(Duration),
}

/// Why nothing can be committed now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What happened, where, and what to do.
    pub what: String,
}

/// Synced, and never written again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullSegment {
    pub path: PathBuf,
    pub shard: ShardId,
    pub sequence: u64,
    /// Of the records in it that count: what may stand behind it, stands again in a later segment.
    pub last_number: u64,
}
