//! Records for the tests of the store.

use proptest::option;
use proptest::prelude::*;

use crate::base::{RecordId, ShardId, SubscriptionId, Timestamp};
use crate::broker::{Message, Owner, Record, StoredCopy};
use crate::mqtt::{PacketId, QoS};
use crate::routing::{SubscriptionOptions, TopicHasher};

pub(super) fn hasher() -> TopicHasher {
    TopicHasher::new(7)
}

/// As `stored_parts` has it: QoS, RETAIN, expiry, publisher, topic, no properties, payload.
pub(super) fn message(qos: QoS, retain: bool, expires: u64, topic: &str, payload: &[u8]) -> Message {
    let mut stored = vec![qos as u8, u8::from(retain)];
    stored.extend(expires.to_le_bytes());
    stored.extend(77u64.to_le_bytes());
    stored.extend((topic.len() as u16).to_be_bytes());
    stored.extend(topic.as_bytes());
    stored.push(0);
    stored.extend(payload);
    Message::from_stored(&stored, &hasher()).expect("a message")
}

pub(super) fn id(number: u64) -> RecordId {
    RecordId::new(number, ShardId::new(3)).expect("a name")
}

/// A record that tells its number, of about so many bytes.
pub(super) fn numbered(number: u64, bytes: usize) -> Record {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(bytes.max(8), number as u8);
    Record::Message { message: message(QoS::AtLeastOnce, false, u64::MAX, "a/b", &payload) }
}

/// The number that [`numbered`] was given.
pub(super) fn number(record: &Record) -> u64 {
    let Record::Message { message } = record else { panic!("{record:?}") };
    u64::from_le_bytes(*message.body().payload().first_chunk().expect("a number"))
}

fn ids() -> impl Strategy<Value = RecordId> + Clone {
    (1..=RecordId::NUMBER_MAX, 0..64usize)
        .prop_map(|(number, shard)| RecordId::new(number, ShardId::new(shard)).expect("a name"))
}

fn packet_ids() -> impl Strategy<Value = PacketId> + Clone {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).expect("not zero"))
}

fn qos() -> impl Strategy<Value = QoS> + Clone {
    (0..3u8).prop_map(|qos| QoS::from_u8(qos).expect("a QoS"))
}

fn subscription_ids() -> impl Strategy<Value = SubscriptionId> + Clone {
    (1..268_435_456u32).prop_map(|id| SubscriptionId::new(id).expect("an identifier"))
}

fn texts() -> impl Strategy<Value = Box<str>> + Clone {
    "[a-z$/äß]{0,40}".prop_map(Into::into)
}

fn owners() -> impl Strategy<Value = Owner> + Clone {
    (option::of(texts()), texts()).prop_map(|(user, mount)| Owner { user, mount })
}

fn messages() -> impl Strategy<Value = Message> + Clone {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    (qos(), any::<bool>(), any::<u64>(), "[a-z/]{1,20}", payload)
        .prop_map(|(qos, retain, expires, topic, payload)| message(qos, retain, expires, &topic, &payload))
}

fn copies() -> impl Strategy<Value = StoredCopy> + Clone {
    (qos(), any::<bool>(), prop::collection::vec(subscription_ids(), 0..4), option::of(texts()))
        .prop_map(|(qos, retain, ids, share)| StoredCopy { qos, retain, subscription_ids: ids.into(), share })
}

fn options() -> impl Strategy<Value = SubscriptionOptions> + Clone {
    (qos(), any::<bool>(), any::<bool>(), option::of(subscription_ids())).prop_map(
        |(qos, no_local, retain_as_published, id)| SubscriptionOptions { qos, no_local, retain_as_published, id },
    )
}

fn session_records() -> impl Strategy<Value = Record> {
    let (id, secs, packet) = (ids(), any::<u32>(), packet_ids());
    prop_oneof![
        (texts(), secs, option::of(owners())).prop_map(|(client_id, expiry_secs, owner)| Record::SessionStarted {
            client_id,
            expiry_secs,
            owner
        }),
        (ids(), owners()).prop_map(|(session, owner)| Record::SessionOwned { session, owner }),
        (ids(), secs).prop_map(|(session, expiry_secs)| Record::SessionResumed { session, expiry_secs }),
        (ids(), any::<u64>(), secs).prop_map(|(session, at, expiry_secs)| Record::SessionLeft {
            session,
            at: Timestamp(at),
            expiry_secs
        }),
        ids().prop_map(|session| Record::SessionEnded { session }),
        (ids(), texts(), options()).prop_map(|(session, filter, options)| Record::Subscribed {
            session,
            filter,
            options
        }),
        (ids(), texts()).prop_map(|(session, filter)| Record::Unsubscribed { session, filter }),
        (id.clone(), packet.clone()).prop_map(|(session, packet_id)| Record::Completed { session, packet_id }),
        (id.clone(), packet.clone()).prop_map(|(session, packet_id)| Record::Accepted { session, packet_id }),
        (id, packet).prop_map(|(session, packet_id)| Record::Released { session, packet_id }),
        (ids(), messages(), secs, option::of(secs)).prop_map(|(session, message, delay_secs, expiry_secs)| {
            Record::Will { session, message, delay_secs, expiry_secs }
        }),
        ids().prop_map(|session| Record::WillGone { session }),
    ]
}

fn message_records() -> impl Strategy<Value = Record> {
    prop_oneof![
        messages().prop_map(|message| Record::Message { message }),
        (ids(), ids(), copies(), option::of(packet_ids())).prop_map(|(session, message, copy, sent)| Record::Queued {
            session,
            message,
            copy,
            sent
        }),
        (ids(), ids(), packet_ids()).prop_map(|(session, item, packet_id)| Record::Sent { session, item, packet_id }),
        (ids(), ids()).prop_map(|(session, item)| Record::Dequeued { session, item }),
        (ids(), ids(), packet_ids()).prop_map(|(session, item, packet_id)| Record::Received {
            session,
            item,
            packet_id
        }),
        messages().prop_map(|message| Record::Retained { message }),
        texts().prop_map(|topic| Record::RetainedCleared { topic }),
        (messages(), option::of(ids()), option::of(texts())).prop_map(|(message, publisher, share)| Record::Spooled {
            message,
            publisher,
            share
        }),
        ids().prop_map(|spooled| Record::Arrived { spooled }),
        ids().prop_map(|spooled| Record::Unspooled { spooled }),
    ]
}

/// Any record.
pub(super) fn records() -> impl Strategy<Value = Record> {
    prop_oneof![session_records(), message_records()]
}

/// One of each kind, in the order of their kinds.
pub(super) fn one_of_each() -> [Record; 23] {
    let (session, item, spooled) = (id(1), id(9), id(5));
    let packet_id = PacketId::MIN;
    let ada = Owner { user: Some("ada".into()), mount: "m/".into() };
    let message = message(QoS::ExactlyOnce, true, 5, "t", b"payload");
    let copy = StoredCopy {
        qos: QoS::AtLeastOnce,
        retain: true,
        subscription_ids: [SubscriptionId::new(300).expect("an identifier")].into(),
        share: Some("$share/g/f".into()),
    };
    let options = SubscriptionOptions { qos: QoS::ExactlyOnce, no_local: true, retain_as_published: false, id: None };
    [
        Record::SessionStarted { client_id: "c".into(), expiry_secs: 7, owner: None },
        Record::SessionResumed { session, expiry_secs: 7 },
        Record::SessionLeft { session, at: Timestamp(6), expiry_secs: 7 },
        Record::SessionEnded { session },
        Record::Subscribed { session, filter: "f".into(), options },
        Record::Unsubscribed { session, filter: "f".into() },
        Record::Message { message: message.clone() },
        Record::Queued { session, message: id(8), copy, sent: Some(packet_id) },
        Record::Sent { session, item, packet_id },
        Record::Dequeued { session, item },
        Record::Received { session, item, packet_id },
        Record::Completed { session, packet_id },
        Record::Accepted { session, packet_id },
        Record::Released { session, packet_id },
        Record::Retained { message: message.clone() },
        Record::RetainedCleared { topic: "t".into() },
        Record::Will { session, message: message.clone(), delay_secs: 1, expiry_secs: Some(2) },
        Record::WillGone { session },
        Record::Spooled { message, publisher: Some(session), share: None },
        Record::Arrived { spooled },
        Record::Unspooled { spooled },
        Record::SessionStarted { client_id: "c".into(), expiry_secs: 7, owner: Some(ada) },
        Record::SessionOwned { session, owner: Owner { user: None, mount: Box::default() } },
    ]
}
