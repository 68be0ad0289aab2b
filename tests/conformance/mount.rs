//! Mount points: a client lives behind a part of the topics without seeing it, and reaches nothing else.

use thrum::base::limits::STRING_BYTES_MAX;
use thrum::base::{DropReason, Millis};
use thrum::mqtt::{PropertyId, QoS, ReasonCode, Version};

use crate::client::{
    Ask, LastWill, Login, Message, all, ask_for, disconnect, expect_nothing, next, subscribe, subscribe_to, sum,
    take_message, take_messages, take_payloads, unsubscribe,
};
use crate::house::House;
use crate::net::{Client, Net};

fn tenant(net: &mut Net, id: &str) -> Client {
    Login::v5(id).user_name("ada@tenant/").connect(net)
}

fn watcher(net: &mut Net) -> Client {
    let watcher = Login::v5("watcher").connect(net);
    subscribe(net, watcher, "#", QoS::AtMostOnce);
    watcher
}

fn topics(net: &mut Net, client: Client) -> Vec<String> {
    take_messages(net, client).into_iter().map(|message| message.topic).collect()
}

#[test]
fn a_mount_point_stands_before_what_is_published_and_is_taken_off_what_is_delivered() {
    House::on_shards(|_, mut net| {
        let (watcher, sender) = (watcher(&mut net), tenant(&mut net, "sender"));
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            let inside = Login::new(version, "inside").user_name("ada@tenant/").connect(&mut net);
            for filter in ["a/+", "#", "+/b"] {
                subscribe(&mut net, inside, filter, QoS::ExactlyOnce);
                for message in [
                    Message::new("a/b", "x"),
                    Message::new("a/b", "x").at_least_once(1),
                    Message::new("a/b", "x").exactly_once(1),
                ] {
                    message.publish(&mut net, sender);
                    let got = topics(&mut net, inside);
                    assert_eq!(got, ["a/b"], "{version:?} {filter}");
                    assert_eq!(topics(&mut net, watcher), ["tenant/a/b"]);
                }
                Message::new("tenant/a/b", "from outside").publish(&mut net, watcher);
                assert_eq!(take_message(&mut net, inside).topic, "a/b");
                Message::new("a/b", "not theirs").publish(&mut net, watcher);
                expect_nothing(&mut net, inside);
                all(&mut net, watcher);
                unsubscribe(&mut net, inside, filter);
                Message::new("tenant/a/b", "unsubscribed").publish(&mut net, watcher);
                expect_nothing(&mut net, inside);
                all(&mut net, watcher);
            }
            disconnect(&mut net, inside);
        }
    });
}

#[test]
fn tenants_with_the_same_topics_and_groups_do_not_hear_each_other() {
    House::on_shards(|_, mut net| {
        let tenants = ["one", "two"].map(|name| {
            let client = Login::v5(name).user_name(&format!("ada@{name}/")).connect(&mut net);
            subscribe(&mut net, client, "a", QoS::AtLeastOnce);
            subscribe(&mut net, client, "$share/g/s", QoS::AtLeastOnce);
            client
        });
        for (at, sender) in tenants.iter().enumerate() {
            for topic in ["a", "s"] {
                Message::new(topic, "mine").publish(&mut net, *sender);
                let got = take_message(&mut net, *sender);
                assert_eq!((&*got.topic, got.payload_text()), (topic, "mine"));
                expect_nothing(&mut net, tenants[1 - at]);
            }
        }
        assert_eq!(unsubscribe(&mut net, tenants[0], "$share/g/s"), [0]);
        Message::new("s", "nobody").publish(&mut net, tenants[0]);
        for client in tenants {
            expect_nothing(&mut net, client);
        }
    });
}

#[test]
fn retained_messages_and_wills_are_behind_the_mount_point() {
    House::on_shards(|_, mut net| {
        let watcher = watcher(&mut net);
        let will = LastWill::new("gone", "it").qos(QoS::AtLeastOnce).retained();
        let leaving = Login::v5("leaving").user_name("ada@tenant/").will(will).connect(&mut net);
        Message::new("kept", "kept").retained().at_least_once(1).publish(&mut net, leaving);
        net.cut(leaving);
        assert_eq!(topics(&mut net, watcher), ["tenant/kept", "tenant/gone"]);
        let inside = tenant(&mut net, "inside");
        subscribe(&mut net, inside, "#", QoS::AtMostOnce);
        let mut found = topics(&mut net, inside);
        found.sort_unstable();
        assert_eq!(found, ["gone", "kept"]);
        subscribe(&mut net, inside, "kept", QoS::AtMostOnce);
        assert_eq!(topics(&mut net, inside), ["kept"]);
        Message::new("kept", "").retained().publish(&mut net, inside);
        all(&mut net, inside);
        let other = Login::v5("other").connect(&mut net);
        subscribe(&mut net, other, "tenant/kept", QoS::AtMostOnce);
        expect_nothing(&mut net, other);
    });
}

#[test]
fn a_response_topic_is_mounted_and_one_that_cannot_be_reached_is_not_shown() {
    House::on_shards(|_, mut net| {
        let (watcher, inside) = (watcher(&mut net), tenant(&mut net, "inside"));
        subscribe(&mut net, inside, "ask", QoS::AtLeastOnce);
        let ask = |topic: &str, response: &str| {
            Message::new(topic, "?")
                .with(PropertyId::ContentType, "text")
                .with(PropertyId::ResponseTopic, response)
                .with(PropertyId::UserProperty, ("k", "v"))
        };
        ask("ask", "answers/1").publish(&mut net, inside);
        assert_eq!(take_message(&mut net, inside), ask("ask", "answers/1"));
        assert_eq!(take_message(&mut net, watcher), ask("tenant/ask", "tenant/answers/1"));
        ask("tenant/ask", "tenant/answers/2").publish(&mut net, watcher);
        assert_eq!(take_message(&mut net, inside), ask("ask", "answers/2"));
        ask("tenant/ask", "elsewhere").publish(&mut net, watcher);
        let got = take_message(&mut net, inside);
        assert_eq!((got.properties.has(PropertyId::ResponseTopic), got.properties.0.len()), (false, 2));
        // A will asks as well.
        let will = LastWill::new("ask", "will").with(|put| put.push_text(PropertyId::ResponseTopic, "answers/3"));
        let leaving = Login::v5("leaving").user_name("ada@tenant/").will(will).connect(&mut net);
        all(&mut net, watcher);
        net.cut(leaving);
        assert_eq!(
            take_message(&mut net, watcher).properties.text(PropertyId::ResponseTopic),
            Some("tenant/answers/3")
        );
    });
}

// [MQTT-4.7.3-3] [MQTT-1.5.4-1]
#[test]
fn what_becomes_too_long_by_the_mount_point_is_refused() {
    House::on_shards(|_, mut net| {
        let inside = tenant(&mut net, "inside");
        let longest = "x".repeat(STRING_BYTES_MAX - "tenant/".len());
        subscribe(&mut net, inside, &longest, QoS::AtMostOnce);
        Message::new(&longest, "fits").publish(&mut net, inside);
        assert_eq!(take_message(&mut net, inside).topic, longest);
        let longer = format!("{longest}x");
        let refused = ReasonCode::TopicNameInvalid;
        assert_eq!(Message::new(&longer, "").at_least_once(1).publish(&mut net, inside), refused);
        assert_eq!(Message::new(&longer, "").exactly_once(1).publish(&mut net, inside), refused);
        let answer = Message::new("a", "").with(PropertyId::ResponseTopic, &*longer).at_least_once(1);
        assert_eq!(answer.publish(&mut net, inside), refused);
        let reasons = ask_for(&mut net, inside, None, &[Ask::new(&longer, QoS::AtMostOnce)]);
        assert_eq!(reasons, [ReasonCode::TopicFilterInvalid as u8]);
        assert_eq!(unsubscribe(&mut net, inside, &longer), [ReasonCode::NoSubscriptionExisted as u8]);
        let will = LastWill::new(&longer, "");
        assert_eq!(Login::v5("w").user_name("ada@tenant/").will(will).refused(&mut net), refused);
    });
}

// [MQTT-4.7.2-1]
#[test]
fn nothing_of_the_brokers_own_is_behind_a_mount_point() {
    House::on_shards(|_, mut net| {
        let (watcher, inside) = (watcher(&mut net), tenant(&mut net, "inside"));
        for filter in ["#", "$SYS/#", "+/a"] {
            subscribe(&mut net, inside, filter, QoS::AtMostOnce);
        }
        net.announce(0, "$SYS/a", "broker");
        // `tenant/#` matches its parent level, which is no topic behind it; and `#` no topic that begins with `$`.
        for topic in ["tenant", "tenant/", "tenant/$SYS/a", "other/a"] {
            Message::new(topic, "").publish(&mut net, watcher);
        }
        expect_nothing(&mut net, inside);
        assert!(sum(&net, |core| core.counters().dropped(DropReason::NotAuthorized)) >= 3);
        let refused = Message::new("$SYS/a", "").at_least_once(1).publish(&mut net, inside);
        assert_eq!(refused, ReasonCode::TopicNameInvalid);
    });
}

#[test]
fn what_waits_and_what_is_sent_again_is_shown_without_the_mount_point() {
    House::on_shards(|_, mut net| {
        let login = Login::v5("inside").user_name("ada@tenant/").expiry(1_000).receive_max(2).topic_alias_max(5);
        let inside = login.connect(&mut net);
        subscribe(&mut net, inside, "a/#", QoS::ExactlyOnce);
        let sender = Login::v5("sender").connect(&mut net);
        // Too large to be copied, and such as are.
        let payloads = ["1".to_owned(), "2".repeat(5_000), "3".to_owned(), "4".repeat(5_000)];
        for (at, payload) in (1..).zip(&payloads) {
            let message = Message::new("tenant/a/b", payload);
            let message = if at % 2 == 0 { message.at_least_once(at) } else { message.exactly_once(at) };
            message.publish(&mut net, sender);
        }
        let sent = all(&mut net, inside);
        assert_eq!(sent.len(), 2);
        net.cut(inside);
        let inside = login.clone().resuming().connect(&mut net);
        let got = take_messages(&mut net, inside);
        let found: Vec<_> = got.iter().map(|message| message.payload_text()).collect();
        assert_eq!(found, payloads.each_ref().map(String::as_str));
        assert!(got[0].dup && got[1].dup && got[0].topic == "a/b");
        // The alias was set by what was sent first, and stands for the topic as it is shown.
        assert!(got.iter().all(|message| message.topic.is_empty() || message.topic == "a/b"));
        net.advance(Millis::from_secs(1));
    });
}

#[test]
fn topic_aliases_of_a_client_stand_for_its_own_topics() {
    House::on_shards(|_, mut net| {
        let (watcher, inside) = (watcher(&mut net), tenant(&mut net, "inside"));
        Message::new("a", "1").with(PropertyId::TopicAlias, 3).publish(&mut net, inside);
        Message::new("", "2").with(PropertyId::TopicAlias, 3).publish(&mut net, inside);
        assert_eq!(topics(&mut net, watcher), ["tenant/a", "tenant/a"]);
    });
}

#[test]
fn subscription_identifiers_and_options_hold_behind_a_mount_point() {
    House::on_shards(|_, mut net| {
        let inside = tenant(&mut net, "inside");
        subscribe_to(&mut net, inside, Some(7), &[Ask::new("a/+", QoS::AtLeastOnce).no_local()]);
        subscribe_to(&mut net, inside, Some(8), &[Ask::new("a/#", QoS::AtMostOnce).retain_as_published()]);
        Message::new("a/b", "own").retained().publish(&mut net, inside);
        let got = next(&mut net, inside).message();
        assert_eq!((got.qos, got.retain, got.properties.subscription_ids()), (QoS::AtMostOnce, true, vec![8]));
        assert_eq!(take_payloads(&mut net, inside), [""; 0]);
    });
}
