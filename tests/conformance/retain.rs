//! The RETAIN flag: what is kept, what new subscribers get, what the flag says then.

use crate::client::{
    ALL_VERSIONS, Ask, Got, Login, Message, all, expect_nothing, on_shards, subscribe, subscribe_to, take_message,
    unsubscribe,
};
use crate::net::Net;
use thrum::broker::Options;
use thrum::mqtt::{QoS, Version};

fn retained(net: &mut Net, filter: &str) -> Vec<Message> {
    let reader = Login::v5("reader").connect(net);
    subscribe(net, reader, filter, QoS::AtMostOnce);
    let mut got: Vec<Message> = all(net, reader).into_iter().map(Got::message).collect();
    got.sort_by(|a, b| a.topic.cmp(&b.topic));
    got
}

// [MQTT-3.3.1-5] [MQTT3-3.3.1-7]
#[test]
fn a_retained_message_takes_the_place_of_the_one_before_at_each_qos() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            let publisher = Login::new(version, "p").connect(&mut net);
            Message::new("a", "0").retained().publish(&mut net, publisher);
            assert_eq!(retained(&mut net, "a"), [Message::new("a", "0").retained()]);
            Message::new("a", "1").retained().at_least_once(1).publish(&mut net, publisher);
            assert_eq!(retained(&mut net, "a"), [Message::new("a", "1").retained()]);
            Message::new("a", "2").retained().exactly_once(1).publish(&mut net, publisher);
            assert_eq!(retained(&mut net, "a"), [Message::new("a", "2").retained()]);
            Message::new("a", "3").retained().publish(&mut net, publisher);
            assert_eq!(retained(&mut net, "#"), [Message::new("a", "3").retained()]);
        }
    });
}

// [MQTT3-3.3.1-7] There was no room for the new value of a topic, and new subscribers got the old one for ever.
#[test]
fn a_message_that_there_is_no_room_to_retain_leaves_no_older_one() {
    for shards in [1, 3] {
        let mut net = Net::new(Options { shards, retained_bytes_max: 500, ..Options::default() });
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "old").retained().at_least_once(1).publish(&mut net, publisher);
        assert_eq!(retained(&mut net, "a").len(), 1);
        Message::new("a", &"new".repeat(200)).retained().at_least_once(1).publish(&mut net, publisher);
        assert_eq!(retained(&mut net, "a"), []);
    }
}

// [MQTT-3.3.1-6] [MQTT-3.3.1-7]
#[test]
fn an_empty_payload_is_delivered_and_removes_what_was_retained() {
    on_shards(|mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        let watcher = Login::v5("watcher").connect(&mut net);
        Message::new("a", "kept").retained().publish(&mut net, publisher);
        subscribe_to(&mut net, watcher, None, &[Ask::new("a", QoS::AtMostOnce).retain_handling(2)]);
        Message::new("a", "").retained().publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, watcher), Message::new("a", ""));
        assert_eq!(retained(&mut net, "#"), []);
        // Nothing there to remove, and nothing to store.
        Message::new("b", "").retained().publish(&mut net, publisher);
        assert_eq!(retained(&mut net, "#"), []);
        assert_eq!(net.cores.iter().map(|core| core.retained_len()).sum::<usize>(), 0);
    });
}

// [MQTT-3.3.1-8]
#[test]
fn a_message_without_the_flag_changes_nothing_that_is_retained() {
    on_shards(|mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "1").publish(&mut net, publisher);
        assert_eq!(retained(&mut net, "#"), []);
        Message::new("a", "2").retained().publish(&mut net, publisher);
        Message::new("a", "3").publish(&mut net, publisher);
        Message::new("a", "").publish(&mut net, publisher);
        assert_eq!(retained(&mut net, "#"), [Message::new("a", "2").retained()]);
    });
}

// [MQTT-3.3.1-9] [MQTT3-3.3.1-8]
#[test]
fn each_subscription_gets_what_is_retained_with_the_flag_set() {
    on_shards(|mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        for topic in ["a", "a/1", "a/2", "b", "$a"] {
            if !topic.starts_with('$') {
                Message::new(topic, topic).retained().publish(&mut net, publisher);
            }
        }
        for version in ALL_VERSIONS {
            let client = Login::new(version, "c").connect(&mut net);
            for _ in 0..2 {
                subscribe(&mut net, client, "a/#", QoS::AtMostOnce);
                let mut got: Vec<Message> = all(&mut net, client).into_iter().map(Got::message).collect();
                got.sort_by(|a, b| a.topic.cmp(&b.topic));
                assert_eq!(got, ["a", "a/1", "a/2"].map(|topic| Message::new(topic, topic).retained()));
            }
        }
    });
}

// [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[test]
fn retain_handling_says_whether_a_subscription_gets_what_is_retained() {
    on_shards(|mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "1").retained().publish(&mut net, publisher);
        let client = Login::v5("c").connect(&mut net);
        let ask = |handling| [Ask::new("a", QoS::AtMostOnce).retain_handling(handling)];
        subscribe_to(&mut net, client, None, &ask(2));
        expect_nothing(&mut net, client);
        // It is there already, whatever its options.
        subscribe_to(&mut net, client, None, &ask(1));
        expect_nothing(&mut net, client);
        subscribe_to(&mut net, client, None, &ask(0));
        take_message(&mut net, client);
        unsubscribe(&mut net, client, "a");
        subscribe_to(&mut net, client, None, &ask(1));
        assert_eq!(take_message(&mut net, client), Message::new("a", "1").retained());
        expect_nothing(&mut net, client);
    });
}

// [MQTT-3.3.1-10]
#[test]
fn a_subscription_of_a_session_that_was_resumed_is_not_new() {
    on_shards(|mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "1").retained().publish(&mut net, publisher);
        let login = Login::v5("c").resuming().expiry(100);
        let client = login.connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtMostOnce);
        take_message(&mut net, client);
        net.cut(client);
        let client = login.connect(&mut net);
        expect_nothing(&mut net, client);
        subscribe_to(&mut net, client, None, &[Ask::new("a", QoS::AtMostOnce).retain_handling(1)]);
        expect_nothing(&mut net, client);
    });
}

// [MQTT-3.3.1-12] [MQTT-3.3.1-13]
#[test]
fn the_flag_of_a_message_on_its_way_is_passed_on_where_that_is_asked_for() {
    on_shards(|mut net| {
        let clients = [Version::V3_1, Version::V3_1_1, Version::V5].map(|version| {
            let client = Login::new(version, &format!("plain {version:?}")).connect(&mut net);
            subscribe(&mut net, client, "a", QoS::AtMostOnce);
            client
        });
        let as_published = Login::v5("as published").connect(&mut net);
        subscribe_to(&mut net, as_published, None, &[Ask::new("a", QoS::AtMostOnce).retain_as_published()]);
        let publisher = Login::v5("p").connect(&mut net);
        let (kept, passing) = (Message::new("a", "1").retained(), Message::new("a", "2"));
        kept.publish(&mut net, publisher);
        passing.publish(&mut net, publisher);
        for client in clients {
            assert!(!take_message(&mut net, client).retain);
            assert!(!take_message(&mut net, client).retain);
        }
        assert_eq!(take_message(&mut net, as_published), kept);
        assert_eq!(take_message(&mut net, as_published), passing);
    });
}
