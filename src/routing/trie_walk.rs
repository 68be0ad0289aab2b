//! Which filters of a trie match a topic: a walk without recursion and without allocation, over a bounded number of
//! nodes.

use std::fmt::Debug;

use crate::base::limits::{MATCH_NODES_MAX, TOPIC_LEVELS_MAX};
use crate::mqtt::TopicName;

use super::trie::{NO_NODE, Node, ROOT, Trie};

/// A node still to be visited, and where the levels below it begin in the topic; past the end if there are none.
#[derive(Clone, Copy)]
struct Step {
    node: u32,
    rest_at: u32,
}

/// How far a leaf's tail goes in the rest of a topic.
enum Reach {
    Whole,
    /// The topic goes on, which only `#` matches.
    Part,
    No,
}

impl<T: Copy + Default + PartialEq + Debug> Trie<T> {
    /// Calls `found` with the value of each filter that matches. `false` if the walk was cut: the topic meets more
    /// than [`MATCH_NODES_MAX`] nodes.
    #[inline]
    pub(super) fn walk(&self, topic: TopicName<'_>, mut found: impl FnMut(&T)) -> bool {
        if self.is_empty() {
            return true;
        }
        let text = topic.as_str().as_bytes();
        // Each level leaves at most one sibling behind.
        let mut pending = [Step { node: NO_NODE, rest_at: 0 }; TOPIC_LEVELS_MAX + 2];
        let mut pending_len = 0;
        let mut step = Step { node: ROOT, rest_at: 0 };
        let mut wildcards = !topic.is_dollar();
        for _ in 0..MATCH_NODES_MAX {
            let node = &self.nodes[step.node];
            let mut next = None;
            if let Some(tail) = node.tail() {
                visit_leaf(node, tail, text.get(step.rest_at as usize..), &mut found);
            } else if let Some(rest) = text.get(step.rest_at as usize..) {
                if wildcards {
                    emit(&node.hash, &mut found);
                }
                let level = &rest[..rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())];
                let rest_at = step.rest_at + level.len() as u32 + 1;
                if node.literals > 0 {
                    next = self.literal_child(step.node, level).map(|node| Step { node, rest_at });
                }
                if node.plus != NO_NODE && wildcards {
                    let plus = Step { node: node.plus, rest_at };
                    if next.is_none() {
                        next = Some(plus);
                    } else if pending_len < pending.len() {
                        pending[pending_len] = plus;
                        pending_len += 1;
                    } else {
                        return false;
                    }
                }
            } else {
                // The topic ends here; `a/#` matches `a` as well.
                emit(&node.own, &mut found);
                emit(&node.hash, &mut found);
            }
            // Only the first level of a topic that starts with `$` is closed to wildcards. [MQTT-4.7.2-1]
            wildcards = true;
            step = match next {
                Some(next) => next,
                None if pending_len == 0 => return true,
                None => {
                    pending_len -= 1;
                    pending[pending_len]
                }
            };
        }
        false
    }
}

#[inline]
fn emit<T: Default + PartialEq>(value: &T, found: &mut impl FnMut(&T)) {
    if *value != T::default() {
        found(value);
    }
}

#[inline]
fn visit_leaf<T: Default + PartialEq>(node: &Node<T>, tail: &[u8], rest: Option<&[u8]>, found: &mut impl FnMut(&T)) {
    let Some(rest) = rest else { return };
    match reach(tail, rest) {
        Reach::Whole => {
            emit(&node.own, found);
            emit(&node.hash, found);
        }
        Reach::Part => emit(&node.hash, found),
        Reach::No => {}
    }
}

/// Byte by byte: a `+` stands alone in its level, so it is never part of a longer one.
fn reach(tail: &[u8], topic: &[u8]) -> Reach {
    let mut at = 0;
    for &wanted in tail {
        if wanted == b'+' {
            at += topic[at..].iter().position(|&byte| byte == b'/').unwrap_or(topic.len() - at);
        } else if topic.get(at) == Some(&wanted) {
            at += 1;
        } else {
            return Reach::No;
        }
    }
    match topic.get(at) {
        None => Reach::Whole,
        Some(b'/') => Reach::Part,
        Some(_) => Reach::No,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::mqtt::TopicFilter;

    use super::*;

    fn trie_of<'a>(filters: impl IntoIterator<Item = &'a str>) -> Trie<u64> {
        let mut trie = Trie::new(1);
        for (value, filter) in (1..).zip(filters) {
            let id = trie.insert(TopicFilter::new(filter).unwrap());
            *trie.get_mut(id).unwrap() = value;
        }
        trie
    }

    fn matches(trie: &Trie<u64>, topic: &str) -> (Vec<u64>, bool) {
        let mut values = Vec::new();
        let whole = trie.walk(TopicName::new(topic).unwrap(), |&value| values.push(value));
        values.sort_unstable();
        (values, whole)
    }

    #[test]
    fn wildcards_at_the_first_level_do_not_match_dollar_topics() {
        // [MQTT-4.7.2-1]
        let trie = trie_of(["#", "+/x", "$SYS/#", "$SYS/+", "+/+"]);
        assert_eq!(matches(&trie, "$SYS/x").0, [3, 4]);
        assert_eq!(matches(&trie, "$SYS").0, [3]);
        assert_eq!(matches(&trie, "SYS/x").0, [1, 2, 5]);
    }

    #[test]
    fn a_walk_that_meets_too_many_nodes_is_cut() {
        // Every combination of `a` and `+` over 17 levels: the topic meets all of them.
        let levels = 17;
        let filters: Vec<String> = (1..1u32 << levels)
            .map(|word| {
                (0..levels).map(|bit| if word >> bit & 1 == 0 { "a" } else { "+" }).collect::<Vec<_>>().join("/")
            })
            .collect();
        let trie = trie_of(filters.iter().map(String::as_str));
        let (values, whole) = matches(&trie, &vec!["a"; levels].join("/"));
        assert!(!whole && !values.is_empty() && values.len() < MATCH_NODES_MAX);
        assert!(matches(&trie, &vec!["b"; levels].join("/")).1);
    }

    #[test]
    fn a_topic_deeper_than_the_callers_bound_only_cuts_the_walk() {
        let levels = TOPIC_LEVELS_MAX * 3;
        let mut filters = Vec::new();
        for depth in 1..levels {
            filters.push(format!("{}/+", vec!["a"; depth].join("/")));
            filters.push(format!("{}/b/+", vec!["a"; depth].join("/")));
        }
        let trie = trie_of(filters.iter().map(String::as_str));
        assert!(!matches(&trie, &vec!["a"; levels].join("/")).1);
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "a", "b", "ab", "$a"])
    }

    fn filter() -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(prop_oneof![3 => level(), 2 => Just("+")], 0..5);
        (levels, any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash || levels.is_empty() || levels == [""] {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..6)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic is not empty", |topic| !topic.is_empty())
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_the_definition_of_a_match_finds(
            filters in prop::collection::vec(filter(), 1..40),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            topics in prop::collection::vec(topic(), 1..20),
        ) {
            let mut filters = filters;
            filters.sort();
            filters.dedup();
            let mut trie = Trie::new(7);
            let mut ids = Vec::new();
            for (value, filter) in (1u64..).zip(&filters) {
                let id = trie.insert(TopicFilter::new(filter).unwrap());
                *trie.get_mut(id).unwrap() = value;
                ids.push(Some(id));
            }
            for index in gone {
                if let Some(id) = ids[index.index(filters.len())].take() {
                    *trie.get_mut(id).unwrap() = 0;
                    trie.prune(id);
                }
            }
            for topic in &topics {
                let wanted: Vec<u64> = (1u64..)
                    .zip(filters.iter().zip(&ids))
                    .filter(|(_, (filter, id))| {
                        let filter = TopicFilter::new(filter).unwrap();
                        id.is_some() && filter.matches(TopicName::new(topic).unwrap())
                    })
                    .map(|(value, _)| value)
                    .collect();
                prop_assert_eq!(matches(&trie, topic), (wanted, true), "{}", topic);
            }
            for (filter, id) in filters.iter().zip(ids) {
                let found = trie.find(TopicFilter::new(filter).unwrap());
                prop_assert_eq!(found.filter(|&found| trie.get(found) != Some(&0)), id);
                if let Some(id) = id {
                    let mut text = String::new();
                    trie.write_text(id, &mut text);
                    prop_assert_eq!(&text, filter);
                    *trie.get_mut(id).unwrap() = 0;
                    trie.prune(id);
                }
            }
            prop_assert!(trie.is_empty());
        }
    }
}
