//! Filters with wildcards, as a trie of levels. A node is one cache line: its label, what belongs to the filter that
//! ends at it and to the same filter followed by `#`, and its `+` child. The other children of all nodes are in one
//! hash table keyed by (parent, level), so that a node with a million children costs no more than one with two.
//!
//! A filter's levels below its last fork lie together in the label of one leaf, so a million filters `site/{i}/+/temp`
//! are a million nodes, not three, and a topic finds its own in one step. The leaf is split when another filter needs
//! a part of it; the node a filter ends at stays the same, so a [`PathId`] is stable.

use std::fmt::Debug;

use ahash::RandomState;

use crate::mqtt::TopicFilter;

use super::hash;
use super::index_table::IndexTable;
use super::pool::{INDEX_MAX, Pool};
use super::text::Text;

/// The node of the empty path: where `#` and every first level hang.
pub(super) const ROOT: u32 = 0;

/// In place of a node index.
pub(super) const NO_NODE: u32 = u32::MAX;

/// The end of a path in a [`Trie`], with or without `#` after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PathId(u32);

const HASH_BIT: u32 = INDEX_MAX;

impl PathId {
    fn new(node: u32, hash: bool) -> Self {
        Self(if hash { node | HASH_BIT } else { node })
    }

    /// From [`Self::bits`], which stay below two to the 31st.
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    const fn node(self) -> u32 {
        self.0 & !HASH_BIT
    }

    const fn is_hash(self) -> bool {
        self.0 & HASH_BIT != 0
    }
}

#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Node<T> {
    /// One level; in a leaf, that level and those below it.
    pub(super) label: Text<30>,
    /// Where the label's levels below the first begin; 0 if there are none.
    pub(super) tail: u32,
    parent: u32,
    pub(super) plus: u32,
    /// Children in the table of edges.
    pub(super) literals: u32,
    /// Of the filter that ends here; the default value if there is none.
    pub(super) own: T,
    /// Of the filter that goes on with `#` here; the default value if there is none.
    pub(super) hash: T,
}

/// `T` is what belongs to a filter; its default value means that there is no such filter.
#[derive(Debug)]
pub(super) struct Trie<T> {
    keys: RandomState,
    pub(super) nodes: Pool<Node<T>>,
    edges: IndexTable,
}

/// The first level of a path and the path below it.
fn split_level(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(level, below)| (level, Some(below)))
}

/// The levels before a trailing `#` (none for `#` itself), and whether there is one.
fn split_hash(filter: TopicFilter<'_>) -> (Option<&str>, bool) {
    let text = filter.as_str();
    match text.strip_suffix('#') {
        Some("") => (None, true),
        // What stands before `#` is a separator. [MQTT-4.7.1-1]
        Some(path) => (Some(&path[..path.len() - 1]), true),
        None => (Some(text), false),
    }
}

impl<T: Copy + Default + PartialEq + Debug> Node<T> {
    const SIZE_IS_A_CACHE_LINE: () = assert!(size_of::<Self>() == 64 && Pool::<Self>::SLOT_BYTES == 64);

    fn new(parent: u32, path: &str) -> Self {
        let () = Self::SIZE_IS_A_CACHE_LINE;
        let tail = split_level(path).1.map_or(0, |below| (path.len() - below.len()) as u32);
        let (own, hash) = (T::default(), T::default());
        Self { label: Text::new(path), tail, parent, plus: NO_NODE, literals: 0, own, hash }
    }

    fn first_level(&self) -> &[u8] {
        let label = self.label.as_bytes();
        if self.tail == 0 { label } else { &label[..self.tail as usize - 1] }
    }

    /// The levels below the first, of a leaf that has any.
    pub(super) fn tail(&self) -> Option<&[u8]> {
        (self.tail != 0).then(|| &self.label.as_bytes()[self.tail as usize..])
    }

    fn is_unused(&self) -> bool {
        self.own == T::default() && self.hash == T::default() && self.plus == NO_NODE && self.literals == 0
    }
}

impl<T: Copy + Default + PartialEq + Debug> Trie<T> {
    pub(super) fn new(seed: u64) -> Self {
        let mut nodes = Pool::new();
        let root = nodes.insert(Node::new(NO_NODE, ""));
        debug_assert_eq!(root, ROOT);
        Self { keys: hash::keyed(seed), nodes, edges: IndexTable::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[ROOT].is_unused()
    }

    /// The child of `parent` for a level that is no wildcard.
    #[inline]
    pub(super) fn literal_child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        self.edges.find(self.edge_hash(parent, level), |child| {
            let child = &self.nodes[child];
            child.parent == parent && child.first_level() == level
        })
    }

    fn edge_hash(&self, parent: u32, level: &[u8]) -> u64 {
        hash::of_pair(&self.keys, parent, level)
    }

    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        if level == "+" {
            let plus = self.nodes[parent].plus;
            (plus != NO_NODE).then_some(plus)
        } else {
            self.literal_child(parent, level.as_bytes())
        }
    }

    pub(super) fn find(&self, filter: TopicFilter<'_>) -> Option<PathId> {
        let (mut path, is_hash) = split_hash(filter);
        let mut at = ROOT;
        while let Some(levels) = path {
            let (level, below) = split_level(levels);
            at = self.child(at, level)?;
            path = below;
            if let Some(tail) = self.nodes[at].tail() {
                let same = below.is_some_and(|below| below.as_bytes() == tail);
                return same.then(|| PathId::new(at, is_hash));
            }
        }
        Some(PathId::new(at, is_hash))
    }

    /// The end of the filter's path, made if it is not there yet. The caller gives it a value.
    pub(super) fn insert(&mut self, filter: TopicFilter<'_>) -> PathId {
        let (mut path, is_hash) = split_hash(filter);
        let mut at = ROOT;
        while let Some(levels) = path {
            let (level, below) = split_level(levels);
            let Some(child) = self.child(at, level) else {
                let leaf = self.nodes.insert(Node::new(at, levels));
                self.link(at, level, leaf);
                return PathId::new(leaf, is_hash);
            };
            let node = &self.nodes[child];
            if node.tail != 0 {
                if node.label.as_bytes() == levels.as_bytes() {
                    return PathId::new(child, is_hash);
                }
                at = self.split(child);
            } else {
                at = child;
            }
            path = below;
        }
        PathId::new(at, is_hash)
    }

    /// Puts a node for the first level above a leaf of several, and returns it.
    fn split(&mut self, leaf: u32) -> u32 {
        let node = &self.nodes[leaf];
        let parent = node.parent;
        let label = node.label.as_str().to_owned();
        let (level, below) = split_level(&label);
        let below = below.expect("only a leaf of several levels is split");

        let fork = self.nodes.insert(Node::new(parent, level));
        if level == "+" {
            self.nodes[parent].plus = fork;
        } else {
            self.edges.replace(self.edge_hash(parent, level.as_bytes()), leaf, fork);
        }
        let node = &mut self.nodes[leaf];
        let (own, hash) = (node.own, node.hash);
        *node = Node { own, hash, ..Node::new(fork, below) };
        self.link(fork, split_level(below).0, leaf);
        fork
    }

    fn link(&mut self, parent: u32, level: &str, child: u32) {
        if level == "+" {
            self.nodes[parent].plus = child;
        } else {
            self.nodes[parent].literals += 1;
            self.edges.insert(self.edge_hash(parent, level.as_bytes()), child);
        }
    }

    pub(super) fn get(&self, id: PathId) -> Option<&T> {
        let node = self.nodes.get(id.node())?;
        Some(if id.is_hash() { &node.hash } else { &node.own })
    }

    pub(super) fn get_mut(&mut self, id: PathId) -> Option<&mut T> {
        let node = self.nodes.get_mut(id.node())?;
        Some(if id.is_hash() { &mut node.hash } else { &mut node.own })
    }

    /// Removes what no filter needs any more, from the end of a path whose value was reset upwards. Siblings are not
    /// put together again: a leaf that was split once stays so, which costs a node and never an answer.
    pub(super) fn prune(&mut self, id: PathId) {
        let mut at = id.node();
        while at != ROOT && self.nodes.get(at).is_some_and(Node::is_unused) {
            let Some(node) = self.nodes.remove(at) else { return };
            let parent = &mut self.nodes[node.parent];
            if parent.plus == at {
                parent.plus = NO_NODE;
            } else {
                parent.literals -= 1;
                self.edges.remove(self.edge_hash(node.parent, node.first_level()), at);
            }
            at = node.parent;
        }
    }

    /// Appends the filter's text, which nothing but the path itself holds.
    pub(super) fn write_text(&self, id: PathId, out: &mut String) {
        let mut labels = Vec::new();
        let mut at = id.node();
        while at != ROOT
            && let Some(node) = self.nodes.get(at)
        {
            labels.push(node.label.as_str());
            at = node.parent;
        }
        for (above, label) in labels.iter().rev().enumerate() {
            if above > 0 {
                out.push('/');
            }
            out.push_str(label);
        }
        if id.is_hash() {
            out.push_str(if labels.is_empty() { "#" } else { "/#" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn insert(trie: &mut Trie<u64>, text: &str, value: u64) -> PathId {
        let id = trie.insert(filter(text));
        *trie.get_mut(id).unwrap() = value;
        id
    }

    fn remove(trie: &mut Trie<u64>, id: PathId) {
        *trie.get_mut(id).unwrap() = 0;
        trie.prune(id);
    }

    const FILTERS: [&str; 14] = [
        "#",
        "+",
        "/",
        "/#",
        "+/+",
        "+/#",
        "a/+/b/c",
        "a/+/b/d",
        "a/+/b",
        "a/+/b/#",
        "a",
        "a/b/",
        "a//+",
        "a/a level that is too long for the line of a node/+",
    ];

    #[test]
    fn a_path_keeps_its_identity_and_text_through_splits() {
        let mut trie = Trie::new(1);
        let ids: Vec<PathId> = (1..).zip(FILTERS).map(|(value, text)| insert(&mut trie, text, value)).collect();
        for ((value, text), &id) in (1..).zip(FILTERS).zip(&ids) {
            assert_eq!(trie.find(filter(text)), Some(id), "{text}");
            assert_eq!(trie.get(id), Some(&value), "{text}");
            let mut written = String::new();
            trie.write_text(id, &mut written);
            assert_eq!(written, text);
        }
        for id in ids {
            remove(&mut trie, id);
        }
        assert!(trie.is_empty() && trie.edges.len() == 0);
    }

    #[test]
    fn filters_that_differ_in_one_level_are_one_node_each() {
        let mut trie = Trie::new(1);
        for site in 0..100 {
            insert(&mut trie, &format!("site/{site}/+/temp"), 1);
        }
        assert_eq!(trie.nodes.len(), 102);
        insert(&mut trie, "site/7/+/humidity", 1);
        assert_eq!(trie.nodes.len(), 105);
    }

    #[test]
    fn a_path_that_is_only_on_the_way_is_not_a_filter() {
        let mut trie = Trie::new(1);
        insert(&mut trie, "a/b/+", 1);
        assert_eq!(trie.find(filter("a/b")), None);
        insert(&mut trie, "a/c/+", 1);
        assert_eq!(trie.find(filter("a")).and_then(|id| trie.get(id)), Some(&0));
        assert_eq!(trie.find(filter("a/b/c")), None);
    }
}
