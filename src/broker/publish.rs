//! A PUBLISH from its arrival to its acknowledgement: may it, is it new, who wants it, when is it safe.

use super::core::ShardCore;
use super::deliver::{Copy, Delivered};
use super::effects::{Effects, Event};
use super::message::{Draft, Origin, Parts};
use super::mount::Mounted;
use super::options::{Options, RefusedPublish};
use super::pending::{Completion, Join};
use super::record::Record;
use super::session::Session;
use crate::access::{Client, Guard, Publication};
use crate::base::limits::PACKET_IDS_MAX;
use crate::base::{ConnId, Refusal, SessionRef, ShardSet, Timestamp};
use crate::mqtt::{
    AckType, Delivery, Error, PacketId, Properties, PropertyId, ProtocolViolation, Publish, QoS, ReasonCode, TopicName,
    encode_ack,
};
use crate::routing::{Subscriber, SubscriberKind};
use crate::session::{AckKind, AckTicket, AliasError, Received};

impl ShardCore {
    #[inline]
    pub(super) fn on_publish(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        publish: &Publish<'_>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        self.counters.publishes_received += 1;
        self.counters.publish_bytes_received += publish.payload.len() as u64;
        let Some(topic) = publish.topic else { return self.on_aliased_publish(now, conn, publish, fx) };
        if publish.properties.contains(PropertyId::TopicAlias) {
            let alias = publish.properties.two_byte(PropertyId::TopicAlias).unwrap_or_default();
            let max = self.options.topic_alias_max;
            // [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-9] [MQTT-3.3.2-12]
            let set = self.connections[conn].inbound_aliases.set(alias, topic.as_str(), max);
            set.map_err(alias_error)?;
        }
        self.on_named_publish(now, conn, publish, topic, fx)
    }

    fn on_aliased_publish(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        publish: &Publish<'_>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let alias = publish.properties.two_byte(PropertyId::TopicAlias).unwrap_or_default();
        let topic = self.connections[conn].inbound_aliases.get(alias, self.options.topic_alias_max);
        let topic: Box<str> = topic.map_err(alias_error)?.into();
        self.on_named_publish(now, conn, publish, TopicName::trusted(&topic), fx)
    }

    fn on_named_publish(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let Some(slot) = self.connections[conn].session else { return Ok(()) };
        let mount = self.sessions[slot].identity.mount();
        if !mount.is_empty() {
            let Some(mounted) = Mounted::new(mount, topic, &publish.properties) else {
                return self.on_judged_publish(now, conn, slot, publish, topic, Err(ReasonCode::TopicNameInvalid), fx);
            };
            let topic = mounted.topic();
            let publish = Publish { properties: mounted.properties(&publish.properties), ..*publish };
            let verdict = self.admit(slot, &publish, topic);
            return self.on_judged_publish(now, conn, slot, &publish, topic, verdict, fx);
        }
        let verdict = self.admit(slot, publish, topic);
        self.on_judged_publish(now, conn, slot, publish, topic, verdict, fx)
    }

    /// A publish of which it is known whether it may be. Its topic is the full one.
    #[expect(clippy::too_many_arguments, reason = "the publish, and what was found out about it")]
    #[inline]
    fn on_judged_publish(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        slot: u32,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        verdict: Result<(), ReasonCode>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        if let Err(reason) = verdict
            && self.options.refused_publish == RefusedPublish::Disconnect
            && !self.is_v5(conn)
        {
            // [MQTT3-3.3.5-2]
            self.is_admitted(slot, verdict, topic, fx);
            self.close_connection(now, conn, reason, fx);
            return Ok(());
        }
        // [MQTT-3.3.4-1]
        match publish.delivery {
            Delivery::AtMostOnce => {
                if self.is_admitted(slot, verdict, topic, fx) {
                    self.publish(now, slot, publish, topic, fx);
                }
            }
            Delivery::AtLeastOnce(id) => {
                // Nothing is remembered of the identifier: the next one is another message. [MQTT-4.3.2-5] [MQTT3-4.3.2-2]
                self.check_receive_max(conn, slot)?;
                if self.is_admitted(slot, verdict, topic, fx) {
                    self.publish_and_acknowledge(now, conn, slot, publish, topic, (AckKind::PubAck, id), fx);
                } else {
                    self.acknowledge(conn, slot, AckKind::PubAck, id, verdict.err(), fx);
                }
            }
            Delivery::ExactlyOnce(id) => {
                self.on_exactly_once(now, conn, slot, publish, topic, id, verdict, fx)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the publish, and what was found out about it")]
    fn on_exactly_once(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        slot: u32,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        id: PacketId,
        verdict: Result<(), ReasonCode>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        // Before the identifier is remembered: what is one too many was not taken over, and may come again.
        if !self.sessions[slot].inbound.is_received(id) {
            self.check_receive_max(conn, slot)?;
        }
        if let Err(reason) = verdict
            && self.is_v5(conn)
        {
            // A PUBREC that refuses ends the exchange: the identifier is free at once [MQTT-4.3.3-9]. Before 5.0 none does,
            // and the client is told that all is well. [MQTT3-3.3.5-2]
            self.is_admitted(slot, verdict, topic, fx);
            self.acknowledge(conn, slot, AckKind::PubRec, id, Some(reason), fx);
            return Ok(());
        }
        // Whatever became of the message: of its expiry nothing is known here. [MQTT-4.3.3-13] [MQTT3-4.3.3-2]
        match self.sessions[slot].inbound.receive_exactly_once(id) {
            // [MQTT-4.3.3-10] the message is not delivered again, and its answer is on its way.
            Received::DuplicatePending => {}
            Received::Duplicate => self.acknowledge(conn, slot, AckKind::PubRec, id, None, fx),
            Received::New => {
                if self.is_admitted(slot, verdict, topic, fx) {
                    self.publish_and_acknowledge(now, conn, slot, publish, topic, (AckKind::PubRec, id), fx);
                } else {
                    self.acknowledge(conn, slot, AckKind::PubRec, id, None, fx);
                }
            }
        }
        Ok(())
    }

    /// One more of QoS 1 or 2 must not be more than we said we take. [MQTT-3.3.4-7]
    fn check_receive_max(&self, conn: ConnId, slot: u32) -> Result<(), Error> {
        let max = usize::from(self.options.receive_max);
        let inbound = &self.sessions[slot].inbound;
        let too_many = self.is_v5(conn) && inbound.unacknowledged() >= max;
        // Before 5.0 there is no such limit but the number of identifiers.
        if too_many || inbound.acks_pending() >= PACKET_IDS_MAX {
            return Err(ProtocolViolation::ReceiveMaximumExceeded.into());
        }
        Ok(())
    }

    /// Whether this client may publish this message.
    fn admit(&mut self, slot: u32, publish: &Publish<'_>, topic: TopicName<'_>) -> Result<(), ReasonCode> {
        let Session { identity, client_id, .. } = &self.sessions[slot];
        let (guard, options) = (self.guard.as_mut(), &self.options);
        let publication = Publication { topic, qos: publish.delivery.qos(), retain: publish.retain };
        check_message(
            guard,
            options,
            &Client { identity, client_id },
            &publication,
            &publish.properties,
            publish.payload,
        )
    }

    /// Counts and tells a refusal.
    fn is_admitted(
        &mut self,
        slot: u32,
        verdict: Result<(), ReasonCode>,
        topic: TopicName<'_>,
        fx: &mut Effects,
    ) -> bool {
        let Err(reason) = verdict else { return true };
        self.counters.refuse(match reason {
            ReasonCode::NotAuthorized => Refusal::PublishNotAuthorized,
            ReasonCode::TopicNameInvalid if topic.is_dollar() => Refusal::ReservedTopic,
            ReasonCode::TopicNameInvalid => Refusal::TopicTooDeep,
            _ => Refusal::PayloadFormat,
        });
        let session = &self.sessions[slot];
        let connection = session.conn.and_then(|conn| self.connections.get_mut(conn));
        if connection.is_some_and(|connection| !std::mem::replace(&mut connection.told_refusal, true)) {
            let client_id = session.client_id.clone();
            fx.events.push(Event::PublishRefused { client_id, topic: topic.as_str().into(), reason });
        }
        false
    }

    /// Takes the message over: from here on it is ours to deliver. [MQTT-4.3.2-4] [MQTT-4.3.3-8]
    #[expect(clippy::too_many_arguments, reason = "the publish, and how it is to be answered")]
    fn publish_and_acknowledge(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        slot: u32,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        (kind, id): (AckKind, PacketId),
        fx: &mut Effects,
    ) {
        if kind == AckKind::PubRec && self.sessions[slot].stored.is_some() {
            let ticket = self.sessions[slot].inbound.ack_later(kind, id);
            return self.publish_exactly_once(now, slot, publish, topic, (ticket, id), fx);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut draft = self.draft(now, slot, publish, topic, &mut scratch);
        if self.must_wait(&draft) {
            let then = self.acknowledge_later(slot, kind, id);
            self.route_later(now, slot, &mut draft, Some(then), fx);
        } else {
            let mut join = Join::new(self.options.durable.then_some(Completion::Nothing));
            let receivers = self.route(now, Some(slot), &mut draft, &mut join, fx);
            self.acknowledge_when_stored(conn, slot, (kind, id), join, receivers, fx);
        }
        self.scratch = scratch;
    }

    fn acknowledge_later(&mut self, slot: u32, kind: AckKind, id: PacketId) -> Completion {
        let session = self.sessions.reference(slot);
        let ticket = self.sessions[slot].inbound.ack_later(kind, id);
        Completion::Acknowledge { session, ticket }
    }

    /// Most messages nobody stores: they are acknowledged at once, with nothing to remember.
    fn acknowledge_when_stored(
        &mut self,
        conn: ConnId,
        slot: u32,
        (kind, id): (AckKind, PacketId),
        mut join: Join,
        receivers: usize,
        fx: &mut Effects,
    ) {
        if join.is_waiting() {
            let then = self.acknowledge_later(slot, kind, id);
            if let Some(completion) = join.completion_mut(&mut self.pending) {
                *completion = then;
            }
        } else if join.is_refused() {
            let session = self.sessions.reference(slot);
            let ticket = self.sessions[slot].inbound.ack_later(kind, id);
            self.refuse_publish(session, ticket, fx);
        } else {
            let reason = if receivers == 0 { Some(ReasonCode::NoMatchingSubscribers) } else { None };
            self.acknowledge(conn, slot, kind, id, reason, fx);
        }
    }

    /// With QoS 2, of a session that survives: that the identifier is in use and what came of the message become durable
    /// together.
    fn publish_exactly_once(
        &mut self,
        now: Timestamp,
        slot: u32,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        (ticket, packet_id): (AckTicket, PacketId),
        fx: &mut Effects,
    ) {
        let session = self.sessions.reference(slot);
        if self.store_fails {
            return self.refuse_publish(session, ticket, fx);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut draft = self.draft(now, slot, publish, topic, &mut scratch);
        if self.must_spool(&draft) {
            self.spool(now, Some(slot), &mut draft, None, Some((ticket, packet_id)), fx);
        } else {
            let mut join = Join::new(Some(Completion::Acknowledge { session, ticket }));
            self.route(now, Some(slot), &mut draft, &mut join, fx);
            self.record_of(slot, fx, |session| Record::Accepted { session, packet_id });
            self.wait_for_commit(&mut join);
            self.finish(now, join, fx);
        }
        self.scratch = scratch;
    }

    /// What the acknowledgement waited for is durable.
    pub(super) fn acknowledge_stored(&mut self, session: SessionRef, ticket: AckTicket, fx: &mut Effects) {
        if let Some(slot) = self.sessions.resolve(session) {
            self.sessions[slot].inbound.ack_ready(ticket, ReasonCode::Success as u8);
            self.send_ready_acks(slot, fx);
        }
    }

    /// The publisher is told where it can be, and else not answered. (MQTT 5.0, 3.4.2.1: 0x97)
    pub(super) fn refuse_publish(&mut self, session: SessionRef, ticket: AckTicket, fx: &mut Effects) {
        self.counters.refuse(Refusal::StoreUnwritable);
        let Some(slot) = self.sessions.resolve(session) else { return };
        let is_told = self.sessions[slot].conn.is_some_and(|conn| self.is_v5(conn));
        let inbound = &mut self.sessions[slot].inbound;
        if is_told {
            inbound.ack_ready(ticket, ReasonCode::QuotaExceeded as u8);
        } else {
            inbound.ack_never(ticket);
        }
        self.send_ready_acks(slot, fx);
    }

    /// Whether a message cannot be stored now, and somebody can be told so.
    pub(super) fn may_not_store(&self, qos: QoS, origin: Origin, join: &Join) -> bool {
        self.store_fails && qos != QoS::AtMostOnce && origin == Origin::Publisher && join.is_awaited()
    }

    /// What waits, waits for everything recorded so far.
    pub(super) fn wait_for_commit(&mut self, join: &mut Join) {
        if self.records_made == self.records_committed {
            return;
        }
        if let Some(token) = join.wait(&mut self.pending) {
            self.commits.push_back((self.records_made, token));
        }
    }

    /// Everything that has to be waited for is asked for; with nothing to wait for, it is done.
    pub(super) fn finish(&mut self, now: Timestamp, join: Join, fx: &mut Effects) {
        if let Some(outcome) = join.unawaited() {
            self.complete(now, outcome, fx);
        }
    }

    /// Answers at once, or behind the answers that still wait.
    fn acknowledge(
        &mut self,
        conn: ConnId,
        slot: u32,
        kind: AckKind,
        id: PacketId,
        reason: Option<ReasonCode>,
        fx: &mut Effects,
    ) {
        let reason = reason.unwrap_or(ReasonCode::Success);
        if self.sessions[slot].inbound.ack_now(kind, id, reason as u8).is_some() {
            self.send_ack(conn, ack_type(kind), id, reason, fx);
        }
    }

    pub(super) fn send_ready_acks(&mut self, slot: u32, fx: &mut Effects) {
        while let Some(ack) = self.sessions[slot].inbound.next_ack() {
            let Some(conn) = self.sessions[slot].conn else { continue };
            let reason = ReasonCode::from_u8(ack.reason).unwrap_or(ReasonCode::Success);
            self.send_ack(conn, ack_type(ack.kind), ack.id, reason, fx);
        }
    }

    #[inline]
    pub(super) fn send_ack(&mut self, conn: ConnId, kind: AckType, id: PacketId, reason: ReasonCode, fx: &mut Effects) {
        let connection = &mut self.connections[conn];
        let version = connection.version;
        let out = &mut connection.output(conn, fx).bytes;
        let before = out.len();
        encode_ack(kind, id, reason, version, out);
        let bytes = out.len() - before;
        connection.unsent += bytes as u32;
        self.counters.output_bytes += bytes as u64;
        self.counters.packets_sent += 1;
    }

    /// Sends a client's message on its way, which nobody waits for.
    fn publish(&mut self, now: Timestamp, slot: u32, publish: &Publish<'_>, topic: TopicName<'_>, fx: &mut Effects) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut draft = self.draft(now, slot, publish, topic, &mut scratch);
        self.route_in_order(now, slot, &mut draft, fx);
        self.scratch = scratch;
    }

    #[inline]
    fn draft<'a>(
        &self,
        now: Timestamp,
        slot: u32,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        scratch: &'a mut Vec<u8>,
    ) -> Draft<'a> {
        let publisher = if publish.retain { self.sessions.client_hash(&self.sessions[slot].client_id) } else { 0 };
        let parts = Parts {
            topic,
            topic_hash: self.index.hash(topic),
            qos: publish.delivery.qos(),
            retain: publish.retain,
            properties: &publish.properties,
            payload: publish.payload,
            publisher,
        };
        Draft::write(now, &parts, scratch)
    }

    /// Publishes what the broker has to say of itself. Such a message is never queued and in no log: soon there is a
    /// newer one, and after a restart none of it is true.
    pub(super) fn announce(&mut self, now: Timestamp, topic: TopicName<'_>, payload: &[u8], fx: &mut Effects) {
        debug_assert!(topic.is_dollar(), "other topics are the clients'");
        let mut scratch = std::mem::take(&mut self.scratch);
        let parts = Parts {
            topic,
            topic_hash: self.index.hash(topic),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: &Properties::EMPTY,
            payload,
            publisher: 0,
        };
        self.route(now, None, &mut Draft::write(now, &parts, &mut scratch), &mut Join::new(None), fx);
        self.scratch = scratch;
    }

    /// To the subscribers of this shard, to the shards that have others, and to where it is retained.
    pub(super) fn route(
        &mut self,
        now: Timestamp,
        publisher: Option<u32>,
        draft: &mut Draft<'_>,
        join: &mut Join,
        fx: &mut Effects,
    ) -> usize {
        // [MQTT-3.3.1-8]
        if draft.header().retain {
            // First: whoever asks for retained messages after having seen this one live, must find it.
            self.retain(draft, join, fx);
        }
        let mut receivers = self.fan_out(now, publisher, draft, join, fx);
        if self.options.shards > 1 {
            let shards = self.interested(draft);
            receivers += shards.len();
            for shard in shards.iter() {
                let token = join.wait(&mut self.pending);
                self.counters.mesh_publishes_sent += 1;
                fx.mesh.publish(shard, draft, token);
            }
        }
        receivers
    }

    pub(super) fn interested(&self, draft: &Draft<'_>) -> ShardSet {
        let mut shards = self.interest.shards(draft.topic(), draft.header().topic_hash);
        shards.remove(self.me);
        shards
    }

    /// To the subscribers of this shard. [MQTT-3.3.4-1] [MQTT-4.5.0-1]
    pub(super) fn fan_out(
        &mut self,
        now: Timestamp,
        publisher: Option<u32>,
        draft: &mut Draft<'_>,
        join: &mut Join,
        fx: &mut Effects,
    ) -> usize {
        let mut matches = std::mem::take(&mut self.matches);
        let topic = draft.topic();
        // [MQTT-3.3.2-3] [MQTT-3.8.3-3]
        self.index.matches(topic, draft.header().topic_hash, publisher.map(Subscriber::session), &mut matches);
        self.counters.match_cut += u64::from(matches.was_cut());
        let mut ids = std::mem::take(&mut self.ids);
        let mut is_recorded = false;
        for delivery in matches.deliveries() {
            match delivery.subscriber.kind() {
                SubscriberKind::Group(group) => self.share_out(now, group, draft, None, join, fx),
                SubscriberKind::Session(slot) => {
                    ids.clear();
                    ids.extend(matches.subscription_ids(delivery));
                    let copy = Copy {
                        // [MQTT3-3.3.5-1] [MQTT-3.8.4-8]
                        qos: draft.header().qos.min(delivery.qos),
                        // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
                        retain: delivery.retain_as_published && draft.header().retain,
                        ids: &ids,
                        via: None,
                    };
                    if self.sessions[slot].stored.is_some() && self.may_not_store(copy.qos, draft.origin, join) {
                        join.refuse(&mut self.pending);
                        continue;
                    }
                    let delivered = self.deliver(now, slot, draft, &copy, fx);
                    is_recorded |= delivered == Delivered::Recorded;
                    if draft.header().retain {
                        self.note_live(slot, draft, delivered);
                    }
                }
            }
        }
        if is_recorded {
            self.wait_for_commit(join);
        }
        let receivers = matches.deliveries().len();
        (self.matches, self.ids) = (matches, ids);
        receivers
    }
}

const fn alias_error(error: AliasError) -> ProtocolViolation {
    match error {
        AliasError::Invalid => ProtocolViolation::TopicAlias,
        // An alias that was never set stands for no topic.
        AliasError::Unknown => ProtocolViolation::NoTopic,
    }
}

const fn ack_type(kind: AckKind) -> AckType {
    match kind {
        AckKind::PubAck => AckType::PubAck,
        AckKind::PubRec => AckType::PubRec,
    }
}

/// Whether a client may publish such a message, now or as its will.
pub(super) fn check_message(
    guard: &mut dyn Guard,
    options: &Options,
    client: &Client<'_>,
    publication: &Publication<'_>,
    properties: &Properties<'_>,
    payload: &[u8],
) -> Result<(), ReasonCode> {
    // Topics of the broker are not for clients to write. (MQTT 5.0, 4.7.2)
    let topic = publication.topic;
    if topic.is_dollar() || has_more_levels_than(topic.as_str(), options.topic_levels_max) {
        return Err(ReasonCode::TopicNameInvalid);
    }
    if !guard.may_publish(client, publication) {
        return Err(ReasonCode::NotAuthorized);
    }
    let claims_text =
        options.validate_payload_format && properties.flag(PropertyId::PayloadFormatIndicator) == Some(true);
    if claims_text && std::str::from_utf8(payload).is_err() {
        return Err(ReasonCode::PayloadFormatInvalid);
    }
    Ok(())
}

pub(super) fn has_more_levels_than(text: &str, levels_max: usize) -> bool {
    // A text of so few bytes cannot.
    text.len() >= levels_max && text.bytes().filter(|&byte| byte == b'/').count() >= levels_max
}
