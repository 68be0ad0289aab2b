//! Starts: what segments and settled store come to together, what a crash leaves, and what must not pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::batch::Batch;
use super::error::StoreError;
use super::journal::FullSegment;
use super::recovery::{Opened, ShardImage, Store};
use super::samples::message;
use super::segment::{BLOCK_BYTES, Header};
use super::settler::Told;
use crate::base::{RecordId, SessionRef, ShardId, SubscriptionId, Timestamp};
use crate::broker::{Fetch, Homes, Owner, Record, StoredCopy, StoredItem, StoredMessage, StoredSession};
use crate::mqtt::{PacketId, QoS};
use crate::routing::{SubscriptionOptions, TopicHasher};

const PLAIN: SubscriptionOptions =
    SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };

fn id(number: u64, shard: usize) -> RecordId {
    RecordId::new(number, ShardId::new(shard)).unwrap()
}

pub(super) fn copy() -> StoredCopy {
    StoredCopy { qos: QoS::AtLeastOnce, retain: false, subscription_ids: Box::new([]), share: None }
}

fn spooled(topic: &str, payload: &[u8], publisher: Option<RecordId>, share: Option<&str>) -> Record {
    let message = message(QoS::AtLeastOnce, false, u64::MAX, topic, payload);
    Record::Spooled { message, publisher, share: share.map(Into::into) }
}

/// A store in a folder of its own, and what its shards write.
pub(super) struct Disk {
    pub(super) folder: tempfile::TempDir,
    shards: usize,
}

impl Disk {
    pub(super) fn new(shards: usize) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), shards }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(super) fn open(&self) -> Result<Opened, StoreError> {
        Store::open(&self.path(), self.shards, &mut |_| {})
    }

    /// Of the first start.
    pub(super) fn segment(
        &self,
        opened: &Opened,
        shard: usize,
        sequence: u64,
        first: u64,
        batches: &[Vec<Record>],
    ) -> PathBuf {
        let Opened { store_id, epoch, .. } = *opened;
        let shard = ShardId::new(shard);
        let folder = opened.store.directory().shard_folder(shard);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{sequence:016x}.log"));
        let header = Header { store_id, epoch, shard, sequence };
        let mut bytes = header.to_block().to_vec();
        let mut number = first;
        for (at, records) in batches.iter().enumerate() {
            let mut batch = Batch::<Vec<u8>>::new(number, 0);
            records.iter().for_each(|record| batch.push(record));
            batch.seal(header.salt(), sequence, at as u32, bytes.len() as u64);
            number += records.len() as u64;
            bytes.extend_from_slice(batch.share().buffer().as_slice());
        }
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Starts, writes a segment for each shard, and starts again.
    pub(super) fn after(&self, logs: &[&[Record]]) -> Opened {
        let opened = self.open().unwrap();
        for (shard, records) in logs.iter().enumerate() {
            if !records.is_empty() {
                self.segment(&opened, shard, 1, opened.next_number, &[records.to_vec()]);
            }
        }
        drop(opened);
        self.open().unwrap()
    }
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

pub(super) fn session<'a>(opened: &'a Opened, client_id: &str) -> &'a StoredSession {
    let mut sessions = opened.shards.iter().flat_map(|shard| &shard.sessions);
    sessions.find(|session| &*session.client_id == client_id).unwrap()
}

/// The payloads that wait in a session's queue.
fn waiting(opened: Opened, client_id: &str) -> Vec<StoredMessage> {
    let session = session(&opened, client_id);
    let items: Vec<_> = session.queue.iter().map(item_of).collect();
    let id = session.id;
    let (Some(&first), Some(&last)) = (items.first(), items.last()) else { return Vec::new() };
    let reference = SessionRef { shard: ShardId::new(0), slot: 3, generation: 4 };
    let (said, told) = mpsc::channel();
    let handle = opened.store.start(move |shard, told| said.send((shard, told)).unwrap()).unwrap();
    handle.fetch(Fetch { session: reference, id, first, last });
    let (shard, told) = told.recv_timeout(Duration::from_secs(10)).unwrap();
    handle.stop();
    let Told::Fetched { session, last: to, messages } = told else { panic!("{told:?}") };
    assert_eq!((shard, session, to), (ShardId::new(0), reference, last));
    assert_eq!(messages.iter().map(|message| message.item).collect::<Vec<_>>(), items);
    messages
}

fn item_of(item: &StoredItem) -> RecordId {
    match item {
        StoredItem::Left { item, .. } => *item,
        StoredItem::Loaded(message) => message.item,
    }
}

fn payloads(messages: &[StoredMessage]) -> Vec<&[u8]> {
    messages.iter().map(|message| message.message.body().payload()).collect()
}

pub(super) fn start(client_id: &str) -> Record {
    Record::SessionStarted { client_id: client_id.into(), expiry_secs: 60, owner: None }
}

pub(super) fn ada() -> Owner {
    Owner { user: Some("ada".into()), mount: "m/".into() }
}

pub(super) fn subscribe(session: RecordId, filter: &str, options: SubscriptionOptions) -> Record {
    Record::Subscribed { session, filter: filter.into(), options }
}

pub(super) fn message_record(payload: &[u8]) -> Record {
    Record::Message { message: message(QoS::AtLeastOnce, false, u64::MAX, "t", payload) }
}

/// Some of everything, of one session of shard 0.
pub(super) fn some_of_everything() -> Vec<Record> {
    let session = id(1, 0);
    let packet_id = |id| PacketId::new(id).unwrap();
    let queued = |message, sent| Record::Queued { session, message: id(message, 0), copy: copy(), sent };
    vec![
        start("a"),
        subscribe(session, "x/#", SubscriptionOptions { id: SubscriptionId::new(9), ..PLAIN }),
        message_record(b"one"),
        queued(3, Some(packet_id(5))),
        message_record(b"two"),
        queued(5, None),
        message_record(b"three"),
        queued(7, None),
        Record::Received { session, item: id(4, 0), packet_id: packet_id(5) },
        Record::Sent { session, item: id(6, 0), packet_id: packet_id(6) },
        Record::Accepted { session, packet_id: packet_id(8) },
        Record::Retained { message: message(QoS::AtLeastOnce, true, u64::MAX, "r", b"kept") },
        Record::Will {
            session,
            message: message(QoS::AtLeastOnce, false, u64::MAX, "w", b"gone"),
            delay_secs: 3,
            expiry_secs: None,
        },
        Record::SessionLeft { session, at: Timestamp(77), expiry_secs: 61 },
    ]
}

pub(super) fn check_everything(opened: &Opened) {
    let StoredSession {
        id: name,
        client_id,
        owner: _,
        expiry_secs,
        left_at,
        subscriptions,
        in_flight,
        releases,
        queue,
        received,
        will,
    } = session(opened, "a");
    assert_eq!((*name, &**client_id, *expiry_secs, *left_at), (id(1, 0), "a", 61, Some(Timestamp(77))));
    assert_eq!(subscriptions[..], [("x/#".into(), SubscriptionOptions { id: SubscriptionId::new(9), ..PLAIN })]);
    let [(packet_id, sent)] = &in_flight[..] else { panic!("{in_flight:?}") };
    assert_eq!((packet_id.get(), sent.item, sent.message.body().payload()), (6, id(6, 0), &b"two"[..]));
    assert_eq!((&releases[..], &received[..]), (&[PacketId::new(5).unwrap()][..], &[PacketId::new(8).unwrap()][..]));
    let three = message(QoS::AtLeastOnce, false, u64::MAX, "t", b"three");
    assert_eq!(queue[..], [StoredItem::Left { item: id(8, 0), bytes: three.held_bytes() as u32 + 56 }]);
    assert_eq!(will.as_ref().map(|will| (will.delay_secs, will.message.body().payload())), Some((3, &b"gone"[..])));
    let retained: Vec<_> = opened.shards.iter().flat_map(|shard| &shard.retained).collect();
    assert_eq!(retained.iter().map(|message| message.body().payload()).collect::<Vec<_>>(), [b"kept"]);
}

#[test]
fn a_start_finds_what_the_segments_say_and_the_next_one_the_same() {
    let disk = Disk::new(1);
    let opened = disk.after(&[&some_of_everything()]);
    check_everything(&opened);
    assert_eq!((opened.epoch, opened.next_number, opened.report.records), (2, 15, 14));
    drop(opened);
    let opened = disk.open().unwrap();
    check_everything(&opened);
    assert_eq!((opened.epoch, opened.next_number, opened.report.records), (3, 15, 0));
    assert_eq!(payloads(&waiting(opened, "a")), [b"three"]);
}

#[test]
fn a_crash_before_the_segments_are_removed_is_harmless() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    disk.segment(&opened, 0, 1, 1, &[some_of_everything()]);
    drop(opened);
    let saved = disk.folder.path().join("saved");
    copy_folder(&disk.path().join("shard-00"), &saved);
    drop(disk.open().unwrap());
    // As if they had not been removed.
    copy_folder(&saved, &disk.path().join("shard-00"));
    let opened = disk.open().unwrap();
    check_everything(&opened);
    assert_eq!((opened.report.records, opened.report.segments), (0, 0));
    assert!(opened.store.directory().segments(ShardId::new(0)).unwrap().is_empty());
}

#[test]
fn a_crash_between_settling_and_the_new_epoch_is_harmless() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let path = disk.segment(&opened, 0, 1, 1, &[some_of_everything()]);
    let handle = opened.store.start(|_, _| {}).unwrap();
    handle.settle(FullSegment { path: path.clone(), shard: ShardId::new(0), sequence: 1, last_number: 14 });
    handle.stop();
    drop(handle);
    assert!(path.exists());
    let opened = disk.open().unwrap();
    check_everything(&opened);
    assert_eq!((opened.report.records, opened.report.segments), (0, 1));
}

#[test]
fn the_settler_tells_what_fails_tries_it_again_and_then_what_it_settled() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let (records, shard) = (some_of_everything(), ShardId::new(0));
    let first = disk.segment(&opened, 0, 1, 1, &[records[..8].to_vec()]);
    let second = disk.segment(&opened, 0, 2, 9, &[records[8..].to_vec()]);
    let away = first.with_extension("away");
    fs::rename(&first, &away).unwrap();
    let (said, told) = mpsc::channel();
    let handle = opened.store.start(move |of, told| said.send((of, told)).unwrap()).unwrap();
    handle.settle(FullSegment { path: first.clone(), shard, sequence: 1, last_number: 8 });
    handle.settle(FullSegment { path: second, shard, sequence: 2, last_number: 14 });
    let hear = || told.recv_timeout(Duration::from_secs(10)).unwrap().1;
    assert!(matches!(hear(), Told::Failed(why) if why.contains("0000000000000001.log")));
    fs::rename(&away, &first).unwrap();
    let settled = |sequence, last_number| Told::Settled { sequence, last_number };
    assert_eq!([hear(), hear(), hear()], [Told::Recovered, settled(1, 8), settled(2, 14)]);
    assert_eq!(handle.stats().unwrap().records_settled, 14);
    handle.stop();
    drop(handle);
    check_everything(&disk.open().unwrap());
}

#[test]
fn a_torn_tail_is_cut_and_told() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let records = some_of_everything();
    let path = disk.segment(&opened, 0, 1, 1, &[records[..2].to_vec(), records[2..].to_vec()]);
    drop(opened);
    let whole = fs::read(&path).unwrap();
    let cut = 2 * BLOCK_BYTES + 100;
    fs::write(&path, &whole[..cut]).unwrap();
    let opened = disk.open().unwrap();
    assert!(session(&opened, "a").queue.is_empty() && opened.report.records == 2);
    let [torn] = &opened.report.torn[..] else { panic!("{:?}", opened.report) };
    assert_eq!((&torn.path, torn.offset, torn.bytes), (&path, 2 * BLOCK_BYTES as u64, 100));
}

#[test]
fn damage_is_no_torn_tail_and_names_its_place() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let records = some_of_everything();
    let path = disk.segment(&opened, 0, 1, 1, &[records[..2].to_vec(), records[2..].to_vec()]);
    drop(opened);
    let mut bytes = fs::read(&path).unwrap();
    bytes[BLOCK_BYTES + 60] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let StoreError::Damaged { path: found, offset, .. } = disk.open().unwrap_err() else { panic!("no damage") };
        assert!(found == path && (BLOCK_BYTES as u64..2 * BLOCK_BYTES as u64).contains(&offset));
    }
}

#[test]
fn a_missing_segment_is_found() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let path = disk.segment(&opened, 0, 2, 3, &[some_of_everything()[2..].to_vec()]);
    drop(opened);
    let StoreError::Damaged { path: found, .. } = disk.open().unwrap_err() else { panic!("no damage") };
    assert_eq!(found, path);
}

#[test]
fn a_batch_that_stands_twice_counts_once() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let records = some_of_everything();
    disk.segment(&opened, 0, 1, 1, &[records[..8].to_vec(), records[8..10].to_vec()]);
    disk.segment(&opened, 0, 2, 9, &[records[8..10].to_vec(), records[10..].to_vec()]);
    drop(opened);
    let opened = disk.open().unwrap();
    check_everything(&opened);
    assert_eq!(opened.report.records, 14);
}

#[test]
fn sessions_and_retained_messages_move_with_the_number_of_shards() {
    let mut disk = Disk::new(2);
    let seed = disk.open().unwrap().seed;
    let homes = Homes::new(seed, 2);
    let mut logs = [Vec::new(), Vec::new()];
    for number in 0..40 {
        let client_id = format!("c{number}");
        let shard = homes.of_client(&client_id).index();
        let session = id(logs[shard].len() as u64 + 1, shard);
        logs[shard].extend([start(&client_id), subscribe(session, &client_id, PLAIN)]);
        let topic = format!("t{number}");
        let shard = homes.of_topic(TopicHasher::new(seed).hash(&topic)).index();
        logs[shard].push(Record::Retained { message: message(QoS::AtLeastOnce, true, u64::MAX, &topic, b"x") });
    }
    drop(disk.after(&[&logs[0], &logs[1]]));
    for shards in [3, 1, 2] {
        disk.shards = shards;
        let opened = disk.open().unwrap();
        let homes = Homes::new(opened.seed, shards);
        assert_eq!((opened.shards.len(), opened.seed), (shards, seed));
        for (index, ShardImage { sessions, retained }) in opened.shards.iter().enumerate() {
            assert!(sessions.iter().all(|session| homes.of_client(&session.client_id).index() == index));
            assert!(sessions.iter().all(|session| session.subscriptions[0].0 == session.client_id));
            assert!(retained.iter().all(|message| homes.of_topic(message.header().topic_hash).index() == index));
        }
        let count: (usize, usize) = opened.shards.iter().fold((0, 0), |(sessions, retained), shard| {
            (sessions + shard.sessions.len(), retained + shard.retained.len())
        });
        assert_eq!(count, (40, 40));
    }
}

/// Client identifiers of two shards: what is spooled on one is for sessions of both.
struct TwoShards {
    disk: Disk,
    clients: [String; 2],
}

impl TwoShards {
    fn new() -> Self {
        let disk = Disk::new(2);
        let homes = Homes::new(disk.open().unwrap().seed, 2);
        let of = |shard| (0..).map(|number| format!("c{number}")).find(|id| homes.of_client(id).index() == shard);
        let clients = [0, 1].map(|shard| of(shard).unwrap());
        Self { disk, clients }
    }

    /// Each shard has a session that wants `filter`, and then these records.
    fn logs(&self, filters: [&str; 2], options: SubscriptionOptions, more: [Vec<Record>; 2]) -> [Vec<Record>; 2] {
        let mut shard = 0;
        more.map(|more| {
            let mut log = vec![start(&self.clients[shard]), subscribe(id(1, shard), filters[shard], options)];
            log.extend(more);
            shard += 1;
            log
        })
    }

    /// What waits for the two after the next start.
    fn waiting(&self, logs: &[Vec<Record>; 2]) -> [Vec<StoredMessage>; 2] {
        drop(self.disk.after(&[&logs[0], &logs[1]]));
        [0, 1].map(|shard| {
            let opened = self.disk.open().unwrap();
            assert_eq!(opened.report.spooled, 0);
            waiting(opened, &self.clients[shard])
        })
    }
}

#[test]
fn what_was_on_its_way_goes_to_those_whose_shard_had_not_got_it() {
    let two = TwoShards::new();
    let more = [vec![spooled("t", b"x", None, None), Record::Arrived { spooled: id(3, 0) }], vec![]];
    let options = SubscriptionOptions { id: SubscriptionId::new(4), ..PLAIN };
    let logs = two.logs(["#", "#"], options, more);
    let [first, second] = two.waiting(&logs);
    assert!(first.is_empty());
    assert_eq!(payloads(&second), [b"x"]);
    let StoredCopy { qos, retain, subscription_ids, share } = &second[0].copy;
    assert_eq!((*qos, *retain, subscription_ids[0].get(), share), (QoS::AtLeastOnce, false, 4, &None));
    assert!(second[0].item.number() > 4);
}

#[test]
fn what_had_arrived_everywhere_goes_to_nobody_again() {
    for unspooled in [true, false] {
        let two = TwoShards::new();
        let arrived = Record::Arrived { spooled: id(3, 0) };
        let last = if unspooled { Record::Unspooled { spooled: id(3, 0) } } else { arrived.clone() };
        let logs = two.logs(["#", "#"], PLAIN, [vec![spooled("t", b"x", None, None), last], vec![arrived]]);
        assert_eq!(two.waiting(&logs).map(|messages| messages.len()), [0, 0], "{unspooled}");
    }
}

#[test]
fn its_publisher_with_no_local_and_who_wants_it_at_qos_0_do_not_get_it() {
    let two = TwoShards::new();
    let local = SubscriptionOptions { no_local: true, ..PLAIN };
    let mut logs = two.logs(["#", "#"], local, [vec![spooled("t", b"x", Some(id(1, 0)), None)], vec![]]);
    logs[1][1] = subscribe(id(1, 1), "#", SubscriptionOptions { qos: QoS::AtMostOnce, ..PLAIN });
    assert_eq!(two.waiting(&logs).map(|messages| messages.len()), [0, 0]);
}

#[test]
fn one_member_of_a_shared_group_gets_it_unless_one_has_it() {
    for (share, arrived, due) in [
        (None, false, 1),
        (Some("$share/g/t"), false, 1),
        (Some("$share/g/t"), true, 0),
        (Some("$share/h/t"), false, 0),
    ] {
        let two = TwoShards::new();
        let more = [vec![spooled("t", b"x", None, share)], Vec::new()];
        let mut logs = two.logs(["$share/g/t", "$share/g/t"], PLAIN, more);
        if arrived {
            logs[1].push(Record::Arrived { spooled: id(3, 0) });
        }
        let [first, second] = two.waiting(&logs);
        assert_eq!(first.len() + second.len(), due, "{share:?} {arrived}");
        for message in first.iter().chain(&second) {
            assert_eq!(message.copy.share.as_deref(), Some("$share/g/t"));
        }
    }
}

#[test]
fn a_message_with_retain_is_retained_by_the_start_unless_its_home_did() {
    for (is_arrived, payload, wanted) in
        [(false, &b"new"[..], vec![b"new".to_vec()]), (true, b"new", vec![b"old".to_vec()]), (false, b"", vec![])]
    {
        let two = TwoShards::new();
        let seed = two.disk.open().unwrap().seed;
        let home = Homes::new(seed, 2).of_topic(TopicHasher::new(seed).hash("t")).index();
        let mut logs = two.logs(["x", "x"], PLAIN, [vec![], vec![]]);
        logs[home].push(Record::Retained { message: message(QoS::AtLeastOnce, true, u64::MAX, "t", b"old") });
        let message = message(QoS::AtLeastOnce, true, u64::MAX, "t", payload);
        logs[1 - home].push(Record::Spooled { message, publisher: None, share: None });
        if is_arrived {
            logs[home].push(Record::Arrived { spooled: id(3, 1 - home) });
        }
        let opened = two.disk.after(&[&logs[0], &logs[1]]);
        let retained = opened.shards.iter().flat_map(|shard| &shard.retained);
        assert_eq!(retained.map(|message| message.body().payload().to_vec()).collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn a_number_that_only_an_arrival_names_does_not_come_again() {
    let disk = Disk::new(2);
    let opened = disk.after(&[&[], &[start("a"), Record::Arrived { spooled: id(900, 0) }]]);
    assert_eq!((opened.next_number, opened.report.spooled), (901, 0));
}

#[test]
fn behind_the_first_that_a_group_gave_all_that_waits_is_loaded() {
    let session = id(1, 0);
    let queued = |message, share: Option<&str>| {
        let copy = StoredCopy { share: share.map(Into::into), ..copy() };
        Record::Queued { session, message: id(message, 0), copy, sent: None }
    };
    let disk = Disk::new(1);
    let share = Some("$share/g/t");
    let log = [start("a"), message_record(b"x"), queued(2, None), queued(2, share), queued(2, None)];
    let opened = disk.after(&[&log]);
    let queue = &session_of(&opened).queue;
    assert!(matches!(queue[..], [StoredItem::Left { .. }, StoredItem::Loaded(_), StoredItem::Loaded(_)]));
    assert_eq!(waiting(opened, "a").len(), 3);
}

fn session_of(opened: &Opened) -> &StoredSession {
    session(opened, "a")
}
