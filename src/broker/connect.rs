//! CONNECT to CONNACK: home shard, verdict, takeover, the session's start or resumption, the will.

use zeroize::Zeroizing;

use super::connection::Authentication;
use super::core::{Flow, ShardCore};
use super::effects::{CheckId, Effects, Event};
use super::mesh::MeshMessage;
use super::message::{Draft, Parts};
use super::mount::Mounted;
use super::publish::check_message;
use super::record::{Owner, Record};
use super::session::WillMessage;
use super::throttle::Throttle;
use crate::access::{Answer, Client, Credentials, Denial, Entrance, Identity, Publication, Verdict};
use crate::base::limits::PACKET_BYTES_MAX;
use crate::base::{ConnId, Refusal, ShardId, ShardSet, Timestamp};
use crate::mqtt::{
    ConnAck, Connect, Error, Frame, Packet, PacketType, Progress, PropertyBuffer, PropertyId, ProtocolViolation,
    ReasonCode, Sender, Version, Will, answer_version, decode, encode, frame,
};
use crate::session::{KeepAlive, SessionExpiry};

/// What a CONNACK says besides its reason.
#[derive(Debug, Default)]
pub(super) struct Accepted<'a> {
    pub(super) method: Option<&'a str>,
    pub(super) data: Option<&'a [u8]>,
}

/// As whom somebody comes, for the log.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Named<'a> {
    pub(super) client_id: &'a str,
    pub(super) user_name: Option<&'a str>,
}

impl<'a> Named<'a> {
    pub(super) const fn by(connect: &Connect<'a>) -> Self {
        Self { client_id: connect.client_id, user_name: connect.user_name }
    }
}

impl ShardCore {
    pub(super) fn on_connect(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        connect: &Connect<'_>,
        fx: &mut Effects,
    ) -> Result<Flow, Error> {
        if let Some(home) = self.elsewhere(connect.client_id) {
            self.move_connection(conn, home, fx);
            return Ok(Flow::Moved);
        }
        self.counters.connects_received += 1;
        let method = connect.properties.text(PropertyId::AuthenticationMethod);
        let connection = &mut self.connections[conn];
        connection.version = connect.version;
        connection.phase =
            connection.phase.on_connect(method.is_some()).map_err(|_| ProtocolViolation::UnexpectedPacket)?;
        self.take_abilities(conn, connect);
        if self.is_overloaded {
            self.counters.refuse(Refusal::Overload);
            self.refuse(now, conn, Named::by(connect), ReasonCode::ServerBusy, fx);
            return Ok(Flow::Next);
        }
        // [MQTT-4.12.0-6]
        if let Some(method) = method {
            self.begin_authentication(now, conn, connect, method, fx);
            return Ok(Flow::Next);
        }
        let entrance = self.connections[conn].entrance.take();
        let credentials = credentials(entrance.as_deref(), connect);
        // [MQTT-3.1.4-2]
        match self.guard.connect(now, &credentials) {
            Answer::Now(verdict) => self.act_on(now, conn, connect, verdict, &Accepted::default(), fx),
            Answer::Later(check) => {
                self.checks_asked += 1;
                let serial = self.checks_asked;
                self.connections[conn].authentication = Some(Box::new(Authentication {
                    connect: without_password(connect),
                    method: Box::default(),
                    exchange: None,
                    rounds: 0,
                    check: serial,
                    ends_at: Timestamp::NEVER,
                }));
                fx.checks.push((CheckId { conn, serial }, check));
            }
        }
        Ok(Flow::Next)
    }

    pub(super) fn enter(&mut self, conn: ConnId, entrance: Entrance) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.entrance = Some(Box::new(entrance));
        }
    }

    /// The shard where a client belongs, if that is another one. Who gets his identifier from us, gets one of this shard.
    fn elsewhere(&self, client_id: &str) -> Option<ShardId> {
        if client_id.is_empty() {
            return None;
        }
        Some(self.homes.of_client(client_id)).filter(|&home| home != self.me)
    }

    fn move_connection(&mut self, conn: ConnId, home: ShardId, fx: &mut Effects) {
        // It is counted where it stays, and so is its CONNECT.
        self.counters.connections_opened -= 1;
        self.counters.packets_received -= 1;
        if let Some(timer) = self.connections.remove(conn).and_then(|connection| connection.timer) {
            self.timers.cancel(timer);
        }
        fx.moves.push((conn, home));
    }

    /// What the client can take, from the properties of its CONNECT.
    fn take_abilities(&mut self, conn: ConnId, connect: &Connect<'_>) {
        let properties = &connect.properties;
        let connection = &mut self.connections[conn];
        connection.packet_bytes_max = properties.four_byte(PropertyId::MaximumPacketSize).unwrap_or(u32::MAX);
        let receive_max = properties.two_byte(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX);
        // [MQTT-3.3.4-9]
        connection.window = receive_max.min(self.options.inflight_max);
        let alias_max = properties.two_byte(PropertyId::TopicAliasMaximum).unwrap_or(0);
        // [MQTT-3.1.2-26] [MQTT-3.1.2-27]
        connection.alias_max = alias_max.min(self.options.outbound_topic_alias_max);
    }

    pub(super) fn on_verdict(&mut self, now: Timestamp, check: CheckId, verdict: Verdict, fx: &mut Effects) {
        let CheckId { conn, serial } = check;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let awaited = |authentication: &mut Box<Authentication>| authentication.check == serial;
        let Some(authentication) = connection.authentication.take_if(awaited) else { return };
        self.act_on_kept(now, conn, &authentication, verdict, &Accepted::default(), fx);
    }

    /// Acts on a CONNECT that was kept while somebody thought about it.
    pub(super) fn act_on_kept(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        kept: &Authentication,
        verdict: Verdict,
        accepted: &Accepted<'_>,
        fx: &mut Effects,
    ) {
        let Ok(Progress::Packet(frame)) = frame(&kept.connect, u32::MAX) else { return };
        let Ok(Packet::Connect(connect)) = decode(&frame, Version::V5, Sender::Client) else { return };
        self.act_on(now, conn, &connect, verdict, accepted, fx);
        self.release_held(conn, fx);
    }

    fn act_on(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        connect: &Connect<'_>,
        verdict: Verdict,
        accepted: &Accepted<'_>,
        fx: &mut Effects,
    ) {
        match verdict {
            Verdict::Accept(identity) => self.accept(now, conn, connect, identity, accepted, fx),
            Verdict::Refuse(denial) => {
                if !self.delay_refusal(now, conn, Named::by(connect), denial) {
                    self.deny(now, conn, Named::by(connect), denial, fx);
                }
            }
        }
    }

    fn release_held(&mut self, conn: ConnId, fx: &mut Effects) {
        if let Some(connection) = self.connections.get_mut(conn)
            && std::mem::take(&mut connection.held)
        {
            fx.resumed.push(conn);
        }
    }

    /// What the guard denies is counted and told as what it is.
    pub(super) fn deny(&mut self, now: Timestamp, conn: ConnId, who: Named<'_>, denial: Denial, fx: &mut Effects) {
        denial_refusal(denial).into_iter().for_each(|refusal| self.counters.refuse(refusal));
        self.refuse(now, conn, who, denial_reason(denial), fx);
    }

    /// CONNACK with a reason, and the end of the connection. [MQTT-3.1.4-2] [MQTT-3.2.2-7]
    pub(super) fn refuse(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        who: Named<'_>,
        reason: ReasonCode,
        fx: &mut Effects,
    ) {
        self.refuse_explained(now, conn, who, reason, None, fx);
    }

    fn refuse_explained(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        who: Named<'_>,
        reason: ReasonCode,
        why: Option<&str>,
        fx: &mut Effects,
    ) {
        self.counters.refuse(Refusal::Connect);
        let Named { client_id, user_name } = who;
        let (client_id, user_name) = (client_id.into(), user_name.map(Into::into));
        fx.events.push(Event::Refused { conn, client_id, user_name, reason });
        // [MQTT3-3.2.2-6] what 3.1.1 has no code for, is not told.
        if self.is_v5(conn) || reason.connect_return_code().is_some() {
            // [MQTT-3.2.2-6]
            self.send_explained(
                conn,
                why,
                |properties| Packet::ConnAck(ConnAck { session_present: false, reason, properties }),
                fx,
            );
        }
        self.drop_connection(now, conn, fx);
    }

    /// A first packet that is no CONNECT we can take: told where its sender can read the answer.
    pub(super) fn refuse_unread(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        frame: &Frame<'_>,
        error: Error,
        fx: &mut Effects,
    ) {
        let reason = error.reason();
        if PacketType::of(frame.first_byte) != Some(PacketType::Connect) {
            return self.close_connection(now, conn, reason, fx);
        }
        let version = answer_version(frame);
        // [MQTT-3.1.4-1] [MQTT-3.1.3-8] [MQTT3-3.1.2-2] [MQTT3-3.1.3-8] [MQTT3-3.1.3-9]
        // [MQTT3-3.1.4-1]: before 5.0 a fault that has no return code is not told.
        self.connections[conn].version = version;
        self.refuse_explained(now, conn, Named::default(), reason, Some(&error.to_string()), fx);
    }

    fn accept(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        connect: &Connect<'_>,
        identity: Identity,
        accepted: &Accepted<'_>,
        fx: &mut Effects,
    ) {
        let assigned;
        let client_id = if connect.client_id.is_empty() {
            assigned = self.assign_client_id();
            &*assigned
        } else {
            connect.client_id
        };
        let who = Named { client_id, ..Named::by(connect) };
        let mounted = connect.will.as_ref().filter(|_| !identity.mount().is_empty());
        let mounted = mounted.map(|will| Mounted::new(identity.mount(), will.topic, &will.properties));
        let will = match &mounted {
            Some(mounted) => connect.will.zip(mounted.as_ref()).map(|(will, mounted)| Will {
                topic: mounted.topic(),
                properties: mounted.properties(&will.properties),
                ..will
            }),
            None => connect.will,
        };
        let checked = match mounted {
            Some(None) => Err(ReasonCode::TopicNameInvalid),
            _ => self.check_will(&identity, client_id, will.as_ref()),
        };
        if let Err(reason) = checked {
            return self.refuse_explained(now, conn, who, reason, Some("the Will was refused"), fx);
        }
        // [MQTT-3.1.3-2]
        let existing = self.sessions.find(client_id);
        if existing.is_none() && self.sessions.len() >= self.options.sessions_max {
            self.counters.refuse(Refusal::TooManySessions);
            return self.refuse(now, conn, who, ReasonCode::QuotaExceeded, fx);
        }
        let expiry = self.session_expiry(connect);
        let properties = self.connack_properties(connect, client_id, expiry, accepted);
        let mut ack =
            ConnAck { session_present: false, reason: ReasonCode::Success, properties: properties.properties() };
        if !self.can_take(conn, &Packet::ConnAck(ack)) {
            // Nothing else may be sent before it. [MQTT-3.2.0-1]
            return self.refuse(now, conn, who, ReasonCode::PacketTooLarge, fx);
        }
        if let Err(denial) = self.let_in(conn, &identity, existing) {
            return self.deny(now, conn, who, denial, fx);
        }
        // Nobody gets another one's session, by whatever name he comes.
        let is_clean = connect.clean_start || existing.is_some_and(|slot| !self.sessions[slot].is_of(&identity));
        let discards = is_clean && existing.is_some_and(|slot| self.sessions[slot].stored.is_some());
        let (slot, session_present) = self.start_session(now, client_id, existing, is_clean, &identity, expiry, fx);
        self.identify(slot, identity);
        self.attach(now, conn, slot, &Connect { will, ..*connect }, fx);
        // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
        ack.session_present = session_present;
        if discards {
            // Who was told that there is nothing left of it must not find it again.
            self.shut_gate(conn);
        }
        // [MQTT-3.1.4-5]
        self.send(conn, &Packet::ConnAck(ack), fx);
        fx.events.push(Event::Connected {
            conn,
            client_id: client_id.into(),
            user: self.sessions[slot].identity.user().map(Into::into),
            version: connect.version,
            clean_start: connect.clean_start,
            session_present,
            keep_alive_secs: self.connections[conn].keep_alive.secs(),
        });
        if self.sessions[slot].stored.is_some() {
            self.shut_gate(conn);
        }
        self.pump(now, slot, fx);
    }

    /// [MQTT-3.1.3-6] [MQTT3-3.1.3-6]: a client that brings none gets one that is nobody else's, of this shard.
    fn assign_client_id(&mut self) -> String {
        loop {
            let id = self.entropy.next::<10>().iter().fold(String::from("auto-"), |mut id, byte| {
                id.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
                id.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
                id
            });
            if self.elsewhere(&id).is_none() && self.sessions.find(&id).is_none() {
                return id;
            }
        }
    }

    /// A will is a publish to come, and has to be allowed like one.
    fn check_will(&mut self, who: &Identity, client_id: &str, will: Option<&Will<'_>>) -> Result<(), ReasonCode> {
        let Some(will) = will else { return Ok(()) };
        let (guard, options) = (self.guard.as_mut(), &self.options);
        let client = Client { identity: who, client_id };
        let publication = Publication { topic: will.topic, qos: will.qos, retain: will.retain };
        check_message(guard, options, &client, &publication, &will.properties, will.payload)
    }

    fn session_expiry(&self, connect: &Connect<'_>) -> SessionExpiry {
        let max = self.options.session_expiry_secs_max;
        if connect.version == Version::V5 {
            let asked = connect.properties.four_byte(PropertyId::SessionExpiryInterval).unwrap_or(0);
            return SessionExpiry::from_secs(asked.min(max));
        }
        // [MQTT3-3.1.2-4] [MQTT3-3.1.2-6]
        SessionExpiry::from_secs(SessionExpiry::from_clean_session(connect.clean_start).secs().min(max))
    }

    /// Tells the guard that there is one more connection, unless it takes the place of one of the same user.
    fn let_in(&mut self, conn: ConnId, identity: &Identity, existing: Option<u32>) -> Result<(), Denial> {
        let same_user = existing.filter(|&slot| self.sessions[slot].identity.user() == identity.user());
        let taken_over = same_user.and_then(|slot| self.sessions[slot].conn);
        match taken_over {
            Some(old) if std::mem::take(&mut self.connections[old].has_entered) => {}
            _ => self.guard.enter(identity)?,
        }
        self.connections[conn].has_entered = true;
        Ok(())
    }

    /// Ends, takes over, resumes or makes the session of a client. [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6]
    #[expect(clippy::too_many_arguments, reason = "a session's name, whose it is, and how it is to be")]
    fn start_session(
        &mut self,
        now: Timestamp,
        client_id: &str,
        existing: Option<u32>,
        clean_start: bool,
        identity: &Identity,
        expiry: SessionExpiry,
        fx: &mut Effects,
    ) -> (u32, bool) {
        let mut resumed = None;
        if let Some(slot) = existing {
            let generation = self.sessions[slot].generation;
            if let Some(old) = self.sessions[slot].conn {
                // [MQTT-3.1.4-3]
                self.counters.takeovers += 1;
                self.close_connection(now, old, ReasonCode::SessionTakenOver, fx);
            }
            // The takeover itself ends a session that was not to outlive its connection.
            resumed = self.sessions.find(client_id).filter(|&slot| self.sessions[slot].generation == generation);
        }
        if let (Some(slot), true) = (resumed, clean_start) {
            // [MQTT-3.1.4-4]
            self.end_session(now, slot, false, fx);
            resumed = None;
        }
        let expiry_secs = expiry.secs();
        if let Some(slot) = resumed {
            // One that was to survive and is to end with its connection now is kept in the store until then.
            self.sessions[slot].expiry = expiry;
            if !std::mem::replace(&mut self.sessions[slot].has_owner, true) {
                self.record_of(slot, fx, |session| Record::SessionOwned { session, owner: owner(identity) });
            }
            self.record_of(slot, fx, |session| Record::SessionResumed { session, expiry_secs });
            return (slot, true);
        }
        let slot = self.sessions.insert(client_id, identity.clone(), expiry, self.judging.free());
        if self.options.durable && expiry != SessionExpiry::AtDisconnect {
            let (client_id, owner) = (client_id.into(), Some(owner(identity)));
            let started = Record::SessionStarted { client_id, expiry_secs, owner };
            self.sessions[slot].stored = Some(self.record(started, fx));
        }
        (slot, false)
    }

    fn attach(&mut self, now: Timestamp, conn: ConnId, slot: u32, connect: &Connect<'_>, fx: &mut Effects) {
        let keep_alive = self.keep_alive(connect);
        let connection = &mut self.connections[conn];
        // One CONNACK: from here there is no way back to where one is sent. [MQTT-3.2.0-2]
        connection.phase = connection.phase.on_accepted().expect("only who is being let in is accepted");
        let rates = self.sessions[slot].identity.rates();
        connection.throttle = rates.map(|rates| Box::new(Throttle::new(now, rates)));
        connection.session = Some(slot);
        (connection.keep_alive, connection.last_received) = (keep_alive, now);
        self.set_connection_timer(conn);
        let session = self.sessions.attach(slot, conn);
        session.connection = session.connection.wrapping_add(1);
        // No timer runs out on a session while its client is there. [MQTT-4.1.0-1] [MQTT3-4.1.0-1]
        if let Some(timer) = session.timer.take() {
            self.timers.cancel(timer);
        }
        // [MQTT-3.1.3-9]
        if session.will.on_resume().is_some() {
            self.record_of(slot, fx, |session| Record::WillGone { session });
        }
        self.arm_will(now, slot, connect.will.as_ref(), fx);
        self.tell_share_homes(slot, true, fx);
    }

    fn keep_alive(&self, connect: &Connect<'_>) -> KeepAlive {
        let (max, asked_secs) = (self.options.keep_alive_secs_max, connect.keep_alive_secs);
        let is_too_long = max != 0 && (asked_secs == 0 || asked_secs > max);
        // [MQTT-3.2.2-22] before 5.0 the client cannot be told another one; it keeps its own.
        KeepAlive::new(if is_too_long && connect.version == Version::V5 { max } else { asked_secs })
    }

    fn arm_will(&mut self, now: Timestamp, slot: u32, will: Option<&Will<'_>>, fx: &mut Effects) {
        // [MQTT3-3.1.2-12]
        let Some(will) = will else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        let parts = Parts {
            topic: will.topic,
            topic_hash: self.index.hash(will.topic),
            qos: will.qos,
            retain: will.retain,
            properties: &will.properties,
            payload: will.payload,
            publisher: self.sessions.client_hash(&self.sessions[slot].client_id),
        };
        let message = Draft::write(now, &parts, &mut scratch).message();
        self.scratch = scratch;
        let delay_secs = will.properties.four_byte(PropertyId::WillDelayInterval).unwrap_or(0);
        let expiry_secs = will.properties.four_byte(PropertyId::MessageExpiryInterval);
        self.record_of(slot, fx, |session| Record::Will { session, message: message.clone(), delay_secs, expiry_secs });
        // [MQTT-3.1.2-7]
        self.sessions[slot].will.arm(WillMessage { message, expiry_secs }, delay_secs);
    }

    /// What a CONNACK of 5.0 tells who is let in.
    fn connack_properties(
        &self,
        connect: &Connect<'_>,
        client_id: &str,
        expiry: SessionExpiry,
        accepted: &Accepted<'_>,
    ) -> PropertyBuffer {
        let mut properties = PropertyBuffer::new();
        if connect.version != Version::V5 {
            return properties;
        }
        self.put_abilities(&mut properties);
        let asked = connect.properties.four_byte(PropertyId::SessionExpiryInterval).unwrap_or(0);
        if asked != expiry.secs() {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, expiry.secs());
        }
        let wants_information = connect.properties.flag(PropertyId::RequestResponseInformation) == Some(true);
        if let (true, Some(information)) = (wants_information, &self.options.response_information) {
            // [MQTT-3.1.2-28]
            properties.push_text(PropertyId::ResponseInformation, information);
        }
        if connect.client_id.is_empty() {
            // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
            properties.push_text(PropertyId::AssignedClientIdentifier, client_id);
        }
        let keep_alive_secs = self.keep_alive(connect).secs();
        if keep_alive_secs != connect.keep_alive_secs {
            properties.push_two_byte(PropertyId::ServerKeepAlive, keep_alive_secs);
        }
        if let Some(method) = accepted.method {
            // [MQTT-4.12.0-5]
            properties.push_text(PropertyId::AuthenticationMethod, method);
        }
        if let Some(data) = accepted.data {
            properties.push_binary(PropertyId::AuthenticationData, data);
        }
        properties
    }

    fn can_take(&mut self, conn: ConnId, packet: &Packet<'_>) -> bool {
        self.scratch.clear();
        encode(packet, self.connections[conn].version, &mut self.scratch);
        self.scratch.len() <= self.connections[conn].packet_bytes_max as usize
    }

    /// What is not said to be missing is there: every QoS, retained messages, every kind of subscription.
    fn put_abilities(&self, properties: &mut PropertyBuffer) {
        let options = &self.options;
        if options.receive_max != u16::MAX {
            properties.push_two_byte(PropertyId::ReceiveMaximum, options.receive_max);
        }
        if options.packet_bytes_max != PACKET_BYTES_MAX {
            properties.push_four_byte(PropertyId::MaximumPacketSize, options.packet_bytes_max);
        }
        if options.topic_alias_max != 0 {
            properties.push_two_byte(PropertyId::TopicAliasMaximum, options.topic_alias_max);
        }
    }

    /// Tells the homes of a session's shared groups whether the member is there.
    pub(super) fn tell_share_homes(&mut self, slot: u32, online: bool, fx: &mut Effects) {
        if self.sessions[slot].shares().is_empty() {
            return;
        }
        let session = self.sessions.reference(slot);
        let mut homes = ShardSet::EMPTY;
        for membership in self.sessions[slot].shares() {
            homes.insert(membership.home);
        }
        for home in homes.iter() {
            if home == self.me {
                self.groups.set_online(session, online);
            } else {
                fx.mesh.push(home, MeshMessage::ShareOnline { session, online });
            }
        }
    }
}

fn owner(identity: &Identity) -> Owner {
    Owner { user: identity.user().map(Into::into), mount: identity.mount().into() }
}

/// A CONNECT to be acted on later. Whoever looks at its password has been given it by then.
pub(super) fn without_password(connect: &Connect<'_>) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    encode(&Packet::Connect(Connect { password: None, ..*connect }), connect.version, &mut bytes);
    bytes
}

/// What a CONNECT brings, and what is known of its connection.
pub(super) fn credentials<'a>(entrance: Option<&'a Entrance>, connect: &Connect<'a>) -> Credentials<'a> {
    Credentials {
        entrance: entrance.unwrap_or(Entrance::UNKNOWN),
        client_id: connect.client_id,
        user_name: connect.user_name,
        password: connect.password,
    }
}

/// What a denial counts as, besides a CONNECT that was not let in.
const fn denial_refusal(denial: Denial) -> Option<Refusal> {
    match denial {
        Denial::Banned => Some(Refusal::Banned),
        Denial::TooManyConnections => Some(Refusal::UserFull),
        Denial::ServerBusy => Some(Refusal::Overload),
        Denial::BadUserNameOrPassword
        | Denial::NotAuthorized
        | Denial::BadAuthenticationMethod
        | Denial::ServerUnavailable => None,
    }
}

pub(super) const fn denial_reason(denial: Denial) -> ReasonCode {
    match denial {
        Denial::BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
        Denial::NotAuthorized => ReasonCode::NotAuthorized,
        Denial::BadAuthenticationMethod => ReasonCode::BadAuthenticationMethod,
        Denial::Banned => ReasonCode::Banned,
        Denial::TooManyConnections => ReasonCode::QuotaExceeded,
        Denial::ServerBusy => ReasonCode::ServerBusy,
        Denial::ServerUnavailable => ReasonCode::ServerUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Properties;

    #[test]
    fn what_is_kept_of_a_connect_is_all_but_its_password() {
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            let packet = |password: Option<&[u8]>| {
                let connect = Connect {
                    version,
                    clean_start: true,
                    keep_alive_secs: 7,
                    client_id: "c",
                    will: None,
                    user_name: Some("ada"),
                    password,
                    properties: Properties::EMPTY,
                };
                without_password(&connect)
            };
            let kept = packet(Some(b"engine"));
            assert!(!kept.windows(6).any(|bytes| bytes == b"engine"));
            assert!(kept == packet(None));
            let Ok(Progress::Packet(frame)) = frame(&kept, u32::MAX) else { panic!("no packet") };
            let Ok(Packet::Connect(connect)) = decode(&frame, Version::V5, Sender::Client) else {
                panic!("no CONNECT")
            };
            assert_eq!((connect.version, connect.user_name, connect.password), (version, Some("ada"), None));
        }
    }
}
