//! The store as an operator meets it: where it lies, who may have it, what signals and `thrum store` do.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::broker::{Broker, PATIENCE, Setup, binary};
use crate::client::connect;
use crate::packets::{Login, V5};

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// `thrum store ... -d directory`.
pub(crate) fn store(command: &[&str], directory: &Path) -> Output {
    Command::new(binary()).arg("store").args(command).arg("-d").arg(directory).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("UTF-8")
}

/// A session that lasts, with a message that waits for it, and a retained one.
fn leave_something(broker: &Broker) {
    let mut reader = Login::new(V5, "away").lasting(3_600).connect(broker);
    reader.subscribe("for/away", 1);
    reader.bye();
    let mut publisher = connect(broker, V5, "publisher");
    publisher.publish_to("for/away", b"waits", 1);
    publisher.retain("kept", b"stays");
    publisher.bye();
}

#[test]
fn a_directory_is_made_for_its_owner_alone_and_locked_while_the_broker_runs() {
    let folder = folder();
    let path = folder.path().join("deep/store");
    let setup = Setup::new(2).store(&path);
    let broker = setup.clone().start();
    leave_something(&broker);
    let mode =
        |name: &str| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path.join(name)).unwrap().permissions());
    assert_eq!((mode("") & 0o777, mode("lock") & 0o777, mode("control.sock") & 0o777), (0o700, 0o600, 0o600));
    let (code, log) = setup.fail_to_start();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("another process") && log.contains("has this store"), "{log}");
    connect(&broker, V5, "still").ping();
    broker.stop();
    assert!(!path.join("control.sock").exists());
}

#[test]
fn without_persistence_there_is_no_directory() {
    let folder = folder();
    let path = folder.path().join("store");
    for setup in [Setup::new(1), Setup::new(1).store(&path).store_option("durability", "\"none\"")] {
        let broker = setup.start();
        leave_something(&broker);
        broker.stop();
        assert!(!path.exists());
    }
}

#[test]
fn a_directory_that_cannot_be_is_told_and_ends_the_start_with_1() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "no directory").expect("it is ours");
    let (code, log) = Setup::new(1).store(&file).fail_to_start();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot start: ") && log.contains(file.to_str().unwrap()), "{log}");
}

#[test]
fn usr1_writes_what_an_interval_would_have_left_for_later() {
    let folder = folder();
    let setup = Setup::new(2).store(folder.path()).store_option("durability", "\"interval\"");
    let broker = setup.store_option("interval_ms", "60000").option("sys_interval_secs", 1).start();
    leave_something(&broker);
    // Acknowledged at once, and not on the disk.
    assert!(waiting(&broker, |bytes| bytes > 0));
    broker.signal(Signal::USR1);
    broker.line("USR1 is heard", |line| line.text().contains("USR1"));
    assert!(waiting(&broker, |bytes| bytes == 0));
    broker.stop();
}

/// Whether so many bytes are soon told to wait for the disk.
fn waiting(broker: &Broker, wanted: impl Fn(u64) -> bool) -> bool {
    let mut watcher = connect(broker, V5, "watcher");
    watcher.subscribe("$SYS/broker/thrum/store/bytes_waiting", 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Some(publish) = watcher.take() else { return false };
        if wanted(publish.text().parse().expect("a number")) {
            watcher.bye();
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
    }
}

#[test]
fn signals_are_heard_without_a_store() {
    let broker = Setup::new(1).start();
    for signal in [Signal::USR1, Signal::USR2] {
        broker.signal(signal);
    }
    broker.line("USR1 has nothing to do", |line| line.text().contains("USR1 has nothing to do"));
    broker.line("USR2 has nothing to do", |line| line.text().contains("USR2 has nothing to do"));
    broker.stop();
}

#[test]
fn a_running_broker_answers_for_its_store() {
    let folder = folder();
    let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
    let broker = Setup::new(2).store(&path).start();
    leave_something(&broker);
    let made = store(&["backup", copy.to_str().unwrap()], &path);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let again = store(&["backup", copy.to_str().unwrap()], &path);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("not empty"), "{}", text(&again.stderr));
    let stats = store(&["stats"], &path);
    assert!(stats.status.success() && text(&stats.stdout).contains("segments settled: "), "{stats:?}");
    let check = store(&["check"], &path);
    assert_eq!(check.status.code(), Some(1), "a running broker's store is not looked at from outside");
    broker.stop();
    for directory in [&path, &copy] {
        let check = store(&["check"], directory);
        assert!(check.status.success(), "{check:?}");
    }
    let late = store(&["backup", folder.path().join("late").to_str().unwrap()], &path);
    assert!(!late.status.success() && text(&late.stderr).contains("cp -a"), "{late:?}");
}

#[test]
fn a_crash_leaves_a_sound_store_and_an_open_door() {
    let folder = folder();
    let setup = Setup::new(2).store(folder.path());
    let broker = setup.clone().start();
    leave_something(&broker);
    broker.crash();
    assert!(folder.path().join("control.sock").exists());
    let check = store(&["check"], folder.path());
    assert!(check.status.success(), "{check:?}");
    // What the one before left behind is in nobody's way.
    let broker = setup.start();
    broker.line("the store is told of", |line| line.text().contains("store opened"));
    assert!(store(&["stats"], folder.path()).status.success());
    leave_something(&broker);
    broker.stop();
}

#[test]
fn a_store_is_stopped_in_order_while_clients_are_busy() {
    let folder = folder();
    let broker = Setup::new(2).store(folder.path()).start();
    let mut clients: Vec<_> =
        (0..8).map(|number| Login::new(V5, format!("busy {number}")).lasting(60).connect(&broker)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe(&format!("busy/{number}"), 1);
        client.publish_to(&format!("busy/{}", (number + 1) % 8), b"x", 0);
    }
    let began = Instant::now();
    broker.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(store(&["check"], folder.path()).status.success());
}
