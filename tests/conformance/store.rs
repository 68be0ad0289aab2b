//! What the store makes of the broker: nothing leaves that a crash could make untrue, messages go from shard to shard
//! exactly once, long queues leave memory, a disk that fails is told, and what was stored is taken up again.

use thrum::base::{Millis, RecordId, ShardId};
use thrum::broker::{
    Homes, Input, Message as Stored, Options, Record, ShardCore, StoredCopy, StoredItem, StoredMessage, StoredSession,
    StoredWill,
};
use thrum::mqtt::{AckType, QoS, ReasonCode};
use thrum::routing::SubscriptionOptions;

use crate::client::{
    Login, Message, all, assert_at_rest, disconnect, durable, expect_ack, expect_nothing, keeper, next, on_1_2_4,
    packet_id, records, send_ack, subscribe, sum, take_message,
};
use crate::net::{Client, Net};

/// A client of a session that lasts, on this shard.
fn keeper_on(net: &mut Net, shard: usize, filter: &str) -> Client {
    let homes = Homes::new(Options::default().seed, net.cores.len());
    let id = (0..).map(|number| format!("c{number}")).find(|id| homes.of_client(id).index() == shard);
    keeper(net, &id.expect("some name has its home there"), filter)
}

/// A message of QoS 2 waits for the store, and one of QoS 0 behind it.
fn with_messages_held_back() -> (Net, Client) {
    let mut net = Net::new(durable());
    let subscriber = keeper(&mut net, "s", "t");
    let publisher = Login::v5("p").connect(&mut net);
    net.commits = false;
    Message::new("t", "2").exactly_once(1).send(&mut net, publisher);
    Message::new("t", "0").send(&mut net, publisher);
    (net, subscriber)
}

// A crash would have the broker forget what its client knows, and deliver once more. [MQTT-4.3.3-2]
#[test]
fn with_qos_2_nothing_leaves_before_it_is_durable_and_nothing_overtakes_it() {
    let (mut net, subscriber) = with_messages_held_back();
    expect_nothing(&mut net, subscriber);
    net.commit();
    let first = next(&mut net, subscriber).message();
    assert_eq!(first.payload_text(), "2");
    assert_eq!(next(&mut net, subscriber).message().payload_text(), "0");
    send_ack(&mut net, subscriber, AckType::PubRec, first.id);
    expect_nothing(&mut net, subscriber);
    net.commit();
    expect_ack(&mut net, subscriber, AckType::PubRel, first.id);
    net.commits = true;
    send_ack(&mut net, subscriber, AckType::PubComp, first.id);
    assert_at_rest(&net);
}

// [MQTT-4.4.0-1]
#[test]
fn what_was_held_back_when_its_connection_was_lost_is_sent_on_the_next_one() {
    let (mut net, subscriber) = with_messages_held_back();
    net.cut(subscriber);
    let subscriber = Login::v5("s").expiry(1_000).resuming().connect(&mut net);
    expect_nothing(&mut net, subscriber);
    net.commit();
    assert_eq!(payloads(&mut net, subscriber), ["2"]);
    assert_eq!(sum(&net, |core| core.counters().dropped(thrum::base::DropReason::QosZeroHeld)), 1);
}

/// What has come, unacknowledged.
fn payloads(net: &mut Net, client: Client) -> Vec<String> {
    all(net, client).into_iter().map(|got| got.message().payload_text().to_owned()).collect()
}

// A crash between the two shards' commits would lose the message, or deliver it twice. [MQTT-4.3.3-8]
#[test]
fn what_goes_to_another_shard_with_qos_2_is_safe_here_before_it_sets_out() {
    let mut net = Net::new(Options { shards: 2, ..durable() });
    let subscriber = keeper_on(&mut net, 1, "t");
    let publisher = keeper_on(&mut net, 0, "other");
    net.commits = false;
    records(&mut net);
    Message::new("t", "x").exactly_once(1).send(&mut net, publisher);
    assert_eq!(records(&mut net), ["Spooled", "Accepted"]);
    expect_nothing(&mut net, publisher);
    net.commit_one(0);
    expect_ack(&mut net, publisher, AckType::PubRec, 1);
    assert_eq!(records(&mut net), ["Arrived", "Message", "Queued", "Arrived"]);
    expect_nothing(&mut net, subscriber);
    net.commit();
    assert_eq!(next(&mut net, subscriber).message().payload_text(), "x");
    net.commit();
    assert_eq!(records(&mut net), ["Unspooled"]);
}

// What a topic's last value is, is what was published last, also where the QoS makes one wait longer.
#[test]
fn a_retained_message_does_not_overtake_one_in_the_spool() {
    let mut net = Net::new(Options { shards: 2, ..durable() });
    let watcher = keeper_on(&mut net, 1, "t");
    let publisher = keeper_on(&mut net, 0, "other");
    net.commits = false;
    Message::new("t", "first").retained().exactly_once(1).send(&mut net, publisher);
    Message::new("t", "second").retained().at_least_once(2).send(&mut net, publisher);
    Message::new("t", "third").retained().send(&mut net, publisher);
    net.commits = true;
    net.commit();
    drop_all(&mut net, watcher);
    let late = Login::v5("late").connect(&mut net);
    subscribe(&mut net, late, "t", QoS::AtMostOnce);
    assert_eq!(payloads(&mut net, late), ["third"]);
}

fn drop_all(net: &mut Net, client: Client) {
    net.take_bytes(client);
}

// A shared backlog was recorded anew with another member, with nobody waiting: a crash in between lost it.
// [MQTT-4.8.2-4]
#[test]
fn what_a_member_leaves_behind_is_safe_until_another_one_has_it() {
    let mut net = Net::new(Options { shards: 2, ..durable() });
    let leaver = keeper_on(&mut net, 0, "$share/g/t");
    let publisher = Login::v5("p").connect(&mut net);
    disconnect(&mut net, leaver);
    Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
    let taker = keeper_on(&mut net, 1, "$share/g/t");
    net.commits = false;
    records(&mut net);
    net.advance(Millis::from_secs(1_001));
    let made = records(&mut net);
    assert_eq!(made[made.len() - 2..], ["SessionEnded", "Spooled"], "{made:?}");
    net.commits = true;
    net.commit();
    assert_eq!(take_message(&mut net, taker).payload_text(), "x");
    let made = records(&mut net);
    assert!(made.contains(&"Arrived".to_owned()) && made.last().unwrap() == "Dequeued", "{made:?}");
    assert!(made.contains(&"Unspooled".to_owned()), "{made:?}");
    assert_at_rest(&net);
}

fn tell_all(net: &mut Net, is_writable: bool) {
    (0..net.cores.len()).for_each(|shard| net.tell(shard, Input::Store { is_writable }));
}

// (MQTT 5.0, 3.4.2.1: 0x97)
#[test]
fn while_the_disk_fails_what_must_be_stored_is_refused_and_the_rest_goes_on() {
    on_1_2_4(&durable(), |mut net| {
        let keeper = keeper(&mut net, "s", "kept");
        let other = Login::v5("o").connect(&mut net);
        subscribe(&mut net, other, "#", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        let old = Login::v3("old").connect(&mut net);
        tell_all(&mut net, false);
        for message in [Message::new("kept", "1").at_least_once(1), Message::new("kept", "2").exactly_once(2)] {
            message.send(&mut net, publisher);
            let ack = if message.id == 1 { AckType::PubAck } else { AckType::PubRec };
            assert_eq!(expect_ack(&mut net, publisher, ack, message.id), ReasonCode::QuotaExceeded);
        }
        let retained = Message::new("r", "3").retained().at_least_once(3);
        retained.send(&mut net, publisher);
        assert_eq!(expect_ack(&mut net, publisher, AckType::PubAck, 3), ReasonCode::QuotaExceeded);
        // Before 5.0 there is no word for it: the client is not answered, and not held up.
        Message::new("kept", "4").at_least_once(1).send(&mut net, old);
        Message::new("free", "5").at_least_once(2).send(&mut net, old);
        expect_ack(&mut net, old, AckType::PubAck, 2);
        expect_nothing(&mut net, old);
        for payload in ["6", "7"] {
            Message::new("free", payload).at_least_once(9).publish(&mut net, publisher);
        }
        expect_nothing(&mut net, keeper);
        assert_eq!(sum(&net, |core| core.counters().refused(thrum::base::Refusal::StoreUnwritable)), 4);
        tell_all(&mut net, true);
        Message::new("kept", "8").at_least_once(1).publish(&mut net, publisher);
        assert_eq!(take_message(&mut net, keeper).payload_text(), "8");
        assert_eq!(sum(&net, ShardCore::retained_len), 0);
    });
}

#[test]
fn a_session_that_survives_cannot_publish_with_qos_2_while_the_disk_fails() {
    let mut net = Net::new(durable());
    let publisher = keeper(&mut net, "p", "other");
    tell_all(&mut net, false);
    Message::new("free", "1").exactly_once(1).send(&mut net, publisher);
    assert_eq!(expect_ack(&mut net, publisher, AckType::PubRec, 1), ReasonCode::QuotaExceeded);
    tell_all(&mut net, true);
    Message::new("free", "2").exactly_once(1).publish(&mut net, publisher);
    assert_at_rest(&net);
}

/// What the records made of the queue of the only session, as a store would give it back.
fn queued(records: &[Record]) -> Vec<StoredMessage> {
    let mut message = None;
    let numbered = records.iter().zip(1..);
    let item = |number| RecordId::new(number, ShardId::new(0)).unwrap();
    numbered
        .filter_map(|(record, number)| match record {
            Record::Message { message: made } => {
                message = Some(made.clone());
                None
            }
            Record::Queued { copy, .. } => {
                Some(StoredMessage { item: item(number), message: message.clone()?, copy: copy.clone() })
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_long_queue_leaves_memory_and_comes_back_in_order_as_the_window_allows() {
    let mut net = Net::new(durable());
    let subscriber = keeper(&mut net, "s", "t");
    disconnect(&mut net, subscriber);
    let publisher = Login::v5("p").connect(&mut net);
    for number in 0..1_000 {
        Message::new("t", &number.to_string()).at_least_once(1).publish(&mut net, publisher);
    }
    let store = queued(&net.records);
    assert_eq!(store.len(), 1_000);
    let held = net.cores[0].stats().held;
    // What is not settled yet stays.
    let settled = store[899].item.number();
    net.tell(0, Input::Settled { number: settled });
    assert_eq!((net.cores[0].stats().held, net.cores[0].messages_in_memory()), (held, 100));
    let subscriber = Login::v5("s").expiry(1_000).resuming().receive_max(50).connect(&mut net);
    let mut came = Vec::new();
    while came.len() < 1_000 {
        for fetch in std::mem::take(&mut net.fetches) {
            assert_eq!(fetch.id.number(), 1);
            let wanted = store.iter().filter(|stored| (fetch.first..=fetch.last).contains(&stored.item));
            let messages: Vec<_> = wanted.cloned().collect();
            assert!(messages.len() <= 256, "{} at once", messages.len());
            net.tell(0, Input::Fetched { session: fetch.session, last: fetch.last, messages });
        }
        came.extend(take_all(&mut net, subscriber));
        assert!(net.cores[0].messages_in_memory() <= 100 + 2 * 256 + 50);
    }
    let expected: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    assert_eq!(came, expected);
    assert_at_rest(&net);
}

/// Reads and acknowledges until nothing more comes.
fn take_all(net: &mut Net, client: Client) -> Vec<String> {
    let mut came = Vec::new();
    loop {
        let got = all(net, client);
        if got.is_empty() {
            return came;
        }
        for message in got.into_iter().map(|got| got.message()) {
            send_ack(net, client, AckType::PubAck, message.id);
            came.push(message.payload_text().to_owned());
        }
    }
}

fn stored_message(net: &mut Net, payload: &str) -> Stored {
    let publisher = Login::v5("maker").connect(net);
    Message::new("made", payload).retained().exactly_once(1).publish(net, publisher);
    let made = net.records.iter().rev().find_map(|record| match record {
        Record::Retained { message } => Some(message.clone()),
        _ => None,
    });
    disconnect(net, publisher);
    made.expect("it was recorded")
}

fn id(number: u64) -> RecordId {
    RecordId::new(number, ShardId::new(0)).unwrap()
}

fn stored_session(net: &mut Net) -> StoredSession {
    let copy = |qos| StoredCopy { qos, retain: false, subscription_ids: Box::default(), share: None };
    let mut stored =
        |item, payload, qos| StoredMessage { item: id(item), message: stored_message(net, payload), copy: copy(qos) };
    let in_flight = vec![
        (packet_id(65_535), stored(10, "in flight 1", QoS::AtLeastOnce)),
        (packet_id(2), stored(12, "in flight 2", QoS::ExactlyOnce)),
    ];
    let queue = vec![StoredItem::Loaded(Box::new(stored(20, "waits", QoS::AtLeastOnce)))];
    let will = StoredWill { message: stored_message(net, "will"), delay_secs: 10, expiry_secs: None };
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
    StoredSession {
        id: id(1),
        client_id: "s".into(),
        owner: None,
        expiry_secs: 1_000,
        left_at: None,
        subscriptions: vec![("t/+".into(), options), ("$share/g/u".into(), options)],
        in_flight,
        releases: vec![packet_id(1)],
        queue,
        received: vec![packet_id(77)],
        will: Some(will),
    }
}

// [MQTT-4.1.0-1] [MQTT-4.4.0-1] [MQTT-3.1.2-8]
#[test]
fn what_was_stored_is_taken_up_where_it_stood() {
    for shards in [1, 2] {
        let mut net = Net::new(Options { shards, next_record: 1_000, ..durable() });
        let stored = stored_session(&mut net);
        let home = Homes::new(Options::default().seed, shards).of_client("s").index();
        net.restore(home, stored);
        let watcher = Login::v5("w").connect(&mut net);
        subscribe(&mut net, watcher, "made", QoS::AtMostOnce);
        drop_all(&mut net, watcher);
        // Who was connected when the records ended, left at the start.
        net.advance(Millis::from_secs(9));
        assert_eq!(payloads(&mut net, watcher), [""; 0]);
        net.advance(Millis::from_secs(2));
        assert_eq!(payloads(&mut net, watcher), ["will"]);

        let publisher = Login::v5("p").connect(&mut net);
        Message::new("t/1", "by subscription").at_least_once(1).publish(&mut net, publisher);
        Message::new("u", "by the group").at_least_once(1).publish(&mut net, publisher);
        let (client, present) = Login::v5("s").expiry(1_000).resuming().present(&mut net);
        assert!(present);
        expect_ack(&mut net, client, AckType::PubRel, 1);
        let got: Vec<_> = all(&mut net, client).into_iter().map(|got| got.message()).collect();
        let seen: Vec<_> = got.iter().map(|message| (message.payload_text(), message.id, message.dup)).collect();
        let expected = [
            ("in flight 1", 65_535, true),
            ("in flight 2", 2, true),
            ("waits", 3, false),
            ("by subscription", 4, false),
            ("by the group", 5, false),
        ];
        assert_eq!(seen, expected);
        // Taken over before the start: answered, and not delivered again.
        Message::new("t/1", "again").exactly_once(77).dup().send(&mut net, client);
        expect_ack(&mut net, client, AckType::PubRec, 77);
        expect_nothing(&mut net, client);
    }
}

// [MQTT-3.1.2-23]
#[test]
fn a_session_whose_time_ran_out_meanwhile_ends_at_the_first_tick() {
    let mut net = Net::new(durable());
    let mut stored = stored_session(&mut net);
    let left_at = thrum::base::Timestamp(net.now.0 - 1_001_000);
    (stored.left_at, stored.expiry_secs) = (Some(left_at), 1_000);
    net.restore(0, stored);
    assert_eq!(net.cores[0].sessions_len(), 1);
    records(&mut net);
    net.advance(Millis(100));
    assert_eq!(net.cores[0].sessions_len(), 0);
    let made = records(&mut net);
    assert!(made.contains(&"WillGone".to_owned()) && made.contains(&"SessionEnded".to_owned()), "{made:?}");
}

#[test]
fn a_retained_message_that_was_stored_is_there_again() {
    let mut net = Net::new(durable());
    let message = stored_message(&mut net, "kept");
    let mut net = Net::new(Options { next_record: 50, ..durable() });
    net.cores[0].restore_retained(&message);
    let client = Login::v5("s").connect(&mut net);
    subscribe(&mut net, client, "made", QoS::AtMostOnce);
    assert_eq!(payloads(&mut net, client), ["kept"]);
}
