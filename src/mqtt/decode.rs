//! From a frame to a packet. Nothing is copied; everything is checked, and the first fault found names the error.

use super::error::{Error, Malformed, ProtocolViolation, Unsupported};
use super::frame::{Frame, PacketType};
use super::packet::{
    Ack, AckType, Auth, ConnAck, Connect, Delivery, Disconnect, FilterRequest, Packet, PacketId, Publish, QoS,
    RetainHandling, SubAck, Subscribe, UnsubAck, Unsubscribe, Will,
};
use super::properties::{Place, Properties, PropertyId};
use super::reason::ReasonCode;
use super::topic::{SharedFilter, TopicError, TopicName};
use super::version::{Sender, Version};
use super::wire::Reader;

/// Reads the packet of `frame`. A CONNECT tells its own version; for all others it is that of the connection.
#[inline]
pub fn decode<'a>(frame: &Frame<'a>, version: Version, sender: Sender) -> Result<Packet<'a>, Error> {
    match PacketType::of(frame.first_byte) {
        Some(PacketType::Publish) => decode_publish(frame, version, sender).map(Packet::Publish),
        Some(packet_type) => decode_other(frame, packet_type, version, sender),
        None => Err(Malformed::ReservedPacketType.into()),
    }
}

fn decode_other<'a>(
    frame: &Frame<'a>,
    packet_type: PacketType,
    version: Version,
    sender: Sender,
) -> Result<Packet<'a>, Error> {
    if packet_type == PacketType::Auth && version != Version::V5 {
        return Err(Malformed::ReservedPacketType.into());
    }
    check_header(frame, packet_type, version)?;
    if !may_send(sender, packet_type, version) {
        return Err(ProtocolViolation::PacketFromWrongSide.into());
    }
    let reader = Reader::new(frame.body);
    match packet_type {
        PacketType::Connect => connect(reader, frame).map(Packet::Connect),
        PacketType::ConnAck => conn_ack(reader, version).map(Packet::ConnAck),
        PacketType::Publish => unreachable!("decoded apart"),
        PacketType::PubAck => ack(reader, AckType::PubAck, version, sender),
        PacketType::PubRec => ack(reader, AckType::PubRec, version, sender),
        PacketType::PubRel => ack(reader, AckType::PubRel, version, sender),
        PacketType::PubComp => ack(reader, AckType::PubComp, version, sender),
        PacketType::Subscribe => subscribe(reader, version).map(Packet::Subscribe),
        PacketType::SubAck => sub_ack(reader, version).map(Packet::SubAck),
        PacketType::Unsubscribe => unsubscribe(reader, version).map(Packet::Unsubscribe),
        PacketType::UnsubAck => unsub_ack(reader, version).map(Packet::UnsubAck),
        PacketType::PingReq => reader.end().map(|()| Packet::PingReq),
        PacketType::PingResp => reader.end().map(|()| Packet::PingResp),
        PacketType::Disconnect => disconnect(reader, version, sender).map(Packet::Disconnect),
        PacketType::Auth => auth(reader, sender).map(Packet::Auth),
    }
}

/// The reserved flags of the fixed header, and a Remaining Length that is no longer than it must be.
fn check_header(frame: &Frame<'_>, packet_type: PacketType, version: Version) -> Result<(), Error> {
    check_length_encoding(frame, version)?;
    let flags = frame.first_byte & 0x0f;
    // [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
    let valid = match packet_type {
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => {
            // MQTT 3.1 has DUP here, and QoS 1.
            flags == 0b0010 || version == Version::V3_1 && flags & 0b0111 == 0b0010
        }
        // MQTT 3.1 does not use the flags of its other packets.
        _ => flags == 0 || version == Version::V3_1 && packet_type != PacketType::Connect,
    };
    if valid { Ok(()) } else { Err(Malformed::FixedHeaderFlags.into()) }
}

fn check_length_encoding(frame: &Frame<'_>, version: Version) -> Result<(), Error> {
    // [MQTT-1.5.5-1] is a statement of 5.0 only.
    if frame.length_is_minimal || version != Version::V5 { Ok(()) } else { Err(Malformed::VariableByteInteger.into()) }
}

fn may_send(sender: Sender, packet_type: PacketType, version: Version) -> bool {
    use PacketType as T;
    match packet_type {
        T::Connect | T::Subscribe | T::Unsubscribe | T::PingReq => sender == Sender::Client,
        T::ConnAck | T::SubAck | T::UnsubAck | T::PingResp => sender == Sender::Server,
        T::Disconnect => sender == Sender::Client || version == Version::V5,
        T::Publish | T::PubAck | T::PubRec | T::PubRel | T::PubComp | T::Auth => true,
    }
}

fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, Error> {
    // [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    PacketId::new(reader.u16()?).ok_or(ProtocolViolation::PacketIdentifierZero.into())
}

#[inline]
fn properties<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    place: Place,
    sender: Sender,
) -> Result<Properties<'a>, Error> {
    if version == Version::V5 { Properties::read(reader, place, sender) } else { Ok(Properties::EMPTY) }
}

/// Reads a PUBLISH: the packet that decides the broker's speed, so that it can be had without the others.
#[inline]
pub fn decode_publish<'a>(frame: &Frame<'a>, version: Version, sender: Sender) -> Result<Publish<'a>, Error> {
    check_length_encoding(frame, version)?;
    let flags = frame.first_byte;
    let dup = flags & 0b1000 != 0;
    let qos = QoS::from_u8(flags >> 1 & 0b11).ok_or(Malformed::QoS3)?;
    // [MQTT-3.3.1-2]; MQTT 3.1 says nothing of it.
    if dup && qos == QoS::AtMostOnce && version != Version::V3_1 {
        return Err(Malformed::DupOfQoS0.into());
    }
    let mut reader = Reader::new(frame.body);
    let topic = reader.text_that_may_hold_nul()?;
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce(packet_id(&mut reader)?),
        QoS::ExactlyOnce => Delivery::ExactlyOnce(packet_id(&mut reader)?),
    };
    let properties = properties(&mut reader, version, Place::Publish, sender)?;
    // [MQTT-3.3.2-1] [MQTT-3.3.2-2]
    let topic = match TopicName::new(topic) {
        Ok(topic) => Some(topic),
        Err(TopicError::Empty) if version == Version::V5 => {
            if !properties.contains(PropertyId::TopicAlias) {
                return Err(ProtocolViolation::NoTopic.into());
            }
            None
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Publish { dup, delivery, retain: flags & 1 != 0, topic, properties, payload: reader.rest() })
}

const USER_NAME_FLAG: u8 = 0x80;
const PASSWORD_FLAG: u8 = 0x40;
const WILL_RETAIN_FLAG: u8 = 0x20;
const WILL_FLAG: u8 = 0x04;
const CLEAN_START_FLAG: u8 = 0x02;
const RESERVED_FLAG: u8 = 0x01;

fn connect<'a>(mut reader: Reader<'a>, frame: &Frame<'a>) -> Result<Connect<'a>, Error> {
    let version = protocol_version(&mut reader)?;
    check_length_encoding(frame, version)?;
    let flags = reader.u8()?;
    check_connect_flags(flags, version)?;
    let keep_alive_secs = reader.u16()?;
    let properties = properties(&mut reader, version, Place::Connect, Sender::Client)?;
    // [MQTT-3.1.3-1]: the fields are in the order client identifier, will, user name, password. [MQTT-3.1.3-3]
    // [MQTT-3.1.3-4]
    let client_id = reader.text()?;
    let clean_start = flags & CLEAN_START_FLAG != 0;
    check_client_id(client_id, version, clean_start)?;
    let will = if flags & WILL_FLAG == 0 { None } else { Some(will(&mut reader, flags, version)?) };
    // MQTT 3.1: where the packet ends before a field that a flag announces, the field counts as left out.
    let is_there =
        |flag: u8, reader: &Reader<'_>| flags & flag != 0 && !(version == Version::V3_1 && reader.is_empty());
    // [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.3-12]
    let user_name = if is_there(USER_NAME_FLAG, &reader) { Some(reader.text()?) } else { None };
    // [MQTT-3.1.2-18] [MQTT-3.1.2-19]
    let password = if is_there(PASSWORD_FLAG, &reader) { Some(reader.binary()?) } else { None };
    reader.end()?;
    Ok(Connect { version, clean_start, keep_alive_secs, client_id, will, user_name, password, properties })
}

fn protocol_version(reader: &mut Reader<'_>) -> Result<Version, Error> {
    // [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT3-3.1.2-1]
    match (reader.text()?, reader.u8()?) {
        ("MQTT", 5) => Ok(Version::V5),
        ("MQTT", 4) => Ok(Version::V3_1_1),
        ("MQIsdp", 3) => Ok(Version::V3_1),
        _ => Err(Unsupported::ProtocolVersion.into()),
    }
}

/// How to answer a CONNECT that was not accepted: as far as it can be told, in a version its sender can read.
pub fn answer_version(connect: &Frame<'_>) -> Version {
    let mut reader = Reader::new(connect.body);
    match (reader.text(), reader.u8()) {
        (Ok("MQTT"), Ok(5..=0x7f)) => Version::V5,
        _ => Version::V3_1_1,
    }
}

fn check_connect_flags(flags: u8, version: Version) -> Result<(), Error> {
    let will_bits = flags >> 3 & 0b11;
    if version == Version::V3_1 {
        // MQTT 3.1 does not use the reserved bit, nor the will's bits where there is no will.
    } else if flags & RESERVED_FLAG != 0 {
        // [MQTT-3.1.2-3]
        return Err(Malformed::ConnectFlags.into());
    } else if flags & WILL_FLAG == 0 && (will_bits != 0 || flags & WILL_RETAIN_FLAG != 0) {
        // [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT3-3.1.2-11]
        return Err(Malformed::ConnectFlags.into());
    }
    // [MQTT3-3.1.2-22]; 5.0 allows a password alone.
    if version != Version::V5 && flags & PASSWORD_FLAG != 0 && flags & USER_NAME_FLAG == 0 {
        return Err(Malformed::ConnectFlags.into());
    }
    // [MQTT-3.1.2-12]
    if flags & WILL_FLAG != 0 && will_bits == 3 { Err(Malformed::QoS3.into()) } else { Ok(()) }
}

/// Any that is not empty is taken, whatever its length and characters. [MQTT-3.1.3-5]
fn check_client_id(client_id: &str, version: Version, clean_start: bool) -> Result<(), Error> {
    let missing = client_id.is_empty()
        && match version {
            Version::V3_1 => true,
            // [MQTT3-3.1.3-7] [MQTT3-3.1.3-8]
            Version::V3_1_1 => !clean_start,
            // [MQTT-3.1.3-6] the server gives one.
            Version::V5 => false,
        };
    if missing { Err(Unsupported::ClientIdentifier.into()) } else { Ok(()) }
}

fn will<'a>(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Will<'a>, Error> {
    let properties = properties(reader, version, Place::Will, Sender::Client)?;
    // [MQTT-3.1.2-9] [MQTT-3.1.3-11]
    let topic = TopicName::new(reader.text_that_may_hold_nul()?)?;
    let payload = reader.binary()?;
    let qos = QoS::from_u8(flags >> 3 & 0b11).ok_or(Malformed::QoS3)?;
    Ok(Will { qos, retain: flags & WILL_RETAIN_FLAG != 0, topic, payload, properties })
}

fn conn_ack(mut reader: Reader<'_>, version: Version) -> Result<ConnAck<'_>, Error> {
    let flags = reader.u8()?;
    // [MQTT-3.2.2-1]; the byte is reserved in MQTT 3.1.
    if flags > 1 && version != Version::V3_1 {
        return Err(Malformed::ReservedBits.into());
    }
    let session_present = flags & 1 != 0 && version != Version::V3_1;
    let code = reader.u8()?;
    let reason = if version == Version::V5 {
        ReasonCode::from_u8(code).filter(|reason| reason.is_for_connack())
    } else {
        ReasonCode::from_connect_return_code(code)
    };
    let reason = reason.ok_or(Malformed::ReasonCode)?;
    // [MQTT-3.2.2-6]
    if session_present && reason != ReasonCode::Success {
        return Err(ProtocolViolation::SessionPresentInRefusal.into());
    }
    let properties = properties(&mut reader, version, Place::ConnAck, Sender::Server)?;
    reader.end()?;
    Ok(ConnAck { session_present, reason, properties })
}

#[inline]
fn ack(mut reader: Reader<'_>, ack_type: AckType, version: Version, sender: Sender) -> Result<Packet<'_>, Error> {
    let packet_id = packet_id(&mut reader)?;
    // A reason code of zero and no properties may be left out.
    if reader.is_empty() {
        let ack = Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY };
        return Ok(Packet::Ack(ack_type, ack));
    }
    if version != Version::V5 {
        return Err(Malformed::TrailingBytes.into());
    }
    let (reason, properties) = reason_and_properties(reader, Place::PublishAck, sender, |reason| match ack_type {
        AckType::PubAck | AckType::PubRec => reason.is_for_publish_receipt(),
        AckType::PubRel | AckType::PubComp => reason.is_for_publish_release(),
    })?;
    Ok(Packet::Ack(ack_type, Ack { packet_id, reason, properties }))
}

/// What ends PUBACK and its like, and DISCONNECT, of 5.0: a reason code, and properties that may be left out.
fn reason_and_properties(
    mut reader: Reader<'_>,
    place: Place,
    sender: Sender,
    belongs: impl Fn(ReasonCode) -> bool,
) -> Result<(ReasonCode, Properties<'_>), Error> {
    let reason = reason(&mut reader, belongs)?;
    if reader.is_empty() {
        return Ok((reason, Properties::EMPTY));
    }
    let properties = Properties::read(&mut reader, place, sender)?;
    reader.end()?;
    Ok((reason, properties))
}

fn reason(reader: &mut Reader<'_>, belongs: impl Fn(ReasonCode) -> bool) -> Result<ReasonCode, Error> {
    ReasonCode::from_u8(reader.u8()?).filter(|&reason| belongs(reason)).ok_or(Malformed::ReasonCode.into())
}

impl<'a> FilterRequest<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, Error> {
        // [MQTT-3.8.3-1]
        let filter = SharedFilter::new(reader.text_that_may_hold_nul()?)?;
        let options = reader.u8()?;
        let (reserved, qos) = (options & 0b1100_0000, options & 0b11);
        if reserved != 0 || version != Version::V5 && options & !0b11 != 0 {
            // [MQTT-3.8.3-5] [MQTT3-3.8.3-4]
            return Err(Malformed::ReservedBits.into());
        }
        let retain_handling = match options >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(ProtocolViolation::RetainHandling.into()),
        };
        let no_local = options & 0b100 != 0;
        if no_local && filter.group.is_some() {
            // [MQTT-3.8.3-4]
            return Err(ProtocolViolation::NoLocalOnSharedSubscription.into());
        }
        let retain_as_published = options & 0b1000 != 0;
        // 3.8.3.1 makes it a Protocol Error; in 3.1.1 it is malformed. [MQTT3-3.8.3-4]
        let qos = match QoS::from_u8(qos) {
            Some(qos) => qos,
            None if version == Version::V5 => return Err(ProtocolViolation::MaximumQoS3.into()),
            None => return Err(Malformed::QoS3.into()),
        };
        Ok(Self { filter, qos, no_local, retain_as_published, retain_handling })
    }
}

fn subscribe(mut reader: Reader<'_>, version: Version) -> Result<Subscribe<'_>, Error> {
    let packet_id = packet_id(&mut reader)?;
    let properties = properties(&mut reader, version, Place::Subscribe, Sender::Client)?;
    let filters = reader.rest();
    // [MQTT-3.8.3-2]
    if filters.is_empty() {
        return Err(ProtocolViolation::NoFilters.into());
    }
    while !reader.is_empty() {
        FilterRequest::read(&mut reader, version)?;
    }
    Ok(Subscribe { packet_id, properties, filters })
}

fn sub_ack(mut reader: Reader<'_>, version: Version) -> Result<SubAck<'_>, Error> {
    let packet_id = packet_id(&mut reader)?;
    let properties = properties(&mut reader, version, Place::SubAck, Sender::Server)?;
    let reasons = reader.rest();
    let known = |&code: &u8| match version {
        Version::V3_1 => code <= 2,
        // [MQTT3-3.9.3-2]
        Version::V3_1_1 => code <= 2 || code == 0x80,
        Version::V5 => ReasonCode::from_u8(code).is_some_and(ReasonCode::is_for_suback),
    };
    if reasons.iter().all(known) && !reasons.is_empty() {
        Ok(SubAck { packet_id, properties, reasons })
    } else {
        Err(Malformed::ReasonCode.into())
    }
}

fn unsubscribe(mut reader: Reader<'_>, version: Version) -> Result<Unsubscribe<'_>, Error> {
    let packet_id = packet_id(&mut reader)?;
    let properties = properties(&mut reader, version, Place::Unsubscribe, Sender::Client)?;
    let filters = reader.rest();
    // [MQTT-3.10.3-2]
    if filters.is_empty() {
        return Err(ProtocolViolation::NoFilters.into());
    }
    while !reader.is_empty() {
        // [MQTT-3.10.3-1]
        SharedFilter::new(reader.text_that_may_hold_nul()?)?;
    }
    Ok(Unsubscribe { packet_id, properties, filters })
}

fn unsub_ack(mut reader: Reader<'_>, version: Version) -> Result<UnsubAck<'_>, Error> {
    let packet_id = packet_id(&mut reader)?;
    let properties = properties(&mut reader, version, Place::UnsubAck, Sender::Server)?;
    let reasons = reader.rest();
    if version != Version::V5 {
        reader.end()?;
    } else if reasons.is_empty() || !reasons.iter().all(|&code| is_unsuback_code(code)) {
        return Err(Malformed::ReasonCode.into());
    }
    Ok(UnsubAck { packet_id, properties, reasons })
}

fn is_unsuback_code(code: u8) -> bool {
    ReasonCode::from_u8(code).is_some_and(ReasonCode::is_for_unsuback)
}

fn disconnect(reader: Reader<'_>, version: Version, sender: Sender) -> Result<Disconnect<'_>, Error> {
    if reader.is_empty() {
        return Ok(Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY });
    }
    if version != Version::V5 {
        return Err(Malformed::TrailingBytes.into());
    }
    let (reason, properties) = reason_and_properties(reader, Place::Disconnect, sender, ReasonCode::is_for_disconnect)?;
    Ok(Disconnect { reason, properties })
}

fn auth(mut reader: Reader<'_>, sender: Sender) -> Result<Auth<'_>, Error> {
    let mut auth = Auth { reason: ReasonCode::Success, properties: Properties::EMPTY };
    if !reader.is_empty() {
        auth.reason = reason(&mut reader, ReasonCode::is_for_auth)?;
        auth.properties = Properties::read(&mut reader, Place::Auth, sender)?;
    }
    reader.end()?;
    if !auth.properties.contains(PropertyId::AuthenticationMethod) {
        return Err(ProtocolViolation::NoAuthenticationMethod.into());
    }
    Ok(auth)
}
