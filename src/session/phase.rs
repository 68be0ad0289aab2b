//! How far a connection has come, and which packets a client may send there.
//!
//! | phase | event | phase |
//! |---|---|---|
//! | AwaitConnect | `on_connect` | Authenticating |
//! | Authenticating, enhanced | `on_auth` | Authenticating, enhanced |
//! | Authenticating | `on_accepted` | Connected |
//! | Connected, enhanced | `on_auth` | Reauthenticating |
//! | Reauthenticating | `on_auth` | Reauthenticating |
//! | Reauthenticating | `on_accepted` | Connected, enhanced |
//! | any | `close` | Closing |
//!
//! `enhanced`: CONNECT carried an Authentication Method. Every other event is unexpected: the connection is closed.
//!
//! | packet | AwaitConnect | Authenticating | the same, enhanced | Connected | the same, enhanced | Closing |
//! |---|---|---|---|---|---|---|
//! | CONNECT | process | error | error | error | error | ignore |
//! | AUTH | error | error | process | error | process | ignore |
//! | DISCONNECT | error | hold | process | process | process | ignore |
//! | others | error | hold | error | process | process | ignore |
//!
//! Reauthenticating is like Connected, enhanced.

/// A phase of a connection. Each transition takes a phase and yields the next: `phase = phase.on_connect(enhanced)?`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Phase {
    #[default]
    AwaitConnect,
    /// CONNECT came, CONNACK did not go out yet: a verdict is pending or an exchange of AUTH is under way.
    Authenticating {
        enhanced: bool,
    },
    Connected {
        enhanced: bool,
    },
    /// Like Connected: other packets go on while AUTH is exchanged. (MQTT 5.0, 4.12.1)
    Reauthenticating,
    /// The last packet is sent; what still comes is not looked at. [MQTT-3.14.4-1]
    Closing,
}

/// The packets that a client can send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientPacket {
    Connect,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    Unsubscribe,
    PingReq,
    Disconnect,
    Auth,
}

/// What to do with a packet that may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    Process,
    /// Not before the CONNACK; not at all when it refuses. Stop reading until then. [MQTT-3.1.4-6]
    Hold,
    Ignore,
}

/// A packet that may not come in this phase: the client's Protocol Error (0x82).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unexpected {
    /// The first packet is CONNECT. [MQTT-3.1.0-1]
    FirstPacketNotConnect,
    /// CONNECT comes once. [MQTT-3.1.0-2]
    SecondConnect,
    /// Before the CONNACK of an enhanced authentication only AUTH and DISCONNECT may come. [MQTT-3.1.2-30]
    BeforeConnack,
    /// AUTH without an Authentication Method in CONNECT. [MQTT-4.12.0-7]
    AuthWithoutMethod,
    /// The broker's own step does not fit the phase.
    OutOfPhase,
}

impl Phase {
    pub const fn may_receive(self, packet: ClientPacket) -> Result<Admission, Unexpected> {
        use ClientPacket::{Auth, Connect, Disconnect};
        match (self, packet) {
            (Self::Closing, _) => Ok(Admission::Ignore),
            (Self::AwaitConnect, Connect) => Ok(Admission::Process),
            (Self::AwaitConnect, _) => Err(Unexpected::FirstPacketNotConnect),
            (_, Connect) => Err(Unexpected::SecondConnect),
            (Self::Authenticating { enhanced: false } | Self::Connected { enhanced: false }, Auth) => {
                Err(Unexpected::AuthWithoutMethod)
            }
            (Self::Authenticating { enhanced: true }, Auth | Disconnect) => Ok(Admission::Process),
            (Self::Authenticating { enhanced: true }, _) => Err(Unexpected::BeforeConnack),
            (Self::Authenticating { enhanced: false }, _) => Ok(Admission::Hold),
            (Self::Connected { .. } | Self::Reauthenticating, _) => Ok(Admission::Process),
        }
    }

    /// CONNECT came; `enhanced` when it carries an Authentication Method.
    pub const fn on_connect(self, enhanced: bool) -> Result<Self, Unexpected> {
        match self {
            Self::AwaitConnect => Ok(Self::Authenticating { enhanced }),
            _ => Err(Unexpected::SecondConnect),
        }
    }

    /// AUTH came.
    pub const fn on_auth(self) -> Result<Self, Unexpected> {
        match self {
            Self::Authenticating { enhanced: true } => Ok(self),
            Self::Connected { enhanced: true } | Self::Reauthenticating => Ok(Self::Reauthenticating),
            Self::AwaitConnect => Err(Unexpected::FirstPacketNotConnect),
            Self::Authenticating { enhanced: false } | Self::Connected { enhanced: false } => {
                Err(Unexpected::AuthWithoutMethod)
            }
            Self::Closing => Err(Unexpected::OutOfPhase),
        }
    }

    /// The verdict is yes: CONNACK, or the last AUTH of a re-authentication, goes out.
    pub const fn on_accepted(self) -> Result<Self, Unexpected> {
        match self {
            Self::Authenticating { enhanced } => Ok(Self::Connected { enhanced }),
            Self::Reauthenticating => Ok(Self::Connected { enhanced: true }),
            Self::AwaitConnect | Self::Connected { .. } | Self::Closing => Err(Unexpected::OutOfPhase),
        }
    }

    #[must_use]
    pub const fn close(self) -> Self {
        Self::Closing
    }

    /// CONNACK went out, and the connection is not closing.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Connected { .. } | Self::Reauthenticating)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ClientPacket::*;

    const PHASES: [Phase; 7] = [
        Phase::AwaitConnect,
        Phase::Authenticating { enhanced: false },
        Phase::Authenticating { enhanced: true },
        Phase::Connected { enhanced: false },
        Phase::Connected { enhanced: true },
        Phase::Reauthenticating,
        Phase::Closing,
    ];

    const OTHERS: [ClientPacket; 8] = [Publish, PubAck, PubRec, PubRel, PubComp, Subscribe, Unsubscribe, PingReq];

    // [MQTT-3.1.0-1] [MQTT-3.1.0-2] [MQTT-3.1.2-30] [MQTT-3.1.4-6] [MQTT-4.12.0-7] [MQTT-3.14.4-1]
    #[test]
    fn each_packet_in_each_phase() {
        const OK: Result<Admission, Unexpected> = Ok(Admission::Process);
        const HOLD: Result<Admission, Unexpected> = Ok(Admission::Hold);
        const GONE: Result<Admission, Unexpected> = Ok(Admission::Ignore);
        const FIRST: Result<Admission, Unexpected> = Err(Unexpected::FirstPacketNotConnect);
        const AGAIN: Result<Admission, Unexpected> = Err(Unexpected::SecondConnect);
        const EARLY: Result<Admission, Unexpected> = Err(Unexpected::BeforeConnack);
        const NO_METHOD: Result<Admission, Unexpected> = Err(Unexpected::AuthWithoutMethod);
        let table = [
            (Connect, [OK, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, GONE]),
            (Auth, [FIRST, NO_METHOD, OK, NO_METHOD, OK, OK, GONE]),
            (Disconnect, [FIRST, HOLD, OK, OK, OK, OK, GONE]),
        ];
        let others = OTHERS.map(|packet| (packet, [FIRST, HOLD, EARLY, OK, OK, OK, GONE]));
        for (packet, row) in table.into_iter().chain(others) {
            for (phase, expected) in PHASES.into_iter().zip(row) {
                assert_eq!(phase.may_receive(packet), expected, "{packet:?} in {phase:?}");
            }
        }
    }

    #[test]
    fn each_transition() {
        use Unexpected::*;
        let [await_connect, plain, enhanced, connected, connected_enhanced, again, closing] = PHASES;
        let connect = [Ok(plain), Err(SecondConnect), Err(SecondConnect), Err(SecondConnect), Err(SecondConnect)];
        for (phase, next) in PHASES.into_iter().zip(connect.into_iter().chain([Err(SecondConnect); 2])) {
            assert_eq!(phase.on_connect(false), next);
        }
        assert_eq!(await_connect.on_connect(true), Ok(enhanced));

        let auth = [
            Err(FirstPacketNotConnect),
            Err(AuthWithoutMethod),
            Ok(enhanced),
            Err(AuthWithoutMethod),
            Ok(again),
            Ok(again),
            Err(OutOfPhase),
        ];
        let accepted = [
            Err(OutOfPhase),
            Ok(connected),
            Ok(connected_enhanced),
            Err(OutOfPhase),
            Err(OutOfPhase),
            Ok(connected_enhanced),
            Err(OutOfPhase),
        ];
        for ((phase, auth), accepted) in PHASES.into_iter().zip(auth).zip(accepted) {
            assert_eq!(phase.on_auth(), auth);
            assert_eq!(phase.on_accepted(), accepted);
            assert_eq!(phase.close(), closing);
            assert_eq!(phase.is_connected(), [connected, connected_enhanced, again].contains(&phase));
        }
    }

    #[test]
    fn a_phase_is_two_bytes_at_most() {
        assert!(size_of::<Phase>() <= 2);
    }
}
