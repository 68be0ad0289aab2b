//! The disk is full, or fails: durable publishes are refused or wait, all else goes on, and when the disk is well again so
//! is the broker, with nothing lost of what it acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::broken_disk::{BrokenDisk, Fault};
use crate::broker::{Broker, PATIENCE, Setup};
use crate::client::{Came, Client, connect};
use crate::disk::{Disk, SmallDisk, SmallFiles};
use crate::packets::{self, Login, PUBACK, PUBLISH, V5};
use crate::status::Status;

/// Publishes that are under way at most.
const WINDOW: usize = 16;

/// How long no acknowledgement comes before the publisher is said to wait.
const SILENCE: Duration = Duration::from_secs(2);

/// Messages that are published while the disk is well.
const MESSAGES: usize = 300;

/// What is refused of messages before the test goes on.
const REFUSED_MIN: usize = 20;

const QUOTA_EXCEEDED: u8 = 0x97;
const FAILING: &str = "$SYS/broker/thrum/store/failing";

#[test]
fn a_full_disk_is_survived() {
    match SmallDisk::new() {
        Ok(disk) => {
            println!("the full disk is a tmpfs");
            survives(&disk);
        }
        Err(error) => {
            println!("no tmpfs ({error}): the full disk is a limit to the size of files");
            survives(&SmallFiles::new());
        }
    }
}

#[test]
fn files_that_must_not_grow_are_survived() {
    survives(&SmallFiles::new());
}

#[test]
fn writes_that_fail_are_survived() {
    with_broken_disk(Fault::Write);
}

#[test]
fn syncs_that_fail_are_survived() {
    with_broken_disk(Fault::Sync);
}

fn with_broken_disk(fault: Fault) {
    match BrokenDisk::new(fault) {
        Ok(disk) => survives(&disk),
        // Not a pass that looks like any other: who reads the output has to know.
        Err(error) => println!("NOT RUN: nothing can be mounted here by FUSE ({error}), so that {fault:?} cannot fail"),
    }
}

fn setup(disk: &impl Disk) -> Setup {
    Setup::new(2)
        .option("sys_interval_secs", 1)
        .limit("queue_messages_max", u32::MAX.into())
        .limit("queue_bytes_max", u32::MAX.into())
        .store(&disk.folder())
        .store_option("segment_bytes", "1048576")
        .before(disk.before())
}

fn reader() -> Login {
    Login::new(V5, "reader").lasting(u32::MAX)
}

fn survives(disk: &impl Disk) {
    let broker = setup(disk).start();
    let mut status = Status::watch(&broker);
    let mut reader_there = reader().connect(&broker);
    reader_there.subscribe("durable", 1);
    reader_there.bye();
    let mut publisher = Publisher::new(&broker);
    publisher.publish_until(|publisher| publisher.acknowledged.len() >= MESSAGES);

    disk.fail(&broker);
    publisher.publish_until(|publisher| publisher.refused.len() >= REFUSED_MIN || publisher.is_waiting());
    wait_until("$SYS says that the store fails", || status.number(FAILING) > 0);
    broker.line("the log says that the store fails", |line| {
        line.member("level") == Some("ERROR") && line.text().contains("store")
    });
    others_go_on(&broker);

    disk.mend(&broker);
    wait_until("$SYS says that the store is well again", || status.number(FAILING) == 0);
    let acknowledged = publisher.acknowledged.len();
    publisher.publish_until(|publisher| publisher.acknowledged.len() >= acknowledged + MESSAGES);
    publisher.settle();
    println!("{} acknowledged, {} refused", publisher.acknowledged.len(), publisher.refused.len());

    broker.kill();
    let broker = setup(disk).start();
    let came = read_all(&broker, &publisher.acknowledged);
    let lost: Vec<_> = publisher.acknowledged.difference(&came).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let refused: Vec<_> = publisher.refused.intersection(&came).collect();
    assert!(refused.is_empty(), "refused and there nevertheless: {refused:?}");
    broker.stop();
}

/// Messages that no durable session gets are taken and delivered as ever.
fn others_go_on(broker: &Broker) {
    let mut subscriber = connect(broker, V5, "bystander");
    subscriber.subscribe("plain/#", 1);
    let mut publisher = connect(broker, V5, "plain publisher");
    for number in 0..50 {
        let qos = number % 2;
        publisher.publish_to(&format!("plain/{number}"), b"plain", qos);
        let publish = subscriber.publish();
        assert_eq!((publish.topic, publish.qos), (format!("plain/{number}"), qos));
        subscriber.send(&if qos == 1 { packets::ack(PUBACK, publish.packet_id) } else { Vec::new() });
    }
    subscriber.bye();
    publisher.bye();
}

/// What the durable session gets until it has all that was acknowledged, or nothing more comes.
fn read_all(broker: &Broker, acknowledged: &BTreeSet<u64>) -> BTreeSet<u64> {
    let (mut reader, is_present) = reader().present(broker);
    assert!(is_present, "the session is gone");
    let mut came = BTreeSet::new();
    while let Came::Packet(packet) = reader.come(SILENCE) {
        if packet.kind() == PUBLISH {
            let publish = packet.publish();
            came.insert(publish.number());
            reader.send(&packets::ack(PUBACK, publish.packet_id));
        }
    }
    println!("{} came of {} that were acknowledged", came.len(), acknowledged.len());
    came
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Publishes to the durable session, numbers 0 and on, and keeps what became of each.
#[derive(Debug)]
struct Publisher {
    client: Client,
    next: u64,
    /// By packet identifier.
    open: BTreeMap<u16, u64>,
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    answered_at: Instant,
}

impl Publisher {
    fn new(broker: &Broker) -> Self {
        let client = Login::new(V5, "durable publisher").lasting(u32::MAX).keep_alive(0).connect(broker);
        let (open, acknowledged, refused) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { client, next: 0, open, acknowledged, refused, answered_at: Instant::now() }
    }

    fn is_waiting(&self) -> bool {
        self.answered_at.elapsed() > SILENCE
    }

    fn publish_until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        self.answered_at = Instant::now();
        while !is_enough(self) {
            assert!(Instant::now() < deadline, "{} open, {} refused", self.open.len(), self.refused.len());
            while self.open.len() < WINDOW {
                let packet_id = (1..).find(|packet_id| !self.open.contains_key(packet_id)).expect("few are open");
                let mut payload = format!("{} ", self.next).into_bytes();
                payload.resize(2_000, b'.');
                self.client.send(&packets::publish(V5, "durable", &payload, 1, packet_id));
                self.open.insert(packet_id, self.next);
                self.next += 1;
            }
            self.take();
        }
    }

    fn take(&mut self) {
        match self.client.come(Duration::from_millis(50)) {
            Came::Packet(packet) if packet.kind() == PUBACK => {
                let number = self.open.remove(&packet.packet_id()).expect("it was published");
                match packet.reason() {
                    0 => self.acknowledged.insert(number),
                    QUOTA_EXCEEDED => self.refused.insert(number),
                    other => panic!("{number} is answered {other:#x}"),
                };
                self.answered_at = Instant::now();
            }
            Came::Nothing => {}
            other => panic!("{other:?} instead of a PUBACK"),
        }
    }

    /// All that is open is answered.
    fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.open.is_empty() {
            assert!(Instant::now() < deadline, "without an answer: {:?}", self.open);
            self.take();
        }
    }
}
