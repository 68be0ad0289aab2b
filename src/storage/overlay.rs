//! What a stretch of records comes to, before any of it touches the settled store. What comes and goes within the
//! stretch leaves nothing: of most messages nothing is ever settled.
//!
//! The maps mirror the tables of the settled store: a key that is not here stays there as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use crate::base::{RecordId, ShardId, Timestamp};
use crate::broker::{Message, Owner, Record, StoredCopy, StoredWill};
use crate::mqtt::PacketId;
use crate::routing::SubscriptionOptions;

#[derive(Default, Debug)]
pub(super) struct Overlay {
    /// The last number of each shard that is settled or in here.
    pub(super) applied: BTreeMap<ShardId, u64>,
    /// The highest number that any record has or names.
    pub(super) highest: u64,
    /// Records that were applied, those that annihilated each other included.
    pub(super) records: u64,
    /// Every session that something here belongs to.
    pub(super) sessions: BTreeMap<RecordId, SessionChange>,
    pub(super) subscriptions: BTreeMap<(RecordId, Box<str>), Option<SubscriptionOptions>>,
    pub(super) items: BTreeMap<(RecordId, RecordId), ItemChange>,
    /// To be released, by session and order.
    pub(super) releases: BTreeMap<(RecordId, RecordId), PacketId>,
    /// Released, and settled as to be released.
    pub(super) completed: BTreeSet<(RecordId, PacketId)>,
    /// Whether the packet identifier is in use.
    pub(super) received: BTreeMap<(RecordId, PacketId), bool>,
    pub(super) retained: BTreeMap<Box<str>, Option<Message>>,
    /// `None`: every shard has it.
    pub(super) spool: BTreeMap<RecordId, Option<Spooled>>,
    pub(super) arrived: BTreeSet<(RecordId, ShardId)>,
    /// The messages of the batch that is being applied: only within it are they named.
    messages: BTreeMap<RecordId, Message>,
    /// Bytes of messages and texts in here, near enough.
    weight: usize,
}

#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct SessionChange {
    pub(super) fate: Fate,
    pub(super) expiry_secs: Option<u32>,
    /// `Some(None)`: the client is back.
    pub(super) left_at: Option<Option<Timestamp>>,
    pub(super) owner: Option<Owner>,
    /// `Some(None)`: it has none any more.
    pub(super) will: Option<Option<Box<StoredWill>>>,
}

#[derive(Clone, PartialEq, Default, Debug)]
pub(super) enum Fate {
    /// It is in the settled store, and stays.
    #[default]
    Kept,
    Started {
        client_id: Box<str>,
    },
    /// With all that belongs to it.
    Ended,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum ItemChange {
    Put(Item),
    /// A settled one goes out with this packet identifier.
    Sent(PacketId),
    /// A settled one is done with.
    Gone,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Item {
    pub(super) message_id: RecordId,
    pub(super) message: Message,
    pub(super) copy: StoredCopy,
    pub(super) packet_id: Option<PacketId>,
}

/// A message on its way between shards.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Spooled {
    pub(super) message: Message,
    pub(super) publisher: Option<RecordId>,
    pub(super) share: Option<Box<str>>,
}

/// What an entry costs besides its messages and texts, near enough.
const ENTRY_BYTES: usize = 64;

impl Overlay {
    /// On top of a store in which the numbers up to these are settled.
    pub(super) fn new(settled: BTreeMap<ShardId, u64>) -> Self {
        Self { applied: settled, ..Self::default() }
    }

    /// For changes that no record made, and that need names.
    pub(super) fn naming_from(next_number: u64) -> Self {
        Self { highest: next_number.saturating_sub(1), ..Self::default() }
    }

    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    /// Of the first record of the shard that is neither settled nor in here.
    pub(super) fn next_number(&self, shard: ShardId) -> u64 {
        self.applied.get(&shard).map_or(1, |last| last + 1)
    }

    /// Applies a whole batch, in which the first record has this number. Records that are settled or in here are skipped.
    pub(super) fn apply_batch(&mut self, shard: ShardId, records: impl IntoIterator<Item = (RecordId, Record)>) {
        for (id, record) in records {
            if id.number() <= self.applied.get(&shard).copied().unwrap_or(0) {
                continue;
            }
            self.applied.insert(shard, id.number());
            self.highest = self.highest.max(id.number());
            self.records += 1;
            self.apply(id, record);
        }
        self.messages.clear();
    }

    fn apply(&mut self, id: RecordId, record: Record) {
        match record {
            Record::SessionStarted { client_id, expiry_secs, owner } => self.start(id, client_id, expiry_secs, owner),
            Record::SessionOwned { session, owner } => self.session(session).owner = Some(owner),
            Record::SessionResumed { session, expiry_secs } => {
                let change = self.session(session);
                (change.expiry_secs, change.left_at) = (Some(expiry_secs), Some(None));
            }
            Record::SessionLeft { session, at, expiry_secs } => {
                let change = self.session(session);
                (change.expiry_secs, change.left_at) = (Some(expiry_secs), Some(Some(at)));
            }
            Record::SessionEnded { session } => self.end(session),
            Record::Subscribed { session, filter, options } => self.subscribe(session, filter, Some(options)),
            Record::Unsubscribed { session, filter } => self.subscribe(session, filter, None),
            Record::Message { message } => {
                self.messages.insert(id, message);
            }
            Record::Queued { session, message, copy, sent } => self.queue(session, id, message, copy, sent),
            Record::Sent { session, item, packet_id } => self.send(session, item, packet_id),
            Record::Dequeued { session, item } => self.dequeue(session, item),
            Record::Received { session, item, packet_id } => {
                self.dequeue(session, item);
                self.releases.insert((session, id), packet_id);
            }
            Record::Completed { session, packet_id } => self.complete(session, packet_id),
            Record::Accepted { session, packet_id } => self.receive(session, packet_id, true),
            Record::Released { session, packet_id } => self.receive(session, packet_id, false),
            Record::Retained { message } => {
                let topic = message.topic().as_str().into();
                self.retain(topic, Some(message));
            }
            Record::RetainedCleared { topic } => self.retain(topic, None),
            Record::Will { session, message, delay_secs, expiry_secs } => {
                self.weight += message.held_bytes();
                self.session(session).will = Some(Some(Box::new(StoredWill { message, delay_secs, expiry_secs })));
            }
            Record::WillGone { session } => self.session(session).will = Some(None),
            Record::Spooled { message, publisher, share } => {
                self.weight += message.held_bytes();
                self.spool.insert(id, Some(Spooled { message, publisher, share }));
            }
            Record::Arrived { spooled } => {
                self.highest = self.highest.max(spooled.number());
                self.arrived.insert((spooled, id.shard()));
            }
            Record::Unspooled { spooled } => self.unspool(spooled),
        }
    }

    fn session(&mut self, session: RecordId) -> &mut SessionChange {
        self.weight += ENTRY_BYTES;
        self.sessions.entry(session).or_default()
    }

    fn is_started_here(&self, session: RecordId) -> bool {
        self.sessions.get(&session).is_some_and(|change| matches!(change.fate, Fate::Started { .. }))
    }

    fn start(&mut self, session: RecordId, client_id: Box<str>, expiry_secs: u32, owner: Option<Owner>) {
        self.weight += client_id.len();
        let change = self.session(session);
        change.fate = Fate::Started { client_id };
        (change.expiry_secs, change.owner) = (Some(expiry_secs), owner);
    }

    fn end(&mut self, session: RecordId) {
        self.subscriptions.extract_if(filters_of(session), |_, _| true).for_each(drop);
        self.weight -= self.items.extract_if(of(session), |_, _| true).map(|(_, item)| item.weight()).sum::<usize>();
        self.releases.extract_if(of(session), |_, _| true).for_each(drop);
        self.completed.extract_if(packet_ids_of(session), |_| true).for_each(drop);
        self.received.extract_if(packet_ids_of(session), |_, _| true).for_each(drop);
        if self.is_started_here(session) {
            self.sessions.remove(&session);
        } else {
            self.sessions.insert(session, SessionChange { fate: Fate::Ended, ..SessionChange::default() });
        }
    }

    fn subscribe(&mut self, session: RecordId, filter: Box<str>, options: Option<SubscriptionOptions>) {
        self.session(session);
        if options.is_none() && self.is_started_here(session) {
            self.subscriptions.remove(&(session, filter));
            return;
        }
        self.weight += filter.len();
        self.subscriptions.insert((session, filter), options);
    }

    fn queue(
        &mut self,
        session: RecordId,
        item: RecordId,
        message_id: RecordId,
        copy: StoredCopy,
        packet_id: Option<PacketId>,
    ) {
        // Without its message there is nothing to deliver: only where a damaged segment was salvaged can it be missing.
        let Some(message) = self.messages.get(&message_id).cloned() else { return };
        self.session(session);
        let put = ItemChange::Put(Item { message_id, message, copy, packet_id });
        self.weight += put.weight();
        self.items.insert((session, item), put);
    }

    fn send(&mut self, session: RecordId, item: RecordId, packet_id: PacketId) {
        self.session(session);
        match self.items.get_mut(&(session, item)) {
            Some(ItemChange::Put(put)) => put.packet_id = Some(packet_id),
            _ => drop(self.items.insert((session, item), ItemChange::Sent(packet_id))),
        }
    }

    fn dequeue(&mut self, session: RecordId, item: RecordId) {
        self.session(session);
        match self.items.remove(&(session, item)) {
            Some(put @ ItemChange::Put(_)) => self.weight -= put.weight(),
            _ => drop(self.items.insert((session, item), ItemChange::Gone)),
        }
    }

    fn complete(&mut self, session: RecordId, packet_id: PacketId) {
        self.session(session);
        let mut releases = self.releases.range(of(session));
        let found = releases.find(|(_, of)| **of == packet_id).map(|(key, _)| *key);
        match found {
            Some(key) => drop(self.releases.remove(&key)),
            None => drop(self.completed.insert((session, packet_id))),
        }
    }

    fn receive(&mut self, session: RecordId, packet_id: PacketId, is_in_use: bool) {
        self.session(session);
        if !is_in_use && self.is_started_here(session) {
            self.received.remove(&(session, packet_id));
        } else {
            self.received.insert((session, packet_id), is_in_use);
        }
    }

    fn retain(&mut self, topic: Box<str>, message: Option<Message>) {
        self.weight += ENTRY_BYTES + message.as_ref().map_or(0, Message::held_bytes);
        if let Some(Some(replaced)) = self.retained.insert(topic, message) {
            self.weight -= replaced.held_bytes();
        }
    }

    fn unspool(&mut self, spooled: RecordId) {
        match self.spool.remove(&spooled) {
            Some(Some(gone)) => self.weight -= gone.message.held_bytes(),
            _ => drop(self.spool.insert(spooled, None)),
        }
        // What a shard says later of it finds in the settled store that it is over.
        self.arrived.extract_if((spooled, ShardId::new(0))..=(spooled, LAST_SHARD), |_| true).for_each(drop);
    }
}

impl ItemChange {
    fn weight(&self) -> usize {
        match self {
            Self::Put(item) => ENTRY_BYTES + item.message.held_bytes(),
            Self::Sent(_) | Self::Gone => 0,
        }
    }
}

pub(super) const FIRST_ID: RecordId = match RecordId::new(1, ShardId::new(0)) {
    Some(id) => id,
    None => panic!("one is a number"),
};
pub(super) const LAST_SHARD: ShardId = ShardId::new(crate::base::limits::SHARDS_MAX - 1);
pub(super) const LAST_ID: RecordId = match RecordId::new(RecordId::NUMBER_MAX, LAST_SHARD) {
    Some(id) => id,
    None => panic!("the highest number is one"),
};

fn of(session: RecordId) -> RangeInclusive<(RecordId, RecordId)> {
    (session, FIRST_ID)..=(session, LAST_ID)
}

fn packet_ids_of(session: RecordId) -> RangeInclusive<(RecordId, PacketId)> {
    (session, PacketId::MIN)..=(session, PacketId::MAX)
}

fn filters_of(session: RecordId) -> Range<(RecordId, Box<str>)> {
    let next = RecordId::from_u64(session.get() + 1).unwrap_or(session);
    (session, "".into())..(next, "".into())
}
