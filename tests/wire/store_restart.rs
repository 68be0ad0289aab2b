//! What outlives the broker: sessions, what waits for them, retained messages and wills, over stops, crashes, another
//! number of shards, and in a copy.

use std::thread;
use std::time::Duration;

use crate::broker::{Broker, Setup};
use crate::client::{Client, connect};
use crate::packets::{Login, PUBACK, PUBCOMP, PUBREC, PUBREL, V5, ack};
use crate::store::{folder, store};

const MESSAGES: u64 = 50;
const READERS: usize = 6;

fn reader(number: usize) -> Login {
    Login::new(V5, format!("reader {number}")).lasting(3_600)
}

/// Sessions on all shards, each with messages of both QoS that wait for it, and retained messages.
fn fill(broker: &Broker) {
    for number in 0..READERS {
        let (mut reader, is_present) = reader(number).present(broker);
        assert!(!is_present);
        reader.subscribe(&format!("to/{number}"), 2);
        reader.bye();
    }
    let mut publisher = connect(broker, V5, "publisher");
    for number in 0..READERS {
        let message = |at: u64| (format!("to/{number}"), at.to_string().into_bytes(), 1 + (at % 2) as u8);
        publisher.publish_all((0..MESSAGES).map(message), 20);
        publisher.retain(&format!("kept/{number}"), number.to_string().as_bytes());
    }
    publisher.bye();
}

/// All of that is there, once and in order.
fn find_all(broker: &Broker) {
    for number in 0..READERS {
        let (mut reader, is_present) = reader(number).present(broker);
        assert!(is_present, "the session of reader {number} is lost");
        take_all(&mut reader);
        reader.bye();
    }
    let mut watcher = connect(broker, V5, "watcher");
    watcher.subscribe("kept/#", 1);
    let mut kept: Vec<u64> = (0..READERS).map(|_| watcher.take().expect("a retained message").number()).collect();
    kept.sort_unstable();
    assert_eq!(kept, (0..READERS as u64).collect::<Vec<_>>());
    watcher.bye();
}

/// Every message, and every exchange to its end.
fn take_all(reader: &mut Client) {
    let (mut taken, mut released) = (0, 0);
    while taken < MESSAGES || released < MESSAGES / 2 {
        let packet = reader.packet();
        if packet.kind() == PUBREL {
            reader.send(&ack(PUBCOMP, packet.packet_id()));
            released += 1;
            continue;
        }
        let got = packet.publish();
        assert_eq!((got.number(), got.qos), (taken, 1 + (taken % 2) as u8));
        reader.send(&ack(if got.qos == 1 { PUBACK } else { PUBREC }, got.packet_id));
        taken += 1;
    }
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    for shards in [1, 2, 4] {
        let folder = folder();
        let setup = Setup::new(shards).store(folder.path());
        let broker = setup.clone().start();
        fill(&broker);
        broker.crash();
        let broker = setup.clone().start();
        find_all(&broker);
        broker.stop();
        // And what was delivered does not come again.
        let broker = setup.start();
        let (mut reader, is_present) = reader(0).present(&broker);
        assert!(is_present);
        reader.ping();
        broker.stop();
    }
}

#[test]
fn a_stop_keeps_all_for_another_number_of_shards() {
    let folder = folder();
    let broker = Setup::new(2).store(folder.path()).start();
    fill(&broker);
    broker.stop();
    for shards in [4, 1] {
        Setup::new(shards).store(folder.path()).start().stop();
    }
    let broker = Setup::new(3).store(folder.path()).start();
    find_all(&broker);
    broker.stop();
}

#[test]
fn an_interval_that_is_over_keeps_all_over_a_crash() {
    let folder = folder();
    let setup = Setup::new(2).store(folder.path()).store_option("durability", "\"interval\"");
    let broker = setup.clone().start();
    fill(&broker);
    // Ten times as long as the interval.
    thread::sleep(Duration::from_secs(1));
    broker.crash();
    let broker = setup.start();
    find_all(&broker);
    broker.stop();
}

#[test]
fn a_delayed_will_is_published_after_a_crash() {
    let folder = folder();
    let setup = Setup::new(2).store(folder.path());
    let broker = setup.clone().start();
    let mut heir = Login::new(V5, "heir").lasting(3_600).connect(&broker);
    heir.subscribe("wills", 1);
    heir.bye();
    let mut testator =
        Login::new(V5, "testator").lasting(3_600).will("wills", "farewell", 1).will_delayed(2).connect(&broker);
    testator.ping();
    testator.reset();
    thread::sleep(Duration::from_millis(200));
    broker.crash();
    let broker = setup.start();
    let (mut heir, is_present) = Login::new(V5, "heir").lasting(3_600).present(&broker);
    assert!(is_present);
    assert_eq!(heir.take().expect("the will").text(), "farewell");
    heir.bye();
    broker.stop();
}

#[test]
fn a_broker_starts_from_the_copy_of_one_that_runs() {
    let folder = folder();
    let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
    let broker = Setup::new(2).store(&path).start();
    fill(&broker);
    let made = store(&["backup", copy.to_str().expect("UTF-8")], &path);
    assert!(made.status.success(), "{made:?}");
    find_all(&broker);
    broker.crash();
    let broker = Setup::new(2).store(&copy).start();
    find_all(&broker);
    broker.stop();
}
