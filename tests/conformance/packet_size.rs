//! The client's Maximum Packet Size: what does not fit is not sent, and counts as sent.

use crate::client::{
    Ask, Got, LastWill, Login, Message, SUBSCRIBE_ID, all, expect_ack, expect_nothing, net_of, next, on_shards,
    send_ack, send_v5, subscribe, subscribe_bytes, take_message,
};
use crate::net::Net;
use thrum::base::DropReason;
use thrum::mqtt::{AckType, PropertyId, QoS, ReasonCode};

fn too_large(net: &Net) -> u64 {
    net.cores.iter().map(|core| core.counters().dropped(DropReason::TooLarge)).sum()
}

// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[test]
fn a_message_that_the_client_cannot_take_is_dropped_and_counted() {
    on_shards(|mut net| {
        let client = Login::v5("c").packet_bytes_max(50).receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        // With QoS 0: 2 bytes of header, 3 of topic, 1 of properties; with QoS 1 and 2 the identifier's 2 besides.
        Message::new("a", &"x".repeat(44)).publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, client).payload.len(), 44);
        Message::new("a", &"x".repeat(45)).publish(&mut net, publisher);
        Message::new("a", &"x".repeat(43)).at_least_once(1).publish(&mut net, publisher);
        Message::new("a", &"x".repeat(43)).exactly_once(1).publish(&mut net, publisher);
        expect_nothing(&mut net, client);
        assert_eq!(too_large(&net), 3);
        // None of them takes up the window.
        Message::new("a", &"x".repeat(42)).exactly_once(1).publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, client).payload.len(), 42);
        Message::new("a", "").at_least_once(1).publish(&mut net, publisher);
        take_message(&mut net, client);
    });
}

// [MQTT-3.1.2-25]
#[test]
fn a_message_that_waited_and_does_not_fit_any_more_is_dropped() {
    on_shards(|mut net| {
        let client = Login::v5("c").expiry(100).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        net.cut(client);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", &"x".repeat(100)).at_least_once(1).publish(&mut net, publisher);
        Message::new("a", "fits").at_least_once(1).publish(&mut net, publisher);
        let client = Login::v5("c").resuming().packet_bytes_max(50).connect(&mut net);
        assert_eq!(take_message(&mut net, client).payload_text(), "fits");
        assert_eq!(too_large(&net), 1);
    });
}

// [MQTT-3.1.2-25] What was under way, and does not fit on the next connection, took up the window for ever.
#[test]
fn a_message_under_way_that_does_not_fit_the_next_connection_is_done_with() {
    on_shards(|mut net| {
        let client = Login::v5("c").expiry(100).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        let long = "x".repeat(100);
        Message::new("a", &long).at_least_once(1).publish(&mut net, publisher);
        Message::new("a", &long).exactly_once(1).publish(&mut net, publisher);
        let exactly_once = all(&mut net, client).pop().unwrap().message();
        net.cut(client);
        let client = Login::v5("c").resuming().packet_bytes_max(50).receive_max(1).connect(&mut net);
        // The client may have the one of QoS 2: PUBREL tells that its identifier will come to mean another message.
        expect_ack(&mut net, client, AckType::PubRel, exactly_once.id);
        expect_nothing(&mut net, client);
        send_ack(&mut net, client, AckType::PubComp, exactly_once.id);
        assert_eq!(too_large(&net), 2);
        Message::new("a", "fits").exactly_once(1).publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, client).payload_text(), "fits");
        assert_eq!(net.cores.iter().map(|core| core.messages_held()).sum::<usize>(), 0);
    });
}

// [MQTT-3.1.2-24]
#[test]
fn no_packet_of_any_kind_is_larger_than_the_client_takes() {
    let mut net = net_of(1);
    let client = Login::v5("c").packet_bytes_max(20).connect(&mut net);
    let asks: Vec<Ask> = (0..16).map(|index| Ask::new(&index.to_string(), QoS::AtMostOnce)).collect();
    send_v5(&mut net, client, &subscribe_bytes(SUBSCRIBE_ID, None, &asks[..15]));
    assert!(matches!(next(&mut net, client), Got::SubAck { id: SUBSCRIBE_ID, .. }));
    // One byte more is too many: it is treated as if it had been sent.
    send_v5(&mut net, client, &subscribe_bytes(SUBSCRIBE_ID, None, &asks));
    send_v5(&mut net, client, &subscribe_bytes(SUBSCRIBE_ID, None, &asks));
    expect_nothing(&mut net, client);
    Message::new("15", "").publish(&mut net, client);
    take_message(&mut net, client);
}

// [MQTT-3.1.2-24]
#[test]
fn a_client_that_cannot_take_its_connack_is_cut_off() {
    let mut net = net_of(1);
    let watcher = Login::v5("watcher").connect(&mut net);
    subscribe(&mut net, watcher, "will", QoS::AtMostOnce);
    let login = Login::v5("c").packet_bytes_max(6).will(LastWill::new("will", "gone"));
    let client = login.send(&mut net);
    assert!(net.is_closed(client));
    assert_eq!(net.take_bytes(client), [0x20, 3, 0, ReasonCode::PacketTooLarge as u8, 0]);
    // It never was connected.
    expect_nothing(&mut net, watcher);
    assert_eq!(net.cores[0].sessions_len(), 1);
    let client = Login::v5("c").packet_bytes_max(4).send(&mut net);
    assert!(net.is_closed(client));
    assert!(net.take_bytes(client).is_empty());
}

// [MQTT-3.2.2-19]
#[test]
fn a_reason_string_is_left_out_where_it_does_not_fit() {
    let mut net = Net::guarded(thrum::broker::Options::default(), || Box::new(crate::connect::Doorkeeper));
    let will = || LastWill::new("$SYS/x", "will");
    let (_, got) = Login::v5("c").will(will()).answer(&mut net);
    let text = got.properties().text(PropertyId::ReasonString).expect("a reason").to_owned();
    let bytes = 8 + text.len() as u32;
    let (_, fits) = Login::v5("c").will(will()).packet_bytes_max(bytes).answer(&mut net);
    assert_eq!(fits, got);
    let (_, short) = Login::v5("c").will(will()).packet_bytes_max(bytes - 1).answer(&mut net);
    assert!(matches!(short, Got::ConnAck { reason: ReasonCode::TopicNameInvalid, .. }));
    assert!(!short.properties().has(PropertyId::ReasonString));
}

// [MQTT-3.14.2-3]
#[test]
fn a_disconnect_comes_without_its_reason_string_where_that_does_not_fit() {
    for (bytes_max, is_told) in [(100, true), (12, false)] {
        let mut net = net_of(1);
        let client = Login::v5("c").packet_bytes_max(bytes_max).connect(&mut net);
        net.send_bytes(client, &[0x36, 4, 0, 1, b'a', 0]);
        let got = next(&mut net, client);
        assert!(matches!(got, Got::Disconnect { reason: ReasonCode::MalformedPacket, .. }));
        assert_eq!(got.properties().has(PropertyId::ReasonString), is_told);
        assert!(net.is_closed(client));
    }
}
