//! Generators for proptest: any packet that a version allows from a side, as a description.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use thrum::mqtt::{AckType, Place, PropertyId, Sender, Version};

use super::packets::{
    ConnectDescription, Description, PropertyList, PublishDescription, RequestDescription, Value, WillDescription,
};

/// Any text that MQTT can carry, mostly short, ASCII in half of its characters. [MQTT-1.5.4-2]
pub fn text() -> impl Strategy<Value = String> {
    characters(|_| true, 0..24)
}

fn characters(belongs: fn(&char) -> bool, count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let character = prop_oneof![prop::char::range(' ', '~'), any::<char>()];
    let character = character.prop_filter("not here", move |c| *c != '\0' && belongs(c));
    vec(character, count).prop_map(String::from_iter)
}

/// [MQTT-3.3.2-2] [MQTT-4.7.3-1]
pub fn topic() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(characters(|c| !matches!(c, '+' | '#'), 0..8), 1..5).prop_map(|levels| levels.join("/")),
        1 => characters(|c| !matches!(c, '+' | '#'), 1..400),
    ]
    .prop_filter("empty", |topic| !topic.is_empty())
}

/// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1]
pub fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        2 => characters(|c| !matches!(c, '+' | '#' | '/'), 0..8),
        1 => Just("+".to_owned()),
    ];
    let end = select(vec!["", "", "/#", "/+"]);
    let filter = (vec(level, 1..5), end).prop_map(|(levels, end)| levels.join("/") + end);
    let filter = prop_oneof![filter, Just("#".to_owned())]
        .prop_filter("empty or a share", |filter| !filter.is_empty() && !filter.starts_with("$share"));
    let group = prop::option::weighted(0.2, characters(|c| !matches!(c, '+' | '#' | '/'), 1..8));
    (group, filter).prop_map(|(group, filter)| match group {
        Some(group) => format!("$share/{group}/{filter}"),
        None => filter,
    })
}

/// Short, but now and then longer than one byte of a length can say.
pub fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..32), 1 => vec(any::<u8>(), 100..300)]
}

fn packet_id() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn value(id: PropertyId) -> BoxedStrategy<Value> {
    use PropertyId as P;
    match id {
        P::PayloadFormatIndicator
        | P::RequestProblemInformation
        | P::RequestResponseInformation
        | P::MaximumQoS
        | P::RetainAvailable
        | P::WildcardSubscriptionAvailable
        | P::SubscriptionIdentifierAvailable
        | P::SharedSubscriptionAvailable => any::<bool>().prop_map(Value::Flag).boxed(),
        P::ServerKeepAlive | P::TopicAliasMaximum => any::<u16>().prop_map(Value::TwoByte).boxed(),
        P::ReceiveMaximum | P::TopicAlias => (1..=u16::MAX).prop_map(Value::TwoByte).boxed(),
        P::MessageExpiryInterval | P::SessionExpiryInterval | P::WillDelayInterval => {
            any::<u32>().prop_map(Value::FourByte).boxed()
        }
        P::MaximumPacketSize => (1..=u32::MAX).prop_map(Value::FourByte).boxed(),
        P::SubscriptionIdentifier => prop_oneof![1..300_u32, 1..=268_435_455_u32].prop_map(Value::Variable).boxed(),
        // [MQTT-3.3.2-14]
        P::ResponseTopic => topic().prop_map(Value::Text).boxed(),
        P::ContentType
        | P::AssignedClientIdentifier
        | P::AuthenticationMethod
        | P::ResponseInformation
        | P::ServerReference
        | P::ReasonString => text().prop_map(Value::Text).boxed(),
        P::CorrelationData | P::AuthenticationData => payload().prop_map(Value::Binary).boxed(),
        P::UserProperty => (text(), text()).prop_map(|(name, value)| Value::Pair(name, value)).boxed(),
    }
}

/// How often a property may stand where it may stand at all.
fn times_max(id: PropertyId, place: Place, sender: Sender) -> usize {
    match (id, place, sender) {
        (PropertyId::UserProperty, ..) => 3,
        // [MQTT-3.3.4-3] one for each subscription that matched; a client sends none [MQTT-3.3.4-6].
        (PropertyId::SubscriptionIdentifier, Place::Publish, Sender::Server) => 3,
        (PropertyId::SubscriptionIdentifier, Place::Publish, Sender::Client) => 0,
        (PropertyId::ServerReference, Place::Disconnect, Sender::Client) => 0,
        // [MQTT-3.14.2-2]
        (PropertyId::SessionExpiryInterval, Place::Disconnect, Sender::Server) => 0,
        _ => 1,
    }
}

/// What may stand at `place`, in any order; nothing before 5.0.
pub fn properties(version: Version, place: Place, sender: Sender) -> BoxedStrategy<PropertyList> {
    if version != Version::V5 {
        return Just(Vec::new()).boxed();
    }
    let allowed = PropertyId::ALL.iter().filter(|id| id.may_stand_in(place));
    let ids: Vec<_> = allowed.flat_map(|&id| std::iter::repeat_n(id, times_max(id, place, sender))).collect();
    let count = prop_oneof![Just(0), 0..=ids.len()];
    let chosen = count.prop_flat_map(move |count| subsequence(ids.clone(), count)).prop_shuffle();
    chosen
        .prop_map(move |mut ids| {
            use PropertyId::{AuthenticationData, AuthenticationMethod};
            let needs_method = place == Place::Auth || ids.contains(&AuthenticationData);
            if needs_method && !ids.contains(&AuthenticationMethod) {
                ids.push(AuthenticationMethod);
            }
            ids
        })
        .prop_flat_map(|ids| ids.into_iter().map(|id| value(id).prop_map(move |value| (id, value))).collect::<Vec<_>>())
        .boxed()
}

/// The codes of 3.2.2.2, 3.4.2.1, 3.6.2.1, 3.9.3, 3.11.3, 3.14.2.1 and 3.15.2.1. [MQTT-3.2.2-8]
const CONNACK_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
    0x9c, 0x9d, 0x9f,
];
const RECEIPT_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE_CODES: &[u8] = &[0x00, 0x92];
const SUBACK_CODES: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
const DISCONNECT_CODES: &[u8] = &[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];
const AUTH_CODES: &[u8] = &[0x00, 0x18, 0x19];

/// Of the codes that a packet has in 5.0, the one that all versions have for it: success.
fn code(version: Version, codes: &'static [u8]) -> BoxedStrategy<u8> {
    if version == Version::V5 { select(codes).boxed() } else { Just(0).boxed() }
}

fn connect(version: Version) -> impl Strategy<Value = Description> {
    let place = |place| properties(version, place, Sender::Client);
    let will = (0..3_u8, any::<bool>(), topic(), payload(), place(Place::Will));
    let will = will.prop_map(|(qos, retain, topic, payload, properties)| WillDescription {
        qos,
        retain,
        topic,
        payload,
        properties,
    });
    let login = (prop::option::of(text()), prop::option::of(payload()));
    let rest = (any::<bool>(), any::<u16>(), text(), prop::option::of(will), login, place(Place::Connect));
    rest.prop_map(move |(clean_start, keep_alive_secs, mut client_id, will, (user_name, password), properties)| {
        // [MQTT3-3.1.3-7] an empty identifier goes with a clean session; MQTT 3.1 knows none.
        if client_id.is_empty() && (version == Version::V3_1 || version == Version::V3_1_1 && !clean_start) {
            client_id.push('c');
        }
        // [MQTT3-3.1.2-22]
        let password = password.filter(|_| version == Version::V5 || user_name.is_some());
        Description::Connect(ConnectDescription {
            version,
            clean_start,
            keep_alive_secs,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    })
}

fn conn_ack(version: Version) -> impl Strategy<Value = Description> {
    // The return codes 0 to 5 of 3.1 and 3.1.1.
    const OLD_CODES: &[u8] = &[0x00, 0x84, 0x85, 0x88, 0x86, 0x87];
    let codes = if version == Version::V5 { CONNACK_CODES } else { OLD_CODES };
    (any::<bool>(), select(codes), properties(version, Place::ConnAck, Sender::Server)).prop_map(
        move |(session_present, reason, properties)| {
            // [MQTT-3.2.2-6]
            let session_present = session_present && reason == 0 && version != Version::V3_1;
            Description::ConnAck { session_present, reason, properties }
        },
    )
}

pub fn publish(version: Version, sender: Sender) -> impl Strategy<Value = PublishDescription> {
    let flags = (any::<bool>(), 0..3_u8, packet_id(), any::<bool>());
    let rest = (topic(), any::<bool>(), properties(version, Place::Publish, sender), payload());
    (flags, rest).prop_map(|((dup, qos, packet_id, retain), (topic, by_alias, properties, payload))| {
        let alias = properties.iter().any(|(id, _)| *id == PropertyId::TopicAlias);
        PublishDescription {
            // [MQTT-3.3.1-2]
            dup: dup && qos > 0,
            qos,
            // [MQTT-2.2.1-2]
            packet_id: if qos == 0 { 0 } else { packet_id },
            retain,
            topic: if alias && by_alias { String::new() } else { topic },
            properties,
            payload,
        }
    })
}

fn ack(version: Version, sender: Sender) -> impl Strategy<Value = Description> {
    let types = [
        (AckType::PubAck, RECEIPT_CODES),
        (AckType::PubRec, RECEIPT_CODES),
        (AckType::PubRel, RELEASE_CODES),
        (AckType::PubComp, RELEASE_CODES),
    ];
    select(types.to_vec()).prop_flat_map(move |(ack_type, codes)| {
        let parts = (packet_id(), code(version, codes), properties(version, Place::PublishAck, sender));
        parts.prop_map(move |(packet_id, reason, properties)| Description::Ack {
            ack_type,
            packet_id,
            reason,
            properties,
        })
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Description> {
    let request = (filter(), 0..3_u8, any::<bool>(), any::<bool>(), 0..3_u8).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| {
            let has_options = version == Version::V5;
            RequestDescription {
                qos,
                // [MQTT-3.8.3-4]
                no_local: no_local && has_options && !filter.starts_with("$share/"),
                retain_as_published: retain_as_published && has_options,
                retain_handling: if has_options { retain_handling } else { 0 },
                filter,
            }
        },
    );
    // [MQTT-3.8.3-2]
    (packet_id(), properties(version, Place::Subscribe, Sender::Client), vec(request, 1..6))
        .prop_map(|(packet_id, properties, requests)| Description::Subscribe { packet_id, properties, requests })
}

fn sub_ack(version: Version) -> impl Strategy<Value = Description> {
    let codes = match version {
        Version::V3_1 => &[0, 1, 2][..],
        Version::V3_1_1 => &[0, 1, 2, 0x80],
        Version::V5 => SUBACK_CODES,
    };
    (packet_id(), properties(version, Place::SubAck, Sender::Server), vec(select(codes), 1..6))
        .prop_map(|(packet_id, properties, reasons)| Description::SubAck { packet_id, properties, reasons })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Description> {
    // [MQTT-3.10.3-2]
    (packet_id(), properties(version, Place::Unsubscribe, Sender::Client), vec(filter(), 1..6))
        .prop_map(|(packet_id, properties, filters)| Description::Unsubscribe { packet_id, properties, filters })
}

fn unsub_ack(version: Version) -> impl Strategy<Value = Description> {
    let count = if version == Version::V5 { 1..6 } else { 0..1 };
    (packet_id(), properties(version, Place::UnsubAck, Sender::Server), vec(select(UNSUBACK_CODES), count))
        .prop_map(|(packet_id, properties, reasons)| Description::UnsubAck { packet_id, properties, reasons })
}

fn disconnect(version: Version, sender: Sender) -> impl Strategy<Value = Description> {
    (code(version, DISCONNECT_CODES), properties(version, Place::Disconnect, sender))
        .prop_map(|(reason, properties)| Description::Disconnect { reason, properties })
}

fn auth(sender: Sender) -> impl Strategy<Value = Description> {
    (select(AUTH_CODES), properties(Version::V5, Place::Auth, sender))
        .prop_map(|(reason, properties)| Description::Auth { reason, properties })
}

/// Any packet that `sender` may send in `version`.
pub fn packet(version: Version, sender: Sender) -> impl Strategy<Value = Description> {
    let mut kinds = vec![publish(version, sender).prop_map(Description::Publish).boxed(), ack(version, sender).boxed()];
    match sender {
        Sender::Client => kinds.extend([
            connect(version).boxed(),
            subscribe(version).boxed(),
            unsubscribe(version).boxed(),
            Just(Description::PingReq).boxed(),
        ]),
        Sender::Server => kinds.extend([
            conn_ack(version).boxed(),
            sub_ack(version).boxed(),
            unsub_ack(version).boxed(),
            Just(Description::PingResp).boxed(),
        ]),
    }
    if version == Version::V5 {
        kinds.extend([disconnect(version, sender).boxed(), auth(sender).boxed()]);
    } else if sender == Sender::Client {
        kinds.push(disconnect(version, sender).boxed());
    }
    proptest::strategy::Union::new(kinds)
}

/// Any version, and any side of a connection.
pub fn side() -> impl Strategy<Value = (Version, Sender)> {
    let versions = [Version::V3_1, Version::V3_1_1, Version::V5];
    (select(versions.to_vec()), select(vec![Sender::Client, Sender::Server]))
}
