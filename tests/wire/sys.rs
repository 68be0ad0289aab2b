//! $SYS: every name that users of Mosquitto look for is there, retained, and moves with what happens.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::broker::{Broker, PATIENCE, Setup, on_shards};
use crate::client::{Came, Client, connect};
use crate::packets::{Login, PUBACK, V3_1_1, V5, publish};
use crate::status::Status;

const NAMES: [&str; 27] = [
    "version",
    "uptime",
    "clients/total",
    "clients/maximum",
    "clients/connected",
    "clients/disconnected",
    "clients/expired",
    "clients/active",
    "clients/inactive",
    "messages/stored",
    "messages/received",
    "messages/sent",
    "store/messages/count",
    "store/messages/bytes",
    "subscriptions/count",
    "shared_subscriptions/count",
    "retained messages/count",
    "heap/current",
    "heap/maximum",
    "bytes/received",
    "bytes/sent",
    "publish/bytes/received",
    "publish/bytes/sent",
    "publish/messages/dropped",
    "publish/messages/received",
    "publish/messages/sent",
    "connections/socket/count",
];

const PACKETS_OUT: [&str; 2] = ["packet/out/count", "packet/out/bytes"];

const LOADS: [&str; 9] = [
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];

fn with_sys(setup: Setup) -> Setup {
    setup.option("sys_interval_secs", 1)
}

fn names() -> Vec<String> {
    let plain = NAMES.iter().chain(&PACKETS_OUT).map(|name| format!("$SYS/broker/{name}"));
    let loads = LOADS.iter().flat_map(|load| [1, 5, 15].map(|minutes| format!("$SYS/broker/load/{load}/{minutes}min")));
    plain.chain(loads).collect()
}

#[test]
fn every_name_is_there_and_retained() {
    on_shards(with_sys, |broker| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = retained(broker, "$SYS/#");
            let missing: Vec<_> = names().into_iter().filter(|name| !found.contains_key(name)).collect();
            if missing.is_empty() {
                let odd: Vec<_> = found.iter().filter(|(name, value)| !is_sound(name, value)).collect();
                assert!(odd.is_empty(), "{odd:?}");
                break;
            }
            assert!(Instant::now() < deadline, "missing: {missing:#?}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
}

/// What a new subscription to the filter finds.
fn retained(broker: &Broker, filter: &str) -> BTreeMap<String, String> {
    let mut client = connect(broker, V5, "collector");
    client.subscribe(filter, 0);
    let mut found = BTreeMap::new();
    // Pages come from one shard after the other, with nothing that says they are all.
    while let Came::Packet(packet) = client.come(std::time::Duration::from_millis(200)) {
        let publish = packet.publish();
        if publish.retain {
            found.insert(publish.topic.clone(), publish.text().to_owned());
        }
    }
    found
}

fn is_sound(name: &str, value: &str) -> bool {
    let is_number = value.parse::<f64>().is_ok_and(|number| number >= 0.0);
    name.ends_with("version") || name.ends_with("uptime") || name.contains("/thrum/") || is_number
}

#[test]
fn the_numbers_are_those_of_what_happened() {
    on_shards(with_sys, |broker| {
        let mut status = Status::watch(broker);
        let messages = ["received", "sent", "dropped"].map(|kind| format!("$SYS/broker/publish/messages/{kind}"));
        let messages = [&*messages[0], &messages[1], &messages[2]];
        let before = status.numbers(messages);
        let mut readers: Vec<_> = (0..3).map(|number| connect(broker, V5, &format!("reader {number}"))).collect();
        readers.iter_mut().for_each(|reader| reader.subscribe("counted", 0));
        Login::new(V5, "away").lasting(60).connect(broker).bye();
        let mut publisher = connect(broker, V3_1_1, "publisher");
        publisher.send(&publish(V3_1_1, "counted", b"0123456789", 0, 0).repeat(500));
        publisher.ping();
        for reader in &mut readers {
            (0..500).for_each(|_| _ = reader.publish());
        }
        // What the test itself reads of $SYS is sent too.
        let after = status.numbers(messages);
        assert_eq!(after[0] - before[0], 500);
        let sent = after[1] - before[1];
        assert!((1_500..1_560).contains(&sent), "{sent}");
        assert_eq!(after[2], before[2]);
        let numbers = status.numbers([
            "$SYS/broker/clients/connected",
            "$SYS/broker/clients/disconnected",
            "$SYS/broker/clients/total",
            "$SYS/broker/bytes/received",
            "$SYS/broker/bytes/sent",
        ]);
        assert_eq!(numbers[..3], [5, 1, 6]);
        assert!(numbers[3] > 500 * 19 && numbers[4] > 1_500 * 19, "{numbers:?}");
        readers.into_iter().for_each(Client::bye);
        assert_eq!(status.number("$SYS/broker/clients/connected"), 2);
    });
}

// Nobody but the broker writes there. [MQTT-4.7.2-1]
#[test]
fn a_client_cannot_write_there_and_a_wildcard_does_not_reach_it() {
    on_shards(with_sys, |broker| {
        let mut reader = connect(broker, V3_1_1, "reader");
        reader.subscribe("#", 0);
        reader.subscribe("+/broker/uptime", 0);
        let mut watcher = connect(broker, V5, "watcher");
        watcher.subscribe("$SYS/broker/uptime", 0);
        let mut forger = connect(broker, V5, "forger");
        forger.send(&publish(V5, "$SYS/broker/uptime", b"forged", 1, 1));
        assert!(forger.packet_of(PUBACK).reason() >= 0x80);
        for _ in 0..2 {
            assert_ne!(watcher.publish().text(), "forged");
        }
        reader.ping();
    });
}
