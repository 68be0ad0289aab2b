//! Wills: when they are published, when not, and as what.

use crate::client::{
    ALL_VERSIONS, LastWill, Login, Message, disconnect, disconnect_with, expect_nothing, on_shards, subscribe,
    take_message,
};
use crate::net::{Client, Net};
use thrum::base::Millis;
use thrum::mqtt::{PropertyId, QoS, ReasonCode};

fn watcher(net: &mut Net) -> Client {
    let watcher = Login::v5("watcher").keep_alive(0).connect(net);
    subscribe(net, watcher, "will/#", QoS::ExactlyOnce);
    watcher
}

fn will() -> LastWill {
    LastWill::new("will/c", "gone")
}

fn expect_will(net: &mut Net, watcher: Client) {
    assert_eq!(take_message(net, watcher), Message::new("will/c", "gone"));
    expect_nothing(net, watcher);
}

// [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT3-3.1.2-8]
#[test]
fn a_will_is_published_when_the_connection_breaks() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            let watcher = watcher(&mut net);
            let client = Login::new(version, "c").will(will()).connect(&mut net);
            expect_nothing(&mut net, watcher);
            net.cut(client);
            expect_will(&mut net, watcher);
        }
    });
}

// [MQTT-3.1.2-8]
#[test]
fn a_will_is_published_after_a_protocol_error_and_after_a_disconnect_with_will() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        let client = Login::v5("c").will(will()).connect(&mut net);
        net.send_bytes(client, &[0xff, 0]);
        expect_will(&mut net, watcher);
        for reason in [ReasonCode::DisconnectWithWill, ReasonCode::Unspecified] {
            let client = Login::v5("c").will(will()).connect(&mut net);
            disconnect_with(&mut net, client, reason);
            expect_will(&mut net, watcher);
        }
    });
}

// [MQTT-3.1.2-10]
#[test]
fn a_normal_disconnect_discards_the_will_for_good() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        for version in ALL_VERSIONS {
            let client = Login::new(version, "c").resuming().expiry(10).will(will()).connect(&mut net);
            disconnect(&mut net, client);
            // Neither by the next connection, which has none, nor when the session ends.
            let client = Login::new(version, "c").resuming().expiry(10).connect(&mut net);
            net.cut(client);
            net.advance(Millis(20_000));
            expect_nothing(&mut net, watcher);
        }
    });
}

// [MQTT-3.1.2-10]
#[test]
fn a_will_is_published_once() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        let client = Login::v5("c").expiry(10).will(will()).connect(&mut net);
        net.cut(client);
        expect_will(&mut net, watcher);
        let client = Login::v5("c").resuming().expiry(10).connect(&mut net);
        net.cut(client);
        net.advance(Millis(20_000));
        expect_nothing(&mut net, watcher);
    });
}

// [MQTT3-3.1.2-12]
#[test]
fn without_a_will_flag_nothing_is_published() {
    on_shards(|mut net| {
        let watcher = Login::v5("watcher").connect(&mut net);
        subscribe(&mut net, watcher, "#", QoS::ExactlyOnce);
        for version in ALL_VERSIONS {
            let client = Login::new(version, "c").connect(&mut net);
            net.cut(client);
            expect_nothing(&mut net, watcher);
        }
    });
}

// [MQTT-3.1.2-14] [MQTT-3.1.2-15]
#[test]
fn a_will_is_retained_where_it_asks_for_it() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            let client = Login::new(version, "c").will(will()).connect(&mut net);
            net.cut(client);
            let watching = watcher(&mut net);
            expect_nothing(&mut net, watching);
            let client = Login::new(version, "c").will(will().retained()).connect(&mut net);
            net.cut(client);
            expect_will(&mut net, watching);
            let watching = watcher(&mut net);
            assert_eq!(take_message(&mut net, watching), Message::new("will/c", "gone").retained());
            Message::new("will/c", "").retained().publish(&mut net, watching);
            disconnect(&mut net, watching);
        }
    });
}

// [MQTT-3.1.2-9]
#[test]
fn a_will_has_the_qos_that_it_asks_for() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            let watcher = watcher(&mut net);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let client = Login::new(version, "c").will(will().qos(qos)).connect(&mut net);
                net.cut(client);
                assert_eq!(take_message(&mut net, watcher).qos, qos);
            }
        }
    });
}

// [MQTT-3.1.3-9]
#[test]
fn who_is_back_before_the_delay_is_over_leaves_no_will() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        let client = Login::v5("c").expiry(100).will(will().delayed(10)).connect(&mut net);
        net.cut(client);
        net.advance(Millis(9_500));
        expect_nothing(&mut net, watcher);
        let client = Login::v5("c").resuming().expiry(100).keep_alive(0).connect(&mut net);
        net.advance(Millis(20_000));
        expect_nothing(&mut net, watcher);
        // A takeover is a new connection too.
        let client2 = Login::v5("c").resuming().expiry(100).will(will().delayed(10)).connect(&mut net);
        assert!(net.is_closed(client));
        Login::v5("c").resuming().expiry(100).keep_alive(0).connect(&mut net);
        assert!(net.is_closed(client2));
        net.advance(Millis(20_000));
        expect_nothing(&mut net, watcher);
    });
}

// [MQTT-3.1.2-8]
#[test]
fn a_delayed_will_goes_out_with_the_delay_or_the_end_of_the_session() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        for (expiry, delay, due) in [(100, 10, 10_000), (10, 100, 10_000), (100, 0, 0), (0, 100, 0)] {
            let client = Login::v5("c").expiry(expiry).will(will().delayed(delay)).connect(&mut net);
            net.cut(client);
            if due > 0 {
                net.advance(Millis(due - 500));
                expect_nothing(&mut net, watcher);
                net.advance(Millis(1_000));
            }
            expect_will(&mut net, watcher);
            Login::v5("c").connect(&mut net);
        }
    });
}

// [MQTT-3.1.2-8]
#[test]
fn a_clean_start_ends_the_session_and_sends_its_delayed_will() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        let client = Login::v5("c").expiry(100).will(will().delayed(10)).connect(&mut net);
        net.cut(client);
        Login::v5("c").connect(&mut net);
        expect_will(&mut net, watcher);
    });
}

// [MQTT-3.1.2-8]
#[test]
fn a_takeover_sends_a_will_that_has_no_delay() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        for version in ALL_VERSIONS {
            Login::new(version, "c").resuming().expiry(100).will(will()).connect(&mut net);
            let client = Login::new(version, "c").resuming().connect(&mut net);
            expect_will(&mut net, watcher);
            disconnect(&mut net, client);
        }
    });
}

// [MQTT-3.1.3-10]
#[test]
fn a_will_brings_its_properties_in_their_order() {
    on_shards(|mut net| {
        let watcher = watcher(&mut net);
        let with = will().delayed(1).with(|properties| {
            properties.push_user_property("b", "1");
            properties.push_text(PropertyId::ContentType, "text/plain");
            properties.push_four_byte(PropertyId::MessageExpiryInterval, 30);
            properties.push_user_property("a", "2");
            properties.push_text(PropertyId::ResponseTopic, "answer");
            properties.push_user_property("b", "0");
            properties.push_binary(PropertyId::CorrelationData, b"\x00\x01");
            properties.push_flag(PropertyId::PayloadFormatIndicator, true);
        });
        let client = Login::v5("c").expiry(100).will(with).connect(&mut net);
        net.advance(Millis(20_000));
        net.cut(client);
        net.advance(Millis(1_500));
        let properties = take_message(&mut net, watcher).properties;
        assert_eq!(properties.user_properties(), [("b", "1"), ("a", "2"), ("b", "0")]);
        assert_eq!(properties.text(PropertyId::ContentType), Some("text/plain"));
        assert_eq!(properties.text(PropertyId::ResponseTopic), Some("answer"));
        assert_eq!(properties.binary(PropertyId::CorrelationData), Some(&[0, 1][..]));
        assert!(properties.has(PropertyId::PayloadFormatIndicator));
        assert!(!properties.has(PropertyId::WillDelayInterval));
        // Its life begins when it is published.
        assert_eq!(properties.number(PropertyId::MessageExpiryInterval), Some(30));
    });
}
