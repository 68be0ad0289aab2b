//! The end of the broker: clients are told, what was acknowledged is delivered, and it ends in time whatever they do.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::broker::{Broker, PATIENCE, Setup};
use crate::client::{Came, Client, connect};
use crate::packets::{DISCONNECT, Login, PUBACK, V3_1, V3_1_1, V5, publish};

fn started(shards: usize) -> Broker {
    Setup::new(shards).option("drain_secs", 2).start()
}

// [MQTT-4.13.2-1]
#[test]
fn clients_are_told_where_they_can_be() {
    for signal in [Signal::TERM, Signal::INT] {
        for shards in [1, 2, 4] {
            let broker = started(shards);
            let mut newer: Vec<_> = (0..10).map(|number| connect(&broker, V5, &format!("new {number}"))).collect();
            let mut older: Vec<_> =
                (0..10).map(|n| connect(&broker, [V3_1, V3_1_1][n % 2], &format!("old {n}"))).collect();
            let mut silent = Client::open(&broker, V5);
            broker.signal(signal);
            for client in &mut newer {
                assert_eq!(client.packet_of(DISCONNECT).reason(), 0x8b);
                client.end();
            }
            older.iter_mut().for_each(Client::end);
            silent.end();
            drop((newer, older, silent));
            assert!(broker.wait(PATIENCE).success());
        }
    }
}

// PUBACK says that the broker has it. Its end is no reason not to deliver it.
#[test]
fn what_was_acknowledged_is_delivered() {
    const MESSAGES: u64 = 10;
    for round in 0..3 {
        for shards in [1, 2, 4] {
            let broker = started(shards);
            let mut readers: Vec<_> = (0..4).map(|number| connect(&broker, V5, &format!("reader {number}"))).collect();
            readers.iter_mut().for_each(|reader| reader.subscribe("last/words", 1));
            let mut publisher = connect(&broker, V3_1_1, &format!("publisher {round}"));
            let packet = |n: u64| publish(V3_1_1, "last/words", n.to_string().as_bytes(), 1, n as u16 + 1);
            publisher.send(&(0..MESSAGES).flat_map(packet).collect::<Vec<u8>>());
            (0..MESSAGES).for_each(|_| _ = publisher.packet_of(PUBACK));
            broker.signal(Signal::TERM);
            for reader in &mut readers {
                (0..MESSAGES).for_each(|number| assert_eq!(reader.publish().number(), number));
                assert_eq!(reader.packet_of(DISCONNECT).reason(), 0x8b);
                reader.end();
            }
            // Who stays though he was told to go is waited for, as long as a drain may last.
            drop((readers, publisher));
            assert!(broker.wait(PATIENCE).success());
        }
    }
}

// Megabytes that are on their way to a slow reader arrive whole.
#[test]
fn what_is_on_its_way_is_flushed() {
    for shards in [1, 2, 4] {
        let broker = Setup::new(shards).option("drain_secs", 10).start();
        let mut readers = [V5, V3_1_1].map(|version| connect(&broker, version, &format!("reader {version}")));
        readers.iter_mut().for_each(|reader| reader.subscribe("large", 1));
        let mut publisher = connect(&broker, V5, "publisher");
        publisher.publish_to("large", &vec![b'x'; 8 << 20], 1);
        broker.signal(Signal::TERM);
        assert_eq!(publisher.packet_of(DISCONNECT).reason(), 0x8b);
        for reader in &mut readers {
            assert_eq!(reader.publish().payload.len(), 8 << 20);
            if reader.version == V5 {
                assert_eq!(reader.packet_of(DISCONNECT).reason(), 0x8b);
            }
            reader.end();
        }
        drop((readers, publisher));
        assert!(broker.wait(PATIENCE).success());
    }
}

// A client of 3.x is told nothing, so there may be nothing new for it to take: it was reset if it had said something that
// was not read any more, and lost what it had not taken of what came before.
#[test]
fn what_was_sent_before_is_not_taken_back_from_who_is_still_talking() {
    for round in 0..5 {
        for shards in [1, 2, 4] {
            let broker = started(shards);
            let mut reader = connect(&broker, V3_1_1, &format!("reader {round}"));
            reader.subscribe("large", 0);
            let mut publisher = connect(&broker, V5, "publisher");
            publisher.publish_to("large", &vec![b'x'; 512 << 10], 1);
            // It is on its way to the reader.
            reader.stream.set_read_timeout(Some(PATIENCE)).unwrap();
            reader.stream.peek(&mut [0]).unwrap();
            // More than is read until the drain begins, and less than a shard goes on reading of who has been ended.
            reader.send(&publish(V3_1_1, "n", b"", 0, 0).repeat((96 << 10) / 5));
            broker.signal(Signal::TERM);
            assert_eq!(publisher.packet_of(DISCONNECT).reason(), 0x8b);
            assert_eq!(reader.publish().payload.len(), 512 << 10);
            reader.end();
            drop((reader, publisher));
            assert!(broker.wait(PATIENCE).success());
        }
    }
}

#[test]
fn it_ends_in_time_though_a_client_never_reads_and_lets_nobody_in_meanwhile() {
    for shards in [1, 2, 4] {
        let broker = started(shards);
        let mut stuck = connect(&broker, V5, "stuck");
        stuck.subscribe("large", 0);
        let mut publisher = connect(&broker, V5, "publisher");
        publisher.send(&publish(V5, "large", &vec![b'x'; 32 << 20], 0, 0));
        publisher.ping();
        // The message is on its way to who does not read it.
        stuck.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stuck.stream.peek(&mut [0]).unwrap();
        let started = Instant::now();
        broker.signal(Signal::TERM);
        assert_eq!(publisher.packet_of(DISCONNECT).reason(), 0x8b);
        publisher.end();
        is_refused(&broker);
        let status = broker.wait(Duration::from_secs(2 + 5));
        assert!(status.success(), "{status}");
        println!("{shards} shards: ended {:?} after the signal", started.elapsed());
    }
}

fn is_refused(broker: &Broker) {
    let Ok(stream) = TcpStream::connect(broker.address) else { return };
    let mut client = Client::over(stream, V5);
    client.send_if_open(&Login::new(V5, "late").bytes());
    match client.come(PATIENCE) {
        Came::End => {}
        Came::Packet(packet) => assert_ne!(packet.reason(), 0, "let in: {packet:?}"),
        Came::Nothing => panic!("neither let in nor refused"),
    }
}

// Whoever asks twice will not wait.
#[test]
fn a_second_signal_ends_it_at_once() {
    let broker = Setup::new(2).option("drain_secs", 60).start();
    let mut stuck = connect(&broker, V5, "stuck");
    stuck.subscribe("large", 0);
    let mut publisher = connect(&broker, V5, "publisher");
    publisher.send(&publish(V5, "large", &vec![b'x'; 32 << 20], 0, 0));
    publisher.ping();
    stuck.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stuck.stream.peek(&mut [0]).unwrap();
    broker.signal(Signal::TERM);
    assert_eq!(publisher.packet_of(DISCONNECT).reason(), 0x8b);
    broker.signal(Signal::TERM);
    broker.wait(PATIENCE);
}
