//! What the operator allows: connections, descriptors, the size of a packet. Who is in stays in, who is too many is told or
//! cut off, and there is room again when somebody leaves.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::broker::{Broker, PATIENCE, Setup, on_shards};
use crate::client::{Came, Client, connect};
use crate::packets::{CONNACK, DISCONNECT, Login, PUBACK, V3_1_1, V5, publish};
use crate::process::processor_share;

/// A client that is let in, or none.
fn try_connect(broker: &Broker, version: u8, client_id: &str, within: Duration) -> Option<Client> {
    let mut client = Client::over(TcpStream::connect(broker.address).ok()?, version);
    client.send_if_open(&Login::new(version, client_id).bytes());
    match client.come(within) {
        Came::Packet(packet) if packet.kind() == CONNACK && packet.reason() == 0 => Some(client),
        Came::Packet(packet) => {
            assert_eq!(packet.kind(), CONNACK, "{packet:?}");
            client.end();
            None
        }
        _ => None,
    }
}

fn connect_at_last(broker: &Broker, client_id: &str) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(client) = try_connect(broker, V5, client_id, Duration::from_secs(1)) {
            return client;
        }
        assert!(Instant::now() < deadline, "there is no room for {client_id}");
    }
}

#[test]
fn so_many_connections_and_no_more() {
    const MOST: usize = 12;
    on_shards(
        |setup| setup.option("connections_max", MOST as u64),
        |broker| {
            let mut members: Vec<_> =
                (0..MOST).map(|number| connect(broker, V5, &format!("member {number}"))).collect();
            for number in 0..20 {
                let newcomer = try_connect(broker, [V3_1_1, V5][number % 2], &format!("newcomer {number}"), PATIENCE);
                assert!(newcomer.is_none(), "number {} is let in", MOST + 1);
            }
            members.iter_mut().for_each(Client::ping);
            for round in 0..5 {
                members.remove(round * 2).bye();
                members.push(connect_at_last(broker, &format!("successor {round}")));
                assert!(try_connect(broker, V5, "one too many", PATIENCE).is_none());
            }
            members.iter_mut().for_each(Client::ping);
        },
    );
}

/// One more may come in by taking over.
#[test]
fn there_is_no_room_left_by_who_never_says_who_he_is() {
    let broker = Setup::new(2).option("connections_max", 5).limit("connect_timeout_secs", 1).start();
    let mut silent: Vec<_> = (0..5).map(|_| Client::open(&broker, V5)).collect();
    connect_at_last(&broker, "member").ping();
    silent.iter_mut().for_each(Client::end);
    broker.stop();
}

#[test]
fn no_descriptors_left_costs_nobody_who_is_there() {
    for shards in [1, 2] {
        let broker = Setup::new(shards).descriptors_max(120).start();
        let mut members = Vec::new();
        let mut waiting = Vec::new();
        for number in 0..150 {
            let mut client = Client::over(hurried(broker.address), V5);
            client.send_if_open(&Login::new(V5, format!("client {number}")).bytes());
            // Once one has to wait, so have those after it.
            let patience = if waiting.is_empty() { Duration::from_secs(1) } else { Duration::from_millis(1) };
            match client.come(patience) {
                Came::Packet(packet) if packet.reason() == 0 => members.push(client),
                _ => waiting.push(client),
            }
        }
        println!("{shards} shards: {} of 150 let in with 120 descriptors", members.len());
        assert!(members.len() > 20 && !waiting.is_empty(), "{} of 150 let in", members.len());
        members.iter_mut().for_each(Client::ping);
        let share = processor_share(broker.pid(), Duration::from_secs(1));
        assert!(share < 0.5, "{share} of a core for connections that cannot be accepted");
        members.iter_mut().for_each(Client::ping);
        drop(waiting);
        members.drain(..20).for_each(Client::bye);
        for number in 0..10 {
            members.push(connect_at_last(&broker, &format!("successor {number}")));
        }
        members.iter_mut().for_each(Client::ping);
        broker.stop();
    }
}

/// A connection that the kernel has queued counts as one; the broker need not have accepted it.
fn hurried(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.connect_timeout(&address.into(), PATIENCE).expect("the kernel accepts");
    socket.into()
}

// [MQTT-3.2.2-15] the limit is told, and kept to the byte.
#[test]
fn a_packet_over_the_limit_ends_its_connection() {
    const MOST: usize = 10_000;
    on_shards(
        |setup| setup.limit("packet_bytes_max", MOST as u64),
        |broker| {
            let mut neighbour = connect(broker, V5, "neighbour");
            for version in [V3_1_1, V5] {
                let mut client = Login::new(version, "large").send(broker);
                let connack = client.packet_of(CONNACK);
                let told = [0x27, 0, 0, (MOST >> 8) as u8, (MOST & 0xff) as u8];
                assert_eq!(version == V5, connack.body.windows(5).any(|bytes| bytes == told), "{connack:?}");
                let around = publish(version, "topic", b"", 1, 1).len() + 1;
                client.send(&publish(version, "topic", &vec![b'x'; MOST - around], 1, 1));
                assert_eq!(client.packet_of(PUBACK).packet_id(), 1);
                client.send_if_open(&publish(version, "topic", &vec![b'x'; MOST - around + 1], 1, 1));
                if version == V5 {
                    assert_eq!(client.packet_of(DISCONNECT).reason(), 0x95);
                }
                client.end();
                neighbour.ping();
            }
        },
    );
}

// The rest of such a packet may be on its way, megabytes of it; the reason is told all the same.
#[test]
fn the_reason_is_told_to_who_still_sends() {
    on_shards(
        |setup| setup.limit("packet_bytes_max", 10_000),
        |broker| {
            for round in 0..10 {
                let mut client = connect(broker, V5, &format!("large {round}"));
                let mut sender = Client::over(client.stream.try_clone().unwrap(), V5);
                thread::scope(|scope| {
                    scope.spawn(move || sender.send_if_open(&publish(V5, "topic", &vec![b'x'; 4 << 20], 1, 1)));
                    assert_eq!(client.packet_of(DISCONNECT).reason(), 0x95);
                    client.end();
                });
            }
        },
    );
}
