//! Retained messages: kept wherever their topic's home is, found by whoever subscribes.

use std::collections::BTreeSet;
use std::thread;

use crate::broker::{on_shards, plain};
use crate::client::connect;
use crate::packets::{PUBLISH, SUBACK, V3_1_1, V5, VERSIONS, subscribe};

const RETAIN_AS_PUBLISHED: u8 = 8;
const IF_NEW: u8 = 1 << 4;
const NEVER: u8 = 2 << 4;

#[test]
fn each_is_found_by_its_name_and_by_wildcards() {
    on_shards(plain, |broker| {
        let mut publisher = connect(broker, V5, "publisher");
        let topics: BTreeSet<String> = (0..200).map(|number| format!("home/{}/{number}", number % 7)).collect();
        topics.iter().for_each(|topic| publisher.retain(topic, topic.as_bytes()));
        for version in VERSIONS {
            let mut reader = connect(broker, version, &format!("reader {version}"));
            reader.subscribe("home/3/10", 1);
            let one = reader.publish();
            assert_eq!((one.topic.as_str(), one.text(), one.retain, one.qos), ("home/3/10", "home/3/10", true, 1));
            reader.acknowledge(&one);
            for filter in ["home/#", "home/+/+"] {
                reader.subscribe(filter, 1);
                let mut found = BTreeSet::new();
                while found.len() < topics.len() {
                    let got = reader.publish();
                    assert!(got.retain && got.topic.as_bytes() == got.payload);
                    assert!(found.insert(got.topic.clone()), "{} came twice", got.topic);
                    reader.acknowledge(&got);
                }
                assert_eq!(found, topics);
            }
            reader.ping();
        }
    });
}

// [MQTT-3.3.1-5] to [MQTT-3.3.1-8]
#[test]
fn the_last_one_counts_and_an_empty_one_removes_it() {
    on_shards(plain, |broker| {
        let mut publisher = connect(broker, V3_1_1, "publisher");
        let mut witness = connect(broker, V5, "witness");
        for number in 0..20 {
            let topic = format!("state/{number}");
            publisher.retain(&topic, b"old");
            publisher.retain(&topic, b"new");
            publisher.publish_to(&topic, b"passing", 1);
            witness.subscribe(&topic, 0);
            let got = witness.publish();
            assert_eq!((got.text(), got.retain), ("new", true));
            publisher.retain(&topic, b"");
            let got = witness.publish();
            // [MQTT-3.3.1-12] to who was there it is a message like any other.
            assert_eq!((got.text(), got.retain), ("", false));
            let mut late = connect(broker, V3_1_1, "late");
            late.subscribe(&topic, 0);
            publisher.publish_to(&topic, b"live", 0);
            let got = late.publish();
            assert_eq!((got.text(), got.retain), ("live", false));
            assert_eq!(witness.publish().text(), "live");
        }
    });
}

// [MQTT-3.3.1-9] to [MQTT-3.3.1-13]
#[test]
fn retain_handling_and_retain_as_published() {
    on_shards(plain, |broker| {
        let mut publisher = connect(broker, V5, "publisher");
        publisher.retain("kept", b"kept");
        let mut reader = connect(broker, V5, "reader");
        reader.subscribe("kept", NEVER);
        reader.ping();
        reader.unsubscribe("kept");
        reader.subscribe("kept", IF_NEW | RETAIN_AS_PUBLISHED);
        assert!(reader.publish().retain);
        reader.subscribe("kept", IF_NEW | RETAIN_AS_PUBLISHED);
        publisher.retain("kept", b"newer");
        let got = reader.publish();
        assert_eq!((got.text(), got.retain), ("newer", true));
        reader.ping();
    });
}

// What was acknowledged before the subscription was asked for is found by it, on whatever shards the three are.
#[test]
fn what_was_acknowledged_is_found_at_once() {
    on_shards(plain, |broker| {
        thread::scope(|scope| {
            for pair in 0..8 {
                scope.spawn(move || {
                    let mut publisher = connect(broker, V5, &format!("publisher {pair}"));
                    let mut reader = connect(broker, V3_1_1, &format!("reader {pair}"));
                    for number in 0..50 {
                        let topic = format!("at once/{pair}/{number}");
                        publisher.retain(&topic, b"there");
                        reader.send(&subscribe(V3_1_1, 9, &[(&topic, 0)]));
                        reader.packet_of(SUBACK);
                        assert_eq!(reader.packet_of(PUBLISH).publish().topic, topic);
                    }
                });
            }
        });
    });
}
