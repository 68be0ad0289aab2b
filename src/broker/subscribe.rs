//! SUBSCRIBE and UNSUBSCRIBE, and what other shards have to know of them before they are answered.

use super::after_drain::AfterDrain;
use super::core::ShardCore;
use super::effects::{Effects, Event};
use super::mesh::{MeshMessage, Token};
use super::mount::mounted_filter;
use super::pending::{Completion, Join, SubAckDue};
use super::publish::has_more_levels_than;
use super::record::Record;
use super::retained::Replay;
use super::session::Membership;
use crate::access::Grant;
use crate::base::limits::{FILTERS_PER_PACKET_MAX, SUBSCRIBES_PENDING_MAX};
use crate::base::{ConnId, Refusal, ShardId, SubscriptionId, Timestamp};
use crate::mqtt::{
    FilterRequest, Packet, Properties, ReasonCode, RetainHandling, SharedFilter, SubAck, Subscribe, TopicFilter,
    UnsubAck, Unsubscribe, Version,
};
use crate::routing::{FilterId, Subscriber, SubscriptionOptions};

impl ShardCore {
    /// Treats the filters in their order, as if each had come in a packet of its own. [MQTT-3.8.4-5]
    pub(super) fn on_subscribe(&mut self, now: Timestamp, conn: ConnId, subscribe: &Subscribe<'_>, fx: &mut Effects) {
        let Some(slot) = self.connections[conn].session else { return };
        let has_too_many = subscribe.filters().nth(FILTERS_PER_PACKET_MAX).is_some();
        if has_too_many || self.pending.len() + self.after_drain.len() >= SUBSCRIBES_PENDING_MAX {
            return self.close_connection(now, conn, ReasonCode::QuotaExceeded, fx);
        }
        let session = self.sessions.reference(slot);
        let id = subscribe.properties.subscription_id();
        let mut join = Join::new(Some(Completion::SubAck(SubAckDue {
            session,
            connection: self.sessions[slot].connection,
            packet_id: subscribe.packet_id,
            reasons: Box::default(),
            replays: Vec::new(),
        })));
        let (mut all_reasons, mut all_replays) = (Vec::new(), Vec::new());
        for request in subscribe.filters() {
            let outcome = self.subscribe_mounted(slot, &request, id, &mut join, fx);
            all_reasons.push(self.subscribe_reason(conn, &request, outcome.as_ref().err()));
            match outcome {
                Ok(replay) => all_replays.extend(replay),
                Err(reason) => {
                    self.count_refused(reason);
                    self.tell_refused(conn, slot, &request, reason, fx);
                }
            }
        }
        if self.sessions[slot].stored.is_some() {
            self.wait_for_commit(&mut join);
        }
        if let Some(Completion::SubAck(due)) = join.completion_mut(&mut self.pending) {
            (due.reasons, due.replays) = (all_reasons.into(), all_replays);
        }
        self.finish(now, join, fx);
    }

    /// What SUBACK says of one filter. [MQTT-3.8.4-6] [MQTT-3.8.4-7]
    fn subscribe_reason(&self, conn: ConnId, request: &FilterRequest<'_>, refusal: Option<&ReasonCode>) -> u8 {
        match (refusal, self.connections[conn].version) {
            // MQTT 3.1 has no way to say no: the client is told what it wants to hear, and gets nothing.
            (None, _) | (_, Version::V3_1) => request.qos as u8,
            // [MQTT3-3.8.4-5]
            (_, Version::V3_1_1) => ReasonCode::Unspecified as u8,
            (Some(&reason), Version::V5) => reason as u8,
        }
    }

    fn count_refused(&mut self, reason: ReasonCode) {
        self.counters.refuse(match reason {
            ReasonCode::NotAuthorized => Refusal::SubscribeNotAuthorized,
            ReasonCode::TopicFilterInvalid => Refusal::TopicTooDeep,
            _ => Refusal::TooManySubscriptions,
        });
    }

    /// Once a connection, as for publishes: the counters tell of the rest.
    fn tell_refused(
        &mut self,
        conn: ConnId,
        slot: u32,
        request: &FilterRequest<'_>,
        reason: ReasonCode,
        fx: &mut Effects,
    ) {
        if std::mem::replace(&mut self.connections[conn].told_refusal, true) {
            return;
        }
        let client_id = self.sessions[slot].client_id.clone();
        fx.events.push(Event::SubscribeRefused { client_id, filter: request.filter.filter.as_str().into(), reason });
    }

    fn subscribe_mounted(
        &mut self,
        slot: u32,
        request: &FilterRequest<'_>,
        id: Option<SubscriptionId>,
        join: &mut Join,
        fx: &mut Effects,
    ) -> Result<Option<Replay>, ReasonCode> {
        let mount = self.sessions[slot].identity.mount();
        if mount.is_empty() {
            return self.subscribe_one(slot, request, id, join, fx);
        }
        let SharedFilter { group, filter } = request.filter;
        let Some(mounted) = mounted_filter(mount, filter) else { return Err(ReasonCode::TopicFilterInvalid) };
        let filter = SharedFilter { group, filter: TopicFilter::trusted(&mounted) };
        self.subscribe_one(slot, &FilterRequest { filter, ..*request }, id, join, fx)
    }

    fn subscribe_one(
        &mut self,
        slot: u32,
        request: &FilterRequest<'_>,
        id: Option<SubscriptionId>,
        join: &mut Join,
        fx: &mut Effects,
    ) -> Result<Option<Replay>, ReasonCode> {
        let SharedFilter { group, filter } = request.filter;
        if has_more_levels_than(filter.as_str(), self.options.topic_levels_max) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if self.grant(slot, filter, request.qos) == Grant::Denied {
            return Err(ReasonCode::NotAuthorized);
        }
        let subscriptions = self.sessions[slot].subscriptions_len();
        if subscriptions >= self.options.subscriptions_max as usize && !self.has(slot, request.filter) {
            return Err(ReasonCode::QuotaExceeded);
        }
        let FilterRequest { no_local, retain_as_published, .. } = *request;
        let options = SubscriptionOptions { qos: request.qos, no_local, retain_as_published, id };
        self.record_subscribed(slot, request.filter, options, fx);
        let Some(group) = group else {
            let is_new = self.subscribe_plain(slot, filter, options, join, fx);
            // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
            // [MQTT-3.8.4-4] [MQTT3-3.8.4-3]
            let wants_retained = match request.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
            return Ok(wants_retained.then(|| self.new_replay(filter, options)));
        };
        // A shared subscription gets no retained messages when it is made. (MQTT 5.0, 4.8.2)
        self.subscribe_shared(slot, group, filter, options, true, join, fx);
        Ok(None)
    }

    fn has(&self, slot: u32, filter: SharedFilter<'_>) -> bool {
        match filter.group {
            Some(group) => self.membership(slot, group, filter.filter).is_some(),
            None => self
                .index
                .find(filter.filter)
                .is_some_and(|found| self.index.options(found, Subscriber::session(slot)).is_some()),
        }
    }

    fn membership(&self, slot: u32, group: &str, filter: TopicFilter<'_>) -> Option<usize> {
        let mut shares = self.sessions[slot].shares().iter();
        shares.position(|share| *share.group == *group && *share.filter == *filter.as_str())
    }

    /// True: the session had no subscription of this filter; else the old one is replaced. [MQTT-3.8.4-3]
    pub(super) fn subscribe_plain(
        &mut self,
        slot: u32,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        join: &mut Join,
        fx: &mut Effects,
    ) -> bool {
        let subscribed = self.index.subscribe(filter, Subscriber::session(slot), options);
        let is_new = subscribed.replaced.is_none();
        if is_new {
            let held = &mut self.sessions[slot].subscriptions;
            // Most sessions have one, and a million of them should not pay for four.
            if held.is_empty() {
                held.reserve_exact(1);
            }
            held.push(subscribed.filter);
        }
        self.await_interest(subscribed.filter, filter, subscribed.first, join, fx);
        is_new
    }

    /// Waits until every shard knows that this one wants the filter.
    pub(super) fn await_interest(
        &mut self,
        id: FilterId,
        filter: TopicFilter<'_>,
        is_first: bool,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        if self.options.shards == 1 {
            return;
        }
        if is_first {
            let waiting = join.wait(&mut self.pending).into_iter().collect();
            let others = self.options.shards as u32 - 1;
            let token = self.pending.insert(others, Completion::Announced { filter: id, waiting });
            self.announcing.insert(id, token);
            for shard in self.others() {
                let filter = filter.as_str().into();
                fx.mesh.push(shard, MeshMessage::Interest { filter, wanted: true, token: Some(token) });
            }
        } else if let Some(&announcement) = self.announcing.get(&id) {
            let token = join.wait(&mut self.pending);
            if let Some(Completion::Announced { waiting, .. }) = self.pending.completion_mut(announcement) {
                waiting.extend(token);
            }
        }
    }

    pub(super) fn on_interest(
        &mut self,
        from: ShardId,
        filter: &str,
        wanted: bool,
        token: Option<Token>,
        fx: &mut Effects,
    ) {
        let filter = TopicFilter::trusted(filter);
        if wanted {
            self.interest.add(filter, from);
        } else {
            self.interest.remove(filter, from);
        }
        if let Some(token) = token {
            fx.mesh.push(from, MeshMessage::Done { token, is_refused: false });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a membership, and who has to hear of it")]
    pub(super) fn subscribe_shared(
        &mut self,
        slot: u32,
        group: &str,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        online: bool,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let home = self.group_home(group, filter);
        if self.membership(slot, group, filter).is_none() {
            let reference = self.groups.reference_to(group, filter.as_str());
            let membership = Membership { group: group.into(), filter: filter.as_str().into(), home, reference };
            self.sessions[slot].rare_mut().shares.push(membership);
        }
        let session = self.sessions.reference(slot);
        if home == self.me {
            self.share_join(group, filter, session, options, online, join, fx);
        } else if let Some(token) = join.wait(&mut self.pending) {
            let (group, filter) = (group.into(), filter.as_str().into());
            fx.mesh.push(home, MeshMessage::ShareJoin { group, filter, session, options, online, token });
        }
    }

    fn record_subscribed(
        &mut self,
        slot: u32,
        filter: SharedFilter<'_>,
        options: SubscriptionOptions,
        fx: &mut Effects,
    ) {
        self.record_of(slot, fx, |session| Record::Subscribed { session, filter: filter.text(), options });
    }

    /// Every shard knows of the subscriptions. What was published before may still be on its way here, and would be
    /// taken for newer than what is retained; so where that matters, SUBACK waits until it is here.
    pub(super) fn on_subscribed(&mut self, now: Timestamp, due: SubAckDue, fx: &mut Effects) {
        if due.replays.is_empty() || self.options.shards == 1 {
            return self.send_suback(now, due, fx);
        }
        self.after_drain.push(AfterDrain::SubAck(due));
    }

    /// [MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.9.3-1]
    pub(super) fn send_suback(&mut self, now: Timestamp, due: SubAckDue, fx: &mut Effects) {
        let SubAckDue { session, connection, packet_id, reasons, mut replays } = due;
        let Some(slot) = self.sessions.resolve(session) else { return };
        let found = &self.sessions[slot];
        let (Some(conn), true) = (found.conn, found.connection == connection) else { return };
        // [MQTT-3.10.4-2]: what was unsubscribed in the meantime gets nothing any more.
        replays.retain(|replay| self.has(slot, SharedFilter { group: None, filter: replay.filter() }));
        if !replays.is_empty() {
            self.begin_replays(slot, replays);
        }
        // No Reason String, no User Property. [MQTT-3.9.2-1] [MQTT-3.9.2-2]
        let ack = SubAck { packet_id, properties: Properties::EMPTY, reasons: &reasons };
        self.send(conn, &Packet::SubAck(ack), fx);
        self.replay(now, slot, fx);
    }

    /// [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT3-3.10.4-4]
    pub(super) fn on_unsubscribe(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        unsubscribe: &Unsubscribe<'_>,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.connections[conn].session else { return };
        if unsubscribe.filters().nth(FILTERS_PER_PACKET_MAX).is_some() {
            return self.close_connection(now, conn, ReasonCode::QuotaExceeded, fx);
        }
        let reasons: Vec<u8> = unsubscribe
            .filters()
            .map(|filter| {
                let existed = self.unsubscribe_mounted(slot, filter, fx);
                (if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted }) as u8
            })
            .collect();
        if self.sessions[slot].stored.is_some() {
            self.shut_gate(conn);
        }
        let packet_id = unsubscribe.packet_id;
        // No Reason String, no User Property. [MQTT-3.11.2-1] [MQTT-3.11.2-2]
        let ack = UnsubAck { packet_id, properties: Properties::EMPTY, reasons: &reasons };
        self.send(conn, &Packet::UnsubAck(ack), fx);
        // The replay of a filter that is no more may have held up the next one's.
        self.replay(now, slot, fx);
    }

    fn unsubscribe_mounted(&mut self, slot: u32, filter: SharedFilter<'_>, fx: &mut Effects) -> bool {
        let mount = self.sessions[slot].identity.mount();
        if mount.is_empty() {
            return self.unsubscribe_one(slot, filter, fx);
        }
        let SharedFilter { group, filter } = filter;
        let Some(mounted) = mounted_filter(mount, filter) else { return false };
        self.unsubscribe_one(slot, SharedFilter { group, filter: TopicFilter::trusted(&mounted) }, fx)
    }

    fn unsubscribe_one(&mut self, slot: u32, filter: SharedFilter<'_>, fx: &mut Effects) -> bool {
        self.judging.begin_again(self.sessions.reference(slot));
        let existed = match filter.group {
            Some(group) => self.unsubscribe_shared(slot, group, filter.filter, fx),
            None => self.unsubscribe_plain(slot, filter.filter, fx),
        };
        if existed {
            self.record_of(slot, fx, |session| Record::Unsubscribed { session, filter: filter.text() });
        }
        existed
    }

    fn unsubscribe_plain(&mut self, slot: u32, filter: TopicFilter<'_>, fx: &mut Effects) -> bool {
        let Some(id) = self.index.find(filter) else { return false };
        let session = &mut self.sessions[slot];
        let Some(at) = session.subscriptions.iter().position(|&held| held == id) else { return false };
        // What was queued or sent under the subscription stays where it is. [MQTT-3.10.4-3]
        session.subscriptions.swap_remove(at);
        if let Some(rare) = &mut session.rare {
            // [MQTT-3.10.4-2]
            rare.end_replays_of(filter);
        }
        self.unsubscribe_index(id, Subscriber::session(slot), fx);
        true
    }

    /// Takes a subscriber out of the index, and tells the other shards when it was the filter's last.
    pub(super) fn unsubscribe_index(&mut self, id: FilterId, who: Subscriber, fx: &mut Effects) {
        let mut text = String::new();
        if self.options.shards > 1 {
            self.index.write_text(id, &mut text);
        }
        let unsubscribed = self.index.unsubscribe(id, who);
        if !unsubscribed.last || self.options.shards == 1 {
            return;
        }
        // The identifier may be used again; what was announced under it goes on to its end by itself.
        self.announcing.remove(&id);
        for shard in self.others() {
            let filter = text.as_str().into();
            fx.mesh.push(shard, MeshMessage::Interest { filter, wanted: false, token: None });
        }
    }

    fn unsubscribe_shared(&mut self, slot: u32, group: &str, filter: TopicFilter<'_>, fx: &mut Effects) -> bool {
        let Some(at) = self.membership(slot, group, filter) else { return false };
        let membership = self.sessions[slot].rare_mut().shares.swap_remove(at);
        let session = self.sessions.reference(slot);
        self.leave_share(session, &membership, fx);
        true
    }
}
