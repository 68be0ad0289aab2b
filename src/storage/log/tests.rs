//! Every transition, and the log on a disk that loses, tears and fails what it can.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::samples::{hasher, number, numbered};
use super::super::segment::{Chain, Segment};
use super::*;

const BLOCK: u64 = BLOCK_BYTES as u64;

fn options(segment_blocks: u64) -> LogOptions {
    LogOptions {
        store_id: 5,
        epoch: 1,
        shard: ShardId::new(3),
        next_number: 1,
        durability: Durability::Commit,
        commit_delay: Duration::ZERO,
        commit_bytes_max: 64 * 1024,
        segment_bytes: segment_blocks * BLOCK,
        segments_max: 4,
    }
}

/// A log whose operations are answered by hand.
struct Hand {
    log: Log<Vec<u8>>,
    now: Instant,
    next: u64,
}

impl Hand {
    fn new(options: LogOptions) -> Self {
        Self { log: Log::new(options, &[]), now: Instant::now(), next: options.next_number }
    }

    /// With a segment that is prepared.
    fn ready(options: LogOptions) -> Self {
        let mut hand = Self::new(options);
        assert!(!hand.log.is_ready());
        hand.upkeep();
        assert!(hand.log.is_ready());
        hand
    }

    fn record(&mut self, records: u64) {
        self.record_bytes(records, 100);
    }

    fn record_bytes(&mut self, records: u64, bytes: usize) {
        let mut group: Vec<Record> = (self.next..self.next + records).map(|number| numbered(number, bytes)).collect();
        self.next += records;
        self.log.record(self.now, &mut group);
        assert!(group.is_empty());
    }

    fn next(&mut self, lane: Lane) -> Option<String> {
        self.log.next(self.now, lane).map(|operation| told(&operation))
    }

    fn done(&mut self, lane: Lane, is_ok: bool) {
        self.log.done(self.now, lane, if is_ok { Ok(()) } else { Err("no".to_owned()) });
    }

    /// All that upkeep has to do goes well.
    fn upkeep(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(operation) = self.next(Lane::Upkeep) {
            told.push(operation);
            self.done(Lane::Upkeep, true);
        }
        told
    }

    /// A whole commit that goes well.
    fn commit(&mut self) -> [String; 2] {
        [(); 2].map(|()| {
            let told = self.next(Lane::Commit).expect("a step of a commit");
            self.done(Lane::Commit, true);
            told
        })
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

fn told(operation: &Operation<Vec<u8>>) -> String {
    match operation {
        Operation::Open(file) => format!("open {}", short(*file)),
        Operation::Write { file, offset, buffer } => {
            format!("write {} {}+{}", short(*file), offset / BLOCK, buffer.len() as u64 / BLOCK)
        }
        Operation::Sync(file) => format!("sync {}", short(*file)),
        Operation::Rename { from, to } => format!("rename {} {}", short(*from), short(*to)),
        Operation::SyncFolder => "sync folder".to_owned(),
        Operation::Close(file) => format!("close {}", short(*file)),
        Operation::Remove(file) => format!("remove {}", short(*file)),
    }
}

fn short(file: FileName) -> String {
    match file {
        FileName::Segment(sequence) => format!("{sequence}"),
        FileName::Spare(sequence) => format!("spare-{sequence}"),
    }
}

#[test]
fn a_new_segment_has_its_length_its_header_and_its_name_before_it_is_used() {
    let mut hand = Hand::new(options(100));
    hand.record(1);
    assert_eq!(hand.next(Lane::Commit), None);
    let told = hand.upkeep();
    let due = [
        "open spare-1",
        "write spare-1 0+64",
        "write spare-1 64+36",
        "write spare-1 0+1",
        "sync spare-1",
        "rename spare-1 1",
        "sync folder",
    ];
    assert_eq!(told, due);
    assert_eq!(hand.commit(), ["write 1 1+1", "sync 1"]);
}

#[test]
fn a_batch_is_written_then_synced_then_committed_and_the_next_forms_meanwhile() {
    let mut hand = Hand::ready(options(100));
    assert_eq!(hand.next(Lane::Commit), None);
    hand.record(2);
    assert_eq!(hand.next(Lane::Commit), Some("write 1 1+1".to_owned()));
    assert!(hand.log.is_busy(Lane::Commit));
    hand.record(3);
    hand.record(3);
    assert_eq!(hand.next(Lane::Commit), None);
    hand.done(Lane::Commit, true);
    assert!(!hand.log.is_busy(Lane::Commit));
    assert_eq!((hand.next(Lane::Commit), hand.log.committed()), (Some("sync 1".to_owned()), 0));
    hand.done(Lane::Commit, true);
    assert_eq!(hand.log.committed(), 2);
    assert_eq!(hand.commit(), ["write 1 2+1", "sync 1"]);
    assert_eq!((hand.log.committed(), hand.log.recorded(), hand.next(Lane::Commit)), (8, 8, None));
    let counters = hand.log.counters();
    assert_eq!((counters.commits, counters.records, counters.bytes), (2, 8, 2 * BLOCK));
    assert_eq!(counters.bytes_waiting, 0);
}

#[test]
fn a_batch_takes_no_more_records_when_it_has_the_bytes() {
    let mut hand = Hand::ready(LogOptions { commit_bytes_max: BLOCK_BYTES, ..options(100) });
    hand.record_bytes(1, 3000);
    hand.record_bytes(1, 3000);
    hand.record_bytes(1, 3000);
    assert_eq!(hand.commit(), ["write 1 1+2", "sync 1"]);
    assert_eq!(hand.log.committed(), 2);
    assert_eq!(hand.commit(), ["write 1 3+1", "sync 1"]);
    assert_eq!(hand.log.committed(), 3);
}

#[test]
fn a_batch_waits_for_the_delay_unless_it_has_the_bytes_or_is_asked_for() {
    let delay = Duration::from_millis(10);
    let mut hand = Hand::ready(LogOptions { commit_delay: delay, commit_bytes_max: 2 * BLOCK_BYTES, ..options(100) });
    hand.record(1);
    assert_eq!((hand.next(Lane::Commit), hand.log.due()), (None, Some(hand.now + delay)));
    hand.pass(9);
    hand.record(1);
    assert_eq!((hand.next(Lane::Commit), hand.log.due()), (None, Some(hand.now + Duration::from_millis(1))));
    hand.pass(1);
    assert_eq!(hand.commit(), ["write 1 1+1", "sync 1"]);
    assert_eq!((hand.log.committed(), hand.log.due()), (2, None));
    hand.record(1);
    assert_eq!(hand.next(Lane::Commit), None);
    hand.log.commit_now();
    assert_eq!(hand.commit(), ["write 1 2+1", "sync 1"]);
    hand.record(1);
    assert_eq!(hand.next(Lane::Commit), None);
    hand.record_bytes(1, 2 * BLOCK_BYTES);
    assert_eq!(hand.commit(), ["write 1 3+3", "sync 1"]);
}

#[test]
fn with_an_interval_it_is_committed_at_once_and_synced_later() {
    let interval = Duration::from_millis(100);
    let mut hand = Hand::ready(LogOptions { durability: Durability::Interval(interval), ..options(100) });
    hand.record(2);
    assert_eq!((hand.log.committed(), hand.log.synced(), hand.next(Lane::Commit)), (2, 0, None));
    assert_eq!(hand.log.due(), Some(hand.now + interval));
    hand.pass(100);
    assert_eq!(hand.commit(), ["write 1 1+1", "sync 1"]);
    assert_eq!(hand.log.synced(), 2);
}

#[test]
fn the_next_segment_is_prepared_when_one_is_half_full_and_begins_when_it_is_full() {
    let mut hand = Hand::ready(options(6));
    hand.record(1);
    hand.commit();
    assert!(hand.upkeep().is_empty());
    hand.record(1);
    hand.commit();
    let told = hand.upkeep();
    assert_eq!(told.first().map(String::as_str), Some("open spare-2"));
    assert_eq!(told.last().map(String::as_str), Some("sync folder"));
    for _ in 0..3 {
        hand.record(1);
        hand.commit();
    }
    assert!(hand.log.full_segments().is_empty() && hand.upkeep().is_empty());
    hand.record(1);
    assert_eq!(hand.commit(), ["write 2 1+1", "sync 2"]);
    assert_eq!(hand.log.full_segments(), [Ended { sequence: 1, last_number: 5 }]);
    assert_eq!(hand.upkeep(), ["close 1"]);
    assert_eq!(hand.log.counters().segments_unsettled, 1);
}

#[test]
fn a_settled_segment_is_used_again_once_it_is_a_spare_for_ever() {
    let mut hand = Hand::ready(options(3));
    for _ in 0..3 {
        hand.record(1);
        hand.commit();
        hand.record(1);
        hand.commit();
        hand.upkeep();
    }
    assert_eq!(hand.log.full_segments().len(), 2);
    hand.log.settled(1);
    hand.log.settled(7);
    assert_eq!(hand.upkeep(), ["rename 1 spare-1"]);
    hand.record(1);
    assert_eq!(hand.commit(), ["write 4 1+1", "sync 4"]);
    let due = [
        "sync folder",
        "open spare-1",
        "write spare-1 0+1",
        "sync spare-1",
        "rename spare-1 5",
        "sync folder",
        "close 3",
    ];
    assert_eq!(hand.upkeep(), due);
}

#[test]
fn no_segment_begins_while_too_many_are_not_settled() {
    let mut hand = Hand::ready(LogOptions { segments_max: 1, ..options(3) });
    for _ in 0..4 {
        hand.record(1);
        hand.commit();
        hand.upkeep();
    }
    hand.record(1);
    assert_eq!((hand.next(Lane::Commit), hand.log.due(), hand.log.failure()), (None, None, None));
    hand.log.settled(1);
    assert_eq!(hand.commit(), ["write 3 1+1", "sync 3"]);
    assert_eq!(hand.log.committed(), 5);
}

#[test]
fn what_failed_to_be_written_or_synced_goes_into_another_file_as_it_was() {
    for fails_at_sync in [false, true] {
        let mut hand = Hand::ready(options(100));
        hand.record(1);
        hand.commit();
        hand.record(2);
        hand.next(Lane::Commit);
        if fails_at_sync {
            hand.done(Lane::Commit, true);
            hand.next(Lane::Commit);
        }
        hand.done(Lane::Commit, false);
        assert_eq!(hand.log.failure(), Some(Failure { what: "no".to_owned() }));
        assert_eq!(hand.log.full_segments(), [Ended { sequence: 1, last_number: 1 }]);
        // What comes later is another batch.
        hand.record(3);
        assert_eq!(hand.upkeep().first().map(String::as_str), Some("open spare-2"));
        assert_eq!((hand.next(Lane::Commit), hand.log.due()), (None, Some(hand.now + RETRY)));
        hand.pass(1000);
        assert_eq!(hand.commit(), ["write 2 1+1", "sync 2"]);
        assert_eq!((hand.log.committed(), hand.log.failure()), (3, None));
        assert_eq!(hand.commit(), ["write 2 2+1", "sync 2"]);
        assert_eq!(hand.log.committed(), 6);
        // A file that failed once is not used again.
        hand.log.settled(1);
        assert_eq!(hand.upkeep(), ["remove 1"]);
    }
}

#[test]
fn a_segment_without_a_batch_that_counts_is_of_no_interest_to_who_settles() {
    let mut hand = Hand::ready(options(100));
    hand.record(1);
    hand.next(Lane::Commit);
    hand.done(Lane::Commit, false);
    assert!(hand.log.full_segments().is_empty());
    assert_eq!(hand.upkeep().split_off(7), ["close 1", "remove 1"]);
}

#[test]
fn a_segment_that_cannot_be_prepared_is_tried_again_in_another_file_a_second_later() {
    let steps = 6;
    for failing in 0..steps {
        let mut hand = Hand::new(options(8));
        hand.record(1);
        for _ in 0..failing {
            hand.next(Lane::Upkeep);
            hand.done(Lane::Upkeep, true);
        }
        assert_eq!(hand.log.failure(), None);
        assert!(hand.next(Lane::Upkeep).is_some());
        hand.done(Lane::Upkeep, false);
        assert!(hand.log.failure().is_some() && !hand.log.is_ready());
        assert_eq!(hand.upkeep(), ["remove 1", "remove spare-1"]);
        assert_eq!(hand.log.due(), Some(hand.now + RETRY));
        hand.pass(1000);
        assert_eq!(hand.upkeep()[0], "open spare-2");
        assert!(hand.log.failure().is_none() && hand.log.is_ready());
        assert_eq!(hand.commit(), ["write 2 1+1", "sync 2"]);
    }
}

/// While there is room where it writes, nothing has failed that anybody needs to know of.
#[test]
fn a_next_segment_that_cannot_be_prepared_yet_stops_nobody() {
    let mut hand = Hand::ready(options(4));
    hand.record(1);
    hand.commit();
    hand.next(Lane::Upkeep);
    hand.done(Lane::Upkeep, false);
    hand.record(1);
    hand.commit();
    assert_eq!(hand.log.failure(), None);
    hand.record(1);
    hand.commit();
    hand.record(1);
    assert_eq!(hand.next(Lane::Commit), None);
    assert!(hand.log.failure().is_some());
    assert_eq!(hand.log.committed(), 3);
}

#[test]
fn a_batch_longer_than_a_segment_gets_a_longer_one() {
    let mut hand = Hand::ready(options(4));
    hand.record_bytes(1, 5 * BLOCK_BYTES);
    assert_eq!(hand.next(Lane::Commit), None);
    let told = hand.upkeep();
    assert_eq!(told[1..3], ["write spare-2 0+7", "write spare-2 0+1"]);
    assert_eq!(told[6..], ["close 1", "rename 1 spare-1"]);
    assert_eq!(hand.commit(), ["write 2 1+6", "sync 2"]);
    hand.record(1);
    hand.upkeep();
    assert_eq!(hand.commit(), ["write 3 1+1", "sync 3"]);
    assert_eq!(hand.log.full_segments(), [Ended { sequence: 2, last_number: 1 }]);
    hand.log.settled(2);
    assert_eq!(hand.upkeep().last().map(String::as_str), Some("remove 2"));
}

#[test]
fn a_rotation_ends_the_segment_behind_all_that_was_recorded_before() {
    let mut hand = Hand::ready(LogOptions { commit_delay: Duration::from_secs(9), ..options(100) });
    hand.log.rotate();
    assert!(hand.log.full_segments().is_empty());
    hand.record(2);
    hand.log.rotate();
    assert!(hand.log.full_segments().is_empty());
    hand.commit();
    assert_eq!(hand.log.full_segments(), [Ended { sequence: 1, last_number: 2 }]);
    hand.upkeep();
    hand.record(1);
    hand.log.commit_now();
    hand.commit();
    hand.log.rotate();
    assert_eq!(hand.log.full_segments(), [Ended { sequence: 2, last_number: 3 }]);
}

#[test]
fn what_is_found_in_the_folder_is_used_or_left_and_no_number_comes_twice() {
    let found = [(FileName::Segment(7), 8 * BLOCK), (FileName::Spare(3), 8 * BLOCK), (FileName::Spare(9), 3 * BLOCK)];
    let mut log: Log<Vec<u8>> = Log::new(options(8), &found);
    let mut told_all = Vec::new();
    while let Some(operation) = log.next(Instant::now(), Lane::Upkeep) {
        told_all.push(told(&operation));
        log.done(Instant::now(), Lane::Upkeep, Ok(()));
    }
    let due = [
        "sync folder",
        "open spare-3",
        "write spare-3 0+1",
        "sync spare-3",
        "rename spare-3 10",
        "sync folder",
        "remove spare-9",
    ];
    assert_eq!(told_all, due);
}

#[test]
fn who_closes_commits_what_is_left_and_prepares_nothing() {
    let mut hand = Hand::ready(LogOptions { commit_delay: Duration::from_secs(9), ..options(4) });
    hand.record(1);
    hand.log.close();
    hand.commit();
    assert_eq!((hand.log.synced(), hand.upkeep().len(), hand.log.due()), (1, 0, None));
}

// A disk that does what disks may do.

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.roll(one_in) == 0
    }
}

const SECTOR: usize = 512;

#[derive(Default)]
struct File {
    /// What is there after a power failure, for certain.
    durable: Vec<u8>,
    /// Not synced: each sector of it is there, or not.
    pending: Vec<(usize, Arc<Vec<u8>>)>,
}

impl File {
    /// None of it, all of it, or something in between.
    fn keep_some(&mut self, chance: u64, dice: &mut Dice) {
        self.keep(|| chance == 3 || chance > 0 && dice.is(1 + chance));
    }

    fn keep(&mut self, mut is_kept: impl FnMut() -> bool) {
        for (offset, bytes) in self.pending.drain(..) {
            for at in (0..bytes.len()).step_by(SECTOR) {
                if is_kept() {
                    let end = offset + at + SECTOR;
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                    self.durable[offset + at..end].copy_from_slice(&bytes[at..at + SECTOR]);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Naming {
    Make(FileName, usize),
    Rename(FileName, FileName),
    Remove(FileName),
}

#[derive(Default)]
struct Folder {
    files: Vec<File>,
    /// For certain, and as they are to be; between them in this order.
    durable: BTreeMap<FileName, usize>,
    current: BTreeMap<FileName, usize>,
    pending: Vec<Naming>,
}

fn apply(names: &mut BTreeMap<FileName, usize>, naming: Naming) {
    match naming {
        Naming::Make(name, file) => drop(names.insert(name, file)),
        Naming::Remove(name) => drop(names.remove(&name)),
        Naming::Rename(from, to) => {
            if let Some(file) = names.remove(&from) {
                names.insert(to, file);
            }
        }
    }
}

impl Folder {
    fn name(&mut self, naming: Naming) {
        apply(&mut self.current, naming);
        self.pending.push(naming);
    }

    fn file(&mut self, name: FileName) -> &mut File {
        let file = self.current[&name];
        &mut self.files[file]
    }

    /// `fails`: an operation may do anything that it could have done, and then say that it failed.
    fn run(&mut self, operation: Operation<Vec<u8>>, dice: &mut Dice, fails: bool) -> Result<(), String> {
        if fails && dice.is(2) {
            return Err("failed at once".to_owned());
        }
        match operation {
            Operation::Open(name) => {
                if !self.current.contains_key(&name) {
                    self.files.push(File::default());
                    self.name(Naming::Make(name, self.files.len() - 1));
                }
            }
            Operation::Write { file, offset, buffer } => self.file(file).pending.push((offset as usize, buffer)),
            // What a failed sync has not written, no later one will.
            Operation::Sync(file) => {
                let chance = if fails { dice.roll(4) } else { 3 };
                self.file(file).keep_some(chance, dice);
            }
            Operation::Rename { from, to } => self.name(Naming::Rename(from, to)),
            Operation::Remove(name) => self.name(Naming::Remove(name)),
            Operation::SyncFolder => self.sync_names(if fails { 1 + dice.roll(9) } else { 0 }),
            Operation::Close(_) => {}
        }
        if fails { Err("failed in the end".to_owned()) } else { Ok(()) }
    }

    /// But the last so many.
    fn sync_names(&mut self, but: u64) {
        let synced = self.pending.len().saturating_sub(but as usize);
        for naming in self.pending.drain(..synced) {
            apply(&mut self.durable, naming);
        }
    }

    fn lose_power(&mut self, dice: &mut Dice) {
        let lost = dice.roll(self.pending.len() as u64 + 1);
        self.sync_names(lost);
        self.pending.clear();
        self.current = self.durable.clone();
        for file in &mut self.files {
            file.keep_some(dice.roll(4), dice);
        }
    }

    fn segments(&self) -> impl Iterator<Item = (FileName, &[u8])> {
        let segments = self.current.iter().filter(|(name, _)| matches!(name, FileName::Segment(_)));
        segments.map(|(name, file)| (*name, self.files[*file].durable.as_slice()))
    }
}

/// A shard over several lives, and what has to be true of it.
struct Lives {
    seed: u64,
    dice: Dice,
    folder: Folder,
    log: Log<Vec<u8>>,
    now: Instant,
    options: LogOptions,
    /// What each lane has begun.
    running: [Option<Operation<Vec<u8>>>; 2],
    /// The last numbers of the groups.
    groups: Vec<u64>,
    /// To be settled, in order, and up to where it was.
    full: Vec<Ended>,
    settled: u64,
    acknowledged: u64,
    /// In a hundred.
    failing: u64,
    /// One in so many chances is taken.
    settling: u64,
    recording: u64,
}

const LANES: [Lane; 2] = [Lane::Commit, Lane::Upkeep];

impl Lives {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let options = LogOptions {
            commit_delay: Duration::from_millis(dice.roll(3)),
            commit_bytes_max: 1 + dice.roll(5) as usize * 2000,
            segments_max: 1 + dice.roll(4) as usize,
            ..options(3 + dice.roll(12))
        };
        Self {
            seed,
            dice,
            folder: Folder::default(),
            log: Log::new(options, &[]),
            now: Instant::now(),
            options,
            running: [None, None],
            groups: vec![0],
            full: Vec::new(),
            settled: 0,
            acknowledged: 0,
            failing: 0,
            settling: 1,
            recording: 1,
        }
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..5 if self.dice.is(self.recording) => self.record(),
            5 => self.now += Duration::from_millis(self.dice.roll(1500)),
            6 if self.dice.is(self.settling) => self.settle(),
            7 if self.dice.is(5) => self.log.rotate(),
            8 if self.dice.is(5) => self.log.commit_now(),
            _ => self.operate(),
        }
        assert!(self.log.committed() >= self.acknowledged, "seed {}", self.seed);
        self.acknowledged = self.log.committed();
        self.full.extend(self.log.full_segments());
    }

    fn record(&mut self) {
        let first = self.log.recorded() + 1;
        let last = first + self.dice.roll(4);
        let bytes = if self.dice.is(30) { 20_000 } else { self.dice.roll(1200) as usize };
        self.log.record(self.now, &mut (first..=last).map(|number| numbered(number, bytes)).collect());
        self.groups.push(last);
    }

    /// One lane begins an operation, or is done with one.
    fn operate(&mut self) {
        let index = self.dice.roll(2) as usize;
        let lane = LANES[index];
        match self.running[index].take() {
            None => self.running[index] = self.log.next(self.now, lane),
            Some(operation) => {
                let fails = self.dice.roll(100) < self.failing;
                let result = self.folder.run(operation, &mut self.dice, fails);
                self.log.done(self.now, lane, result);
            }
        }
    }

    /// As the settler does: what it is given first, up to where it counts.
    fn settle(&mut self) {
        if self.full.is_empty() {
            return;
        }
        let Ended { sequence, last_number } = self.full.remove(0);
        let bytes = &self.folder.file(FileName::Segment(sequence)).durable;
        let (header, batches) = Segment::open(bytes).expect("a segment that is full");
        assert_eq!(header.sequence, sequence);
        let mut chain = Chain::new(self.settled + 1);
        for batch in batches.map(|batch| batch.expect("no damage")).filter(|batch| batch.last <= last_number) {
            assert_eq!(chain.take(&batch), Ok(true), "seed {}", self.seed);
        }
        assert_eq!(chain.next(), last_number + 1, "seed {}", self.seed);
        self.settled = last_number;
        self.log.settled(sequence);
    }

    /// Power fails, and comes back: what was acknowledged is there, once, in order and in whole groups.
    fn die(&mut self) {
        self.running = [None, None];
        self.full.clear();
        self.folder.lose_power(&mut self.dice);
        let numbers = self.recover();
        let next = numbers.end() + 1;
        assert!(next > self.acknowledged, "seed {}: {} of {}", self.seed, next, self.acknowledged);
        assert!(self.groups.contains(&(next - 1)), "seed {}: a part of a group", self.seed);
        self.groups.retain(|last| *last < next);
        // It is settled, and the segments are removed.
        self.settled = next - 1;
        self.acknowledged = next - 1;
        self.folder.current.retain(|name, _| matches!(name, FileName::Spare(_)));
        self.folder.durable = self.folder.current.clone();
        self.options = LogOptions { epoch: self.options.epoch + 1, next_number: next, ..self.options };
        let found: Vec<_> = self
            .folder
            .current
            .iter()
            .map(|(name, file)| (*name, self.folder.files[*file].durable.len() as u64))
            .collect();
        self.log = Log::new(self.options, &found);
    }

    fn recover(&self) -> RangeInclusive<u64> {
        let mut chain = Chain::new(self.settled + 1);
        for (name, bytes) in self.folder.segments() {
            let (header, batches) = Segment::open(bytes).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
            assert_eq!((header.sequence, header.epoch), (name.sequence(), self.options.epoch), "seed {}", self.seed);
            for batch in batches {
                let batch = batch.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
                chain.take(&batch).unwrap_or_else(|error| panic!("seed {}: {name}: {error}", self.seed));
                for record in batch.records() {
                    let found = number(&record.decode(&hasher()).expect("a record"));
                    assert_eq!(found, record.id.number(), "seed {}", self.seed);
                }
            }
        }
        1..=chain.next() - 1
    }

    /// With a disk that is well again everything gets committed.
    fn end(&mut self) {
        let failing = mem::take(&mut self.failing);
        self.log.commit_now();
        for _ in 0..200_000 {
            self.now += Duration::from_millis(10);
            self.operate();
            self.full.extend(self.log.full_segments());
            if self.dice.is(4) {
                self.settle();
            }
            if self.log.synced() == self.log.recorded() && self.log.failure().is_none() {
                break;
            }
        }
        assert_eq!(self.log.committed(), self.log.recorded(), "seed {}", self.seed);
        assert_eq!(self.log.failure(), None, "seed {}", self.seed);
        self.failing = failing;
    }
}

#[test]
fn whatever_a_disk_does_what_was_acknowledged_is_there_once_and_in_whole_groups() {
    let mut failures = 0;
    for seed in 0..400 {
        let mut lives = Lives::new(seed);
        for _ in 0..6 {
            lives.failing = if lives.dice.is(2) { 0 } else { lives.dice.roll(20) };
            lives.settling = [1, 5, 1000][lives.dice.roll(3) as usize];
            // With few records a batch that failed is often alone.
            lives.recording = [1, 8][lives.dice.roll(2) as usize];
            for _ in 0..lives.dice.roll(400) {
                lives.step();
            }
            if lives.dice.is(3) {
                lives.end();
            }
            failures += lives.log.counters().failures;
            lives.die();
        }
    }
    assert!(failures > 1000, "{failures}: too few for a test of them");
}
