//! PUBLISH: its flags, its topic, its properties, and who gets it how.

use crate::client::{
    ALL_VERSIONS, Ask, Got, Login, Message, acknowledge, all, disconnect, expect_ack, expect_closed, expect_cut,
    expect_nothing, net_of, next, on_shards, packet, send_ack, subscribe, subscribe_to, take_message,
};
use crate::connect::Doorkeeper;
use crate::net::Net;
use thrum::base::{DropReason, Millis};
use thrum::broker::Options;
use thrum::mqtt::{AckType, PropertyId, QoS, ReasonCode, Version};

fn messages(got: Vec<Got>) -> Vec<Message> {
    got.into_iter().map(Got::message).collect()
}

// [MQTT-3.3.1-1]
#[test]
fn dup_is_set_where_a_message_is_sent_again() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            let login = Login::new(version, "c").resuming().expiry(100);
            let client = login.connect(&mut net);
            subscribe(&mut net, client, "a", QoS::ExactlyOnce);
            let publisher = Login::v5("p").connect(&mut net);
            Message::new("a", "1").at_least_once(1).publish(&mut net, publisher);
            Message::new("a", "2").exactly_once(2).publish(&mut net, publisher);
            let first = messages(all(&mut net, client));
            assert!(first.len() == 2 && first.iter().all(|message| !message.dup), "{first:?}");
            net.cut(client);
            let client = login.connect(&mut net);
            let again = messages(all(&mut net, client));
            assert_eq!(again, first.into_iter().map(Message::dup).collect::<Vec<_>>());
            again.iter().for_each(|message| acknowledge(&mut net, client, message));
            Login::new(version, "c").connect(&mut net);
        }
    });
}

// [MQTT-3.3.1-2] [MQTT-3.3.1-4]
#[test]
fn dup_of_qos_0_and_qos_3_end_the_connection() {
    for bytes in [[0x38, 4, 0, 1, b'a', 0], [0x36, 4, 0, 1, b'a', 0], [0x3e, 4, 0, 1, b'a', 0]] {
        let mut net = net_of(1);
        let client = Login::v5("c").connect(&mut net);
        net.send_bytes(client, &bytes);
        expect_cut(&mut net, client, ReasonCode::MalformedPacket);
        let client = Login::v3("c").connect(&mut net);
        net.send_bytes(client, &bytes);
        expect_closed(&mut net, client);
    }
}

// [MQTT-3.3.1-3]
#[test]
fn dup_of_a_publish_that_comes_is_not_passed_on() {
    on_shards(|mut net| {
        let client = Login::v5("c").connect(&mut net);
        subscribe(&mut net, client, "a", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "1").at_least_once(1).dup().publish(&mut net, publisher);
        Message::new("a", "2").exactly_once(2).dup().publish(&mut net, publisher);
        assert!(!take_message(&mut net, client).dup);
        assert!(!take_message(&mut net, client).dup);
    });
}

// [MQTT-3.3.2-1] [MQTT-3.3.2-2]
#[test]
fn a_publish_begins_with_a_topic_of_utf8_without_wildcards() {
    let cases: [(&[u8], ReasonCode); 7] = [
        (&[], ReasonCode::MalformedPacket),
        (&[0], ReasonCode::MalformedPacket),
        (&[0, 5, b'a'], ReasonCode::MalformedPacket),
        (&[0, 1, 0xff, 0], ReasonCode::MalformedPacket),
        (&[0, 0, 0], ReasonCode::ProtocolError),
        (&[0, 3, b'a', b'/', b'+', 0], ReasonCode::MalformedPacket),
        (&[0, 3, b'a', b'/', b'#', 0], ReasonCode::MalformedPacket),
    ];
    for (body, reason) in cases {
        let mut net = net_of(1);
        let client = Login::v5("c").connect(&mut net);
        net.send_bytes(client, &packet(0x30, body));
        expect_cut(&mut net, client, reason);
        let client = Login::v3("c").connect(&mut net);
        net.send_bytes(client, &packet(0x30, body));
        expect_closed(&mut net, client);
    }
}

// [MQTT-3.3.2-3]
#[test]
fn a_message_has_a_topic_that_the_filter_matches() {
    on_shards(|mut net| {
        let client = Login::v5("c").topic_alias_max(0).connect(&mut net);
        subscribe(&mut net, client, "a/+/c", QoS::AtMostOnce);
        let publisher = Login::v5("p").connect(&mut net);
        for topic in ["a", "a/b", "a/b/c", "a/b/c/d", "a//c", "b/b/c", "A/b/c"] {
            Message::new(topic, "").publish(&mut net, publisher);
        }
        let topics: Vec<String> = messages(all(&mut net, client)).into_iter().map(|message| message.topic).collect();
        assert_eq!(topics, ["a/b/c", "a//c"]);
    });
}

// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
#[test]
fn what_describes_a_message_arrives_unaltered() {
    let message = Message::new("a", "text")
        .with(PropertyId::UserProperty, ("b", "1"))
        .with(PropertyId::PayloadFormatIndicator, true)
        .with(PropertyId::ResponseTopic, "answer/to")
        .with(PropertyId::UserProperty, ("a", "2"))
        .with(PropertyId::CorrelationData, &[0u8, 255, 7][..])
        .with(PropertyId::ContentType, "text/plain")
        .with(PropertyId::UserProperty, ("b", "1"));
    on_shards(|mut net| {
        let first = Login::v5("first").connect(&mut net);
        subscribe(&mut net, first, "a", QoS::AtMostOnce);
        let second = Login::v5("second").connect(&mut net);
        subscribe(&mut net, second, "#", QoS::AtMostOnce);
        let old = Login::v3("old").connect(&mut net);
        subscribe(&mut net, old, "a", QoS::AtMostOnce);
        let publisher = Login::v5("p").connect(&mut net);
        message.clone().retained().publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, first), message);
        assert_eq!(take_message(&mut net, second), message);
        assert_eq!(take_message(&mut net, old), Message::new("a", "text"));
        let late = Login::v5("late").connect(&mut net);
        subscribe(&mut net, late, "a", QoS::AtMostOnce);
        assert_eq!(take_message(&mut net, late), message.clone().retained());
    });
}

// [MQTT-3.3.2-4]
#[test]
fn a_payload_format_of_zero_is_passed_on_too() {
    on_shards(|mut net| {
        let client = Login::v5("c").connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtMostOnce);
        let message = Message::new("a", "1").with(PropertyId::PayloadFormatIndicator, false);
        message.publish(&mut net, client);
        assert_eq!(take_message(&mut net, client), message);
    });
}

// [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19]
#[test]
fn response_topic_and_content_type_are_utf8_and_the_topic_has_no_wildcards() {
    let response = PropertyId::ResponseTopic as u8;
    let content = PropertyId::ContentType as u8;
    for (id, text, reason) in [
        (response, b"\xff", ReasonCode::MalformedPacket),
        (response, b"\0", ReasonCode::MalformedPacket),
        (response, b"+", ReasonCode::ProtocolError),
        (response, b"#", ReasonCode::ProtocolError),
        (content, b"\xff", ReasonCode::MalformedPacket),
        (content, b"\0", ReasonCode::MalformedPacket),
    ] {
        let mut net = net_of(1);
        let client = Login::v5("c").connect(&mut net);
        net.send_bytes(client, &packet(0x30, &[0, 1, b'a', 4, id, 0, 1, text[0]]));
        expect_cut(&mut net, client, reason);
    }
}

// [MQTT-3.3.2-5]
#[test]
fn a_message_that_waited_longer_than_its_life_is_dropped() {
    on_shards(|mut net| {
        let login = Login::v5("c").resuming().expiry(1_000);
        let client = login.connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        net.cut(client);
        let publisher = Login::v5("p").keep_alive(0).connect(&mut net);
        let expiring =
            |secs: u32| Message::new("a", "1").at_least_once(1).with(PropertyId::MessageExpiryInterval, secs);
        expiring(10).publish(&mut net, publisher);
        expiring(5).retained().publish(&mut net, publisher);
        net.advance(Millis(10_000));
        let client = login.connect(&mut net);
        expect_nothing(&mut net, client);
        let dropped: u64 = net.cores.iter().map(|core| core.counters().dropped(DropReason::Expired)).sum();
        assert_eq!(dropped, 2);
        // The retained message has come to its end too.
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        expect_nothing(&mut net, client);
        assert_eq!(net.cores.iter().map(|core| core.retained_len()).sum::<usize>(), 0);
    });
}

// [MQTT-3.3.2-6]
#[test]
fn the_expiry_interval_is_less_by_the_time_that_a_message_waited() {
    on_shards(|mut net| {
        let login = Login::v5("c").resuming().expiry(1_000).keep_alive(0);
        let client = login.connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        let publisher = Login::v5("p").keep_alive(0).connect(&mut net);
        let message = Message::new("a", "1").at_least_once(1).with(PropertyId::MessageExpiryInterval, 100u32);
        let left = |message: &Message| message.properties.number(PropertyId::MessageExpiryInterval);
        message.publish(&mut net, publisher);
        assert_eq!(left(&take_message(&mut net, client)), Some(100));
        net.cut(client);
        message.clone().retained().publish(&mut net, publisher);
        net.advance(Millis(30_000));
        let client = login.connect(&mut net);
        assert_eq!(left(&take_message(&mut net, client)), Some(70));
        net.advance(Millis(20_000));
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        assert_eq!(left(&take_message(&mut net, client)), Some(50));
    });
}

// [MQTT-3.3.4-1]
#[test]
fn a_publish_is_answered_as_its_qos_asks() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            let client = Login::new(version, "c").connect(&mut net);
            Message::new("a", "0").send(&mut net, client);
            expect_nothing(&mut net, client);
            Message::new("a", "1").at_least_once(5).send(&mut net, client);
            expect_ack(&mut net, client, AckType::PubAck, 5);
            Message::new("a", "2").exactly_once(6).send(&mut net, client);
            expect_ack(&mut net, client, AckType::PubRec, 6);
            send_ack(&mut net, client, AckType::PubRel, 6);
            expect_ack(&mut net, client, AckType::PubComp, 6);
            expect_nothing(&mut net, client);
        }
    });
}

// [MQTT-3.3.4-2]
#[test]
fn overlapping_subscriptions_deliver_with_the_highest_qos() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            let client = Login::new(version, "c").connect(&mut net);
            subscribe(&mut net, client, "a/#", QoS::AtLeastOnce);
            subscribe(&mut net, client, "a/b", QoS::AtMostOnce);
            subscribe(&mut net, client, "+/b", QoS::ExactlyOnce);
            let publisher = Login::v5("p").connect(&mut net);
            Message::new("a/b", "1").exactly_once(1).publish(&mut net, publisher);
            let got: Vec<QoS> = std::iter::from_fn(|| {
                crate::client::next_if_any(&mut net, client).map(|got| {
                    let message = got.message();
                    acknowledge(&mut net, client, &message);
                    message.qos
                })
            })
            .collect();
            assert_eq!(got, [QoS::ExactlyOnce]);
            Message::new("a/c", "1").exactly_once(1).publish(&mut net, publisher);
            assert_eq!(take_message(&mut net, client).qos, QoS::AtLeastOnce);
        }
    });
}

// [MQTT-3.3.4-3] [MQTT-3.3.4-4]
#[test]
fn a_message_names_all_subscriptions_that_it_comes_from() {
    on_shards(|mut net| {
        let client = Login::v5("c").connect(&mut net);
        subscribe_to(&mut net, client, Some(1), &[Ask::new("a/#", QoS::AtLeastOnce)]);
        subscribe_to(&mut net, client, Some(268_435_455), &[Ask::new("a/b", QoS::AtMostOnce)]);
        subscribe_to(&mut net, client, None, &[Ask::new("+/b", QoS::AtMostOnce)]);
        subscribe_to(&mut net, client, Some(300), &[Ask::new("x", QoS::AtMostOnce), Ask::new("#", QoS::AtMostOnce)]);
        let publisher = Login::v5("p").connect(&mut net);
        for (topic, ids) in [("a/b", &[1, 300, 268_435_455][..]), ("c/b", &[300]), ("a/x", &[1, 300])] {
            Message::new(topic, "1").publish(&mut net, publisher);
            let got = messages(all(&mut net, client));
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].properties.subscription_ids(), ids);
        }
    });
}

// [MQTT-3.3.4-5]
#[test]
fn of_several_copies_each_names_its_own_subscription() {
    on_shards(|mut net| {
        let client = Login::v5("c").connect(&mut net);
        subscribe_to(&mut net, client, Some(1), &[Ask::new("a", QoS::AtMostOnce)]);
        subscribe_to(&mut net, client, Some(2), &[Ask::new("$share/g/a", QoS::AtMostOnce)]);
        subscribe_to(&mut net, client, None, &[Ask::new("$share/h/a", QoS::AtMostOnce)]);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a", "1").publish(&mut net, publisher);
        let mut ids: Vec<Vec<u32>> =
            messages(all(&mut net, client)).iter().map(|message| message.properties.subscription_ids()).collect();
        ids.sort();
        assert_eq!(ids, [vec![], vec![1], vec![2]]);
    });
}

// [MQTT-3.3.4-6]
#[test]
fn a_subscription_identifier_from_a_client_ends_the_connection() {
    let mut net = net_of(1);
    let client = Login::v5("c").connect(&mut net);
    net.send_bytes(client, &packet(0x30, &[0, 1, b'a', 2, 0x0b, 1]));
    expect_cut(&mut net, client, ReasonCode::ProtocolError);
}

// [MQTT3-3.3.5-2]
#[test]
fn a_publish_without_the_right_to_it_is_refused_in_5_and_acknowledged_before() {
    let mut net = Net::guarded(Options { shards: 3, ..Options::default() }, || Box::new(Doorkeeper));
    let watcher = Login::v5("watcher").connect(&mut net);
    subscribe(&mut net, watcher, "#", QoS::AtMostOnce);
    for version in ALL_VERSIONS {
        let client = Login::new(version, "c").connect(&mut net);
        Message::new("secret/a", "").publish(&mut net, client);
        let refused = if version == Version::V5 { ReasonCode::NotAuthorized } else { ReasonCode::Success };
        assert_eq!(Message::new("secret/a", "").at_least_once(1).publish(&mut net, client), refused);
        assert_eq!(Message::new("secret/a", "").exactly_once(1).publish(&mut net, client), refused);
        expect_nothing(&mut net, client);
        expect_nothing(&mut net, watcher);
    }
}

#[test]
fn nobody_publishes_to_a_topic_of_the_broker() {
    let mut net = net_of(1);
    let client = Login::v5("c").connect(&mut net);
    subscribe(&mut net, client, "$SYS/#", QoS::AtMostOnce);
    let refused = Message::new("$SYS/x", "").at_least_once(1).publish(&mut net, client);
    assert_eq!(refused, ReasonCode::TopicNameInvalid);
    Message::new("$SYS/x", "").publish(&mut net, client);
    expect_nothing(&mut net, client);
}

#[test]
fn text_that_is_none_is_refused_where_that_is_asked_for() {
    for (validate_payload_format, reason) in
        [(true, ReasonCode::PayloadFormatInvalid), (false, ReasonCode::NoMatchingSubscribers)]
    {
        let mut net = Net::new(Options { validate_payload_format, ..Options::default() });
        let client = Login::v5("c").connect(&mut net);
        let mut message = Message::new("a", "").at_least_once(1).with(PropertyId::PayloadFormatIndicator, true);
        message.payload = vec![0xff];
        assert_eq!(message.publish(&mut net, client), reason);
        let bytes = Message { properties: crate::client::Props::default(), ..message };
        assert_eq!(bytes.publish(&mut net, client), ReasonCode::NoMatchingSubscribers);
    }
}

// [MQTT-3.3.4-7]
#[test]
fn more_publishes_under_way_than_our_receive_maximum_end_the_connection() {
    let mut net = Net::new(Options { receive_max: 2, ..Options::default() });
    let client = Login::v5("c").connect(&mut net);
    // Those of QoS 1 are answered at once, and those of QoS 2 count until PUBCOMP.
    for id in 1..=5 {
        Message::new("a", "").at_least_once(id).publish(&mut net, client);
    }
    for id in 1..=2 {
        Message::new("a", "").exactly_once(id).send(&mut net, client);
        expect_ack(&mut net, client, AckType::PubRec, id);
    }
    send_ack(&mut net, client, AckType::PubRel, 1);
    expect_ack(&mut net, client, AckType::PubComp, 1);
    Message::new("a", "").exactly_once(3).send(&mut net, client);
    expect_ack(&mut net, client, AckType::PubRec, 3);
    Message::new("a", "").exactly_once(4).send(&mut net, client);
    expect_cut(&mut net, client, ReasonCode::ReceiveMaximumExceeded);
}

// [MQTT-3.3.4-9]
#[test]
fn a_client_never_has_more_under_way_than_it_said() {
    on_shards(|mut net| {
        let client = Login::v5("c").receive_max(3).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        for id in 1..=10 {
            Message::new("a", &id.to_string()).exactly_once(id).publish(&mut net, publisher);
            Message::new("a", "0").publish(&mut net, publisher);
        }
        let got = messages(all(&mut net, client));
        let under_way: Vec<&Message> = got.iter().filter(|message| message.qos != QoS::AtMostOnce).collect();
        assert_eq!(under_way.len(), 3);
        // PUBREC does not make room, PUBCOMP does.
        send_ack(&mut net, client, AckType::PubRec, under_way[0].id);
        expect_ack(&mut net, client, AckType::PubRel, under_way[0].id);
        expect_nothing(&mut net, client);
        send_ack(&mut net, client, AckType::PubComp, under_way[0].id);
        assert_eq!(next(&mut net, client).message().payload_text(), "4");
        expect_nothing(&mut net, client);
        // A PUBREC that refuses makes room too.
        crate::client::send_ack_with(&mut net, client, AckType::PubRec, under_way[1].id, ReasonCode::QuotaExceeded);
        assert_eq!(next(&mut net, client).message().payload_text(), "5");
        expect_nothing(&mut net, client);
        disconnect(&mut net, client);
    });
}

// [MQTT-3.3.4-10]
#[test]
fn a_full_window_holds_back_publishes_only() {
    on_shards(|mut net| {
        let client = Login::v5("c").receive_max(1).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        for id in 1..=2 {
            Message::new("a", "1").exactly_once(id).publish(&mut net, publisher);
        }
        let waiting = next(&mut net, client).message();
        expect_nothing(&mut net, client);
        net.send_bytes(client, &[0xc0, 0]);
        assert_eq!(next(&mut net, client), Got::PingResp);
        subscribe(&mut net, client, "b", QoS::AtMostOnce);
        Message::new("c", "").exactly_once(1).publish(&mut net, client);
        send_ack(&mut net, client, AckType::PubRec, waiting.id);
        expect_ack(&mut net, client, AckType::PubRel, waiting.id);
    });
}
