//! How connections and sessions end: by DISCONNECT, by an error, by silence, by another connection, by expiry.

use super::core::ShardCore;
use super::effects::{DisconnectCause, Effects, Event};
use super::message::{Draft, Message, MessageHeader};
use super::record::Record;
use super::session::{Membership, Outgoing, Session, WillMessage};
use super::timers::TimerKey;
use crate::access::{Client, Publication};
use crate::base::{ConnId, DropReason, Millis, Refusal, Timestamp};
use crate::mqtt::{Disconnect, Error, Frame, Packet, PropertyId, ProtocolViolation, QoS, ReasonCode};
use crate::routing::Subscriber;
use crate::session::{Dropped, Phase, WillStep};

impl ShardCore {
    pub(super) fn client_id(&self, conn: ConnId) -> Box<str> {
        self.connections[conn].session.map(|slot| self.sessions[slot].client_id.clone()).unwrap_or_default()
    }

    pub(super) fn on_disconnect(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        disconnect: &Disconnect<'_>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        if let Some(slot) = self.connections[conn].session {
            let session = &mut self.sessions[slot];
            if let Some(secs) = disconnect.properties.four_byte(PropertyId::SessionExpiryInterval) {
                let secs = secs.min(self.options.session_expiry_secs_max);
                session.expiry = session.expiry.change(secs).map_err(|_| ProtocolViolation::SessionExpiryFromZero)?;
            }
            // [MQTT-3.14.4-3] [MQTT-3.1.2-10]
            if session.will.on_disconnect(disconnect.reason == ReasonCode::Success).is_some() {
                self.record_of(slot, fx, |session| Record::WillGone { session });
            }
        }
        self.tell_disconnected(conn, DisconnectCause::ByClient(disconnect.reason), fx);
        self.drop_connection(now, conn, fx);
        Ok(())
    }

    fn tell_disconnected(&self, conn: ConnId, cause: DisconnectCause, fx: &mut Effects) {
        let client_id = self.connections[conn].session.map(|slot| self.sessions[slot].client_id.clone());
        fx.events.push(Event::Disconnected { conn, client_id, cause });
    }

    /// A packet that was not accepted: its connection is over. [MQTT-4.13.1-1] [MQTT3-2.2.2-2] [MQTT3-4.8.0-1]
    /// [MQTT3-4.8.0-2]
    pub(super) fn fail(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        frame: Option<&Frame<'_>>,
        error: Error,
        fx: &mut Effects,
    ) {
        self.counters.refuse(match error {
            Error::Protocol(ProtocolViolation::ReceiveMaximumExceeded) => Refusal::ReceiveMaximumExceeded,
            _ => Refusal::BadPacket,
        });
        match (self.connections[conn].phase, frame) {
            (Phase::AwaitConnect, Some(frame)) => self.refuse_unread(now, conn, frame, error, fx),
            _ => self.close_explained(now, conn, error.reason(), Some(&error.to_string()), fx),
        }
    }

    /// Ends a connection by our own will, and tells the client why where it can be told.
    pub(super) fn close_connection(&mut self, now: Timestamp, conn: ConnId, reason: ReasonCode, fx: &mut Effects) {
        self.close_explained(now, conn, reason, None, fx);
    }

    /// The same, in words too.
    pub(super) fn close_explained(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        reason: ReasonCode,
        why: Option<&str>,
        fx: &mut Effects,
    ) {
        if self.connections[conn].phase == Phase::Closing {
            return;
        }
        // Before the last word, which would wait behind it.
        self.forget_gated(conn);
        // [MQTT-3.14.0-1] no DISCONNECT before a successful CONNACK.
        if self.connections[conn].phase.is_connected() && self.is_v5(conn) {
            // [MQTT-4.13.2-1]; a Reason String at most, no User Property [MQTT-3.14.2-4].
            self.send_explained(conn, why, |properties| Packet::Disconnect(Disconnect { reason, properties }), fx);
        }
        self.tell_disconnected(conn, DisconnectCause::ByBroker(reason), fx);
        self.drop_connection(now, conn, fx);
    }

    /// Ends a connection without another word. [MQTT-3.14.4-1] [MQTT-3.14.4-2]
    pub(super) fn drop_connection(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        self.detach(now, conn, fx);
        let connection = &mut self.connections[conn];
        connection.phase = connection.phase.close();
        connection.authentication = None;
        fx.close.push(conn);
    }

    pub(super) fn on_closed(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        let Some(connection) = self.connections.get(conn) else { return };
        if connection.phase != Phase::Closing {
            self.tell_disconnected(conn, DisconnectCause::Lost, fx);
            self.detach(now, conn, fx);
        }
        let unsent = self.connections.remove(conn).map_or(0, |connection| connection.unsent);
        self.counters.output_bytes_gone += u64::from(unsent);
    }

    /// Parts a connection from its session, which goes on without it or ends.
    fn detach(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        self.forget_gated(conn);
        let connection = &mut self.connections[conn];
        self.delayed.remove(&conn);
        let throttle_timer = connection.throttle.as_mut().and_then(|throttle| throttle.take_timer());
        for timer in [connection.timer.take(), connection.reader_timer.take(), throttle_timer].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        let Some(slot) = connection.session.take() else { return };
        let has_entered = std::mem::take(&mut connection.has_entered);
        let session = self.sessions.detach(slot);
        if has_entered {
            self.guard.leave(&session.identity);
        }
        // What is in flight stays this session's, also where a shared group chose it. [MQTT-4.8.2-4]
        session.outbound.connection_lost();
        session.inbound.connection_lost();
        session.ends_at = session.expiry.deadline(now).unwrap_or(Timestamp::NEVER);
        self.tell_share_homes(slot, false, fx);
        self.record_leaving(now, slot, fx);
        let session = &mut self.sessions[slot];
        // [MQTT3-3.1.2-8]
        if let WillStep::Publish(will) = session.will.on_connection_lost(now, session.expiry) {
            self.publish_will(now, slot, will, fx);
        }
        if self.sessions[slot].ends_at <= now {
            self.end_session(now, slot, false, fx);
        } else {
            self.sessions[slot].shrink();
            self.set_session_timer(slot);
            self.list_long_queue(slot);
        }
    }

    fn record_leaving(&mut self, now: Timestamp, slot: u32, fx: &mut Effects) {
        let expiry_secs = self.sessions[slot].expiry.secs();
        self.record_of(slot, fx, |session| Record::SessionLeft { session, at: now, expiry_secs });
    }

    pub(super) fn set_session_timer(&mut self, slot: u32) {
        let session = &mut self.sessions[slot];
        let due = session.will.due().unwrap_or(Timestamp::NEVER).min(session.ends_at);
        if due != Timestamp::NEVER {
            session.timer = Some(self.timers.set(due, TimerKey::Session(slot)));
        }
    }

    pub(super) fn on_session_timer(&mut self, now: Timestamp, slot: u32, fx: &mut Effects) {
        let session = &mut self.sessions[slot];
        session.timer = None;
        if let Some(will) = session.will.on_timer(now) {
            self.publish_will(now, slot, will, fx);
        }
        if self.sessions[slot].ends_at <= now {
            // [MQTT-3.1.2-23]
            self.counters.sessions_expired += 1;
            self.end_session(now, slot, true, fx);
        } else {
            self.set_session_timer(slot);
        }
    }

    /// No CONNECT in time, an authentication without end, or silence for one and a half times the keep alive.
    /// [MQTT-3.1.2-22]
    pub(super) fn on_connection_timer(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        let connection = &mut self.connections[conn];
        connection.timer = None;
        if self.refuse_delayed(now, conn, fx) {
            return;
        }
        let connection = &mut self.connections[conn];
        if !connection.phase.is_connected() {
            self.counters.refuse(Refusal::ConnectTimeout);
            return self.close_connection(now, conn, ReasonCode::KeepAliveTimeout, fx);
        }
        let authenticated_by = connection.authenticate_by();
        if authenticated_by <= now {
            self.counters.refuse(Refusal::ConnectTimeout);
            return self.close_connection(now, conn, ReasonCode::NotAuthorized, fx);
        }
        if self.expires_at(conn) <= now {
            // As any end that the client did not ask for: its will is published.
            return self.close_explained(now, conn, ReasonCode::NotAuthorized, Some("the token has expired"), fx);
        }
        let connection = &mut self.connections[conn];
        if connection.throttle.as_ref().is_some_and(|throttle| throttle.is_waiting()) {
            // It may have said something, and nobody reads it.
            connection.last_received = now;
        }
        let deadline = connection.keep_alive.deadline(connection.last_received).unwrap_or(Timestamp::NEVER);
        if deadline > now {
            let session = connection.session;
            self.set_connection_timer(conn);
            if let Some(slot) = session {
                self.sessions[slot].shrink();
            }
            return;
        }
        self.counters.keep_alive_timeouts += 1;
        self.close_connection(now, conn, ReasonCode::KeepAliveTimeout, fx);
    }

    /// When the client's right to be there ends; `NEVER` mostly.
    fn expires_at(&self, conn: ConnId) -> Timestamp {
        self.connections[conn].session.map_or(Timestamp::NEVER, |slot| self.sessions[slot].identity.expires_at())
    }

    /// Sets a connection's timer to what is due next, if nothing happens.
    pub(super) fn set_connection_timer(&mut self, conn: ConnId) {
        let expires_at = self.expires_at(conn);
        let connection = &mut self.connections[conn];
        if let Some(timer) = connection.timer.take() {
            self.timers.cancel(timer);
        }
        let silent_until = connection.keep_alive.deadline(connection.last_received).unwrap_or(Timestamp::NEVER);
        let due = silent_until.min(connection.authenticate_by()).min(expires_at);
        if due != Timestamp::NEVER {
            connection.timer = Some(self.timers.set(due, TimerKey::Connection(conn.0)));
        }
    }

    /// Ends a session with all it holds. [MQTT-3.1.2-23] [MQTT-4.1.0-2]
    pub(super) fn end_session(&mut self, now: Timestamp, slot: u32, expired: bool, fx: &mut Effects) {
        if let Some(will) = self.sessions[slot].will.on_session_end() {
            self.publish_will(now, slot, will, fx);
        }
        // Not what it had retained, which is no part of it. [MQTT3-3.1.2-7]
        let shares = self.give_back_shares(slot, fx);
        for filter in std::mem::take(&mut self.sessions[slot].subscriptions) {
            self.unsubscribe_index(filter, Subscriber::session(slot), fx);
        }
        let reference = self.sessions.reference(slot);
        let mut session = self.sessions.remove(slot);
        if let Some(timer) = session.timer {
            self.timers.cancel(timer);
        }
        if let Some(session) = session.stored {
            self.record(Record::SessionEnded { session }, fx);
        }
        // What was never sent may still go to another member; a QoS 2 delivery that began may not. [MQTT-4.8.2-5]
        let in_flight: Vec<Outgoing> = session.outbound.drain().collect();
        let committed = self.records_committed;
        let in_flight = in_flight.into_iter().map(|outgoing| {
            // What is not durable has not left.
            let has_begun = outgoing.item.is_none_or(|item| item.number() <= committed);
            (outgoing.qos == QoS::AtLeastOnce || !has_begun, Dropped::Here(outgoing))
        });
        for (may_go_on, item) in in_flight.chain(session.queue.drain().map(|item| (true, item))) {
            self.held.drop(&item);
            self.messages_left -= usize::from(matches!(item, Dropped::InStore(_)));
            match item {
                Dropped::Here(Outgoing { via: Some(via), message, .. }) if may_go_on => {
                    let share = shares.iter().find(|share| share.is_of(via)).filter(|_| session.stored.is_some());
                    self.return_share(now, reference, via, message, share.map(Membership::text), fx);
                }
                _ => self.counters.drop_message(DropReason::SessionEnded),
            }
        }
        fx.events.push(Event::SessionEnded { client_id: session.client_id, expired });
    }

    /// Leaves every shared group that the session is a member of.
    fn give_back_shares(&mut self, slot: u32, fx: &mut Effects) -> Vec<Membership> {
        let session = self.sessions.reference(slot);
        let shares = self.sessions[slot].rare.take().map(|rare| rare.shares).unwrap_or_default();
        for membership in &shares {
            self.leave_share(session, membership, fx);
        }
        shares
    }

    /// It was asked when the will was left; rules may have changed. Of whom nothing but the name is known, it is not asked.
    fn may_publish_will(&mut self, slot: u32, message: &Message) -> bool {
        let Session { identity, client_id, is_absent_since_start, .. } = &self.sessions[slot];
        let MessageHeader { qos, retain, .. } = *message.header();
        let publication = Publication { topic: message.topic(), qos, retain };
        *is_absent_since_start || self.guard.may_publish(&Client { identity, client_id }, &publication)
    }

    /// [MQTT-3.1.2-8]: published like any other message, retained where it asks for it [MQTT-3.1.2-14] [MQTT-3.1.2-15].
    fn publish_will(&mut self, now: Timestamp, slot: u32, will: WillMessage, fx: &mut Effects) {
        self.record_of(slot, fx, |session| Record::WillGone { session });
        if !self.may_publish_will(slot, &will.message) {
            return self.counters.refuse(Refusal::PublishNotAuthorized);
        }
        let expires = will.expiry_secs.map_or(Timestamp::NEVER, |secs| now + Millis::from_secs(secs));
        let mut draft = Draft::expiring_at(&will.message, expires);
        if self.sessions[slot].stored.is_some() && self.must_spool(&draft) {
            return self.spool(now, Some(slot), &mut draft, None, None, fx);
        }
        self.route_in_order(now, slot, &mut draft, fx);
    }

    pub(super) fn shut_down(&mut self, now: Timestamp, fx: &mut Effects) {
        for conn in self.connections.ids() {
            self.close_connection(now, conn, ReasonCode::ServerShuttingDown, fx);
        }
    }
}
