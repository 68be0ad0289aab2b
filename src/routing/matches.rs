//! One delivery per subscriber: what a topic's matching filters come to, merged in scratch that is used again.

use hashbrown::HashTable;

use crate::base::SubscriptionId;
use crate::mqtt::QoS;

use super::subscriber::{Subscriber, Subscription};
use super::subscriber_lists::{SubscriberLists, Subscribers};

/// Up to this many deliveries are searched one by one for an earlier one to the same subscriber.
const SEARCHED_MAX: usize = 8;

/// In place of an index into the identifiers beyond the first.
const NO_MORE: u32 = u32::MAX;

/// A message for a subscriber, once however many of its filters match. [MQTT-3.3.4-2]
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub subscriber: Subscriber,
    /// The highest of the matching subscriptions. [MQTT-3.3.4-2]
    pub qos: QoS,
    /// If any of the matching subscriptions asks for it.
    pub retain_as_published: bool,
    id: Option<SubscriptionId>,
    more_ids: u32,
}

/// Scratch for [`super::FilterIndex::matches`]: made once, used for every message.
#[derive(Debug)]
pub struct Matches {
    deliveries: Vec<Delivery>,
    /// Identifiers beyond a delivery's first, each with the index of the next.
    more_ids: Vec<(SubscriptionId, u32)>,
    /// The subscribers of each matching filter.
    found: Vec<Subscribers>,
    /// Where a subscriber is in `deliveries`, while there are too many to search.
    positions: HashTable<u32>,
    was_cut: bool,
}

impl Default for Matches {
    fn default() -> Self {
        Self::new()
    }
}

impl Matches {
    pub fn new() -> Self {
        Self {
            deliveries: Vec::new(),
            more_ids: Vec::new(),
            found: Vec::new(),
            positions: HashTable::new(),
            was_cut: false,
        }
    }

    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// The identifiers of all matching subscriptions that have one. [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    pub fn subscription_ids(&self, delivery: &Delivery) -> impl Iterator<Item = SubscriptionId> {
        let mut first = delivery.id;
        let mut at = delivery.more_ids;
        std::iter::from_fn(move || {
            first.take().or_else(|| {
                let &(id, next) = self.more_ids.get(at as usize)?;
                at = next;
                Some(id)
            })
        })
    }

    /// The topic meets more filters than a match looks at; some were left out.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    pub(super) fn clear(&mut self) {
        self.deliveries.clear();
        self.more_ids.clear();
        self.found.clear();
        self.was_cut = false;
    }

    #[inline]
    pub(super) fn add_filter(&mut self, subscribers: Subscribers) {
        self.found.push(subscribers);
    }

    pub(super) fn set_cut(&mut self) {
        self.was_cut = true;
    }

    /// Makes the deliveries. One filter holds a subscriber once, so only several filters need merging.
    pub(super) fn deliver(&mut self, lists: &SubscriberLists, publisher: Option<Subscriber>) {
        let found = std::mem::take(&mut self.found);
        match &found[..] {
            [] => {}
            [only] => {
                for subscription in lists.as_slice(only) {
                    if !is_local(subscription, publisher) {
                        self.deliveries.push(Delivery::new(subscription));
                    }
                }
            }
            several => self.merge(lists, several, publisher),
        }
        self.found = found;
    }

    /// The longest list goes last, so that its subscribers are looked up but need no place in the table: a filter
    /// with a million subscribers beside one with two costs a table of two.
    fn merge(&mut self, lists: &SubscriberLists, found: &[Subscribers], publisher: Option<Subscriber>) {
        let mut longest = (0, 0);
        let mut total = 0;
        for (index, subscribers) in found.iter().enumerate() {
            let len = lists.as_slice(subscribers).len();
            longest = longest.max((len, index));
            total += len;
        }
        let (longest_len, longest_at) = longest;
        let others = total - longest_len;
        if others > SEARCHED_MAX {
            self.prepare_positions(others);
        }
        let tabled = others > SEARCHED_MAX;
        for (index, subscribers) in found.iter().enumerate() {
            if index != longest_at {
                self.merge_list(lists.as_slice(subscribers), publisher, tabled, true);
            }
        }
        self.merge_list(lists.as_slice(&found[longest_at]), publisher, tabled, false);
    }

    fn merge_list(&mut self, list: &[Subscription], publisher: Option<Subscriber>, tabled: bool, more_follow: bool) {
        // A list has no subscriber twice, so only what came before it is looked through.
        let before = self.deliveries.len();
        for subscription in list {
            if is_local(subscription, publisher) {
                continue;
            }
            let who = subscription.who;
            let same = if tabled {
                let position = self.positions.find(who.hash(), |&at| self.deliveries[at as usize].subscriber == who);
                position.map(|&at| at as usize)
            } else {
                self.deliveries[..before].iter().position(|delivery| delivery.subscriber == who)
            };
            if let Some(at) = same {
                self.deliveries[at].add(subscription, &mut self.more_ids);
                continue;
            }
            if tabled && more_follow {
                let (at, deliveries) = (self.deliveries.len() as u32, &self.deliveries);
                let rehash = |&at: &u32| deliveries[at as usize].subscriber.hash();
                self.positions.insert_unique(who.hash(), at, rehash);
            }
            self.deliveries.push(Delivery::new(subscription));
        }
    }

    /// Clearing a table touches all of it, so one that a large match left behind is not kept for small ones.
    fn prepare_positions(&mut self, entries: usize) {
        if self.positions.capacity() < entries || self.positions.capacity() / 16 > entries {
            self.positions = HashTable::with_capacity(entries);
        } else {
            self.positions.clear();
        }
    }
}

/// A subscription with No Local does not get its own client's messages; the client's other subscriptions do.
/// [MQTT-3.8.3-3]
#[inline]
fn is_local(subscription: &Subscription, publisher: Option<Subscriber>) -> bool {
    subscription.options.no_local() && publisher == Some(subscription.who)
}

impl Delivery {
    #[inline]
    fn new(subscription: &Subscription) -> Self {
        Self {
            subscriber: subscription.who,
            qos: subscription.options.qos(),
            retain_as_published: subscription.options.retain_as_published(),
            id: subscription.options.id(),
            more_ids: NO_MORE,
        }
    }

    fn add(&mut self, subscription: &Subscription, more_ids: &mut Vec<(SubscriptionId, u32)>) {
        self.qos = self.qos.max(subscription.options.qos());
        self.retain_as_published |= subscription.options.retain_as_published();
        match (self.id, subscription.options.id()) {
            (_, None) => {}
            (None, id) => self.id = id,
            (Some(_), Some(id)) => {
                more_ids.push((id, self.more_ids));
                self.more_ids = more_ids.len() as u32 - 1;
            }
        }
    }
}

const _: () = assert!(size_of::<Delivery>() == 16);
