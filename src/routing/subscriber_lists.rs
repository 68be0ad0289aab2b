//! The subscribers of a filter: eight bytes beside the filter while there is one, a list in a pool from two on.

use super::keyed_vec::KeyedVec;
use super::pool::Pool;
use super::subscriber::{PackedOptions, Subscriber, Subscription};

/// What stands beside a filter: nobody, a subscription, or the index of a list. Which one, `who` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subscribers(Subscription);

impl Subscribers {
    const NOBODY: Self = Self(Subscription { who: Subscriber::NOBODY, options: PackedOptions(0) });

    fn list(index: u32) -> Self {
        Self(Subscription { who: Subscriber::SEVERAL, options: PackedOptions(index) })
    }

    fn list_index(self) -> Option<u32> {
        (self.0.who == Subscriber::SEVERAL).then_some(self.0.options.0)
    }

    pub(super) fn is_nobody(self) -> bool {
        self.0.who == Subscriber::NOBODY
    }
}

impl Default for Subscribers {
    fn default() -> Self {
        Self::NOBODY
    }
}

#[derive(Debug)]
pub(super) struct SubscriberLists {
    lists: Pool<KeyedVec<Subscription>>,
    /// In lists and beside filters.
    subscriptions: usize,
}

impl SubscriberLists {
    pub(super) const fn new() -> Self {
        Self { lists: Pool::new(), subscriptions: 0 }
    }

    pub(super) const fn subscriptions_len(&self) -> usize {
        self.subscriptions
    }

    #[inline]
    pub(super) fn as_slice<'a>(&'a self, subscribers: &'a Subscribers) -> &'a [Subscription] {
        match subscribers.list_index() {
            Some(index) => self.lists[index].as_slice(),
            None if subscribers.is_nobody() => &[],
            None => std::slice::from_ref(&subscribers.0),
        }
    }

    pub(super) fn options(&self, subscribers: Subscribers, who: Subscriber) -> Option<PackedOptions> {
        match subscribers.list_index() {
            Some(index) => {
                let list = &self.lists[index];
                list.find(who).map(|at| list.as_slice()[at].options)
            }
            None => (subscribers.0.who == who).then_some(subscribers.0.options),
        }
    }

    /// Adds a subscription, or replaces the options of the one that is there and returns what they were.
    pub(super) fn add(&mut self, subscribers: &mut Subscribers, new: Subscription) -> Option<PackedOptions> {
        if let Some(index) = subscribers.list_index() {
            let list = &mut self.lists[index];
            if let Some(at) = list.find(new.who) {
                return Some(std::mem::replace(&mut list.get_mut(at).options, new.options));
            }
            list.push(new);
        } else if subscribers.0.who == new.who {
            return Some(std::mem::replace(&mut subscribers.0.options, new.options));
        } else if subscribers.is_nobody() {
            *subscribers = Subscribers(new);
        } else {
            let mut list = KeyedVec::new();
            list.push(subscribers.0);
            list.push(new);
            *subscribers = Subscribers::list(self.lists.insert(list));
        }
        self.subscriptions += 1;
        None
    }

    pub(super) fn remove(&mut self, subscribers: &mut Subscribers, who: Subscriber) -> Option<PackedOptions> {
        let options = if let Some(index) = subscribers.list_index() {
            let list = &mut self.lists[index];
            let gone = list.swap_remove(list.find(who)?);
            if let [last] = list.as_slice() {
                *subscribers = Subscribers(*last);
                self.lists.remove(index);
            }
            gone.options
        } else if subscribers.0.who == who {
            std::mem::take(subscribers).0.options
        } else {
            return None;
        };
        self.subscriptions -= 1;
        Some(options)
    }

    #[cfg(test)]
    pub(super) const fn lists_len(&self) -> usize {
        self.lists.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(slot: u32, word: u32) -> Subscription {
        Subscription { who: Subscriber::session(slot), options: PackedOptions(word) }
    }

    #[test]
    fn a_list_is_there_from_two_subscribers_on() {
        let mut lists = SubscriberLists::new();
        let mut subscribers = Subscribers::default();
        assert!(lists.as_slice(&subscribers).is_empty());
        assert_eq!(lists.add(&mut subscribers, subscription(1, 5)), None);
        assert_eq!(lists.add(&mut subscribers, subscription(1, 6)), Some(PackedOptions(5)));
        assert_eq!((lists.lists_len(), lists.as_slice(&subscribers)), (0, &[subscription(1, 6)][..]));
        assert_eq!(lists.add(&mut subscribers, subscription(2, 7)), None);
        assert_eq!(lists.add(&mut subscribers, subscription(2, 8)), Some(PackedOptions(7)));
        assert_eq!((lists.lists_len(), lists.subscriptions_len()), (1, 2));
        assert_eq!(lists.remove(&mut subscribers, Subscriber::session(3)), None);
        assert_eq!(lists.remove(&mut subscribers, Subscriber::session(1)), Some(PackedOptions(6)));
        assert_eq!((lists.lists_len(), lists.as_slice(&subscribers)), (0, &[subscription(2, 8)][..]));
        assert_eq!(lists.options(subscribers, Subscriber::session(2)), Some(PackedOptions(8)));
        assert_eq!(lists.remove(&mut subscribers, Subscriber::session(2)), Some(PackedOptions(8)));
        assert!(subscribers.is_nobody() && lists.subscriptions_len() == 0);
    }
}
