//! Strangers in front of TLS and WebSocket who mean no good: each is sent away in bounded time, what he costs meanwhile is
//! bounded, and who is inside notices nothing.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::broker::{Broker, PATIENCE, Setup};
use crate::client::connect;
use crate::packets::{PING, V5};
use crate::random::Random;
use crate::wrapping::Reach;

/// The time that strangers have.
const CONNECT_TIMEOUT_SECS: u64 = 2;

/// What strangers may cost, each, with all that the broker has around a connection.
const STRANGER_BYTES_MAX: usize = 96 << 10;

/// What is the same for one stranger and for many: pages that the allocator keeps, above all.
const SLACK_BYTES: usize = 48 << 20;

fn broker(reach: Reach) -> Broker {
    Setup::new(2).limit("connect_timeout_secs", CONNECT_TIMEOUT_SECS).reach(reach).start()
}

fn stranger(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.address).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// The connection ends, after whatever it is told. What it was told.
fn end(stream: &mut TcpStream) -> Vec<u8> {
    let mut told = Vec::new();
    match stream.read_to_end(&mut told) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("it is not sent away: {error}"),
    }
    told
}

fn resident_bytes(broker: &Broker) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("the broker runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("what is resident");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// While the strangers are there somebody inside is served, and the broker's memory stays in its bounds.
fn with_strangers(reach: Reach, count: usize, begin: impl Fn(&Broker, usize) -> TcpStream) {
    let broker = broker(reach);
    let mut inside = connect(&broker, V5, "inside");
    let before = resident_bytes(&broker);
    let mut strangers: Vec<_> = (0..count).map(|number| begin(&broker, number)).collect();
    let began = Instant::now();
    inside.ping();
    let grown = resident_bytes(&broker).saturating_sub(before);
    assert!(grown < SLACK_BYTES + count * STRANGER_BYTES_MAX, "{grown} bytes for {count} strangers");
    strangers.iter_mut().for_each(|stream| _ = end(stream));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(CONNECT_TIMEOUT_SECS) + PATIENCE / 2, "{took:?}");
    inside.ping();
    broker.stop();
}

#[test]
fn garbage_instead_of_tls_is_sent_away() {
    with_strangers(Reach::Tls, 100, |broker, number| {
        let mut stream = stranger(broker);
        let mut random = Random::new(number as u64 + 1);
        let garbage: Vec<u8> = (0..1 + number * 40).map(|_| random.next() as u8).collect();
        let _ = stream.write_all(&garbage);
        stream
    });
}

/// The first bytes of a ClientHello that says it is longer.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 half of a hello";

#[test]
fn half_a_handshake_waits_no_longer_than_a_connect_would() {
    with_strangers(Reach::Tls, 300, |broker, number| {
        let mut stream = stranger(broker);
        let bytes = if number == 0 { 0 } else { 1 + number % HALF_A_HELLO.len() };
        stream.write_all(&HALF_A_HELLO[..bytes.min(HALF_A_HELLO.len())]).expect("sent");
        stream
    });
}

#[test]
fn a_handshake_without_end_is_ended() {
    let broker = broker(Reach::Tls);
    let mut stream = stranger(&broker);
    // A handshake message of 16 MB, as records of 16 KB.
    let before = resident_bytes(&broker);
    let mut record = vec![0; 5 + (16 << 10)];
    record[..5].copy_from_slice(&[0x16, 3, 3, 0x40, 0]);
    record[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    // What is sent behind the refusal is thrown away, for as long as the client has to read that.
    let began = Instant::now();
    while stream.write_all(&record).is_ok() {
        assert!(began.elapsed() < PATIENCE / 2, "it goes on and on");
    }
    end(&mut stream);
    assert!(resident_bytes(&broker).saturating_sub(before) < SLACK_BYTES);
    connect(&broker, V5, "inside").ping();
    broker.stop();
}

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n";

#[test]
fn half_a_request_waits_no_longer_than_a_connect_would() {
    with_strangers(Reach::WebSocket, 300, |broker, number| {
        let mut stream = stranger(broker);
        stream.write_all(&UPGRADE.as_bytes()[..number % UPGRADE.len()]).expect("sent");
        stream
    });
}

/// What the answer to a request begins with; the connection ends with it.
fn refusal(broker: &Broker, request: &str) -> String {
    let mut stream = stranger(broker);
    let _ = stream.write_all(request.as_bytes());
    let told = String::from_utf8_lossy(&end(&mut stream)).into_owned();
    told.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_request_that_is_not_for_mqtt_is_told_why() {
    let broker = broker(Reach::WebSocket);
    let without = |line: &str| UPGRADE.replace(line, "") + "\r\n";
    for (request, status) in [
        (format!("{}\r\n", UPGRADE.replace("/mqtt ", "/other ")), "404"),
        (format!("{}\r\n", UPGRADE.replace("GET", "POST")), "405"),
        (format!("{}\r\n", UPGRADE.replace("Version: 13", "Version: 8")), "426"),
        (format!("{}\r\n", UPGRADE.replace("mqttv3.1, mqtt", "chat")), "400"),
        (without("Upgrade: websocket\r\n"), "4"),
        (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "400"),
        ("\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01o\r\n\r\n".to_owned(), "400"),
        (format!("{UPGRADE}X: {}\r\n\r\n", "x".repeat(64 << 10)), "4"),
    ] {
        let first = refusal(&broker, &request);
        assert!(first.starts_with(&format!("HTTP/1.1 {status}")), "{first}: {}", &request[..request.len().min(80)]);
    }
    connect(&broker, V5, "inside").ping();
    broker.stop();
}

/// A stranger who has come as far as WebSocket.
fn upgraded(broker: &Broker) -> TcpStream {
    let mut stream = stranger(broker);
    stream.write_all(format!("{UPGRADE}\r\n").as_bytes()).expect("sent");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
    stream
}

/// The frame by which a connection ends, with its status code. (RFC 6455, 7.4.1)
fn close_frame(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

// [MQTT-6.0.0-1] [MQTT-6.0.0-4]
#[test]
fn frames_that_break_the_rules_end_the_connection_with_their_code() {
    let broker = broker(Reach::WebSocket);
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let frame = |head: &[u8], more: usize| [head, &MASK, &vec![0; more]].concat();
    for (what, bytes, code) in [
        ("unmasked", vec![0x82, 2, 0xc0, 0], 1002),
        ("compressed", frame(&[0xc2, 0x82], 2), 1002),
        ("reserved bits", frame(&[0xb2, 0x82], 2), 1002),
        ("text", frame(&[0x81, 0x82], 2), 1003),
        ("reserved opcode", frame(&[0x83, 0x82], 2), 1002),
        ("reserved control opcode", frame(&[0x8b, 0x80], 0), 1002),
        ("a length with the highest bit", frame(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 0), 1002),
        ("a ping of 126 bytes", frame(&[0x89, 0xfe, 0, 126], 126), 1002),
        ("a ping in parts", frame(&[0x09, 0x81], 1), 1002),
        ("a continuation of nothing", frame(&[0x80, 0x81], 1), 1002),
    ] {
        let mut stream = upgraded(&broker);
        stream.write_all(&bytes).expect("sent");
        assert_eq!(end(&mut stream), close_frame(code), "{what}");
    }
    connect(&broker, V5, "inside").ping();
    broker.stop();
}

#[test]
fn a_length_beyond_all_measure_costs_nothing() {
    with_strangers(Reach::WebSocket, 100, |broker, _| {
        let mut stream = upgraded(broker);
        // The longest frame there can be, and a CONNECT that is never whole in it.
        stream.write_all(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).expect("sent");
        stream.write_all(b"\x10\xff\xff\x03\0\x04MQTT\x04\x02\0\x3c\xff\xff").expect("sent");
        stream
    });
}

#[test]
fn many_frames_with_nothing_in_them_cost_no_memory_and_nobody_else_time() {
    let broker = broker(Reach::WebSocket);
    let mut inside = connect(&broker, V5, "inside");
    let before = resident_bytes(&broker);
    let mut stream = upgraded(&broker);
    let empty =
        [0x02, 0x80, 0, 0, 0, 0].into_iter().chain([0x00, 0x80, 0, 0, 0, 0].repeat(10_000)).collect::<Vec<u8>>();
    let _ = stream.write_all(&empty);
    inside.ping();
    let more = [0x00, 0x80, 0, 0, 0, 0].repeat(10_000);
    (0..20).for_each(|_| _ = stream.write_all(&more));
    inside.ping();
    assert!(resident_bytes(&broker).saturating_sub(before) < SLACK_BYTES);
    end(&mut stream);
    broker.stop();
}

/// Who asks and asks and takes no answer may have so much in answers waiting.
const PONGS_BYTES_MAX: usize = 16 << 20;

#[test]
fn pings_whose_pongs_nobody_reads_are_not_answered_without_end() {
    let broker = broker(Reach::WebSocket);
    let mut inside = connect(&broker, V5, "inside");
    let before = resident_bytes(&broker);
    let mut stream = upgraded(&broker);
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket");
    let ping = [&[0x89, 0xfd, 1, 2, 3, 4][..], &[0; 125]].concat().repeat(500);
    // A client that is let in, so that it is not sent away for being late.
    let login = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p";
    stream.write_all(&[&[0x82, 0x80 | login.len() as u8, 0, 0, 0, 0][..], login].concat()).expect("sent");
    let mut sent = 0;
    while sent < 128 << 20 && stream.write_all(&ping).is_ok() {
        sent += ping.len();
    }
    inside.ping();
    let grown = resident_bytes(&broker).saturating_sub(before);
    assert!(grown < SLACK_BYTES + PONGS_BYTES_MAX, "{grown} bytes for {sent} bytes of pings");
    drop(stream);
    inside.send(&PING);
    broker.stop();
}
