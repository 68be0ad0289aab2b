//! Stores looked at, copied, rescued, and those of former versions read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::ReadableDatabase;

use super::backup::BackupReport;
use super::dump::dump;
use super::error::StoreError;
use super::inspect::{check, stats};
use super::journal::FullSegment;
use super::recovery::{Opened, Store};
use super::recovery_tests::{Disk, ada, check_everything, copy_folder, session, some_of_everything, start, subscribe};
use super::salvage::salvage;
use super::segment::BLOCK_BYTES;
use super::tables::{FORMAT_VERSION, META, meta};
use crate::base::{RecordId, ShardId};
use crate::broker::Record;
use crate::mqtt::QoS;
use crate::routing::SubscriptionOptions;

/// What one of the functions says, and to the question whether all is well.
fn said<T>(look: impl FnOnce(&mut dyn std::io::Write) -> Result<T, StoreError>) -> (String, T) {
    let mut out = Vec::new();
    let answer = look(&mut out).unwrap();
    (String::from_utf8(out).unwrap(), answer)
}

/// A store with its log unsettled, and the segment.
fn unsettled(batches: &[Vec<Record>]) -> (Disk, PathBuf) {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let path = disk.segment(&opened, 0, 1, 1, batches);
    (disk, path)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_store_is_told_sound_before_and_after_its_log_is_settled() {
    let (disk, _) = unsettled(&[some_of_everything()]);
    for wanted in ["sound, 14 records", "1 sessions, "] {
        let (text, is_sound) = said(|out| check(&disk.path(), out));
        assert!(is_sound && text.contains(wanted), "{text}");
        drop(disk.open().unwrap());
    }
    let (text, ()) = said(|out| stats(&disk.path(), out));
    assert!(text.contains("sessions: 1") && text.contains("queued messages: 2"), "{text}");
}

#[test]
fn a_look_needs_a_store_that_nobody_has() {
    let disk = Disk::new(1);
    assert!(matches!(check(&disk.path(), &mut Vec::new()), Err(StoreError::Io { .. })));
    assert!(!disk.path().exists());
    let opened = disk.open().unwrap();
    assert!(matches!(check(&disk.path(), &mut Vec::new()), Err(StoreError::Locked { .. })));
    drop(opened);
}

#[test]
fn damage_is_found_wherever_it_is() {
    let records = some_of_everything();
    let (disk, path) = unsettled(&[records[..2].to_vec(), records[2..].to_vec()]);
    flip(&path, BLOCK_BYTES + 60);
    let (text, is_sound) = said(|out| check(&disk.path(), out));
    assert!(!is_sound && text.contains("0000000000000001.log"), "{text}");

    let disk = Disk::new(1);
    drop(disk.after(&[&some_of_everything()]));
    let tables = disk.path().join("settled.redb");
    let bytes = fs::read(&tables).unwrap();
    // Wherever the will stands: the page's checksum is not its any more.
    let places: Vec<_> = bytes.windows(4).enumerate().filter(|(_, bytes)| bytes == b"gone").map(|(at, _)| at).collect();
    places.into_iter().for_each(|at| flip(&tables, at));
    let (text, is_sound) = said(|out| check(&disk.path(), out));
    assert!(!is_sound, "{text}");
}

#[test]
fn a_dump_tells_of_tables_and_of_segments() {
    let (disk, _) = unsettled(&[some_of_everything()]);
    let (text, ()) = said(|out| dump(&disk.path(), out));
    assert!(text.contains(r#""segment":1"#) && text.contains("SessionStarted"), "{text}");
    drop(disk.open().unwrap());
    let (text, ()) = said(|out| dump(&disk.path(), out));
    for part in [r#""client":"a""#, r#""filter":"x/#""#, r#""payload":"two""#, r#""payload":"three""#, r#"{"retained""#]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
}

#[test]
fn what_is_salvaged_of_a_sound_store_is_all_of_it() {
    let (disk, _) = unsettled(&[some_of_everything()]);
    let into = disk.folder.path().join("saved");
    let (text, is_all) = said(|out| salvage(&disk.path(), &into, out));
    assert!(is_all, "{text}");
    check_everything(&Store::open(&into, 1, &mut |_| {}).unwrap());
    drop(disk.open().unwrap());
    let into = disk.folder.path().join("saved again");
    let (text, is_all) = said(|out| salvage(&disk.path(), &into, out));
    assert!(is_all, "{text}");
    check_everything(&Store::open(&into, 1, &mut |_| {}).unwrap());
    assert!(matches!(salvage(&disk.path(), &into, &mut Vec::new()), Err(StoreError::NotEmpty { .. })));
}

#[test]
fn of_a_damaged_segment_the_sound_records_are_saved() {
    let session = RecordId::new(1, ShardId::new(0)).unwrap();
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
    let filters = |from: u32| (from..from + 3).map(|n| subscribe(session, &format!("f{n}"), options));
    let first = [start("a")].into_iter().chain(filters(0)).collect();
    let (disk, path) = unsettled(&[first, filters(3).collect()]);
    let at = fs::read(&path).unwrap().windows(2).position(|bytes| bytes == b"f1").unwrap();
    flip(&path, at);
    let into = disk.folder.path().join("saved");
    let (text, is_all) = said(|out| salvage(&disk.path(), &into, out));
    assert!(!is_all && text.contains("the records 3 to 3 are missing"), "{text}");
    let opened = Store::open(&into, 1, &mut |_| {}).unwrap();
    let saved: Vec<_> = session_filters(&opened);
    assert_eq!(saved, ["f0", "f2", "f3", "f4", "f5"]);
}

fn session_filters(opened: &Opened) -> Vec<&str> {
    session(opened, "a").subscriptions.iter().map(|(filter, _)| &**filter).collect()
}

#[test]
fn of_unreadable_tables_the_log_is_saved() {
    let (disk, _) = unsettled(&[some_of_everything()]);
    fs::write(disk.path().join("settled.redb"), b"no tables").unwrap();
    let into = disk.folder.path().join("saved");
    let (text, is_all) = said(|out| salvage(&disk.path(), &into, out));
    assert!(!is_all, "{text}");
    check_everything(&Store::open(&into, 1, &mut |_| {}).unwrap());
}

#[test]
fn a_copy_of_a_store_that_goes_on_is_a_store() {
    let disk = Disk::new(1);
    let opened = disk.open().unwrap();
    let path = disk.segment(&opened, 0, 1, 1, &[some_of_everything()]);
    let handle = opened.store.start(|_, _| {}).unwrap();
    let into = disk.folder.path().join("copy");
    let backup = |into: &Path| handle.backup(into.to_owned()).recv_timeout(Duration::from_secs(10)).unwrap();
    backup(&into).unwrap();
    assert!(matches!(backup(&into), Err(StoreError::NotEmpty { .. })));
    handle.settle(FullSegment { path, shard: ShardId::new(0), sequence: 1, last_number: 14 });
    while handle.stats().unwrap().segments_settled == 0 {
        std::thread::yield_now();
    }
    let later = disk.folder.path().join("later");
    let BackupReport { rows, bytes } = backup(&later).unwrap();
    assert!(rows > 14 && bytes > 0);
    let before = Store::open(&into, 1, &mut |_| {}).unwrap();
    assert!(before.shards[0].sessions.is_empty());
    check_everything(&Store::open(&later, 1, &mut |_| {}).unwrap());
    handle.stop();
}

/// Before sessions had owners.
#[test]
fn a_store_of_format_version_1_is_read_and_becomes_one_of_this_version() {
    let opened = read_golden(&golden(1));
    assert_eq!([&session(&opened, "a").owner, &session(&opened, "b").owner], [&None, &None]);
    assert_eq!(format_of(&opened), FORMAT_VERSION);
}

/// A store as this version writes it, its last start not settled. `THRUM_WRITE_GOLDEN=1` makes it anew, which only a new
/// format version is a reason for.
#[test]
fn a_store_of_format_version_2_is_read() {
    assert_eq!(FORMAT_VERSION, 2, "a new version needs a store of its own here");
    let golden = golden(2);
    if std::env::var_os("THRUM_WRITE_GOLDEN").is_some() {
        write_golden(&golden);
    }
    let opened = read_golden(&golden);
    assert_eq!([&session(&opened, "a").owner, &session(&opened, "b").owner], [&Some(ada()), &Some(ada())]);
}

fn golden(version: u64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/store/golden/{version}"))
}

fn format_of(opened: &Opened) -> u64 {
    let reading = opened.store.settled.db().unwrap().begin_read().unwrap();
    reading.open_table(META).unwrap().get(meta::FORMAT).unwrap().unwrap().value()
}

fn read_golden(golden: &Path) -> Opened {
    let disk = Disk::new(2);
    copy_folder(golden, &disk.path());
    let (text, is_sound) = said(|out| check(&disk.path(), out));
    assert!(is_sound, "{text}");
    let opened = disk.open().unwrap();
    check_everything(&opened);
    assert_eq!(opened.epoch, 3);
    assert_eq!(session(&opened, "b").subscriptions[0].0, "y".into());
    opened
}

fn write_golden(golden: &Path) {
    let disk = Disk::new(1);
    let mut records = some_of_everything();
    records.push(Record::SessionOwned { session: RecordId::new(1, ShardId::new(0)).unwrap(), owner: ada() });
    let opened = disk.after(&[&records]);
    let next = opened.next_number;
    let session = RecordId::new(next, ShardId::new(0)).unwrap();
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
    let started = Record::SessionStarted { client_id: "b".into(), expiry_secs: 60, owner: Some(ada()) };
    disk.segment(&opened, 0, 2, next, &[vec![started, subscribe(session, "y", options)]]);
    drop(opened);
    fs::remove_file(disk.path().join("lock")).unwrap();
    copy_folder(&disk.path(), golden);
}
