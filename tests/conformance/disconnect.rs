//! DISCONNECT (3.14) and PINGREQ (3.12).

use thrum::base::Millis;
use thrum::broker::{DisconnectCause, Event, Options, ShardCore};
use thrum::mqtt::{Packet, QoS, ReasonCode, Version};

use crate::client::{
    ALL_VERSIONS, Ask, Got, LastWill, Login, Message, all, expect_closed, expect_cut, expect_nothing, next, on_1_2_4,
    packet, send_v5, subscribe, subscribe_bytes, sum, take_payloads, unsubscribe_bytes,
};
use crate::net::{Client, Net};

// [MQTT-3.12.4-1]
#[test]
fn each_pingreq_is_answered() {
    for version in ALL_VERSIONS {
        let mut net = Net::new(Options::default());
        let client = Login::new(version, "c").connect(&mut net);
        net.send_bytes(client, &[0xc0, 0, 0xc0, 0]);
        assert_eq!(net.take_bytes(client), [0xd0, 0, 0xd0, 0]);
    }
}

// [MQTT-3.14.0-1]
#[test]
fn before_a_connack_that_lets_it_in_a_client_gets_no_disconnect() {
    let first_bytes: [&[u8]; 4] = [&[0xc0, 0], &[0xe0, 0], &[0xff, 0xff, 0xff, 0xff, 0xff], &[0x30, 2, 0, 0]];
    for bytes in first_bytes {
        let mut net = Net::new(Options::default());
        let client = net.open(Version::V5);
        net.send_bytes(client, bytes);
        expect_closed(&mut net, client);
    }
    let mut net = Net::new(Options::default());
    let silent = net.open(Version::V5);
    net.advance(Millis::from_secs(11));
    expect_closed(&mut net, silent);
    let waiting = net.open(Version::V5);
    net.shut_down();
    expect_closed(&mut net, waiting);
}

// [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1]
#[test]
fn after_the_brokers_disconnect_comes_the_end_and_nothing_else() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").expiry(100).connect(&mut net);
        subscribe(&mut net, client, "t", QoS::ExactlyOnce);
        let publish = Message::new("t", "own").at_least_once(1);
        let mut bytes = vec![0x30, 4, 0, 1, b'x', 0];
        // SUBACK without an identifier, which no client sends, and good packets behind it.
        bytes.extend([0x90, 0, 0xc0, 0]);
        bytes.extend(subscribe_bytes(5, None, &[Ask::new("u", QoS::AtMostOnce)]));
        net.send_bytes(client, &bytes);
        expect_cut(&mut net, client, ReasonCode::ProtocolError);
        let publisher = Login::v5("p").connect(&mut net);
        publish.publish(&mut net, publisher);
        assert_eq!(all(&mut net, client), []);
        assert_eq!(sum(&net, ShardCore::subscriptions_len), 1, "what came behind was not looked at");
    });
}

#[test]
fn a_shutdown_tells_every_client_that_can_be_told() {
    on_1_2_4(&Options::default(), |mut net| {
        let clients = ALL_VERSIONS.map(|version| Login::new(version, &format!("{version:?}")).connect(&mut net));
        net.shut_down();
        expect_closed(&mut net, clients[0]);
        expect_closed(&mut net, clients[1]);
        expect_cut(&mut net, clients[2], ReasonCode::ServerShuttingDown);
    });
}

#[test]
fn who_ended_a_connection_is_told_as_it_was() {
    on_1_2_4(&Options::default(), |mut net| {
        let mut cause_of = |end: &dyn Fn(&mut Net, Client)| {
            let client = Login::v5("c").connect(&mut net);
            net.events.clear();
            end(&mut net, client);
            let causes = net.events.iter().filter_map(|event| match event {
                Event::Disconnected { cause, .. } => Some(*cause),
                _ => None,
            });
            causes.collect::<Vec<_>>()
        };
        for reason in [ReasonCode::Success, ReasonCode::Unspecified] {
            let causes = cause_of(&|net, client| crate::client::disconnect_with(net, client, reason));
            assert_eq!(causes, [DisconnectCause::ByClient(reason)]);
        }
        assert_eq!(cause_of(&|net, client| net.cut(client)), [DisconnectCause::Lost]);
        let causes = cause_of(&|net, client| net.send_bytes(client, &[0x90, 0]));
        assert_eq!(causes, [DisconnectCause::ByBroker(ReasonCode::ProtocolError)]);
        assert_eq!(cause_of(&|net, _| net.shut_down()), [DisconnectCause::ByBroker(ReasonCode::ServerShuttingDown)]);
    });
}

// [MQTT-3.14.4-3] [MQTT3-3.14.4-3]
#[test]
fn a_normal_disconnect_discards_the_will_and_any_other_end_publishes_it() {
    on_1_2_4(&Options::default(), |mut net| {
        let watcher = Login::v5("w").connect(&mut net);
        subscribe(&mut net, watcher, "will", QoS::AtMostOnce);
        for version in ALL_VERSIONS {
            let login = Login::new(version, "c").will(LastWill::new("will", "gone"));
            let client = login.connect(&mut net);
            crate::client::disconnect(&mut net, client);
            expect_nothing(&mut net, watcher);
            let client = login.connect(&mut net);
            net.cut(client);
            assert_eq!(take_payloads(&mut net, watcher), ["gone"]);
        }
        let client = Login::v5("c").will(LastWill::new("will", "gone")).connect(&mut net);
        crate::client::disconnect_with(&mut net, client, ReasonCode::DisconnectWithWill);
        assert_eq!(take_payloads(&mut net, watcher), ["gone"]);
    });
}

// [MQTT-3.14.2-2] [MQTT-3.1.2-23]
#[test]
fn a_disconnect_may_change_when_the_session_ends_but_not_bring_it_to_life() {
    on_1_2_4(&Options::default(), |mut net| {
        let disconnect = |secs: u8| packet(0xe0, &[0, 5, 0x11, 0, 0, 0, secs]);
        let client = Login::v5("c").expiry(10).connect(&mut net);
        net.send_bytes(client, &disconnect(100));
        assert!(net.is_closed(client));
        net.advance(Millis::from_secs(90));
        let (client, present) = Login::v5("c").expiry(10).resuming().present(&mut net);
        assert!(present);
        net.send_bytes(client, &disconnect(0));
        assert!(!Login::v5("c").resuming().present(&mut net).1);
        let client = Login::v5("d").connect(&mut net);
        net.send_bytes(client, &disconnect(1));
        expect_cut(&mut net, client, ReasonCode::ProtocolError);
    });
}

/// A client that takes packets of `max` bytes, and what it got for `bytes`.
fn limited(net: &mut Net, max: u32, bytes: &[u8]) -> (Client, Vec<Got>) {
    let client = Login::v5("c").packet_bytes_max(max).connect(net);
    net.send_bytes(client, bytes);
    let got = all(net, client);
    (client, got)
}

// [MQTT-3.1.2-24] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4]
#[test]
fn no_answer_is_larger_than_the_client_takes() {
    on_1_2_4(&Options::default(), |mut net| {
        let filters: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let asks: Vec<Ask> = filters.iter().map(|filter| Ask::new(filter, QoS::AtMostOnce)).collect();
        let names: Vec<&str> = filters.iter().map(String::as_str).collect();
        let (subscribe, unsubscribe) = (subscribe_bytes(1, None, &asks), unsubscribe_bytes(2, &names));
        // 20 reasons, and 5 bytes around them.
        for bytes in [&subscribe, &unsubscribe] {
            let (_, got) = limited(&mut net, 25, bytes);
            assert!(
                matches!(&got[..], [Got::SubAck { reasons, properties, .. } | Got::UnsubAck { reasons, properties, .. }]
                if reasons.len() == 20 && properties.0.is_empty()),
                "{got:?}"
            );
            // It is treated as if it had been sent; and DISCONNECT goes without a Reason String that would not fit.
            let (client, got) = limited(&mut net, 24, bytes);
            assert_eq!(got, []);
            net.send_bytes(client, &[0x90, 0]);
            let got = all(&mut net, client);
            let [Got::Disconnect { reason: ReasonCode::ProtocolError, properties }] = &got[..] else {
                panic!("{got:?}")
            };
            assert_eq!(properties.0, []);
            assert!(net.is_closed(client));
        }
    });
}

// [MQTT-3.1.2-24] [MQTT-3.14.0-1]
#[test]
fn a_client_that_does_not_even_take_its_connack_is_cut_off_without_a_word() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").expiry(100).connect(&mut net);
        subscribe(&mut net, client, "t", QoS::AtLeastOnce);
        net.cut(client);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        let client = Login::v5("c").expiry(100).resuming().packet_bytes_max(4).send(&mut net);
        expect_closed(&mut net, client);
        let client = Login::v5("c").expiry(100).resuming().connect(&mut net);
        assert_eq!(next(&mut net, client).message().payload_text(), "x");
        net.send(client, &Packet::PingReq);
        send_v5(&mut net, client, &unsubscribe_bytes(1, &["t"]));
        assert_eq!(all(&mut net, client).len(), 2);
    });
}
