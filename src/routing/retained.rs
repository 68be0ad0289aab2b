//! Retained messages by topic, in order, so that a wildcard look-up is a scan in pages: it may pause after any of them
//! and go on after any change, even on another thread, because all it keeps is the last topic it looked at.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::mqtt::{TopicFilter, TopicName};

use super::retained_seek::{self, Verdict};

#[derive(Debug)]
pub struct RetainedIndex<V> {
    messages: BTreeMap<Box<str>, V>,
}

/// How far a look-up has come.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RetainedCursor {
    /// The last topic that was looked at.
    pub after: Option<Box<str>>,
    /// Nothing is left to visit.
    pub done: bool,
}

impl RetainedCursor {
    pub const fn new() -> Self {
        Self { after: None, done: false }
    }
}

impl<V> Default for RetainedIndex<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> RetainedIndex<V> {
    pub const fn new() -> Self {
        Self { messages: BTreeMap::new() }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the message that was retained before. [MQTT-3.3.1-5]
    pub fn put(&mut self, topic: TopicName<'_>, message: V) -> Option<V> {
        if let Some(old) = self.messages.get_mut(topic.as_str()) {
            return Some(std::mem::replace(old, message));
        }
        self.messages.insert(topic.as_str().into(), message)
    }

    pub fn remove(&mut self, topic: TopicName<'_>) -> Option<V> {
        self.messages.remove(topic.as_str())
    }

    pub fn get(&self, topic: TopicName<'_>) -> Option<&V> {
        self.messages.get(topic.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.messages.values()
    }

    /// Visits the next messages that match, in the order of their topics: `messages_max` at most, and looks at
    /// `steps_max` topics at most, so that a filter that matches little does not hold the shard. What is there from
    /// the first page to the last is visited exactly once, whatever changes in between.
    pub fn page(
        &self,
        filter: TopicFilter<'_>,
        cursor: &mut RetainedCursor,
        messages_max: usize,
        steps_max: usize,
        visit: impl FnMut(&str, &V),
    ) {
        if cursor.done || messages_max == 0 || steps_max == 0 {
            return;
        }
        if filter.has_wildcard() {
            self.page_of_wildcard(filter, cursor, messages_max, steps_max, visit);
        } else {
            let mut visit = visit;
            if let Some((topic, message)) = self.messages.get_key_value(filter.as_str()) {
                visit(topic, message);
            }
            cursor.done = true;
        }
    }

    fn page_of_wildcard(
        &self,
        filter: TopicFilter<'_>,
        cursor: &mut RetainedCursor,
        messages_max: usize,
        steps_max: usize,
        mut visit: impl FnMut(&str, &V),
    ) {
        let mut target = String::new();
        let mut range = if let Some(after) = &cursor.after {
            self.messages.range::<str, _>((Bound::Excluded(&**after), Bound::Unbounded))
        } else {
            retained_seek::start(filter, &mut target);
            self.from(&target)
        };
        let (mut visited, mut steps) = (0, 0);
        let mut next = range.next();
        while let Some((topic, message)) = next {
            steps += 1;
            match retained_seek::judge(filter, topic, &mut target) {
                Verdict::Match => {
                    visit(topic, message);
                    visited += 1;
                    next = range.next();
                }
                Verdict::Step => next = range.next(),
                Verdict::Seek => {
                    next = range.next();
                    // Mostly the target is next, and then the way down from the root is not needed.
                    if next.is_some_and(|(topic, _)| **topic < *target) {
                        range = self.from(&target);
                        next = range.next();
                    }
                }
                Verdict::End => next = None,
            }
            if next.is_some() && (visited == messages_max || steps == steps_max) {
                cursor.after = Some(topic.clone());
                return;
            }
        }
        cursor.done = true;
    }

    fn from(&self, target: &str) -> std::collections::btree_map::Range<'_, Box<str>, V> {
        self.messages.range::<str, _>((Bound::Included(target), Bound::Unbounded))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn topic(text: &str) -> TopicName<'_> {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn a_scan_seeks_past_what_cannot_match() {
        let mut index = RetainedIndex::new();
        for site in 0..100 {
            for sensor in 0..100 {
                index.put(topic(&format!("site/{site}/{sensor:03}")), ());
            }
            index.put(topic(&format!("site/{site}/temp")), ());
        }
        let mut cursor = RetainedCursor::new();
        let mut visited = 0;
        // Each site costs its first sensor, its match, and seldom more; not all of its sensors.
        index.page(filter("site/+/temp"), &mut cursor, 1000, 300, |_, ()| visited += 1);
        assert!(cursor.done && visited == 100);
    }

    #[test]
    fn an_exact_filter_is_one_look_up() {
        let mut index = RetainedIndex::new();
        assert_eq!(index.put(topic("a/b"), 1), None);
        assert_eq!(index.put(topic("a/b"), 2), Some(1));
        let mut cursor = RetainedCursor::new();
        let mut seen = Vec::new();
        index.page(filter("a/b"), &mut cursor, 1, 1, |topic, value| seen.push((topic.to_owned(), *value)));
        assert!(cursor.done && seen == [("a/b".to_owned(), 2)]);
        assert_eq!((index.get(topic("a/b")), index.len()), (Some(&2), 1));
        assert_eq!((index.remove(topic("a/b")), index.len()), (Some(2), 0));
    }

    fn level() -> impl Strategy<Value = &'static str> {
        // `!` and ` ` come before the separator, `0` right after it; `$` and `%` are neighbours.
        prop::sample::select(vec!["", "a", "b", "a!", "a!b", "a0", "ab", " ", "$a", "%"])
    }

    fn topic_text() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic is not empty", |topic| !topic.is_empty())
    }

    fn filter_text() -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(prop_oneof![4 => level(), 3 => Just("+")], 0..5);
        (levels, any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash || levels.is_empty() || levels == [""] {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_is_there_throughout_is_visited_exactly_once(
            topics in prop::collection::btree_set(topic_text(), 0..60),
            changes in prop::collection::vec(prop::collection::vec((topic_text(), any::<bool>()), 0..4), 0..20),
            wanted in filter_text(),
            messages_max in 1usize..5,
            steps_max in 1usize..6,
        ) {
            let mut index = RetainedIndex::new();
            for text in &topics {
                index.put(topic(text), ());
            }
            let (mut throughout, mut ever) = (topics.clone(), topics);
            let mut seen: Vec<String> = Vec::new();
            let mut cursor = RetainedCursor::new();
            let mut changes = changes.into_iter();
            for _ in 0..1000 {
                let before = seen.len();
                index.page(filter(&wanted), &mut cursor, messages_max, steps_max, |topic, ()| seen.push(topic.to_owned()));
                prop_assert!(seen.len() - before <= messages_max);
                if cursor.done {
                    break;
                }
                for (text, put) in changes.next().unwrap_or_default() {
                    if put {
                        index.put(topic(&text), ());
                        ever.insert(text);
                    } else {
                        index.remove(topic(&text));
                        throughout.remove(&text);
                    }
                }
            }
            prop_assert!(cursor.done);
            prop_assert!(seen.is_sorted());
            let visited: BTreeSet<String> = seen.iter().cloned().collect();
            prop_assert_eq!(visited.len(), seen.len(), "one was visited twice");
            let matching = |topics: &BTreeSet<String>| -> BTreeSet<String> {
                topics.iter().filter(|text| filter(&wanted).matches(topic(text))).cloned().collect()
            };
            prop_assert!(matching(&throughout).is_subset(&visited), "{} {:?} {:?}", wanted, throughout, visited);
            prop_assert!(visited.is_subset(&matching(&ever)));
        }
    }
}
