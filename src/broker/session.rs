//! A session as its home shard keeps it, and the table of them: by slot, and by client identifier.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashTable;
use slab::Slab;
use triomphe::ThinArc;

use super::homes::Homes;
use super::message::Message;
use super::retained::{LiveTopics, Replay};
use super::timers::TimerId;
use crate::access::Identity;
use crate::base::limits::REPLAYS_APART_MAX;
use crate::base::{ConnId, RecordId, SessionRef, ShardId, SubscriptionId, Timestamp};
use crate::mqtt::{QoS, SharedFilter, TopicFilter};
use crate::routing::{FilterId, GroupRef};
use crate::session::{Inbound, Outbound, Queue, QueueItem, SessionExpiry, WillState};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: Box<str>,
    /// Who came with it last, also while he is away; after a start his name and mount point only.
    pub(super) identity: Identity,
    pub(super) outbound: Outbound<Outgoing>,
    pub(super) inbound: Inbound,
    pub(super) queue: Queue<Outgoing>,
    pub(super) will: WillState<WillMessage>,
    pub(super) subscriptions: Vec<FilterId>,
    /// What few sessions have.
    pub(super) rare: Option<Box<Rare>>,
    /// What the store knows it by, where it survives a restart; from its start to its end.
    pub(super) stored: Option<RecordId>,
    /// Where the client is; none while it is away.
    pub(super) conn: Option<ConnId>,
    pub(super) expiry: SessionExpiry,
    /// While the client is away: for the will or the end of the session, whichever is first.
    pub(super) timer: Option<TimerId>,
    /// Among the sessions whose messages may leave memory.
    pub(super) is_listed: bool,
    /// A page of its queue was asked for.
    pub(super) is_loading: bool,
    /// Tells this session from a later one in the slot.
    pub(super) generation: u32,
    /// Counts connections, so that what belongs to an earlier one can be told.
    pub(super) connection: u32,
    /// When the session ends while its client is away.
    pub(super) ends_at: Timestamp,
    /// By which rules its subscriptions may bring all that they match; zero: by none.
    pub(super) free_by: u32,
    /// A start took it up, and its client did not come back yet.
    pub(super) is_absent_since_start: bool,
    /// It is its identity's, and nobody else's.
    pub(super) has_owner: bool,
}

/// A will, whose life as a message begins when it is published.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct WillMessage {
    pub(super) message: Message,
    pub(super) expiry_secs: Option<u32>,
}

/// Shared subscriptions and replays of retained messages.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) shares: Vec<Membership>,
    /// By their identifiers, the lowest first.
    pub(super) replays: VecDeque<Replay>,
    pub(super) live_topics: LiveTopics,
    merge_above: usize,
}

impl Rare {
    /// Each subscription has its replay. Where they become many, a later one's takes the place of those of the same
    /// filter before it, since it sends all that they have not sent yet. So there are never many more than subscriptions.
    pub(super) fn begin_replays(&mut self, replays: Vec<Replay>) {
        self.replays.extend(replays);
        if self.replays.len() <= self.merge_above.max(REPLAYS_APART_MAX) {
            return;
        }
        let mut seen = BTreeSet::new();
        let mut latest: VecDeque<Replay> = VecDeque::new();
        while let Some(replay) = self.replays.pop_back() {
            if seen.insert(replay.filter().as_str().to_owned()) {
                latest.push_front(replay);
            }
        }
        self.replays = latest;
        // Doubling, so that merging costs each SUBSCRIBE a few steps, however many there are.
        self.merge_above = self.replays.len() * 2;
    }

    pub(super) fn end_front_replay(&mut self) {
        self.replays.pop_front();
        self.forget_live_topics();
    }

    pub(super) fn end_replays_of(&mut self, filter: TopicFilter<'_>) {
        self.replays.retain(|replay| replay.filter() != filter);
        self.forget_live_topics();
    }

    fn forget_live_topics(&mut self) {
        match self.replays.front() {
            Some(oldest) => self.live_topics.keep_from(oldest.id),
            None => self.live_topics.clear(),
        }
    }

    fn is_empty(&self) -> bool {
        self.shares.is_empty() && self.replays.is_empty()
    }
}

/// A shared subscription, known in full at the group's home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Membership {
    pub(super) group: Box<str>,
    pub(super) filter: Box<str>,
    pub(super) home: ShardId,
    pub(super) reference: GroupRef,
}

impl Membership {
    /// As it stood in SUBSCRIBE.
    pub(super) fn text(&self) -> Box<str> {
        SharedFilter { group: Some(&self.group), filter: TopicFilter::trusted(&self.filter) }.text()
    }

    /// Whether this is the subscription by which a shared group chose the session.
    pub(super) fn is_of(&self, via: Via) -> bool {
        self.home == via.home && self.reference == via.group
    }
}

/// Subscription Identifiers of one delivery: mostly none or one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ids {
    None,
    One([SubscriptionId; 1]),
    Many(ThinArc<(), SubscriptionId>),
}

impl Ids {
    pub(super) fn of(ids: &[SubscriptionId]) -> Self {
        match *ids {
            [] => Self::None,
            [id] => Self::One([id]),
            ref ids => Self::Many(ThinArc::from_header_and_slice((), ids)),
        }
    }

    pub(super) fn as_slice(&self) -> &[SubscriptionId] {
        match self {
            Self::None => &[],
            Self::One(id) => id,
            Self::Many(ids) => &ids.slice,
        }
    }
}

/// The shared group that chose a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Via {
    pub(super) home: ShardId,
    pub(super) group: GroupRef,
}

/// A message that waits for, or is in flight to, one session.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) message: Message,
    pub(super) ids: Ids,
    pub(super) via: Option<Via>,
    /// What the store knows it by, where the session is stored.
    pub(super) item: Option<RecordId>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

impl QueueItem for Outgoing {
    fn key_hash(&self) -> u64 {
        self.message.key_hash()
    }

    fn same_key(&self, other: &Self) -> bool {
        self.message.same_key(&other.message)
    }

    fn bytes(&self) -> usize {
        self.message.held_bytes() + size_of::<Self>()
    }
}

impl Session {
    /// Whether this client may have it.
    pub(super) fn is_of(&self, who: &Identity) -> bool {
        !self.has_owner || self.identity.user() == who.user() && self.identity.mount() == who.mount()
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn shares(&self) -> &[Membership] {
        self.rare.as_ref().map_or(&[], |rare| &rare.shares)
    }

    pub(super) fn is_member(&self, via: Via) -> bool {
        self.shares().iter().any(|share| share.is_of(via))
    }

    /// The subscription by which a shared group chose this session.
    pub(super) fn share_text(&self, via: Via) -> Option<Box<str>> {
        self.shares().iter().find(|share| share.is_of(via)).map(Membership::text)
    }

    pub(super) fn subscriptions_len(&self) -> usize {
        self.subscriptions.len() + self.shares().len()
    }

    /// Gives back what is only there for bursts.
    pub(super) fn shrink(&mut self) {
        self.outbound.shrink();
        self.inbound.shrink();
        self.queue.shrink();
        self.subscriptions.shrink_to_fit();
        self.shrink_rare();
    }

    pub(super) fn shrink_rare(&mut self) {
        self.rare.take_if(|rare| rare.is_empty());
    }
}

/// All sessions whose home is this shard.
#[derive(Debug)]
pub(super) struct Sessions {
    me: ShardId,
    slots: Slab<Session>,
    by_client: HashTable<u32>,
    homes: Homes,
    generation: u32,
    connected: usize,
}

impl Sessions {
    pub(super) fn new(me: ShardId, homes: Homes) -> Self {
        Self { me, slots: Slab::new(), by_client: HashTable::new(), homes, generation: 0, connected: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Those whose client is there.
    pub(super) fn connected_len(&self) -> usize {
        self.connected
    }

    pub(super) fn attach(&mut self, slot: u32, conn: ConnId) -> &mut Session {
        let session = &mut self.slots[slot as usize];
        self.connected += usize::from(session.conn.replace(conn).is_none());
        session
    }

    pub(super) fn detach(&mut self, slot: u32) -> &mut Session {
        let session = &mut self.slots[slot as usize];
        self.connected -= usize::from(session.conn.take().is_some());
        session
    }

    pub(super) fn client_hash(&self, client_id: &str) -> u64 {
        self.homes.client_hash(client_id)
    }

    pub(super) fn find(&self, client_id: &str) -> Option<u32> {
        let same = |&slot: &u32| *self.slots[slot as usize].client_id == *client_id;
        self.by_client.find(self.client_hash(client_id), same).copied()
    }

    pub(super) fn insert(&mut self, client_id: &str, identity: Identity, expiry: SessionExpiry, free_by: u32) -> u32 {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact((self.slots.len() / 8).max(16));
        }
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slots.insert(Session {
            client_id: client_id.into(),
            identity,
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            queue: Queue::default(),
            will: WillState::default(),
            subscriptions: Vec::new(),
            rare: None,
            stored: None,
            conn: None,
            expiry,
            timer: None,
            is_listed: false,
            is_loading: false,
            generation: self.generation,
            connection: 0,
            ends_at: Timestamp::NEVER,
            free_by,
            is_absent_since_start: false,
            has_owner: true,
        }) as u32;
        let hash = self.client_hash(client_id);
        let (slots, homes) = (&self.slots, &self.homes);
        self.by_client.insert_unique(hash, slot, |&slot| homes.client_hash(&slots[slot as usize].client_id));
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> Session {
        let hash = self.client_hash(&self.slots[slot as usize].client_id);
        if let Ok(entry) = self.by_client.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        let session = self.slots.remove(slot as usize);
        debug_assert!(session.conn.is_none(), "a session ends after its connection");
        session
    }

    pub(super) fn reference(&self, slot: u32) -> SessionRef {
        SessionRef { shard: self.me, slot, generation: self.slots[slot as usize].generation }
    }

    /// The session, if it is still the one that was meant.
    pub(super) fn resolve(&self, session: SessionRef) -> Option<u32> {
        let found = self.slots.get(session.slot as usize)?;
        (session.shard == self.me && found.generation == session.generation).then_some(session.slot)
    }

    pub(super) fn has(&self, slot: u32) -> bool {
        self.slots.contains(slot as usize)
    }

    /// No session has a slot so high.
    pub(super) fn slots_end(&self) -> usize {
        self.slots.capacity()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.slots.iter().map(|(slot, session)| (slot as u32, session))
    }
}

impl std::ops::Index<u32> for Sessions {
    type Output = Session;

    #[inline]
    fn index(&self, slot: u32) -> &Session {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Sessions {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Session {
        &mut self.slots[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million sessions pay for every byte: growth is a decision, not an accident.
    #[test]
    fn a_session_and_its_connection_stay_small() {
        assert!(size_of::<Session>() <= 160, "Session: {} bytes", size_of::<Session>());
        let connection = size_of::<super::super::connection::Connection>();
        assert!(connection <= 104, "Connection: {connection} bytes");
        assert!(size_of::<Outgoing>() <= 56, "Outgoing: {} bytes", size_of::<Outgoing>());
    }
}
