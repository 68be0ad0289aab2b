//! At a start: messages that were on their way between the shards. Each goes to those who should have it and whose shard
//! had not said that it arrived.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadableTable, WriteTransaction};

use super::overlay::{Item, ItemChange, Overlay, Spooled};
use super::rows::{SessionRow, read_options_row};
use super::settled::{Meta, shard_of};
use super::tables::{ARRIVED, Outcome, SESSIONS, SPOOL, SUBSCRIPTIONS, Trouble};
use crate::base::{RecordId, ShardId, ShardSet, SubscriptionId};
use crate::broker::{Homes, Message, StoredCopy};
use crate::mqtt::{QoS, SharedFilter};
use crate::routing::{FilterIndex, GroupId, Matches, Subscriber, SubscriberKind, SubscriptionOptions, TopicHasher};

/// What the spool comes to, in names from `next_number` on.
pub(super) fn resolve(
    txn: &WriteTransaction,
    meta: &Meta,
    hasher: &TopicHasher,
    next_number: u64,
) -> Outcome<(Overlay, u64)> {
    let spool = read_spool(txn, hasher)?;
    let resolved = spool.len() as u64;
    let mut overlay = Overlay::naming_from(next_number);
    if spool.is_empty() {
        return Ok((overlay, 0));
    }
    let arrivals = read_arrivals(txn)?;
    let homes = Homes::new(meta.seed, meta.shards as usize);
    let mut receivers = Receivers::read(txn, meta, &homes, hasher)?;
    for (id, spooled) in &spool {
        let arrived = arrivals.get(id).copied().unwrap_or_default();
        let mut copies = Vec::new();
        match &spooled.share {
            // Whoever of its members has it: it is for one alone.
            Some(share) if arrived.is_empty() => copies.extend(receivers.of_share(share, *id, &spooled.message)),
            Some(_) => {}
            None => {
                retain(spooled, &homes, arrived, &mut overlay);
                receivers.of_topic(*id, spooled, arrived, &mut copies);
            }
        }
        queue(&spooled.message, copies, &mut overlay)?;
    }
    Ok((overlay, resolved))
}

fn read_spool(txn: &WriteTransaction, hasher: &TopicHasher) -> Outcome<Vec<(RecordId, Spooled)>> {
    let mut spool = Vec::new();
    for row in txn.open_table(SPOOL)?.iter()? {
        let (id, row) = row?;
        let unreadable = || Trouble::row(SPOOL, id.value());
        let name = RecordId::from_u64(id.value()).ok_or_else(unreadable)?;
        spool.push((name, Spooled::read(row.value(), hasher).ok_or_else(unreadable)?));
    }
    Ok(spool)
}

fn read_arrivals(txn: &WriteTransaction) -> Outcome<HashMap<RecordId, ShardSet>> {
    let mut arrivals: HashMap<RecordId, ShardSet> = HashMap::new();
    for row in txn.open_table(ARRIVED)?.iter()? {
        let key = row?.0.value();
        let (shard, number, by) = key;
        let named = shard_of(shard).and_then(|shard| RecordId::new(number, shard)).zip(shard_of(by));
        let (spooled, by) = named.ok_or_else(|| Trouble::row(ARRIVED, key))?;
        arrivals.entry(spooled).or_default().insert(by);
    }
    Ok(arrivals)
}

/// [MQTT-3.3.1-5] [MQTT-3.3.1-6]
fn retain(spooled: &Spooled, homes: &Homes, arrived: ShardSet, overlay: &mut Overlay) {
    let message = &spooled.message;
    if !message.header().retain || arrived.contains(homes.of_topic(message.header().topic_hash)) {
        return;
    }
    let is_cleared = message.body().payload().is_empty();
    let kept = if is_cleared { None } else { Some(message.clone()) };
    overlay.retained.insert(message.topic().as_str().into(), kept);
}

/// At the ends of the queues, in names of their own.
fn queue(message: &Message, copies: Vec<(RecordId, StoredCopy)>, overlay: &mut Overlay) -> Outcome<()> {
    let mut name = || {
        overlay.highest += 1;
        let id = RecordId::new(overlay.highest, ShardId::new(0));
        id.ok_or_else(|| Trouble::Row("the store has no more numbers for records".into()))
    };
    let message_id = name()?;
    for (session, copy) in copies {
        let item = name()?;
        let put = Item { message_id, message: message.clone(), copy, packet_id: None };
        overlay.sessions.entry(session).or_default();
        overlay.items.insert((session, item), ItemChange::Put(put));
    }
    Ok(())
}

/// Who has subscribed to what, all shards together.
struct Receivers {
    index: FilterIndex,
    /// By slot.
    sessions: Vec<(RecordId, ShardId)>,
    slots: HashMap<RecordId, u32>,
    /// By group identifier.
    groups: Vec<Group>,
    by_share: BTreeMap<Box<str>, usize>,
    matches: Matches,
}

struct Group {
    share: Box<str>,
    home: ShardId,
    members: Vec<(RecordId, SubscriptionOptions)>,
}

impl Receivers {
    fn read(txn: &WriteTransaction, meta: &Meta, homes: &Homes, hasher: &TopicHasher) -> Outcome<Self> {
        let mut receivers = Self {
            index: FilterIndex::new(meta.seed),
            sessions: Vec::new(),
            slots: HashMap::new(),
            groups: Vec::new(),
            by_share: BTreeMap::new(),
            matches: Matches::new(),
        };
        for row in txn.open_table(SESSIONS)?.iter()? {
            let (id, row) = row?;
            let unreadable = || Trouble::row(SESSIONS, id.value());
            let session = RecordId::from_u64(id.value()).ok_or_else(unreadable)?;
            let row = SessionRow::read(row.value(), hasher).ok_or_else(unreadable)?;
            receivers.slots.insert(session, receivers.sessions.len() as u32);
            receivers.sessions.push((session, homes.of_client(&row.client_id)));
        }
        for row in txn.open_table(SUBSCRIPTIONS)?.iter()? {
            let (key, row) = row?;
            let (session, filter) = key.value();
            let read = receivers.subscribe(session, filter, row.value(), homes);
            read.ok_or_else(|| Trouble::row(SUBSCRIPTIONS, key.value()))?;
        }
        Ok(receivers)
    }

    fn subscribe(&mut self, session: u64, text: &str, options: &[u8], homes: &Homes) -> Option<()> {
        let session = RecordId::from_u64(session)?;
        let slot = *self.slots.get(&session)?;
        let options = read_options_row(options)?;
        let SharedFilter { group, filter } = SharedFilter::new(text).ok()?;
        let Some(name) = group else {
            self.index.subscribe(filter, Subscriber::session(slot), options);
            return Some(());
        };
        let group = match self.by_share.get(text) {
            Some(&group) => group,
            None => {
                let group = self.groups.len();
                self.by_share.insert(text.into(), group);
                let home = homes.of_group(name, filter);
                self.groups.push(Group { share: text.into(), home, members: Vec::new() });
                self.index.subscribe(filter, Subscriber::group(GroupId(group as u32)), SubscriptionOptions::OF_GROUP);
                group
            }
        };
        self.groups[group].members.push((session, options));
        Some(())
    }

    /// Every copy that is due to who has not got it. [MQTT-3.3.4-1] [MQTT-3.8.4-8]
    fn of_topic(
        &mut self,
        id: RecordId,
        spooled: &Spooled,
        arrived: ShardSet,
        copies: &mut Vec<(RecordId, StoredCopy)>,
    ) {
        let Spooled { message, publisher, share: _ } = spooled;
        let header = message.header();
        let publisher = publisher.and_then(|publisher| self.slots.get(&publisher));
        let publisher = publisher.map(|&slot| Subscriber::session(slot));
        self.index.matches(message.topic(), header.topic_hash, publisher, &mut self.matches);
        for delivery in self.matches.deliveries() {
            match delivery.subscriber.kind() {
                SubscriberKind::Session(slot) => {
                    let (session, home) = self.sessions[slot as usize];
                    let qos = header.qos.min(delivery.qos);
                    if qos == QoS::AtMostOnce || arrived.contains(home) {
                        continue;
                    }
                    let copy = StoredCopy {
                        qos,
                        // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
                        retain: delivery.retain_as_published && header.retain,
                        subscription_ids: self.matches.subscription_ids(delivery).collect(),
                        share: None,
                    };
                    copies.push((session, copy));
                }
                // What becomes of it in a group is the matter of the group's home.
                SubscriberKind::Group(GroupId(group)) => {
                    let group = &self.groups[group as usize];
                    if !arrived.contains(group.home) {
                        copies.extend(group.pick(id, message));
                    }
                }
            }
        }
    }

    fn of_share(&self, share: &str, id: RecordId, message: &Message) -> Option<(RecordId, StoredCopy)> {
        self.groups[*self.by_share.get(share)?].pick(id, message)
    }
}

impl Group {
    /// One member gets it, each in its turn. [MQTT-4.8.2-3]
    fn pick(&self, id: RecordId, message: &Message) -> Option<(RecordId, StoredCopy)> {
        let header = message.header();
        let able = |&&(_, options): &&(RecordId, SubscriptionOptions)| header.qos.min(options.qos) != QoS::AtMostOnce;
        let members: Vec<_> = self.members.iter().filter(able).collect();
        let turn = usize::try_from(id.number()).unwrap_or(0).checked_rem(members.len())?;
        let &&(session, options) = members.get(turn)?;
        let subscription_ids: Box<[SubscriptionId]> = options.id.into_iter().collect();
        let copy = StoredCopy {
            qos: header.qos.min(options.qos),
            retain: options.retain_as_published && header.retain,
            // A copy of its own, with its own identifier. [MQTT-3.3.4-5]
            subscription_ids,
            share: Some(self.share.clone()),
        };
        Some((session, copy))
    }
}
