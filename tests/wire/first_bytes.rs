//! What comes first on a connection: nothing, too slowly, something else than MQTT, half a CONNECT.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, on_shards, plain};
use crate::client::{Came, Client, connect};
use crate::packets::{CONNACK, Login, V3_1_1, V5, VERSIONS};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

fn with_timeout(setup: crate::broker::Setup) -> crate::broker::Setup {
    setup.limit("connect_timeout_secs", CONNECT_TIMEOUT.as_secs())
}

/// The client's bytes get nothing but the end of the connection.
fn is_cut_off(broker: &Broker, bytes: &[u8]) {
    let mut client = Client::open(broker, V3_1_1);
    client.send_if_open(bytes);
    client.end();
}

#[test]
fn who_says_nothing_is_closed_at_the_timeout() {
    on_shards(with_timeout, |broker| {
        let mut clients: Vec<_> = (0..20).map(|_| Client::open(broker, V3_1_1)).collect();
        let started = Instant::now();
        let mut member = connect(broker, V5, "member");
        clients.iter_mut().for_each(Client::end);
        assert!(started.elapsed() > CONNECT_TIMEOUT / 2, "closed after {:?}", started.elapsed());
        member.ping();
    });
}

// Each byte is progress, but the CONNECT as a whole has one timeout.
#[test]
fn who_sends_a_connect_byte_by_byte_is_closed_at_the_timeout() {
    on_shards(with_timeout, |broker| {
        let mut slow = Client::open(broker, V3_1_1);
        let bytes = Login::new(V3_1_1, "a client identifier that takes its time to come").bytes();
        let started = Instant::now();
        for byte in bytes.chunks(1) {
            match slow.come(Duration::from_millis(100)) {
                Came::Nothing => _ = slow.send_if_open(byte),
                Came::End => break,
                Came::Packet(packet) => panic!("{packet:?}"),
            }
        }
        slow.end();
        let took = started.elapsed();
        assert!(took > CONNECT_TIMEOUT / 2 && took < CONNECT_TIMEOUT * 3, "closed after {took:?}");
    });
}

#[test]
fn what_is_no_mqtt_is_cut_off() {
    on_shards(with_timeout, |broker| {
        let mut member = connect(broker, V5, "member");
        is_cut_off(broker, b"GET / HTTP/1.1\r\nHost: localhost:1883\r\nUser-Agent: a browser\r\n\r\n");
        is_cut_off(broker, b"POST /mqtt HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
        // A TLS ClientHello begins with the record 0x16: in MQTT the type of a CONNECT's neighbour.
        let mut hello = vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
        hello.resize(205, 0xab);
        is_cut_off(broker, &hello);
        is_cut_off(broker, b"SSH-2.0-OpenSSH_9.6\r\n");
        is_cut_off(broker, &[0; 1_000]);
        is_cut_off(broker, &[0xff; 1_000]);
        // PROXY protocol, where none is expected.
        is_cut_off(broker, b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 1883\r\n");
        // [MQTT-3.1.0-1] packets, but no CONNECT
        is_cut_off(broker, &[0xc0, 0]);
        is_cut_off(broker, &[0x30, 3, 0, 1, b'a']);
        is_cut_off(broker, &[0xe0, 0]);
        member.ping();
    });
}

#[test]
fn a_connect_that_says_it_is_huge_is_cut_off_before_it_comes() {
    on_shards(plain, |broker| {
        let mut member = connect(broker, V5, "member");
        is_cut_off(broker, &[0x10, 0xff, 0xff, 0xff, 0x7f]);
        is_cut_off(broker, &[0x10, 0xff, 0xff, 0xff, 0xff]);
        is_cut_off(broker, &[0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, b'M', b'Q', b'T', b'T', 4]);
        member.ping();
    });
}

#[test]
fn a_connect_that_is_cut_anywhere_leaves_nothing() {
    on_shards(plain, |broker| {
        let mut member = connect(broker, V5, "member");
        for version in VERSIONS {
            let bytes = Login::new(version, "cut").will("gone", "cut", 1).bytes();
            let mut clients = Vec::new();
            for at in 0..bytes.len() {
                let mut client = Client::open(broker, version);
                client.send(&bytes[..at]);
                client.half_close();
                clients.push(client);
            }
            clients.iter_mut().for_each(Client::end);
        }
        member.ping();
    });
}

// A client may say all it has to say, end its sending direction, and read the answer.
#[test]
fn a_whole_connect_and_a_half_close_leave_no_connection_behind() {
    on_shards(plain, |broker| {
        let mut client = Login::new(V5, "half").send(broker);
        client.half_close();
        client.end_at_last();
        broker.line("it is disconnected", |line| line.says("disconnected", "half"));
    });
}

#[test]
fn a_connect_in_pieces_of_one_byte_is_taken() {
    on_shards(plain, |broker| {
        thread::scope(|scope| {
            for version in VERSIONS {
                scope.spawn(move || {
                    let mut client = Client::open(broker, version);
                    for byte in Login::new(version, format!("byte by byte {version}")).bytes().chunks(1) {
                        client.send(byte);
                        client.stream.flush().unwrap();
                        thread::sleep(Duration::from_millis(2));
                    }
                    assert_eq!(client.packet_of(CONNACK).reason(), 0);
                    client.ping();
                });
            }
        });
    });
}
