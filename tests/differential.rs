//! Two foreign codecs, rumqttc's and mqtt-proto, read what ours writes and write what ours reads, with the same fields.
//!
//! Where they do not, one of them is wrong: `KNOWN` says who, by which words of the specification, and leaves those
//! packets out of the comparison. A known disagreement that is gone fails a test, too.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped is a failure")]

use bytes::Bytes;
use proptest::prelude::*;
use thrum::mqtt::{Progress, PropertyId, Sender, Version, decode, encode, frame};

#[path = "common/generators.rs"]
pub mod generators;
#[path = "common/packets.rs"]
pub mod packets;

use packets::{Description, PropertyList, PublishDescription, RequestDescription, Value};

/// Larger than every generated packet.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// A codec to compare with.
pub trait Foreign {
    const NAME: &'static str;
    const KNOWN: &'static [Known];
    type Packet: std::fmt::Debug;
    fn decode(bytes: &[u8]) -> Result<Self::Packet, String>;
    fn encode(packet: &Self::Packet) -> Result<Vec<u8>, String>;
    fn describe(packet: Self::Packet) -> Description;
}

/// Packets that a foreign codec does not take as the specification says, and why.
#[derive(Debug)]
pub struct Known {
    because: &'static str,
    concerns: fn(&Description) -> bool,
    example: fn() -> (Sender, Description),
}

/// Ours writes, theirs reads; theirs writes what it has read, ours reads it.
fn agree<F: Foreign>(version: Version, sender: Sender, description: &Description) -> Result<(), String> {
    let expected = in_order(description.clone());
    let mut ours = Vec::new();
    description.with(|packet| encode(&packet, version, &mut ours));
    let foreign = F::decode(&ours).map_err(|error| format!("{} does not read {ours:02x?}: {error}", F::NAME))?;
    let theirs = F::encode(&foreign).map_err(|error| format!("{} does not write {foreign:?}: {error}", F::NAME))?;
    let read = in_order(F::describe(foreign));
    if read != expected {
        return Err(format!("{} reads {ours:02x?}\n as {read:?}\nnot {expected:?}", F::NAME));
    }
    let found = match frame(&theirs, PACKET_BYTES_MAX) {
        Ok(Progress::Packet(found)) if found.bytes == theirs.len() => found,
        other => return Err(format!("{} writes {theirs:02x?}: {other:?}", F::NAME)),
    };
    let again =
        decode(&found, version, sender).map_err(|error| format!("{} writes {theirs:02x?}: {error}", F::NAME))?;
    let again = in_order(Description::of(&again));
    if again == expected { Ok(()) } else { Err(format!("{} writes {theirs:02x?}, read as {again:?}", F::NAME)) }
}

/// Foreign codecs keep each property in a field, so that their order is lost; that of User Properties is not.
/// [MQTT-3.3.2-18]
fn in_order(mut description: Description) -> Description {
    let sort = |properties: &mut PropertyList| properties.sort_by_key(|&(id, _)| id as u8);
    match &mut description {
        Description::Connect(connect) => {
            sort(&mut connect.properties);
            if let Some(will) = &mut connect.will {
                sort(&mut will.properties);
            }
        }
        Description::Publish(publish) => sort(&mut publish.properties),
        Description::ConnAck { properties, .. }
        | Description::Ack { properties, .. }
        | Description::Subscribe { properties, .. }
        | Description::SubAck { properties, .. }
        | Description::Unsubscribe { properties, .. }
        | Description::UnsubAck { properties, .. }
        | Description::Disconnect { properties, .. }
        | Description::Auth { properties, .. } => sort(properties),
        Description::PingReq | Description::PingResp => {}
    }
    description
}

/// A property's value as a foreign codec has it.
pub trait ForeignValue {
    fn value(self) -> Value;
}

macro_rules! foreign_values {
    ($($from:ty, $value:ident => $make:expr;)+) => {
        $(impl ForeignValue for $from {
            fn value(self) -> Value {
                let $value = self;
                $make
            }
        })+
    };
}

foreign_values! {
    bool, value => Value::Flag(value);
    u16, value => Value::TwoByte(value);
    u32, value => Value::FourByte(value);
    Bytes, value => Value::Binary(value.to_vec());
}

/// The list of a foreign struct's fields, each with the property that it holds.
macro_rules! list {
    ($from:expr; $($id:ident = $field:ident),+) => {{
        let (from, mut list) = ($from, PropertyList::new());
        $(list.extend(from.$field.into_iter().map(|value| (PropertyId::$id, ForeignValue::value(value))));)+
        list
    }};
}

/// As `list`, of a struct that may not be there.
macro_rules! list_if_any {
    ($from:expr; $($fields:tt)+) => {
        $from.map(|from| list!(from; $($fields)+)).unwrap_or_default()
    };
}

// Below the macros that they use.
#[path = "differential/mqtt_proto.rs"]
pub mod mqtt_proto;
#[path = "differential/rumqttc.rs"]
pub mod rumqttc;

use mqtt_proto::{Proto3, Proto5};
use rumqttc::{Rumqttc4, Rumqttc5};

fn times(id: PropertyId, properties: &PropertyList) -> usize {
    properties.iter().filter(|(other, _)| *other == id).count()
}

/// The simplest PUBLISH with these properties.
fn publish(properties: PropertyList, payload: &[u8]) -> Description {
    Description::Publish(PublishDescription {
        dup: false,
        qos: 0,
        packet_id: 0,
        retain: false,
        topic: "topic".to_owned(),
        properties,
        payload: payload.to_vec(),
    })
}

/// As versions before 5.0 have it: without options.
fn old_request(filter: String, qos: u8) -> RequestDescription {
    RequestDescription { filter, qos, no_local: false, retain_as_published: false, retain_handling: 0 }
}

fn any_packet(version: Version) -> impl Strategy<Value = (Sender, Description)> {
    let sender = prop::sample::select(vec![Sender::Client, Sender::Server]);
    sender.prop_flat_map(move |sender| (Just(sender), generators::packet(version, sender)))
}

fn check<F: Foreign>(version: Version, sender: Sender, description: &Description) -> Result<(), TestCaseError> {
    if F::KNOWN.iter().any(|known| (known.concerns)(description)) {
        return Ok(());
    }
    agree::<F>(version, sender, description).map_err(TestCaseError::fail)
}

#[test]
fn the_known_disagreements_are_still_there() {
    still_there::<Rumqttc4>(Version::V3_1_1);
    still_there::<Rumqttc5>(Version::V5);
    still_there::<Proto3>(Version::V3_1_1);
    still_there::<Proto5>(Version::V5);
}

fn still_there<F: Foreign>(version: Version) {
    for known in F::KNOWN {
        let (sender, mut example) = (known.example)();
        if let Description::Connect(connect) = &mut example {
            connect.version = version;
        }
        assert!((known.concerns)(&example), "{}: {}", F::NAME, known.because);
        assert!(agree::<F>(version, sender, &example).is_err(), "{} has learnt: {}", F::NAME, known.because);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rumqttc_agrees_on_3_1_1((sender, description) in any_packet(Version::V3_1_1)) {
        check::<Rumqttc4>(Version::V3_1_1, sender, &description)?;
    }

    #[test]
    fn rumqttc_agrees_on_5_0((sender, description) in any_packet(Version::V5)) {
        check::<Rumqttc5>(Version::V5, sender, &description)?;
    }

    #[test]
    fn mqtt_proto_agrees_on_3_1((sender, description) in any_packet(Version::V3_1)) {
        check::<Proto3>(Version::V3_1, sender, &description)?;
    }

    #[test]
    fn mqtt_proto_agrees_on_3_1_1((sender, description) in any_packet(Version::V3_1_1)) {
        check::<Proto3>(Version::V3_1_1, sender, &description)?;
    }

    #[test]
    fn mqtt_proto_agrees_on_5_0((sender, description) in any_packet(Version::V5)) {
        check::<Proto5>(Version::V5, sender, &description)?;
    }
}
