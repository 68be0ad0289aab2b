//! What a start and settling cost: not criterion's timings, as each takes seconds, but one run of each, printed.
//!
//! `cargo bench --bench store` writes about a gigabyte below the folder for temporary files (TMPDIR), and removes it.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use thrum::base::{RecordId, SessionRef, ShardId};
use thrum::broker::{Fetch, Homes, Message, Record, StoredCopy};
use thrum::mqtt::QoS;
use thrum::routing::{SubscriptionOptions, TopicHasher};
use thrum::storage::{
    Durability, FileName, FullSegment, Lane, Log, LogOptions, Opened, Operation, Store, StoreHandle, Told,
};

const SHARDS: usize = 2;
const SESSIONS: usize = 1_000_000;
const MESSAGES: usize = 1_000_000;
const PAYLOAD_BYTES: usize = 256;
const PAGE: usize = 256;

/// A shard's log on plain files, which nothing here waits for.
struct Writer {
    log: Log<Vec<u8>>,
    folder: PathBuf,
    files: HashMap<FileName, File>,
    shard: ShardId,
    next_number: u64,
}

impl Writer {
    fn new(opened: &Opened, shard: usize) -> Self {
        let shard = ShardId::new(shard);
        let folder = opened.store.directory().shard_folder(shard);
        fs::create_dir_all(&folder).expect("a folder");
        let Opened { store_id, epoch, next_number, .. } = *opened;
        let options = LogOptions {
            store_id,
            epoch,
            shard,
            next_number,
            durability: Durability::Commit,
            commit_delay: Duration::ZERO,
            commit_bytes_max: 1 << 20,
            segment_bytes: 8 << 20,
            segments_max: usize::MAX,
        };
        Self { log: Log::new(options, &[]), folder, files: HashMap::new(), shard, next_number }
    }

    /// The name that the next record will have.
    fn name(&self, ahead: u64) -> RecordId {
        RecordId::new(self.next_number + ahead, self.shard).expect("a name")
    }

    fn record(&mut self, mut records: Vec<Record>) {
        self.next_number += records.len() as u64;
        self.log.record(Instant::now(), &mut records);
        self.go_on();
    }

    fn go_on(&mut self) {
        loop {
            let now = Instant::now();
            let mut is_idle = true;
            for lane in [Lane::Upkeep, Lane::Commit] {
                while let Some(operation) = self.log.next(now, lane) {
                    self.run(operation);
                    self.log.done(now, lane, Ok(()));
                    is_idle = false;
                }
            }
            if is_idle {
                return;
            }
        }
    }

    fn run(&mut self, operation: Operation<Vec<u8>>) {
        let path = |name: FileName| self.folder.join(name.to_string());
        match operation {
            Operation::Open(name) => {
                let file = File::options().write(true).create(true).truncate(false).open(path(name));
                self.files.insert(name, file.expect("a file"));
            }
            Operation::Write { file, offset, buffer } => {
                self.files[&file].write_all_at(&buffer, offset).expect("room on the disk");
            }
            Operation::Rename { from, to } => {
                fs::rename(path(from), path(to)).expect("a new name");
                let file = self.files.remove(&from);
                self.files.extend(file.map(|file| (to, file)));
            }
            Operation::Close(name) => drop(self.files.remove(&name)),
            Operation::Remove(name) => fs::remove_file(path(name)).unwrap_or_default(),
            Operation::Sync(_) | Operation::SyncFolder => {}
        }
    }

    /// All segments, ended.
    fn end(mut self) -> Vec<FullSegment> {
        self.log.rotate();
        self.go_on();
        let full = self.log.full_segments();
        let path = |sequence| self.folder.join(FileName::Segment(sequence).to_string());
        full.into_iter()
            .map(|ended| FullSegment {
                path: path(ended.sequence),
                shard: self.shard,
                sequence: ended.sequence,
                last_number: ended.last_number,
            })
            .collect()
    }
}

fn open(path: &Path) -> (Opened, Duration) {
    let began = Instant::now();
    let opened = Store::open(path, SHARDS, &mut |_| {}).expect("a store");
    (opened, began.elapsed())
}

fn megabytes(path: &Path) -> u64 {
    fs::metadata(path.join("settled.redb")).map_or(0, |file| file.len() >> 20)
}

/// The most memory that this process had so far.
fn peak_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

fn starts(folder: &Path) {
    let path = folder.join("sessions");
    let (opened, _) = open(&path);
    let homes = Homes::new(opened.seed, SHARDS);
    let mut writers = [0, 1].map(|shard| Writer::new(&opened, shard));
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
    for number in 0..SESSIONS {
        let client_id: Box<str> = format!("client-{number:07}").into();
        let writer = &mut writers[homes.of_client(&client_id).index()];
        let session = writer.name(0);
        let filter = format!("device/{number:07}/commands").into();
        let started = Record::SessionStarted { client_id, expiry_secs: u32::MAX, owner: None };
        writer.record(vec![started, Record::Subscribed { session, filter, options }]);
    }
    writers.into_iter().for_each(|writer| drop(writer.end()));
    drop(opened);
    let (opened, took) = open(&path);
    let count = |opened: &Opened| opened.shards.iter().map(|shard| shard.sessions.len()).sum::<usize>();
    println!(
        "{} sessions with a subscription, start from {} segments: {took:.2?}",
        count(&opened),
        opened.report.segments
    );
    println!("  the settled store: {} MB; memory at most {} MB", megabytes(&path), peak_megabytes());
    // Copied while it is open, it is what a crash leaves.
    let crashed = folder.join("crashed");
    fs::create_dir(&crashed).expect("a folder");
    fs::copy(path.join("settled.redb"), crashed.join("settled.redb")).expect("a copy");
    drop(opened);
    let (opened, took) = open(&path);
    println!("{} sessions with a subscription, start from the settled store: {took:.2?}", count(&opened));
    drop(opened);
    let (opened, took) = open(&crashed);
    println!("{} sessions with a subscription, start after a crash: {took:.2?}", count(&opened));
}

fn message(hasher: &TopicHasher) -> Message {
    let mut stored = vec![1, 0];
    stored.extend([0xff; 8]);
    stored.extend([0; 8]);
    stored.extend(b"\0\x03a/b\0");
    stored.extend([7; PAYLOAD_BYTES]);
    Message::from_stored(&stored, hasher).expect("a message")
}

/// Settles the segments; records a second.
fn settle(handle: &StoreHandle, told: &mpsc::Receiver<Told>, segments: Vec<FullSegment>, records: u64, what: &str) {
    let count = segments.len();
    let began = Instant::now();
    segments.into_iter().for_each(|segment| handle.settle(segment));
    for _ in 0..count {
        let told = told.recv().expect("the settler");
        assert!(matches!(told, Told::Settled { .. }), "{told:?}");
    }
    let took = began.elapsed();
    let rate = records as f64 / took.as_secs_f64();
    println!("{what}: {records} records of {count} segments settled in {took:.2?}, {rate:.0} records/s");
}

fn settling(folder: &Path) {
    let path = folder.join("messages");
    let (opened, _) = open(&path);
    let message = message(&TopicHasher::new(opened.seed));
    let mut writer = Writer::new(&opened, 0);
    let session = writer.name(0);
    writer.record(vec![Record::SessionStarted { client_id: "a".into(), expiry_secs: u32::MAX, owner: None }]);
    let copy = || StoredCopy { qos: QoS::AtLeastOnce, retain: false, subscription_ids: Box::new([]), share: None };
    let queue = |writer: &mut Writer| {
        let (id, item) = (writer.name(0), writer.name(1));
        let record = Record::Message { message: message.clone() };
        writer.record(vec![record, Record::Queued { session, message: id, copy: copy(), sent: None }]);
        item
    };
    let mut items = (0..MESSAGES).map(|_| queue(&mut writer)).collect::<Vec<_>>();
    let stored = writer.end();
    let (said, told) = mpsc::channel();
    let mut acknowledged = Writer::new(&opened, 1);
    let here = acknowledged.name(0);
    acknowledged.record(vec![Record::SessionStarted { client_id: "b".into(), expiry_secs: u32::MAX, owner: None }]);
    for _ in 0..MESSAGES {
        let (id, item) = (acknowledged.name(0), acknowledged.name(1));
        acknowledged.record(vec![
            Record::Message { message: message.clone() },
            Record::Queued { session: here, message: id, copy: copy(), sent: None },
            Record::Dequeued { session: here, item },
        ]);
    }
    let acknowledged = acknowledged.end();
    let handle = opened.store.start(move |_, told| said.send(told).expect("somebody who hears")).expect("threads");
    settle(&handle, &told, stored, 2 * MESSAGES as u64 + 1, "a queue that grows");
    settle(&handle, &told, acknowledged, 3 * MESSAGES as u64 + 1, "messages that were acknowledged");
    println!("  the settled store: {} MB", megabytes(&path));

    let began = Instant::now();
    let reference = SessionRef { shard: ShardId::new(0), slot: 0, generation: 0 };
    let mut fetched = 0;
    for page in items.chunks(PAGE) {
        handle.fetch(Fetch { session: reference, id: session, first: page[0], last: page[page.len() - 1] });
        let Ok(Told::Fetched { messages, .. }) = told.recv() else { panic!("no page") };
        fetched += messages.len();
    }
    println!(
        "{fetched} messages fetched in pages of {PAGE}, {:.0} a second",
        fetched as f64 / began.elapsed().as_secs_f64()
    );
    handle.stop();
    drop(handle);
    let (opened, took) = open(&path);
    items.clear();
    println!(
        "{MESSAGES} messages in a queue, start: {took:.2?}, {} left in the store",
        opened.shards.iter().flat_map(|shard| &shard.sessions).map(|session| session.queue.len()).sum::<usize>()
    );
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    starts(folder.path());
    settling(folder.path());
}
