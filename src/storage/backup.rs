//! A copy of the settled store, made while it goes on: what it was at one moment, table by table.

use std::fs;
use std::path::Path;

use redb::{Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::directory::{StoreDirectory, sync_folder};
use super::error::StoreError;
use super::settled::{Meta, Settled};
use super::tables::{
    ARRIVED, ITEMS, MESSAGE_COUNTS, MESSAGES, META, NUMBERS, Outcome, RECEIVED, RELEASES, RETAINED, SESSIONS, SPOOL,
    SUBSCRIPTIONS,
};

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BackupReport {
    pub rows: u64,
    /// Of the file.
    pub bytes: u64,
}

/// Into a directory that is empty or not there; it is a store that can be opened when this returns.
pub(super) fn copy(settled: &Settled, into: &Path) -> Result<BackupReport, StoreError> {
    let (directory, target) = create_empty(settled.meta().map_err(settled.at())?, into)?;
    let copied = || -> Outcome<u64> {
        let from = settled.db()?.begin_read()?;
        let to = target.begin()?;
        let rows = copy_tables(&from, &to)?;
        to.commit()?;
        Ok(rows)
    };
    let rows = copied().map_err(settled.at())?;
    sync_folder(into)?;
    let bytes = fs::metadata(directory.settled_file()).map_or(0, |file| file.len());
    Ok(BackupReport { rows, bytes })
}

/// A store that has nothing but its name.
pub(super) fn create_empty(meta: Meta, into: &Path) -> Result<(StoreDirectory, Settled), StoreError> {
    let is_empty = match fs::read_dir(into) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !into.exists(),
    };
    if !is_empty {
        return Err(StoreError::NotEmpty { directory: into.to_owned() });
    }
    let directory = StoreDirectory::lock(into)?;
    let target = Settled::open(&directory.settled_file(), meta)?;
    Ok((directory, target))
}

fn copy_tables(from: &ReadTransaction, to: &WriteTransaction) -> Outcome<u64> {
    let mut rows = copy_table(from, to, META)?;
    rows += copy_table(from, to, NUMBERS)?;
    rows += copy_table(from, to, SESSIONS)?;
    rows += copy_table(from, to, SUBSCRIPTIONS)?;
    rows += copy_table(from, to, ITEMS)?;
    rows += copy_table(from, to, RELEASES)?;
    rows += copy_table(from, to, RECEIVED)?;
    rows += copy_table(from, to, MESSAGES)?;
    rows += copy_table(from, to, MESSAGE_COUNTS)?;
    rows += copy_table(from, to, RETAINED)?;
    rows += copy_table(from, to, SPOOL)?;
    rows += copy_table(from, to, ARRIVED)?;
    Ok(rows)
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Outcome<u64> {
    let mut copied = 0;
    let mut target = to.open_table(table)?;
    for row in from.open_table(table)?.iter()? {
        let (key, value) = row?;
        target.insert(key.value(), value.value())?;
        copied += 1;
    }
    Ok(copied)
}
