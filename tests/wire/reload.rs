//! SIGHUP: the configuration is read again, and nobody is disconnected by it.

use std::time::Instant;

use rustix::process::Signal;

use crate::broker::{Broker, PATIENCE, Setup};
use crate::client::{Came, Client, connect};
use crate::packets::{Login, V5};

/// Whether a client that comes now is let in.
fn has_room(broker: &Broker) -> bool {
    let mut client = Client::open(broker, V5);
    client.send_if_open(&Login::new(V5, "prober").bytes());
    match client.come(PATIENCE) {
        Came::Packet(packet) => {
            let is_let_in = packet.reason() == 0;
            client.bye();
            is_let_in
        }
        Came::End => false,
        Came::Nothing => panic!("no answer"),
    }
}

fn reload_until(broker: &Broker, setup: &Setup, what: &str, is_done: impl Fn() -> bool) {
    broker.rewrite(setup);
    broker.signal(Signal::HUP);
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_limit_and_the_log_level_change_without_disconnecting_anybody() {
    for shards in [1, 2, 4] {
        let setup = Setup::new(shards);
        let broker = setup.clone().start();
        let mut members: Vec<_> = (0..10).map(|number| connect(&broker, V5, &format!("member {number}"))).collect();
        assert!(has_room(&broker));
        let quiet = setup.clone().log_level("warn").option("connections_max", 10);
        reload_until(&broker, &quiet, "the limit is not taken up", || !has_room(&broker));
        members.drain(..3).for_each(Client::bye);
        reload_until(&broker, &quiet, "there is no room again", || has_room(&broker));
        connect(&broker, V5, "unheard of").bye();
        reload_until(&broker, &setup, "connections are not told of again", || {
            connect(&broker, V5, "heard of").bye();
            broker.lines().iter().any(|line| line.says("connected", "heard of"))
        });
        assert!(!broker.lines().iter().any(|line| line.says("connected", "unheard of")), "at level warn");
        members.iter_mut().for_each(Client::ping);
        broker.stop();
    }
}

#[test]
fn a_broken_file_changes_nothing_and_is_complained_of() {
    let setup = Setup::new(2).option("connections_max", 1);
    let broker = setup.clone().start();
    let mut member = connect(&broker, V5, "member");
    for (number, broken) in
        ["shards = [", "no_such_option = 1\n", "[limits]\npacket_bytes_max = 1\n"].iter().enumerate()
    {
        let before = complaints(&broker);
        broker.rewrite_raw(broken);
        broker.signal(Signal::HUP);
        let deadline = Instant::now() + PATIENCE;
        while complaints(&broker) == before {
            assert!(Instant::now() < deadline, "the log says nothing about {broken:?} ({number})");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!has_room(&broker));
        member.ping();
    }
    // And a whole one is taken again.
    let larger = setup.option("connections_max", 10);
    reload_until(&broker, &larger, "the limit is not taken up", || has_room(&broker));
    member.ping();
    broker.stop();
}

fn complaints(broker: &Broker) -> usize {
    let is_complaint = |level: Option<&str>| matches!(level, Some("ERROR" | "WARN"));
    broker.lines().iter().filter(|line| is_complaint(line.member("level"))).count()
}

#[test]
fn hundred_signals_in_a_row_are_survived() {
    let broker = Setup::new(2).start();
    let mut member = connect(&broker, V5, "member");
    for _ in 0..100 {
        broker.signal(Signal::HUP);
        member.ping();
    }
    assert!(!matches!(member.come(std::time::Duration::from_millis(100)), Came::End));
    broker.stop();
}
