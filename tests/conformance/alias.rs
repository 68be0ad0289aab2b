//! Topic Aliases, both ways.

use crate::client::{Got, Login, Message, all, expect_cut, expect_nothing, net_of, on_shards, subscribe, take_message};
use crate::net::{Client, Net};
use thrum::broker::Options;
use thrum::mqtt::{PropertyId, QoS, ReasonCode};

fn aliased(topic: &str, payload: &str, alias: u16) -> Message {
    Message::new(topic, payload).with(PropertyId::TopicAlias, u32::from(alias))
}

fn watch(net: &mut Net) -> Client {
    let watcher = Login::v5("watcher").connect(net);
    subscribe(net, watcher, "#", QoS::ExactlyOnce);
    watcher
}

// [MQTT-3.3.2-12]
#[test]
fn every_alias_up_to_our_maximum_stands_for_a_topic() {
    on_shards(|mut net| {
        let watcher = watch(&mut net);
        let (client, got) = Login::v5("c").answer(&mut net);
        let max = got.properties().number(PropertyId::TopicAliasMaximum).unwrap() as u16;
        for alias in 1..=max {
            let topic = format!("topic/{alias}");
            aliased(&topic, "first", alias).publish(&mut net, client);
            assert_eq!(take_message(&mut net, watcher), Message::new(&topic, "first"));
        }
        for alias in 1..=max {
            aliased("", "again", alias).exactly_once(alias).publish(&mut net, client);
            let got = take_message(&mut net, watcher);
            assert_eq!((got.topic, got.payload), (format!("topic/{alias}"), b"again".to_vec()));
        }
        // An alias can be given to another topic.
        aliased("other", "1", 1).publish(&mut net, client);
        aliased("", "2", 1).publish(&mut net, client);
        assert_eq!(take_message(&mut net, watcher), Message::new("other", "1"));
        assert_eq!(take_message(&mut net, watcher), Message::new("other", "2"));
    });
}

// [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17] [MQTT-3.2.2-18]
#[test]
fn an_alias_of_zero_or_above_our_maximum_ends_the_connection() {
    for (topic_alias_max, alias) in [(10, 0), (10, 11), (10, u16::MAX), (0, 1)] {
        for topic in ["a", ""] {
            let mut net = Net::new(Options { topic_alias_max, ..Options::default() });
            let (client, got) = Login::v5("c").answer(&mut net);
            let told = got.properties().number(PropertyId::TopicAliasMaximum).unwrap_or(0);
            assert_eq!(told, u32::from(topic_alias_max));
            aliased(topic, "", alias).send(&mut net, client);
            expect_cut(&mut net, client, ReasonCode::TopicAliasInvalid);
        }
    }
}

// [MQTT-3.3.2-7]
#[test]
fn an_alias_is_forgotten_with_its_connection() {
    on_shards(|mut net| {
        let client = Login::v5("c").expiry(100).connect(&mut net);
        aliased("a", "", 1).publish(&mut net, client);
        net.cut(client);
        let client = Login::v5("c").resuming().connect(&mut net);
        aliased("", "", 1).send(&mut net, client);
        expect_cut(&mut net, client, ReasonCode::ProtocolError);
    });
}

// [MQTT-3.3.2-7] [MQTT-3.3.2-11] [MQTT-3.1.2-26]
#[test]
fn the_broker_uses_the_aliases_that_the_client_allows() {
    on_shards(|mut net| {
        let login = Login::v5("c").resuming().expiry(100).topic_alias_max(2);
        let client = login.connect(&mut net);
        subscribe(&mut net, client, "#", QoS::AtMostOnce);
        let publisher = Login::v5("p").connect(&mut net);
        let mut seen = std::collections::BTreeMap::new();
        for topic in ["long/one", "long/two", "long/one", "long/three", "long/two", "long/one"] {
            Message::new(topic, topic).publish(&mut net, publisher);
            let got = take_message(&mut net, client);
            let alias = got.properties.number(PropertyId::TopicAlias);
            assert!(alias.is_none_or(|alias| alias == 1 || alias == 2), "{got:?}");
            match alias {
                Some(alias) if got.topic.is_empty() => assert_eq!(seen[&alias], topic),
                Some(alias) => drop(seen.insert(alias, got.topic)),
                None => assert_eq!(got.topic, topic),
            }
        }
        assert!(!seen.is_empty());
        net.cut(client);
        let client = login.connect(&mut net);
        Message::new("long/one", "").publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, client).topic, "long/one");
    });
}

// [MQTT-3.1.2-27]
#[test]
fn a_client_that_allows_no_aliases_gets_none() {
    on_shards(|mut net| {
        for login in [Login::v5("c"), Login::v5("c").topic_alias_max(0)] {
            let client = login.connect(&mut net);
            subscribe(&mut net, client, "#", QoS::AtMostOnce);
            let publisher = Login::v5("p").connect(&mut net);
            for _ in 0..3 {
                Message::new("long/topic", "").publish(&mut net, publisher);
            }
            let got = all(&mut net, client);
            assert_eq!(got, vec![Got::Publish(Message::new("long/topic", "")); 3]);
        }
    });
}

#[test]
fn a_message_that_does_not_fit_teaches_the_client_no_alias() {
    let mut net = net_of(1);
    let client = Login::v5("c").topic_alias_max(5).packet_bytes_max(50).connect(&mut net);
    subscribe(&mut net, client, "#", QoS::AtLeastOnce);
    let publisher = Login::v5("p").connect(&mut net);
    Message::new("long/topic", &"x".repeat(50)).at_least_once(1).publish(&mut net, publisher);
    expect_nothing(&mut net, client);
    Message::new("long/topic", "fits").at_least_once(1).publish(&mut net, publisher);
    assert_eq!(take_message(&mut net, client).topic, "long/topic");
}
