//! From a packet to bytes, appended to the caller's buffer.

use super::frame::PacketType;
use super::packet::{AckType, Connect, Delivery, Packet, PacketId, Publish, QoS, Subscribe, Unsubscribe, Will};
use super::properties::Properties;
use super::reason::ReasonCode;
use super::version::Version;
use super::wire::{put_binary, put_fixed_header, variable_byte_integer_len};
use crate::base::limits::FIXED_HEADER_BYTES_MAX;

/// Appends `packet` as `version` writes it; a CONNECT is written in its own version. What a version does not have
/// (properties, reason codes) is left out.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    match packet {
        Packet::Connect(connect) => with_header(out, first_byte(PacketType::Connect), |out| put_connect(connect, out)),
        Packet::ConnAck(ack) => with_header(out, first_byte(PacketType::ConnAck), |out| {
            out.push(u8::from(ack.session_present && version != Version::V3_1));
            if version == Version::V5 {
                out.push(ack.reason as u8);
                ack.properties.write(out);
            } else {
                let code = ack.reason.connect_return_code().or(ReasonCode::ServerUnavailable.connect_return_code());
                out.push(code.unwrap_or_default());
            }
        }),
        Packet::Publish(publish) => put_publish(publish, version, out),
        Packet::Ack(ack_type, ack) => put_ack(*ack_type, ack.packet_id, ack.reason, &ack.properties, version, out),
        Packet::Subscribe(subscribe) => {
            with_header(out, first_byte(PacketType::Subscribe), |out| put_subscribe(subscribe, version, out));
        }
        Packet::SubAck(ack) => with_header(out, first_byte(PacketType::SubAck), |out| {
            put_id_and_properties(ack.packet_id, &ack.properties, version, out);
            out.extend_from_slice(ack.reasons);
        }),
        Packet::Unsubscribe(unsubscribe) => {
            with_header(out, first_byte(PacketType::Unsubscribe), |out| put_unsubscribe(unsubscribe, version, out));
        }
        Packet::UnsubAck(ack) => with_header(out, first_byte(PacketType::UnsubAck), |out| {
            put_id_and_properties(ack.packet_id, &ack.properties, version, out);
            if version == Version::V5 {
                out.extend_from_slice(ack.reasons);
            }
        }),
        Packet::PingReq => out.extend_from_slice(&[first_byte(PacketType::PingReq), 0]),
        Packet::PingResp => out.extend_from_slice(&[first_byte(PacketType::PingResp), 0]),
        Packet::Disconnect(disconnect) => with_header(out, first_byte(PacketType::Disconnect), |out| {
            if version == Version::V5 {
                put_reason(disconnect.reason, &disconnect.properties, out);
            }
        }),
        Packet::Auth(auth) => with_header(out, first_byte(PacketType::Auth), |out| {
            put_reason(auth.reason, &auth.properties, out);
        }),
    }
}

/// The type, with the flags that [MQTT-2.1.3-1] prescribes.
const fn first_byte(packet_type: PacketType) -> u8 {
    let flags = match packet_type {
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
        _ => 0,
    };
    (packet_type as u8) << 4 | flags
}

/// Writes a fixed header around a body whose length is only known when it stands there.
fn with_header(out: &mut Vec<u8>, first_byte: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[first_byte, 0]);
    let start = out.len();
    body(out);
    let length = (out.len() - start) as u32;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let extra = variable_byte_integer_len(length) - 1;
    let end = out.len();
    out.resize(end + extra, 0);
    out.copy_within(start..end, start + extra);
    let mut rest = length;
    for byte in &mut out[start - 1..start + extra] {
        *byte = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    out[start + extra - 1] &= 0x7f;
}

fn put_connect(connect: &Connect<'_>, out: &mut Vec<u8>) {
    let version = connect.version;
    let (name, level) = match version {
        Version::V3_1 => ("MQIsdp", 3),
        Version::V3_1_1 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    put_binary(out, name.as_bytes());
    out.push(level);
    let will_flags = connect.will.map_or(0, |will| 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    out.push(
        u8::from(connect.clean_start) << 1
            | will_flags
            | u8::from(connect.password.is_some()) << 6
            | u8::from(connect.user_name.is_some()) << 7,
    );
    out.extend_from_slice(&connect.keep_alive_secs.to_be_bytes());
    put_properties(&connect.properties, version, out);
    put_binary(out, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        put_will(will, version, out);
    }
    if let Some(user_name) = connect.user_name {
        put_binary(out, user_name.as_bytes());
    }
    if let Some(password) = connect.password {
        put_binary(out, password);
    }
}

fn put_will(will: &Will<'_>, version: Version, out: &mut Vec<u8>) {
    put_properties(&will.properties, version, out);
    put_binary(out, will.topic.as_str().as_bytes());
    put_binary(out, will.payload);
}

fn put_properties(properties: &Properties<'_>, version: Version, out: &mut Vec<u8>) {
    if version == Version::V5 {
        properties.write(out);
    }
}

fn put_id_and_properties(id: PacketId, properties: &Properties<'_>, version: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.get().to_be_bytes());
    put_properties(properties, version, out);
}

/// A reason code and properties, of which whatever says nothing is left out. [MQTT-3.14.2-1] [MQTT-3.15.2-1]
fn put_reason(reason: ReasonCode, properties: &Properties<'_>, out: &mut Vec<u8>) {
    if reason == ReasonCode::Success && properties.is_empty() {
        return;
    }
    out.push(reason as u8);
    if !properties.is_empty() {
        properties.write(out);
    }
}

/// The first byte of a PUBLISH.
pub(super) const fn publish_first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | (dup as u8) << 3 | (qos as u8) << 1 | retain as u8
}

pub(super) fn put_delivery_id(delivery: Delivery, out: &mut Vec<u8>) {
    if let Some(id) = delivery.packet_id() {
        out.extend_from_slice(&id.get().to_be_bytes());
    }
}

fn put_publish(publish: &Publish<'_>, version: Version, out: &mut Vec<u8>) {
    let topic = publish.topic.map_or("", |topic| topic.as_str());
    let id_len = if publish.delivery.qos() == QoS::AtMostOnce { 0 } else { 2 };
    let properties_len = if version == Version::V5 { publish.properties.encoded_len() } else { 0 };
    let length = 2 + topic.len() + id_len + properties_len + publish.payload.len();
    out.reserve(length + FIXED_HEADER_BYTES_MAX);
    let first_byte = publish_first_byte(publish.dup, publish.delivery.qos(), publish.retain);
    put_fixed_header(out, first_byte, length as u32);
    put_binary(out, topic.as_bytes());
    put_delivery_id(publish.delivery, out);
    put_properties(&publish.properties, version, out);
    out.extend_from_slice(publish.payload);
}

/// Appends an acknowledgement without properties, which nearly all are. [MQTT-2.2.1-5]
#[inline]
pub fn encode_ack(ack_type: AckType, id: PacketId, reason: ReasonCode, version: Version, out: &mut Vec<u8>) {
    let [high, low] = id.get().to_be_bytes();
    let first_byte = ack_first_byte(ack_type);
    if reason == ReasonCode::Success || version != Version::V5 {
        out.extend_from_slice(&[first_byte, 2, high, low]);
    } else {
        out.extend_from_slice(&[first_byte, 3, high, low, reason as u8]);
    }
}

const fn ack_first_byte(ack_type: AckType) -> u8 {
    first_byte(match ack_type {
        AckType::PubAck => PacketType::PubAck,
        AckType::PubRec => PacketType::PubRec,
        AckType::PubRel => PacketType::PubRel,
        AckType::PubComp => PacketType::PubComp,
    })
}

fn put_ack(
    ack_type: AckType,
    id: PacketId,
    reason: ReasonCode,
    properties: &Properties<'_>,
    version: Version,
    out: &mut Vec<u8>,
) {
    if properties.is_empty() || version != Version::V5 {
        return encode_ack(ack_type, id, reason, version, out);
    }
    with_header(out, ack_first_byte(ack_type), |out| {
        out.extend_from_slice(&id.get().to_be_bytes());
        put_reason(reason, properties, out);
    });
}

fn put_subscribe(subscribe: &Subscribe<'_>, version: Version, out: &mut Vec<u8>) {
    put_id_and_properties(subscribe.packet_id, &subscribe.properties, version, out);
    out.extend_from_slice(subscribe.filters);
}

fn put_unsubscribe(unsubscribe: &Unsubscribe<'_>, version: Version, out: &mut Vec<u8>) {
    put_id_and_properties(unsubscribe.packet_id, &unsubscribe.properties, version, out);
    out.extend_from_slice(unsubscribe.filters);
}
