//! Enhanced authentication: an exchange that the guard's verifier answers and the core drives, before CONNACK and, by
//! the client's wish, again later.

use zeroize::Zeroizing;

use super::connect::{Accepted, Named, credentials, denial_reason, without_password};
use super::connection::{Authentication, Connection};
use super::core::ShardCore;
use super::effects::Effects;
use crate::access::{Credentials, Denial, Entrance, Identity, Step, Verdict};
use crate::base::limits::{AUTH_DATA_BYTES_MAX, AUTH_ROUNDS_MAX};
use crate::base::{ConnId, Timestamp};
use crate::mqtt::{Auth, Connect, Error, Packet, PropertyBuffer, PropertyId, ProtocolViolation, ReasonCode};
use crate::session::Phase;

impl ShardCore {
    /// A CONNECT with an Authentication Method.
    pub(super) fn begin_authentication(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        connect: &Connect<'_>,
        method: &str,
        fx: &mut Effects,
    ) {
        let seed = self.entropy.next();
        let entrance = self.connections[conn].entrance.take();
        let credentials = credentials(entrance.as_deref(), connect);
        let Some(exchange) = self.guard.exchange(now, method, &credentials, seed) else {
            // [MQTT-4.12.0-1]
            return self.refuse(now, conn, Named::by(connect), ReasonCode::BadAuthenticationMethod, fx);
        };
        // A re-authentication is judged by it again.
        self.connections[conn].entrance = entrance;
        self.connections[conn].authentication = Some(Box::new(Authentication {
            connect: without_password(connect),
            method: method.into(),
            exchange: Some(exchange),
            rounds: 0,
            check: 0,
            ends_at: Timestamp::NEVER,
        }));
        let data = connect.properties.binary(PropertyId::AuthenticationData).unwrap_or_default();
        self.step(now, conn, data, fx);
    }

    pub(super) fn on_auth(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        auth: &Auth<'_>,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let method = auth.properties.text(PropertyId::AuthenticationMethod).unwrap_or_default();
        let connection = &mut self.connections[conn];
        let again = matches!(connection.phase, Phase::Connected { .. });
        // [MQTT-4.12.0-3] [MQTT-4.12.1-1]: continue what is under way, or begin again; nothing else.
        let expected = if again { ReasonCode::ReAuthenticate } else { ReasonCode::ContinueAuthentication };
        if auth.reason != expected {
            return Err(ProtocolViolation::UnexpectedPacket.into());
        }
        connection.phase = connection.phase.on_auth().map_err(|_| ProtocolViolation::UnexpectedPacket)?;
        let Some(authentication) = &connection.authentication else {
            return Err(ProtocolViolation::UnexpectedPacket.into());
        };
        // [MQTT-4.12.0-5] [MQTT-4.12.1-1]: always the method of CONNECT.
        if *authentication.method != *method {
            return Err(ProtocolViolation::UnexpectedPacket.into());
        }
        if again {
            self.restart_exchange(now, conn);
        }
        let data = auth.properties.binary(PropertyId::AuthenticationData).unwrap_or_default();
        self.step(now, conn, data, fx);
        Ok(())
    }

    fn restart_exchange(&mut self, now: Timestamp, conn: ConnId) {
        let seed = self.entropy.next();
        let client_id = self.client_id(conn);
        let Connection { authentication, entrance, .. } = &mut self.connections[conn];
        let Some(authentication) = authentication else { return };
        let entrance = entrance.as_deref().unwrap_or(Entrance::UNKNOWN);
        let credentials = Credentials { entrance, client_id: &client_id, user_name: None, password: None };
        authentication.exchange = self.guard.exchange(now, &authentication.method, &credentials, seed);
        authentication.rounds = 0;
        authentication.ends_at = now + self.options.connect_timeout;
        self.set_connection_timer(conn);
    }

    /// One step of the exchange, and what it comes to.
    fn step(&mut self, now: Timestamp, conn: ConnId, data: &[u8], fx: &mut Effects) {
        let Some(authentication) = &mut self.connections[conn].authentication else { return };
        authentication.rounds += 1;
        let too_much = authentication.rounds > AUTH_ROUNDS_MAX || data.len() > AUTH_DATA_BYTES_MAX;
        let step = match &mut authentication.exchange {
            Some(exchange) if !too_much => exchange.next(data),
            _ => Step::Refuse(Denial::NotAuthorized),
        };
        match step {
            Step::Challenge(challenge) => {
                self.send_auth(conn, ReasonCode::ContinueAuthentication, Some(&challenge), fx);
            }
            Step::Accept { identity, data } => self.authenticated(now, conn, identity, data.as_deref(), fx),
            Step::Refuse(denial) => self.not_authenticated(now, conn, denial, fx),
        }
    }

    fn send_auth(&mut self, conn: ConnId, reason: ReasonCode, data: Option<&[u8]>, fx: &mut Effects) {
        let Some(authentication) = &self.connections[conn].authentication else { return };
        let mut properties = PropertyBuffer::new();
        // [MQTT-4.12.0-5]
        properties.push_text(PropertyId::AuthenticationMethod, &authentication.method);
        if let Some(data) = data {
            properties.push_binary(PropertyId::AuthenticationData, data);
        }
        // No Reason String, no User Property. [MQTT-3.15.2-2] [MQTT-3.15.2-3]
        // [MQTT-4.12.0-2] [MQTT-3.15.2-1]
        self.send(conn, &Packet::Auth(Auth { reason, properties: properties.properties() }), fx);
    }

    fn authenticated(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        identity: Identity,
        data: Option<&[u8]>,
        fx: &mut Effects,
    ) {
        let connection = &mut self.connections[conn];
        if connection.phase == Phase::Reauthenticating {
            // A session stays its user's: whoever he proves to be now, he is not another one.
            let slot = connection.session.filter(|&slot| self.sessions[slot].is_of(&identity));
            let Some(slot) = slot else { return self.not_authenticated(now, conn, Denial::NotAuthorized, fx) };
            connection.phase = connection.phase.on_accepted().expect("a re-authentication is under way");
            self.identify(slot, identity);
            self.set_connection_timer(conn);
            return self.send_auth(conn, ReasonCode::Success, data, fx);
        }
        let Some(mut authentication) = connection.authentication.take() else { return };
        let accepted = Accepted { method: Some(&authentication.method), data };
        self.act_on_kept(now, conn, &authentication, Verdict::Accept(identity), &accepted, fx);
        // The method stays: a re-authentication has to use it.
        authentication.connect = Zeroizing::default();
        authentication.exchange = None;
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.authentication = Some(authentication);
        }
    }

    fn not_authenticated(&mut self, now: Timestamp, conn: ConnId, denial: Denial, fx: &mut Effects) {
        if self.connections[conn].phase == Phase::Reauthenticating {
            // [MQTT-4.12.1-2]
            return self.close_connection(now, conn, denial_reason_on_disconnect(denial), fx);
        }
        let Some(authentication) = self.connections[conn].authentication.take() else { return };
        // [MQTT-4.12.0-4]
        self.act_on_kept(now, conn, &authentication, Verdict::Refuse(denial), &Accepted::default(), fx);
    }
}

/// DISCONNECT does not have every code that CONNACK has.
const fn denial_reason_on_disconnect(denial: Denial) -> ReasonCode {
    match denial_reason(denial) {
        reason @ ReasonCode::ServerBusy => reason,
        _ => ReasonCode::NotAuthorized,
    }
}
