//! What the codec owes for any packet, and for any bytes at all.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped is a failure")]

use proptest::collection::vec;
use proptest::prelude::*;
use thrum::base::SubscriptionId;
use thrum::mqtt::{
    BodyLayout, Error, Packet, Progress, Properties, PropertyBuffer, PropertyId, PropertyValue, Publish, PublishBody,
    PublishCopy, Sender, TopicAlias, TopicName, Version, decode, encode, frame,
};

#[path = "common/generators.rs"]
pub mod generators;
#[path = "common/packets.rs"]
pub mod packets;

use packets::{Description, PublishDescription};

/// Larger than every generated packet.
const PACKET_BYTES_MAX: u32 = 1 << 20;

fn answer(input: &[u8], version: Version, sender: Sender) -> Result<Option<(Packet<'_>, usize)>, Error> {
    match frame(input, PACKET_BYTES_MAX)? {
        Progress::Need(_) => Ok(None),
        Progress::Packet(found) => decode(&found, version, sender).map(|packet| Some((packet, found.bytes))),
    }
}

fn encoded(description: &Description, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    description.with(|packet| encode(&packet, version, &mut out));
    out
}

/// A version, a side, and a packet that it may send.
fn any_packet() -> impl Strategy<Value = (Version, Sender, Description)> {
    generators::side()
        .prop_flat_map(|(version, sender)| (Just(version), Just(sender), generators::packet(version, sender)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    // [MQTT-2.1.3-1] [MQTT-2.2.1-2] [MQTT-3.1.3-1] [MQTT-3.1.2-12] [MQTT-3.8.3-5]
    #[test]
    fn what_is_encoded_is_decoded_as_it_was((version, sender, description) in any_packet()) {
        let bytes = encoded(&description, version);
        match answer(&bytes, version, sender) {
            Ok(Some((packet, read))) => {
                prop_assert_eq!(read, bytes.len());
                description.with(|original| assert_eq!(packet, original));
                prop_assert_eq!(Description::of(&packet), description);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    // The Remaining Length counts to the packet's end, whatever follows. [MQTT-1.5.5-1]
    #[test]
    fn what_follows_a_packet_changes_nothing_in_it(
        (version, sender, description) in any_packet(),
        rest in vec(any::<u8>(), 0..40),
    ) {
        let bytes = encoded(&description, version);
        let together = [&bytes[..], &rest].concat();
        prop_assert_eq!(answer(&together, version, sender), answer(&bytes, version, sender));
    }

    #[test]
    fn a_whole_packet_is_awaited_by_its_missing_bytes((version, sender, description) in any_packet()) {
        let bytes = encoded(&description, version);
        for at in 0..bytes.len() {
            match frame(&bytes[..at], PACKET_BYTES_MAX) {
                Ok(Progress::Need(missing)) => prop_assert!((1..=bytes.len() - at).contains(&missing)),
                other => prop_assert!(false, "from {:?}, cut at {}: {:?}", sender, at, other),
            }
        }
    }

    #[test]
    fn any_bytes_give_one_answer_however_they_come((version, sender) in generators::side(), bytes in any_bytes()) {
        let whole = answer(&bytes, version, sender);
        for at in 0..bytes.len() {
            match answer(&bytes[..at], version, sender) {
                // More bytes may change it.
                Ok(None) => {}
                decided => prop_assert_eq!(&decided, &whole, "cut at {}", at),
            }
        }
    }

    #[test]
    fn whatever_is_accepted_is_encoded_and_decoded_to_the_same(
        (version, sender) in generators::side(),
        bytes in any_bytes(),
    ) {
        if let Ok(Some((packet, read))) = answer(&bytes, version, sender) {
            let mut written = Vec::new();
            encode(&packet, version, &mut written);
            prop_assert!(written.len() <= read);
            prop_assert_eq!(answer(&written, version, sender), Ok(Some((packet, written.len()))));
        }
    }

    #[test]
    fn a_copy_of_a_shared_body_is_what_encode_writes(
        version in prop::sample::select(vec![Version::V3_1, Version::V3_1_1, Version::V5]),
        // What came from a client of 5.0 goes to subscribers of every version.
        message in generators::publish(Version::V5, Sender::Client),
        own in own_parts(),
    ) {
        check_copy(version, &message, &own)?;
    }
}

/// Bytes without any sense, and packets with a few bytes changed: these get further.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let spoilt =
        (any_packet(), vec(change, 0..4), 0..3_usize).prop_map(|((version, _, description), changes, more)| {
            let mut bytes = encoded(&description, version);
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.extend(std::iter::repeat_n(0, more));
            bytes
        });
    let framed = (any::<u8>(), vec(any::<u8>(), 0..60)).prop_map(|(first, body)| {
        let mut bytes = vec![first, body.len() as u8];
        bytes.extend(body);
        bytes
    });
    prop_oneof![1 => vec(any::<u8>(), 0..60), 2 => framed, 4 => spoilt]
}

#[derive(Debug)]
struct OwnParts {
    expiry_secs: Option<u32>,
    alias: TopicAlias,
    subscription_ids: Vec<SubscriptionId>,
}

fn own_parts() -> impl Strategy<Value = OwnParts> {
    let alias = prop_oneof![
        Just(TopicAlias::None),
        (1..=u16::MAX).prop_map(TopicAlias::Set),
        (1..=u16::MAX).prop_map(TopicAlias::Use),
    ];
    let id = (1..=268_435_455_u32).prop_map(|id| SubscriptionId::new(id).unwrap());
    (prop::option::of(any::<u32>()), alias, vec(id, 0..3)).prop_map(|(expiry_secs, alias, subscription_ids)| OwnParts {
        expiry_secs,
        alias,
        subscription_ids,
    })
}

/// The properties that a subscriber gets: his own, then what the publisher gave and is passed on. [MQTT-3.3.2-17]
/// [MQTT-3.3.2-20]
fn expected_properties(published: &Properties<'_>, own: &OwnParts) -> PropertyBuffer {
    let mut buffer = PropertyBuffer::new();
    if let Some(secs) = own.expiry_secs {
        buffer.push_four_byte(PropertyId::MessageExpiryInterval, secs);
    }
    if let TopicAlias::Set(alias) | TopicAlias::Use(alias) = own.alias {
        buffer.push_two_byte(PropertyId::TopicAlias, alias);
    }
    for &id in &own.subscription_ids {
        buffer.push_subscription_id(id);
    }
    for property in published.iter() {
        match property.value {
            PropertyValue::Flag(value) => buffer.push_flag(property.id, value),
            PropertyValue::Text(text) => buffer.push_text(property.id, text),
            PropertyValue::Binary(bytes) => buffer.push_binary(property.id, bytes),
            PropertyValue::Pair(name, value) => buffer.push_user_property(name, value),
            // The publisher's expiry and alias end here.
            PropertyValue::TwoByte(_) | PropertyValue::FourByte(_) | PropertyValue::Variable(_) => {}
        }
    }
    buffer
}

fn check_copy(version: Version, message: &PublishDescription, own: &OwnParts) -> Result<(), TestCaseError> {
    // What reached the broker by an alias is stored with its topic.
    let topic = if message.topic.is_empty() { "by/alias" } else { &message.topic };
    let topic = TopicName::new(topic).unwrap();
    let none = OwnParts { expiry_secs: None, alias: TopicAlias::None, subscription_ids: Vec::new() };
    let own = if version == Version::V5 { own } else { &none };
    let (mut shared, mut expected) = (Vec::new(), Vec::new());
    let layout = message.with(|publish| {
        let properties = expected_properties(&publish.properties, own);
        let equivalent = Publish {
            topic: if matches!(own.alias, TopicAlias::Use(_)) { None } else { Some(topic) },
            properties: properties.properties(),
            ..publish
        };
        encode(&Packet::Publish(equivalent), version, &mut expected);
        BodyLayout::write(topic, &publish.properties, publish.payload, &mut shared)
    });
    let body = PublishBody { bytes: &shared, layout };
    let copy = PublishCopy {
        version,
        dup: message.dup,
        delivery: message.delivery(),
        retain: message.retain,
        expiry_secs: own.expiry_secs,
        alias: own.alias,
        subscription_ids: &own.subscription_ids,
    };
    let mut out = Vec::new();
    body.put_copy(&copy, false, &mut out);
    prop_assert_eq!(&out, &expected);
    prop_assert_eq!(body.copy_len(&copy), out.len());
    let mut apart = Vec::new();
    body.put_copy(&copy, true, &mut apart);
    apart.extend_from_slice(body.payload());
    prop_assert_eq!(apart, out);
    prop_assert_eq!((body.topic(), body.payload()), (topic.as_str(), &message.payload[..]));
    Ok(())
}
