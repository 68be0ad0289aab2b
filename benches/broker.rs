//! What a message costs in one shard, everything included but the sockets: bytes in, effects out, output drained and
//! reported as sent, as the driver does it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thrum::access::Open;
use thrum::base::{ConnId, ShardId, Timestamp};
use thrum::broker::{Effects, Input, Options, ShardCore};
use thrum::mqtt::Version;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

struct Shard {
    core: ShardCore,
    effects: Effects,
    /// What was sent last, by connection.
    sent: Vec<Vec<u8>>,
    written: Vec<(ConnId, usize)>,
}

impl Shard {
    fn new() -> Self {
        let options = Options { inflight_max: 1_000, ..Options::default() };
        let core = ShardCore::new(ShardId::new(0), options, Box::new(Open), NOW).expect("the options are valid");
        Self { core, effects: Effects::new(), sent: Vec::new(), written: Vec::new() }
    }

    fn handle(&mut self, input: Input<'_>) {
        black_box(self.core.handle(NOW, input, &mut self.effects));
    }

    fn bytes(&mut self, conn: u32, bytes: &[u8]) {
        self.handle(Input::Bytes { conn: ConnId(conn), bytes });
    }

    /// Writes what there is to write.
    fn flush(&mut self) {
        self.written.clear();
        self.effects.output.drain(|conn, buffer| {
            let sent = &mut self.sent[conn.0 as usize];
            sent.clear();
            buffer.chunks().for_each(|chunk| sent.extend_from_slice(chunk));
            self.written.push((conn, sent.len()));
        });
        for &(conn, bytes) in &self.written {
            self.core.handle(NOW, Input::Sent { conn, bytes }, &mut self.effects);
        }
        self.effects.events.clear();
    }

    fn connect(&mut self, version: Version) -> u32 {
        let conn = self.sent.len() as u32;
        self.sent.push(Vec::new());
        self.handle(Input::Opened { conn: ConnId(conn) });
        let id = format!("client-{conn:07}");
        let (level, properties) = if version == Version::V5 { (5, &[0u8][..]) } else { (4, &[][..]) };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60];
        body.extend_from_slice(properties);
        body.extend_from_slice(&[0, id.len() as u8]);
        body.extend_from_slice(id.as_bytes());
        let mut packet = vec![0x10, body.len() as u8];
        packet.extend_from_slice(&body);
        self.bytes(conn, &packet);
        self.flush();
        conn
    }

    fn subscribe(&mut self, conn: u32, filter: &str, qos: u8, version: Version) {
        let mut body = vec![0, 1];
        if version == Version::V5 {
            body.push(0);
        }
        body.extend_from_slice(&[0, filter.len() as u8]);
        body.extend_from_slice(filter.as_bytes());
        body.push(qos);
        let mut packet = vec![0x82, body.len() as u8];
        packet.extend_from_slice(&body);
        self.bytes(conn, &packet);
        self.flush();
    }
}

fn publish(topic: &str, qos: u8, version: Version) -> Vec<u8> {
    let mut body = vec![0, topic.len() as u8];
    body.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&[0, 7]);
    }
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(b"sixteen bytes...");
    let mut packet = vec![0x30 | qos << 1, body.len() as u8];
    packet.extend_from_slice(&body);
    packet
}

const TOPIC: &str = "plant/7/device/0001";

/// The packet identifier of the PUBLISH that was sent last; it stands behind the topic.
fn packet_id(sent: &[u8]) -> [u8; 2] {
    let at = 4 + TOPIC.len();
    [sent[at], sent[at + 1]]
}

fn one_to_one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one message through a shard");
    group.throughput(Throughput::Elements(1));
    for version in [Version::V3_1_1, Version::V5] {
        for qos in 0..=2 {
            let mut shard = Shard::new();
            let (publisher, subscriber) = (shard.connect(version), shard.connect(version));
            shard.subscribe(subscriber, TOPIC, qos, version);
            let packet = publish(TOPIC, qos, version);
            group.bench_function(format!("QoS {qos}, {version:?}"), |bencher| {
                bencher.iter(|| {
                    shard.bytes(publisher, &packet);
                    shard.flush();
                    match qos {
                        0 => {}
                        1 => {
                            let [high, low] = packet_id(&shard.sent[subscriber as usize]);
                            shard.bytes(subscriber, &[0x40, 2, high, low]);
                        }
                        _ => {
                            let [high, low] = packet_id(&shard.sent[subscriber as usize]);
                            shard.bytes(publisher, &[0x62, 2, 0, 7]);
                            shard.bytes(subscriber, &[0x50, 2, high, low]);
                            shard.flush();
                            shard.bytes(subscriber, &[0x70, 2, high, low]);
                        }
                    }
                });
            });
            assert_eq!(shard.core.messages_held(), 0, "every message was delivered and acknowledged");
        }
    }
    group.finish();
}

/// A batch, as a busy connection sends it: 32 messages in one read, their acknowledgements in another.
fn batched(criterion: &mut Criterion) {
    const BATCH: usize = 32;
    let mut group = criterion.benchmark_group("a message of a batch of 32");
    group.throughput(Throughput::Elements(BATCH as u64));
    for qos in 0..=2 {
        let version = Version::V3_1_1;
        let mut shard = Shard::new();
        let (publisher, subscriber) = (shard.connect(version), shard.connect(version));
        shard.subscribe(subscriber, TOPIC, qos, version);
        let mut packets = Vec::new();
        let mut releases = Vec::new();
        for id in 1..=BATCH as u8 {
            let mut packet = publish(TOPIC, qos, version);
            if qos > 0 {
                packet[4 + TOPIC.len() + 1] = id;
            }
            packets.extend_from_slice(&packet);
            releases.extend_from_slice(&[0x62, 2, 0, id]);
        }
        let mut acks = Vec::new();
        let packet_len = publish(TOPIC, qos, version).len();
        group.bench_function(format!("QoS {qos}"), |bencher| {
            bencher.iter(|| {
                shard.bytes(publisher, &packets);
                shard.flush();
                if qos == 0 {
                    return;
                }
                acks.clear();
                for sent in shard.sent[subscriber as usize].chunks(packet_len) {
                    let [high, low] = packet_id(sent);
                    acks.extend_from_slice(&[if qos == 1 { 0x40 } else { 0x50 }, 2, high, low]);
                }
                shard.bytes(subscriber, &acks);
                if qos == 2 {
                    shard.bytes(publisher, &releases);
                    shard.flush();
                    acks.chunks_mut(4).for_each(|ack| ack[0] = 0x70);
                    shard.bytes(subscriber, &acks);
                }
                shard.flush();
            });
        });
        assert_eq!(shard.core.messages_held(), 0, "every message was delivered and acknowledged");
    }
    group.finish();
}

fn fan_out(criterion: &mut Criterion) {
    const SUBSCRIBERS: u32 = 1_000;
    let mut group = criterion.benchmark_group("fan-out, a subscriber");
    group.throughput(Throughput::Elements(SUBSCRIBERS.into()));
    for (qos, mixed) in [(0, false), (1, false), (0, true)] {
        let version = Version::V3_1_1;
        let mut shard = Shard::new();
        let publisher = shard.connect(version);
        for index in 0..SUBSCRIBERS {
            let version = if mixed && index % 2 == 0 { Version::V5 } else { Version::V3_1_1 };
            let subscriber = shard.connect(version);
            shard.subscribe(subscriber, TOPIC, qos, version);
        }
        let packet = publish(TOPIC, qos, version);
        let name = format!("QoS {qos}{}", if mixed { ", versions mixed" } else { "" });
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                shard.bytes(publisher, &packet);
                shard.flush();
                if qos == 1 {
                    for subscriber in 1..=SUBSCRIBERS {
                        let [high, low] = packet_id(&shard.sent[subscriber as usize]);
                        shard.bytes(subscriber, &[0x40, 2, high, low]);
                    }
                }
            });
        });
        assert_eq!(shard.core.messages_held(), 0, "every message was delivered and acknowledged");
    }
    group.finish();
}

criterion_group!(benches, one_to_one, batched, fan_out);
criterion_main!(benches);
