//! Clients that do not read what they asked for: what waits for them is bounded, what is dropped is counted, and nobody else
//! is worse off.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Setup;
use crate::client::{Came, Client, connect};
use crate::packets::{Login, PING, PINGRESP, V3_1_1, V5, publish};
use crate::process::resident_bytes;
use crate::status::Status;

const MIB: u64 = 1 << 20;

#[test]
fn qos_0_to_a_reader_that_does_not_read_is_bounded_and_counted() {
    const MESSAGES: u64 = 50_000;
    const BATCH: u64 = 100;
    for shards in [1, 2, 4] {
        let broker = Setup::new(shards).option("sys_interval_secs", 1).start();
        let mut status = Status::watch(&broker);
        let mut slow = connect(&broker, V3_1_1, "slow");
        slow.subscribe("flood", 0);
        let mut readers: Vec<_> = (0..4).map(|number| connect(&broker, V5, &format!("reader {number}"))).collect();
        readers.iter_mut().for_each(|reader| reader.subscribe("flood", 0));
        let mut publisher = connect(&broker, V3_1_1, "publisher");
        let before = resident_bytes(broker.pid());
        let mut most = before;
        for batch in 0..MESSAGES / BATCH {
            let numbers = batch * BATCH..(batch + 1) * BATCH;
            let payload = |number| format!("{number} {}", "x".repeat(1_000));
            let packets = numbers.clone().flat_map(|n| publish(V3_1_1, "flood", payload(n).as_bytes(), 0, 0));
            publisher.send(&packets.collect::<Vec<u8>>());
            for reader in &mut readers {
                numbers.clone().for_each(|number| assert_eq!(reader.publish().number(), number));
            }
            most = most.max(resident_bytes(broker.pid()));
        }
        let grown = (most - before) / MIB;
        println!(
            "{shards} shards: {grown} MiB more while {} MB went past a client that does not read",
            MESSAGES / 1_000
        );
        assert!(grown < 24, "{grown} MiB");
        let dropped = status.number("$SYS/broker/publish/messages/dropped");
        // It comes to its senses: what was not dropped is there, in order.
        slow.send(&PING);
        let (mut received, mut last) = (0, None);
        loop {
            let packet = slow.packet();
            if packet.kind() == PINGRESP {
                break;
            }
            let number = packet.publish().number();
            assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
            (received, last) = (received + 1, Some(number));
        }
        assert_eq!(received + dropped, MESSAGES, "{received} received, {dropped} dropped");
        assert!(dropped > MESSAGES / 4, "the slow one was not slow: {dropped} dropped");
        broker.stop();
    }
}

// What has left is given back though there is always something that has not.
#[test]
fn a_reader_that_is_always_behind_costs_no_more_than_one_that_stopped() {
    const ROUNDS: u64 = 300;
    for shards in [1, 2, 4] {
        let broker = Setup::new(shards).limit("output_bytes_max", 8 * MIB).start();
        let mut behind = connect(&broker, V3_1_1, "behind");
        behind.subscribe("flood", 0);
        let mut publisher = connect(&broker, V3_1_1, "publisher");
        let half_a_megabyte = publish(V3_1_1, "flood", &[b'x'; 1_000], 0, 0).repeat(500);
        let mut flood = || {
            publisher.send(&half_a_megabyte);
            publisher.ping();
        };
        // More than the kernel and the broker hold: from here on it is behind.
        (0..60).for_each(|_| flood());
        let before = resident_bytes(broker.pid());
        let mut taken = vec![0; 300_000];
        for _ in 0..ROUNDS {
            behind.stream.read_exact(&mut taken).unwrap();
            flood();
        }
        let grown = resident_bytes(broker.pid()).saturating_sub(before) / MIB;
        println!("{shards} shards: {grown} MiB more while a reader took {} MB, always behind", ROUNDS * 3 / 10);
        assert!(grown < 24, "{grown} MiB");
        broker.stop();
    }
}

#[test]
fn qos_1_waits_for_a_reader_that_reads_again() {
    const MESSAGES: u64 = 15_000;
    for shards in [1, 2, 4] {
        let broker = Setup::new(shards).limit("queue_messages_max", 100_000).start();
        let mut slow = connect(&broker, V5, "slow");
        slow.subscribe("queue", 1);
        let mut publisher = connect(&broker, V3_1_1, "publisher");
        let message = |number| ("queue".to_owned(), format!("{number} {}", "x".repeat(1_000)).into_bytes(), 1);
        publisher.publish_all((0..MESSAGES).map(message), 500);
        for number in 0..MESSAGES {
            assert_eq!(slow.take().unwrap().number(), number);
        }
        slow.ping();
        broker.stop();
    }
}

// Who takes no answers may ask no more questions.
#[test]
fn who_asks_and_does_not_read_the_answers_is_not_read_either() {
    for shards in [1, 2, 4] {
        let broker = Setup::new(shards).start();
        let mut client = connect(&broker, V5, "asker");
        let mut neighbour = connect(&broker, V5, "neighbour");
        let before = resident_bytes(broker.pid());
        let bytes = ask_until_nobody_listens(&mut client, &mut neighbour);
        let grown = resident_bytes(broker.pid()).saturating_sub(before) / MIB;
        println!("{shards} shards: {grown} MiB more, {} KiB of PINGREQ taken", bytes >> 10);
        assert!(grown < 16, "{grown} MiB");
        let asked = bytes as u64 / 2;
        assert!(asked > 100_000, "no more than {asked}");
        // What was cut in the middle is made whole.
        let rest = PING[bytes % 2..].to_vec();
        let mut sender = client.stream.try_clone().unwrap();
        client.stream.set_nonblocking(false).unwrap();
        thread::scope(|scope| {
            scope.spawn(move || sender.write_all(if bytes % 2 == 1 { &rest } else { &[] }).unwrap());
            for _ in 0..asked + bytes as u64 % 2 {
                client.packet_of(PINGRESP);
            }
        });
        client.ping();
        neighbour.ping();
        broker.stop();
    }
}

/// How many bytes were taken, until none were for a second.
fn ask_until_nobody_listens(client: &mut Client, neighbour: &mut Client) -> usize {
    client.stream.set_nonblocking(true).unwrap();
    let block = PING.repeat(32 << 10);
    let (mut bytes, mut last_taken) = (0, Instant::now());
    while last_taken.elapsed() < Duration::from_secs(1) {
        match client.stream.write(&block[bytes % 2..]) {
            Ok(taken) => (bytes, last_taken) = (bytes + taken, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                neighbour.ping();
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("after {bytes} bytes: {error}"),
        }
        assert!(bytes < 64 << 20, "it is read for ever");
    }
    bytes
}

#[test]
fn a_large_payload_comes_whole_to_a_slow_reader() {
    const BYTES: usize = 20 << 20;
    let payload: Vec<u8> = (0..BYTES).map(|at| (at * 31 + at / 1_000) as u8).collect();
    for shards in [1, 2, 4] {
        let broker = Setup::new(shards).start();
        let mut publisher = connect(&broker, V5, "publisher");
        for (version, qos) in [(V3_1_1, 0), (V5, 1), (V5, 2)] {
            let mut slow = Login::new(version, format!("slow {version} {qos}")).connect(&broker);
            slow.subscribe("large", qos);
            let reader = thread::spawn(move || {
                // A few bytes at a time at first: the rest has to wait in the broker.
                let mut begun = [0; 1_000];
                let mut bytes = Vec::new();
                for _ in 0..20 {
                    let read = slow.stream.read(&mut begun).unwrap();
                    bytes.extend_from_slice(&begun[..read]);
                    thread::sleep(Duration::from_millis(10));
                }
                slow.give_back(bytes);
                let got = slow.publish();
                slow.acknowledge(&got);
                slow.ping();
                slow.bye();
                got
            });
            publisher.publish_to("large", &payload, qos);
            let got = reader.join().unwrap();
            assert_eq!((got.payload.len(), got.qos), (BYTES, qos));
            assert!(got.payload == payload, "changed on the way");
        }
        broker.stop();
    }
}

// One that stays away entirely is ended by its keep alive, and gives back what waited for it.
#[test]
fn a_reader_that_is_gone_for_good_is_let_go() {
    let broker = Setup::new(2).start();
    let mut gone = Login::new(V5, "gone").keep_alive(1).connect(&broker);
    gone.subscribe("flood", 0);
    let mut publisher = connect(&broker, V3_1_1, "publisher");
    let block = publish(V3_1_1, "flood", &[b'x'; 1_000], 0, 0).repeat(500);
    for _ in 0..20 {
        publisher.send(&block);
        publisher.ping();
    }
    broker.line("it is gone", |line| line.says("disconnected", "gone"));
    // Its socket goes too, though it never takes what was on its way.
    let deadline = Instant::now() + crate::broker::PATIENCE;
    while let Came::Packet(_) = gone.come(Duration::from_secs(1)) {
        assert!(Instant::now() < deadline);
    }
    publisher.ping();
    broker.stop();
}
