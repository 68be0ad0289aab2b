//! How fast clients may come and publish, how many may be there, and what a broker does that has too much to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bans::open_from;
use crate::broker::{Broker, PATIENCE, Setup};
use crate::client::{Came, Client, connect};
use crate::packets::{CONNACK, Login, PINGRESP, PUBLISH, V3_1_1, V5, publish};
use crate::status::Status;

const SERVER_BUSY: u8 = 0x89;

/// The client, if it is let in; else the broker ends the connection without a word.
fn enter(broker: &Broker, last: u8, client_id: &str) -> Option<Client> {
    let mut client = open_from(broker, last, V5);
    client.send_if_open(&Login::new(V5, client_id).bytes());
    match client.come(PATIENCE) {
        Came::Packet(packet) => {
            assert_eq!((packet.kind(), packet.reason()), (CONNACK, 0), "{packet:?}");
            Some(client)
        }
        Came::End => None,
        Came::Nothing => panic!("no answer"),
    }
}

fn enter_at_last(broker: &Broker, last: u8, client_id: &str) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(client) = enter(broker, last, client_id) {
            return client;
        }
        assert!(Instant::now() < deadline, "there is no room for {client_id}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn so_many_connections_of_an_address_and_of_a_listener() {
    let setup = |shards| Setup::new(shards).option("sys_interval_secs", 1);
    for shards in [1, 3] {
        let broker = setup(shards).limit("address_connections_max", 4).start();
        let mut members: Vec<_> = (0..4).filter_map(|number| enter(&broker, 2, &format!("member {number}"))).collect();
        assert_eq!(members.len(), 4);
        assert!(enter(&broker, 2, "one too many").is_none());
        let mut other = enter(&broker, 3, "other").expect("another address");
        members.remove(0).bye();
        members.push(enter_at_last(&broker, 2, "successor"));
        assert!(enter(&broker, 2, "one too many").is_none());
        members.iter_mut().for_each(Client::ping);
        other.ping();
        assert!(Status::watch(&broker).number("$SYS/broker/thrum/refused/address_full") >= 2);
        broker.stop();
    }
    let broker = setup(2).listener("connections_max = 3\n").start();
    let mut status = Status::watch(&broker);
    let _members: Vec<_> = (2..4).map(|last| enter(&broker, last, &format!("member {last}")).expect("room")).collect();
    assert!(enter(&broker, 4, "one too many").is_none());
    assert_eq!(status.number("$SYS/broker/thrum/refused/listener_full"), 1);
    broker.stop();
}

#[test]
fn an_address_that_comes_too_often_is_cut_off_and_others_are_not() {
    let broker = Setup::new(2).limit("address_connect_rate", 5).option("sys_interval_secs", 1).start();
    let began = Instant::now();
    let inside = (0..50).filter(|number| enter(&broker, 2, &format!("hasty {number}")).is_some()).count();
    let most = 6 + 5 * began.elapsed().as_secs() as usize;
    assert!((5..=most).contains(&inside), "{inside} in {:?}", began.elapsed());
    enter(&broker, 3, "calm").expect("another address");
    thread::sleep(Duration::from_secs(1));
    enter(&broker, 2, "calm again").expect("a second later");
    assert_eq!(Status::watch(&broker).number("$SYS/broker/thrum/refused/connect_rate"), 50 - inside as u64);
    broker.stop();
}

#[test]
fn a_crowd_comes_in_by_and_by() {
    for listener in ["", "connect_rate = 50\n"] {
        let setup = Setup::new(2).listener(listener);
        let broker = if listener.is_empty() { setup.limit("connect_rate", 50) } else { setup }.start();
        let began = Instant::now();
        let mut crowd: Vec<_> = (0..150).map(|_| Client::open(&broker, V5)).collect();
        for (number, client) in crowd.iter_mut().enumerate() {
            client.send(&Login::new(V5, format!("one of many {number}")).bytes());
        }
        crowd.iter_mut().for_each(|client| assert_eq!(client.packet_of(CONNACK).reason(), 0));
        let took = began.elapsed();
        println!("150 connections at 50 a second: {took:?}");
        assert!((Duration::from_millis(1_800)..Duration::from_secs(6)).contains(&took), "{took:?}");
        broker.stop();
    }
}

#[test]
fn who_publishes_too_fast_is_slowed_down_and_nobody_else_is() {
    let broker = Setup::new(2).limit("message_rate", 100).option("sys_interval_secs", 1).start();
    let mut reader = connect(&broker, V5, "reader");
    reader.subscribe("from/#", 0);
    let mut fast = connect(&broker, V3_1_1, "fast");
    let mut slow = connect(&broker, V5, "slow");
    let began = Instant::now();
    fast.send(&(0..300).flat_map(|_| publish(V3_1_1, "from/fast", b"", 0, 0)).collect::<Vec<u8>>());
    slow.publish_to("from/slow", b"", 1);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let from: Vec<_> = (0..301).map(|_| reader.publish().topic).collect();
    let took = began.elapsed();
    println!("300 messages at 100 a second: {took:?}");
    assert!((Duration::from_millis(1_900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(from.iter().position(|topic| topic == "from/slow").expect("it came") < 150);
    assert!(Status::watch(&broker).number("$SYS/broker/thrum/throttled") > 0);
    broker.stop();
}

#[test]
fn a_listener_s_rate_may_end_who_exceeds_it() {
    let setup = Setup::new(1).listener("byte_rate = 1000\n").limit_text("rate_excess", "\"disconnect\"");
    let broker = setup.start();
    let mut client = connect(&broker, V5, "client");
    client.send(&publish(V5, "a", &[b'x'; 2_000], 1, 1));
    client.send_if_open(&publish(V5, "a", b"", 1, 2));
    assert_eq!(client.packet().packet_id(), 1);
    assert_eq!(client.packet().reason(), 0x97);
    client.end();
    broker.stop();
}

#[test]
fn who_reads_nothing_is_cut_off_in_time() {
    let setup = Setup::new(2).option("sys_interval_secs", 1);
    let broker = setup.limit("slow_reader_secs", 1).limit("output_bytes_max", 10_000).start();
    let mut status = Status::watch(&broker);
    let mut reader = connect(&broker, V5, "reader");
    reader.subscribe("flood", 0);
    let mut publisher = connect(&broker, V3_1_1, "publisher");
    let message = publish(V3_1_1, "flood", &[b'x'; 50_000], 0, 0);
    let deadline = Instant::now() + PATIENCE;
    while status.number("$SYS/broker/thrum/refused/slow_reader") == 0 {
        assert!(Instant::now() < deadline, "it is still there");
        (0..200).for_each(|_| publisher.send(&message));
    }
    reader.end_at_last();
    publisher.ping();
    broker.stop();
}

/// With a bound that any work exceeds: what is shown is what follows from it.
#[test]
fn who_has_too_much_to_do_lets_nobody_new_in_and_serves_those_inside() {
    let broker = Setup::new(1).limit("overload_ms", 1).option("sys_interval_secs", 1).start();
    let mut status = Status::watch(&broker);
    let mut member = connect(&broker, V5, "member");
    let is_over = AtomicBool::new(false);
    let crowd = |number: usize| {
        let mut client = connect(&broker, V3_1_1, &format!("busy {number}"));
        client.subscribe("work", 0);
        client
    };
    let mut crowd: Vec<_> = (0..30).map(crowd).collect();
    thread::scope(|scope| {
        for client in &mut crowd {
            let is_over = &is_over;
            scope.spawn(move || {
                let work: Vec<u8> = (0..500).flat_map(|_| publish(V3_1_1, "work", b"x", 0, 0)).collect();
                while !is_over.load(Ordering::Relaxed) {
                    client.send(&work);
                    client.send(&crate::packets::PING);
                    while client.packet().kind() != PINGRESP {}
                }
            });
        }
        let deadline = Instant::now() + PATIENCE;
        let refused = |version, number: usize| {
            let mut client = Client::open(&broker, version);
            client.send_if_open(&Login::new(version, format!("new {number}")).bytes());
            match client.come(PATIENCE) {
                Came::Packet(packet) => Some(packet.reason()).filter(|&reason| reason != 0),
                Came::End | Came::Nothing => panic!("no answer"),
            }
        };
        for (version, expected) in [(V5, SERVER_BUSY), (V3_1_1, 3)] {
            let reason = (0..).find_map(|number| {
                assert!(Instant::now() < deadline, "everybody is let in");
                refused(version, number)
            });
            assert_eq!(reason, Some(expected));
        }
        for _ in 0..20 {
            member.ping();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    broker.line("there was too much to do", |line| line.text().contains("too much to do"));
    // They may be told that it is over before it is.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::open(&broker, V5);
        client.send_if_open(&Login::new(V5, "afterwards").bytes());
        if matches!(client.come(PATIENCE), Came::Packet(packet) if packet.reason() == 0) {
            break;
        }
        assert!(Instant::now() < deadline, "nobody is let in again");
        thread::sleep(Duration::from_millis(50));
    }
    let [refused, overloaded] =
        status.numbers(["$SYS/broker/thrum/refused/overload", "$SYS/broker/thrum/load/shards_overloaded"]);
    assert!(refused >= 2 && overloaded == 0, "{refused} refused, {overloaded} overloaded");
    for client in &mut crowd {
        while matches!(client.come_now(), Came::Packet(packet) if packet.kind() == PUBLISH) {}
        client.ping();
    }
    broker.stop();
}
