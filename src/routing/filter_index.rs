//! Who receives a topic on this shard: subscribers by filter, exact filters in a hash table, wildcards in a trie.

use crate::mqtt::{TopicFilter, TopicName};

use super::exact::ExactFilters;
use super::hash::TopicHash;
use super::matches::Matches;
use super::subscriber::{PackedOptions, Subscriber, Subscription, SubscriptionOptions};
use super::subscriber_lists::{SubscriberLists, Subscribers};
use super::trie::{PathId, Trie};

/// A filter that has subscribers. Stable while it has; then it may come to mean another filter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FilterId(u32);

const WILDCARD_BIT: u32 = 1 << 31;

/// Which table a [`FilterId`] points into.
enum Place {
    Exact(u32),
    Wildcard(PathId),
}

impl FilterId {
    fn exact(entry: u32) -> Self {
        Self(entry)
    }

    fn wildcard(path: PathId) -> Self {
        Self(path.bits() | WILDCARD_BIT)
    }

    fn place(self) -> Place {
        if self.0 & WILDCARD_BIT == 0 {
            Place::Exact(self.0)
        } else {
            Place::Wildcard(PathId::from_bits(self.0 & !WILDCARD_BIT))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribed {
    pub filter: FilterId,
    /// The filter had no subscriber before.
    pub first: bool,
    /// The options of the subscription that this one took the place of. [MQTT-3.8.4-3]
    pub replaced: Option<SubscriptionOptions>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribed {
    /// What the subscription was; `None` if there was none.
    pub options: Option<SubscriptionOptions>,
    /// That was the filter's last subscriber.
    pub last: bool,
}

#[derive(Debug)]
pub struct FilterIndex {
    exact: ExactFilters,
    wildcard: Trie<Subscribers>,
    wildcards_len: usize,
    lists: SubscriberLists,
}

impl FilterIndex {
    pub fn new(seed: u64) -> Self {
        Self {
            exact: ExactFilters::new(seed),
            wildcard: Trie::new(seed),
            wildcards_len: 0,
            lists: SubscriberLists::new(),
        }
    }

    pub fn filters_len(&self) -> usize {
        self.exact.len() + self.wildcards_len
    }

    pub fn subscriptions_len(&self) -> usize {
        self.lists.subscriptions_len()
    }

    pub fn subscribe(&mut self, filter: TopicFilter<'_>, who: Subscriber, options: SubscriptionOptions) -> Subscribed {
        let id = if filter.has_wildcard() {
            FilterId::wildcard(self.wildcard.insert(filter))
        } else {
            FilterId::exact(self.exact.insert(filter.as_str()))
        };
        let subscribers = match id.place() {
            Place::Exact(entry) => self.exact.get_mut(entry),
            Place::Wildcard(path) => self.wildcard.get_mut(path),
        };
        let subscribers = subscribers.expect("a filter is there once inserted");
        let first = subscribers.is_nobody();
        if first && filter.has_wildcard() {
            self.wildcards_len += 1;
        }
        let replaced = self.lists.add(subscribers, Subscription { who, options: PackedOptions::new(options) });
        Subscribed { filter: id, first, replaced: replaced.map(PackedOptions::unpack) }
    }

    pub fn find(&self, filter: TopicFilter<'_>) -> Option<FilterId> {
        let id = if filter.has_wildcard() {
            FilterId::wildcard(self.wildcard.find(filter)?)
        } else {
            FilterId::exact(self.exact.find(filter.as_str())?)
        };
        self.subscribers(id).map(|_| id)
    }

    fn subscribers(&self, id: FilterId) -> Option<&Subscribers> {
        let subscribers = match id.place() {
            Place::Exact(entry) => self.exact.get(entry)?,
            Place::Wildcard(path) => self.wildcard.get(path)?,
        };
        (!subscribers.is_nobody()).then_some(subscribers)
    }

    pub fn unsubscribe(&mut self, filter: FilterId, who: Subscriber) -> Unsubscribed {
        let none = Unsubscribed { options: None, last: false };
        let subscribers = match filter.place() {
            Place::Exact(entry) => self.exact.get_mut(entry),
            Place::Wildcard(path) => self.wildcard.get_mut(path),
        };
        let Some(subscribers) = subscribers else { return none };
        let Some(options) = self.lists.remove(subscribers, who) else { return none };
        let last = subscribers.is_nobody();
        if last {
            match filter.place() {
                Place::Exact(entry) => self.exact.remove(entry),
                Place::Wildcard(path) => {
                    self.wildcards_len -= 1;
                    self.wildcard.prune(path);
                }
            }
        }
        Unsubscribed { options: Some(options.unpack()), last }
    }

    pub fn options(&self, filter: FilterId, who: Subscriber) -> Option<SubscriptionOptions> {
        let subscribers = self.subscribers(filter)?;
        self.lists.options(*subscribers, who).map(PackedOptions::unpack)
    }

    /// Appends the filter's text; nothing if the filter has no subscriber.
    pub fn write_text(&self, filter: FilterId, out: &mut String) {
        if self.subscribers(filter).is_none() {
            return;
        }
        match filter.place() {
            Place::Exact(entry) => out.push_str(self.exact.text(entry).unwrap_or_default()),
            Place::Wildcard(path) => self.wildcard.write_text(path, out),
        }
    }

    pub fn hash(&self, topic: TopicName<'_>) -> TopicHash {
        self.exact.hash(topic.as_str())
    }

    /// Who receives `topic`, whose hash is of this index's seed. `publisher` is the one whose No Local subscriptions are left out, if it lives on this
    /// shard. Allocates only while `out` grows to what the largest match needs.
    pub fn matches(&self, topic: TopicName<'_>, hash: TopicHash, publisher: Option<Subscriber>, out: &mut Matches) {
        out.clear();
        if let Some(subscribers) = self.exact.find_hashed(hash, topic.as_str()).and_then(|entry| self.exact.get(entry))
        {
            out.add_filter(*subscribers);
        }
        if !self.wildcard.walk(topic, |subscribers| out.add_filter(*subscribers)) {
            out.set_cut();
        }
        out.deliver(&self.lists, publisher);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::base::SubscriptionId;
    use crate::routing::SubscriberKind;

    use super::*;
    use crate::mqtt::QoS;

    const PLAIN: SubscriptionOptions =
        SubscriptionOptions { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, id: None };

    fn options(qos: u8, id: u32) -> SubscriptionOptions {
        SubscriptionOptions { qos: QoS::from_u8(qos).unwrap(), id: SubscriptionId::new(id), ..PLAIN }
    }

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    /// Subscriber to (QoS, retain as published, identifiers).
    type Outcome = BTreeMap<Subscriber, (u8, bool, Vec<u32>)>;

    fn outcome(index: &FilterIndex, topic: &str, publisher: Option<Subscriber>, scratch: &mut Matches) -> Outcome {
        let topic = TopicName::new(topic).unwrap();
        index.matches(topic, index.hash(topic), publisher, scratch);
        assert!(!scratch.was_cut());
        let mut outcome = Outcome::new();
        for delivery in scratch.deliveries() {
            let mut ids: Vec<u32> = scratch.subscription_ids(delivery).map(SubscriptionId::get).collect();
            ids.sort_unstable();
            let merged = (delivery.qos as u8, delivery.retain_as_published, ids);
            assert!(outcome.insert(delivery.subscriber, merged).is_none(), "two deliveries to one subscriber");
        }
        outcome
    }

    #[test]
    fn overlapping_subscriptions_are_one_delivery_with_the_highest_qos_and_all_identifiers() {
        // [MQTT-3.3.4-2] [MQTT-3.3.4-4]
        let mut index = FilterIndex::new(1);
        let (one, other) = (Subscriber::session(1), Subscriber::session(2));
        index.subscribe(filter("a/b"), one, options(0, 3));
        index.subscribe(filter("a/+"), one, options(2, 5));
        index.subscribe(filter("#"), one, SubscriptionOptions { retain_as_published: true, ..options(1, 7) });
        index.subscribe(filter("a/+"), other, PLAIN);
        let outcome = outcome(&index, "a/b", None, &mut Matches::new());
        assert_eq!(outcome, Outcome::from([(one, (2, true, vec![3, 5, 7])), (other, (0, false, vec![]))]));
    }

    #[test]
    fn no_local_leaves_out_one_subscription_and_not_the_client() {
        // [MQTT-3.8.3-3]
        let mut index = FilterIndex::new(1);
        let (one, other) = (Subscriber::session(1), Subscriber::session(2));
        index.subscribe(filter("a/+"), one, SubscriptionOptions { no_local: true, ..options(2, 5) });
        index.subscribe(filter("a/+"), other, SubscriptionOptions { no_local: true, ..options(1, 6) });
        let mut scratch = Matches::new();
        let others = Outcome::from([(other, (1, false, vec![6]))]);
        assert_eq!(outcome(&index, "a/b", Some(one), &mut scratch), others);
        index.subscribe(filter("a/b"), one, options(0, 3));
        assert_eq!(outcome(&index, "a/b", Some(one), &mut scratch)[&one], (0, false, vec![3]));
        assert_eq!(outcome(&index, "a/b", None, &mut scratch)[&one], (2, false, vec![3, 5]));
    }

    #[test]
    fn a_second_subscription_to_a_filter_replaces_the_first() {
        // [MQTT-3.8.4-3]
        let mut index = FilterIndex::new(1);
        let who = Subscriber::session(1);
        for text in ["a/b", "a/+"] {
            let first = index.subscribe(filter(text), who, options(1, 1));
            assert!(first.first && first.replaced.is_none());
            let second = index.subscribe(filter(text), who, options(2, 2));
            assert_eq!((second.filter, second.first, second.replaced), (first.filter, false, Some(options(1, 1))));
            assert_eq!(index.options(second.filter, who), Some(options(2, 2)));
            let gone = index.unsubscribe(second.filter, who);
            assert_eq!(gone, Unsubscribed { options: Some(options(2, 2)), last: true });
            assert_eq!(index.unsubscribe(second.filter, who), Unsubscribed { options: None, last: false });
        }
        assert_eq!((index.filters_len(), index.subscriptions_len()), (0, 0));
    }

    #[test]
    fn large_overlapping_lists_are_merged() {
        let mut index = FilterIndex::new(1);
        for slot in 0..1000 {
            index.subscribe(filter("a/b"), Subscriber::session(slot), options(0, 1));
            index.subscribe(filter("a/+"), Subscriber::session(slot + 500), options(1, 2));
            if slot < 3 {
                index.subscribe(filter("a/#"), Subscriber::session(slot * 700), options(2, 3));
            }
        }
        let outcome = outcome(&index, "a/b", None, &mut Matches::new());
        assert_eq!(outcome.len(), 1500);
        for (who, (qos, _, ids)) in outcome {
            let SubscriberKind::Session(slot) = who.kind() else { unreachable!() };
            let mut wanted = vec![];
            wanted.extend((slot < 1000).then_some(1));
            wanted.extend((slot >= 500).then_some(2));
            wanted.extend((slot % 700 == 0 && slot < 2100).then_some(3));
            assert_eq!((u32::from(qos) + 1, &ids), (*wanted.last().unwrap(), &wanted));
        }
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "a", "b", "$a"])
    }

    fn filter_text() -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(prop_oneof![4 => level(), 2 => Just("+")], 0..4);
        (levels, prop::bool::weighted(0.3)).prop_map(|(mut levels, hash)| {
            if hash || levels.is_empty() || levels == [""] {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    fn topic_text() -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
        levels.prop_filter("a topic is not empty", |topic| !topic.is_empty())
    }

    /// A filter, a session slot, whether to subscribe, and the options' QoS, identifier and flags.
    type Change = (String, u32, bool, (u8, u32, bool, bool));

    fn change() -> impl Strategy<Value = Change> {
        let slots = prop_oneof![0u32..6, 0u32..60];
        (filter_text(), slots, prop::bool::weighted(0.7), (0u8..3, 0u32..4, any::<bool>(), any::<bool>()))
    }

    type Model = BTreeMap<(String, u32), SubscriptionOptions>;

    fn expected(model: &Model, topic: &str, publisher: Option<Subscriber>) -> Outcome {
        let mut outcome = Outcome::new();
        for ((text, slot), options) in model {
            let who = Subscriber::session(*slot);
            let local = options.no_local && publisher == Some(who);
            if local || !filter(text).matches(TopicName::new(topic).unwrap()) {
                continue;
            }
            let (qos, retain, ids) = outcome.entry(who).or_insert((0, false, Vec::new()));
            *qos = (options.qos as u8).max(*qos);
            *retain |= options.retain_as_published;
            ids.extend(options.id.map(SubscriptionId::get));
            ids.sort_unstable();
        }
        outcome
    }

    proptest! {
        #[test]
        fn the_index_delivers_what_the_definition_of_a_match_says(
            changes in prop::collection::vec(change(), 0..300),
            topics in prop::collection::vec(topic_text(), 1..10),
        ) {
            let mut index = FilterIndex::new(3);
            let mut model = Model::new();
            let mut scratch = Matches::new();
            for (text, slot, subscribe, (qos, id, no_local, retain_as_published)) in changes {
                let who = Subscriber::session(slot);
                let first = !model.keys().any(|(other, _)| *other == text);
                if subscribe {
                    let qos = QoS::from_u8(qos).unwrap();
                    let options = SubscriptionOptions { qos, no_local, retain_as_published, id: SubscriptionId::new(id) };
                    let done = index.subscribe(filter(&text), who, options);
                    prop_assert_eq!((done.first, done.replaced), (first, model.insert((text, slot), options)));
                } else if let Some(found) = index.find(filter(&text)) {
                    let mut written = String::new();
                    index.write_text(found, &mut written);
                    prop_assert_eq!(&written, &text);
                    let options = model.remove(&(text.clone(), slot));
                    prop_assert_eq!(index.options(found, who), options);
                    let last = !model.keys().any(|(other, _)| *other == text);
                    prop_assert_eq!(index.unsubscribe(found, who), Unsubscribed { options, last });
                } else {
                    prop_assert!(first);
                }
                prop_assert_eq!(index.subscriptions_len(), model.len());
            }
            for topic in &topics {
                for publisher in [None, Some(Subscriber::session(0))] {
                    let found = outcome(&index, topic, publisher, &mut scratch);
                    prop_assert_eq!(found, expected(&model, topic, publisher), "{}", topic);
                }
            }
            for (text, slot) in model.into_keys() {
                let found = index.find(filter(&text)).unwrap();
                prop_assert!(index.unsubscribe(found, Subscriber::session(slot)).options.is_some());
            }
            prop_assert_eq!((index.filters_len(), index.subscriptions_len()), (0, 0));
            prop_assert!(index.wildcard.is_empty() && index.lists.lists_len() == 0);
        }
    }
}
