//! What can be wrong with a packet, named by what its sender did, each with the one reason code that tells him.

use super::reason::ReasonCode;
use super::topic::TopicError;

/// The bytes cannot be parsed. Reason code 0x81, whichever it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// A field reaches past the end of its packet.
    Truncated,
    /// Bytes are left after the last field.
    TrailingBytes,
    /// A variable byte integer of more than four bytes, or of more than it needs. [MQTT-1.5.5-1]
    VariableByteInteger,
    /// [MQTT-1.5.4-1]
    Utf8,
    /// U+0000 in a string. [MQTT-1.5.4-2]
    NulInString,
    /// Packet type 0, or 15 before MQTT 5.0.
    ReservedPacketType,
    /// [MQTT-2.1.3-1]
    FixedHeaderFlags,
    /// The reserved bit of CONNECT's flags [MQTT-3.1.2-3], or will bits without a will.
    ConnectFlags,
    /// A bit that is reserved, is set.
    ReservedBits,
    /// [MQTT-3.3.1-4]
    QoS3,
    /// [MQTT-3.3.1-2]
    DupOfQoS0,
    /// A reason code that this packet does not have.
    ReasonCode,
    /// A property that does not exist, or not in this packet.
    PropertyIdentifier,
    Topic(TopicError),
}

/// Well formed, but the protocol does not allow it. Reason code 0x82 unless a more exact one exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolViolation {
    /// A property twice, that may be there once.
    DuplicateProperty,
    /// A value outside the property's range.
    PropertyValue,
    /// A property that only the other side may send.
    PropertyFromWrongSide,
    /// [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    PacketIdentifierZero,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter. [MQTT-3.8.3-2] [MQTT-3.10.3-2]
    NoFilters,
    /// SUBSCRIBE of 5.0 with a Maximum QoS of 3; elsewhere, QoS 3 is malformed.
    MaximumQoS3,
    /// Retain Handling 3.
    RetainHandling,
    /// [MQTT-3.8.3-4]
    NoLocalOnSharedSubscription,
    /// Neither a topic nor an alias for one.
    NoTopic,
    /// [MQTT-3.3.2-8], or above the maximum that the receiver gave. [MQTT-3.3.2-9]
    TopicAlias,
    /// Session Present with a refusal. [MQTT-3.2.2-6]
    SessionPresentInRefusal,
    /// Authentication Data without a method, or AUTH without one.
    NoAuthenticationMethod,
    /// A packet that this side never sends.
    PacketFromWrongSide,
    /// A packet that may not come now.
    UnexpectedPacket,
    /// The Remaining Length announces more than the receiver takes. [MQTT-3.2.2-15]
    PacketTooLarge,
    /// [MQTT-3.3.4-7] [MQTT-3.3.4-9]
    ReceiveMaximumExceeded,
    /// A Session Expiry Interval in DISCONNECT, where CONNECT had none. (MQTT 5.0, 3.14.2.2.2)
    SessionExpiryFromZero,
}

/// Sound in itself, but not something that this side can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsupported {
    /// [MQTT-3.1.2-1] [MQTT-3.1.2-2]
    ProtocolVersion,
    /// An empty one where the protocol version, or an unclean session, needs one. [MQTT3-3.1.3-8]
    ClientIdentifier,
}

/// Why a packet was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    Malformed(Malformed),
    Protocol(ProtocolViolation),
    Unsupported(Unsupported),
}

impl Error {
    /// The reason code for CONNACK or DISCONNECT. [MQTT-4.13.1-1]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Malformed(_) => ReasonCode::MalformedPacket,
            Self::Protocol(ProtocolViolation::TopicAlias) => ReasonCode::TopicAliasInvalid,
            Self::Protocol(ProtocolViolation::PacketTooLarge) => ReasonCode::PacketTooLarge,
            Self::Protocol(ProtocolViolation::ReceiveMaximumExceeded) => ReasonCode::ReceiveMaximumExceeded,
            Self::Protocol(_) => ReasonCode::ProtocolError,
            Self::Unsupported(Unsupported::ProtocolVersion) => ReasonCode::UnsupportedProtocolVersion,
            Self::Unsupported(Unsupported::ClientIdentifier) => ReasonCode::ClientIdentifierNotValid,
        }
    }
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<ProtocolViolation> for Error {
    fn from(error: ProtocolViolation) -> Self {
        Self::Protocol(error)
    }
}

impl From<Unsupported> for Error {
    fn from(error: Unsupported) -> Self {
        Self::Unsupported(error)
    }
}

impl From<TopicError> for Error {
    fn from(error: TopicError) -> Self {
        Self::Malformed(Malformed::Topic(error))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed packet: {what:?}"),
            Self::Protocol(what) => write!(f, "protocol error: {what:?}"),
            Self::Unsupported(what) => write!(f, "not supported: {what:?}"),
        }
    }
}

impl std::error::Error for Error {}
