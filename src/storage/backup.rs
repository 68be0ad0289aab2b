//! A copy of the settled store, made while it goes on: what it was at one moment, table by table.

use std::fs;
use std::path::Path;

use redb::{Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, Value, WriteTransaction};

use super::directory::{StoreDirectory, sync_folder};
use super::error::StoreError;
use super::settled::Settled;
use super::tables::{
    ARRIVED, ITEMS, MESSAGE_COUNTS, MESSAGES, META, NUMBERS, Outcome, RECEIVED, RELEASES, RETAINED, SESSIONS, SPOOL,
    SUBSCRIPTIONS, Trouble,
};

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BackupReport {
    pub rows: u64,
    /// Of the file.
    pub bytes: u64,
}

/// Into a directory that is empty or not there; it is a store that can be opened when this returns.
pub(super) fn copy(settled: &Settled, into: &Path) -> Result<BackupReport, StoreError> {
    let (directory, target) = create_empty(settled, into)?;
    let copied = || -> Outcome<u64> {
        let from = settled.db()?.begin_read()?;
        let to = target.begin()?;
        let rows = copy_tables(&from, &to, &mut |trouble| Err(trouble))?;
        to.commit()?;
        Ok(rows)
    };
    let rows = copied().map_err(settled.at())?;
    sync_folder(into)?;
    let bytes = fs::metadata(directory.settled_file()).map_or(0, |file| file.len());
    Ok(BackupReport { rows, bytes })
}

/// A store with the other's name and nothing in it.
pub(super) fn create_empty(like: &Settled, into: &Path) -> Result<(StoreDirectory, Settled), StoreError> {
    let is_empty = match fs::read_dir(into) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !into.exists(),
    };
    if !is_empty {
        return Err(StoreError::NotEmpty { directory: into.to_owned() });
    }
    let directory = StoreDirectory::lock(into)?;
    let target = Settled::open(&directory.settled_file(), like.meta().map_err(like.at())?)?;
    Ok((directory, target))
}

/// What becomes of a table that can be read no further: an error ends the copy.
type OnTrouble<'a> = &'a mut dyn FnMut(Trouble) -> Outcome<()>;

/// Copies all rows; how many.
pub(super) fn copy_tables(from: &ReadTransaction, to: &WriteTransaction, on_trouble: OnTrouble<'_>) -> Outcome<u64> {
    let mut rows = copy_table(from, to, META, on_trouble)?;
    rows += copy_table(from, to, NUMBERS, on_trouble)?;
    rows += copy_table(from, to, SESSIONS, on_trouble)?;
    rows += copy_table(from, to, SUBSCRIPTIONS, on_trouble)?;
    rows += copy_table(from, to, ITEMS, on_trouble)?;
    rows += copy_table(from, to, RELEASES, on_trouble)?;
    rows += copy_table(from, to, RECEIVED, on_trouble)?;
    rows += copy_table(from, to, MESSAGES, on_trouble)?;
    rows += copy_table(from, to, MESSAGE_COUNTS, on_trouble)?;
    rows += copy_table(from, to, RETAINED, on_trouble)?;
    rows += copy_table(from, to, SPOOL, on_trouble)?;
    rows += copy_table(from, to, ARRIVED, on_trouble)?;
    Ok(rows)
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
    on_trouble: OnTrouble<'_>,
) -> Outcome<u64> {
    let mut copied = 0;
    let mut copy = || -> Outcome<()> {
        let mut target = to.open_table(table)?;
        for row in from.open_table(table)?.iter()? {
            let (key, value) = row?;
            target.insert(key.value(), value.value())?;
            copied += 1;
        }
        Ok(())
    };
    if let Err(trouble) = copy() {
        on_trouble(trouble.in_table(table.name()))?;
    }
    Ok(copied)
}
