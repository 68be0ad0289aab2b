//! What the broker says of itself, on topics that begin with `$SYS`.

use thrum::broker::{Held, Options, ShardCore, ShardStats};
use thrum::mqtt::{QoS, ReasonCode};
use thrum::session::QueueBounds;

use crate::client::{
    Ask, Login, Message, all, assert_at_rest, disconnect, expect_nothing, next, on_1_2_4, subscribe, subscribe_to, sum,
    take_message, take_payloads,
};
use crate::net::{Client, Net};

fn total(net: &Net) -> ShardStats {
    let mut total = ShardStats::default();
    net.cores.iter().for_each(|core| total.add(&core.stats()));
    total
}

/// One client on each shard, or several, which subscribe.
fn subscribers(net: &mut Net, filter: &str) -> Vec<Client> {
    let connect = |number| Login::v5(&format!("s{number}")).connect(net);
    let clients: Vec<Client> = (0..8).map(connect).collect();
    for &client in &clients {
        subscribe(net, client, filter, QoS::ExactlyOnce);
    }
    clients
}

#[test]
fn it_comes_live_to_who_subscribed_and_retained_to_who_subscribes_later() {
    on_1_2_4(&Options::default(), |mut net| {
        let early = subscribers(&mut net, "$SYS/#");
        let as_published = Login::v5("c").connect(&mut net);
        subscribe_to(&mut net, as_published, None, &[Ask::new("$SYS/#", QoS::AtMostOnce).retain_as_published()]);
        for shard in 0..net.cores.len() {
            net.announce(shard, &format!("$SYS/broker/{shard}"), "old");
            net.announce(shard, &format!("$SYS/broker/{shard}"), "new");
        }
        for &client in early.iter().chain([&as_published]) {
            for shard in 0..net.cores.len() {
                for payload in ["old", "new"] {
                    let message = take_message(&mut net, client);
                    assert_eq!(
                        (message.topic, &*message.payload),
                        (format!("$SYS/broker/{shard}"), payload.as_bytes())
                    );
                    assert_eq!((message.qos, message.retain), (QoS::AtMostOnce, client == as_published));
                }
            }
            expect_nothing(&mut net, client);
        }
        let late = Login::v5("late").connect(&mut net);
        subscribe(&mut net, late, "$SYS/broker/+", QoS::AtLeastOnce);
        let mut got: Vec<_> = all(&mut net, late).into_iter().map(|got| got.message()).collect();
        got.sort_by(|one, other| one.topic.cmp(&other.topic));
        let topics: Vec<_> = (0..net.cores.len()).map(|shard| format!("$SYS/broker/{shard}")).collect();
        assert_eq!(got.iter().map(|message| message.topic.clone()).collect::<Vec<_>>(), topics);
        assert!(got.iter().all(|message| message.retain && message.payload == b"new"));
        assert_at_rest(&net);
    });
}

// [MQTT-4.7.2-1]
#[test]
fn a_leading_wildcard_does_not_match_it() {
    on_1_2_4(&Options::default(), |mut net| {
        net.announce(0, "$SYS/broker/uptime", "1 seconds");
        let clients = subscribers(&mut net, "#");
        let other = Login::v5("c").connect(&mut net);
        subscribe(&mut net, other, "+/broker/uptime", QoS::AtMostOnce);
        net.announce(0, "$SYS/broker/uptime", "2 seconds");
        clients.into_iter().chain([other]).for_each(|client| expect_nothing(&mut net, client));
    });
}

#[test]
fn a_client_may_not_publish_it() {
    on_1_2_4(&Options::default(), |mut net| {
        net.announce(0, "$SYS/broker/uptime", "1 seconds");
        let client = Login::v5("c").connect(&mut net);
        for payload in ["mine", ""] {
            let message = Message::new("$SYS/broker/uptime", payload).retained().at_least_once(1);
            assert_eq!(message.publish(&mut net, client), ReasonCode::TopicNameInvalid);
        }
        subscribe(&mut net, client, "$SYS/#", QoS::AtMostOnce);
        assert_eq!(take_payloads(&mut net, client), ["1 seconds"]);
    });
}

#[test]
fn an_empty_one_takes_it_away() {
    on_1_2_4(&Options { durable: true, ..Options::default() }, |mut net| {
        net.announce(0, "$SYS/broker/uptime", "1 seconds");
        assert_eq!(sum(&net, ShardCore::retained_len), 1);
        net.announce(0, "$SYS/broker/uptime", "");
        assert_eq!(total(&net).retained, Held::default());
        assert_eq!(net.records, []);
    });
}

// The log of a durable broker would grow by a hundred records every ten seconds, about things that were never worth it.
#[test]
fn nothing_of_it_is_recorded_queued_or_counted_as_received() {
    on_1_2_4(&Options { durable: true, queue_qos_zero: true, ..Options::default() }, |mut net| {
        let clients: Vec<Client> = ["away", "slow", "there"]
            .map(|id| {
                let client = Login::v5(id).expiry(1_000).connect(&mut net);
                subscribe(&mut net, client, "$SYS/#", QoS::ExactlyOnce);
                subscribe(&mut net, client, "$share/g/$SYS/#", QoS::ExactlyOnce);
                client
            })
            .to_vec();
        disconnect(&mut net, clients[0]);
        net.block(clients[1]);
        let received = total(&net).counters.publishes_received;
        net.records.clear();
        for number in 0..40 {
            net.announce(0, "$SYS/broker/uptime", &number.to_string());
            net.announce(0, "$SYS/broker/version", &"long ".repeat(10_000));
        }
        assert_eq!(net.records, []);
        assert_eq!((sum(&net, ShardCore::messages_held), total(&net).counters.publishes_received), (0, received));
        assert!(total(&net).counters.dropped_in_all() >= 80, "the slow and the absent one have missed some");
        assert!(all(&mut net, clients[2]).len() >= 80);
        assert_at_rest(&net);
    });
}

// A queue for ordinary messages was overtaken, which is no matter: none of them has this topic.
#[test]
fn it_does_not_wait_behind_what_is_queued() {
    let options = Options { queue_qos_zero: true, ..Options::default() };
    on_1_2_4(&options, |mut net| {
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        subscribe(&mut net, client, "$SYS/#", QoS::AtMostOnce);
        let publisher = Login::v5("p").connect(&mut net);
        for payload in ["1", "2"] {
            Message::new("a", payload).at_least_once(1).publish(&mut net, publisher);
        }
        net.announce(0, "$SYS/broker/uptime", "now");
        let payloads = [next(&mut net, client), next(&mut net, client)].map(|got| got.message().payload);
        assert_eq!(payloads, [b"1".to_vec(), b"now".to_vec()]);
    });
}

#[test]
fn it_takes_no_room_from_what_clients_retain() {
    for options in [
        Options { retained_messages_max: 2, ..Options::default() },
        Options { retained_bytes_max: 250, ..Options::default() },
    ] {
        let mut net = Net::new(options);
        for number in 0..20 {
            net.announce(0, &format!("$SYS/{number}"), "12345678901234567890");
        }
        let publisher = Login::v5("p").connect(&mut net);
        for topic in ["a", "b", "c", "d", "e"] {
            Message::new(topic, "12345678901234567890").retained().publish(&mut net, publisher);
        }
        let held = total(&net).retained;
        assert!((21..25).contains(&held.messages), "{held:?}");
        assert!(held.bytes > 21 * 20);
    }
}

#[test]
fn the_gauges_say_what_is_there() {
    let queue = QueueBounds { messages_max: 3, ..Options::default().queue };
    on_1_2_4(&Options { queue, inflight_max: 2, ..Options::default() }, |mut net| {
        let clients = subscribers(&mut net, "a");
        subscribe(&mut net, clients[0], "$share/g/b", QoS::AtLeastOnce);
        subscribe(&mut net, clients[1], "$share/g/b", QoS::AtLeastOnce);
        let away = Login::v5("away").expiry(100).connect(&mut net);
        subscribe(&mut net, away, "a", QoS::AtLeastOnce);
        disconnect(&mut net, away);
        net.block(clients[0]);
        let publisher = Login::v5("p").connect(&mut net);
        for _ in 0..6 {
            Message::new("a", "x").at_least_once(1).publish(&mut net, publisher);
        }
        Message::new("c", "x").retained().publish(&mut net, publisher);
        let stats = total(&net);
        assert_eq!((stats.shards, stats.sessions, stats.sessions_connected), (net.cores.len() as u64, 10, 9));
        assert_eq!((stats.subscriptions, stats.shared_subscriptions), (9, 2));
        // Two in flight and three in the queue for those who acknowledge nothing, three for the one who is away.
        assert_eq!(stats.held.messages, 8 * 5 + 3);
        assert_eq!(stats.retained.messages, 1);
        assert_eq!(stats.counters.connects_received, 10);
        // Two PUBLISHes of QoS 1: header, topic, identifier, no properties, payload.
        assert_eq!(stats.output_bytes_waiting, 2 * (2 + 3 + 2 + 1 + 1));
        net.unblock(clients[0]);
        assert_eq!(total(&net).output_bytes_waiting, 0);
        for client in clients {
            take_payloads(&mut net, client);
        }
        assert_eq!(total(&net).held.messages, 3);
        net.block(publisher);
        net.send_bytes(publisher, &[0xc0, 0]);
        assert_eq!(total(&net).output_bytes_waiting, 2);
        net.cut(publisher);
        assert_eq!(total(&net).output_bytes_waiting, 0);
        for core in &net.cores {
            assert_eq!(core.stats(), core.stats_counted_anew());
        }
    });
}
