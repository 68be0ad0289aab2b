//! PUBACK, PUBREC, PUBREL and PUBCOMP: what they may say, and what the broker says with them.

use crate::client::{
    Got, Login, Message, all, expect_ack, expect_cut, expect_nothing, net_of, next, on_shards, packet, send_ack,
    send_ack_with, subscribe, take_message,
};
use crate::connect::Doorkeeper;
use crate::net::Net;
use thrum::base::DropReason;
use thrum::broker::Options;
use thrum::mqtt::{AckType, PropertyId, QoS, ReasonCode, Version};

// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
#[test]
fn a_reason_code_that_an_acknowledgement_does_not_have_ends_the_connection() {
    let cases: [(u8, &[u8]); 4] = [
        (0x40, &[0x01, 0x82, 0x92, 0xff]),
        (0x50, &[0x01, 0x82, 0x92, 0xff]),
        (0x62, &[0x10, 0x80, 0x87, 0xff]),
        (0x70, &[0x10, 0x80, 0x87, 0xff]),
    ];
    for (first_byte, reasons) in cases {
        for reason in reasons {
            let mut net = net_of(1);
            let client = Login::v5("c").connect(&mut net);
            net.send_bytes(client, &packet(first_byte, &[0, 1, *reason]));
            expect_cut(&mut net, client, ReasonCode::MalformedPacket);
        }
    }
}

// [MQTT-3.4.2-1] [MQTT-3.5.2-1]
#[test]
fn puback_and_pubrec_say_what_became_of_the_message() {
    let mut net = Net::guarded(Options::default(), || Box::new(Doorkeeper));
    let client = Login::v5("c").connect(&mut net);
    let both = |net: &mut Net, topic: &str| {
        let puback = Message::new(topic, "").at_least_once(1).publish(net, client);
        assert_eq!(Message::new(topic, "").exactly_once(1).publish(net, client), puback);
        puback
    };
    assert_eq!(both(&mut net, "a"), ReasonCode::NoMatchingSubscribers);
    let other = Login::v5("other").connect(&mut net);
    subscribe(&mut net, other, "a", QoS::AtMostOnce);
    assert_eq!(both(&mut net, "a"), ReasonCode::Success);
    assert_eq!(both(&mut net, "secret"), ReasonCode::NotAuthorized);
    assert_eq!(both(&mut net, "$SYS"), ReasonCode::TopicNameInvalid);
}

// [MQTT-3.6.2-1] [MQTT-3.7.2-1]
#[test]
fn pubrel_and_pubcomp_say_whether_the_identifier_is_known() {
    let mut net = net_of(1);
    let client = Login::v5("c").connect(&mut net);
    send_ack(&mut net, client, AckType::PubRel, 7);
    assert_eq!(expect_ack(&mut net, client, AckType::PubComp, 7), ReasonCode::PacketIdentifierNotFound);
    send_ack(&mut net, client, AckType::PubRec, 7);
    assert_eq!(expect_ack(&mut net, client, AckType::PubRel, 7), ReasonCode::PacketIdentifierNotFound);
    Message::new("a", "").exactly_once(7).send(&mut net, client);
    expect_ack(&mut net, client, AckType::PubRec, 7);
    send_ack(&mut net, client, AckType::PubRel, 7);
    assert_eq!(expect_ack(&mut net, client, AckType::PubComp, 7), ReasonCode::Success);
    // Before 5.0 it cannot be said.
    let old = Login::v3("old").connect(&mut net);
    net.send_bytes(old, &[0x62, 2, 0, 7]);
    assert_eq!(net.take_bytes(old), [0x70, 2, 0, 7]);
}

#[test]
fn an_acknowledgement_of_5_with_reason_and_properties_is_read() {
    on_shards(|mut net| {
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        let publisher = Login::v5("p").connect(&mut net);
        for reason in [0x00, 0x10, 0x80, 0x97] {
            Message::new("a", "").at_least_once(1).publish(&mut net, publisher);
            let id = next(&mut net, client).message().id.to_be_bytes();
            let body = [id[0], id[1], reason, 11, 0x1f, 0, 1, b'x', 0x26, 0, 1, b'n', 0, 1, b'v'];
            net.send_bytes(client, &packet(0x40, &body));
        }
        expect_nothing(&mut net, client);
        let refused: u64 = net.cores.iter().map(|core| core.counters().dropped(DropReason::RefusedByClient)).sum();
        assert_eq!(refused, 2);
    });
}

#[test]
fn a_pubrec_that_refuses_ends_the_delivery() {
    on_shards(|mut net| {
        let client = Login::v5("c").receive_max(1).expiry(100).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "1").exactly_once(1).publish(&mut net, publisher);
        let message = next(&mut net, client).message();
        send_ack_with(&mut net, client, AckType::PubRec, message.id, ReasonCode::QuotaExceeded);
        expect_nothing(&mut net, client);
        Message::new("a", "2").exactly_once(1).publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, client).payload_text(), "2");
        net.cut(client);
        let client = Login::v5("c").resuming().connect(&mut net);
        expect_nothing(&mut net, client);
    });
}

#[test]
fn acknowledgements_of_what_was_never_sent_are_ignored() {
    for version in [Version::V3_1_1, Version::V5] {
        let mut net = net_of(1);
        let client = Login::new(version, "c").connect(&mut net);
        for (ack, answer) in [(AckType::PubAck, 0), (AckType::PubComp, 0), (AckType::PubRec, 1), (AckType::PubRel, 1)] {
            send_ack(&mut net, client, ack, 9);
            assert_eq!(all(&mut net, client).len(), answer);
        }
        expect_nothing(&mut net, client);
    }
}

/// The acknowledgements of the broker that refuse, in their order: PUBACK, PUBREC, PUBREL, PUBCOMP.
fn refusals(login: &Login) -> Vec<Got> {
    let mut net = Net::guarded(Options::default(), || Box::new(Doorkeeper));
    let client = login.connect(&mut net);
    Message::new("secret", "").at_least_once(1).send(&mut net, client);
    Message::new("secret", "").exactly_once(1).send(&mut net, client);
    send_ack(&mut net, client, AckType::PubRec, 7);
    send_ack(&mut net, client, AckType::PubRel, 7);
    let got = all(&mut net, client);
    assert_eq!(got.len(), 4);
    got
}

// [MQTT-3.1.2-29]
#[test]
fn who_wants_no_problem_information_gets_none() {
    let login = Login::v5("c").with(|properties| properties.push_flag(PropertyId::RequestProblemInformation, false));
    for got in refusals(&login) {
        assert!(got.properties().0.is_empty(), "{got:?}");
    }
}
