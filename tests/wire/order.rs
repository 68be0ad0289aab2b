//! Many publishers, many subscribers, on all shards: what one publishes to a topic keeps its order at each QoS, and nothing
//! with QoS 1 or 2 is lost or comes twice. [MQTT-4.2.0-1] [MQTT-4.6.0-6]

use std::collections::HashMap;
use std::thread;

use crate::broker::on_shards;
use crate::client::{Client, connect};
use crate::packets::{V3_1_1, V5};

const PUBLISHERS: u64 = 6;
const SUBSCRIBERS: u64 = 6;
const MESSAGES: u64 = 400;

#[test]
fn every_topic_keeps_its_order_at_each_qos() {
    on_shards(
        |setup| setup.limit("queue_messages_max", 100_000),
        |broker| {
            let subscriber = |number: u64| {
                let mut client = connect(broker, [V5, V3_1_1][number as usize % 2], &format!("subscriber {number}"));
                // The same for all of it, by wildcard and by name.
                client.subscribe(if number.is_multiple_of(3) { "order/#" } else { "order/+/+" }, 2);
                client
            };
            let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(subscriber).collect();
            thread::scope(|scope| {
                for client in &mut subscribers {
                    scope.spawn(move || check(client));
                }
                for number in 0..PUBLISHERS {
                    scope.spawn(move || {
                        let version = [V3_1_1, V5][number as usize / 2 % 2];
                        let mut client = connect(broker, version, &format!("publisher {number}"));
                        client.publish_all((0..MESSAGES * 3).map(|index| message(number, index)), 100);
                    });
                }
            });
            subscribers.iter_mut().for_each(Client::ping);
        },
    );
}

/// Two topics of each publisher, with the three QoS in turn.
fn message(publisher: u64, index: u64) -> (String, Vec<u8>, u8) {
    let topic = format!("order/{publisher}/{}", index / 3 % 2);
    (topic, format!("{index} {}", "x".repeat(index as usize % 200)).into_bytes(), (index % 3) as u8)
}

fn check(client: &mut Client) {
    let mut last: HashMap<(String, u8), u64> = HashMap::new();
    let mut missing = PUBLISHERS * MESSAGES * 2;
    while missing > 0 {
        let got = client.take().unwrap_or_else(|| panic!("ended with {missing} missing"));
        let number = got.number();
        assert!(!got.dup);
        let before = last.insert((got.topic.clone(), got.qos), number);
        // Each topic has a message of each QoS at every sixth index. QoS 0 may be lost.
        let is_next = match (got.qos, before) {
            (0, before) => before.is_none_or(|before| before < number),
            (_, None) => number < 6,
            (_, Some(before)) => before + 6 == number,
        };
        assert!(is_next, "{} QoS {}: {number} after {before:?}", got.topic, got.qos);
        missing -= u64::from(got.qos > 0);
    }
    // The last PUBREL may still be to come; its answer is what the broker waits for.
    while client.come(std::time::Duration::from_millis(300)) != crate::client::Came::Nothing {}
}
