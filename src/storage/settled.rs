//! The settled store: what stretches of records came to, in tables. Each stretch is one transaction, which also says
//! which numbers it settled, so that nothing is settled twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::directory::FILE_MODE;
use super::error::StoreError;
use super::overlay::{Fate, Item, ItemChange, LAST_SHARD, Overlay, SessionChange};
use super::rows::{Body, ItemRow, SessionRow, item_sent, put_options_row};
use super::tables::{
    ARRIVED, FORMAT_VERSION, FORMATS_READ, ITEMS, MESSAGE_COUNTS, MESSAGES, META, NUMBERS, Outcome, RECEIVED, RELEASES,
    RETAINED, SESSIONS, SPOOL, SUBSCRIPTIONS, Trouble, meta,
};
use crate::base::{RecordId, ShardId};
use crate::routing::TopicHasher;

/// Pages that are kept at hand. What is hot lies with the shards; this serves the upper levels of the trees.
const CACHE_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Settled {
    /// None: it could not be opened anew yet.
    db: Mutex<Option<Arc<Database>>>,
    pub(super) path: PathBuf,
    pub(super) hasher: TopicHasher,
}

/// What holds for the store as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta {
    pub(super) store_id: u64,
    pub(super) seed: u64,
    pub(super) epoch: u64,
    /// Zero before the first start.
    pub(super) shards: u64,
    /// Of the first record that each shard makes in this epoch.
    pub(super) next_number: u64,
    pub(super) highest: u64,
}

/// How many there are of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    pub(super) sessions: u64,
    pub(super) subscriptions: u64,
    pub(super) items: u64,
    pub(super) retained: u64,
    pub(super) spooled: u64,
    pub(super) file_bytes: u64,
}

impl Settled {
    /// Opens the tables, or makes them for `new`.
    pub(super) fn open(path: &Path, new: Meta) -> Result<Self, StoreError> {
        Self::open_with(path, new, &mut Builder::new())
    }

    /// With every page's checksum looked at.
    pub(super) fn open_checked(path: &Path, new: Meta) -> Result<Self, StoreError> {
        Self::open_with(path, new, Builder::new().set_check_integrity_on_open(true))
    }

    fn open_with(path: &Path, new: Meta, builder: &mut Builder) -> Result<Self, StoreError> {
        let db = open_engine(path, builder)?;
        let meta = prepare(&db, new).map_err(|trouble| trouble.at(path))?;
        let db = Mutex::new(Some(Arc::new(db)));
        Ok(Self { db, path: path.to_owned(), hasher: TopicHasher::new(meta.seed) })
    }

    /// The tables, for as long as the caller needs them.
    pub(super) fn db(&self) -> Outcome<Arc<Database>> {
        self.lock_db().clone().ok_or(Trouble::Closed)
    }

    fn lock_db(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After an I/O error the engine does nothing any more until it is opened anew. While somebody else still has it
    /// open, this fails, and is to be tried again.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.lock_db();
        drop(db.take());
        *db = Some(Arc::new(open_engine(&self.path, &mut Builder::new())?));
        Ok(())
    }

    pub(super) fn at(&self) -> impl Fn(Trouble) -> StoreError {
        |trouble| trouble.at(&self.path)
    }

    pub(super) fn meta(&self) -> Outcome<Meta> {
        let reading = self.db()?.begin_read()?;
        read_meta(&reading.open_table(META)?)
    }

    /// The last settled number of each shard that has settled any in this epoch, and for the others the last one before it.
    pub(super) fn numbers(&self) -> Outcome<BTreeMap<ShardId, u64>> {
        let before = self.meta()?.next_number.saturating_sub(1);
        let mut numbers: BTreeMap<ShardId, u64> =
            (0..=LAST_SHARD.index()).map(|at| (ShardId::new(at), before)).collect();
        for row in self.db()?.begin_read()?.open_table(NUMBERS)?.iter()? {
            let (shard, number) = row?;
            let shard = shard_of(shard.value()).ok_or_else(|| Trouble::row(NUMBERS, shard.value()))?;
            numbers.insert(shard, number.value());
        }
        Ok(numbers)
    }

    pub(super) fn rows(&self) -> Outcome<Rows> {
        let txn = self.db()?.begin_read()?;
        Ok(Rows {
            sessions: txn.open_table(SESSIONS)?.len()?,
            subscriptions: txn.open_table(SUBSCRIPTIONS)?.len()?,
            items: txn.open_table(ITEMS)?.len()?,
            retained: txn.open_table(RETAINED)?.len()?,
            spooled: txn.open_table(SPOOL)?.len()?,
            file_bytes: std::fs::metadata(&self.path).map_or(0, |file| file.len()),
        })
    }

    /// One transaction, on disk when this returns. How many changes were of sessions that are not there.
    pub(super) fn settle(&self, overlay: &Overlay) -> Outcome<u64> {
        let txn = self.begin()?;
        let orphans = apply(&txn, overlay)?;
        txn.commit()?;
        Ok(orphans)
    }

    pub(super) fn begin(&self) -> Outcome<WriteTransaction> {
        let mut txn = self.db()?.begin_write()?;
        // Each commit leaves the store such that a start after a crash need not look at all of it.
        txn.set_quick_repair(true);
        Ok(txn)
    }
}

fn open_engine(path: &Path, builder: &mut Builder) -> Result<Database, StoreError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path);
    let file = file.map_err(StoreError::io("open the settled store", path))?;
    let open = || -> Outcome<Database> {
        Ok(builder.set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?)?)
    };
    open().map_err(|trouble| trouble.at(path))
}

fn prepare(db: &Database, new: Meta) -> Outcome<Meta> {
    let txn = db.begin_write()?;
    let is_new = txn.list_tables()?.next().is_none();
    if !is_new {
        txn.abort()?;
        return read_meta(&db.begin_read()?.open_table(META)?);
    }
    write_meta(&txn, new)?;
    for table in [SESSIONS, MESSAGES, SPOOL] {
        txn.open_table(table)?;
    }
    txn.open_table(NUMBERS)?;
    txn.open_table(SUBSCRIPTIONS)?;
    txn.open_table(ITEMS)?;
    txn.open_table(RELEASES)?;
    txn.open_table(RECEIVED)?;
    txn.open_table(MESSAGE_COUNTS)?;
    txn.open_table(RETAINED)?;
    txn.open_table(ARRIVED)?;
    txn.commit()?;
    Ok(new)
}

fn read_meta(table: &impl ReadableTable<&'static str, u64>) -> Outcome<Meta> {
    let value = |key: &'static str| Ok(table.get(key)?.ok_or_else(|| Trouble::row(META, key))?.value());
    let format: Outcome<u64> = value(meta::FORMAT);
    let format = format?;
    if !FORMATS_READ.contains(&format) {
        return Err(Trouble::Format(format));
    }
    Ok(Meta {
        store_id: value(meta::STORE_ID)?,
        seed: value(meta::SEED)?,
        epoch: value(meta::EPOCH)?,
        shards: value(meta::SHARDS)?,
        next_number: value(meta::NEXT_NUMBER)?,
        highest: value(meta::HIGHEST)?,
    })
}

pub(super) fn meta_in(txn: &WriteTransaction) -> Outcome<Meta> {
    read_meta(&txn.open_table(META)?)
}

pub(super) fn write_meta(txn: &WriteTransaction, values: Meta) -> Outcome<()> {
    let Meta { store_id, seed, epoch, shards, next_number, highest } = values;
    let mut table = txn.open_table(META)?;
    for (key, value) in [
        // What follows is written in this version, and no older program is to take it for its own.
        (meta::FORMAT, FORMAT_VERSION),
        (meta::STORE_ID, store_id),
        (meta::SEED, seed),
        (meta::EPOCH, epoch),
        (meta::SHARDS, shards),
        (meta::NEXT_NUMBER, next_number),
        (meta::HIGHEST, highest),
    ] {
        table.insert(key, value)?;
    }
    Ok(())
}

pub(super) fn shard_of(index: u8) -> Option<ShardId> {
    let index = usize::from(index);
    if index <= LAST_SHARD.index() { Some(ShardId::new(index)) } else { None }
}

/// Makes of the tables what they are after the overlay's records. How many changes were of sessions that are not there:
/// none, unless records were lost.
pub(super) fn apply(txn: &WriteTransaction, overlay: &Overlay) -> Outcome<u64> {
    let unknown = change_sessions(txn, overlay)?;
    let mut settling = Settling { txn, overlay, unknown, orphans: 0, counts: HashMap::new(), scratch: Vec::new() };
    settling.end_sessions()?;
    settling.change_subscriptions()?;
    settling.change_items()?;
    settling.count_messages()?;
    settling.change_releases()?;
    settling.change_received()?;
    settling.change_retained()?;
    settling.change_numbers()?;
    settling.change_spool()?;
    Ok(settling.orphans)
}

/// Changes the sessions themselves. Which of those that the overlay takes for settled are not there.
fn change_sessions(txn: &WriteTransaction, overlay: &Overlay) -> Outcome<BTreeSet<RecordId>> {
    let (mut unknown, mut scratch) = (BTreeSet::new(), Vec::new());
    let mut table = txn.open_table(SESSIONS)?;
    // Only its will is read back, and written as it was.
    let hasher = TopicHasher::new(0);
    for (&id, change) in &overlay.sessions {
        let SessionChange { fate, expiry_secs, left_at, owner, will } = change;
        let mut row = match fate {
            Fate::Ended => {
                table.remove(id.get())?;
                continue;
            }
            Fate::Started { client_id } => {
                SessionRow { client_id: client_id.clone(), expiry_secs: 0, left_at: None, will: None, owner: None }
            }
            Fate::Kept => match table.get(id.get())? {
                Some(row) => SessionRow::read(row.value(), &hasher).ok_or_else(|| Trouble::row(SESSIONS, id.get()))?,
                None => {
                    unknown.insert(id);
                    continue;
                }
            },
        };
        let is_changed = expiry_secs.is_some() || left_at.is_some() || owner.is_some() || will.is_some();
        if *fate == Fate::Kept && !is_changed {
            continue;
        }
        row.expiry_secs = expiry_secs.unwrap_or(row.expiry_secs);
        row.left_at = left_at.unwrap_or(row.left_at);
        if let Some(owner) = owner {
            row.owner = Some(owner.clone());
        }
        if let Some(will) = will {
            row.will = will.as_deref().cloned();
        }
        row.put(&mut scratch);
        table.insert(id.get(), &scratch[..])?;
    }
    Ok(unknown)
}

/// An overlay on its way into the tables.
struct Settling<'a> {
    txn: &'a WriteTransaction,
    overlay: &'a Overlay,
    unknown: BTreeSet<RecordId>,
    orphans: u64,
    /// How many items more or less have each shared message.
    counts: HashMap<RecordId, i64>,
    scratch: Vec<u8>,
}

impl Settling<'_> {
    /// Whether the session is there to be changed.
    fn has(&mut self, session: RecordId) -> bool {
        let is_unknown = self.unknown.contains(&session);
        self.orphans += u64::from(is_unknown);
        !is_unknown
    }

    fn end_sessions(&mut self) -> Outcome<()> {
        let ended = self.overlay.sessions.iter().filter(|(_, change)| change.fate == Fate::Ended);
        let mut ended = ended.map(|(id, _)| id.get()).peekable();
        if ended.peek().is_none() {
            return Ok(());
        }
        let mut subscriptions = self.txn.open_table(SUBSCRIPTIONS)?;
        let mut items = self.txn.open_table(ITEMS)?;
        let mut releases = self.txn.open_table(RELEASES)?;
        let mut received = self.txn.open_table(RECEIVED)?;
        for id in ended {
            subscriptions.retain_in((id, "")..(id + 1, ""), |_, _| false)?;
            for row in items.extract_from_if((id, 0)..=(id, u64::MAX), |_, _| true)? {
                let (key, row) = row?;
                count_off(row.value(), key.value(), &mut self.counts)?;
            }
            releases.retain_in((id, 0)..=(id, u64::MAX), |_, _| false)?;
            received.retain_in((id, 0)..=(id, u16::MAX), |_, ()| false)?;
        }
        Ok(())
    }

    fn change_subscriptions(&mut self) -> Outcome<()> {
        let mut table = self.txn.open_table(SUBSCRIPTIONS)?;
        for ((session, filter), options) in &self.overlay.subscriptions {
            if !self.has(*session) {
                continue;
            }
            let key = (session.get(), &**filter);
            match options {
                Some(options) => {
                    put_options_row(*options, &mut self.scratch);
                    table.insert(key, &self.scratch[..])?;
                }
                None => drop(table.remove(key)?),
            }
        }
        Ok(())
    }

    fn change_items(&mut self) -> Outcome<()> {
        let owners = self.owners();
        let mut items = self.txn.open_table(ITEMS)?;
        let mut messages = self.txn.open_table(MESSAGES)?;
        for (&(session, item), change) in &self.overlay.items {
            if !self.has(session) {
                continue;
            }
            let key = (session.get(), item.get());
            match change {
                ItemChange::Put(put) => {
                    let is_shared = owners.get(&put.message_id).is_some_and(|&owners| owners > 1);
                    self.put_item(key, put, is_shared, &mut items, &mut messages)?;
                }
                ItemChange::Sent(packet_id) => {
                    let Some(row) = items.get(key)?.map(|row| item_sent(row.value(), *packet_id)) else {
                        self.orphans += 1;
                        continue;
                    };
                    let row = row.ok_or_else(|| Trouble::row(ITEMS, key))?;
                    items.insert(key, &row[..])?;
                }
                ItemChange::Gone => match items.remove(key)? {
                    Some(row) => count_off(row.value(), key, &mut self.counts)?,
                    None => self.orphans += 1,
                },
            }
        }
        Ok(())
    }

    /// How many items that are put have each message.
    fn owners(&self) -> HashMap<RecordId, u64> {
        let mut owners = HashMap::default();
        for ((session, _), change) in &self.overlay.items {
            if let ItemChange::Put(item) = change
                && !self.unknown.contains(session)
            {
                *owners.entry(item.message_id).or_default() += 1;
            }
        }
        owners
    }

    fn put_item(
        &mut self,
        key: (u64, u64),
        item: &Item,
        is_shared: bool,
        items: &mut Table<'_, (u64, u64), &'static [u8]>,
        messages: &mut Table<'_, u64, &'static [u8]>,
    ) -> Outcome<()> {
        let Item { message_id, message, copy, packet_id } = item;
        let mut stored = Vec::with_capacity(message.held_bytes());
        message.put_stored(&mut stored);
        let body = if is_shared { Body::Shared(*message_id) } else { Body::Inline(&stored) };
        let row = ItemRow { packet_id: *packet_id, message_bytes: stored.len() as u32, copy: copy.clone(), body };
        row.put(&mut self.scratch);
        items.insert(key, &self.scratch[..])?;
        if is_shared {
            let count = self.counts.entry(*message_id).or_insert(0);
            if *count == 0 {
                messages.insert(message_id.get(), &stored[..])?;
            }
            *count += 1;
        }
        Ok(())
    }

    fn count_messages(&mut self) -> Outcome<()> {
        let mut messages = self.txn.open_table(MESSAGES)?;
        let mut counts = self.txn.open_table(MESSAGE_COUNTS)?;
        for (&id, &change) in &self.counts {
            let before = counts.get(id.get())?.map_or(0, |count| count.value());
            match before.saturating_add_signed(change) {
                0 => {
                    counts.remove(id.get())?;
                    messages.remove(id.get())?;
                }
                count => drop(counts.insert(id.get(), count)?),
            }
        }
        Ok(())
    }

    fn change_releases(&mut self) -> Outcome<()> {
        let mut table = self.txn.open_table(RELEASES)?;
        for &(session, packet_id) in &self.overlay.completed {
            if !self.has(session) {
                continue;
            }
            let span = (session.get(), 0)..=(session.get(), u64::MAX);
            table.retain_in(span, |_, released| released != packet_id.get())?;
        }
        for (&(session, order), packet_id) in &self.overlay.releases {
            if self.has(session) {
                table.insert((session.get(), order.get()), packet_id.get())?;
            }
        }
        Ok(())
    }

    fn change_received(&mut self) -> Outcome<()> {
        let mut table = self.txn.open_table(RECEIVED)?;
        for (&(session, packet_id), &is_in_use) in &self.overlay.received {
            if !self.has(session) {
                continue;
            }
            let key = (session.get(), packet_id.get());
            match is_in_use {
                true => drop(table.insert(key, ())?),
                false => drop(table.remove(key)?),
            }
        }
        Ok(())
    }

    fn change_retained(&mut self) -> Outcome<()> {
        let mut table = self.txn.open_table(RETAINED)?;
        for (topic, message) in &self.overlay.retained {
            match message {
                Some(message) => {
                    self.scratch.clear();
                    message.put_stored(&mut self.scratch);
                    table.insert(&**topic, &self.scratch[..])?;
                }
                None => drop(table.remove(&**topic)?),
            }
        }
        Ok(())
    }

    fn change_numbers(&self) -> Outcome<()> {
        let mut table = self.txn.open_table(NUMBERS)?;
        for (shard, &number) in &self.overlay.applied {
            table.insert(shard.index() as u8, number)?;
        }
        let mut meta = self.txn.open_table(META)?;
        let highest = meta.get(meta::HIGHEST)?.map_or(0, |highest| highest.value());
        meta.insert(meta::HIGHEST, highest.max(self.overlay.highest))?;
        Ok(())
    }

    fn change_spool(&mut self) -> Outcome<()> {
        let mut spool = self.txn.open_table(SPOOL)?;
        let mut arrived = self.txn.open_table(ARRIVED)?;
        for (id, spooled) in &self.overlay.spool {
            match spooled {
                Some(spooled) => {
                    spooled.put(&mut self.scratch);
                    spool.insert(id.get(), &self.scratch[..])?;
                }
                None => drop(spool.remove(id.get())?),
            }
        }
        // An arrival matters as long as what arrived is in the spool, or may still come into it.
        for &(spooled, by) in &self.overlay.arrived {
            let is_settled = self.overlay.applied.get(&spooled.shard()).is_some_and(|&last| last >= spooled.number());
            if !is_settled || spool.get(spooled.get())?.is_some() {
                arrived.insert((spooled.shard().index() as u8, spooled.number(), by.index() as u8), ())?;
            }
        }
        for (shard, &last) in &self.overlay.applied {
            forget_arrivals(*shard, last, &spool, &mut arrived)?;
        }
        Ok(())
    }
}

/// Of what a shard spooled, and settled up to this number, and what is over.
fn forget_arrivals(
    shard: ShardId,
    last: u64,
    spool: &Table<'_, u64, &'static [u8]>,
    arrived: &mut Table<'_, (u8, u64, u8), ()>,
) -> Outcome<()> {
    let index = shard.index() as u8;
    let mut over = Vec::new();
    for row in arrived.range((index, 0, 0)..=(index, last, u8::MAX))? {
        let key = row?.0.value();
        let spooled = RecordId::new(key.1, shard).ok_or_else(|| Trouble::row(ARRIVED, key))?;
        if spool.get(spooled.get())?.is_none() {
            over.push(key);
        }
    }
    for key in over {
        arrived.remove(key)?;
    }
    Ok(())
}

fn count_off(row: &[u8], key: (u64, u64), counts: &mut HashMap<RecordId, i64>) -> Outcome<()> {
    let row = ItemRow::read(row).ok_or_else(|| Trouble::row(ITEMS, key))?;
    if let Body::Shared(id) = row.body {
        *counts.entry(id).or_default() -= 1;
    }
    Ok(())
}
