//! Reason codes of MQTT 5.0, and the six return codes that 3.1 and 3.1.1 have in their place.

macro_rules! reason_codes {
    ($($name:ident = $code:literal),+ $(,)?) => {
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
        }
    };
}

reason_codes! {
    /* also Normal disconnection and Granted QoS 0 */
    Success = 0x00,
    GrantedQoS1 = 0x01,
    GrantedQoS2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    Unspecified = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecific = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8a,
    ServerShuttingDown = 0x8b,
    BadAuthenticationMethod = 0x8c,
    KeepAliveTimeout = 0x8d,
    SessionTakenOver = 0x8e,
    TopicFilterInvalid = 0x8f,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9a,
    QoSNotSupported = 0x9b,
    UseAnotherServer = 0x9c,
    ServerMoved = 0x9d,
    SharedSubscriptionsNotSupported = 0x9e,
    ConnectionRateExceeded = 0x9f,
    MaximumConnectTime = 0xa0,
    SubscriptionIdentifiersNotSupported = 0xa1,
    WildcardSubscriptionsNotSupported = 0xa2,
}

use ReasonCode as R;

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
    fn the_six_return_codes_of_3_1_1_keep_their_meaning() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connect_return_code(code).unwrap();
            assert_eq!(reason.connect_return_code(), Some(code));
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
        assert_eq!(R::TopicNameInvalid.connect_return_code(), None);
    }
}
