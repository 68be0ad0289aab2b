//! The journal on the disk of the machine, in a directory that is removed afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::log::Durability;
use super::super::samples::{hasher, number, numbered};
use super::super::segment::{BLOCK_BYTES, Chain, Segment};
use super::*;

/// Longer than anything here takes on the slowest disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that is removed when it is over.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("thrum-journal-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    fn shard(&self) -> PathBuf {
        self.0.join("shard-03")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("removed");
    }
}

fn options() -> LogOptions {
    LogOptions {
        store_id: 5,
        epoch: 1,
        shard: ShardId::new(3),
        next_number: 1,
        durability: Durability::Commit,
        commit_delay: Duration::ZERO,
        commit_bytes_max: 1 << 20,
        segment_bytes: 16 * BLOCK_BYTES as u64,
        segments_max: 64,
    }
}

fn start(folder: &Path, options: LogOptions) -> io::Result<Journal> {
    Journal::start(folder, options, || ())
}

fn is_busy(journal: &Journal) -> bool {
    [Lane::Commit, Lane::Upkeep].into_iter().any(|lane| journal.log.is_busy(lane))
}

fn record(journal: &mut Journal, numbers: impl Iterator<Item = u64>) {
    journal.record(&mut numbers.map(|number| numbered(number, 500)).collect());
    journal.turn(Instant::now());
}

fn committed(journal: &mut Journal, number: u64) {
    until(journal, |journal| journal.committed() >= number);
}

/// As the shard's loop does, without its other work.
fn until(journal: &mut Journal, is_so: impl Fn(&Journal) -> bool) {
    let began = Instant::now();
    loop {
        journal.turn(Instant::now());
        if is_so(journal) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "it does not come to an end");
        thread::sleep(Duration::from_micros(200));
    }
}

/// The numbers of the records in the folder's segments, as recovery finds them.
fn found(folder: &Path, next: u64) -> Vec<u64> {
    let (mut numbers, mut chain) = (Vec::new(), Chain::new(next));
    for (name, _) in files(folder).expect("a folder") {
        let FileName::Segment(sequence) = name else { continue };
        let bytes = fs::read(folder.join(name.to_string())).expect("a segment");
        let (header, batches) = Segment::open(&bytes).expect("a segment");
        assert_eq!(header.sequence, sequence);
        for batch in batches.map(|batch| batch.expect("no damage")) {
            if chain.take(&batch).expect("no gap") {
                numbers.extend(batch.records().map(|record| number(&record.decode(&hasher()).expect("a record"))));
            }
        }
    }
    numbers
}

#[test]
fn what_is_committed_is_in_the_file_and_only_its_owner_can_read_it() {
    let place = Place::new();
    let folder = place.shard();
    let mut journal = start(&folder, options()).expect("a journal");
    assert!(!is_busy(&journal) && journal.committed() == 0);
    record(&mut journal, 1..=3);
    assert!(is_busy(&journal));
    record(&mut journal, 4..=4);
    committed(&mut journal, 4);
    assert_eq!(found(&folder, 1), [1, 2, 3, 4]);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(FileName::Segment(1).to_string())), 0o600);
    let counters = journal.counters();
    assert_eq!((counters.records, counters.bytes_waiting), (4, 0));
    assert!(journal.close());
}

#[test]
fn a_batch_longer_than_a_segment_is_committed() {
    let place = Place::new();
    let folder = place.shard();
    let mut journal = start(&folder, options()).expect("a journal");
    record(&mut journal, 1..=5000);
    committed(&mut journal, 5000);
    assert_eq!(found(&folder, 1), (1..=5000).collect::<Vec<_>>());
    assert!(journal.close());
}

#[test]
fn full_segments_come_in_order_and_settled_ones_are_used_again() {
    let place = Place::new();
    let folder = place.shard();
    let mut journal = start(&folder, options()).expect("a journal");
    let (mut next, mut settled) = (1, 0);
    for _ in 0..200 {
        record(&mut journal, next..next + 10);
        next += 10;
        committed(&mut journal, next - 1);
        for full in journal.full_segments() {
            assert_eq!(full.path, folder.join(FileName::Segment(full.sequence).to_string()));
            let bytes = fs::read(&full.path).expect("a full segment");
            let (_, batches) = Segment::open(&bytes).expect("a full segment");
            let batches: Vec<_> = batches.map(|batch| batch.expect("no damage")).collect();
            assert_eq!(batches.first().map(|batch| batch.first), Some(settled + 1));
            assert_eq!(batches.last().map(|batch| batch.last), Some(full.last_number));
            settled = full.last_number;
            journal.settled(full.sequence);
        }
    }
    assert_eq!(found(&folder, settled + 1), (settled + 1..next).collect::<Vec<_>>());
    assert!(settled > next - 200);
    assert_eq!(journal.counters().segments_unsettled, 0);
    until(&mut journal, |journal| !is_busy(journal));
    let files = files(&folder).expect("a folder");
    assert!(files.len() <= 4, "{files:?}");
    assert!(files.iter().all(|(_, bytes)| *bytes == options().segment_bytes), "{files:?}");
    assert!(journal.close());
}

#[test]
fn a_rotation_gives_what_was_recorded_before_it() {
    let place = Place::new();
    let folder = place.shard();
    let slow = LogOptions { commit_delay: PATIENCE, ..options() };
    let mut journal = start(&folder, slow).expect("a journal");
    record(&mut journal, 1..=3);
    assert!(!is_busy(&journal));
    journal.rotate();
    committed(&mut journal, 3);
    let full = journal.full_segments();
    assert_eq!(full.iter().map(|full| full.last_number).collect::<Vec<_>>(), [3]);
    record(&mut journal, 4..=5);
    assert_eq!(journal.committed(), 3);
    journal.commit_now();
    committed(&mut journal, 5);
    assert_eq!(found(&folder, 1), [1, 2, 3, 4, 5]);
    assert!(journal.close());
}

#[test]
fn with_an_interval_nobody_waits_and_the_end_leaves_nothing_out() {
    let place = Place::new();
    let folder = place.shard();
    let often = LogOptions { durability: Durability::Interval(Duration::from_millis(20)), ..options() };
    let mut journal = start(&folder, often).expect("a journal");
    record(&mut journal, 1..=3);
    assert!(journal.committed() == 3 && !is_busy(&journal));
    until(&mut journal, |journal| journal.counters().commits == 1);
    assert_eq!(found(&folder, 1), [1, 2, 3]);
    record(&mut journal, 4..=9);
    assert!(journal.close());
    assert_eq!(found(&folder, 1), (1..=9).collect::<Vec<_>>());
}

#[test]
fn the_next_start_leaves_the_segments_alone_and_takes_the_spares() {
    let place = Place::new();
    let folder = place.shard();
    let mut journal = start(&folder, options()).expect("a journal");
    record(&mut journal, 1..=3);
    journal.rotate();
    committed(&mut journal, 3);
    journal.settled(1);
    record(&mut journal, 4..=6);
    committed(&mut journal, 6);
    until(&mut journal, |journal| !is_busy(journal));
    assert!(journal.close());
    let names = |folder: &Path| files(folder).expect("a folder").into_iter().map(|(name, _)| name).collect();
    let before: BTreeSet<FileName> = names(&folder);
    assert!(before.contains(&FileName::Spare(1)) && before.contains(&FileName::Segment(2)), "{before:?}");
    let next = LogOptions { epoch: 2, next_number: 7, ..options() };
    let mut journal = start(&folder, next).expect("a journal");
    record(&mut journal, 7..=7);
    committed(&mut journal, 7);
    let after: BTreeSet<FileName> = names(&folder);
    assert!(after.contains(&FileName::Segment(2)) && !after.contains(&FileName::Spare(1)), "{after:?}");
    assert_eq!(found(&folder, 4), [4, 5, 6, 7]);
    assert!(journal.close());
}

/// The folder is away for a while: what was recorded meanwhile is committed when it is back.
#[test]
fn while_no_segment_can_be_made_nothing_is_committed_and_then_everything_is() {
    let place = Place::new();
    let (folder, away) = (place.shard(), place.0.join("away"));
    let small = LogOptions { segment_bytes: 3 * BLOCK_BYTES as u64, ..options() };
    let mut journal = start(&folder, small).expect("a journal");
    record(&mut journal, 1..=1);
    committed(&mut journal, 1);
    until(&mut journal, |journal| !is_busy(journal));
    fs::rename(&folder, &away).expect("renamed");
    record(&mut journal, 2..=30);
    until(&mut journal, |journal| journal.failure().is_some());
    let failure = journal.failure().expect("a failure");
    assert!(failure.what.contains("cannot open") && failure.what.contains("shard-03"), "{failure:?}");
    assert_eq!(journal.committed(), 1);
    fs::rename(&away, &folder).expect("renamed");
    committed(&mut journal, 30);
    assert_eq!(journal.failure(), None);
    assert_eq!(found(&folder, 1), (1..=30).collect::<Vec<_>>());
    assert!(journal.close());
}

#[test]
fn a_journal_that_cannot_be_says_why() {
    let place = Place::new();
    let folder = place.shard();
    fs::write(&folder, "a file").expect("written");
    start(&folder, options()).expect_err("no journal");
}

/// A file system that is too small. Where none may be mounted, the test above stands for this one too.
#[test]
fn a_full_file_system_stops_commits_until_there_is_room() {
    let place = Place::new();
    let mounted = place.0.join("small");
    fs::create_dir(&mounted).expect("a directory");
    let mount = process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&mounted).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return;
    }
    let folder = mounted.join("shard-03");
    let failed = std::panic::catch_unwind(move || fill(folder)).is_err();
    process::Command::new("umount").arg(&mounted).status().expect("unmounted");
    assert!(!failed);
}

fn fill(folder: PathBuf) {
    let mut journal = start(&folder, options()).expect("a journal");
    let (mut next, mut full) = (1, Vec::new());
    while journal.failure().is_none() {
        record(&mut journal, next..next + 10);
        next += 10;
        until(&mut journal, |journal| journal.committed() == next - 1 || journal.failure().is_some());
        full.extend(journal.full_segments());
    }
    assert!(full.len() > 3 && journal.committed() < next - 1);
    let failure = journal.failure().expect("a failure");
    assert!(failure.what.contains("make room"), "{failure:?}");
    // Nothing acknowledged is touched by what failed.
    assert_eq!(found(&folder, 1), (1..=journal.committed()).collect::<Vec<_>>());
    for settled in &full {
        journal.settled(settled.sequence);
    }
    let last = full.last().map_or(0, |full| full.last_number);
    committed(&mut journal, next - 1);
    assert_eq!(journal.failure(), None);
    assert_eq!(found(&folder, last + 1), (last + 1..next).collect::<Vec<_>>());
    assert!(journal.close());
}
