//! `thrum store salvage`: a new store of what is sound in a damaged one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{
    Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, Value, WriteTransaction,
};

use super::backup::create_empty;
use super::directory::{StoreDirectory, sync_folder};
use super::error::StoreError;
use super::overlay::{Overlay, Spooled};
use super::recovery::new_meta;
use super::rows::{Body, ItemRow, SessionRow, read_options_row};
use super::segment::Segment;
use super::settled::{Meta, Settled};
use super::tables::{
    ARRIVED, ITEMS, MESSAGE_COUNTS, MESSAGES, NUMBERS, Outcome, RECEIVED, RELEASES, RETAINED, SESSIONS, SPOOL,
    SUBSCRIPTIONS,
};
use crate::base::ShardId;
use crate::broker::Message;
use crate::routing::TopicHasher;

/// Makes a new store of what is sound, in a directory that is empty or not there. Says what had to be left, and whether
/// that is nothing.
pub fn salvage(directory: &Path, into: &Path, out: &mut dyn Write) -> Result<bool, StoreError> {
    let source = StoreDirectory::lock_existing(directory)?;
    let mut losses = Losses { out, count: 0 };
    // The engine trusts its pages, and may panic where one is not what it should be.
    let opened = catch_unwind(|| Settled::open(&source.settled_file(), new_meta()));
    let settled = match opened {
        Ok(Ok(settled)) => Some(settled),
        Ok(Err(error)) => losses.add(&error),
        Err(_) => losses.add(&format!("{}: not readable at all", source.settled_file().display())),
    };
    let meta = settled.as_ref().and_then(|settled| settled.meta().ok());
    let meta = meta.map_or_else(|| meta_of_segments(&source), Ok)?;
    let (_target, to) = create_empty(meta, into)?;
    if let Some(from) = &settled {
        salvage_tables(from, &to, &mut losses).map_err(to.at())?;
    }
    salvage_segments(&source, &meta, &to, &mut losses)?;
    sync_folder(into)?;
    let rows = to.rows().map_err(to.at())?;
    losses.say(&format!("saved: {rows:?}; {} losses", losses.count));
    Ok(losses.count == 0)
}

/// What had to be left.
struct Losses<'a> {
    out: &'a mut dyn Write,
    count: u64,
}

impl Losses<'_> {
    fn say(&mut self, what: &dyn fmt::Display) {
        // What is saved matters more than who hears of it.
        let _ = writeln!(self.out, "{what}");
    }

    fn add<T>(&mut self, what: &dyn fmt::Display) -> Option<T> {
        self.count += 1;
        self.say(what);
        None
    }
}

/// Where the tables do not say what store it is, its last segments do. Its seed is lost: all homes are new.
fn meta_of_segments(source: &StoreDirectory) -> Result<Meta, StoreError> {
    let mut meta = new_meta();
    for shard in source.shards() {
        for (_, path) in source.segments(shard)? {
            let bytes = fs::read(&path).map_err(StoreError::io("read the segment", &path))?;
            if let Ok((header, _)) = Segment::open(&bytes)
                && header.epoch > meta.epoch
            {
                (meta.store_id, meta.epoch) = (header.store_id, header.epoch);
            }
        }
        meta.shards = meta.shards.max(shard.index() as u64 + 1);
    }
    Ok(meta)
}

fn salvage_tables(from: &Settled, to: &Settled, losses: &mut Losses<'_>) -> Outcome<()> {
    let (reading, writing) = (from.db()?.begin_read()?, to.begin()?);
    let hasher = &from.hasher;
    let is_message = |bytes: &[u8]| Message::from_stored(bytes, hasher).is_some();
    let mut copy = Copying { reading: &reading, writing: &writing, losses };
    copy.table(NUMBERS, |_, _| true)?;
    copy.table(SESSIONS, |_, row| SessionRow::read(row, hasher).is_some())?;
    copy.table(SUBSCRIPTIONS, |_, row| read_options_row(row).is_some())?;
    copy.table(MESSAGES, |_, row| is_message(row))?;
    copy.table(ITEMS, |_, row| is_item(row, hasher))?;
    copy.table(RELEASES, |_, packet_id| packet_id != 0)?;
    copy.table(RECEIVED, |key, ()| key.1 != 0)?;
    copy.table(RETAINED, |_, row| is_message(row))?;
    copy.table(SPOOL, |_, row| Spooled::read(row, hasher).is_some())?;
    copy.table(ARRIVED, |_, ()| true)?;
    let left = put_in_order(&writing)?;
    if left > 0 {
        losses.add::<()>(&format!("{left} rows of sessions or messages that are not there"));
    }
    writing.commit()?;
    Ok(())
}

fn is_item(row: &[u8], hasher: &TopicHasher) -> bool {
    ItemRow::read(row).is_some_and(|row| match row.body {
        Body::Inline(message) => Message::from_stored(message, hasher).is_some(),
        Body::Shared(_) => true,
    })
}

struct Copying<'a, 'b> {
    reading: &'a ReadTransaction,
    writing: &'a WriteTransaction,
    losses: &'a mut Losses<'b>,
}

impl Copying<'_, '_> {
    /// Copies what is sound: from the front as far as it can be read, and then from the end.
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'_, K, V>,
        is_sound: impl Fn(K::SelfType<'_>, V::SelfType<'_>) -> bool,
    ) -> Outcome<()> {
        let mut target = self.writing.open_table(table)?;
        let mut left = 0;
        for is_backward in [false, true] {
            let copied = catch_unwind(AssertUnwindSafe(|| -> Outcome<()> {
                let source = self.reading.open_table(table)?;
                let mut rows = source.iter()?;
                while let Some(row) = if is_backward { rows.next_back() } else { rows.next() } {
                    let (key, value) = row?;
                    match is_sound(key.value(), value.value()) {
                        true => drop(target.insert(key.value(), value.value())?),
                        false => left += 1,
                    }
                }
                Ok(())
            }));
            match copied {
                Ok(Ok(())) => break,
                Ok(Err(trouble)) => self.losses.add::<()>(&format!("table \"{}\": {trouble:?}", table.name())),
                Err(_) => self.losses.add::<()>(&format!("table \"{}\": not readable on", table.name())),
            };
        }
        if left > 0 {
            self.losses.add::<()>(&format!("table \"{}\": {left} rows are not readable", table.name()));
        }
        Ok(())
    }
}

/// Leaves out what belongs to nothing, and counts what has each message anew. How many rows were left out.
fn put_in_order(txn: &WriteTransaction) -> Outcome<u64> {
    let mut sessions = BTreeSet::new();
    for row in txn.open_table(SESSIONS)?.iter()? {
        sessions.insert(row?.0.value());
    }
    let mut left = 0;
    let mut has = |session: u64| {
        let has = sessions.contains(&session);
        left += u64::from(!has);
        has
    };
    txn.open_table(SUBSCRIPTIONS)?.retain(|key, _| has(key.0))?;
    txn.open_table(RELEASES)?.retain(|key, _| has(key.0))?;
    txn.open_table(RECEIVED)?.retain(|key, ()| has(key.0))?;
    let mut messages = txn.open_table(MESSAGES)?;
    let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
    for row in messages.iter()? {
        counted.insert(row?.0.value(), 0);
    }
    let mut widowed = 0;
    txn.open_table(ITEMS)?.retain(|key, row| {
        let Some(Body::Shared(id)) = ItemRow::read(row).map(|row| row.body) else { return has(key.0) };
        let count = counted.get_mut(&id.get());
        widowed += u64::from(count.is_none());
        has(key.0) && count.map(|count| *count += 1).is_some()
    })?;
    messages.retain(|id, _| counted.get(&id).is_some_and(|&count| count > 0))?;
    let mut counts = txn.open_table(MESSAGE_COUNTS)?;
    for (id, count) in counted.into_iter().filter(|(_, count)| *count > 0) {
        counts.insert(id, count)?;
    }
    Ok(left + widowed)
}

/// Every sound record that is not settled, whatever is missing between them.
fn salvage_segments(
    source: &StoreDirectory,
    meta: &Meta,
    to: &Settled,
    losses: &mut Losses<'_>,
) -> Result<(), StoreError> {
    let mut overlay = Overlay::new(to.numbers().map_err(to.at())?);
    for shard in source.shards() {
        for (_, path) in source.segments(shard)? {
            salvage_segment(&path, shard, meta, &to.hasher, &mut overlay, losses)?;
        }
    }
    let left = to.settle(&overlay).map_err(to.at())?;
    if left > 0 {
        losses.add::<()>(&format!("{left} changes of sessions or messages that are not there"));
    }
    Ok(())
}

fn salvage_segment(
    path: &Path,
    shard: ShardId,
    meta: &Meta,
    hasher: &TopicHasher,
    overlay: &mut Overlay,
    losses: &mut Losses<'_>,
) -> Result<(), StoreError> {
    let bytes = fs::read(path).map_err(StoreError::io("read the segment", path))?;
    let name = path.display();
    let (header, batches) = match Segment::open(&bytes) {
        Ok(opened) => opened,
        Err(error) => {
            losses.add::<()>(&format!("{name}: {error}"));
            return Ok(());
        }
    };
    if header.store_id != meta.store_id || header.epoch != meta.epoch || header.shard != shard {
        return Ok(());
    }
    for error in batches.filter_map(Result::err) {
        losses.add::<()>(&format!("{name}: {error}"));
    }
    let mut due = overlay.next_number(shard);
    let mut sound = Vec::new();
    for record in Segment::sound_records(&bytes).unwrap_or_default() {
        let number = record.id.number();
        match record.decode(hasher) {
            Ok(decoded) if number >= due => {
                if number > due {
                    losses.add::<()>(&format!("{name}: the records {due} to {} are missing", number - 1));
                }
                due = number + 1;
                sound.push((record.id, decoded));
            }
            Ok(_) => {}
            Err(error) => drop(losses.add::<()>(&format!("{name}: {error}"))),
        }
    }
    overlay.apply_batch(shard, sound);
    Ok(())
}
