//! A message on its last yards: to one session, into its window, its queue or its socket; and the acknowledgements that
//! come back.

use super::core::ShardCore;
use super::effects::Effects;
use super::mesh::MeshMessage;
use super::message::{Draft, MessageHeader};
use super::record::{Record, StoredCopy};
use super::session::{Ids, Outgoing, Via};
use super::write::{Write, write_publish};
use crate::base::{ConnId, DropReason, Millis, RecordId, SubscriptionId, Timestamp};
use crate::mqtt::{Ack, AckType, Delivery, Error, PacketId, QoS, ReasonCode};
use crate::routing::Choice;
use crate::session::{Dropped, Pushed, Resend, SendQos};

/// What one session's copy of a message has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy<'a> {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) ids: &'a [SubscriptionId],
    pub(super) via: Option<Via>,
}

/// What became of a message for one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivered {
    Dropped,
    /// Sent or queued.
    Taken,
    /// The same, and it has to be committed.
    Recorded,
}

impl Delivered {
    const fn taken(is_recorded: bool) -> Self {
        if is_recorded { Self::Recorded } else { Self::Taken }
    }
}

impl ShardCore {
    /// Delivers to one session of this shard.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        now: Timestamp,
        slot: u32,
        draft: &mut Draft<'_>,
        copy: &Copy<'_>,
        fx: &mut Effects,
    ) -> Delivered {
        if self.is_judged(slot) && !self.may_receive(slot, draft.topic()) {
            self.counters.drop_message(DropReason::NotAuthorized);
            return Delivered::Dropped;
        }
        let session = &self.sessions[slot];
        // What the broker says of itself is not worth a place in a queue.
        let queue_qos_zero = self.options.queue_qos_zero && !draft.topic().is_dollar();
        let Some(conn) = session.conn else {
            if copy.qos == QoS::AtMostOnce && !queue_qos_zero {
                self.counters.drop_message(DropReason::QosZeroOffline);
                return Delivered::Dropped;
            }
            return self.enqueue(slot, draft, copy, fx);
        };
        let connection = &self.connections[conn];
        let has_room = connection.unsent < self.options.output_bytes_max;
        if !has_room {
            self.notice_full(now, conn);
        }
        let (connection, session) = (&self.connections[conn], &self.sessions[slot]);
        if copy.qos == QoS::AtMostOnce {
            if has_room && (session.queue.is_empty() || !queue_qos_zero) {
                self.send_qos_zero(now, slot, conn, draft, copy, fx);
                return Delivered::Taken;
            }
            if !queue_qos_zero {
                self.counters.drop_message(DropReason::QosZeroSlow);
                return Delivered::Dropped;
            }
            return self.enqueue(slot, draft, copy, fx);
        }
        // Never past what waits [MQTT-4.6.0-6]; only a PUBLISH waits for the quota [MQTT-4.9.0-3].
        let is_free = has_room && session.queue.is_empty();
        if is_free && session.outbound.can_send(connection.window) {
            let mut outgoing = outgoing(draft, copy);
            let id = session.outbound.next_id();
            outgoing.item = self.record_queued(slot, draft, &outgoing, Some(id), fx);
            let is_recorded = outgoing.item.is_some();
            self.send_in_window(now, slot, conn, outgoing, fx);
            return Delivered::taken(is_recorded);
        }
        self.enqueue(slot, draft, copy, fx)
    }

    fn send_qos_zero(
        &mut self,
        now: Timestamp,
        slot: u32,
        conn: ConnId,
        draft: &mut Draft<'_>,
        copy: &Copy<'_>,
        fx: &mut Effects,
    ) {
        // [MQTT-4.3.1-1]
        let write = Write { delivery: Delivery::AtMostOnce, dup: false, retain: copy.retain, ids: copy.ids };
        let body = draft.body();
        let header = *draft.header();
        let (connection, mount) = (&mut self.connections[conn], self.sessions[slot].identity.mount());
        let written = write_publish(now, connection, conn, mount, &header, &body, &write, &mut self.counters, fx);
        match written {
            Ok(true) => connection.output(conn, fx).attach_payload(draft.message()),
            Ok(false) => {}
            Err(reason) => self.counters.drop_message(reason.drop_reason()),
        }
    }

    /// Gives the message a packet identifier and sends it. The window has room.
    fn send_in_window(&mut self, now: Timestamp, slot: u32, conn: ConnId, outgoing: Outgoing, fx: &mut Effects) {
        let kind = if outgoing.qos == QoS::AtLeastOnce { SendQos::AtLeastOnce } else { SendQos::ExactlyOnce };
        let id = self.sessions[slot].outbound.next_id();
        if kind == SendQos::ExactlyOnce && self.sessions[slot].stored.is_some() {
            self.shut_gate(conn);
        }
        let (connection, mount) = (&mut self.connections[conn], self.sessions[slot].identity.mount());
        let message = &outgoing.message;
        // [MQTT-3.3.1-3] whatever the flag of the PUBLISH that it came in. [MQTT-4.3.2-2] [MQTT-4.3.3-2]
        let (delivery, ids) = (delivery_of(kind, id), outgoing.ids.as_slice());
        let write = Write { delivery, dup: false, retain: outgoing.retain, ids };
        let (header, body) = (message.header(), message.body());
        match write_publish(now, connection, conn, mount, header, &body, &write, &mut self.counters, fx) {
            Ok(true) => connection.output(conn, fx).attach_payload(message.clone()),
            Ok(false) => {}
            // [MQTT-3.1.2-25] as if it had been sent.
            Err(reason) => return self.drop_one(slot, &outgoing, reason.drop_reason(), fx),
        }
        self.held.put(&outgoing);
        let sent = self.sessions[slot].outbound.send(kind, outgoing, connection.window);
        debug_assert_eq!(sent, Some(id), "the caller asked whether it can be sent");
    }

    /// A message that will not be sent.
    fn drop_one(&mut self, slot: u32, outgoing: &Outgoing, reason: DropReason, fx: &mut Effects) {
        self.counters.drop_message(reason);
        self.record_dequeued(slot, outgoing.item, fx);
        self.share_finished(slot, outgoing, fx);
    }

    /// Makes a record if this session's state is to survive.
    pub(super) fn record_of(&mut self, slot: u32, fx: &mut Effects, make: impl FnOnce(RecordId) -> Record) {
        if let Some(session) = self.sessions[slot].stored {
            self.record(make(session), fx);
        }
    }

    pub(super) fn record_dequeued(&mut self, slot: u32, item: Option<RecordId>, fx: &mut Effects) {
        if let Some(item) = item {
            self.record_of(slot, fx, |session| Record::Dequeued { session, item });
        }
    }

    /// The name of the record that `record_queued` will make, if nothing is recorded before.
    fn next_item(&self, slot: u32, draft: &Draft<'_>) -> Option<RecordId> {
        self.sessions[slot].stored?;
        let ahead = if draft.record.is_some() { 1 } else { 2 };
        RecordId::new(self.records_made + ahead, self.me)
    }

    /// The message is recorded once, however many sessions get it.
    fn record_queued(
        &mut self,
        slot: u32,
        draft: &mut Draft<'_>,
        outgoing: &Outgoing,
        sent: Option<PacketId>,
        fx: &mut Effects,
    ) -> Option<RecordId> {
        let session = self.sessions[slot].stored?;
        let message = match draft.record {
            Some(message) => message,
            None => self.record(Record::Message { message: draft.message() }, fx),
        };
        draft.record = Some(message);
        let Outgoing { ids, qos, retain, via, .. } = outgoing;
        let share = via.and_then(|via| self.sessions[slot].share_text(via));
        let copy = StoredCopy { qos: *qos, retain: *retain, subscription_ids: ids.as_slice().into(), share };
        Some(self.record(Record::Queued { session, message, copy, sent }, fx))
    }

    /// Keeps a message until the window has room, or its client is back. [MQTT3-3.1.2-5]
    fn enqueue(&mut self, slot: u32, draft: &mut Draft<'_>, copy: &Copy<'_>, fx: &mut Effects) -> Delivered {
        let mut outgoing = outgoing(draft, copy);
        outgoing.item = self.next_item(slot, draft);
        self.held.put(&outgoing);
        let mut dropped = Vec::new();
        let queue = &mut self.sessions[slot].queue;
        let pushed = queue.push(outgoing.clone(), &self.options.queue, |item, reason| dropped.push((item, reason)));
        let is_queued = matches!(pushed, Pushed::Queued | Pushed::Replaced);
        let recorded = if is_queued { self.record_queued(slot, draft, &outgoing, None, fx) } else { None };
        debug_assert!(!is_queued || recorded == outgoing.item, "nothing was recorded in between");
        for (item, reason) in dropped {
            self.held.drop(&item);
            self.drop_queued(slot, item, reason, fx);
        }
        if pushed == Pushed::Disconnect {
            self.overfull.extend(self.sessions[slot].conn);
        }
        if !is_queued {
            return Delivered::Dropped;
        }
        self.list_long_queue(slot);
        Delivered::taken(recorded.is_some())
    }

    fn drop_queued(&mut self, slot: u32, dropped: Dropped<Outgoing>, reason: DropReason, fx: &mut Effects) {
        self.counters.drop_message(reason);
        // The newest one never was in the queue.
        let was_queued = matches!(reason, DropReason::QueueFullOldest | DropReason::LastValueReplaced);
        let item = match &dropped {
            Dropped::Here(outgoing) => outgoing.item,
            Dropped::InStore(left) => {
                self.messages_left -= 1;
                Some(left.item)
            }
        };
        self.record_dequeued(slot, item.filter(|_| was_queued), fx);
        if let Dropped::Here(outgoing) = dropped {
            self.share_finished(slot, &outgoing, fx);
        }
    }

    /// Sends what waits, as far as window and socket have room: first what has to be sent again, then the queue, then
    /// retained messages.
    pub(super) fn pump(&mut self, now: Timestamp, slot: u32, fx: &mut Effects) {
        let Some(conn) = self.sessions[slot].conn else { return };
        while self.has_room(conn) && self.resend_one(now, slot, conn, fx) {}
        while self.has_room(conn) {
            let window = self.connections[conn].window;
            let session = &mut self.sessions[slot];
            let may_go = |item: &Outgoing| item.qos == QoS::AtMostOnce || session.outbound.can_send(window);
            if !session.queue.front().is_some_and(may_go) {
                break;
            }
            let Some(outgoing) = session.queue.pop() else { break };
            self.held.take(&outgoing);
            self.send_queued(now, slot, conn, outgoing, fx);
        }
        self.load_more(slot, fx);
        self.replay(now, slot, fx);
        self.notice_full(now, conn);
    }

    pub(super) fn has_room(&self, conn: ConnId) -> bool {
        self.connections[conn].unsent < self.options.output_bytes_max
    }

    fn send_queued(&mut self, now: Timestamp, slot: u32, conn: ConnId, outgoing: Outgoing, fx: &mut Effects) {
        // Whatever was so when it began to wait.
        if self.is_judged(slot) && !self.may_receive(slot, outgoing.message.topic()) {
            return self.drop_one(slot, &outgoing, DropReason::NotAuthorized, fx);
        }
        if outgoing.qos != QoS::AtMostOnce {
            if let Some(item) = outgoing.item {
                let packet_id = self.sessions[slot].outbound.next_id();
                self.record_of(slot, fx, |session| Record::Sent { session, item, packet_id });
            }
            return self.send_in_window(now, slot, conn, outgoing, fx);
        }
        let copy = Copy { qos: outgoing.qos, retain: outgoing.retain, ids: outgoing.ids.as_slice(), via: None };
        self.send_qos_zero(now, slot, conn, &mut Draft::of(&outgoing.message), &copy, fx);
        self.record_dequeued(slot, outgoing.item, fx);
    }

    /// Sends the next of what was under way when the last connection ended. [MQTT-4.4.0-1] [MQTT-4.4.0-2]
    fn resend_one(&mut self, now: Timestamp, slot: u32, conn: ConnId, fx: &mut Effects) -> bool {
        let connection = &mut self.connections[conn];
        let session = &mut self.sessions[slot];
        let mount = session.identity.mount();
        let (delivery, message, written) = match session.outbound.next_resend(connection.window) {
            None => return false,
            Some(Resend::PubRel { id }) => {
                self.send_ack(conn, AckType::PubRel, id, ReasonCode::Success, fx);
                return true;
            }
            Some(Resend::Publish { id, delivery, message }) => {
                // [MQTT-3.3.1-1]
                let delivery = delivery_of(delivery, id);
                let write = Write { delivery, dup: true, retain: message.retain, ids: message.ids.as_slice() };
                let (header, body) = (message.message.header(), message.message.body());
                // Sending was begun, and has to be finished whatever time has passed. [MQTT-4.3.3-7]
                let header = MessageHeader { expires: header.expires.max(now + Millis(1)), ..*header };
                let counters = &mut self.counters;
                let written = write_publish(now, connection, conn, mount, &header, &body, &write, counters, fx);
                (delivery, message.message.clone(), written)
            }
        };
        match written {
            Ok(true) => connection.output(conn, fx).attach_payload(message),
            Ok(false) => {}
            Err(reason) => self.end_unsent(slot, conn, delivery, reason.drop_reason(), fx),
        }
        true
    }

    /// What was under way and cannot be sent again is done with, as if it had been sent and received [MQTT-3.1.2-25]. A
    /// client that has a message of QoS 2 from before is to release it, or would take the next one with its identifier
    /// for the same.
    fn end_unsent(&mut self, slot: u32, conn: ConnId, delivery: Delivery, reason: DropReason, fx: &mut Effects) {
        self.counters.drop_message(reason);
        match delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce(id) => {
                if let Ok(outgoing) = self.sessions[slot].outbound.puback(id) {
                    self.delivered(slot, &outgoing, ReasonCode::Success, fx);
                }
            }
            Delivery::ExactlyOnce(id) => self.received(slot, conn, id, fx),
        }
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP from the client.
    #[inline]
    pub(super) fn on_ack(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        kind: AckType,
        ack: &Ack<'_>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let Some(slot) = self.connections[conn].session else { return Ok(()) };
        let id = ack.packet_id;
        match kind {
            AckType::PubAck => {
                if let Ok(outgoing) = self.sessions[slot].outbound.puback(id) {
                    self.delivered(slot, &outgoing, ack.reason, fx);
                    self.pump(now, slot, fx);
                }
            }
            AckType::PubRec => self.on_pubrec(now, conn, slot, ack, fx),
            AckType::PubRel => self.on_pubrel(conn, slot, id, fx),
            AckType::PubComp => {
                if self.sessions[slot].outbound.pubcomp(id).is_ok() {
                    self.record_of(slot, fx, |session| Record::Completed { session, packet_id: id });
                    self.pump(now, slot, fx);
                }
            }
        }
        Ok(())
    }

    fn on_pubrec(&mut self, now: Timestamp, conn: ConnId, slot: u32, ack: &Ack<'_>, fx: &mut Effects) {
        let id = ack.packet_id;
        if ack.reason.is_error() {
            // [MQTT-4.3.3-4] [MQTT-4.8.2-6]
            if let Ok(outgoing) = self.sessions[slot].outbound.pubrec_refused(id) {
                self.delivered(slot, &outgoing, ack.reason, fx);
                self.pump(now, slot, fx);
            }
            return;
        }
        self.received(slot, conn, id, fx);
    }

    /// The client has a message of QoS 2, or what it acknowledged is not known.
    fn received(&mut self, slot: u32, conn: ConnId, id: PacketId, fx: &mut Effects) {
        let Ok(received) = self.sessions[slot].outbound.pubrec(id) else {
            return self.send_ack(conn, AckType::PubRel, id, ReasonCode::PacketIdentifierNotFound, fx);
        };
        if let Some(outgoing) = received {
            self.held.take(&outgoing);
            if let Some(item) = outgoing.item {
                self.record_of(slot, fx, |session| Record::Received { session, item, packet_id: id });
            }
            self.share_finished(slot, &outgoing, fx);
        }
        if self.sessions[slot].stored.is_some() {
            // From PUBREL on the client takes a PUBLISH with the identifier for another message.
            self.shut_gate(conn);
        }
        // [MQTT-4.3.3-4]
        self.send_ack(conn, AckType::PubRel, id, ReasonCode::Success, fx);
    }

    /// [MQTT-4.3.3-11] [MQTT-4.3.3-12]
    fn on_pubrel(&mut self, conn: ConnId, slot: u32, id: PacketId, fx: &mut Effects) {
        let known = self.sessions[slot].inbound.release(id);
        if known {
            self.record_of(slot, fx, |session| Record::Released { session, packet_id: id });
        }
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        if self.sessions[slot].stored.is_some() {
            // From PUBCOMP on the client may use the identifier for another message, which must not be taken for this one.
            self.shut_gate(conn);
        }
        self.send_ack(conn, AckType::PubComp, id, reason, fx);
    }

    /// The client has the message, or will not have it. [MQTT-4.3.2-3]
    fn delivered(&mut self, slot: u32, outgoing: &Outgoing, reason: ReasonCode, fx: &mut Effects) {
        self.held.take(outgoing);
        if reason.is_error() {
            self.counters.drop_message(DropReason::RefusedByClient);
        }
        self.record_dequeued(slot, outgoing.item, fx);
        self.share_finished(slot, outgoing, fx);
    }

    /// Tells the home of a shared group that its member has one less on its hands, if the choice depends on that.
    fn share_finished(&mut self, slot: u32, outgoing: &Outgoing, fx: &mut Effects) {
        let Some(Via { home, group }) = outgoing.via else { return };
        if self.options.share_choice != Choice::LeastInFlight {
            return;
        }
        let session = self.sessions.reference(slot);
        if home == self.me {
            self.share_finished_here(session, group);
        } else {
            fx.mesh.push(home, MeshMessage::ShareFinished { session, group });
        }
    }
}

fn outgoing(draft: &mut Draft<'_>, copy: &Copy<'_>) -> Outgoing {
    let Copy { qos, retain, ids, via } = *copy;
    Outgoing { message: draft.message(), ids: Ids::of(ids), via, item: None, qos, retain }
}

const fn delivery_of(kind: SendQos, id: PacketId) -> Delivery {
    match kind {
        SendQos::AtLeastOnce => Delivery::AtLeastOnce(id),
        SendQos::ExactlyOnce => Delivery::ExactlyOnce(id),
    }
}
