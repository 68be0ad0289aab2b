//! Shared groups homed on this shard, each the one receiver of its filter in the [`super::FilterIndex`].

use std::num::NonZeroU64;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::base::SessionRef;
use crate::mqtt::TopicFilter;

use super::hash;
use super::index_table::IndexTable;
use super::pool::Pool;
use super::shared_group::Members;
use super::subscriber::{GroupId, SubscriptionOptions};

pub use super::shared_group::{Choice, Member};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined {
    pub group: GroupId,
    /// The group is new.
    pub first: bool,
    /// The session was in it; its options are the new ones now.
    pub replaced: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// The session was in the group.
    pub existed: bool,
    /// It was the last, and the group is gone.
    pub last: bool,
}

/// A group as it is known elsewhere, whether or not it is there: a hash of its name and filter, the same on every shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupRef(NonZeroU64);

#[derive(Debug)]
struct Group {
    reference: GroupRef,
    /// Name and filter, with a separator between them that no name contains.
    text: Box<str>,
    name_len: u32,
    members: Members,
}

impl Group {
    fn name_and_filter(&self) -> (&str, &str) {
        let (name, filter) = self.text.split_at(self.name_len as usize);
        (name, &filter[1..])
    }
}

#[derive(Debug)]
pub struct SharedGroups {
    keys: RandomState,
    groups: Pool<Group>,
    by_name: IndexTable,
    /// The groups of each session, so that its coming and going touches no other group.
    of_session: HashMap<SessionRef, Vec<GroupId>, RandomState>,
    memberships: usize,
}

impl SharedGroups {
    pub fn new(seed: u64) -> Self {
        let keys = hash::keyed(seed);
        let of_session = HashMap::with_hasher(keys.clone());
        Self { groups: Pool::new(), by_name: IndexTable::new(), of_session, memberships: 0, keys }
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shared subscriptions: of each group its members.
    pub fn memberships_len(&self) -> usize {
        self.memberships
    }

    /// Adds the session to the group, which is made if it is not there, or replaces what it joined with.
    pub fn join(
        &mut self,
        group: &str,
        filter: TopicFilter<'_>,
        session: SessionRef,
        options: SubscriptionOptions,
        online: bool,
    ) -> Joined {
        let hash = self.hash(group, filter.as_str());
        let found = self.find_hashed(hash, group, filter.as_str());
        let index = found.unwrap_or_else(|| {
            let text = [group, filter.as_str()].join("/").into_boxed_str();
            let (name_len, reference) = (group.len() as u32, GroupRef(hash));
            let index = self.groups.insert(Group { reference, text, name_len, members: Members::new() });
            self.by_name.insert(hash.get(), index);
            index
        });
        let replaced = self.groups[index].members.join(session, options, online);
        if !replaced {
            self.memberships += 1;
            self.of_session.entry(session).or_default().push(GroupId(index));
        }
        Joined { group: GroupId(index), first: found.is_none(), replaced }
    }

    pub fn find(&self, group: &str, filter: TopicFilter<'_>) -> Option<GroupId> {
        self.find_hashed(self.hash(group, filter.as_str()), group, filter.as_str()).map(GroupId)
    }

    pub fn reference(&self, group: GroupId) -> Option<GroupRef> {
        self.groups.get(group.0).map(|found| found.reference)
    }

    /// What any shard with this seed calls the group.
    pub fn reference_to(&self, group: &str, filter: &str) -> GroupRef {
        GroupRef(self.hash(group, filter))
    }

    /// The group, if it is there.
    pub fn resolve(&self, group: GroupRef) -> Option<GroupId> {
        self.by_name.find(group.0.get(), |index| self.groups[index].reference == group).map(GroupId)
    }

    fn find_hashed(&self, hash: NonZeroU64, group: &str, filter: &str) -> Option<u32> {
        self.by_name.find(hash.get(), |index| self.groups[index].name_and_filter() == (group, filter))
    }

    fn hash(&self, group: &str, filter: &str) -> NonZeroU64 {
        let group = hash::of_bytes(&self.keys, group.as_bytes()) as u32;
        let hash = hash::of_pair(&self.keys, group, filter.as_bytes());
        // One bit less, for which an optional reference is no longer than one.
        NonZeroU64::MIN | hash
    }

    pub fn leave(&mut self, group: GroupId, session: SessionRef) -> Left {
        let Some(found) = self.groups.get_mut(group.0) else { return Left { existed: false, last: false } };
        if !found.members.leave(session) {
            return Left { existed: false, last: false };
        }
        self.memberships -= 1;
        let last = found.members.as_slice().is_empty();
        self.forget_membership(group, session);
        if last && let Some(gone) = self.groups.remove(group.0) {
            let (name, filter) = gone.name_and_filter();
            self.by_name.remove(self.hash(name, filter).get(), group.0);
        }
        Left { existed: true, last }
    }

    fn forget_membership(&mut self, group: GroupId, session: SessionRef) {
        let Some(groups) = self.of_session.get_mut(&session) else { return };
        if let Some(at) = groups.iter().position(|&other| other == group) {
            groups.swap_remove(at);
        }
        if groups.is_empty() {
            self.of_session.remove(&session);
            if self.of_session.capacity() > 64 && self.of_session.len() * 8 < self.of_session.capacity() {
                self.of_session.shrink_to(self.of_session.len() * 2);
            }
        }
    }

    /// For all groups that the session is in.
    pub fn set_online(&mut self, session: SessionRef, online: bool) {
        for group in self.of_session.get(&session).into_iter().flatten() {
            self.groups[group.0].members.set_online(session, online);
        }
    }

    /// The groups that the session is in, in no order.
    pub fn of_session(&self, session: SessionRef) -> &[GroupId] {
        self.of_session.get(&session).map_or(&[], Vec::as_slice)
    }

    /// A member got a message that it will acknowledge.
    pub fn sent(&mut self, group: GroupId, session: SessionRef) {
        if let Some(group) = self.groups.get_mut(group.0) {
            group.members.sent(session);
        }
    }

    /// A member acknowledged a message, or lost it.
    pub fn finished(&mut self, group: GroupId, session: SessionRef) {
        if let Some(group) = self.groups.get_mut(group.0) {
            group.members.finished(session);
        }
    }

    /// The member that gets the next message. `exclude` is a member that just bounced one and is taken as not there.
    /// Members that are offline are picked only if no other is online.
    pub fn pick(
        &mut self,
        group: GroupId,
        choice: Choice,
        topic_hash: u64,
        exclude: Option<SessionRef>,
    ) -> Option<&Member> {
        self.groups.get_mut(group.0)?.members.pick(choice, topic_hash, exclude)
    }

    /// Online members first.
    pub fn members(&self, group: GroupId) -> &[Member] {
        self.groups.get(group.0).map_or(&[], |group| group.members.as_slice())
    }

    pub fn name_and_filter(&self, group: GroupId) -> Option<(&str, &str)> {
        self.groups.get(group.0).map(Group::name_and_filter)
    }
}

#[cfg(test)]
mod tests {
    use crate::base::ShardId;

    use super::*;
    use crate::mqtt::QoS;

    const OPTIONS: SubscriptionOptions =
        SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };

    fn session(slot: u32) -> SessionRef {
        SessionRef { shard: ShardId::new(0), slot, generation: 1 }
    }

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn a_group_is_its_name_and_its_filter() {
        let mut groups = SharedGroups::new(1);
        let one = groups.join("g", filter("/a"), session(1), OPTIONS, true);
        let other = groups.join("g", filter("a"), session(1), OPTIONS, true);
        let third = groups.join("h", filter("a"), session(1), OPTIONS, true);
        assert!(one.first && other.first && third.first && groups.len() == 3);
        assert_eq!(groups.memberships_len(), 3);
        assert_eq!(groups.name_and_filter(one.group), Some(("g", "/a")));
        assert_eq!(groups.find("g", filter("a")), Some(other.group));
        assert_eq!(groups.find("h", filter("b")), None);
        let again =
            groups.join("g", filter("a"), session(1), SubscriptionOptions { qos: QoS::ExactlyOnce, ..OPTIONS }, true);
        assert_eq!(groups.memberships_len(), 3, "the same subscription with other options");
        assert_eq!(again, Joined { group: other.group, first: false, replaced: true });
        assert_eq!(groups.members(other.group)[0].options.qos, QoS::ExactlyOnce);
    }

    #[test]
    fn a_group_without_members_is_gone() {
        let mut groups = SharedGroups::new(1);
        let group = groups.join("g", filter("a/+"), session(1), OPTIONS, true).group;
        groups.join("g", filter("a/+"), session(2), OPTIONS, false);
        assert_eq!(groups.leave(group, session(3)), Left { existed: false, last: false });
        assert_eq!(groups.leave(group, session(1)), Left { existed: true, last: false });
        assert_eq!(groups.leave(group, session(2)), Left { existed: true, last: true });
        assert_eq!(groups.leave(group, session(2)), Left { existed: false, last: false });
        assert_eq!(groups.memberships_len(), 0);
        assert!(groups.is_empty() && groups.of_session.is_empty() && groups.by_name.len() == 0);
        assert!(groups.pick(group, Choice::RoundRobin, 0, None).is_none());
    }

    #[test]
    fn a_session_goes_offline_in_all_its_groups() {
        let mut groups = SharedGroups::new(1);
        let ids: Vec<GroupId> = ["a", "b", "c"]
            .map(|text| {
                groups.join("g", filter(text), session(1), OPTIONS, true);
                groups.join("g", filter(text), session(2), OPTIONS, false).group
            })
            .to_vec();
        groups.set_online(session(1), false);
        groups.set_online(session(2), true);
        for &group in &ids {
            for _ in 0..3 {
                let picked = groups.pick(group, Choice::RoundRobin, 0, None);
                assert_eq!(picked.map(|member| member.session), Some(session(2)));
            }
        }
        assert_eq!(groups.of_session(session(1)).len(), 3);
    }
}
