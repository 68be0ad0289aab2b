//! Chapters 1 and 2: strings, variable byte integers, fixed headers, packet identifiers, as the broker takes and sends
//! them.

use crate::client::{
    Ask, Got, Login, Message, all, bytes_of, expect_closed, expect_cut, net_of, next, packet, put_text, send_v5,
    subscribe, subscribe_bytes, take_message,
};
use crate::net::{Client, Net};
use thrum::mqtt::{ConnAck, Packet, Properties, PropertyId, QoS, ReasonCode, Version};

fn cut_by(bytes: &[u8], reason: ReasonCode) {
    let mut net = net_of(1);
    let client = Login::v5("c").connect(&mut net);
    net.send_bytes(client, bytes);
    expect_cut(&mut net, client, reason);
}

fn publish_to(topic: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic);
    body.push(0);
    packet(0x30, &body)
}

// [MQTT-1.5.4-1] [MQTT-1.5.4-2]
#[test]
fn a_string_that_is_no_utf8_or_holds_a_nul_ends_the_connection() {
    for topic in [&b"a\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"a\0b"] {
        cut_by(&publish_to(topic), ReasonCode::MalformedPacket);
    }
}

// [MQTT-1.5.4-3]
#[test]
fn a_byte_order_mark_is_part_of_the_topic() {
    let mut net = net_of(1);
    let client = Login::v5("c").connect(&mut net);
    subscribe(&mut net, client, "\u{feff}a", QoS::AtMostOnce);
    Message::new("a", "without").publish(&mut net, client);
    Message::new("\u{feff}a", "with").publish(&mut net, client);
    assert_eq!(take_message(&mut net, client), Message::new("\u{feff}a", "with"));
    assert_eq!(all(&mut net, client), []);
}

// [MQTT-1.5.5-1]
#[test]
fn a_length_in_more_bytes_than_it_needs_is_malformed_in_5_and_taken_before() {
    // PINGREQ with Remaining Length 0 in two bytes; PUBLISH with a Property Length of 0 in two.
    cut_by(&[0xc0, 0x80, 0], ReasonCode::MalformedPacket);
    cut_by(&[0x30, 5, 0, 1, b'a', 0x80, 0], ReasonCode::MalformedPacket);
    cut_by(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01], ReasonCode::MalformedPacket);
    let mut net = net_of(1);
    let client = Login::v3("c").connect(&mut net);
    net.send_bytes(client, &[0xc0, 0x80, 0]);
    assert_eq!(net.take_bytes(client), [0xd0, 0]);
}

// [MQTT-1.5.7-1]
#[test]
fn both_strings_of_a_pair_are_checked() {
    for (name, value) in [(&b"\xff"[..], &b"v"[..]), (b"n", b"\xff"), (b"\0", b"v"), (b"n", b"\0")] {
        let mut property = vec![0x26];
        for text in [name, value] {
            property.extend_from_slice(&(text.len() as u16).to_be_bytes());
            property.extend_from_slice(text);
        }
        let mut body = vec![0, 1, b'a', property.len() as u8];
        body.extend_from_slice(&property);
        cut_by(&packet(0x30, &body), ReasonCode::MalformedPacket);
    }
}

// [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT3-2.2.2-2]
#[test]
fn reserved_flags_of_the_fixed_header_end_the_connection() {
    let packets: [&[u8]; 9] = [
        &[0x41, 2, 0, 1],
        &[0x58, 2, 0, 1],
        &[0x60, 2, 0, 1],
        &[0x63, 2, 0, 1],
        &[0x72, 2, 0, 1],
        &[0x80, 6, 0, 1, 0, 1, b'a', 0],
        &[0xa0, 5, 0, 1, 0, 1, b'a'],
        &[0xc1, 0],
        &[0xe1, 0],
    ];
    for bytes in packets {
        cut_by(bytes, ReasonCode::MalformedPacket);
        let mut net = net_of(1);
        let client = Login::v3("c").connect(&mut net);
        net.send_bytes(client, bytes);
        expect_closed(&mut net, client);
    }
}

// [MQTT-2.2.1-2]
#[test]
fn a_publish_of_qos_0_has_no_packet_identifier() {
    let mut net = net_of(1);
    let client = Login::v3("c").connect(&mut net);
    subscribe(&mut net, client, "a", QoS::ExactlyOnce);
    // What would be the identifier belongs to the payload.
    net.send_bytes(client, &[0x30, 5, 0, 1, b'a', 0, 7]);
    assert_eq!(net.take_bytes(client), [0x30, 5, 0, 1, b'a', 0, 7]);
}

// [MQTT-2.2.1-3]
#[test]
fn a_packet_identifier_of_zero_ends_the_connection() {
    let packets: [&[u8]; 4] = [
        &[0x32, 6, 0, 1, b'a', 0, 0, 0],
        &[0x34, 6, 0, 1, b'a', 0, 0, 0],
        &[0x82, 7, 0, 0, 0, 0, 1, b'a', 0],
        &[0xa2, 6, 0, 0, 0, 0, 1, b'a'],
    ];
    for bytes in packets {
        cut_by(bytes, ReasonCode::ProtocolError);
    }
}

// [MQTT-2.2.1-4]
#[test]
fn the_broker_gives_each_message_under_way_its_own_identifier() {
    let mut net = net_of(1);
    let client = Login::v3("c").connect(&mut net);
    subscribe(&mut net, client, "a", QoS::ExactlyOnce);
    let publisher = Login::v3("p").connect(&mut net);
    for id in 1..=20 {
        Message::new("a", "1").at_least_once(id).publish(&mut net, publisher);
    }
    let mut ids: Vec<u16> = all(&mut net, client).into_iter().map(|got| got.message().id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() == 20 && !ids.contains(&0), "{ids:?}");
}

// [MQTT-2.2.1-5]
#[test]
fn each_step_of_a_delivery_has_the_identifier_of_its_publish() {
    let mut net = net_of(1);
    let client = Login::v3("c").connect(&mut net);
    for id in [1, 0x1234, u16::MAX] {
        Message::new("a", "1").at_least_once(id).publish(&mut net, client);
        Message::new("a", "1").exactly_once(id).publish(&mut net, client);
    }
    // The broker as sender: `take_message` expects PUBREL of the identifier.
    subscribe(&mut net, client, "a", QoS::ExactlyOnce);
    let publisher = Login::v5("p").connect(&mut net);
    Message::new("a", "1").exactly_once(7).publish(&mut net, publisher);
    take_message(&mut net, client);
}

// [MQTT-2.2.1-6]
#[test]
fn suback_and_unsuback_have_the_identifier_of_what_they_answer() {
    let mut net = net_of(3);
    let client = Login::v5("c").connect(&mut net);
    for id in [1, 0x1234, u16::MAX] {
        send_v5(&mut net, client, &subscribe_bytes(id, None, &[Ask::new("a", QoS::AtMostOnce)]));
        assert!(matches!(next(&mut net, client), Got::SubAck { id: found, .. } if found == id));
        let mut body = id.to_be_bytes().to_vec();
        body.push(0);
        put_text(&mut body, "a");
        send_v5(&mut net, client, &packet(0xa2, &body));
        assert!(matches!(next(&mut net, client), Got::UnsubAck { id: found, .. } if found == id));
    }
}

fn bytes_after(net: &mut Net, client: Client, bytes: &[u8]) -> Vec<u8> {
    net.send_bytes(client, bytes);
    net.take_bytes(client)
}

// [MQTT-2.2.2-1]
#[test]
fn no_properties_are_a_length_of_zero() {
    let mut net = net_of(1);
    let client = Login::v5("c").connect(&mut net);
    assert_eq!(bytes_after(&mut net, client, &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0]), [0x90, 4, 0, 1, 0, 0]);
    assert_eq!(bytes_after(&mut net, client, &[0x30, 4, 0, 1, b'a', 0]), [0x30, 4, 0, 1, b'a', 0]);
    assert_eq!(bytes_after(&mut net, client, &[0xa2, 6, 0, 1, 0, 0, 1, b'a']), [0xb0, 4, 0, 1, 0, 0]);
    let ack = ConnAck { session_present: false, reason: ReasonCode::Success, properties: Properties::EMPTY };
    assert_eq!(bytes_of(&Packet::ConnAck(ack), Version::V5), [0x20, 3, 0, 0, 0]);
    // SUBSCRIBE without the length is short of a byte.
    net.send_bytes(client, &[0x82, 6, 0, 1, 0, 1, b'a', 0]);
    expect_cut(&mut net, client, ReasonCode::MalformedPacket);
}

#[test]
fn a_property_that_does_not_belong_there_or_comes_twice_ends_the_connection() {
    // Server Keep Alive in a PUBLISH; Content Type twice; Payload Format Indicator 2.
    cut_by(&[0x30, 7, 0, 1, b'a', 3, 0x13, 0, 1], ReasonCode::MalformedPacket);
    cut_by(&[0x30, 12, 0, 1, b'a', 8, 3, 0, 1, b'x', 3, 0, 1, b'y'], ReasonCode::ProtocolError);
    cut_by(&[0x30, 6, 0, 1, b'a', 2, PropertyId::PayloadFormatIndicator as u8, 2], ReasonCode::ProtocolError);
}
