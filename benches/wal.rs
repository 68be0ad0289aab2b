//! What a durable record costs: encoded and checksummed for a disk that takes no time, and committed on the real one. The
//! directory is that of `THRUM_WAL_BENCH_DIR`, or a temporary one; it should lie on the disk in question.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thrum::base::ShardId;
use thrum::broker::{Message, Record};
use thrum::routing::TopicHasher;
use thrum::storage::segment::Segment;
use thrum::storage::{Durability, Journal, Lane, Log, LogOptions, Operation};

/// The body of a record, so that the record has 160 bytes in all.
const RECORD_BYTES: usize = 160;
const PAYLOAD_BYTES: usize = RECORD_BYTES - 9 - 4 - 18 - 2 - TOPIC.len() - 1;
const TOPIC: &str = "sensors/hall 7/temperature";

fn options() -> LogOptions {
    LogOptions {
        store_id: 1,
        epoch: 1,
        shard: ShardId::new(0),
        next_number: 1,
        durability: Durability::Commit,
        commit_delay: Duration::ZERO,
        commit_bytes_max: 1 << 20,
        segment_bytes: 8 << 20,
        segments_max: 64,
    }
}

fn hasher() -> TopicHasher {
    TopicHasher::new(1)
}

fn record() -> Record {
    let mut stored = vec![1, 0];
    stored.extend([0xff; 8]);
    stored.extend([7; 8]);
    stored.extend((TOPIC.len() as u16).to_be_bytes());
    stored.extend(TOPIC.as_bytes());
    stored.push(0);
    stored.extend([b'x'; PAYLOAD_BYTES]);
    Record::Message { message: Message::from_stored(&stored, &hasher()).expect("a message") }
}

/// Does what the log asks for at once.
fn run_all(log: &mut Log<Vec<u8>>, now: Instant) {
    for lane in [Lane::Upkeep, Lane::Commit] {
        while let Some(operation) = log.next(now, lane) {
            black_box(&operation);
            drop::<Operation<_>>(operation);
            log.done(now, lane, Ok(()));
        }
    }
    for full in log.full_segments() {
        log.settled(full.sequence);
    }
}

/// The whole way of a record but for the disk: the shard's turn gives so many at a time.
fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log into memory, records of 160 bytes");
    for batch in [16, 256, 8192] {
        let mut log: Log<Vec<u8>> = Log::new(options(), &[]);
        let (now, record) = (Instant::now(), record());
        let mut records = Vec::with_capacity(batch);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("records at a time", batch), |bencher| {
            bencher.iter(|| {
                records.extend((0..batch).map(|_| record.clone()));
                log.record(now, &mut records);
                run_all(&mut log, now);
            });
        });
        assert_eq!(log.committed(), log.recorded());
    }
    group.finish();
}

/// A full segment, as recovery and the settler read it.
fn read(criterion: &mut Criterion) {
    let (mut log, now, record) = (Log::<Vec<u8>>::new(options(), &[]), Instant::now(), record());
    let mut segment = vec![0; 8 << 20];
    while log.full_segments().is_empty() {
        log.record(now, &mut vec![record.clone(); 256]);
        for lane in [Lane::Upkeep, Lane::Commit] {
            while let Some(operation) = log.next(now, lane) {
                if let Operation::Write { file, offset, buffer } = operation
                    && file.sequence() == 1
                {
                    segment[offset as usize..][..buffer.len()].copy_from_slice(&buffer);
                }
                log.done(now, lane, Ok(()));
            }
        }
    }
    let hasher = hasher();
    let count = || {
        let (_, batches) = Segment::open(&segment).expect("a segment");
        let mut count = 0;
        for record in batches.flat_map(|batch| batch.expect("no damage").records()) {
            black_box(record.decode(&hasher).expect("a record"));
            count += 1;
        }
        count
    };
    let mut group = criterion.benchmark_group("segment of 8 MiB, records of 160 bytes");
    group.throughput(Throughput::Elements(count()));
    group.bench_function("read and decoded", |bencher| bencher.iter(count));
    group.finish();
}

/// A directory that is removed when it is over.
struct Place(PathBuf);

impl Place {
    fn new() -> io::Result<Self> {
        let within = std::env::var_os("THRUM_WAL_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = within.join(format!("thrum-wal-bench-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left says its name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the disk takes for one block that is written and synced: nothing that commits can be faster.
fn bare(path: &Path, criterion: &mut Criterion) {
    let file: File =
        OpenOptions::new().create(true).truncate(true).write(true).open(path.join("bare")).expect("a file");
    for block in 0..2048 {
        file.write_all_at(&[0; 4096], block * 4096).expect("written");
    }
    file.sync_all().expect("synced");
    let mut block = 0;
    criterion.bench_function("bare write of a block and fdatasync", |bencher| {
        bencher.iter(|| {
            block = (block + 1) % 2048;
            file.write_all_at(&[1; 4096], block * 4096).expect("written");
            file.sync_data().expect("synced");
        });
    });
}

/// So many commits of a batch each; segments are settled at once.
fn commits(journal: &mut Journal, news: &Receiver<()>, record: &Record, batch: usize, commits: u64) {
    let mut records = Vec::with_capacity(batch);
    let mut recorded = journal.committed();
    let wanted = recorded + commits * batch as u64;
    while journal.committed() < wanted {
        // One batch is synced, the next one forms.
        while recorded < wanted && recorded - journal.committed() < 2 * batch as u64 {
            records.extend((0..batch).map(|_| record.clone()));
            journal.record(&mut records);
            recorded += batch as u64;
        }
        journal.turn(Instant::now());
        for full in journal.full_segments() {
            journal.settled(full.sequence);
        }
        if journal.committed() < wanted {
            news.recv().expect("its threads are there");
        }
    }
}

fn disk(criterion: &mut Criterion) {
    let place = Place::new().expect("a directory: set THRUM_WAL_BENCH_DIR to one that can be written to");
    bare(&place.0, criterion);
    let mut group = criterion.benchmark_group("journal on the disk, records of 160 bytes");
    let record = record();
    for batch in [1, 256, 8192] {
        let folder = place.0.join(format!("shard-{batch}"));
        // A batch of 8,192 is longer than the default lets one be.
        let options = LogOptions { commit_bytes_max: batch * RECORD_BYTES, ..options() };
        let (tell, news) = channel();
        let wake = move || _ = tell.send(());
        let mut journal = Journal::start(&folder, options, wake).expect("a journal");
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("records a commit", batch), |bencher| {
            bencher.iter_custom(|iterations| {
                let began = Instant::now();
                commits(&mut journal, &news, &record, batch, iterations);
                began.elapsed()
            });
        });
        assert!(journal.close());
    }
    group.finish();
}

criterion_group!(benches, memory, read, disk);
criterion_main!(benches);
