//! Every bound that a client can run into, and how it is told.

use thrum::base::limits::{AUTH_DATA_BYTES_MAX, REPLAYS_APART_MAX, SUBSCRIBES_PENDING_MAX};
use thrum::base::{DropReason, Refusal};
use thrum::broker::{Options, ShardCore};
use thrum::mqtt::{QoS, ReasonCode, Version};
use thrum::session::{FullPolicy, QueueBounds};

use crate::client::{
    Ask, Got, LastWill, Login, Message, acknowledge, all, ask_for, assert_at_rest, disconnect, expect_ack,
    expect_closed, expect_cut, expect_nothing, next, on_1_2_4, packet, subscribe, subscribe_bytes, sum, take_payloads,
    unsubscribe,
};
use crate::net::{Client, Net};

fn refused(net: &Net, refusal: Refusal) -> u64 {
    sum(net, |core| core.counters().refused(refusal))
}

fn dropped(net: &Net, reason: DropReason) -> u64 {
    sum(net, |core| core.counters().dropped(reason))
}

#[test]
fn a_connection_too_many_is_closed() {
    let mut net = Net::new(Options { connections_max: 2, ..Options::default() });
    let clients = ["a", "b"].map(|id| Login::v5(id).connect(&mut net));
    let third = Login::v5("c").send(&mut net);
    expect_closed(&mut net, third);
    assert_eq!(refused(&net, Refusal::TooManyConnections), 1);
    disconnect(&mut net, clients[0]);
    Login::v5("c").connect(&mut net);
}

#[test]
fn a_session_too_many_is_refused_with_quota_exceeded() {
    for (version, reason) in
        [(Version::V5, ReasonCode::QuotaExceeded), (Version::V3_1_1, ReasonCode::ServerUnavailable)]
    {
        let mut net = Net::new(Options { sessions_max: 2, ..Options::default() });
        for id in ["a", "b"] {
            let client = Login::v5(id).expiry(100).connect(&mut net);
            disconnect(&mut net, client);
        }
        assert_eq!(Login::new(version, "c").refused(&mut net), reason);
        assert_eq!(refused(&net, Refusal::TooManySessions), 1);
        let client = Login::v5("a").connect(&mut net);
        disconnect(&mut net, client);
        Login::new(version, "c").connect(&mut net);
    }
}

#[test]
fn a_subscription_too_many_is_refused_with_quota_exceeded() {
    on_1_2_4(&Options { subscriptions_max: 3, ..Options::default() }, |mut net| {
        let client = Login::v5("c").connect(&mut net);
        let asks = ["a", "$share/g/a", "b", "c", "$share/g/c"].map(|filter| Ask::new(filter, QoS::AtLeastOnce));
        assert_eq!(ask_for(&mut net, client, None, &asks), [1, 1, 1, 0x97, 0x97]);
        assert_eq!(ask_for(&mut net, client, None, &asks[..3]), [1, 1, 1], "what is there may be replaced");
        assert_eq!(refused(&net, Refusal::TooManySubscriptions), 2);
        assert_eq!(unsubscribe(&mut net, client, "$share/g/a"), [0]);
        assert_eq!(ask_for(&mut net, client, None, &asks[3..4]), [1]);
        let old = Login::v3("old").connect(&mut net);
        assert_eq!(ask_for(&mut net, old, None, &asks[..4]), [1, 1, 1, 0x80]);
    });
}

#[test]
fn a_topic_too_deep_is_invalid_wherever_it_stands() {
    on_1_2_4(&Options { topic_levels_max: 4, ..Options::default() }, |mut net| {
        let client = Login::v5("c").connect(&mut net);
        let asks = ["a/b/c/d", "+/+/+/+", "$share/g/a/b/c/#", "a/b/c/d/e", "$share/g/a/b/c/d/#"];
        let asks = asks.map(|filter| Ask::new(filter, QoS::AtMostOnce));
        assert_eq!(ask_for(&mut net, client, None, &asks), [0, 0, 0, 0x8f, 0x8f]);
        let client = Login::v5("p").connect(&mut net);
        assert_eq!(Message::new("a/b/c/d", "x").at_least_once(1).publish(&mut net, client), ReasonCode::Success);
        for message in [Message::new("a/b/c/d/e", "x").at_least_once(1), Message::new("a/b/c/d/e", "x").exactly_once(1)]
        {
            assert_eq!(message.publish(&mut net, client), ReasonCode::TopicNameInvalid);
        }
        Message::new("////", "x").publish(&mut net, client);
        assert_eq!(refused(&net, Refusal::TopicTooDeep), 5);
        let will = Login::v5("w").will(LastWill::new("a/b/c/d/e", "x")).refused(&mut net);
        assert_eq!(will, ReasonCode::TopicNameInvalid);
    });
}

#[test]
fn a_packet_too_large_ends_the_connection_as_soon_as_its_header_says_so() {
    on_1_2_4(&Options { packet_bytes_max: 256, ..Options::default() }, |mut net| {
        let client = Login::v5("c").connect(&mut net);
        let publish = |bytes: usize| packet(0x30, &[&[0, 1, b't', 0][..], &vec![0; bytes - 7]].concat());
        net.send_bytes(client, &publish(256));
        expect_nothing(&mut net, client);
        net.send_bytes(client, &publish(257)[..3]);
        expect_cut(&mut net, client, ReasonCode::PacketTooLarge);
        assert_eq!(refused(&net, Refusal::BadPacket), 1);
    });
}

#[test]
fn an_authentication_that_brings_too_much_is_refused() {
    let method = "SCRAM-SHA-256";
    let few = std::num::NonZeroU32::new(2).unwrap();
    let mut net = Net::guarded(Options::default(), || Box::new(crate::users::guard(&[("n", "x")], few, false)));
    let login = Login::v5("c").with(|properties| {
        properties.push_text(thrum::mqtt::PropertyId::AuthenticationMethod, method);
        properties.push_binary(thrum::mqtt::PropertyId::AuthenticationData, &vec![b'n'; AUTH_DATA_BYTES_MAX + 1]);
    });
    assert_eq!(login.refused(&mut net), ReasonCode::NotAuthorized);
    assert_eq!(refused(&net, Refusal::Connect), 1);
}

#[test]
fn subscriptions_that_wait_are_bounded_and_a_client_that_adds_to_them_is_cut_off() {
    let mut net = Net::new(Options { durable: true, ..Options::default() });
    let client = Login::v5("c").expiry(100).connect(&mut net);
    let other = Login::v5("o").expiry(100).connect(&mut net);
    net.commits = false;
    let some = subscribe_bytes(1, None, &[Ask::new("t", QoS::AtMostOnce)]).repeat(1 << 10);
    for _ in 0..SUBSCRIBES_PENDING_MAX >> 10 {
        net.send_bytes(client, &some);
        net.records.clear();
    }
    expect_nothing(&mut net, client);
    net.send_bytes(other, &some);
    expect_cut(&mut net, other, ReasonCode::QuotaExceeded);
    net.commit();
    assert_eq!(net.take_bytes(client).len(), SUBSCRIBES_PENDING_MAX * 6);
    assert_at_rest(&net);
}

/// A session with a queue of three places, whose client is away or has a window of one that is full.
fn full(net: &mut Net, is_there: bool) -> Client {
    let login = Login::v5("s").expiry(1_000).receive_max(1);
    let subscriber = login.connect(net);
    subscribe(net, subscriber, "#", QoS::AtLeastOnce);
    let publisher = Login::v5("p").connect(net);
    if is_there {
        Message::new("first", "first").at_least_once(1).publish(net, publisher);
    } else {
        net.cut(subscriber);
    }
    for (topic, payload) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("d", "5"), ("b", "6")] {
        Message::new(topic, payload).at_least_once(1).publish(net, publisher);
    }
    if is_there { subscriber } else { login.resuming().connect(net) }
}

fn on_full_queues(policy: FullPolicy, test: impl Fn(Net)) {
    for bounds in [(3, 1 << 20), (1_000, 315)] {
        for durable in [false, true] {
            let queue = QueueBounds { messages_max: bounds.0, bytes_max: bounds.1, policy };
            on_1_2_4(&Options { queue, durable, ..Options::default() }, &test);
        }
    }
}

#[test]
fn a_full_queue_drops_the_newest_the_oldest_or_all_but_the_last_value() {
    let policies = [
        (FullPolicy::DropNewest, ["1", "2", "3"], DropReason::QueueFullNewest),
        (FullPolicy::DropOldest, ["4", "5", "6"], DropReason::QueueFullOldest),
    ];
    for (policy, kept, reason) in policies {
        for is_there in [false, true] {
            on_full_queues(policy, |mut net| {
                let subscriber = full(&mut net, is_there);
                let got = take_payloads(&mut net, subscriber);
                assert_eq!(got[usize::from(is_there)..], kept);
                assert_eq!(dropped(&net, reason), 3);
                assert_eq!(sum(&net, |core| core.counters().dropped_in_all()), 3);
                assert_at_rest(&net);
            });
        }
    }
    on_full_queues(FullPolicy::LastValue, |mut net| {
        let subscriber = full(&mut net, false);
        // `3` took the place of `1`, the oldest place, and went with it when `d` came.
        assert_eq!(take_payloads(&mut net, subscriber), ["6", "4", "5"]);
        assert_eq!(dropped(&net, DropReason::LastValueReplaced), 2);
        assert_eq!(dropped(&net, DropReason::QueueFullOldest), 1);
    });
}

#[test]
fn a_full_queue_ends_the_connection_where_that_is_its_policy() {
    on_full_queues(FullPolicy::Disconnect, |mut net| {
        let subscriber = full(&mut net, true);
        assert_eq!(next(&mut net, subscriber).message().payload_text(), "first");
        expect_cut(&mut net, subscriber, ReasonCode::QuotaExceeded);
        assert_eq!(dropped(&net, DropReason::QueueFullDisconnect), 3);
        let subscriber = Login::v5("s").expiry(1_000).resuming().connect(&mut net);
        assert_eq!(take_payloads(&mut net, subscriber), ["first", "1", "2", "3"]);
    });
}

// Closing a connection in the midst of a delivery ended sessions that the delivery still had before it, and that of the
// publisher before its publish was acknowledged.
#[test]
fn a_full_queue_may_be_the_publishers_own_and_its_end_may_end_others() {
    let queue = QueueBounds { messages_max: 1, bytes_max: 1 << 20, policy: FullPolicy::Disconnect };
    for durable in [false, true] {
        on_1_2_4(&Options { queue, durable, ..Options::default() }, |mut net| {
            let clients: Vec<Client> = (0..6)
                .map(|number| {
                    let login = Login::v5(&format!("c{number}")).receive_max(1);
                    let client = login.will(LastWill::new("t", "will").qos(QoS::AtLeastOnce)).connect(&mut net);
                    subscribe(&mut net, client, "t", QoS::AtLeastOnce);
                    client
                })
                .collect();
            for id in 1..=3 {
                Message::new("t", "x").at_least_once(id).send(&mut net, clients[0]);
            }
            assert!(clients.iter().all(|&client| net.is_closed(client)));
            let got = all(&mut net, clients[0]);
            assert!(matches!(got.last(), Some(Got::Disconnect { reason: ReasonCode::QuotaExceeded, .. })), "{got:?}");
            assert_eq!(sum(&net, ShardCore::sessions_len), 0);
            assert_at_rest(&net);
        });
    }
}

#[test]
fn a_socket_that_takes_nothing_drops_qos_0_and_keeps_the_rest() {
    on_1_2_4(&Options { output_bytes_max: 1_000, ..Options::default() }, |mut net| {
        let subscriber = Login::v5("s").connect(&mut net);
        subscribe(&mut net, subscriber, "t", QoS::AtLeastOnce);
        let publisher = Login::v5("p").connect(&mut net);
        net.block(subscriber);
        for number in 0..100 {
            Message::new("t", &format!("0 {number:098}")).publish(&mut net, publisher);
            Message::new("t", &format!("1 {number:098}")).at_least_once(1).publish(&mut net, publisher);
        }
        let waiting = all(&mut net, subscriber).len();
        assert!(waiting < 12, "{waiting} messages of 100 bytes wait in 1,000");
        let lost = dropped(&net, DropReason::QosZeroSlow);
        assert!((90..100).contains(&lost), "{lost}");
        net.unblock(subscriber);
        let got = take_payloads(&mut net, subscriber);
        assert_eq!(waiting + got.len() + lost as usize, 200);
        assert!(got.iter().all(|payload| payload.starts_with('1')) && got.is_sorted());
    });
}

// Answers to a client that reads nothing were kept without end.
#[test]
fn a_client_that_asks_without_reading_is_not_read_from() {
    on_1_2_4(&Options { output_bytes_max: 1_000, ..Options::default() }, |mut net| {
        let client = Login::v5("c").keep_alive(0).connect(&mut net);
        net.block(client);
        for _ in 0..10 {
            net.send_bytes(client, &[0xc0, 0].repeat(1_000));
        }
        let mut answered = net.take_bytes(client).len();
        assert!(answered <= 2_002, "{answered} bytes wait in 1,000");
        for _ in 0..20 {
            net.take_waiting(client);
            let more = net.take_bytes(client).len();
            assert!(more <= 2_002, "{more}");
            answered += more;
        }
        assert_eq!(answered, 2 * 10_000);
        expect_nothing(&mut net, client);
        let other = Login::v5("o").connect(&mut net);
        Message::new("t", "x").at_least_once(1).send(&mut net, other);
        expect_ack(&mut net, other, thrum::mqtt::AckType::PubAck, 1);
    });
}

// Each SUBSCRIBE of a filter began one more replay of its retained messages, whatever came of those before: a client
// that acknowledged nothing made them grow without end.
#[test]
fn subscribing_again_and_again_leaves_few_replays_to_do() {
    on_1_2_4(&Options::default(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        for topic in ["t/1", "t/2", "t/3"] {
            Message::new(topic, topic).retained().at_least_once(1).publish(&mut net, publisher);
        }
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        let mut messages: Vec<Message> = Vec::new();
        for id in 1..=1_000 {
            net.send_bytes(client, &subscribe_bytes(id, None, &[Ask::new("t/#", QoS::AtLeastOnce)]));
            messages.extend(all(&mut net, client).into_iter().filter_map(|got| match got {
                Got::Publish(message) => Some(message),
                _ => None,
            }));
        }
        assert_eq!(messages.len(), 1, "the window is full");
        acknowledge(&mut net, client, &messages[0]);
        // One subscription's, and those of the subscriptions since the last time they became one.
        let rest = take_payloads(&mut net, client);
        assert!((3..=3 * (REPLAYS_APART_MAX + 1)).contains(&rest.len()), "{}", rest.len());
        assert!(["t/1", "t/2", "t/3"].iter().all(|topic| rest.iter().any(|payload| payload == topic)), "{rest:?}");
    });
}
