//! Acknowledge after the commit: what must survive is on disk before its sender is told, and nothing else waits for it.

use thrum::base::Millis;
use thrum::broker::{Options, Record, ShardCore};
use thrum::mqtt::{AckType, PropertyId, QoS, ReasonCode};
use thrum::session::{FullPolicy, QueueBounds};

use crate::client::{
    Ask, Got, LastWill, Login, Message, all, assert_at_rest, disconnect, durable, expect_ack, expect_nothing, keeper,
    next, on_1_2_4, packet, records, send_ack, send_v5, subscribe, subscribe_bytes, sum, take_message, unsubscribe,
};
use crate::net::Net;

// [MQTT-4.3.2-4] [MQTT-4.3.3-8]
#[test]
fn an_acknowledgement_waits_until_every_shard_has_stored_the_message() {
    on_1_2_4(&durable(), |mut net| {
        for number in 0..8 {
            keeper(&mut net, &format!("s{number}"), "t");
        }
        let publisher = Login::v5("p").connect(&mut net);
        net.commits = false;
        for (message, ack) in [
            (Message::new("t", "x").at_least_once(1), AckType::PubAck),
            (Message::new("t", "x").exactly_once(2), AckType::PubRec),
        ] {
            net.records.clear();
            message.send(&mut net, publisher);
            let mut stored: Vec<usize> = net
                .records
                .iter()
                .filter_map(|record| match record {
                    Record::Queued { session, .. } => Some(session.shard().index()),
                    _ => None,
                })
                .collect();
            assert_eq!(stored.len(), 8);
            stored.sort_unstable();
            stored.dedup();
            for &shard in &stored {
                expect_nothing(&mut net, publisher);
                net.commit_one(shard);
            }
            expect_ack(&mut net, publisher, ack, message.id);
        }
    });
}

#[test]
fn what_nobody_keeps_waits_for_nothing() {
    on_1_2_4(&durable(), |mut net| {
        let subscriber = Login::v5("s").connect(&mut net);
        net.commits = false;
        send_v5(&mut net, subscriber, &subscribe_bytes(1, None, &[Ask::new("t", QoS::ExactlyOnce)]));
        assert!(matches!(next(&mut net, subscriber), Got::SubAck { id: 1, .. }));
        let publisher = Login::v5("p").connect(&mut net);
        for message in
            [Message::new("t", "0"), Message::new("t", "1").at_least_once(1), Message::new("t", "2").exactly_once(2)]
        {
            assert_eq!(message.publish(&mut net, publisher), ReasonCode::Success);
            assert_eq!(take_message(&mut net, subscriber).payload, message.payload);
        }
        assert_eq!(unsubscribe(&mut net, subscriber, "t"), [0]);
        disconnect(&mut net, subscriber);
        assert_eq!(records(&mut net), [""; 0]);
        assert_at_rest(&net);
    });
}

#[test]
fn a_subscriber_gets_its_message_without_waiting_for_the_commit() {
    on_1_2_4(&durable(), |mut net| {
        let subscriber = keeper(&mut net, "s", "t");
        let publisher = Login::v5("p").connect(&mut net);
        net.commits = false;
        Message::new("t", "0").publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, subscriber).payload_text(), "0");
        Message::new("t", "1").at_least_once(1).send(&mut net, publisher);
        assert_eq!(take_message(&mut net, subscriber).payload_text(), "1");
        expect_nothing(&mut net, publisher);
        net.commit();
        expect_ack(&mut net, publisher, AckType::PubAck, 1);
    });
}

// [MQTT-3.8.4-1]
#[test]
fn the_suback_of_a_session_that_stays_waits_for_its_commit() {
    on_1_2_4(&durable(), |mut net| {
        for filter in ["t/+", "$share/g/t"] {
            net.commits = true;
            let client = Login::v5("s").expiry(1_000).connect(&mut net);
            net.commits = false;
            send_v5(&mut net, client, &subscribe_bytes(7, None, &[Ask::new(filter, QoS::AtLeastOnce)]));
            expect_nothing(&mut net, client);
            net.commit();
            assert!(matches!(next(&mut net, client), Got::SubAck { id: 7, .. }));
        }
    });
}

// [MQTT-3.1.2-4]
#[test]
fn who_begins_anew_is_told_when_the_end_of_the_session_before_is_stored() {
    on_1_2_4(&durable(), |mut net| {
        let before = keeper(&mut net, "s", "t");
        disconnect(&mut net, before);
        net.commits = false;
        let client = Login::v5("s").expiry(1_000).send(&mut net);
        expect_nothing(&mut net, client);
        net.commit();
        assert!(matches!(next(&mut net, client), Got::ConnAck { session_present: false, .. }));
    });
}

#[test]
fn a_retained_message_is_stored_before_its_acknowledgement() {
    on_1_2_4(&durable(), |mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        net.commits = false;
        for (number, payload) in ["x", ""].into_iter().enumerate() {
            let id = number as u16 + 1;
            Message::new("t", payload).retained().at_least_once(id).send(&mut net, publisher);
            expect_nothing(&mut net, publisher);
            net.commit();
            expect_ack(&mut net, publisher, AckType::PubAck, id);
        }
        assert_eq!(records(&mut net), ["Retained", "RetainedCleared"]);
        assert_eq!(sum(&net, ShardCore::retained_len), 0);
    });
}

#[test]
fn each_change_of_a_session_that_stays_is_a_record() {
    on_1_2_4(&durable(), |mut net| {
        let login = Login::v5("s").expiry(1_000);
        let subscriber = login.connect(&mut net);
        subscribe(&mut net, subscriber, "t", QoS::ExactlyOnce);
        assert_eq!(records(&mut net), ["SessionStarted", "Subscribed"]);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        take_message(&mut net, subscriber);
        assert_eq!(records(&mut net), ["Message", "Queued", "Dequeued"]);
        Message::new("t", "x").exactly_once(1).publish(&mut net, publisher);
        let message = next(&mut net, subscriber).message();
        send_ack(&mut net, subscriber, AckType::PubRec, message.id);
        assert_eq!(records(&mut net), ["Message", "Queued", "Received"]);
        net.cut(subscriber);
        Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        assert_eq!(records(&mut net), ["SessionLeft", "Message", "Queued"]);
        let subscriber = login.resuming().connect(&mut net);
        expect_ack(&mut net, subscriber, AckType::PubRel, message.id);
        send_ack(&mut net, subscriber, AckType::PubComp, message.id);
        take_message(&mut net, subscriber);
        assert_eq!(records(&mut net), ["SessionResumed", "Sent", "Completed", "Dequeued"]);
        unsubscribe(&mut net, subscriber, "t");
        Message::new("t", "x").exactly_once(9).publish(&mut net, subscriber);
        assert_eq!(records(&mut net), ["Unsubscribed", "Accepted", "Released"]);
        disconnect(&mut net, subscriber);
        net.advance(Millis::from_secs(1_001));
        assert_eq!(records(&mut net), ["SessionLeft", "SessionEnded"]);
    });
}

// A log that ends between the two would take the repeated PUBLISH for a duplicate of a message that nobody has.
// [MQTT-4.3.3-8]
#[test]
fn that_a_message_was_taken_over_is_recorded_after_the_message() {
    let mut net = Net::new(durable());
    keeper(&mut net, "s", "t");
    let publisher = Login::v5("p").expiry(1_000).connect(&mut net);
    records(&mut net);
    Message::new("t", "x").retained().exactly_once(1).send(&mut net, publisher);
    assert_eq!(records(&mut net), ["Retained", "Message", "Queued", "Accepted"]);
}

// Were PUBCOMP on its way before, the next message with the identifier could be taken for a duplicate after a crash.
// [MQTT-4.3.3-11] [MQTT-4.3.3-12]
#[test]
fn pubcomp_waits_until_the_release_is_stored() {
    on_1_2_4(&durable(), |mut net| {
        let publisher = Login::v5("p").expiry(1_000).connect(&mut net);
        Message::new("t", "x").exactly_once(1).send(&mut net, publisher);
        expect_ack(&mut net, publisher, AckType::PubRec, 1);
        net.commits = false;
        send_ack(&mut net, publisher, AckType::PubRel, 1);
        expect_nothing(&mut net, publisher);
        net.commit();
        assert_eq!(expect_ack(&mut net, publisher, AckType::PubComp, 1), ReasonCode::Success);
        send_ack(&mut net, publisher, AckType::PubRel, 1);
        assert_eq!(expect_ack(&mut net, publisher, AckType::PubComp, 1), ReasonCode::PacketIdentifierNotFound);
        assert_at_rest(&net);
    });
}

// The log kept a session that had become one without a tomorrow, and gave it back after a restart.
// [MQTT-4.1.0-2]
#[test]
fn a_session_that_is_not_to_stay_any_more_ends_in_the_log() {
    on_1_2_4(&durable(), |mut net| {
        let client = Login::v5("s").expiry(1_000).connect(&mut net);
        net.send_bytes(client, &packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0]));
        assert_eq!(records(&mut net), ["SessionStarted", "SessionLeft", "SessionEnded"]);
        let client = Login::v5("s").expiry(1_000).connect(&mut net);
        disconnect(&mut net, client);
        let (client, present) = Login::v5("s").resuming().present(&mut net);
        assert!(present);
        assert_eq!(records(&mut net), ["SessionStarted", "SessionLeft", "SessionResumed"]);
        disconnect(&mut net, client);
        assert_eq!(records(&mut net), ["SessionLeft", "SessionEnded"]);
    });
}

// A Will that was put off and then discarded stayed in the log.
// [MQTT-3.1.3-9]
#[test]
fn a_will_that_is_discarded_is_gone_from_the_log() {
    on_1_2_4(&durable(), |mut net| {
        let will = LastWill::new("will", "x").delayed(100);
        let client = Login::v5("s").expiry(1_000).will(will).connect(&mut net);
        net.cut(client);
        records(&mut net);
        Login::v5("s").expiry(1_000).resuming().connect(&mut net);
        let mut made = records(&mut net);
        made.sort_unstable();
        assert_eq!(made, ["SessionResumed", "WillGone"]);
    });
}

#[test]
fn what_a_full_queue_drops_is_dropped_from_the_log() {
    let queue = QueueBounds { messages_max: 2, bytes_max: 1 << 20, policy: FullPolicy::DropOldest };
    on_1_2_4(&Options { queue, ..durable() }, |mut net| {
        let subscriber = keeper(&mut net, "s", "t");
        net.cut(subscriber);
        let publisher = Login::v5("p").connect(&mut net);
        records(&mut net);
        for _ in 0..3 {
            Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        }
        assert_eq!(records(&mut net), ["Message", "Queued", "Message", "Queued", "Message", "Queued", "Dequeued"]);
    });
}

#[test]
fn what_expired_in_the_queue_is_dropped_from_the_log() {
    on_1_2_4(&durable(), |mut net| {
        let subscriber = keeper(&mut net, "s", "t");
        net.cut(subscriber);
        let publisher = Login::v5("p").connect(&mut net);
        let message = Message::new("t", "x").at_least_once(1).with(PropertyId::MessageExpiryInterval, 5);
        message.publish(&mut net, publisher);
        net.advance(Millis::from_secs(6));
        records(&mut net);
        let subscriber = Login::v5("s").expiry(1_000).resuming().connect(&mut net);
        assert_eq!(all(&mut net, subscriber), []);
        assert_eq!(records(&mut net), ["SessionResumed", "Sent", "Dequeued"]);
        assert_at_rest(&net);
    });
}

#[test]
fn an_acknowledgement_that_outlives_its_connection_is_sent_to_no_other() {
    on_1_2_4(&durable(), |mut net| {
        keeper(&mut net, "s", "t");
        let login = Login::v5("p").expiry(1_000);
        let publisher = login.connect(&mut net);
        net.commits = false;
        let message = Message::new("t", "x").exactly_once(1);
        message.send(&mut net, publisher);
        Message::new("t", "y").at_least_once(2).send(&mut net, publisher);
        net.cut(publisher);
        let publisher = login.resuming().connect(&mut net);
        // The log may still be on its way with it: a duplicate is acknowledged no sooner.
        message.dup().send(&mut net, publisher);
        expect_nothing(&mut net, publisher);
        net.commits = true;
        net.commit();
        expect_ack(&mut net, publisher, AckType::PubRec, 1);
        expect_nothing(&mut net, publisher);
    });
}
