//! What a packet costs to read and to write, from bytes in a buffer to bytes in a buffer.
//!
//! A message is read once and written once per subscriber: `publish_decode` and `publish_copy` decide the broker's
//! speed. Aims: under 40 ns and under 30 ns.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thrum::base::SubscriptionId;
use thrum::mqtt::{
    AckType, BodyLayout, Connect, Delivery, Packet, PacketId, Progress, Properties, PropertyBuffer, PropertyId,
    Publish, PublishBody, PublishCopy, QoS, ReasonCode, Sender, TopicAlias, TopicName, Version, Will, decode, encode,
    encode_ack, frame,
};

const PACKET_BYTES_MAX: u32 = 1 << 20;
const TOPIC: &str = "site/7/floor/2/tempr";
const ID: PacketId = PacketId::new(0x1234).expect("not zero");
const PAYLOADS: [usize; 2] = [16, 256];

fn name(version: Version) -> &'static str {
    match version {
        Version::V3_1 => "v3.1",
        Version::V3_1_1 => "v3.1.1",
        Version::V5 => "v5",
    }
}

fn publish<'a>(qos: QoS, properties: Properties<'a>, payload: &'a [u8]) -> Publish<'a> {
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce(ID),
        QoS::ExactlyOnce => Delivery::ExactlyOnce(ID),
    };
    Publish { dup: false, delivery, retain: false, topic: Some(TopicName::trusted(TOPIC)), properties, payload }
}

fn bytes_of(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    encode(packet, version, &mut out);
    out
}

/// What a device sends with a message now and then.
fn some_properties() -> PropertyBuffer {
    let mut properties = PropertyBuffer::new();
    properties.push_four_byte(PropertyId::MessageExpiryInterval, 3_600);
    properties.push_text(PropertyId::ContentType, "application/json");
    properties.push_user_property("unit", "celsius");
    properties
}

/// As the connection does it: find the packet, read it, use its parts.
fn read(input: &[u8], version: Version, sender: Sender) -> usize {
    let Ok(Progress::Packet(found)) = frame(black_box(input), PACKET_BYTES_MAX) else { return 0 };
    let packet = decode(&found, black_box(version), sender);
    if black_box(&packet).is_ok() { found.bytes } else { 0 }
}

fn publish_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_decode");
    for version in [Version::V3_1_1, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            for size in PAYLOADS {
                let payload = vec![b'x'; size];
                let input = bytes_of(&Packet::Publish(publish(qos, Properties::EMPTY, &payload)), version);
                assert_eq!(read(&input, version, Sender::Client), input.len());
                let label = format!("{} qos{} {size}", name(version), qos as u8);
                group.bench_function(label, |bencher| bencher.iter(|| read(&input, version, Sender::Client)));
            }
        }
    }
    let properties = some_properties();
    let packet = Packet::Publish(publish(QoS::AtLeastOnce, properties.properties(), b"21.5"));
    let input = bytes_of(&packet, Version::V5);
    group.bench_function("v5 qos1 with properties", |bencher| {
        bencher.iter(|| read(&input, Version::V5, Sender::Client));
    });
    group.finish();
}

/// A buffer full of small packets, as one read of a busy socket gives it.
fn publish_stream(criterion: &mut Criterion) {
    const PACKETS: usize = 1_000;
    let mut group = criterion.benchmark_group("publish_stream");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for version in [Version::V3_1_1, Version::V5] {
        let mut input = Vec::new();
        for index in 0..PACKETS {
            let topic = format!("site/{}/floor/{}/tempr", index % 89, index % 7);
            let payload = vec![b'x'; 16 + index % 13];
            let qos = if index % 3 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            let packet =
                Publish { topic: Some(TopicName::trusted(&topic)), ..publish(qos, Properties::EMPTY, &payload) };
            encode(&Packet::Publish(packet), version, &mut input);
        }
        group.bench_function(name(version), |bencher| {
            bencher.iter(|| {
                let mut rest = &input[..];
                while !rest.is_empty() {
                    rest = &rest[read(rest, version, Sender::Client)..];
                }
            });
        });
    }
    group.finish();
}

fn publish_copy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_copy");
    let ids = [SubscriptionId::new(7).expect("in range")];
    for version in [Version::V3_1_1, Version::V5] {
        for delivery in [Delivery::AtMostOnce, Delivery::AtLeastOnce(ID)] {
            for size in PAYLOADS {
                let copy = copy(version, delivery);
                bench_copy(&mut group, &format!("{} qos{} {size}", name(version), delivery.qos() as u8), copy, size);
            }
        }
    }
    let own = PublishCopy {
        expiry_secs: Some(60),
        alias: TopicAlias::Use(3),
        subscription_ids: &ids,
        ..copy(Version::V5, Delivery::AtLeastOnce(ID))
    };
    bench_copy(&mut group, "v5 qos1 own properties", own, 16);
    group.finish();
}

fn copy<'a>(version: Version, delivery: Delivery) -> PublishCopy<'a> {
    let alias = TopicAlias::None;
    PublishCopy { version, dup: false, delivery, retain: false, expiry_secs: None, alias, subscription_ids: &[] }
}

/// Into a buffer that has room, as a connection's output buffer does once it is warm.
fn bench_copy(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    label: &str,
    copy: PublishCopy<'_>,
    payload_bytes: usize,
) {
    let mut shared = Vec::new();
    let payload = vec![b'x'; payload_bytes];
    let layout = BodyLayout::write(TopicName::trusted(TOPIC), &Properties::EMPTY, &payload, &mut shared);
    let body = PublishBody { bytes: &shared, layout };
    let mut out = Vec::with_capacity(64 * 1024);
    group.bench_function(label, |bencher| {
        bencher.iter(|| {
            if out.len() > 60 * 1024 {
                out.clear();
            }
            black_box(&body).put_copy(black_box(&copy), false, black_box(&mut out));
        });
    });
}

fn acks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acks");
    for version in [Version::V3_1_1, Version::V5] {
        let mut input = Vec::new();
        encode_ack(AckType::PubAck, ID, ReasonCode::Success, version, &mut input);
        group.bench_function(format!("decode {}", name(version)), |bencher| {
            bencher.iter(|| read(&input, version, Sender::Client));
        });
        let mut out = Vec::with_capacity(64 * 1024);
        group.bench_function(format!("encode {}", name(version)), |bencher| {
            bencher.iter(|| {
                if out.len() > 60 * 1024 {
                    out.clear();
                }
                let (id, reason, version) = black_box((ID, ReasonCode::Success, version));
                encode_ack(AckType::PubAck, id, reason, version, black_box(&mut out));
            });
        });
    }
    group.finish();
}

fn connect_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connect_decode");
    let mut properties = PropertyBuffer::new();
    properties.push_four_byte(PropertyId::SessionExpiryInterval, 3_600);
    properties.push_two_byte(PropertyId::ReceiveMaximum, 100);
    for version in [Version::V3_1_1, Version::V5] {
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_secs: 60,
            client_id: "device-0123456789abcdef",
            will: Some(Will {
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: TopicName::trusted("devices/0123456789abcdef/gone"),
                payload: b"gone",
                properties: Properties::EMPTY,
            }),
            user_name: Some("device"),
            password: Some(b"a password of some length"),
            properties: if version == Version::V5 { properties.properties() } else { Properties::EMPTY },
        };
        let input = bytes_of(&Packet::Connect(connect), version);
        group.bench_function(name(version), |bencher| bencher.iter(|| read(&input, version, Sender::Client)));
    }
    group.finish();
}

criterion_group!(codec, publish_decode, publish_stream, publish_copy, acks, connect_decode);
criterion_main!(codec);
