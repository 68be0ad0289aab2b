//! Messages that wait: for a client that is away, or whose window is full. First in, first out, and bounded.
//!
//! | full, and the policy is | what happens to the message that comes | to those that wait |
//! |---|---|---|
//! | DropNewest | dropped | |
//! | DropOldest | queued | the oldest are dropped until it fits |
//! | LastValue | queued | the oldest are dropped until it fits |
//! | Disconnect | dropped, and the connection ends | |
//!
//! LastValue, full or not, puts a message in the place of the one with the same topic. A message larger than the whole
//! queue is dropped under every policy, and leaves the others alone.
//!
//! Messages that a store has can leave memory: of each only its name and size stay, between those that were loaded again,
//! in front, and those that came since.

use std::collections::VecDeque;
use std::mem;

use hashbrown::HashTable;

use crate::base::{DropReason, RecordId};

/// A queue with room for this many times its messages gives memory back.
const SPARE_FACTOR: usize = 4;

/// What a queue must know of a message. Each answer stays the same while the message waits.
pub trait QueueItem {
    /// What it counts against the bound in bytes.
    fn bytes(&self) -> usize;

    /// A hash of its topic.
    fn key_hash(&self) -> u64;

    /// Whether it is of the same topic.
    fn same_key(&self, other: &Self) -> bool;
}

/// A message that waits in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    pub item: RecordId,
    /// What it counts against the bound in bytes.
    pub bytes: u32,
}

/// A message that the queue lets go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dropped<M> {
    Here(M),
    InStore(Left),
}

/// What to do with a message for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum FullPolicy {
    #[default]
    DropNewest,
    DropOldest,
    LastValue,
    Disconnect,
}

/// How much may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueBounds {
    pub messages_max: u32,
    pub bytes_max: u64,
    pub policy: FullPolicy,
}

/// What became of the message. Those that were dropped, itself among them, went to `on_drop`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    Queued,
    /// Queued in the place of an older one with its topic.
    Replaced,
    Refused,
    /// Refused, and the connection must end.
    Disconnect,
}

/// The waiting messages of one session. One word while there are none.
#[derive(Debug)]
pub struct Queue<M>(Option<Box<Waiting<M>>>);

#[derive(Debug)]
struct Waiting<M> {
    /// Before `items`.
    away: Option<Box<Away<M>>>,
    items: VecDeque<M>,
    /// Of all that waits.
    bytes: u64,
    /// The place of the first item, counted since the beginning, and wrapping.
    first: u32,
    /// The place of the newest item of each topic. Only while the policy is LastValue.
    by_key: Option<HashTable<u32>>,
}

/// What is, or was, in the store alone. One of the two at least is not empty.
#[derive(Debug)]
struct Away<M> {
    loaded: VecDeque<M>,
    /// Behind what was loaded.
    left: VecDeque<Left>,
}

impl<M> Default for Queue<M> {
    fn default() -> Self {
        Self(None)
    }
}

impl<M: QueueItem> Queue<M> {
    /// Each message that is dropped, be it `item` or one that waits, goes to `on_drop`.
    pub fn push(&mut self, item: M, bounds: &QueueBounds, mut on_drop: impl FnMut(Dropped<M>, DropReason)) -> Pushed {
        let bytes = item.bytes() as u64;
        if bytes > bounds.bytes_max || bounds.messages_max == 0 {
            return refuse(item, bounds.policy, on_drop);
        }
        let waiting = self.0.get_or_insert_with(Box::default);
        match bounds.policy {
            FullPolicy::LastValue => return waiting.push_last_value(item, bounds, on_drop),
            FullPolicy::DropNewest | FullPolicy::Disconnect if !waiting.has_room(bytes, bounds) => {
                return refuse(item, bounds.policy, on_drop);
            }
            FullPolicy::DropOldest => waiting.drop_oldest(bytes, bounds, &mut on_drop),
            FullPolicy::DropNewest | FullPolicy::Disconnect => {}
        }
        waiting.by_key = None;
        waiting.bytes += bytes;
        waiting.items.push_back(item);
        Pushed::Queued
    }

    /// None also where the first message is to be loaded first.
    pub fn pop(&mut self) -> Option<M> {
        self.0.as_deref_mut()?.pop()
    }

    /// The message that `pop` would yield.
    pub fn front(&self) -> Option<&M> {
        let waiting = self.0.as_ref()?;
        match &waiting.away {
            Some(away) => away.loaded.front(),
            None => waiting.items.front(),
        }
    }

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    /// What waits in memory, in order.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        self.0
            .iter()
            .flat_map(|waiting| waiting.away.iter().flat_map(|away| away.loaded.iter()).chain(waiting.items.iter()))
    }

    /// What waits in the store, in order.
    pub fn left(&self) -> impl Iterator<Item = &Left> {
        self.0.iter().flat_map(|waiting| waiting.away.iter().flat_map(|away| away.left.iter()))
    }

    /// Everything that waits, in order. The queue is empty afterwards.
    pub fn drain(&mut self) -> impl Iterator<Item = Dropped<M>> + use<M> {
        self.0.take().into_iter().flat_map(|waiting| {
            let Waiting { away, items, .. } = *waiting;
            let away = away.into_iter().flat_map(|away| {
                let Away { loaded, left } = *away;
                loaded.into_iter().map(Dropped::Here).chain(left.into_iter().map(Dropped::InStore))
            });
            away.chain(items.into_iter().map(Dropped::Here))
        })
    }

    /// Messages leave memory, from the first on, as long as `leave` says under which name the store has them. False: some
    /// are still here.
    pub fn leave(&mut self, leave: impl FnMut(&M) -> Option<Left>) -> bool {
        let Some(waiting) = &mut self.0 else { return true };
        waiting.leave(leave);
        let all_left = waiting.items.is_empty() && waiting.away.iter().all(|away| away.loaded.is_empty());
        if waiting.len() == 0 {
            self.0 = None;
        }
        all_left
    }

    /// A message of the store goes behind all others; before any that is pushed.
    pub fn push_left(&mut self, left: Left) {
        let waiting = self.0.get_or_insert_with(Box::default);
        debug_assert!(waiting.items.is_empty(), "it would stand before what came earlier");
        waiting.bytes += u64::from(left.bytes);
        waiting.away_mut().left.push_back(left);
    }

    /// A message goes behind all others, whatever the bounds: it was let in before.
    pub fn push_loaded(&mut self, item: M) {
        let waiting = self.0.get_or_insert_with(Box::default);
        waiting.bytes += item.bytes() as u64;
        waiting.items.push_back(item);
    }

    /// What is to be loaded next: the first and the last of so many messages and bytes at most, and one at least. None
    /// while `loaded_min` messages are still here before them.
    pub fn to_load(&self, loaded_min: usize, messages_max: usize, bytes_max: u64) -> Option<(RecordId, RecordId)> {
        let away = self.0.as_ref()?.away.as_ref()?;
        let first = away.left.front()?;
        if away.loaded.len() >= loaded_min {
            return None;
        }
        let (mut last, mut bytes) = (first, u64::from(first.bytes));
        for left in away.left.iter().take(messages_max).skip(1) {
            bytes += u64::from(left.bytes);
            if bytes > bytes_max {
                break;
            }
            last = left;
        }
        Some((first.item, last.item))
    }

    /// The store's answer: everything up to `last` that it has, in order. What it has not is gone, and goes to `on_gone`.
    pub fn load(
        &mut self,
        last: RecordId,
        messages: impl IntoIterator<Item = (RecordId, M)>,
        mut on_load: impl FnMut(Left, &M),
        mut on_gone: impl FnMut(Left),
    ) {
        let Some(waiting) = &mut self.0 else { return };
        let Waiting { away: Some(away), bytes: held, .. } = &mut **waiting else { return };
        let mut messages = messages.into_iter().peekable();
        while let Some(left) = away.left.pop_front_if(|left| left.item <= last) {
            *held -= u64::from(left.bytes);
            while messages.next_if(|(item, _)| *item < left.item).is_some() {}
            match messages.next_if(|(item, _)| *item == left.item) {
                Some((_, message)) => {
                    *held += message.bytes() as u64;
                    on_load(left, &message);
                    away.loaded.push_back(message);
                }
                None => on_gone(left),
            }
        }
        waiting.forget_away();
    }

    /// Gives back memory that what waits does not need.
    pub fn shrink(&mut self) {
        let Some(waiting) = &mut self.0 else { return };
        if waiting.len() == 0 {
            self.0 = None;
            return;
        }
        if waiting.items.capacity() > waiting.items.len() * SPARE_FACTOR {
            waiting.items.shrink_to_fit();
            // Made anew, in the right size, by the next push.
            waiting.by_key = None;
        }
    }
}

fn refuse<M>(item: M, policy: FullPolicy, mut on_drop: impl FnMut(Dropped<M>, DropReason)) -> Pushed {
    if policy == FullPolicy::Disconnect {
        on_drop(Dropped::Here(item), DropReason::QueueFullDisconnect);
        return Pushed::Disconnect;
    }
    on_drop(Dropped::Here(item), DropReason::QueueFullNewest);
    Pushed::Refused
}

impl<M> Default for Waiting<M> {
    fn default() -> Self {
        Self { away: None, items: VecDeque::new(), bytes: 0, first: 0, by_key: None }
    }
}

impl<M: QueueItem> Waiting<M> {
    fn has_room(&self, bytes: u64, bounds: &QueueBounds) -> bool {
        self.len() < bounds.messages_max as usize && self.bytes + bytes <= bounds.bytes_max
    }

    fn drop_oldest(&mut self, bytes: u64, bounds: &QueueBounds, on_drop: &mut impl FnMut(Dropped<M>, DropReason)) {
        while !self.has_room(bytes, bounds) {
            let Some(oldest) = self.drop_first() else { return };
            on_drop(oldest, DropReason::QueueFullOldest);
        }
    }

    fn len(&self) -> usize {
        self.items.len() + self.away.as_ref().map_or(0, |away| away.loaded.len() + away.left.len())
    }

    fn away_mut(&mut self) -> &mut Away<M> {
        self.away.get_or_insert_with(|| Box::new(Away { loaded: VecDeque::new(), left: VecDeque::new() }))
    }

    fn forget_away(&mut self) {
        self.away.take_if(|away| away.loaded.is_empty() && away.left.is_empty());
    }

    fn leave(&mut self, mut leave: impl FnMut(&M) -> Option<Left>) {
        while let Some(away) = &mut self.away
            && let Some(last) = away.loaded.back()
        {
            let Some(left) = leave(last) else { return };
            self.bytes -= last.bytes() as u64;
            self.bytes += u64::from(left.bytes);
            away.loaded.pop_back();
            away.left.push_front(left);
        }
        self.by_key = None;
        while let Some(first) = self.items.front()
            && let Some(left) = leave(first)
        {
            self.bytes -= first.bytes() as u64;
            self.bytes += u64::from(left.bytes);
            self.items.pop_front();
            self.away_mut().left.push_back(left);
        }
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        if let Some(away) = &mut self.away {
            away.loaded.shrink_to_fit();
        }
    }

    fn drop_first(&mut self) -> Option<Dropped<M>> {
        if let Some(away) = &mut self.away
            && away.loaded.is_empty()
            && let Some(left) = away.left.pop_front()
        {
            self.bytes -= u64::from(left.bytes);
            self.forget_away();
            return Some(Dropped::InStore(left));
        }
        self.pop().map(Dropped::Here)
    }

    fn pop(&mut self) -> Option<M> {
        if let Some(away) = &mut self.away {
            let item = away.loaded.pop_front()?;
            self.bytes -= item.bytes() as u64;
            self.forget_away();
            return Some(item);
        }
        self.pop_item()
    }

    fn pop_item(&mut self) -> Option<M> {
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes() as u64;
        if let Some(by_key) = &mut self.by_key
            && let Ok(entry) = by_key.find_entry(item.key_hash(), |&place| place == self.first)
        {
            entry.remove();
        }
        self.first = self.first.wrapping_add(1);
        Some(item)
    }

    fn push_last_value(
        &mut self,
        item: M,
        bounds: &QueueBounds,
        mut on_drop: impl FnMut(Dropped<M>, DropReason),
    ) -> Pushed {
        let bytes = item.bytes() as u64;
        let hash = item.key_hash();
        if self.by_key.is_none() {
            self.index_all();
        }
        if let Some(place) = self.place_of(hash, &item) {
            self.bytes += bytes;
            let older = mem::replace(&mut self.items[place.wrapping_sub(self.first) as usize], item);
            self.bytes -= older.bytes() as u64;
            on_drop(Dropped::Here(older), DropReason::LastValueReplaced);
            self.drop_oldest_but(place, bounds, &mut on_drop);
            return Pushed::Replaced;
        }
        self.drop_oldest(bytes, bounds, &mut on_drop);
        self.bytes += bytes;
        self.items.push_back(item);
        self.index_last(hash);
        Pushed::Queued
    }

    fn place_of(&self, hash: u64, item: &M) -> Option<u32> {
        let same = |&place: &u32| self.items[place.wrapping_sub(self.first) as usize].same_key(item);
        self.by_key.as_ref()?.find(hash, same).copied()
    }

    /// The policy was another before: of several items of one topic the newest is the one to replace.
    #[cold]
    fn index_all(&mut self) {
        let items = mem::take(&mut self.items);
        self.by_key = Some(HashTable::with_capacity(items.len()));
        for item in items {
            let hash = item.key_hash();
            let older = self.place_of(hash, &item);
            self.items.push_back(item);
            if let (Some(older), Some(by_key)) = (older, &mut self.by_key)
                && let Ok(entry) = by_key.find_entry(hash, |&place| place == older)
            {
                entry.remove();
            }
            self.index_last(hash);
        }
    }

    fn index_last(&mut self, hash: u64) {
        let Self { items, first, by_key: Some(by_key), .. } = self else { return };
        let place = first.wrapping_add(items.len() as u32 - 1);
        by_key.insert_unique(hash, place, |&place| items[place.wrapping_sub(*first) as usize].key_hash());
    }

    /// The item at `place` has grown: others make room for it, also the one behind it when it is the oldest itself.
    fn drop_oldest_but(
        &mut self,
        mut place: u32,
        bounds: &QueueBounds,
        on_drop: &mut impl FnMut(Dropped<M>, DropReason),
    ) {
        while self.bytes > bounds.bytes_max || self.len() > bounds.messages_max as usize {
            if self.away.is_none() && place == self.first {
                self.swap_first_two();
                place = place.wrapping_add(1);
            }
            let Some(oldest) = self.drop_first() else { return };
            on_drop(oldest, DropReason::QueueFullOldest);
        }
    }

    fn swap_first_two(&mut self) {
        let (first, second) = (self.first, self.first.wrapping_add(1));
        let hashes = [self.items[0].key_hash(), self.items[1].key_hash()];
        self.items.swap(0, 1);
        let Some(by_key) = &mut self.by_key else { return };
        // Both found before either is changed: with equal hashes the second search would find the first's new place.
        for (hash, from, parked) in [(hashes[0], first, true), (hashes[1], second, false)] {
            if let Some(place) = by_key.find_mut(hash, |&place| place == from) {
                *place = if parked { first.wrapping_sub(1) } else { first };
            }
        }
        if let Some(place) = by_key.find_mut(hashes[0], |&place| place == first.wrapping_sub(1)) {
            *place = second;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ShardId;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Message {
        number: u32,
        topic: u8,
        bytes: usize,
    }

    impl QueueItem for Message {
        fn bytes(&self) -> usize {
            self.bytes
        }

        /// Collides on purpose.
        fn key_hash(&self) -> u64 {
            u64::from(self.topic % 3)
        }

        fn same_key(&self, other: &Self) -> bool {
            self.topic == other.topic
        }
    }

    fn message(number: u32, topic: u8, bytes: usize) -> Message {
        Message { number, topic, bytes }
    }

    fn bounds(messages_max: u32, bytes_max: u64, policy: FullPolicy) -> QueueBounds {
        QueueBounds { messages_max, bytes_max, policy }
    }

    fn push(queue: &mut Queue<Message>, item: Message, bounds: &QueueBounds) -> (Pushed, Vec<(u32, DropReason)>) {
        let mut dropped = Vec::new();
        let pushed = queue.push(item, bounds, |item, reason| dropped.push((number(&item), reason)));
        (pushed, dropped)
    }

    /// What is in the store is named by its number.
    fn number(item: &Dropped<Message>) -> u32 {
        match item {
            Dropped::Here(message) => message.number,
            Dropped::InStore(left) => left.item.number() as u32,
        }
    }

    fn left(message: &Message) -> Left {
        let item = RecordId::new(message.number.into(), ShardId::new(0)).unwrap();
        Left { item, bytes: message.bytes as u32 }
    }

    fn numbers(queue: &Queue<Message>) -> Vec<u32> {
        queue.iter().map(|item| item.number).collect()
    }

    #[test]
    fn each_policy_when_full() {
        use DropReason::*;
        use FullPolicy::*;
        let table = [
            (DropNewest, Pushed::Refused, vec![(3, QueueFullNewest)], vec![0, 1, 2]),
            (DropOldest, Pushed::Queued, vec![(0, QueueFullOldest)], vec![1, 2, 3]),
            (LastValue, Pushed::Queued, vec![(0, QueueFullOldest)], vec![1, 2, 3]),
            (Disconnect, Pushed::Disconnect, vec![(3, QueueFullDisconnect)], vec![0, 1, 2]),
        ];
        for (policy, pushed, dropped, left) in table {
            for bounds in [bounds(3, 1000, policy), bounds(1000, 30, policy)] {
                let mut queue = Queue::default();
                for number in 0..3 {
                    assert_eq!(push(&mut queue, message(number, number as u8, 10), &bounds), (Pushed::Queued, vec![]));
                }
                assert_eq!(push(&mut queue, message(3, 3, 10), &bounds), (pushed, dropped.clone()), "{policy:?}");
                assert_eq!(numbers(&queue), left);
                assert_eq!((queue.len(), queue.bytes()), (3, 30));
            }
        }
    }

    #[test]
    fn several_small_ones_make_room_for_a_large_one() {
        let bounds = bounds(10, 100, FullPolicy::DropOldest);
        let mut queue = Queue::default();
        for number in 0..10 {
            push(&mut queue, message(number, 0, 10), &bounds);
        }
        let (pushed, dropped) = push(&mut queue, message(10, 0, 75), &bounds);
        assert_eq!((pushed, dropped.len()), (Pushed::Queued, 8));
        assert_eq!(numbers(&queue), [8, 9, 10]);
    }

    #[test]
    fn one_larger_than_the_queue_leaves_the_others_alone() {
        for policy in [FullPolicy::DropNewest, FullPolicy::DropOldest, FullPolicy::LastValue] {
            let mut queue = Queue::default();
            push(&mut queue, message(0, 0, 100), &bounds(5, 100, policy));
            let refused = (Pushed::Refused, vec![(1, DropReason::QueueFullNewest)]);
            assert_eq!(push(&mut queue, message(1, 0, 101), &bounds(5, 100, policy)), refused);
            assert_eq!(push(&mut queue, message(1, 0, 1), &bounds(0, 100, policy)), refused);
            assert_eq!(numbers(&queue), [0]);
        }
    }

    #[test]
    fn the_last_value_takes_the_place_of_the_one_before() {
        let bounds = bounds(3, 100, FullPolicy::LastValue);
        let mut queue = Queue::default();
        for number in 0..3 {
            push(&mut queue, message(number, number as u8, 10), &bounds);
        }
        let replaced = (Pushed::Replaced, vec![(1, DropReason::LastValueReplaced)]);
        assert_eq!(push(&mut queue, message(3, 1, 20), &bounds), replaced);
        assert_eq!(numbers(&queue), [0, 3, 2]);
        assert_eq!(queue.bytes(), 40);
        assert_eq!(queue.pop().map(|item| item.number), Some(0));
        assert_eq!(queue.front().map(|item| item.number), Some(3));
        push(&mut queue, message(4, 0, 10), &bounds);
        assert_eq!(numbers(&queue), [3, 2, 4]);
    }

    /// The value that grew was the oldest, and was dropped to make room for itself.
    #[test]
    fn a_last_value_that_grows_does_not_push_itself_out() {
        let bounds = bounds(3, 100, FullPolicy::LastValue);
        let mut queue = Queue::default();
        for (number, topic) in [(0, 0), (1, 3), (2, 6)] {
            push(&mut queue, message(number, topic, 30), &bounds);
        }
        let (pushed, dropped) = push(&mut queue, message(3, 0, 70), &bounds);
        assert_eq!(pushed, Pushed::Replaced);
        assert_eq!(dropped, [(0, DropReason::LastValueReplaced), (1, DropReason::QueueFullOldest)]);
        assert_eq!(numbers(&queue), [3, 2]);
        assert_eq!(push(&mut queue, message(4, 6, 20), &bounds).0, Pushed::Replaced);
        assert_eq!(push(&mut queue, message(5, 0, 1), &bounds).0, Pushed::Replaced);
        assert_eq!(numbers(&queue), [5, 4]);
    }

    #[test]
    fn what_left_stays_in_its_place_and_comes_back_page_by_page() {
        let bounds = bounds(10, 1_000, FullPolicy::DropOldest);
        let mut queue = Queue::default();
        (1..=6).for_each(|number| _ = push(&mut queue, message(number, 0, 10), &bounds));
        assert!(!queue.leave(|message| (message.number < 6).then(|| left(message))));
        push(&mut queue, message(7, 0, 10), &bounds);
        assert_eq!((queue.len(), queue.bytes(), numbers(&queue)), (7, 70, vec![6, 7]));
        assert!(queue.front().is_none() && queue.pop().is_none(), "the first is to be loaded first");
        let item = |number: u32| left(&message(number, 0, 10)).item;
        assert_eq!(queue.to_load(2, 2, 1_000), Some((item(1), item(2))));
        assert_eq!(queue.to_load(2, 100, 30), Some((item(1), item(3))));
        assert_eq!(queue.to_load(2, 100, 1), Some((item(1), item(1))), "one at least");
        // The store has lost the second.
        let mut gone = Vec::new();
        let page = [1, 3].map(|number| (item(number), message(number, 0, 10)));
        queue.load(item(3), page, |left, message| assert_eq!(left.item, item(message.number)), |left| gone.push(left));
        assert_eq!(gone, [left(&message(2, 0, 10))]);
        assert_eq!((queue.to_load(2, 2, 1_000), queue.len(), queue.bytes()), (None, 6, 60));
        assert_eq!(queue.pop().map(|message| message.number), Some(1));
        // Back to where they were, before those that never came.
        assert!(queue.leave(|message| Some(left(message))));
        assert_eq!(queue.left().map(|left| left.item.number()).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        let page = (3..=7).map(|number| (item(number), message(number, 0, 10)));
        queue.load(item(7), page, |_, _| {}, |left| panic!("{left:?}"));
        push(&mut queue, message(8, 0, 10), &bounds);
        assert_eq!(queue.drain().map(|item| number(&item)).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_full_queue_drops_what_is_in_the_store_without_loading_it() {
        let bounds = bounds(3, 1_000, FullPolicy::DropOldest);
        let mut queue = Queue::default();
        (1..=3).for_each(|number| queue.push_left(left(&message(number, 0, 10))));
        let dropped = |number| (Pushed::Queued, vec![(number, DropReason::QueueFullOldest)]);
        assert_eq!(push(&mut queue, message(4, 0, 10), &bounds), dropped(1));
        // A page that was asked for before brings what is not wanted any more.
        let page = (1..=2).map(|number| (left(&message(number, 0, 10)).item, message(number, 0, 10)));
        queue.load(left(&message(2, 0, 10)).item, page, |_, _| {}, |left| panic!("{left:?}"));
        assert_eq!(push(&mut queue, message(5, 0, 10), &bounds), dropped(2));
        assert_eq!(push(&mut queue, message(6, 0, 10), &bounds), dropped(3));
        assert_eq!(push(&mut queue, message(7, 0, 10), &bounds), dropped(4));
        assert_eq!((numbers(&queue), queue.bytes()), (vec![5, 6, 7], 30));
    }

    #[test]
    fn it_is_one_word_while_empty() {
        assert_eq!(size_of::<Queue<Message>>(), 8);
        let mut queue = Queue::default();
        push(&mut queue, message(0, 0, 10), &bounds(1, 10, FullPolicy::DropNewest));
        queue.pop();
        assert!(queue.0.is_some());
        queue.shrink();
        assert!(queue.0.is_none());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push { topic: u8, bytes: usize },
        Pop,
        Policy(FullPolicy),
        Shrink,
        Drain,
    }

    fn policy() -> impl Strategy<Value = FullPolicy> {
        use FullPolicy::*;
        prop_oneof![Just(DropNewest), Just(DropOldest), Just(LastValue), Just(Disconnect)]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            20 => (0..8u8, 0..130usize).prop_map(|(topic, bytes)| Op::Push { topic, bytes }),
            8 => Just(Op::Pop),
            1 => policy().prop_map(Op::Policy),
            1 => Just(Op::Shrink),
            1 => Just(Op::Drain),
        ]
    }

    /// The same, told as plainly as possible.
    fn model_push(model: &mut Vec<Message>, item: Message, bounds: &QueueBounds) -> (Pushed, Vec<(u32, DropReason)>) {
        let bytes = |model: &[Message]| model.iter().map(|item| item.bytes as u64).sum::<u64>();
        let over = |model: &[Message]| model.len() > bounds.messages_max as usize || bytes(model) > bounds.bytes_max;
        let refused = match bounds.policy {
            FullPolicy::Disconnect => (Pushed::Disconnect, vec![(item.number, DropReason::QueueFullDisconnect)]),
            _ => (Pushed::Refused, vec![(item.number, DropReason::QueueFullNewest)]),
        };
        if item.bytes as u64 > bounds.bytes_max {
            return refused;
        }
        let mut dropped = Vec::new();
        let mut pushed = Pushed::Queued;
        let older = model.iter().rposition(|older| older.topic == item.topic);
        match older.filter(|_| bounds.policy == FullPolicy::LastValue) {
            Some(index) => {
                dropped.push((model[index].number, DropReason::LastValueReplaced));
                model[index] = item;
                pushed = Pushed::Replaced;
            }
            None => model.push(item),
        }
        while over(model) {
            if matches!(bounds.policy, FullPolicy::DropNewest | FullPolicy::Disconnect) {
                model.pop();
                return refused;
            }
            let oldest = model.iter().position(|older| older.number != item.number).unwrap();
            dropped.push((model.remove(oldest).number, DropReason::QueueFullOldest));
        }
        (pushed, dropped)
    }

    proptest! {
        #[test]
        fn it_does_what_the_model_does_and_keeps_its_bounds(
            policy in policy(),
            messages_max in 1..12u32,
            ops in prop::collection::vec(op(), 0..400),
        ) {
            let mut bounds = bounds(messages_max, 400, policy);
            let mut queue = Queue(Some(Box::new(Waiting { first: u32::MAX - 20, ..Waiting::default() })));
            let mut model = Vec::new();
            for (number, op) in (0..).zip(ops) {
                match op {
                    Op::Push { topic, bytes } => {
                        let item = message(number, topic, bytes);
                        prop_assert_eq!(push(&mut queue, item, &bounds), model_push(&mut model, item, &bounds));
                    }
                    Op::Pop => {
                        let expected = if model.is_empty() { None } else { Some(model.remove(0)) };
                        prop_assert_eq!(queue.front().copied(), expected);
                        prop_assert_eq!(queue.pop(), expected);
                    }
                    Op::Policy(policy) => bounds.policy = policy,
                    Op::Shrink => queue.shrink(),
                    Op::Drain => {
                        let drained: Vec<_> = queue.drain().collect();
                        let model: Vec<_> = mem::take(&mut model).into_iter().map(Dropped::Here).collect();
                        prop_assert_eq!(drained, model);
                    },
                }
                prop_assert_eq!(queue.iter().copied().collect::<Vec<_>>(), model.clone());
                prop_assert!(queue.len() <= bounds.messages_max as usize && queue.bytes() <= bounds.bytes_max);
                prop_assert_eq!(queue.bytes(), model.iter().map(|item| item.bytes as u64).sum::<u64>());
            }
        }
    }
}
