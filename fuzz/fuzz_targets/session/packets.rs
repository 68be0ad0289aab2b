//! Packets that a script chooses: mostly right, from few names and identifiers, so that they meet.

use thrum::base::SubscriptionId;
use thrum::mqtt::{
    Ack, AckType, Auth, Connect, Delivery, Disconnect, FilterRequest, Packet, PacketId, PropertyBuffer, PropertyId,
    Publish, QoS, ReasonCode, RetainHandling, SharedFilter, Subscribe, TopicName, Unsubscribe, Version, Will, encode,
};

use crate::script::Script;

const CLIENTS: [&str; 5] = ["a", "b", "c", "client", ""];
const TOPICS: [&str; 8] = ["a", "a/b", "b", "a/b/c", "/", "$SYS/a", crate::FORBIDDEN, "a/b/c/d/e/f/g/h/i/j"];
const FILTERS: [&str; 16] = [
    "a",
    "#",
    "a/b",
    "+",
    "a/#",
    "+/b",
    "a/+/c",
    "/",
    "$SYS/#",
    crate::FORBIDDEN,
    "a/b/c/d/e/f/g/h/i/j",
    "$share/g/a",
    "$share/g/#",
    "$share/h/a/#",
    "$share/h/a",
    "$share/g/+/b",
];
const PAYLOADS: [&[u8]; 5] = [b"payload", b"", &[0xff; 40], &[b'x'; 300], &[b'y'; 3_000]];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const SECS: [u32; 5] = [0, 1, 5, 30, u32::MAX];

fn id(script: &mut Script<'_>) -> PacketId {
    PacketId::new(1 + script.below(6) as u16).expect("from 1")
}

fn written(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes);
    bytes
}

pub(crate) fn connect(script: &mut Script<'_>) -> Vec<u8> {
    let version = script.pick(&[Version::V5, Version::V3_1_1, Version::V5, Version::V3_1]);
    let client_id = script.pick(&CLIENTS);
    let flags = script.byte();
    let mut properties = PropertyBuffer::new();
    if flags & 1 != 0 {
        properties.push_four_byte(PropertyId::SessionExpiryInterval, script.pick(&SECS));
    }
    if flags & 2 != 0 {
        properties.push_two_byte(PropertyId::ReceiveMaximum, 1 + script.below(4) as u16);
    }
    if flags & 4 != 0 {
        properties.push_four_byte(PropertyId::MaximumPacketSize, script.pick(&[100, 20, 40, 400, 4, 1, 10]));
    }
    if flags & 8 != 0 {
        properties.push_two_byte(PropertyId::TopicAliasMaximum, script.pick(&[1, 2, 3, u16::MAX]));
    }
    if flags & 128 != 0 {
        properties.push_text(PropertyId::AuthenticationMethod, crate::METHOD);
        properties.push_binary(PropertyId::AuthenticationData, script.pick(&[b"", b"yes", b"no"]));
    }
    let mut will_properties = PropertyBuffer::new();
    let will = (flags & 16 != 0).then(|| {
        will_properties.push_four_byte(PropertyId::WillDelayInterval, script.pick(&SECS));
        if script.bit() {
            will_properties.push_four_byte(PropertyId::MessageExpiryInterval, script.pick(&SECS));
        }
        (script.pick(&TOPICS), script.pick(&QOS), script.bit(), script.pick(&PAYLOADS))
    });
    let will = will.map(|(topic, qos, retain, payload)| Will {
        qos,
        retain,
        topic: TopicName::trusted(topic),
        payload,
        properties: will_properties.properties(),
    });
    let user_name = (flags & 32 != 0).then(|| script.pick(&["later", "denied later", "denied"]));
    let connect = Connect {
        version,
        clean_start: flags & 64 != 0,
        keep_alive_secs: script.pick(&[0, 1, 10, u16::MAX]),
        client_id,
        will,
        user_name,
        password: None,
        properties: properties.properties(),
    };
    written(&Packet::Connect(connect), version)
}

pub(crate) fn subscribe(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let mut properties = PropertyBuffer::new();
    if let Some(id) = SubscriptionId::new(script.pick(&[0, 1, 2, 300])) {
        properties.push_subscription_id(id);
    }
    let packet_id = id(script);
    let requests: Vec<_> = (0..=script.below(4))
        .map(|_| {
            let flags = script.byte();
            FilterRequest {
                filter: filter(script),
                qos: QOS[usize::from(flags % 3)],
                no_local: flags & 4 != 0,
                retain_as_published: flags & 8 != 0,
                retain_handling: match flags >> 4 & 3 {
                    0 | 3 => RetainHandling::Send,
                    1 => RetainHandling::SendIfNew,
                    _ => RetainHandling::DoNotSend,
                },
            }
        })
        .collect();
    let mut buffer = Vec::new();
    written(&Packet::Subscribe(Subscribe::new(packet_id, properties.properties(), &requests, &mut buffer)), version)
}

fn filter(script: &mut Script<'_>) -> SharedFilter<'static> {
    SharedFilter::new(script.pick(&FILTERS)).expect("a filter of ours")
}

pub(crate) fn unsubscribe(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let (packet_id, properties) = (id(script), PropertyBuffer::new());
    let filters: Vec<_> = (0..=script.below(3)).map(|_| filter(script)).collect();
    let mut buffer = Vec::new();
    written(&Packet::Unsubscribe(Unsubscribe::new(packet_id, properties.properties(), &filters, &mut buffer)), version)
}

pub(crate) fn publish(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let flags = script.byte();
    let topic = script.pick(&TOPICS);
    let mut properties = PropertyBuffer::new();
    let mut is_aliased = false;
    if flags & 8 != 0 && version == Version::V5 {
        properties.push_two_byte(PropertyId::TopicAlias, script.pick(&[1, 2, 3, 0]));
        is_aliased = script.bit();
    }
    if flags & 16 != 0 {
        properties.push_four_byte(PropertyId::MessageExpiryInterval, script.pick(&SECS));
    }
    if flags & 32 != 0 {
        properties.push_text(PropertyId::ResponseTopic, "answer");
        properties.push_binary(PropertyId::CorrelationData, b"question");
        properties.push_user_property("name", "value");
        properties.push_flag(PropertyId::PayloadFormatIndicator, true);
    }
    let delivery = match flags & 3 {
        0 => Delivery::AtMostOnce,
        1 => Delivery::AtLeastOnce(id(script)),
        _ => Delivery::ExactlyOnce(id(script)),
    };
    let publish = Publish {
        dup: flags & 64 != 0 && delivery != Delivery::AtMostOnce,
        delivery,
        retain: flags & 4 != 0,
        topic: (!is_aliased).then(|| TopicName::trusted(topic)),
        properties: properties.properties(),
        payload: script.pick(&PAYLOADS),
    };
    written(&Packet::Publish(publish), version)
}

/// Any acknowledgement, of anything.
pub(crate) fn any_ack(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let kind = script.pick(&[AckType::PubAck, AckType::PubRec, AckType::PubRel, AckType::PubComp]);
    let reason = match (script.byte() % 4, kind) {
        (0, AckType::PubAck | AckType::PubRec) => ReasonCode::QuotaExceeded,
        (0, _) => ReasonCode::PacketIdentifierNotFound,
        _ => ReasonCode::Success,
    };
    ack(kind, id(script).get(), reason, version)
}

pub(crate) fn ack(kind: AckType, packet_id: u16, reason: ReasonCode, version: Version) -> Vec<u8> {
    let Some(packet_id) = PacketId::new(packet_id) else { return Vec::new() };
    let properties = PropertyBuffer::new();
    written(&Packet::Ack(kind, Ack { packet_id, reason, properties: properties.properties() }), version)
}

pub(crate) fn disconnect(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let mut properties = PropertyBuffer::new();
    if script.bit() {
        properties.push_four_byte(PropertyId::SessionExpiryInterval, script.pick(&SECS));
    }
    let reason = script.pick(&[ReasonCode::Success, ReasonCode::DisconnectWithWill]);
    written(&Packet::Disconnect(Disconnect { reason, properties: properties.properties() }), version)
}

pub(crate) fn auth(script: &mut Script<'_>) -> Vec<u8> {
    let mut properties = PropertyBuffer::new();
    properties.push_text(PropertyId::AuthenticationMethod, script.pick(&[crate::METHOD, "another"]));
    properties.push_binary(PropertyId::AuthenticationData, script.pick(&[b"", b"yes", b"no"]));
    let reason = script.pick(&[ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate]);
    written(&Packet::Auth(Auth { reason, properties: properties.properties() }), Version::V5)
}
