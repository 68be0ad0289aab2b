//! Retained messages for a new subscription while others change them, stopped at every moment.

use thrum::broker::Options;
use thrum::mqtt::QoS;
use thrum::routing::TopicHasher;
use thrum::session::{FullPolicy, QueueBounds};

use crate::client::{
    Ask, Got, Login, Message, acknowledge, assert_at_rest, next_if_any, on_1_2_4, send_v5, subscribe, subscribe_bytes,
    subscribe_to, take_messages, take_payloads,
};
use crate::net::{Client, Net};

/// More than a replay of one topic takes.
const STEPS: usize = 16;

/// Subscribes, and holds the shards when SUBACK is there and the mesh has gone so many steps further.
/// What came live before SUBACK is returned.
fn subscribe_and_hold(net: &mut Net, client: Client, id: u32, ask: Ask, steps: usize) -> Vec<Message> {
    net.holds_mesh = true;
    send_v5(net, client, &subscribe_bytes(1, Some(id), &[ask]));
    let shards = net.cores.len();
    let mut turns = (0..shards).cycle();
    let mut before = Vec::new();
    loop {
        match next_if_any(net, client) {
            Some(Got::SubAck { .. }) => break,
            Some(got) => before.push(got.message()),
            None => net.drain_mesh(turns.next().unwrap(), 1),
        }
    }
    for shard in turns.take(steps) {
        net.drain_mesh(shard, 1);
    }
    before
}

/// Lets the shards go on, one message at a time and the last shard first, so that what can overtake does.
fn go_on(net: &mut Net) {
    for _ in 0..STEPS {
        for shard in (0..net.cores.len()).rev() {
            net.drain_mesh(shard, 1);
        }
    }
    net.holds_mesh = false;
    net.settle();
}

/// What a subscriber gets of a topic that has, or has not, an older retained message, where a newer one is published so
/// many steps after SUBACK.
fn got_of_each_moment(mut net: Net, older: Option<&str>, newer: &str, judge: impl Fn(&[(String, bool)])) {
    let publishers = [0, 1, 2, 3].map(|number| Login::v5(&format!("p{number}")).connect(&mut net));
    let client = Login::v5("c").connect(&mut net);
    for (number, publisher) in publishers.into_iter().enumerate() {
        for steps in 0..STEPS {
            for (qos, place) in [(QoS::AtMostOnce, "x"), (QoS::ExactlyOnce, "y"), (QoS::ExactlyOnce, "z")] {
                let topic = format!("{place}/{number}/{steps}");
                if let Some(older) = older {
                    Message::new(&topic, older).retained().at_least_once(1).publish(&mut net, publisher);
                }
                let before = subscribe_and_hold(&mut net, client, 1, Ask::new(&topic, qos), steps);
                assert!(before.is_empty());
                Message::new(&topic, newer).retained().exactly_once(1).publish(&mut net, publisher);
                go_on(&mut net);
                let got = take_messages(&mut net, client);
                let got: Vec<_> = got.iter().map(|got| (got.payload_text().to_owned(), got.retain)).collect();
                judge(&got);
            }
        }
    }
    assert_at_rest(&net);
}

fn pair(payload: &str, retain: bool) -> (String, bool) {
    (payload.to_owned(), retain)
}

// The replay, still under way, found what its subscriber had got live: at QoS 2 a message was delivered twice.
#[test]
fn what_is_published_after_the_suback_comes_once() {
    on_1_2_4(&Options::default(), |net| {
        got_of_each_moment(net, None, "new", |got| assert_eq!(got, [pair("new", false)]));
    });
}

// A page that was under way already brought the topic's last value but one behind its last.
#[test]
fn no_retained_message_comes_behind_a_newer_one_of_its_topic() {
    on_1_2_4(&Options::default(), |net| {
        got_of_each_moment(net, Some("old"), "new", |got| {
            let late = got == [pair("old", true), pair("new", false)];
            assert!(late || got == [pair("new", false)], "{got:?}");
        });
    });
}

#[test]
fn no_retained_message_comes_behind_word_that_it_was_cleared() {
    on_1_2_4(&Options::default(), |net| {
        got_of_each_moment(net, Some("old"), "", |got| {
            let late = got == [pair("old", true), pair("", false)];
            assert!(late || got == [pair("", false)], "{got:?}");
        });
    });
}

/// Retained messages `a/00` to `a/49`.
fn retain_50(net: &mut Net, publisher: Client) {
    for number in 0..50 {
        let message = Message::new(&format!("a/{number:02}"), "old").retained();
        message.at_least_once(1).publish(net, publisher);
    }
}

fn of_topic<'a>(got: &'a [Message], topic: &str) -> Vec<(&'a str, bool)> {
    let of_topic = got.iter().filter(|message| message.topic == topic);
    of_topic.map(|message| (message.payload_text(), message.retain)).collect()
}

/// Takes what comes, as long as something does, from a socket that is blocked.
fn take_all_blocked(net: &mut Net, client: Client) -> Vec<Message> {
    let mut got = Vec::new();
    loop {
        let more = take_messages(net, client);
        if more.is_empty() {
            return got;
        }
        got.extend(more);
        net.take_waiting(client);
    }
}

// The page had been fetched, and waited for the socket.
#[test]
fn a_page_that_waits_for_room_is_looked_at_again_when_it_is_sent() {
    let options = Options { output_bytes_max: 100, queue_qos_zero: true, ..Options::default() };
    on_1_2_4(&options, |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        retain_50(&mut net, publisher);
        let client = Login::v5("c").connect(&mut net);
        net.block(client);
        subscribe(&mut net, client, "a/+", QoS::AtMostOnce);
        Message::new("a/48", "").retained().publish(&mut net, publisher);
        Message::new("a/49", "new").retained().publish(&mut net, publisher);
        let got = take_all_blocked(&mut net, client);
        assert_eq!(of_topic(&got, "a/48"), [("", false)]);
        assert_eq!(of_topic(&got, "a/49"), [("new", false)]);
        assert_eq!(got.len(), 50);
        assert_at_rest(&net);
    });
}

#[test]
fn what_waits_for_the_window_is_not_fetched_where_it_came_live() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        retain_50(&mut net, publisher);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a/+", QoS::ExactlyOnce);
        let first = next_if_any(&mut net, client).unwrap().message();
        let topic = if first.topic == "a/49" { "a/48" } else { "a/49" };
        Message::new(topic, "new").retained().exactly_once(1).publish(&mut net, publisher);
        acknowledge(&mut net, client, &first);
        let got = take_messages(&mut net, client);
        assert_eq!(of_topic(&got, topic), [("new", false)]);
        assert_eq!(got.len(), 49);
        assert_at_rest(&net);
    });
}

#[test]
fn what_was_dropped_live_is_replayed() {
    on_1_2_4(&Options { output_bytes_max: 100, ..Options::default() }, |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        retain_50(&mut net, publisher);
        let client = Login::v5("c").connect(&mut net);
        net.block(client);
        subscribe(&mut net, client, "a/+", QoS::AtMostOnce);
        Message::new("a/49", "new").retained().publish(&mut net, publisher);
        let got = take_all_blocked(&mut net, client);
        assert_eq!(of_topic(&got, "a/49").len(), 1);
        assert_eq!(got.len(), 50);
    });
}

// The first value came live; the last one did not, so that the replay is all there is of it.
#[test]
fn what_was_dropped_live_is_replayed_though_an_older_one_came_live() {
    let queue = QueueBounds { messages_max: 1, policy: FullPolicy::DropNewest, ..Options::default().queue };
    on_1_2_4(&Options { queue, ..Options::default() }, |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        retain_50(&mut net, publisher);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a/+", QoS::AtLeastOnce);
        let on_its_way = next_if_any(&mut net, client).unwrap().message();
        for payload in ["first", "last"] {
            Message::new("a/x", payload).retained().at_least_once(1).publish(&mut net, publisher);
        }
        acknowledge(&mut net, client, &on_its_way);
        let got = take_messages(&mut net, client);
        assert_eq!(of_topic(&got, "a/x"), [("first", false), ("last", true)]);
        assert_eq!(got.len(), 51);
    });
}

#[test]
fn what_only_others_were_sent_live_is_replayed() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        retain_50(&mut net, publisher);
        let other = Login::v5("d").connect(&mut net);
        subscribe(&mut net, other, "b", QoS::AtLeastOnce);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        // Its replay is under way all the time.
        subscribe(&mut net, client, "a/+", QoS::AtLeastOnce);
        let first = next_if_any(&mut net, client).unwrap().message();
        Message::new("b", "x").retained().at_least_once(1).publish(&mut net, publisher);
        subscribe(&mut net, client, "b", QoS::AtLeastOnce);
        acknowledge(&mut net, client, &first);
        let got = take_messages(&mut net, client);
        assert_eq!(of_topic(&got, "b"), [("x", true)]);
        assert_eq!(got.len(), 50);
    });
}

/// Each subscription has what was retained when it was made; and the replay of an earlier one has not.
#[test]
fn what_came_live_is_replayed_for_a_later_subscription() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        retain_50(&mut net, publisher);
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe_to(&mut net, client, Some(1), &[Ask::new("a/+", QoS::AtLeastOnce)]);
        let first = next_if_any(&mut net, client).unwrap().message();
        Message::new("a/x", "new").retained().at_least_once(1).publish(&mut net, publisher);
        subscribe_to(&mut net, client, Some(2), &[Ask::new("a/#", QoS::AtLeastOnce)]);
        acknowledge(&mut net, client, &first);
        let got = take_messages(&mut net, client);
        let of_x: Vec<_> = got.iter().filter(|message| message.topic == "a/x").collect();
        let of_x: Vec<_> = of_x.iter().map(|got| (got.retain, got.properties.subscription_ids())).collect();
        assert_eq!(of_x, [(false, vec![1]), (true, vec![2])]);
        assert_eq!(got.len(), 49 + 1 + 51);
        assert_at_rest(&net);
    });
}

// What the client had published itself came by its other subscription, and not by the one that is replayed.
#[test]
fn what_no_local_kept_back_does_not_stand_for_what_is_replayed() {
    let options = Options { output_bytes_max: 100, queue_qos_zero: true, ..Options::default() };
    on_1_2_4(&options, |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        retain_50(&mut net, publisher);
        let client = Login::v5("c").connect(&mut net);
        subscribe_to(&mut net, client, Some(1), &[Ask::new("#", QoS::AtMostOnce).retain_handling(2)]);
        net.block(client);
        subscribe_to(&mut net, client, Some(2), &[Ask::new("a/+", QoS::AtMostOnce).no_local()]);
        // The page, with what another client published, waits for room: the first shard's, which is asked first.
        let hasher = TopicHasher::new(options.seed);
        let home = |topic: &str| (u128::from(hasher.hash(topic).get()) * net.cores.len() as u128) >> 64;
        let topics = (0..50).map(|number| format!("a/{number:02}"));
        let topic = topics.rev().find(|topic| home(topic) == 0).expect("one of many");
        Message::new(&topic, "own").retained().publish(&mut net, client);
        let got = take_all_blocked(&mut net, client);
        assert_eq!(of_topic(&got, &topic), [("own", false), ("old", true)]);
    });
}

// What came live was older than the subscription, and older than what is retained: it was still in a ring when another
// shard's message had overtaken it.
#[test]
fn an_older_message_that_was_on_its_way_at_subscribe_does_not_stand_for_what_is_retained() {
    on_1_2_4(&Options::default(), |mut net| {
        let publishers = [0, 1, 2, 3].map(|number| Login::v5(&format!("p{number}")).connect(&mut net));
        let others = [0, 1, 2, 3].map(|number| Login::v5(&format!("d{number}")).connect(&mut net));
        let [client, late] = ["c", "e"].map(|id| Login::v5(id).connect(&mut net));
        for (number, steps) in (0..16).flat_map(|number| (0..STEPS).map(move |steps| (number, steps))) {
            let topic = format!("a/{number}/{steps}");
            // So that every shard knows the filter, and messages are on their way before.
            for other in others {
                subscribe(&mut net, other, &topic, QoS::AtMostOnce);
            }
            net.holds_mesh = true;
            for (publisher, payload) in [(number / 4, "overtaken"), (number % 4, "last")] {
                Message::new(&topic, payload).retained().at_least_once(1).publish(&mut net, publishers[publisher]);
            }
            let before = subscribe_and_hold(&mut net, client, 1, Ask::new(&topic, QoS::AtLeastOnce), steps);
            before.iter().for_each(|message| acknowledge(&mut net, client, message));
            go_on(&mut net);
            let mut got: Vec<_> = before.iter().map(|message| message.payload_text().to_owned()).collect();
            got.extend(take_payloads(&mut net, client));
            subscribe(&mut net, late, &topic, QoS::AtMostOnce);
            let retained = take_payloads(&mut net, late).pop();
            assert_eq!(got.last(), retained.as_ref(), "{got:?}");
            for other in others {
                assert_eq!(take_payloads(&mut net, other).len(), 2);
            }
        }
    });
}
