//! SUBSCRIBE and SUBACK (3.8, 3.9).

use thrum::base::{Refusal, limits::FILTERS_PER_PACKET_MAX};
use thrum::broker::Options;
use thrum::mqtt::{QoS, ReasonCode, Version};

use crate::client::{
    Ask, Got, Login, Message, SUBSCRIBE_ID, acknowledge, ask_for, assert_at_rest, expect_nothing, next, on_1_2_4,
    send_v5, subscribe, subscribe_bytes, subscribe_to, sum, take_message, take_payloads, unsubscribe_bytes,
};
use crate::net::Net;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn too_deep() -> String {
    "/".repeat(100)
}

// [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
#[test]
fn suback_has_the_identifier_and_a_reason_for_each_filter_in_their_order() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").connect(&mut net);
        let deep = too_deep();
        let asks = [
            Ask::new("a", QoS::AtLeastOnce),
            Ask::new("b/+", QoS::AtMostOnce),
            Ask::new(&deep, QoS::AtLeastOnce),
            Ask::new("$share/g/c/#", QoS::ExactlyOnce),
        ];
        for id in [1, 0xffff] {
            send_v5(&mut net, client, &subscribe_bytes(id, None, &asks));
            let Got::SubAck { id: got, reasons, .. } = next(&mut net, client) else { panic!("no SUBACK") };
            assert_eq!((got, reasons), (id, vec![1, 0, 0x8f, 2]));
            expect_nothing(&mut net, client);
        }
        assert_eq!(sum(&net, |core| core.counters().refused(Refusal::TopicTooDeep)), 2);
        assert_at_rest(&net);
    });
}

// [MQTT-3.8.4-6] [MQTT3-3.8.4-5]
#[test]
fn before_5_a_refused_filter_is_told_by_0x80_and_in_3_1_not_at_all() {
    for (version, refused) in [(Version::V3_1_1, 0x80), (Version::V3_1, 1)] {
        let mut net = Net::new(Options::default());
        let client = Login::new(version, "c").connect(&mut net);
        let deep = too_deep();
        let asks = [Ask::new("a", QoS::ExactlyOnce), Ask::new(&deep, QoS::AtLeastOnce), Ask::new("b", QoS::AtMostOnce)];
        assert_eq!(ask_for(&mut net, client, None, &asks), [2, refused, 0]);
    }
}

// [MQTT-3.8.4-5]
#[test]
fn the_filters_of_a_packet_act_one_after_the_other() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "old").retained().publish(&mut net, publisher);
        let client = Login::v5("c").connect(&mut net);
        let asks = [Ask::new("a", QoS::ExactlyOnce), Ask::new("a", QoS::AtMostOnce)];
        subscribe_to(&mut net, client, None, &asks);
        // Each of the two asked for what is retained.
        assert_eq!(take_payloads(&mut net, client), ["old", "old"]);
        Message::new("a", "new").exactly_once(1).publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, client).qos, QoS::AtMostOnce, "the second replaced the first");
        expect_nothing(&mut net, client);
    });
}

// [MQTT-3.8.4-8]
#[test]
fn a_message_comes_with_the_lower_of_its_qos_and_the_granted() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        for granted in QOS {
            let client = Login::v5("c").connect(&mut net);
            subscribe(&mut net, client, "t", granted);
            for (published, message) in QOS.into_iter().zip([
                Message::new("t", "m"),
                Message::new("t", "m").at_least_once(1),
                Message::new("t", "m").exactly_once(2),
            ]) {
                message.publish(&mut net, publisher);
                assert_eq!(take_message(&mut net, client).qos, published.min(granted));
            }
        }
        assert_at_rest(&net);
    });
}

// [MQTT-3.8.4-3] [MQTT-3.8.4-4] [MQTT3-3.8.4-3]
#[test]
fn a_subscription_made_again_replaces_the_old_one_sends_retained_again_and_loses_nothing() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a/r", "retained").retained().publish(&mut net, publisher);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe_to(&mut net, client, Some(1), &[Ask::new("a/#", QoS::AtLeastOnce)]);
        assert_eq!(take_payloads(&mut net, client), ["retained"]);
        for number in 1..=5 {
            Message::new("a/b", &number.to_string()).at_least_once(number).publish(&mut net, publisher);
        }
        // One is in flight, four wait.
        let first = next(&mut net, client).message();
        subscribe_to(&mut net, client, Some(2), &[Ask::new("a/#", QoS::AtMostOnce)]);
        Message::new("a/b", "6").at_least_once(6).publish(&mut net, publisher);
        let mut got = vec![first.clone()];
        acknowledge(&mut net, client, &first);
        while let Some(next) = crate::client::next_if_any(&mut net, client) {
            let message = next.message();
            acknowledge(&mut net, client, &message);
            got.push(message);
        }
        let payloads = |wanted: &str| got.iter().filter(|message| message.topic == wanted).collect::<Vec<_>>();
        let mut live: Vec<_> = payloads("a/b").iter().map(|message| message.payload_text().to_owned()).collect();
        live.sort_unstable();
        assert_eq!(live, ["1", "2", "3", "4", "5", "6"]);
        assert_eq!(payloads("a/r").len(), 1, "retained messages come again");
        let last = payloads("a/b").into_iter().find(|message| message.payload == b"6").unwrap();
        assert_eq!((last.qos, last.properties.subscription_ids()), (QoS::AtMostOnce, vec![2]));
        assert_eq!(sum(&net, thrum::broker::ShardCore::subscriptions_len), 1);
        assert_at_rest(&net);
    });
}

#[test]
fn two_subscribes_in_flight_for_one_filter_are_both_answered_and_count_as_one() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").connect(&mut net);
        let mut bytes = subscribe_bytes(1, None, &[Ask::new("a/+", QoS::AtMostOnce)]);
        bytes.extend(subscribe_bytes(2, None, &[Ask::new("a/+", QoS::AtLeastOnce)]));
        net.send_bytes(client, &bytes);
        for wanted in [1, 2] {
            assert!(matches!(next(&mut net, client), Got::SubAck { id, .. } if id == wanted));
        }
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a/b", "x").at_least_once(1).publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, client).qos, QoS::AtLeastOnce);
        expect_nothing(&mut net, client);
        assert_at_rest(&net);
    });
}

// A SUBSCRIBE that still waited for other shards kept its retained messages, and sent them after the UNSUBACK.
// [MQTT-3.10.4-2]
#[test]
fn what_is_unsubscribed_before_its_suback_gets_no_retained_messages() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a/b", "retained").retained().publish(&mut net, publisher);
        let client = Login::v5("c").connect(&mut net);
        for filter in ["a/#", "a/b"] {
            net.block(client);
            let mut bytes = subscribe_bytes(1, None, &[Ask::new(filter, QoS::AtLeastOnce)]);
            bytes.extend(unsubscribe_bytes(2, &[filter]));
            net.send_bytes(client, &bytes);
            net.unblock(client);
            let got = crate::client::all(&mut net, client);
            let unsuback = got.iter().position(|got| matches!(got, Got::UnsubAck { .. })).unwrap();
            assert!(!got[unsuback..].iter().any(|got| matches!(got, Got::Publish(_))), "{got:?}");
            assert!(got.iter().any(|got| matches!(got, Got::SubAck { id: 1, .. })), "{got:?}");
            got.into_iter().for_each(|got| {
                if let Got::Publish(message) = got {
                    acknowledge(&mut net, client, &message);
                }
            });
        }
        assert_at_rest(&net);
    });
}

#[test]
fn a_subscription_reaches_every_shard_and_a_publish_only_those_that_want_it() {
    for shards in [2, 4] {
        let mut net = Net::new(Options { shards, ..Options::default() });
        let publishers: Vec<_> =
            (0..2 * shards).map(|number| Login::v5(&format!("p{number}")).connect(&mut net)).collect();
        for message in [Message::new("a/b", "nobody"), Message::new("a/b", "nobody").at_least_once(1)] {
            let before = net.mesh_messages;
            publishers.iter().for_each(|&publisher| {
                message.publish(&mut net, publisher);
            });
            assert_eq!(net.mesh_messages, before, "nobody wants it, no shard hears of it");
        }
        let client = Login::v5("c").connect(&mut net);
        subscribe(&mut net, client, "a/+", QoS::AtMostOnce);
        let (before, asked) = (net.mesh_messages, publishers.len());
        for &publisher in &publishers {
            Message::new("a/b", "c").at_least_once(2).publish(&mut net, publisher);
            assert_eq!(take_message(&mut net, client).payload_text(), "c");
        }
        let sent = net.mesh_messages - before;
        assert!(sent < asked, "{sent} messages between shards for {asked} publishes: one each, none at home");
        assert_eq!(sum(&net, |core| core.counters().mesh_publishes_sent), sent as u64);
    }
}

#[test]
fn a_packet_with_more_filters_than_one_may_have_ends_the_connection() {
    let names: Vec<String> = (0..=FILTERS_PER_PACKET_MAX).map(|number| number.to_string()).collect();
    let asks: Vec<Ask> = names.iter().map(|name| Ask::new(name, QoS::AtMostOnce)).collect();
    let mut net = Net::new(Options::default());
    let client = Login::v5("c").connect(&mut net);
    send_v5(&mut net, client, &subscribe_bytes(SUBSCRIBE_ID, None, &asks[1..]));
    let Got::SubAck { reasons, .. } = next(&mut net, client) else { panic!("no SUBACK") };
    assert_eq!(reasons, [0; FILTERS_PER_PACKET_MAX]);
    send_v5(&mut net, client, &subscribe_bytes(SUBSCRIBE_ID, None, &asks));
    assert!(matches!(next(&mut net, client), Got::Disconnect { reason: ReasonCode::QuotaExceeded, .. }));
    assert!(net.is_closed(client));
}

#[test]
fn refused_subscriptions_are_all_counted_and_the_first_one_of_a_connection_is_told() {
    let mut net = Net::new(Options { subscriptions_max: 1, ..Options::default() });
    let client = Login::v5("c").connect(&mut net);
    net.events.clear();
    let asks: Vec<Ask> = ["a", "b", "c"].map(|name| Ask::new(name, QoS::AtMostOnce)).into();
    send_v5(&mut net, client, &subscribe_bytes(SUBSCRIBE_ID, None, &asks));
    let Got::SubAck { reasons, .. } = next(&mut net, client) else { panic!("no SUBACK") };
    assert_eq!(reasons, [0, 0x97, 0x97]);
    assert_eq!(sum(&net, |core| core.counters().refused(Refusal::TooManySubscriptions)), 2);
    assert_eq!(net.events.len(), 1);
}
