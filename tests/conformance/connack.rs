//! CONNACK: the first packet, once; Session Present; what it says the broker can do.

use crate::client::{
    ALL_VERSIONS, Got, Login, Message, all, bytes_of, disconnect, expect_cut, expect_nothing, net_of, next, on_shards,
    subscribe,
};
use crate::net::Net;
use thrum::broker::Options;
use thrum::mqtt::{ConnAck, Packet, Properties, PropertyId, QoS, ReasonCode, Version};

// [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2]
#[test]
fn who_is_let_in_gets_one_connack_and_it_comes_first() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            // A session with a message waiting, so that there is something else to send.
            let away = Login::new(version, "c").resuming().with(keep).connect(&mut net);
            subscribe(&mut net, away, "a", QoS::AtLeastOnce);
            net.cut(away);
            let publisher = Login::v5("p").connect(&mut net);
            Message::new("a", "waiting").at_least_once(1).publish(&mut net, publisher);
            let client = Login::new(version, "c").resuming().with(keep).send(&mut net);
            net.send_bytes(client, &[0xc0, 0]);
            let got = all(&mut net, client);
            assert!(matches!(got[0], Got::ConnAck { reason: ReasonCode::Success, .. }), "{got:?}");
            assert!(matches!(got[1..], [Got::Publish(_), Got::PingResp]), "{got:?}");
            Login::new(version, "c").connect(&mut net);
        }
    });
}

/// For 5.0; not sent before.
fn keep(properties: &mut thrum::mqtt::PropertyBuffer) {
    properties.push_four_byte(PropertyId::SessionExpiryInterval, 1_000);
}

// [MQTT-3.2.2-1]
#[test]
fn the_reserved_flags_are_zero() {
    let mut net = net_of(1);
    for version in ALL_VERSIONS {
        for session_present in [0, 1] {
            let client = Login::new(version, "c").resuming().with(keep).send(&mut net);
            let bytes = net.take_bytes(client);
            assert_eq!(bytes[2], if version == Version::V3_1 { 0 } else { session_present });
        }
        Login::new(version, "c").connect(&mut net);
        let client = Login::new(version, "c").connect(&mut net);
        disconnect(&mut net, client);
    }
}

// [MQTT-3.2.2-2] [MQTT-3.1.2-4] [MQTT-3.1.4-4]
#[test]
fn a_clean_start_finds_no_session() {
    on_shards(|mut net| {
        for version in [Version::V3_1_1, Version::V5] {
            for _ in 0..2 {
                let old = Login::new(version, "c").resuming().with(keep).connect(&mut net);
                subscribe(&mut net, old, "a", QoS::AtLeastOnce);
                let (new, present) = Login::new(version, "c").present(&mut net);
                assert!(!present);
                // The session that was there is gone, with its subscriptions.
                Message::new("a", "1").publish(&mut net, new);
                expect_nothing(&mut net, new);
                assert_eq!(net.cores.iter().map(|core| core.subscriptions_len()).sum::<usize>(), 0);
                disconnect(&mut net, new);
            }
        }
    });
}

// [MQTT-3.2.2-3] [MQTT-3.1.2-5] [MQTT-3.1.2-6]
#[test]
fn without_clean_start_session_present_says_whether_there_was_one() {
    on_shards(|mut net| {
        for version in [Version::V3_1_1, Version::V5] {
            let login = Login::new(version, "c").resuming().with(keep);
            let (first, present) = login.present(&mut net);
            assert!(!present);
            subscribe(&mut net, first, "a", QoS::AtLeastOnce);
            disconnect(&mut net, first);
            let (second, present) = login.present(&mut net);
            assert!(present);
            Message::new("a", "1").publish(&mut net, second);
            assert_eq!(next(&mut net, second), Got::Publish(Message::new("a", "1")));
            Login::new(version, "c").connect(&mut net);
        }
    });
}

// [MQTT-3.2.2-6] [MQTT-3.2.2-8]
#[test]
fn a_refusal_of_a_client_with_a_session_does_not_say_that_it_is_there() {
    let mut net = Net::guarded(Options::default(), || Box::new(super::connect::Doorkeeper));
    let client = Login::v5("c").resuming().expiry(100).connect(&mut net);
    disconnect(&mut net, client);
    // `refused` looks at Session Present, and the packet is read by a decoder that knows the codes of a CONNACK.
    assert_eq!(Login::v5("c").resuming().user("bob", "").refused(&mut net), ReasonCode::BadUserNameOrPassword);
    assert!(Login::v5("c").resuming().present(&mut net).1);
    let ack = ConnAck { session_present: false, reason: ReasonCode::Banned, properties: Properties::EMPTY };
    assert_eq!(bytes_of(&Packet::ConnAck(ack), Version::V5), [0x20, 3, 0, 0x8a, 0]);
}

#[test]
fn a_connack_of_5_says_what_the_broker_can_do() {
    let options = Options {
        receive_max: 7,
        packet_bytes_max: 5_000,
        topic_alias_max: 3,
        session_expiry_secs_max: 50,
        ..Options::default()
    };
    let mut net = Net::new(options);
    let (_, got) = Login::v5("c").expiry(100).answer(&mut net);
    let number = |id| got.properties().number(id);
    assert_eq!(number(PropertyId::ReceiveMaximum), Some(7));
    assert_eq!(number(PropertyId::MaximumPacketSize), Some(5_000));
    assert_eq!(number(PropertyId::TopicAliasMaximum), Some(3));
    assert_eq!(number(PropertyId::SessionExpiryInterval), Some(50));
    // What is not said to be missing, is there.
    for id in [
        PropertyId::MaximumQoS,
        PropertyId::RetainAvailable,
        PropertyId::WildcardSubscriptionAvailable,
        PropertyId::SubscriptionIdentifierAvailable,
        PropertyId::SharedSubscriptionAvailable,
    ] {
        assert!(!got.properties().has(id), "{id:?}");
    }
}

// [MQTT-3.2.2-15]
#[test]
fn a_packet_over_our_maximum_packet_size_ends_the_connection() {
    let mut net = Net::new(Options { packet_bytes_max: 300, ..Options::default() });
    let client = Login::v5("c").connect(&mut net);
    // Of 300 bytes: 3 of header, 3 of topic, 1 of properties.
    Message::new("a", &"x".repeat(293)).publish(&mut net, client);
    expect_nothing(&mut net, client);
    Message::new("a", &"x".repeat(294)).send(&mut net, client);
    expect_cut(&mut net, client, ReasonCode::PacketTooLarge);
    let old = Login::v3("c").connect(&mut net);
    Message::new("a", &"x".repeat(295)).send(&mut net, old);
    assert!(net.is_closed(old));
}
