//! A client may say everything at once, before it has its CONNACK. Its connection moves to the home shard of its
//! identifier with all that it said: nothing is lost, nothing is answered out of turn.

use std::thread;

use crate::broker::{PATIENCE, on_shards, plain};
use crate::client::{Came, Client};
use crate::packets::{
    BYE, CONNACK, Login, PING, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Packet, SUBACK, VERSIONS, ack,
    publish, subscribe,
};

const CLIENTS: usize = 504;

#[test]
fn all_that_was_said_in_one_write_is_answered() {
    on_shards(plain, |broker| {
        thread::scope(|scope| {
            for part in 0..8 {
                scope.spawn(move || {
                    let numbers = (part..CLIENTS).step_by(8);
                    let mut clients: Vec<_> = numbers
                        .map(|number| {
                            let version = VERSIONS[number / 8 % 3];
                            let mut client = Client::open(broker, version);
                            client.send(&everything(version, number));
                            (number, client)
                        })
                        .collect();
                    clients.iter_mut().for_each(|(number, client)| is_answered(*number, client));
                });
            }
        });
    });
}

fn everything(version: u8, number: usize) -> Vec<u8> {
    let topic = format!("home/{number}");
    let mut bytes = Login::new(version, format!("client {number}")).bytes();
    bytes.extend(subscribe(version, 1, &[(&topic, 1)]));
    bytes.extend(publish(version, &topic, b"before the connack", 1, 2));
    // Some are larger than what is read at once.
    bytes.extend(publish(version, &topic, &vec![b'x'; if number.is_multiple_of(10) { 300_000 } else { 10 }], 0, 0));
    bytes.extend(publish(version, "home/other", b"twice", 2, 3));
    bytes.extend(ack(PUBREL, 3));
    bytes.extend(PING);
    bytes
}

fn is_answered(number: usize, client: &mut Client) {
    assert_eq!(client.packet_of(CONNACK).reason(), 0, "client {number}");
    let mut packets = Vec::new();
    let is_missing = |packets: &[Packet]| {
        let one = |kind| packets.iter().filter(|packet| packet.kind() == kind).count() == 1;
        let all = [SUBACK, PUBACK, PUBREC, PUBCOMP, PINGRESP].into_iter().all(one);
        !all || packets.iter().filter(|packet| packet.kind() == PUBLISH).count() < 2
    };
    while is_missing(&packets) {
        match client.come(PATIENCE) {
            Came::Packet(packet) => packets.push(packet),
            other => panic!("client {number}: {other:?} after {packets:?}"),
        }
    }
    let at = |kind| packets.iter().position(|packet| packet.kind() == kind);
    assert!(at(PUBREC) < at(PUBCOMP) && at(PUBCOMP) < at(PINGRESP), "client {number}: {packets:?}");
    let messages: Vec<_> = packets.iter().filter(|packet| packet.kind() == PUBLISH).map(Packet::publish).collect();
    assert_eq!(messages[0].text(), "before the connack");
    assert_eq!(messages[1].payload.len(), if number.is_multiple_of(10) { 300_000 } else { 10 });
    assert_eq!(messages.len(), 2);
    client.acknowledge(&messages[0]);
    client.ping();
}

// What is acknowledged has left before the connection is closed.
#[test]
fn a_whole_life_in_one_write() {
    on_shards(plain, |broker| {
        let mut reader = Login::new(VERSIONS[2], "reader").connect(broker);
        reader.subscribe("life/#", 0);
        for number in 0..100 {
            let version = VERSIONS[number % 3];
            let mut client = Client::open(broker, version);
            let mut bytes = Login::new(version, format!("short {number}")).bytes();
            bytes.extend(publish(version, &format!("life/{number}"), b"", 1, 1));
            bytes.extend(BYE);
            client.send(&bytes);
            assert_eq!(client.packet_of(CONNACK).reason(), 0);
            client.packet_of(PUBACK);
            client.end();
            assert_eq!(reader.publish().topic, format!("life/{number}"));
        }
    });
}

// The bytes after CONNECT come while the connection is on its way.
#[test]
fn what_comes_on_the_way_is_answered_too() {
    on_shards(plain, |broker| {
        thread::scope(|scope| {
            for part in 0..4 {
                scope.spawn(move || {
                    for number in 0..40 {
                        let version = VERSIONS[number % 3];
                        let mut client = Client::open(broker, version);
                        let bytes = everything(version, 10_000 + part * 100 + number);
                        let step = 1 + number * 3;
                        bytes.chunks(step.max(bytes.len() / 60)).for_each(|piece| client.send(piece));
                        is_answered(10_000 + part * 100 + number, &mut client);
                    }
                });
            }
        });
    });
}
