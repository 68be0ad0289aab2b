//! The tables of the settled store, and what can go wrong with them.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use redb::TableDefinition;

use super::error::StoreError;

/// Format version, store id, seed, epoch, shards and numbers, by [`meta`].
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The last number of each shard of this epoch that is in these tables.
pub(super) const NUMBERS: TableDefinition<'_, u8, u64> = TableDefinition::new("numbers");
pub(super) const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
/// By session and filter.
pub(super) const SUBSCRIPTIONS: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("subscriptions");
/// By session and item: in the order of the queue.
pub(super) const ITEMS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("items");
/// By session and PUBREC, in their order: the packet identifier.
pub(super) const RELEASES: TableDefinition<'_, (u64, u64), u16> = TableDefinition::new("releases");
/// By session: packet identifiers in use.
pub(super) const RECEIVED: TableDefinition<'_, (u64, u16), ()> = TableDefinition::new("received");
/// Messages that several items have, and how many have each. Two tables, as the count changes and the message does not.
pub(super) const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
pub(super) const MESSAGE_COUNTS: TableDefinition<'_, u64, u64> = TableDefinition::new("message counts");
/// By topic.
pub(super) const RETAINED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("retained");
pub(super) const SPOOL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("spool");
/// By the shard and number of what was spooled, and by who has got it: of what is in the spool, or not settled yet.
pub(super) const ARRIVED: TableDefinition<'_, (u8, u64, u8), ()> = TableDefinition::new("arrived");

/// The keys of [`META`].
pub(super) mod meta {
    pub(in super::super) const FORMAT: &str = "format version";
    pub(in super::super) const STORE_ID: &str = "store id";
    pub(in super::super) const SEED: &str = "seed";
    pub(in super::super) const EPOCH: &str = "epoch";
    pub(in super::super) const SHARDS: &str = "shards";
    pub(in super::super) const NEXT_NUMBER: &str = "next number";
    /// The highest number that any settled record has or names.
    pub(in super::super) const HIGHEST: &str = "highest number";
}

/// The version of these tables and of what stands in the segments. In version 2 sessions have owners.
pub(super) const FORMAT_VERSION: u64 = 2;
/// A start makes of them the one that is written.
pub(super) const FORMATS_READ: RangeInclusive<u64> = 1..=FORMAT_VERSION;

/// What is the matter with the settled store; [`Self::at`] says where.
#[derive(Debug)]
pub(super) enum Trouble {
    Engine(redb::Error),
    /// What is in a table is not what belongs there.
    Row(String),
    /// After an error it could not be opened anew yet.
    Closed,
    /// Of none of the versions [`FORMATS_READ`].
    Format(u64),
}

pub(super) type Outcome<T> = Result<T, Trouble>;

impl Trouble {
    pub(super) fn row(table: impl fmt::Display, key: impl fmt::Debug) -> Self {
        Self::Row(format!("the row {key:?} of the table \"{table}\" is not readable"))
    }

    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Engine(error) => StoreError::Settled { path: path.to_owned(), error: Box::new(error) },
            Self::Closed => StoreError::Settled { path: path.to_owned(), error: Box::new(redb::Error::DatabaseClosed) },
            Self::Row(what) => StoreError::Row { path: path.to_owned(), what },
            Self::Format(found) => StoreError::Format { path: path.to_owned(), found, known: FORMAT_VERSION },
        }
    }
}

macro_rules! from_engine {
    ($($error:ty),*) => {
        $(impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Engine(error.into())
            }
        })*
    };
}

from_engine!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);
