//! The order of messages (4.6).

use thrum::broker::Options;
use thrum::mqtt::{AckType, QoS};

use crate::client::{
    Ask, Got, Login, Message, acknowledge, all, assert_at_rest, expect_ack, next, on_1_2_4, send_ack, subscribe,
    subscribe_to, take_payloads,
};
use crate::net::{Client, Net};

fn publish(net: &mut Net, publisher: Client, topic: &str, number: u32, qos: QoS) {
    let message = Message::new(topic, &format!("{number:04}"));
    match qos {
        QoS::AtMostOnce => message.publish(net, publisher),
        QoS::AtLeastOnce => message.at_least_once(1).publish(net, publisher),
        QoS::ExactlyOnce => message.exactly_once(1).publish(net, publisher),
    };
}

// [MQTT-4.6.0-5] [MQTT-4.6.0-6]
#[test]
fn messages_of_a_topic_and_qos_come_in_the_order_of_their_publisher() {
    for durable in [false, true] {
        on_1_2_4(&Options { durable, ..Options::default() }, |mut net| {
            let logins = [1, 3, u16::MAX].map(|window| (window, Login::v5(&format!("s{window}")).receive_max(window)));
            let subscribers = logins.map(|(_, login)| {
                let client = login.connect(&mut net);
                subscribe(&mut net, client, "t", QoS::ExactlyOnce);
                client
            });
            let publishers = [0, 1, 2].map(|number| Login::v5(&format!("p{number}")).connect(&mut net));
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for number in 0..100 {
                    for (publisher, base) in publishers.into_iter().zip([0, 1_000, 2_000]) {
                        publish(&mut net, publisher, "t", base + number, qos);
                    }
                }
                for subscriber in subscribers {
                    let got = take_payloads(&mut net, subscriber);
                    assert_eq!(got.len(), 300);
                    for of in ["0", "1", "2"] {
                        assert!(got.iter().filter(|payload| payload.starts_with(of)).is_sorted());
                    }
                }
            }
            assert_at_rest(&net);
        });
    }
}

// [MQTT-4.6.0-5]
#[test]
fn the_order_holds_over_a_lost_connection_and_overlapping_filters() {
    on_1_2_4(&Options::default(), |mut net| {
        let login = Login::v5("s").receive_max(3).expiry(1_000);
        let mut subscriber = login.connect(&mut net);
        subscribe_to(&mut net, subscriber, Some(1), &[Ask::new("t/+", QoS::AtLeastOnce)]);
        subscribe_to(&mut net, subscriber, Some(2), &[Ask::new("#", QoS::AtLeastOnce)]);
        let publisher = Login::v5("p").connect(&mut net);
        let mut got: Vec<String> = Vec::new();
        for number in 0..60 {
            publish(&mut net, publisher, "t/1", number, QoS::AtLeastOnce);
            if number % 10 == 9 {
                for message in [next(&mut net, subscriber), next(&mut net, subscriber)].map(Got::message) {
                    acknowledge(&mut net, subscriber, &message);
                    got.push(message.payload_text().to_owned());
                }
                net.cut(subscriber);
                subscriber = login.clone().resuming().connect(&mut net);
            }
        }
        got.extend(take_payloads(&mut net, subscriber));
        // Resent ones may repeat; the first of each come in order.
        let mut seen = Vec::new();
        got.into_iter().for_each(|payload| {
            if !seen.contains(&payload) {
                seen.push(payload);
            }
        });
        assert_eq!(seen, (0..60).map(|number| format!("{number:04}")).collect::<Vec<_>>());
        assert_at_rest(&net);
    });
}

// [MQTT-4.6.0-1] [MQTT-4.4.0-1]
#[test]
fn publishes_are_resent_in_their_order() {
    on_1_2_4(&Options::default(), |mut net| {
        let login = Login::v5("s").expiry(1_000);
        let subscriber = login.connect(&mut net);
        subscribe(&mut net, subscriber, "t", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        for number in 0..8 {
            publish(
                &mut net,
                publisher,
                "t",
                number,
                if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
            );
        }
        let first: Vec<Message> = all(&mut net, subscriber).into_iter().map(Got::message).collect();
        send_ack(&mut net, subscriber, AckType::PubAck, first[2].id);
        net.cut(subscriber);
        let subscriber = login.resuming().connect(&mut net);
        let again: Vec<Message> = all(&mut net, subscriber).into_iter().map(Got::message).collect();
        let expected: Vec<Message> =
            first.into_iter().enumerate().filter(|(index, _)| *index != 2).map(|(_, message)| message.dup()).collect();
        assert_eq!(again, expected);
    });
}

// [MQTT-4.6.0-2] [MQTT-4.6.0-3]
#[test]
fn acknowledgements_come_in_the_order_of_the_publishes_even_where_some_wait_for_a_commit() {
    on_1_2_4(&Options { durable: true, ..Options::default() }, |mut net| {
        let subscriber = Login::v3("s").resuming().connect(&mut net);
        subscribe(&mut net, subscriber, "kept", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        net.commits = false;
        for (id, topic) in [(1, "kept"), (2, "nobody"), (3, "kept")] {
            Message::new(topic, "x").at_least_once(id).send(&mut net, publisher);
            Message::new(topic, "x").exactly_once(id + 10).send(&mut net, publisher);
        }
        assert_eq!(all(&mut net, publisher), [], "the first waits, and the others behind it");
        // A shard that has to store makes its records only when it hears of the message.
        net.commit();
        for id in [1, 2, 3] {
            expect_ack(&mut net, publisher, AckType::PubAck, id);
            expect_ack(&mut net, publisher, AckType::PubRec, id + 10);
        }
    });
}

// [MQTT-4.6.0-4] [MQTT3-4.6.0-4]
#[test]
fn pubrels_come_in_the_order_of_the_pubrecs() {
    on_1_2_4(&Options::default(), |mut net| {
        let subscriber = Login::v5("s").connect(&mut net);
        subscribe(&mut net, subscriber, "t", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        (0..4).for_each(|number| publish(&mut net, publisher, "t", number, QoS::ExactlyOnce));
        let ids: Vec<u16> = all(&mut net, subscriber).into_iter().map(|got| got.message().id).collect();
        let mut bytes = Vec::new();
        for index in [2, 0, 3, 1] {
            bytes.extend_from_slice(&[0x50, 2, (ids[index] >> 8) as u8, ids[index] as u8]);
        }
        net.send_bytes(subscriber, &bytes);
        for index in [2, 0, 3, 1] {
            expect_ack(&mut net, subscriber, AckType::PubRel, ids[index]);
        }
    });
}
