//! Reason codes of MQTT 5.0, and the six return codes that 3.1 and 3.1.1 have in their place.

use std::fmt;

macro_rules! reason_codes {
    ($($name:ident = $code:literal $words:literal),+ $(,)?) => {
        /// A reason code. The names are the specification's; where one number has several names, by packet, the
        /// first here serves all of them.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum ReasonCode { $($name = $code),+ }

        impl ReasonCode {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// What the specification calls it.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words),+
                }
            }
        }
    };
}

reason_codes! {
    /* also Normal disconnection and Granted QoS 0 */
    Success = 0x00 "success",
    GrantedQoS1 = 0x01 "granted QoS 1",
    GrantedQoS2 = 0x02 "granted QoS 2",
    DisconnectWithWill = 0x04 "disconnect with will",
    NoMatchingSubscribers = 0x10 "no matching subscribers",
    NoSubscriptionExisted = 0x11 "no subscription existed",
    ContinueAuthentication = 0x18 "continue authentication",
    ReAuthenticate = 0x19 "re-authenticate",
    Unspecified = 0x80 "unspecified error",
    MalformedPacket = 0x81 "malformed packet",
    ProtocolError = 0x82 "protocol error",
    ImplementationSpecific = 0x83 "implementation specific error",
    UnsupportedProtocolVersion = 0x84 "unsupported protocol version",
    ClientIdentifierNotValid = 0x85 "client identifier not valid",
    BadUserNameOrPassword = 0x86 "bad user name or password",
    NotAuthorized = 0x87 "not authorized",
    ServerUnavailable = 0x88 "server unavailable",
    ServerBusy = 0x89 "server busy",
    Banned = 0x8a "banned",
    ServerShuttingDown = 0x8b "server shutting down",
    BadAuthenticationMethod = 0x8c "bad authentication method",
    KeepAliveTimeout = 0x8d "keep alive timeout",
    SessionTakenOver = 0x8e "session taken over",
    TopicFilterInvalid = 0x8f "topic filter invalid",
    TopicNameInvalid = 0x90 "topic name invalid",
    PacketIdentifierInUse = 0x91 "packet identifier in use",
    PacketIdentifierNotFound = 0x92 "packet identifier not found",
    ReceiveMaximumExceeded = 0x93 "receive maximum exceeded",
    TopicAliasInvalid = 0x94 "topic alias invalid",
    PacketTooLarge = 0x95 "packet too large",
    MessageRateTooHigh = 0x96 "message rate too high",
    QuotaExceeded = 0x97 "quota exceeded",
    AdministrativeAction = 0x98 "administrative action",
    PayloadFormatInvalid = 0x99 "payload format invalid",
    RetainNotSupported = 0x9a "retain not supported",
    QoSNotSupported = 0x9b "QoS not supported",
    UseAnotherServer = 0x9c "use another server",
    ServerMoved = 0x9d "server moved",
    SharedSubscriptionsNotSupported = 0x9e "shared subscriptions not supported",
    ConnectionRateExceeded = 0x9f "connection rate exceeded",
    MaximumConnectTime = 0xa0 "maximum connect time",
    SubscriptionIdentifiersNotSupported = 0xa1 "subscription identifiers not supported",
    WildcardSubscriptionsNotSupported = 0xa2 "wildcard subscriptions not supported",
}

use ReasonCode as R;

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.words(), *self as u8)
    }
}

impl ReasonCode {
    /// 0x80 and above say that the operation failed.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The CONNACK return code that tells a 3.1 or 3.1.1 client the same; `None` where it has none, and is told nothing.
    /// [MQTT3-3.2.2-6]
    pub const fn connect_return_code(self) -> Option<u8> {
        Some(match self {
            R::Success => 0,
            R::UnsupportedProtocolVersion => 1,
            R::ClientIdentifierNotValid => 2,
            R::ServerUnavailable
            | R::ServerBusy
            | R::ServerShuttingDown
            | R::QuotaExceeded
            | R::UseAnotherServer
            | R::ServerMoved
            | R::ConnectionRateExceeded => 3,
            R::BadUserNameOrPassword | R::BadAuthenticationMethod => 4,
            R::NotAuthorized | R::Banned => 5,
            _ => return None,
        })
    }

    pub const fn from_connect_return_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => R::Success,
            1 => R::UnsupportedProtocolVersion,
            2 => R::ClientIdentifierNotValid,
            3 => R::ServerUnavailable,
            4 => R::BadUserNameOrPassword,
            5 => R::NotAuthorized,
            _ => return None,
        })
    }

    /// [MQTT-3.2.2-8]
    pub(super) const fn is_for_connack(self) -> bool {
        matches!(
            self,
            R::Success
                | R::Unspecified
                | R::MalformedPacket
                | R::ProtocolError
                | R::ImplementationSpecific
                | R::UnsupportedProtocolVersion
                | R::ClientIdentifierNotValid
                | R::BadUserNameOrPassword
                | R::NotAuthorized
                | R::ServerUnavailable
                | R::ServerBusy
                | R::Banned
                | R::BadAuthenticationMethod
                | R::TopicNameInvalid
                | R::PacketTooLarge
                | R::QuotaExceeded
                | R::PayloadFormatInvalid
                | R::RetainNotSupported
                | R::QoSNotSupported
                | R::UseAnotherServer
                | R::ServerMoved
                | R::ConnectionRateExceeded
        )
    }

    /// PUBACK and PUBREC. [MQTT-3.4.2-1] [MQTT-3.5.2-1]
    pub(super) const fn is_for_publish_receipt(self) -> bool {
        matches!(
            self,
            R::Success
                | R::NoMatchingSubscribers
                | R::Unspecified
                | R::ImplementationSpecific
                | R::NotAuthorized
                | R::TopicNameInvalid
                | R::PacketIdentifierInUse
                | R::QuotaExceeded
                | R::PayloadFormatInvalid
        )
    }

    /// PUBREL and PUBCOMP. [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    pub(super) const fn is_for_publish_release(self) -> bool {
        matches!(self, R::Success | R::PacketIdentifierNotFound)
    }

    /// [MQTT-3.9.3-2]
    pub(super) const fn is_for_suback(self) -> bool {
        matches!(
            self,
            R::Success
                | R::GrantedQoS1
                | R::GrantedQoS2
                | R::Unspecified
                | R::ImplementationSpecific
                | R::NotAuthorized
                | R::TopicFilterInvalid
                | R::PacketIdentifierInUse
                | R::QuotaExceeded
                | R::SharedSubscriptionsNotSupported
                | R::SubscriptionIdentifiersNotSupported
                | R::WildcardSubscriptionsNotSupported
        )
    }

    /// [MQTT-3.11.3-2]
    pub(super) const fn is_for_unsuback(self) -> bool {
        matches!(
            self,
            R::Success
                | R::NoSubscriptionExisted
                | R::Unspecified
                | R::ImplementationSpecific
                | R::NotAuthorized
                | R::TopicFilterInvalid
                | R::PacketIdentifierInUse
        )
    }

    /// [MQTT-3.14.2-1]
    pub(super) const fn is_for_disconnect(self) -> bool {
        let code = self as u8;
        matches!(self, R::Success | R::DisconnectWithWill | R::NotAuthorized)
            || matches!(code, 0x80..=0x83 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0xa2)
    }

    /// [MQTT-3.15.2-1]
    pub(super) const fn is_for_auth(self) -> bool {
        matches!(self, R::Success | R::ContinueAuthentication | R::ReAuthenticate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_number() {
        for &code in ReasonCode::ALL {
            assert_eq!(ReasonCode::from_u8(code as u8), Some(code));
        }
        assert_eq!(ReasonCode::ALL.len(), 43);
    }

    #[test]
    fn a_code_reads_as_the_specification_names_it() {
        assert_eq!(R::Success.to_string(), "success (0x00)");
        assert_eq!(R::QoSNotSupported.to_string(), "QoS not supported (0x9B)");
    }

    #[test]
    fn the_six_return_codes_of_3_1_1_keep_their_meaning() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connect_return_code(code).unwrap();
            assert_eq!(reason.connect_return_code(), Some(code));
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
        assert_eq!(R::TopicNameInvalid.connect_return_code(), None);
    }
}
