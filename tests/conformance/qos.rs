//! The delivery protocols of QoS 0, 1 and 2 (4.3), their retries (4.4), and the session state they rest on (4.1).

use thrum::base::Millis;
use thrum::broker::{Options, ShardCore};
use thrum::mqtt::{AckType, PropertyId, QoS, ReasonCode, Version};

use crate::client::{
    Got, Login, Message, all, assert_at_rest, disconnect, expect_ack, expect_nothing, next, on_1_2_4, send_ack,
    send_ack_with, subscribe, sum, take_message, take_payloads,
};
use crate::net::{Client, Net};

/// A subscriber of `t` whose session stays, and a publisher.
fn pair(net: &mut Net) -> (Client, Client) {
    let subscriber = Login::v5("s").expiry(1_000).connect(net);
    subscribe(net, subscriber, "t", QoS::ExactlyOnce);
    (subscriber, Login::v5("p").connect(net))
}

fn back(net: &mut Net) -> Client {
    Login::v5("s").expiry(1_000).resuming().connect(net)
}

fn on_both(test: impl Fn(Net)) {
    for durable in [false, true] {
        on_1_2_4(&Options { durable, ..Options::default() }, &test);
    }
}

// [MQTT-4.3.1-1]
#[test]
fn qos_0_comes_without_dup_and_is_answered_by_nothing() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        Message::new("t", "x").send(&mut net, publisher);
        let message = next(&mut net, subscriber).message();
        assert_eq!((message.qos, message.dup, message.id), (QoS::AtMostOnce, false, 0));
        expect_nothing(&mut net, publisher);
        assert_at_rest(&net);
    });
}

// [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT3-4.3.2-1] [MQTT3-4.3.3-1]
#[test]
fn each_new_message_has_an_identifier_that_is_not_in_use_and_no_dup() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        let mut in_use: Vec<Message> = Vec::new();
        for number in 0..140u16 {
            let message = Message::new("t", "x");
            let message = if number % 2 == 0 { message.at_least_once(1) } else { message.exactly_once(1) };
            message.publish(&mut net, publisher);
            let got = next(&mut net, subscriber).message();
            assert!(!got.dup && in_use.iter().all(|other| other.id != got.id), "{}", got.id);
            in_use.push(got);
            if in_use.len() > 10 {
                // The third oldest first: identifiers come back out of order.
                let done = in_use.remove(2);
                crate::client::acknowledge(&mut net, subscriber, &done);
            }
        }
    });
}

// [MQTT-4.3.2-3] [MQTT-4.4.0-1] [MQTT3-4.3.2-1]
#[test]
fn qos_1_is_unacknowledged_until_its_puback() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        let first = next(&mut net, subscriber).message();
        for wrong in [AckType::PubComp, AckType::PubAck] {
            send_ack(&mut net, subscriber, wrong, first.id + 1);
        }
        net.cut(subscriber);
        let subscriber = back(&mut net);
        let again = next(&mut net, subscriber).message();
        assert_eq!(again, first.dup());
        send_ack(&mut net, subscriber, AckType::PubAck, again.id);
        net.cut(subscriber);
        let subscriber = back(&mut net);
        expect_nothing(&mut net, subscriber);
        assert_at_rest(&net);
    });
}

// [MQTT-4.3.2-4] [MQTT-4.3.2-5] [MQTT3-4.3.2-2]
#[test]
fn each_qos_1_publish_is_answered_and_taken_as_new_whatever_its_dup() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        for message in [
            Message::new("t", "1").at_least_once(7),
            Message::new("t", "2").at_least_once(7),
            Message::new("t", "3").at_least_once(7).dup(),
        ] {
            message.send(&mut net, publisher);
            assert_eq!(expect_ack(&mut net, publisher, AckType::PubAck, 7), ReasonCode::Success);
            let got = take_message(&mut net, subscriber);
            assert_eq!((got.payload, got.dup), (message.payload, false));
        }
        assert_at_rest(&net);
    });
}

// [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT3-4.3.3-1]
#[test]
fn qos_2_is_sent_until_pubrec_and_released_until_pubcomp() {
    on_both(|mut net| {
        let (mut subscriber, publisher) = pair(&mut net);
        Message::new("t", "x").exactly_once(1).publish(&mut net, publisher);
        let first = next(&mut net, subscriber).message();
        for _ in 0..2 {
            net.cut(subscriber);
            subscriber = back(&mut net);
            assert_eq!(all(&mut net, subscriber), [Got::Publish(first.clone().dup())]);
        }
        send_ack(&mut net, subscriber, AckType::PubRec, first.id);
        expect_ack(&mut net, subscriber, AckType::PubRel, first.id);
        for _ in 0..2 {
            net.cut(subscriber);
            subscriber = back(&mut net);
            expect_ack(&mut net, subscriber, AckType::PubRel, first.id);
            expect_nothing(&mut net, subscriber);
        }
        // A repeated PUBREC gets a repeated PUBREL.
        send_ack(&mut net, subscriber, AckType::PubRec, first.id);
        assert_eq!(expect_ack(&mut net, subscriber, AckType::PubRel, first.id), ReasonCode::Success);
        send_ack(&mut net, subscriber, AckType::PubComp, first.id);
        net.cut(subscriber);
        subscriber = back(&mut net);
        expect_nothing(&mut net, subscriber);
        assert_at_rest(&net);
    });
}

#[test]
fn a_pubrec_of_nothing_is_answered_with_not_found() {
    on_both(|mut net| {
        let (subscriber, _) = pair(&mut net);
        send_ack(&mut net, subscriber, AckType::PubRec, 99);
        let reason = expect_ack(&mut net, subscriber, AckType::PubRel, 99);
        assert_eq!(reason, ReasonCode::PacketIdentifierNotFound);
    });
}

// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [MQTT3-4.3.3-2]
#[test]
fn a_qos_2_publish_is_taken_over_once_until_its_pubrel() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        let login = Login::v5("q").expiry(1_000);
        disconnect(&mut net, publisher);
        let mut publisher = login.connect(&mut net);
        for round in ["1", "2"] {
            let message = Message::new("t", round).exactly_once(7);
            message.send(&mut net, publisher);
            assert_eq!(expect_ack(&mut net, publisher, AckType::PubRec, 7), ReasonCode::Success);
            for _ in 0..2 {
                message.clone().dup().send(&mut net, publisher);
                assert_eq!(expect_ack(&mut net, publisher, AckType::PubRec, 7), ReasonCode::Success);
                net.cut(publisher);
                publisher = login.clone().resuming().connect(&mut net);
            }
            send_ack(&mut net, publisher, AckType::PubRel, 7);
            assert_eq!(expect_ack(&mut net, publisher, AckType::PubComp, 7), ReasonCode::Success);
            send_ack(&mut net, publisher, AckType::PubRel, 7);
            let again = expect_ack(&mut net, publisher, AckType::PubComp, 7);
            assert_eq!(again, ReasonCode::PacketIdentifierNotFound);
            assert_eq!(take_payloads(&mut net, subscriber), [round]);
        }
        assert_at_rest(&net);
    });
}

// [MQTT-4.3.3-9]
#[test]
fn after_a_refusing_pubrec_the_identifier_is_a_new_message() {
    let mut net = Net::new(Options { validate_payload_format: true, ..Options::default() });
    let (subscriber, publisher) = pair(&mut net);
    let text = |payload: &[u8]| {
        let mut message = Message::new("t", "").exactly_once(7).with(PropertyId::PayloadFormatIndicator, true);
        message.payload = payload.into();
        message
    };
    text(&[0xff]).send(&mut net, publisher);
    assert_eq!(expect_ack(&mut net, publisher, AckType::PubRec, 7), ReasonCode::PayloadFormatInvalid);
    assert_eq!(text(b"text").publish(&mut net, publisher), ReasonCode::Success);
    assert_eq!(take_payloads(&mut net, subscriber), ["text"]);
}

// [MQTT-4.3.3-7]
#[test]
fn a_qos_2_message_that_was_sent_does_not_expire() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        for number in [1, 2] {
            let message = Message::new("t", &number.to_string()).exactly_once(number);
            message.with(PropertyId::MessageExpiryInterval, 10).publish(&mut net, publisher);
        }
        let sent = [next(&mut net, subscriber).message(), next(&mut net, subscriber).message()];
        net.cut(subscriber);
        net.advance(Millis::from_secs(20));
        let subscriber = back(&mut net);
        for message in &sent {
            let again = next(&mut net, subscriber).message();
            assert_eq!((again.id, again.dup, &again.payload), (message.id, true, &message.payload));
        }
        for message in &sent {
            crate::client::acknowledge(&mut net, subscriber, message);
        }
        expect_nothing(&mut net, subscriber);
        assert_at_rest(&net);
    });
}

// [MQTT-4.3.3-13]
#[test]
fn the_qos_2_exchange_with_the_publisher_goes_on_when_the_message_has_expired() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        disconnect(&mut net, subscriber);
        let message = Message::new("t", "x").exactly_once(7).with(PropertyId::MessageExpiryInterval, 10);
        message.send(&mut net, publisher);
        expect_ack(&mut net, publisher, AckType::PubRec, 7);
        net.advance(Millis::from_secs(20));
        message.dup().send(&mut net, publisher);
        expect_ack(&mut net, publisher, AckType::PubRec, 7);
        send_ack(&mut net, publisher, AckType::PubRel, 7);
        assert_eq!(expect_ack(&mut net, publisher, AckType::PubComp, 7), ReasonCode::Success);
        let subscriber = back(&mut net);
        expect_nothing(&mut net, subscriber);
        assert_at_rest(&net);
    });
}

// [MQTT-4.4.0-2]
#[test]
fn a_refused_message_is_over() {
    on_both(|mut net| {
        let (subscriber, publisher) = pair(&mut net);
        Message::new("t", "1").at_least_once(1).publish(&mut net, publisher);
        Message::new("t", "2").exactly_once(1).publish(&mut net, publisher);
        for ack in [AckType::PubAck, AckType::PubRec] {
            let message = next(&mut net, subscriber).message();
            send_ack_with(&mut net, subscriber, ack, message.id, ReasonCode::NotAuthorized);
        }
        net.cut(subscriber);
        let subscriber = back(&mut net);
        expect_nothing(&mut net, subscriber);
        assert_at_rest(&net);
    });
}

// [MQTT-4.5.0-1] [MQTT-4.5.0-2]
#[test]
fn a_message_goes_into_each_session_that_wants_it_whether_its_client_is_there_or_not() {
    on_both(|mut net| {
        let there = Login::v5("there").connect(&mut net);
        let away = Login::v3("away").resuming().connect(&mut net);
        for client in [there, away] {
            subscribe(&mut net, client, "t", QoS::AtLeastOnce);
        }
        disconnect(&mut net, away);
        let publisher = Login::v5("p").connect(&mut net);
        for number in 0..10 {
            let message = Message::new("t", &number.to_string()).at_least_once(1);
            assert_eq!(message.publish(&mut net, publisher), ReasonCode::Success);
        }
        assert_eq!(take_payloads(&mut net, there).len(), 10);
        let away = Login::v3("away").resuming().connect(&mut net);
        let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(take_payloads(&mut net, away), expected);
        assert_at_rest(&net);
    });
}

// [MQTT-4.1.0-1] [MQTT-4.1.0-2] [MQTT3-4.1.0-1]
#[test]
fn session_state_stays_with_its_connection_and_for_the_interval_after_it() {
    on_both(|mut net| {
        let subscriber = Login::v5("s").expiry(10).keep_alive(0).connect(&mut net);
        let clean = Login::v5("clean").keep_alive(0).connect(&mut net);
        for client in [subscriber, clean] {
            subscribe(&mut net, client, "t", QoS::AtLeastOnce);
        }
        net.advance(Millis::from_secs(1_000));
        let publisher = Login::v5("p").keep_alive(0).connect(&mut net);
        Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        for client in [subscriber, clean] {
            assert_eq!(take_payloads(&mut net, client), ["x"]);
        }
        net.cut(clean);
        assert_eq!(sum(&net, ShardCore::sessions_len), 2);
        net.cut(subscriber);
        net.advance(Millis::from_secs(9));
        let (subscriber, present) = Login::v5("s").expiry(10).keep_alive(0).resuming().present(&mut net);
        assert!(present);
        net.cut(subscriber);
        net.advance(Millis::from_secs(11));
        assert_eq!(sum(&net, ShardCore::sessions_len), 1);
        assert_eq!(sum(&net, ShardCore::subscriptions_len), 0);
        assert!(!Login::v5("s").resuming().present(&mut net).1);
    });
}

// [MQTT3-4.1.0-1]
#[test]
fn before_5_an_unclean_session_has_no_end() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut net = Net::new(Options::default());
        let login = Login::new(version, "s").resuming();
        let client = login.connect(&mut net);
        subscribe(&mut net, client, "t", QoS::AtLeastOnce);
        disconnect(&mut net, client);
        net.advance(Millis::from_secs(100_000));
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        let client = login.connect(&mut net);
        assert_eq!(take_payloads(&mut net, client), ["x"]);
    }
}
