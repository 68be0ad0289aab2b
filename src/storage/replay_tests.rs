//! What is settled in stretches, with starts in between, is what a plain replay of all records gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use redb::{ReadableDatabase, ReadableTable};

use super::load::Waiting;
use super::overlay::{Overlay, Spooled};
use super::recovery::new_meta;
use super::settled::Settled;
use super::tables::{ARRIVED, MESSAGE_COUNTS, MESSAGES, SPOOL};
use crate::base::{RecordId, ShardId, SubscriptionId, Timestamp};
use crate::broker::{Message, Owner, Record, StoredCopy, StoredItem, StoredMessage, StoredSession, StoredWill};
use crate::mqtt::{BodyLayout, PacketId, Properties, QoS, TopicName};
use crate::routing::{SubscriptionOptions, TopicHasher};

const SHARDS: usize = 2;

/// A message of the topic with the number as its payload.
fn message(topic: &str, number: u64, hasher: &TopicHasher) -> Message {
    let mut bytes = vec![1, 0];
    bytes.extend_from_slice(&[0xff; 8]);
    bytes.extend_from_slice(&[0; 8]);
    let mut body = Vec::new();
    let topic = TopicName::new(topic).unwrap();
    BodyLayout::write(topic, &Properties::EMPTY, &number.to_le_bytes(), &mut body);
    bytes.extend_from_slice(&body);
    Message::from_stored(&bytes, hasher).unwrap()
}

/// The records replayed one by one, into what is plainest.
#[derive(Clone, PartialEq, Default, Debug)]
struct Model {
    sessions: BTreeMap<RecordId, StoredSession>,
    retained: BTreeMap<Box<str>, Message>,
    spool: BTreeMap<RecordId, Spooled>,
    arrived: BTreeSet<(RecordId, ShardId)>,
    messages: BTreeMap<RecordId, Message>,
    releases: BTreeMap<RecordId, Vec<PacketId>>,
}

impl Model {
    fn apply(&mut self, id: RecordId, record: &Record) {
        match record.clone() {
            Record::SessionStarted { client_id, expiry_secs, owner } => {
                self.sessions.insert(id, StoredSession { owner, ..started(id, client_id, expiry_secs) });
            }
            Record::SessionOwned { session, owner } => self.session(session).owner = Some(owner),
            Record::SessionResumed { session, expiry_secs } => {
                let session = self.session(session);
                (session.expiry_secs, session.left_at) = (expiry_secs, None);
            }
            Record::SessionLeft { session, at, expiry_secs } => {
                let session = self.session(session);
                (session.expiry_secs, session.left_at) = (expiry_secs, Some(at));
            }
            Record::SessionEnded { session } => drop(self.sessions.remove(&session)),
            Record::Subscribed { session, filter, options } => {
                let subscriptions = &mut self.session(session).subscriptions;
                subscriptions.retain(|(of, _)| *of != filter);
                subscriptions.push((filter, options));
                subscriptions.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            Record::Unsubscribed { session, filter } => {
                self.session(session).subscriptions.retain(|(of, _)| *of != filter);
            }
            Record::Message { message } => drop(self.messages.insert(id, message)),
            Record::Queued { session, message, copy, sent } => {
                let message = StoredMessage { item: id, message: self.messages[&message].clone(), copy };
                let session = self.session(session);
                match sent {
                    Some(packet_id) => session.in_flight.push((packet_id, message)),
                    None => session.queue.push(StoredItem::Loaded(Box::new(message))),
                }
            }
            Record::Sent { session, item, packet_id } => {
                let message = self.session(session).take(item).unwrap();
                let in_flight = &mut self.session(session).in_flight;
                in_flight.push((packet_id, message));
                in_flight.sort_by_key(|(_, message)| message.item);
            }
            Record::Dequeued { session, item } => drop(self.session(session).take(item).unwrap()),
            Record::Received { session, item, packet_id } => {
                self.session(session).take(item).unwrap();
                self.session(session).releases.push(packet_id);
            }
            Record::Completed { session, packet_id } => self.session(session).releases.retain(|id| *id != packet_id),
            Record::Accepted { session, packet_id } => {
                let received = &mut self.session(session).received;
                received.push(packet_id);
                received.sort_unstable();
                received.dedup();
            }
            Record::Released { session, packet_id } => self.session(session).received.retain(|id| *id != packet_id),
            Record::Retained { message } => drop(self.retained.insert(message.topic().as_str().into(), message)),
            Record::RetainedCleared { topic } => drop(self.retained.remove(&topic)),
            Record::Will { session, message, delay_secs, expiry_secs } => {
                self.session(session).will = Some(StoredWill { message, delay_secs, expiry_secs });
            }
            Record::WillGone { session } => self.session(session).will = None,
            Record::Spooled { message, publisher, share } => {
                self.spool.insert(id, Spooled { message, publisher, share });
            }
            Record::Arrived { spooled } => drop(self.arrived.insert((spooled, id.shard()))),
            Record::Unspooled { spooled } => drop(self.spool.remove(&spooled)),
        }
    }

    fn session(&mut self, id: RecordId) -> &mut StoredSession {
        self.sessions.get_mut(&id).unwrap()
    }
}

fn owner(user: &str) -> Owner {
    Owner { user: Some(user.into()), mount: "m/".into() }
}

fn started(id: RecordId, client_id: Box<str>, expiry_secs: u32) -> StoredSession {
    StoredSession {
        id,
        client_id,
        owner: None,
        expiry_secs,
        left_at: None,
        subscriptions: Vec::new(),
        in_flight: Vec::new(),
        releases: Vec::new(),
        queue: Vec::new(),
        received: Vec::new(),
        will: None,
    }
}

impl StoredSession {
    fn take(&mut self, item: RecordId) -> Option<StoredMessage> {
        if let Some(at) = self.in_flight.iter().position(|(_, message)| message.item == item) {
            return Some(self.in_flight.remove(at).1);
        }
        let is_it = |of: &StoredItem| matches!(of, StoredItem::Loaded(message) if message.item == item);
        let at = self.queue.iter().position(is_it)?;
        match self.queue.remove(at) {
            StoredItem::Loaded(message) => Some(*message),
            StoredItem::Left { .. } => None,
        }
    }

    fn items(&self) -> Vec<RecordId> {
        let waiting = self.queue.iter().map(|item| match item {
            StoredItem::Loaded(message) => message.item,
            StoredItem::Left { item, .. } => *item,
        });
        self.in_flight.iter().map(|(_, message)| message.item).chain(waiting).collect()
    }
}

/// What a shard does next: the kind of thing, and numbers that choose to whom and with what.
type Step = (u8, usize, u16, bool);

/// Makes records that a broker could make.
struct Author {
    model: Model,
    next: [u64; SHARDS],
    hasher: TopicHasher,
    /// In the order in which they were made, each with its batch.
    written: Vec<(ShardId, Vec<(RecordId, Record)>)>,
}

impl Author {
    fn new(hasher: TopicHasher) -> Self {
        Self { model: Model::default(), next: [1; SHARDS], hasher, written: Vec::new() }
    }

    fn step(&mut self, (kind, which, number, flag): Step) {
        let shard = ShardId::new(which % SHARDS);
        let packet_id = PacketId::new(number % 5 + 1).unwrap();
        let of_shard: Vec<_> = self.model.sessions.values().filter(|of| of.id.shard() == shard).cloned().collect();
        let session = of_shard.get(which / SHARDS % of_shard.len().max(1)).cloned();
        let text = ["a", "a/b", "a/+", "\u{10FFFF}\u{10FFFF}"][usize::from(number) % 4];
        // Each topic has one home, and so its retained messages have one order.
        let topic = [["a", "a/b", "c"], ["d", "d/e", "f"]][shard.index()][usize::from(number) % 3];
        let message = message(topic, u64::from(number), &self.hasher);
        let expiry_secs = u32::from(number);
        let Some(of) = session else {
            let client_id = format!("{number}").into();
            return self.write(shard, vec![Record::SessionStarted { client_id, expiry_secs, owner: None }]);
        };
        let session = of.id;
        let items = of.items();
        let item = items.get(usize::from(number) % items.len().max(1)).copied();
        let records = match (kind % 20, item) {
            (0, _) => {
                let client_id = format!("{number}").into();
                vec![Record::SessionStarted { client_id, expiry_secs, owner: flag.then(|| owner(text)) }]
            }
            (1, _) => vec![Record::SessionResumed { session, expiry_secs }],
            (2, _) => vec![Record::SessionLeft { session, at: Timestamp(u64::from(number)), expiry_secs }],
            (3, _) if number % 4 == 0 => vec![Record::SessionEnded { session }],
            (3, _) => vec![Record::SessionOwned { session, owner: owner(text) }],
            (4, _) => {
                let id = SubscriptionId::new(u32::from(number));
                let options =
                    SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: flag, retain_as_published: !flag, id };
                vec![Record::Subscribed { session, filter: text.into(), options }]
            }
            (5, _) => vec![Record::Unsubscribed { session, filter: text.into() }],
            (6..=8, _) => return self.queue(shard, message, &of_shard, flag.then_some(packet_id)),
            (9, Some(item)) => vec![Record::Sent { session, item, packet_id }],
            (10 | 11, Some(item)) => vec![Record::Dequeued { session, item }],
            (12, Some(item)) if !of.releases.contains(&packet_id) => {
                vec![Record::Received { session, item, packet_id }]
            }
            (13, _) => vec![Record::Completed { session, packet_id }],
            (14, _) => vec![Record::Accepted { session, packet_id }],
            (15, _) => vec![Record::Released { session, packet_id }],
            (16, _) if flag => vec![Record::Retained { message }],
            (16, _) => vec![Record::RetainedCleared { topic: topic.into() }],
            (17, _) if flag => vec![Record::Will { session, message, delay_secs: 1, expiry_secs: Some(expiry_secs) }],
            (17, _) => vec![Record::WillGone { session }],
            (18, _) => {
                vec![Record::Spooled { message, publisher: Some(session), share: flag.then(|| "$share/g/a".into()) }]
            }
            _ => {
                let spooled: Vec<_> = self.model.spool.keys().copied().collect();
                let Some(&spooled) = spooled.get(which % spooled.len().max(1)) else { return };
                if flag {
                    return self.write(spooled.shard(), vec![Record::Unspooled { spooled }]);
                }
                vec![Record::Arrived { spooled }]
            }
        };
        self.write(shard, records);
    }

    /// One message for all of the shard's sessions.
    fn queue(&mut self, shard: ShardId, message: Message, sessions: &[StoredSession], sent: Option<PacketId>) {
        let mut records = vec![Record::Message { message }];
        let message = RecordId::new(self.next[shard.index()], shard).unwrap();
        for session in sessions {
            let ids: Box<[_]> = SubscriptionId::new(7).into_iter().collect();
            let share = sent.is_none().then(|| "$share/g/a".into());
            let copy = StoredCopy { qos: QoS::ExactlyOnce, retain: sent.is_some(), subscription_ids: ids, share };
            records.push(Record::Queued { session: session.id, message, copy, sent });
        }
        self.write(shard, records);
    }

    fn write(&mut self, shard: ShardId, records: Vec<Record>) {
        let mut batch = Vec::new();
        for record in records {
            let number = &mut self.next[shard.index()];
            let id = RecordId::new(*number, shard).unwrap();
            *number += 1;
            self.model.apply(id, &record);
            batch.push((id, record));
        }
        self.written.push((shard, batch));
    }
}

/// What the tables hold, as the model would.
fn read(settled: &Settled) -> Model {
    let mut model = Model::default();
    settled.sessions(Waiting::All, &mut |session| drop(model.sessions.insert(session.id, session))).unwrap();
    settled.retained(&mut |message| drop(model.retained.insert(message.topic().as_str().into(), message))).unwrap();
    let txn = settled.db().unwrap().begin_read().unwrap();
    for row in txn.open_table(SPOOL).unwrap().iter().unwrap() {
        let (id, row) = row.unwrap();
        let spooled = Spooled::read(row.value(), &settled.hasher).unwrap();
        model.spool.insert(RecordId::from_u64(id.value()).unwrap(), spooled);
    }
    for row in txn.open_table(ARRIVED).unwrap().iter().unwrap() {
        let (shard, number, by) = row.unwrap().0.value();
        let spooled = RecordId::new(number, ShardId::new(shard.into())).unwrap();
        model.arrived.insert((spooled, ShardId::new(by.into())));
    }
    model
}

/// A shared message is there as long as an item has it, and no longer.
fn check_shared_messages(settled: &Settled) {
    use super::rows::{Body, ItemRow};
    use super::tables::ITEMS;
    let txn = settled.db().unwrap().begin_read().unwrap();
    let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
    for row in txn.open_table(ITEMS).unwrap().iter().unwrap() {
        if let Body::Shared(id) = ItemRow::read(row.unwrap().1.value()).unwrap().body {
            *counted.entry(id.get()).or_default() += 1;
        }
    }
    let counts = txn.open_table(MESSAGE_COUNTS).unwrap();
    let counts: BTreeMap<_, _> =
        counts.iter().unwrap().map(|row| row.unwrap()).map(|(id, n)| (id.value(), n.value())).collect();
    let messages = txn.open_table(MESSAGES).unwrap();
    let messages: Vec<_> = messages.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
    assert_eq!(counted, counts);
    assert_eq!(messages, counts.into_keys().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stretches_come_to_what_a_plain_replay_gives(
        steps in prop::collection::vec(any::<Step>(), 1..250),
        ends in prop::collection::vec((1usize..60, 0u8..4), 1..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settled.redb");
        let mut settled = Settled::open(&path, new_meta()).unwrap();
        let mut author = Author::new(settled.hasher.clone());
        steps.into_iter().for_each(|step| author.step(step));

        let (mut from, mut ends) = (0, ends.into_iter().cycle());
        while from < author.written.len() {
            let (len, how) = ends.next().unwrap();
            let to = (from + len).min(author.written.len());
            let mut overlay = Overlay::new(settled.numbers().unwrap());
            // One shard's part after the other, as its segments are; sometimes all that was settled comes again.
            let from_again = if how == 1 { 0 } else { from };
            for shard in (0..SHARDS).map(ShardId::new) {
                for (_, batch) in author.written[from_again..to].iter().filter(|(of, _)| *of == shard) {
                    overlay.apply_batch(shard, batch.iter().cloned());
                }
            }
            prop_assert_eq!(settled.settle(&overlay).unwrap(), 0);
            if how == 2 {
                drop(settled);
                settled = Settled::open(&path, new_meta()).unwrap();
            }
            if how == 3 {
                settled.reopen().unwrap();
            }
            from = to;
        }

        let mut model = author.model;
        // Of what is over, and settled as over, nobody need know who has it.
        let spool = model.spool.clone();
        model.arrived.retain(|(spooled, _)| spool.contains_key(spooled));
        model.messages.clear();
        prop_assert_eq!(read(&settled), model);
        check_shared_messages(&settled);
    }
}
