//! Shared subscriptions: a group has a home shard, which picks the member that gets a message. The member may live on
//! another shard, and may be gone when the message arrives there: then it comes back, and another one is picked.

use super::core::ShardCore;
use super::deliver::{Copy, Delivered};
use super::effects::Effects;
use super::mesh::{MeshMessage, ReplyTo, ShareDelivery};
use super::message::{Draft, Message, Origin};
use super::pending::{Completion, Join};
use super::record::Record;
use super::session::{Membership, Via};
use crate::base::{DropReason, RecordId, SessionRef, ShardId, SubscriptionId, Timestamp};
use crate::mqtt::{QoS, SharedFilter, TopicFilter};
use crate::routing::{Choice, GroupId, GroupRef, Member, Subscriber, SubscriptionOptions};

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
            let subscribed =
                self.index.subscribe(filter, Subscriber::group(joined.group), SubscriptionOptions::OF_GROUP);
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
            self.counters.drop_message(DropReason::NoSharedMember);
            return self.share_arrived(draft.origin, join, fx);
        };
        let qos = draft.header().qos.min(options.qos);
        if session.shard != self.me && qos != QoS::AtMostOnce && matches!(draft.origin, Origin::Spool(_)) {
            // What this shard is to do about the message ends here; the group's part goes on by itself.
            return self.spool_for_share(now, group, draft, fx);
        }
        if qos != QoS::AtMostOnce && self.options.share_choice == Choice::LeastInFlight {
            self.groups.sent(group, session);
        }
        let Some(group) = self.groups.reference(group) else { return };
        if session.shard != self.me {
            let spooled = match draft.origin {
                Origin::SpoolForShare(spooled) => Some(spooled),
                Origin::Publisher | Origin::Spool(_) => None,
            };
            let needs_answer = qos != QoS::AtMostOnce || spooled.is_some();
            let token = if needs_answer { join.wait(&mut self.pending) } else { None };
            let delivery = ShareDelivery { group, message: draft.message(), options, token, spooled };
            return fx.mesh.push(session.shard, MeshMessage::ShareDeliver { session, delivery, last_resort: !online });
        }
        let Some(slot) = self.sessions.resolve(session) else { return };
        self.share_here(now, slot, draft, options, Via { home: self.me, group }, join, fx);
    }

    /// The member is one of this shard.
    #[expect(clippy::too_many_arguments, reason = "a message, its receiver, and who waits for it")]
    fn share_here(
        &mut self,
        now: Timestamp,
        slot: u32,
        draft: &mut Draft<'_>,
        options: SubscriptionOptions,
        via: Via,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let qos = draft.header().qos.min(options.qos);
        if self.sessions[slot].stored.is_some() && self.may_not_store(qos, draft.origin, join) {
            return join.refuse(&mut self.pending);
        }
        if self.deliver_shared(now, slot, draft, options, via, fx) {
            self.wait_for_commit(join);
        }
        self.share_arrived(draft.origin, join, fx);
    }

    /// A message of a spool that was for one member of a group needs nobody any more.
    fn share_arrived(&mut self, origin: Origin, join: &mut Join, fx: &mut Effects) {
        if let Origin::SpoolForShare(spooled) = origin {
            self.record(Record::Arrived { spooled }, fx);
            self.wait_for_commit(join);
        }
    }

    fn spool_for_share(&mut self, now: Timestamp, group: GroupId, draft: &mut Draft<'_>, fx: &mut Effects) {
        let (Some(group_ref), Some((name, filter))) =
            (self.groups.reference(group), self.groups.name_and_filter(group))
        else {
            return;
        };
        let text = SharedFilter { group: Some(name), filter: TopicFilter::trusted(filter) }.text();
        let via = Via { home: self.me, group: group_ref };
        self.spool(now, None, draft, Some((via, text)), None, fx);
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
            session.is_member(Via { home: from, group: delivery.group }) && (last_resort || session.conn.is_some())
        });
        let Some(slot) = takes else {
            return fx.mesh.push(from, MeshMessage::ShareReturn { session, delivery });
        };
        let ShareDelivery { group, message, options, token, spooled } = delivery;
        let mut join = Join::new(token.map(|token| Completion::Reply(ReplyTo { shard: from, token })));
        let via = Via { home: from, group };
        let mut draft = Draft::from(&message, origin_of(spooled));
        self.share_here(now, slot, &mut draft, options, via, &mut join, fx);
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
        let mut join = Join::new(delivery.token.map(Completion::Passed));
        self.share_again(now, Some(session), &delivery, &mut join, fx);
        self.finish(now, join, fx);
    }

    /// At the group's home: another member than `session` gets the message.
    pub(super) fn share_again(
        &mut self,
        now: Timestamp,
        session: Option<SessionRef>,
        delivery: &ShareDelivery,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let ShareDelivery { group, message, spooled, .. } = delivery;
        if let Some(session) = session
            && self.options.share_choice == Choice::LeastInFlight
        {
            self.share_finished_here(session, *group);
        }
        let origin = origin_of(*spooled);
        match self.groups.resolve(*group) {
            Some(group) => self.share_out(now, group, &mut Draft::from(message, origin), session, join, fx),
            None => {
                self.counters.drop_message(DropReason::NoSharedMember);
                self.share_arrived(origin, join, fx);
            }
        }
    }

    /// At the group's home: a member has one less on its hands.
    pub(super) fn share_finished_here(&mut self, session: SessionRef, group: GroupRef) {
        if let Some(group) = self.groups.resolve(group) {
            self.groups.finished(group, session);
        }
    }

    /// A session ended that still had this message: another member may have it. `text` is the group's where the message
    /// must not get lost on its way.
    pub(super) fn return_share(
        &mut self,
        now: Timestamp,
        session: SessionRef,
        via: Via,
        message: Message,
        text: Option<Box<str>>,
        fx: &mut Effects,
    ) {
        if let Some(text) = text
            && self.options.shards > 1
        {
            return self.spool(now, None, &mut Draft::of(&message), Some((via, text)), None, fx);
        }
        let delivery = ShareDelivery {
            group: via.group,
            message,
            options: SubscriptionOptions::OF_GROUP,
            token: None,
            spooled: None,
        };
        if via.home == self.me {
            return self.on_share_return(now, session, delivery, fx);
        }
        fx.mesh.push(via.home, MeshMessage::ShareReturn { session, delivery });
    }

    /// A message of the spool sets out for a member of its group.
    pub(super) fn route_to_share(
        &mut self,
        now: Timestamp,
        via: Via,
        message: Message,
        spooled: RecordId,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let Via { home, group } = via;
        let (options, spooled) = (SubscriptionOptions::OF_GROUP, Some(spooled));
        if home == self.me {
            let delivery = ShareDelivery { group, message, options, token: None, spooled };
            return self.share_again(now, None, &delivery, join, fx);
        }
        let token = join.wait(&mut self.pending);
        fx.mesh.push(
            home,
            MeshMessage::ShareAgain { delivery: ShareDelivery { group, message, options, token, spooled } },
        );
    }
}

fn origin_of(spooled: Option<RecordId>) -> Origin {
    spooled.map_or(Origin::Publisher, Origin::SpoolForShare)
}
