//! Subscriptions that bring only some of what they match, and rules that change while clients are there.

use thrum::base::limits::SUBSCRIPTIONS_JUDGED_MAX;
use thrum::base::{DropReason, Millis, RecordId, Refusal, ShardId};
use thrum::broker::{
    Homes, Input, Message as Stored, Options, Owner, Record, StoredCopy, StoredItem, StoredMessage, StoredSession,
};
use thrum::mqtt::{QoS, ReasonCode, Version};
use thrum::routing::SubscriptionOptions;

use crate::client::{
    Ask, LastWill, Login, Message, ask_for, assert_at_rest, disconnect, expect_nothing, subscribe, sum, take_messages,
    take_payloads, unsubscribe,
};
use crate::house::House;
use crate::net::{Client, Net};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn topics(net: &mut Net, client: Client) -> Vec<String> {
    take_messages(net, client).into_iter().map(|message| message.topic).collect()
}

fn publish(net: &mut Net, sender: Client, qos: QoS, topics: &[&str]) {
    for topic in topics {
        let message = Message::new(topic, "x");
        let message = match qos {
            QoS::AtMostOnce => message,
            QoS::AtLeastOnce => message.at_least_once(1),
            QoS::ExactlyOnce => message.exactly_once(1),
        };
        assert_eq!(message.publish(net, sender), ReasonCode::Success);
    }
}

fn dropped(net: &Net) -> u64 {
    sum(net, |core| core.counters().dropped(DropReason::NotAuthorized))
}

#[test]
fn a_filtered_subscription_brings_what_may_be_had_and_the_rest_is_counted() {
    for qos in ALL_QOS {
        House::on_shards(|house, mut net| {
            house.rules().no_receive.push("a/secret".into());
            let sender = Login::v5("sender").connect(&mut net);
            let client = Login::v5("c").connect(&mut net);
            subscribe(&mut net, client, "a/+", qos);
            publish(&mut net, sender, qos, &["a/1", "a/secret", "a/2"]);
            assert_eq!(topics(&mut net, client), ["a/1", "a/2"]);
            assert_eq!(dropped(&net), 1);
            assert_at_rest(&net);
        });
    }
}

#[test]
fn a_filtered_subscription_is_filtered_while_its_client_is_away_in_replays_and_in_groups() {
    for qos in ALL_QOS {
        House::on_shards(|house, mut net| {
            house.rules().no_receive.push("a/secret".into());
            let sender = Login::v5("sender").connect(&mut net);
            for topic in ["a/1", "a/secret", "a/2"] {
                Message::new(topic, "kept").retained().at_least_once(1).publish(&mut net, sender);
            }
            let login = Login::v5("c").expiry(1_000).resuming();
            let client = login.connect(&mut net);
            subscribe(&mut net, client, "a/+", qos);
            let mut found = topics(&mut net, client);
            found.sort_unstable();
            assert_eq!((found, dropped(&net)), (vec!["a/1".to_owned(), "a/2".to_owned()], 1));
            disconnect(&mut net, client);
            publish(&mut net, sender, QoS::AtLeastOnce, &["a/1", "a/secret", "a/2"]);
            let client = login.connect(&mut net);
            let wanted: &[&str] = if qos == QoS::AtMostOnce { &[] } else { &["a/1", "a/2"] };
            assert_eq!(topics(&mut net, client), wanted);
            assert_eq!(dropped(&net), 2);
            unsubscribe(&mut net, client, "a/+");
            subscribe(&mut net, client, "$share/g/a/+", qos);
            publish(&mut net, sender, qos, &["a/1", "a/secret", "a/2"]);
            assert_eq!(topics(&mut net, client), ["a/1", "a/2"]);
            assert_eq!(dropped(&net), 3);
            assert_at_rest(&net);
        });
    }
}

#[test]
fn the_guard_is_asked_with_the_qos_that_is_wanted_and_of_no_message_that_may_be_had() {
    House::on_shards(|house, mut net| {
        house.rules().no_subscribe.push("no/#".into());
        let client = Login::v5("c").user_name("ada@tenant/").connect(&mut net);
        let asks = [Ask::new("a/#", QoS::ExactlyOnce), Ask::new("$share/g/b", QoS::AtLeastOnce)];
        assert_eq!(ask_for(&mut net, client, None, &asks), [2, 1]);
        let asked = [("tenant/a/#".to_owned(), QoS::ExactlyOnce), ("tenant/b".to_owned(), QoS::AtLeastOnce)];
        assert_eq!(house.rules().subscriptions_asked, asked);
        publish(&mut net, client, QoS::AtMostOnce, &["a/1", "b"]);
        assert_eq!(topics(&mut net, client).len(), 2);
        assert_eq!(house.rules().messages_asked, 0);
        let denied = Login::v5("d").connect(&mut net);
        let reasons = ask_for(&mut net, denied, None, &[Ask::new("no/#", QoS::AtMostOnce)]);
        assert_eq!(reasons, [ReasonCode::NotAuthorized as u8]);
    });
}

// [MQTT-3.8.4-3]
#[test]
fn new_rules_apply_to_subscriptions_that_are_there_and_nobody_is_disconnected() {
    for version in [Version::V3_1_1, Version::V5] {
        House::on_shards(|house, mut net| {
            let sender = Login::v5("sender").connect(&mut net);
            let client = Login::new(version, "c").keep_alive(0).connect(&mut net);
            subscribe(&mut net, client, "a/+", QoS::AtLeastOnce);
            subscribe(&mut net, client, "$share/g/s/+", QoS::AtLeastOnce);
            let both = ["a/secret", "s/secret"];
            publish(&mut net, sender, QoS::AtLeastOnce, &both);
            assert_eq!(topics(&mut net, client), both);
            house.rules().no_receive = both.map(Into::into).to_vec();
            house.set(&mut net);
            // At once, and also when all subscriptions were looked at.
            for _ in 0..2 {
                publish(&mut net, sender, QoS::AtLeastOnce, &["a/secret", "s/secret", "a/1"]);
                assert_eq!(topics(&mut net, client), ["a/1"]);
                net.advance(Millis(500));
            }
            assert_eq!(dropped(&net), 4);
            house.rules().no_receive.clear();
            house.set(&mut net);
            publish(&mut net, sender, QoS::AtLeastOnce, &both);
            assert_eq!(topics(&mut net, client), both);
            net.advance(Millis(500));
            // Who may have everything is asked about no more.
            let asked = house.rules().messages_asked;
            publish(&mut net, sender, QoS::AtLeastOnce, &both);
            assert_eq!((topics(&mut net, client).len(), house.rules().messages_asked), (2, asked));
            assert!(!net.is_closed(client));
        });
    }
}

#[test]
fn a_subscription_that_would_be_denied_now_stays_and_brings_what_may_be_had() {
    House::on_shards(|house, mut net| {
        let sender = Login::v5("sender").connect(&mut net);
        let client = Login::v5("c").connect(&mut net);
        subscribe(&mut net, client, "a/+", QoS::AtLeastOnce);
        *house.rules() = crate::house::Rules {
            no_subscribe: vec!["a/+".into()],
            no_receive: vec!["a/secret".into()],
            ..Default::default()
        };
        house.set(&mut net);
        net.advance(Millis(500));
        publish(&mut net, sender, QoS::AtLeastOnce, &["a/1", "a/secret"]);
        assert_eq!(topics(&mut net, client), ["a/1"]);
    });
}

#[test]
fn what_waits_for_a_client_is_not_delivered_where_the_rules_have_changed() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        House::on_shards(|house, mut net| {
            let sender = Login::v5("sender").connect(&mut net);
            let login = Login::v5("c").expiry(1_000).resuming();
            let client = login.connect(&mut net);
            subscribe(&mut net, client, "a/+", qos);
            disconnect(&mut net, client);
            publish(&mut net, sender, qos, &["a/1", "a/secret", "a/2"]);
            house.rules().no_receive.push("a/secret".into());
            house.set(&mut net);
            net.advance(Millis(500));
            let client = login.connect(&mut net);
            assert_eq!(topics(&mut net, client), ["a/1", "a/2"]);
            assert_eq!(dropped(&net), 1);
            assert_at_rest(&net);
        });
    }
}

#[test]
fn judging_many_subscriptions_anew_takes_many_small_steps() {
    let house = House::default();
    let mut net = house.net(Options::default());
    let client = Login::v5("c").keep_alive(0).connect(&mut net);
    let filters: Vec<String> = (0..1_000).map(|number| format!("f/{number}")).collect();
    for filter in &filters {
        subscribe(&mut net, client, filter, QoS::AtMostOnce);
    }
    for id in 0..500 {
        let other = Login::v5(&format!("o{id}")).keep_alive(0).connect(&mut net);
        subscribe(&mut net, other, "g", QoS::AtMostOnce);
    }
    house.rules().subscriptions_asked.clear();
    house.set(&mut net);
    let mut steps = 0;
    while net.cores[0].is_due() {
        assert_eq!(net.cores[0].next_timeout(net.now), Some(Millis(0)));
        let before = house.rules().subscriptions_asked.len();
        net.tell(0, Input::Tick);
        assert!(house.rules().subscriptions_asked.len() - before <= SUBSCRIPTIONS_JUDGED_MAX);
        steps += 1;
        if steps == 2 {
            // What goes meanwhile moves another one to where nobody would look any more.
            unsubscribe(&mut net, client, &filters[0]);
        }
    }
    assert!(steps >= 1_500 / SUBSCRIPTIONS_JUDGED_MAX, "{steps}");
    let asked = house.rules().subscriptions_asked.clone();
    assert!(filters[1..].iter().all(|filter| asked.iter().any(|(asked, _)| asked == filter)));
    Message::new("f/7", "").publish(&mut net, client);
    assert_eq!((topics(&mut net, client).len(), house.rules().messages_asked), (1, 0));
}

fn stored_message(payload: &str, topic: &str) -> Stored {
    let mut net = Net::new(Options { durable: true, ..Options::default() });
    let client = Login::v5("maker").connect(&mut net);
    Message::new(topic, payload).retained().at_least_once(1).publish(&mut net, client);
    let found = net.records.iter().find_map(|record| match record {
        Record::Retained { message } => Some(message.clone()),
        _ => None,
    });
    found.unwrap()
}

// What a token permits beside the rules is known only when its client comes again.
#[test]
fn after_a_start_everything_waits_and_is_judged_when_the_client_is_back() {
    for shards in [1, 2] {
        let house = House::default();
        house.rules().no_receive = vec!["a/secret".into()];
        let mut net = house.net(Options { shards, durable: true, next_record: 100, ..Options::default() });
        let options =
            SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
        let copy = StoredCopy { qos: QoS::AtLeastOnce, retain: false, subscription_ids: Box::default(), share: None };
        let id = |number| RecordId::new(number, ShardId::new(0)).unwrap();
        let item =
            |number, topic| StoredMessage { item: id(number), message: stored_message("x", topic), copy: copy.clone() };
        let queue = [item(5, "a/1"), item(6, "a/secret")].map(|item| StoredItem::Loaded(Box::new(item)));
        let home = Homes::new(Options::default().seed, shards).of_client("c").index();
        net.restore(
            home,
            StoredSession {
                id: id(1),
                client_id: "c".into(),
                owner: Some(Owner { user: Some("ada".into()), mount: Box::default() }),
                expiry_secs: 1_000,
                left_at: None,
                subscriptions: vec![("a/+".into(), options)],
                in_flight: Vec::new(),
                releases: Vec::new(),
                queue: queue.into(),
                received: Vec::new(),
                will: None,
            },
        );
        house.set(&mut net);
        net.advance(Millis(500));
        let sender = Login::v5("sender").connect(&mut net);
        publish(&mut net, sender, QoS::AtLeastOnce, &["a/secret", "a/2"]);
        assert_eq!((house.rules().messages_asked, dropped(&net)), (0, 0));
        let client = Login::v5("c").user_name("ada").expiry(1_000).resuming().connect(&mut net);
        assert_eq!(topics(&mut net, client), ["a/1", "a/2"]);
        net.advance(Millis(500));
        publish(&mut net, sender, QoS::AtLeastOnce, &["a/secret", "a/3"]);
        assert_eq!((topics(&mut net, client), dropped(&net)), (vec!["a/3".to_owned()], 3));
    }
}

#[test]
fn a_will_that_may_not_be_published_any_more_is_not() {
    House::on_shards(|house, mut net| {
        let watcher = Login::v5("watcher").connect(&mut net);
        subscribe(&mut net, watcher, "gone", QoS::AtMostOnce);
        let [first, second] = ["1", "2"].map(|id| Login::v5(id).will(LastWill::new("gone", id)).connect(&mut net));
        net.cut(first);
        assert_eq!(take_payloads(&mut net, watcher), ["1"]);
        house.rules().no_publish.push("gone".into());
        net.cut(second);
        expect_nothing(&mut net, watcher);
        assert_eq!(sum(&net, |core| core.counters().refused(Refusal::PublishNotAuthorized)), 1);
    });
}
