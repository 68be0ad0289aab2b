//! Delivery at each QoS, from any shard to any, and what is sent again when a session goes on.

use crate::broker::{on_shards, plain};
use crate::client::connect;
use crate::packets::{
    self, Login, PUBACK, PUBCOMP, PUBREC, PUBREL, V3_1, V3_1_1, V5, VERSIONS, ack, publish, publish_again,
};

#[test]
fn a_message_comes_at_the_lower_qos_of_publish_and_subscription() {
    on_shards(plain, |broker| {
        for version in VERSIONS {
            for granted in 0..=2 {
                let mut reader = connect(broker, version, &format!("reader {version} {granted}"));
                let topic = format!("qos/{version}/{granted}");
                reader.subscribe(&topic, granted);
                for publisher_version in VERSIONS {
                    let mut publisher = connect(broker, publisher_version, &format!("publisher {version} {granted}"));
                    for published in 0..=2 {
                        let payload = format!("{published} of {publisher_version}");
                        publisher.publish_to(&topic, payload.as_bytes(), published);
                        let got = reader.publish();
                        assert_eq!((got.topic.as_str(), got.text()), (topic.as_str(), payload.as_str()));
                        assert_eq!((got.qos, got.dup, got.retain), (published.min(granted), false, false));
                        reader.acknowledge(&got);
                    }
                }
                reader.ping();
            }
        }
    });
}

// [MQTT-4.3.3-10] until PUBREL, the same identifier is the same message.
#[test]
fn qos_2_sent_twice_comes_once() {
    on_shards(plain, |broker| {
        let mut reader = connect(broker, V5, "reader");
        reader.subscribe("twice", 2);
        let mut publisher = Login::new(V3_1_1, "publisher").lasting(0).connect(broker);
        publisher.send(&publish(V3_1_1, "twice", b"one", 2, 7));
        publisher.packet_of(PUBREC);
        // It lost its connection and did not see the PUBREC.
        publisher.reset();
        let (mut publisher, is_present) = Login::new(V3_1_1, "publisher").lasting(0).present(broker);
        assert!(is_present);
        publisher.send(&publish_again(V3_1_1, "twice", b"one", 2, 7));
        publisher.packet_of(PUBREC);
        publisher.send(&ack(PUBREL, 7));
        publisher.packet_of(PUBCOMP);
        publisher.publish_to("twice", b"two", 2);
        for expected in ["one", "two"] {
            assert_eq!(reader.take().unwrap().text(), expected);
        }
        // The exchanges may end in any order with the answer.
        reader.send(&packets::PING);
        while reader.packet().kind() != packets::PINGRESP {}
    });
}

// [MQTT-4.4.0-1] what was not acknowledged is sent again, with DUP, when the session goes on; and only then.
#[test]
fn what_was_not_acknowledged_comes_again_in_the_next_connection() {
    on_shards(plain, |broker| {
        for version in VERSIONS {
            let login = Login::new(version, format!("reader {version}"));
            let login = if version == V5 { login.lasting(60) } else { login.lasting(0) };
            let topic = format!("again/{version}");
            let mut reader = login.connect(broker);
            reader.subscribe(&topic, 2);
            let mut publisher = connect(broker, V5, "publisher");
            publisher.publish_to(&topic, b"first", 1);
            publisher.publish_to(&topic, b"second", 2);
            let (first, second) = (reader.publish(), reader.publish());
            reader.send(&ack(PUBREC, second.packet_id));
            reader.packet_of(PUBREL);
            reader.reset();
            let (mut reader, is_present) = login.present(broker);
            assert!(is_present || version == V3_1);
            // Which of the two is first, is the broker's choice.
            let (one, other) = (reader.packet(), reader.packet());
            let (again, release) = if one.kind() == PUBREL { (other, one) } else { (one, other) };
            let again = again.publish();
            assert_eq!((again.packet_id, again.text(), again.dup), (first.packet_id, "first", true));
            // [MQTT-4.3.3-5] PUBREL, not the publish.
            assert_eq!((release.kind(), release.packet_id()), (PUBREL, second.packet_id));
            reader.send(&ack(PUBACK, first.packet_id));
            reader.send(&ack(PUBCOMP, second.packet_id));
            reader.ping();
            reader.bye();
            let mut reader = login.connect(broker);
            reader.ping();
        }
    });
}

// [MQTT-3.3.4-9] no more than the Receive Maximum is under way, and all of it comes.
#[test]
fn the_receive_maximum_is_kept() {
    on_shards(plain, |broker| {
        let mut reader = Login::new(V5, "reader").receive_max(3).connect(broker);
        reader.subscribe("window", 1);
        let mut publisher = connect(broker, V5, "publisher");
        for number in 0..10 {
            publisher.publish_to("window", format!("{number}").as_bytes(), 1);
        }
        let mut unacknowledged: Vec<_> = (0..3).map(|_| reader.publish()).collect();
        reader.ping();
        let mut numbers: Vec<u64> = unacknowledged.iter().map(packets::Publish::number).collect();
        while numbers.len() < 10 {
            reader.acknowledge(&unacknowledged.remove(0));
            unacknowledged.push(reader.publish());
            reader.ping();
            numbers.push(unacknowledged.last().unwrap().number());
        }
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    });
}

// Identifiers are 16 bits, and are used again.
#[test]
fn more_messages_than_there_are_identifiers() {
    on_shards(plain, |broker| {
        let mut reader = connect(broker, V3_1_1, "reader");
        reader.subscribe("many", 1);
        let mut publisher = connect(broker, V3_1_1, "publisher");
        const MESSAGES: u64 = 70_000;
        const BATCH: u64 = 500;
        for batch in 0..MESSAGES / BATCH {
            let numbers = batch * BATCH..(batch + 1) * BATCH;
            let bytes: Vec<u8> = numbers
                .clone()
                .flat_map(|number| {
                    publish(V3_1_1, "many", number.to_string().as_bytes(), 1, (number % 65_535 + 1) as u16)
                })
                .collect();
            publisher.send(&bytes);
            for number in numbers.clone() {
                assert_eq!(publisher.packet_of(PUBACK).packet_id(), (number % 65_535 + 1) as u16);
            }
            for number in numbers {
                let got = reader.publish();
                assert_eq!(got.number(), number);
                reader.acknowledge(&got);
            }
        }
    });
}
