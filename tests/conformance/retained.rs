//! Retained messages for a new subscription, over several shards, at the pace of a slow client.

use std::collections::BTreeSet;

use thrum::base::{Millis, Refusal};
use thrum::broker::{Options, ShardCore};
use thrum::mqtt::{AckType, PropertyId, QoS};

use crate::client::{
    Ask, Got, Login, Message, acknowledge, assert_at_rest, disconnect, expect_nothing, next_if_any, on_1_2_4, send_ack,
    subscribe, subscribe_bytes, subscribe_to, sum, take_payloads, unsubscribe,
};
use crate::net::{Client, Net};

fn retain(net: &mut Net, topics: impl IntoIterator<Item = String>, qos: QoS) {
    let publisher = Login::v5("retainer").connect(net);
    for topic in topics {
        let message = Message::new(&topic, &topic).retained();
        let message = if qos == QoS::AtMostOnce { message } else { message.at_least_once(1) };
        message.publish(net, publisher);
    }
}

/// Reads PUBLISHes one by one, acknowledging each before the next, and checks that never two are on their way.
fn take_one_by_one(net: &mut Net, client: Client) -> Vec<String> {
    let mut topics = Vec::new();
    while let Some(got) = next_if_any(net, client) {
        let message = got.message();
        assert!(message.retain && !message.dup);
        assert_eq!(next_if_any(net, client), None, "a window of 1");
        acknowledge(net, client, &message);
        topics.push(message.topic);
    }
    topics
}

fn assert_once_each(got: &[String], wanted: usize) {
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), wanted, "each comes");
    assert_eq!(got.len(), wanted, "each comes once");
}

#[test]
fn thousands_come_once_each_through_a_window_of_one() {
    on_1_2_4(&Options::default(), |mut net| {
        retain(&mut net, (0..3_000).map(|number| format!("a/{number}/b")), QoS::AtLeastOnce);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a/+/b", QoS::ExactlyOnce);
        assert_once_each(&take_one_by_one(&mut net, client), 3_000);
        assert_at_rest(&net);
    });
}

#[test]
fn thousands_come_once_each_through_a_socket_that_takes_little_at_a_time() {
    for queue_qos_zero in [false, true] {
        let options = Options { output_bytes_max: 300, queue_qos_zero, ..Options::default() };
        on_1_2_4(&options, |mut net| {
            for granted in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                retain(&mut net, (0..3_000).map(|number| format!("a/{number}")), QoS::AtLeastOnce);
                let client = Login::v5("c").connect(&mut net);
                net.block(client);
                subscribe(&mut net, client, "#", granted);
                let mut topics = Vec::new();
                while !net.is_closed(client) {
                    let mut waiting: usize = 0;
                    let before = topics.len();
                    while let Some(got) = next_if_any(&mut net, client) {
                        let message = got.message();
                        waiting += message.topic.len() + message.payload.len() + 9;
                        acknowledge(&mut net, client, &message);
                        topics.push(message.topic);
                    }
                    // The last one may go over the bound, and what was acknowledged made room in the window only.
                    assert!(waiting < 400, "{waiting} bytes waited for the socket");
                    if topics.len() == before {
                        break;
                    }
                    net.take_waiting(client);
                }
                assert_once_each(&topics, 3_000);
                assert_at_rest(&net);
                disconnect(&mut net, client);
            }
            let dropped: u64 = sum(&net, |core| core.counters().dropped_in_all());
            assert_eq!(dropped, 0);
        });
    }
}

#[test]
fn live_messages_and_changes_during_the_replay_lose_nothing_that_stays() {
    on_1_2_4(&Options::default(), |mut net| {
        retain(&mut net, (0..500).map(|number| format!("a/{number:03}")), QoS::AtLeastOnce);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        let publisher = Login::v5("p").connect(&mut net);
        subscribe(&mut net, client, "a/#", QoS::AtLeastOnce);
        let mut retained = BTreeSet::new();
        let (mut live, mut live_topics) = (Vec::new(), BTreeSet::new());
        let mut count = 0;
        while let Some(got) = next_if_any(&mut net, client) {
            let message = got.message();
            if message.retain {
                assert!(retained.insert(message.topic.clone()), "twice: {}", message.topic);
                assert!(!live_topics.contains(&message.topic), "behind a live one: {}", message.topic);
            } else {
                live_topics.insert(message.topic.clone());
                live.push(message.payload_text().to_owned());
            }
            if count < 200 {
                // The odd ones go, new ones come, before, at and behind the place of the replay.
                Message::new(&format!("a/{:03}", count * 2 + 1), "").retained().publish(&mut net, publisher);
                let change = Message::new(&format!("a/{:03}", count * 2), &format!("live {count:03}")).retained();
                change.at_least_once(1).publish(&mut net, publisher);
            }
            count += 1;
            acknowledge(&mut net, client, &message);
        }
        retained.append(&mut live_topics);
        assert!((0..500).step_by(2).all(|number| retained.contains(&format!("a/{number:03}"))));
        let mut lives: Vec<_> = live.iter().filter(|payload| payload.starts_with("live")).cloned().collect();
        assert!(lives.is_sorted(), "live messages keep their order");
        lives.dedup();
        assert_eq!(lives.len(), 200);
        assert_at_rest(&net);
    });
}

// [MQTT-3.10.4-2]
#[test]
fn a_replay_ends_with_its_subscription_and_the_next_one_goes_on() {
    on_1_2_4(&Options::default(), |mut net| {
        retain(&mut net, (0..300).map(|number| format!("a/{number}")), QoS::AtLeastOnce);
        retain(&mut net, (0..50).map(|number| format!("b/{number}")), QoS::AtLeastOnce);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a/+", QoS::AtLeastOnce);
        let first = next_if_any(&mut net, client).unwrap().message();
        subscribe(&mut net, client, "b/+", QoS::AtLeastOnce);
        assert_eq!(unsubscribe(&mut net, client, "a/+"), [0]);
        acknowledge(&mut net, client, &first);
        let topics = take_one_by_one(&mut net, client);
        let of_b: Vec<_> = topics.iter().filter(|topic| topic.starts_with("b/")).cloned().collect();
        assert_once_each(&of_b, 50);
        assert!(topics.len() <= 51, "one of a/ may have been on its way");
        assert_at_rest(&net);
    });
}

#[test]
fn a_replay_goes_on_where_it_was_when_its_client_comes_back() {
    on_1_2_4(&Options::default(), |mut net| {
        retain(&mut net, (0..100).map(|number| format!("a/{number}")), QoS::AtLeastOnce);
        let login = Login::v5("c").receive_max(1).expiry(60);
        let mut client = login.connect(&mut net);
        subscribe(&mut net, client, "a/+", QoS::AtLeastOnce);
        let mut topics = Vec::new();
        while let Some(got) = next_if_any(&mut net, client) {
            let message = got.message();
            acknowledge(&mut net, client, &message);
            topics.push(message.topic);
            if topics.len() % 7 == 0 {
                // What is on its way comes again, with DUP.
                let lost = next_if_any(&mut net, client).map(Got::message);
                net.cut(client);
                client = login.clone().resuming().connect(&mut net);
                if let Some(lost) = lost {
                    let again = next_if_any(&mut net, client).unwrap().message();
                    assert!(again.dup && again.topic == lost.topic);
                    acknowledge(&mut net, client, &again);
                    topics.push(again.topic);
                }
            }
        }
        assert_once_each(&topics, 100);
        assert_at_rest(&net);
    });
}

#[test]
fn two_subscriptions_of_one_packet_each_get_what_is_retained() {
    on_1_2_4(&Options::default(), |mut net| {
        retain(&mut net, (0..600).map(|number| format!("a/{number}")), QoS::AtMostOnce);
        let client = Login::v5("c").connect(&mut net);
        let mut bytes =
            subscribe_bytes(1, Some(1), &[Ask::new("a/+", QoS::AtMostOnce), Ask::new("a/7", QoS::AtMostOnce)]);
        bytes.extend(subscribe_bytes(2, Some(2), &[Ask::new("a/#", QoS::AtMostOnce)]));
        net.send_bytes(client, &bytes);
        let mut count = [0, 0];
        for got in crate::client::all(&mut net, client) {
            if let Got::Publish(message) = got {
                count[message.properties.subscription_ids()[0] as usize - 1] += 1;
            }
        }
        assert_eq!(count, [601, 600]);
        assert_at_rest(&net);
    });
}

#[test]
fn what_was_seen_live_or_acknowledged_is_found_by_whoever_subscribes_then() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        for number in 0..20 {
            let topic = format!("a/{number}");
            Message::new(&topic, "x").retained().at_least_once(1).publish(&mut net, publisher);
            let client = Login::v5("c").connect(&mut net);
            subscribe(&mut net, client, &topic, QoS::AtMostOnce);
            assert_eq!(take_payloads(&mut net, client), ["x"]);
        }
    });
}

// Retained messages of QoS 0 went into the queue behind a full window, and all but as many as it takes were dropped.
#[test]
fn a_full_queue_of_qos_0_holds_the_replay_back_and_drops_none_of_it() {
    let queue = thrum::session::QueueBounds { messages_max: 5, ..Options::default().queue };
    let options = Options { output_bytes_max: 100, queue_qos_zero: true, queue, ..Options::default() };
    on_1_2_4(&options, |mut net| {
        retain(&mut net, (0..100).map(|number| format!("a/{number}")), QoS::AtMostOnce);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        let publisher = Login::v5("p").connect(&mut net);
        subscribe(&mut net, client, "b", QoS::AtLeastOnce);
        for number in ["1", "2"] {
            Message::new("b", number).at_least_once(1).publish(&mut net, publisher);
        }
        let first = next_if_any(&mut net, client).unwrap().message();
        subscribe(&mut net, client, "a/+", QoS::AtMostOnce);
        expect_nothing(&mut net, client);
        acknowledge(&mut net, client, &first);
        let payloads = take_payloads(&mut net, client);
        assert_eq!(payloads[0], "2");
        assert_once_each(&payloads[1..], 100);
        assert_eq!(sum(&net, |core| core.counters().dropped_in_all()), 0);
    });
}

#[test]
fn a_retained_message_is_refused_above_each_bound_and_counted() {
    for options in [
        Options { retained_messages_max: 2, ..Options::default() },
        Options { retained_bytes_max: 250, ..Options::default() },
    ] {
        let mut net = Net::new(options);
        let (client, publisher) = (Login::v5("c").connect(&mut net), Login::v5("p").connect(&mut net));
        subscribe(&mut net, client, "#", QoS::AtMostOnce);
        for topic in ["a", "b", "c", "d", "e"] {
            Message::new(topic, "12345678901234567890").retained().at_least_once(1).publish(&mut net, publisher);
        }
        assert_eq!(take_payloads(&mut net, client).len(), 5, "who is there gets them all the same");
        let kept = sum(&net, ShardCore::retained_len);
        assert!((1..5).contains(&kept), "{kept}");
        assert_eq!(sum(&net, |core| core.counters().refused(Refusal::RetainedFull)), 5 - kept as u64);
        Message::new("a", "").retained().publish(&mut net, publisher);
        assert_eq!(sum(&net, ShardCore::retained_len), kept - 1);
        Message::new("e", "1").retained().publish(&mut net, publisher);
        assert_eq!(sum(&net, ShardCore::retained_len), kept, "room again");
    }
}

// A new value that did not fit left the old one in its place, as if it were the topic's last.
// [MQTT-3.3.1-5]
#[test]
fn a_retained_message_that_does_not_fit_leaves_no_older_one_in_its_place() {
    let mut net = Net::new(Options { retained_bytes_max: 250, ..Options::default() });
    let publisher = Login::v5("p").connect(&mut net);
    Message::new("a", "old").retained().publish(&mut net, publisher);
    Message::new("a", &"new".repeat(100)).retained().publish(&mut net, publisher);
    let client = Login::v5("c").connect(&mut net);
    subscribe(&mut net, client, "a", QoS::AtMostOnce);
    expect_nothing(&mut net, client);
    assert_eq!(sum(&net, |core| core.counters().refused(Refusal::RetainedFull)), 1);
}

#[test]
fn a_retained_message_that_expired_is_not_sent_and_gone() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").keep_alive(0).connect(&mut net);
        let message = Message::new("a/b", "x").retained().with(PropertyId::MessageExpiryInterval, 10);
        message.publish(&mut net, publisher);
        net.advance(Millis::from_secs(10));
        let client = Login::v5("c").connect(&mut net);
        subscribe_to(&mut net, client, None, &[Ask::new("a/+", QoS::AtMostOnce)]);
        expect_nothing(&mut net, client);
        assert_eq!(sum(&net, ShardCore::retained_len), 0);
        send_ack(&mut net, client, AckType::PubAck, 77);
        expect_nothing(&mut net, client);
    });
}
