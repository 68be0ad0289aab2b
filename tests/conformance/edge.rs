//! The edge of the core, as a driver meets it: decoded packets, payloads by reference, what is consumed, when to tick.

use thrum::access::Open;
use thrum::base::limits::PAYLOAD_COPY_BYTES_MAX;
use thrum::base::{ConnId, Millis, ShardId, Timestamp};
use thrum::broker::{Consumed, Effects, Input, Options, ShardCore};
use thrum::mqtt::{Packet, Progress, Sender, Version, decode, frame};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const A: ConnId = ConnId(0);
const B: ConnId = ConnId(1);

const CONNECT_A: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
const CONNECT_B: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01b";
const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01t\x01";

fn core() -> ShardCore {
    ShardCore::new(ShardId::new(0), Options::default(), Box::new(Open), NOW).unwrap()
}

fn sent(fx: &mut Effects, to: ConnId) -> Vec<u8> {
    let mut sent = Vec::new();
    fx.output.drain(|conn, buffer| {
        if conn == to {
            buffer.chunks().for_each(|chunk| sent.extend_from_slice(chunk));
        }
    });
    sent
}

fn as_packet(bytes: &[u8], take: impl FnOnce(&Packet<'_>) -> Consumed) -> Consumed {
    let Ok(Progress::Packet(frame)) = frame(bytes, u32::MAX) else { panic!("one whole packet") };
    take(&decode(&frame, Version::V3_1_1, Sender::Client).unwrap())
}

#[test]
fn a_packet_decoded_elsewhere_has_the_effect_of_its_bytes() {
    let publish: &[u8] = b"\x32\x06\0\x01t\0\x09x";
    let second_connect = CONNECT_A;
    let steps = [(A, CONNECT_A), (B, CONNECT_B), (B, SUBSCRIBE), (A, publish), (A, b"\xc0\0"), (A, second_connect)];
    let (mut by_bytes, mut by_packets) = (core(), core());
    for conn in [A, B] {
        by_bytes.handle(NOW, Input::Opened { conn }, &mut Effects::new());
        by_packets.handle(NOW, Input::Opened { conn }, &mut Effects::new());
    }
    for (conn, bytes) in steps {
        let (mut expected, mut got) = (Effects::new(), Effects::new());
        by_bytes.handle(NOW, Input::Bytes { conn, bytes }, &mut expected);
        as_packet(bytes, |packet| by_packets.handle(NOW, Input::Packet { conn, packet }, &mut got));
        assert_eq!((expected.close, expected.events), (got.close, got.events));
        let all = |output: &mut thrum::broker::Output| {
            let mut all = Vec::new();
            output.drain(|conn, buffer| all.push((conn, buffer.bytes.clone())));
            all
        };
        assert_eq!(all(&mut expected.output), all(&mut got.output));
    }
    assert_eq!(by_bytes.counters(), by_packets.counters());
}

#[test]
fn a_large_payload_goes_by_reference_and_in_its_place() {
    let mut core = core();
    let mut fx = Effects::new();
    for (conn, connect) in [(A, CONNECT_A), (B, CONNECT_B)] {
        core.handle(NOW, Input::Opened { conn }, &mut fx);
        core.handle(NOW, Input::Bytes { conn, bytes: connect }, &mut fx);
    }
    core.handle(NOW, Input::Bytes { conn: B, bytes: SUBSCRIBE }, &mut fx);
    sent(&mut fx, B);
    let mut bytes = Vec::new();
    for payload in [1, PAYLOAD_COPY_BYTES_MAX, PAYLOAD_COPY_BYTES_MAX + 1, 3, 9_000] {
        let length = 3 + payload;
        bytes.push(0x30);
        bytes.extend_from_slice(if length < 128 { &[] } else { &[0] });
        let at = bytes.len() - usize::from(length >= 128);
        if length < 128 {
            bytes.push(length as u8);
        } else {
            bytes[at] = (length & 0x7f) as u8 | 0x80;
            bytes.push((length >> 7) as u8);
        }
        bytes.extend_from_slice(b"\0\x01t");
        bytes.extend(std::iter::repeat_n(payload as u8, payload));
    }
    core.handle(NOW, Input::Bytes { conn: A, bytes: &bytes }, &mut fx);
    let mut by_reference = 0;
    let mut got = Vec::new();
    fx.output.drain(|conn, buffer| {
        assert_eq!(conn, B);
        by_reference = buffer.payloads.len();
        buffer.chunks().for_each(|chunk| got.extend_from_slice(chunk));
    });
    assert_eq!(by_reference, 2);
    assert_eq!(got, bytes);
}

#[test]
fn it_is_said_how_much_was_used_and_how_much_is_missing() {
    let mut core = core();
    let mut fx = Effects::new();
    core.handle(NOW, Input::Opened { conn: A }, &mut fx);
    let consumed = core.handle(NOW, Input::Bytes { conn: A, bytes: &CONNECT_A[..5] }, &mut fx);
    assert_eq!(consumed, Consumed { bytes: 0, need: CONNECT_A.len() - 5, held: false, had_secret: true });
    let more = [CONNECT_A, b"\xc0\0\xc0"].concat();
    let consumed = core.handle(NOW, Input::Bytes { conn: A, bytes: &more }, &mut fx);
    assert_eq!(consumed, Consumed { bytes: more.len() - 1, need: 1, held: false, had_secret: true });
    assert_eq!(sent(&mut fx, A), [0x20, 2, 0, 0, 0xd0, 0]);
}

#[test]
fn the_next_timeout_is_never_late() {
    let mut core = core();
    let mut fx = Effects::new();
    assert_eq!(core.next_timeout(NOW), None);
    core.handle(NOW, Input::Opened { conn: A }, &mut fx);
    core.handle(NOW, Input::Bytes { conn: A, bytes: CONNECT_A }, &mut fx);
    let (mut now, mut ticks) = (NOW, 0);
    // Following it to the keep alive of 60 s, the connection ends within a tick of 90 s, and costs few ticks.
    while fx.close.is_empty() {
        now = now + core.next_timeout(now).expect("the keep alive is timed").max(Millis(1));
        core.handle(now, Input::Tick, &mut fx);
        ticks += 1;
        assert!(now <= NOW + Millis(90_200), "still there after {:?}", now - NOW);
    }
    assert!(now >= NOW + Millis(90_000));
    assert!(ticks < 100, "{ticks} ticks");
}
