//! Errors (4.13), data representation of topics (4.7), and what malformed packets do.

use thrum::base::Refusal;
use thrum::broker::Options;
use thrum::mqtt::{AckType, QoS, ReasonCode, Version};

use crate::client::{
    ALL_VERSIONS, Got, Login, Message, ask_for, expect_ack, expect_closed, expect_cut, next, on_1_2_4, packet,
    put_text, subscribe, sum, take_message, take_payloads,
};
use crate::net::Net;

// [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT3-4.8.0-2]
#[test]
fn a_packet_that_is_wrong_ends_its_connection_with_the_reason() {
    use ReasonCode::{MalformedPacket as Malformed, PacketTooLarge, ProtocolError as Protocol, TopicAliasInvalid};
    let cases: [(&[u8], ReasonCode); 14] = [
        (&[0x00, 0], Malformed),
        (&[0x30, 0x80, 0x80, 0x80, 0x80], Malformed),
        (&[0x36, 6, 0, 1, b't', 0, 1, 0], Malformed),
        (&[0x31, 3, 0, 1, b'+'], Malformed),
        (&[0x32, 6, 0, 1, b't', 0, 0, 0], Protocol),
        (&[0x30, 7, 0, 1, b't', 3, 0x23, 0, 0], TopicAliasInvalid),
        (&[0x80, 7, 0, 1, 0, 0, 1, b't', 0], Malformed),
        (&[0x82, 3, 0, 1, 0], Protocol),
        (&[0x82, 7, 0, 0, 0, 0, 1, b't', 0], Protocol),
        (&[0x82, 7, 0, 1, 0, 0, 1, b't', 3], Protocol),
        (&[0x82, 7, 0, 1, 0, 0, 1, b't', 0x30], Protocol),
        (&[0xa2, 3, 0, 1, 0], Protocol),
        (&[0xe0, 1, 0x18], Malformed),
        (&[0x30, 0xff, 0xff, 0xff, 0x7f], PacketTooLarge),
    ];
    for (bytes, reason) in cases {
        let mut net = Net::new(Options { packet_bytes_max: 1 << 20, ..Options::default() });
        let client = Login::v5("c").connect(&mut net);
        net.send_bytes(client, bytes);
        expect_cut(&mut net, client, reason);
        assert_eq!(sum(&net, |core| core.counters().refused(Refusal::BadPacket)), 1);
        let old = Login::v3("c").connect(&mut net);
        net.send_bytes(old, &[0x36, 5, 0, 1, b't', 0, 1]);
        expect_closed(&mut net, old);
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    for version in ALL_VERSIONS {
        let mut net = Net::new(Options::default());
        let login = Login::new(version, "c");
        let client = login.connect(&mut net);
        net.send_bytes(client, &login.bytes());
        match version {
            Version::V5 => expect_cut(&mut net, client, ReasonCode::ProtocolError),
            _ => expect_closed(&mut net, client),
        }
    }
}

#[test]
fn one_clients_error_is_no_others() {
    on_1_2_4(&Options::default(), |mut net| {
        let subscriber = Login::v5("s").connect(&mut net);
        subscribe(&mut net, subscriber, "t", QoS::AtMostOnce);
        let publisher = Login::v5("p").connect(&mut net);
        let mut bytes = packet(0x32, &[0, 1, b't', 0, 9, 0, b'x']);
        bytes.extend([0xf0, 0, 0xc0]);
        net.send_bytes(publisher, &bytes);
        expect_ack(&mut net, publisher, AckType::PubAck, 9);
        expect_cut(&mut net, publisher, ReasonCode::ProtocolError);
        assert_eq!(take_payloads(&mut net, subscriber), ["x"], "what came before the error was taken over");
    });
}

// [MQTT-4.7.3-3]
#[test]
fn a_topic_of_65535_bytes_goes_through_unchanged() {
    on_1_2_4(&Options::default(), |mut net| {
        let topic = format!("a/{}", "x".repeat(65_533));
        let client = Login::v5("c").connect(&mut net);
        subscribe(&mut net, client, &topic, QoS::AtLeastOnce);
        Message::new(&topic, "x").at_least_once(1).send(&mut net, client);
        let got = take_message(&mut net, client);
        assert!(got.topic == topic);
        expect_ack(&mut net, client, AckType::PubAck, 1);
    });
}

// [MQTT-4.7.3-4] [MQTT-4.7.1-1]
#[test]
fn topics_are_compared_byte_by_byte_and_never_normalized() {
    on_1_2_4(&Options::default(), |mut net| {
        let topics =
            ["a", "A", "/a", "a/", "a//", " a", "\u{e4}", "a\u{308}", "\u{212b}", "\u{c5}", "\u{feff}a", "\u{fffd}"];
        let clients: Vec<_> = topics
            .iter()
            .enumerate()
            .map(|(number, topic)| {
                let client = Login::v5(&format!("c{number}")).connect(&mut net);
                subscribe(&mut net, client, topic, QoS::AtMostOnce);
                client
            })
            .collect();
        let publisher = Login::v5("p").connect(&mut net);
        for topic in topics {
            Message::new(topic, topic).publish(&mut net, publisher);
        }
        for (client, topic) in clients.into_iter().zip(topics) {
            let got = next(&mut net, client).message();
            assert_eq!((got.topic.as_str(), got.payload_text()), (topic, topic));
            assert_eq!(crate::client::all(&mut net, client), []);
        }
    });
}

// [MQTT-4.7.2-1]
#[test]
fn a_leading_wildcard_does_not_see_topics_of_the_server_and_no_client_writes_them() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").connect(&mut net);
        for filter in ["#", "+/x", "$SYS/#"] {
            subscribe(&mut net, client, filter, QoS::AtMostOnce);
        }
        let publisher = Login::v5("p").connect(&mut net);
        let reason = Message::new("$SYS/x", "x").at_least_once(1).publish(&mut net, publisher);
        assert_eq!(reason, ReasonCode::TopicNameInvalid);
        assert_eq!(crate::client::all(&mut net, client), []);
        assert_eq!(sum(&net, |core| core.counters().refused(Refusal::ReservedTopic)), 1);
    });
}

// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.7.3-2]
#[test]
fn a_filter_that_is_none_ends_the_connection() {
    for filter in ["", "a#", "#/a", "a+", "+a/b", "a\0"] {
        let mut net = Net::new(Options::default());
        let client = Login::v5("c").connect(&mut net);
        let mut body = vec![0, 1, 0];
        put_text(&mut body, filter);
        body.push(0);
        net.send_bytes(client, &packet(0x82, &body));
        expect_cut(&mut net, client, ReasonCode::MalformedPacket);
    }
    let mut net = Net::new(Options::default());
    let client = Login::v5("c").connect(&mut net);
    assert_eq!(ask_for(&mut net, client, None, &[crate::client::Ask::new("+/a/#", QoS::AtMostOnce)]), [0]);
    assert!(!matches!(crate::client::next_if_any(&mut net, client), Some(Got::Disconnect { .. })));
}
