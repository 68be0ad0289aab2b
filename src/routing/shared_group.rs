//! One shared group's members, and which of them gets a message.

use crate::base::SessionRef;

use super::hash::spread;
use super::keyed_vec::{Keyed, KeyedVec};
use super::subscriber::SubscriptionOptions;

/// Members that [`Choice::LeastInFlight`] compares per message. Of so many, the least loaded is among the least loaded
/// of all but for bad luck, and the next message compares the next ones.
const COMPARED_MAX: usize = 32;

/// How a group picks the member that gets a message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Choice {
    #[default]
    RoundRobin,
    /// The member with the fewest messages it has not acknowledged; in groups of more than 32, of the next 32.
    LeastInFlight,
    /// Messages of one topic go to one member while the group stays as it is, and mostly when it changes.
    StickyTopic,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    pub session: SessionRef,
    pub options: SubscriptionOptions,
    pub online: bool,
    /// Messages sent and not finished.
    pub in_flight: u32,
}

impl Keyed for Member {
    type Key = SessionRef;

    fn key(&self) -> SessionRef {
        self.session
    }

    fn hash(session: SessionRef) -> u64 {
        let shard = (session.shard.index() as u64) << 32;
        spread(spread(shard | u64::from(session.slot)) ^ u64::from(session.generation))
    }
}

/// The members that are online come first, so that picking one is the same step among ten thousand of which three
/// are online as among three.
#[derive(Debug)]
pub(super) struct Members {
    list: KeyedVec<Member>,
    online: usize,
    /// Where the next round begins; taken modulo the members there are.
    next: usize,
}

impl Members {
    pub(super) fn new() -> Self {
        Self { list: KeyedVec::new(), online: 0, next: 0 }
    }

    pub(super) fn as_slice(&self) -> &[Member] {
        self.list.as_slice()
    }

    /// Whether it took the place of a membership of the same session.
    pub(super) fn join(&mut self, session: SessionRef, options: SubscriptionOptions, online: bool) -> bool {
        if let Some(at) = self.list.find(session) {
            self.list.get_mut(at).options = options;
            self.set_online(session, online);
            return true;
        }
        self.list.push(Member { session, options, online: false, in_flight: 0 });
        self.set_online(session, online);
        false
    }

    pub(super) fn leave(&mut self, session: SessionRef) -> bool {
        self.set_online(session, false);
        let Some(at) = self.list.find(session) else { return false };
        self.list.swap_remove(at);
        true
    }

    pub(super) fn set_online(&mut self, session: SessionRef, online: bool) {
        let Some(at) = self.list.find(session) else { return };
        if self.list.as_slice()[at].online == online {
            return;
        }
        self.list.get_mut(at).online = online;
        if online {
            self.list.swap(at, self.online);
            self.online += 1;
        } else {
            self.online -= 1;
            self.list.swap(at, self.online);
        }
    }

    pub(super) fn sent(&mut self, session: SessionRef) {
        if let Some(at) = self.list.find(session) {
            self.list.get_mut(at).in_flight += 1;
        }
    }

    pub(super) fn finished(&mut self, session: SessionRef) {
        if let Some(at) = self.list.find(session) {
            let member = self.list.get_mut(at);
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }

    pub(super) fn pick(&mut self, choice: Choice, topic_hash: u64, exclude: Option<SessionRef>) -> Option<&Member> {
        let exclude_at = exclude.and_then(|session| self.list.find(session));
        let len = self.list.as_slice().len();
        let at = self
            .pick_among(0, self.online, choice, topic_hash, exclude_at)
            .or_else(|| self.pick_among(self.online, len, choice, topic_hash, exclude_at))?;
        self.list.as_slice().get(at)
    }

    fn pick_among(
        &mut self,
        from: usize,
        to: usize,
        choice: Choice,
        topic_hash: u64,
        exclude_at: Option<usize>,
    ) -> Option<usize> {
        let len = to - from;
        let excluded = exclude_at.filter(|at| (from..to).contains(at));
        if len == 0 || len == 1 && excluded.is_some() {
            return None;
        }
        let begin = match choice {
            Choice::RoundRobin | Choice::LeastInFlight => self.next % len,
            Choice::StickyTopic => jump_hash(topic_hash, len),
        };
        let mut order = (0..len).map(|step| from + (begin + step) % len).filter(|at| Some(*at) != excluded);
        let at = match choice {
            Choice::RoundRobin | Choice::StickyTopic => order.next()?,
            Choice::LeastInFlight => order.take(COMPARED_MAX).min_by_key(|&at| self.list.as_slice()[at].in_flight)?,
        };
        if choice != Choice::StickyTopic {
            self.next = at - from + 1;
        }
        Some(at)
    }
}

/// Consistent: when one place more or less is there, of n places' topics about 1/n move. (Lamping and Veach, "A fast,
/// minimal memory, consistent hash algorithm", 2014.)
fn jump_hash(hash: u64, places: usize) -> usize {
    let mut key = hash;
    let mut place = 0;
    let mut next = 0;
    while next < places as u64 {
        place = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((place + 1) as f64 * ((1u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    place as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::base::ShardId;

    use super::*;
    use crate::mqtt::QoS;

    const OPTIONS: SubscriptionOptions =
        SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };

    fn session(slot: u32) -> SessionRef {
        SessionRef { shard: ShardId::new(slot as usize % 3), slot, generation: 1 }
    }

    fn members(online: u32, offline: u32) -> Members {
        let mut members = Members::new();
        for slot in 0..online + offline {
            members.join(session(slot), OPTIONS, slot < online);
        }
        members
    }

    fn picked(members: &mut Members, choice: Choice, hash: u64, exclude: Option<u32>) -> Option<u32> {
        members.pick(choice, hash, exclude.map(session)).map(|member| member.session.slot)
    }

    const CHOICES: [Choice; 3] = [Choice::RoundRobin, Choice::LeastInFlight, Choice::StickyTopic];

    #[test]
    fn round_robin_gives_each_online_member_the_same() {
        let mut members = members(5, 10_000);
        let mut counts = BTreeMap::new();
        for _ in 0..50 {
            *counts.entry(picked(&mut members, Choice::RoundRobin, 0, None).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(counts, (0..5).map(|slot| (slot, 10)).collect());
    }

    #[test]
    fn the_least_loaded_member_is_picked() {
        let mut members = members(4, 1);
        for slot in [0, 1, 1, 3] {
            members.sent(session(slot));
        }
        assert_eq!(picked(&mut members, Choice::LeastInFlight, 0, None), Some(2));
        members.sent(session(2));
        members.sent(session(2));
        members.finished(session(0));
        assert_eq!(picked(&mut members, Choice::LeastInFlight, 0, None), Some(0));
        assert_eq!(picked(&mut members, Choice::LeastInFlight, 0, Some(0)), Some(3));
    }

    #[test]
    fn a_topic_sticks_and_seldom_moves() {
        let mut members = members(20, 0);
        let hash = |topic: u64| topic.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let place = |members: &mut Members, topic| picked(members, Choice::StickyTopic, hash(topic), None);
        let before: Vec<_> = (0..1000).map(|topic| place(&mut members, topic)).collect();
        assert!((0..1000).all(|topic| place(&mut members, topic) == before[topic as usize]));
        members.leave(session(3));
        let moved = (0..1000).filter(|&topic| place(&mut members, topic) != before[topic as usize]).count();
        assert!(moved < 1000 * 3 / 20, "{moved}");
    }

    #[test]
    fn an_offline_member_is_picked_only_if_no_other_is_online() {
        for choice in CHOICES {
            let mut group = members(1, 2);
            assert_eq!(picked(&mut group, choice, 7, None), Some(0));
            assert!(picked(&mut group, choice, 7, Some(0)).is_some_and(|slot| slot > 0));
            group.leave(session(1));
            group.leave(session(2));
            assert_eq!(picked(&mut group, choice, 7, Some(0)), None);
            group.leave(session(0));
            assert_eq!(picked(&mut group, choice, 7, None), None);
        }
    }

    proptest! {
        #[test]
        fn whoever_is_picked_is_a_member_that_may_be(
            changes in prop::collection::vec((0u32..50, 0u8..5, any::<u64>(), 0u32..50), 0..300),
        ) {
            let mut members = Members::new();
            let mut model = BTreeMap::new();
            for (slot, change, hash, exclude) in changes {
                match change {
                    0 => prop_assert_eq!(members.leave(session(slot)), model.remove(&slot).is_some()),
                    1 | 2 => {
                        let replaced = members.join(session(slot), OPTIONS, change == 1);
                        prop_assert_eq!(replaced, model.insert(slot, change == 1).is_some());
                    }
                    _ => {
                        members.set_online(session(slot), change == 3);
                        model.entry(slot).and_modify(|online| *online = change == 3);
                    }
                }
                let slice = members.as_slice();
                prop_assert_eq!(slice.len(), model.len());
                prop_assert!(slice.iter().enumerate().all(|(at, member)| member.online == (at < members.online)));
                prop_assert!(slice.iter().all(|member| model[&member.session.slot] == member.online));
                let any_online = model.iter().any(|(&slot, &online)| online && slot != exclude);
                let any = model.keys().any(|&slot| slot != exclude);
                for choice in CHOICES {
                    let found = picked(&mut members, choice, hash, Some(exclude));
                    prop_assert_eq!(found.is_some(), any);
                    prop_assert!(found.is_none_or(|slot| slot != exclude && model[&slot] == any_online));
                }
            }
        }
    }
}
