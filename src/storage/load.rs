//! What the settled store has, as the shards want it: all of it at a start, pages of a queue later.

use std::iter::Peekable;

use redb::{Key, Range, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Value};

use super::rows::{Body, ItemRow, SessionRow, read_options_row};
use super::settled::Settled;
use super::tables::{ITEMS, MESSAGES, Outcome, RECEIVED, RELEASES, RETAINED, SESSIONS, SUBSCRIPTIONS, Trouble};
use crate::base::RecordId;
use crate::broker::{Fetch, Message, StoredItem, StoredMessage, StoredSession};
use crate::mqtt::PacketId;
use crate::routing::TopicHasher;

impl Settled {
    /// Gives every session, in the order of their names. `waiting`: how much of what waits in a queue is loaded with it.
    pub(super) fn sessions(&self, waiting: Waiting, take: &mut dyn FnMut(StoredSession)) -> Outcome<()> {
        let txn = self.db()?.begin_read()?;
        let mut loading = Loading::begin(&txn, &self.hasher, waiting)?;
        for row in txn.open_table(SESSIONS)?.iter()? {
            let (id, row) = row?;
            take(loading.session(id.value(), row.value())?);
        }
        loading.end()
    }

    pub(super) fn retained(&self, take: &mut dyn FnMut(Message)) -> Outcome<()> {
        for row in self.db()?.begin_read()?.open_table(RETAINED)?.iter()? {
            let (topic, row) = row?;
            let message = Message::from_stored(row.value(), &self.hasher);
            take(message.ok_or_else(|| Trouble::row(RETAINED, topic.value()))?);
        }
        Ok(())
    }

    /// How many sessions and retained messages there are.
    pub(super) fn len(&self) -> Outcome<u64> {
        let txn = self.db()?.begin_read()?;
        Ok(txn.open_table(SESSIONS)?.len()? + txn.open_table(RETAINED)?.len()?)
    }

    /// Every message of the span that is there, in order. What cannot be read is left out, and said.
    pub(super) fn fetch(&self, fetch: &Fetch, unreadable: &mut Vec<String>) -> Outcome<Vec<StoredMessage>> {
        let txn = self.db()?.begin_read()?;
        let (items, messages) = (txn.open_table(ITEMS)?, txn.open_table(MESSAGES)?);
        let session = fetch.id.get();
        let mut found = Vec::new();
        for row in items.range((session, fetch.first.get())..=(session, fetch.last.get()))? {
            let (key, row) = row?;
            let message = match ItemRow::read(row.value()) {
                Some(row) => message_of(key.value(), row, &messages, &self.hasher),
                None => Err(Trouble::row(ITEMS, key.value())),
            };
            match message {
                Ok(message) => found.push(message),
                Err(Trouble::Row(what)) => unreadable.push(what),
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(found)
    }
}

/// What of a queue is loaded that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiting {
    /// From the first on that a shared group gave to the session: another member may be to have those, and for that they
    /// must be at hand.
    FromFirstShared,
    All,
}

type Texts = Range<'static, (u64, &'static str), &'static [u8]>;

/// The tables of what sessions have, each read along with the sessions.
struct Loading<'a> {
    hasher: &'a TopicHasher,
    waiting: Waiting,
    subscriptions: Along<(u64, &'static str), &'static [u8]>,
    items: Along<(u64, u64), &'static [u8]>,
    releases: Along<(u64, u64), u16>,
    received: Along<(u64, u16), ()>,
    messages: redb::ReadOnlyTable<u64, &'static [u8]>,
}

type Along<K, V> = Peekable<Range<'static, K, V>>;

impl<'a> Loading<'a> {
    fn begin(txn: &ReadTransaction, hasher: &'a TopicHasher, waiting: Waiting) -> Outcome<Self> {
        let subscriptions: Texts = txn.open_table(SUBSCRIPTIONS)?.range::<(u64, &str)>(..)?;
        Ok(Self {
            hasher,
            waiting,
            subscriptions: subscriptions.peekable(),
            items: txn.open_table(ITEMS)?.range::<(u64, u64)>(..)?.peekable(),
            releases: txn.open_table(RELEASES)?.range::<(u64, u64)>(..)?.peekable(),
            received: txn.open_table(RECEIVED)?.range::<(u64, u16)>(..)?.peekable(),
            messages: txn.open_table(MESSAGES)?,
        })
    }

    fn session(&mut self, id: u64, row: &[u8]) -> Outcome<StoredSession> {
        let unreadable = || Trouble::row(SESSIONS, id);
        let name = RecordId::from_u64(id).ok_or_else(unreadable)?;
        let SessionRow { client_id, expiry_secs, left_at, will, owner } =
            SessionRow::read(row, self.hasher).ok_or_else(unreadable)?;
        let mut session = StoredSession {
            id: name,
            client_id,
            owner,
            expiry_secs,
            left_at,
            subscriptions: Vec::new(),
            in_flight: Vec::new(),
            releases: Vec::new(),
            queue: Vec::new(),
            received: Vec::new(),
            will,
        };
        let Self { subscriptions, items, releases, received, messages, hasher, waiting } = self;
        along(
            subscriptions,
            id,
            |key| key.0,
            |key, row| {
                let options = read_options_row(row).ok_or_else(|| Trouble::row(SUBSCRIPTIONS, key))?;
                session.subscriptions.push((key.1.into(), options));
                Ok(())
            },
        )?;
        along(
            items,
            id,
            |key| key.0,
            |key, row| {
                let row = ItemRow::read(row).ok_or_else(|| Trouble::row(ITEMS, key))?;
                take_item(&mut session, key, row, *waiting, messages, hasher)
            },
        )?;
        along(
            releases,
            id,
            |key| key.0,
            |key, packet_id| {
                session.releases.push(PacketId::new(packet_id).ok_or_else(|| Trouble::row(RELEASES, key))?);
                Ok(())
            },
        )?;
        along(
            received,
            id,
            |key| key.0,
            |key, ()| {
                session.received.push(PacketId::new(key.1).ok_or_else(|| Trouble::row(RECEIVED, key))?);
                Ok(())
            },
        )?;
        Ok(session)
    }

    /// Nothing is left of sessions behind the last one.
    fn end(&mut self) -> Outcome<()> {
        let Self { subscriptions, items, releases, received, .. } = self;
        let nobody = u64::MAX;
        along(subscriptions, nobody, |key| key.0, |_, _| Ok(()))?;
        along(items, nobody, |key| key.0, |_, _| Ok(()))?;
        along(releases, nobody, |key| key.0, |_, _| Ok(()))?;
        along(received, nobody, |key| key.0, |_, ()| Ok(()))
    }
}

/// Takes the rows that come next and are the session's.
fn along<K: Key + 'static, V: Value + 'static>(
    rows: &mut Along<K, V>,
    session: u64,
    session_of: impl Fn(&K::SelfType<'_>) -> u64,
    mut take: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> Outcome<()>,
) -> Outcome<()> {
    while let Some(row) = rows.next_if(|row| row.as_ref().map_or(true, |(key, _)| session_of(&key.value()) <= session))
    {
        let (key, value) = row?;
        if session_of(&key.value()) != session {
            return Err(Trouble::Row(format!("a row of a session that is not there: {:?}", key.value())));
        }
        take(key.value(), value.value())?;
    }
    Ok(())
}

fn take_item(
    session: &mut StoredSession,
    key: (u64, u64),
    row: ItemRow<'_>,
    waiting: Waiting,
    messages: &impl ReadableTable<u64, &'static [u8]>,
    hasher: &TopicHasher,
) -> Outcome<()> {
    if let Some(packet_id) = row.packet_id {
        session.in_flight.push((packet_id, message_of(key, row, messages, hasher)?));
        return Ok(());
    }
    let is_behind_loaded = matches!(session.queue.last(), Some(StoredItem::Loaded(_)));
    if waiting == Waiting::All || row.copy.share.is_some() || is_behind_loaded {
        session.queue.push(StoredItem::Loaded(Box::new(message_of(key, row, messages, hasher)?)));
    } else {
        let item = item_id(key)?;
        session.queue.push(StoredItem::Left { item, bytes: row.counted_bytes() });
    }
    Ok(())
}

fn item_id(key: (u64, u64)) -> Outcome<RecordId> {
    RecordId::from_u64(key.1).ok_or_else(|| Trouble::row(ITEMS, key))
}

fn message_of(
    key: (u64, u64),
    row: ItemRow<'_>,
    messages: &impl ReadableTable<u64, &'static [u8]>,
    hasher: &TopicHasher,
) -> Outcome<StoredMessage> {
    let message = match row.body {
        Body::Inline(stored) => Message::from_stored(stored, hasher),
        Body::Shared(id) => messages.get(id.get())?.and_then(|row| Message::from_stored(row.value(), hasher)),
    };
    let message = message.ok_or_else(|| Trouble::row(ITEMS, key))?;
    Ok(StoredMessage { item: item_id(key)?, message, copy: row.copy })
}
