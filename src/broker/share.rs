//! Shared subscriptions: a group has a home shard, which picks the member that gets a message. The member may live on
//! another shard, and may be gone when the message arrives there: then it comes back, and another one is picked.

use super::core::ShardCore;
use super::deliver::{Copy, Delivered};
use super::effects::Effects;
use super::mesh::{MeshMessage, ReplyTo, ShareDelivery, Token};
use super::message::Draft;
use super::pending::Completion;
use super::pending::Join;
use super::session::{Membership, Outgoing, Via};
use crate::base::{DropReason, SessionRef, ShardId, SubscriptionId, Timestamp};
use crate::mqtt::{QoS, TopicFilter};
use crate::routing::{Choice, GroupId, GroupRef, Member, Subscriber, SubscriptionOptions};

/// The group's own subscription: each member's options decide what he gets.
const GROUP_OPTIONS: SubscriptionOptions =
    SubscriptionOptions { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: true, id: None };

impl ShardCore {
    pub(super) fn group_home(&self, group: &str, filter: TopicFilter<'_>) -> ShardId {
        self.homes.of_group(group, filter)
    }

    /// At the group's home: a member joins, or changes its options.
    #[expect(clippy::too_many_arguments, reason = "a membership, and who has to hear of it")]
    pub(super) fn share_join(
        &mut self,
        group: &str,
        filter: TopicFilter<'_>,
        session: SessionRef,
        options: SubscriptionOptions,
        online: bool,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let joined = self.groups.join(group, filter, session, options, online);
        let (id, is_first) = if joined.first {
            let subscribed = self.index.subscribe(filter, Subscriber::group(joined.group), GROUP_OPTIONS);
            (Some(subscribed.filter), subscribed.first)
        } else {
            // The group is there; the shards may still be hearing of its filter.
            (self.index.find(filter), false)
        };
        if let Some(id) = id {
            self.await_interest(id, filter, is_first, join, fx);
        }
    }

    pub(super) fn leave_share(&mut self, session: SessionRef, membership: &Membership, fx: &mut Effects) {
        let Membership { group, filter, home, .. } = membership;
        if *home == self.me {
            return self.share_leave(group, filter, session, fx);
        }
        let (group, filter) = (group.clone(), filter.clone());
        fx.mesh.push(*home, MeshMessage::ShareLeave { group, filter, session });
    }

    /// At the group's home: a member leaves.
    pub(super) fn share_leave(&mut self, group: &str, filter: &str, session: SessionRef, fx: &mut Effects) {
        let filter = TopicFilter::trusted(filter);
        let Some(group) = self.groups.find(group, filter) else { return };
        if !self.groups.leave(group, session).last {
            return;
        }
        if let Some(id) = self.index.find(filter) {
            self.unsubscribe_index(id, Subscriber::group(group), fx);
        }
    }

    /// At the group's home: one member gets the message. [MQTT-4.8.2-3]
    pub(super) fn share_out(
        &mut self,
        now: Timestamp,
        group: GroupId,
        draft: &mut Draft<'_>,
        exclude: Option<SessionRef>,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let Some((session, options, online)) = self.pick(group, draft, exclude) else {
            return self.counters.drop_message(DropReason::NoSharedMember);
        };
        let qos = draft.header().qos.min(options.qos);
        if qos != QoS::AtMostOnce && self.options.share_choice == Choice::LeastInFlight {
            self.groups.sent(group, session);
        }
        let Some(group) = self.groups.reference(group) else { return };
        if session.shard != self.me {
            let token = if qos == QoS::AtMostOnce { None } else { join.wait(&mut self.pending) };
            let delivery = ShareDelivery { group, message: draft.message(), options, token };
            return fx.mesh.push(session.shard, MeshMessage::ShareDeliver { session, delivery, last_resort: !online });
        }
        let Some(slot) = self.sessions.resolve(session) else { return };
        let via = Via { home: self.me, group };
        if self.deliver_shared(now, slot, draft, options, via, fx) {
            self.wait_for_commit(join);
        }
    }

    fn pick(
        &mut self,
        group: GroupId,
        draft: &Draft<'_>,
        exclude: Option<SessionRef>,
    ) -> Option<(SessionRef, SubscriptionOptions, bool)> {
        let (choice, topic_hash) = (self.options.share_choice, draft.header().topic_hash.get());
        let facts = |member: &Member| (member.session, member.options, member.online);
        let picked = self.groups.pick(group, choice, topic_hash, exclude).map(facts);
        // Better the one that just could not than nobody: if it is still a member, it can keep the message.
        picked.or_else(|| self.groups.pick(group, choice, topic_hash, None).map(facts))
    }

    fn deliver_shared(
        &mut self,
        now: Timestamp,
        slot: u32,
        draft: &mut Draft<'_>,
        options: SubscriptionOptions,
        via: Via,
        fx: &mut Effects,
    ) -> bool {
        let id: Option<[SubscriptionId; 1]> = options.id.map(|id| [id]);
        let copy = Copy {
            qos: draft.header().qos.min(options.qos),
            retain: options.retain_as_published && draft.header().retain,
            // A copy of its own, with its own identifier. [MQTT-3.3.4-5]
            ids: id.as_ref().map_or(&[], |id| id.as_slice()),
            via: Some(via),
        };
        self.deliver(now, slot, draft, &copy, fx) == Delivered::Recorded
    }

    /// At the member's shard: take the message, or send it back.
    pub(super) fn on_share_deliver(
        &mut self,
        now: Timestamp,
        from: ShardId,
        session: SessionRef,
        delivery: ShareDelivery,
        last_resort: bool,
        fx: &mut Effects,
    ) {
        let slot = self.sessions.resolve(session);
        let takes = slot.filter(|&slot| {
            let session = &self.sessions[slot];
            // The home may not have heard yet that it left: what it left, it gets no more. [MQTT-3.10.4-2]
            session.is_member(from, delivery.group) && (last_resort || session.conn.is_some())
        });
        let Some(slot) = takes else {
            return fx.mesh.push(from, MeshMessage::ShareReturn { session, delivery });
        };
        let ShareDelivery { group, message, options, token } = delivery;
        let mut join = Join::new(token.map(|token| Completion::Reply(ReplyTo { shard: from, token })));
        let via = Via { home: from, group };
        if self.deliver_shared(now, slot, &mut Draft::of(&message), options, via, fx) {
            self.wait_for_commit(&mut join);
        }
        self.finish(now, join, fx);
    }

    /// At the group's home: a member could not take the message, and another one gets it.
    pub(super) fn on_share_return(
        &mut self,
        now: Timestamp,
        session: SessionRef,
        delivery: ShareDelivery,
        fx: &mut Effects,
    ) {
        let ShareDelivery { group, message, token, .. } = delivery;
        if self.options.share_choice == Choice::LeastInFlight {
            self.share_finished_here(session, group);
        }
        let mut join = Join::new(token.map(Completion::Passed));
        match self.groups.resolve(group) {
            Some(group) => self.share_out(now, group, &mut Draft::of(&message), Some(session), &mut join, fx),
            // The group is gone; another one may have its identifier.
            None => self.counters.drop_message(DropReason::NoSharedMember),
        }
        self.finish(now, join, fx);
    }

    /// At the group's home: a member has one less on its hands.
    pub(super) fn share_finished_here(&mut self, session: SessionRef, group: GroupRef) {
        if let Some(group) = self.groups.resolve(group) {
            self.groups.finished(group, session);
        }
    }

    /// A session ended that still had this message: another member may have it.
    pub(super) fn return_share(
        &mut self,
        now: Timestamp,
        session: SessionRef,
        via: Via,
        item: Outgoing,
        fx: &mut Effects,
    ) {
        let no_token: Option<Token> = None;
        let delivery =
            ShareDelivery { group: via.group, message: item.message, options: GROUP_OPTIONS, token: no_token };
        if via.home == self.me {
            return self.on_share_return(now, session, delivery, fx);
        }
        fx.mesh.push(via.home, MeshMessage::ShareReturn { session, delivery });
    }
}
