//! The state machines of a session alone: what a message costs its window, a client's publish its receiver, a queue its
//! place. They must not depend on how large the window is.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use thrum::session::{
    AckKind, FullPolicy, Inbound, Outbound, OutboundAliases, PacketId, Queue, QueueBounds, QueueItem, SendQos,
};

const WINDOWS: [u16; 3] = [1, 1_000, 60_000];

fn outbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbound");
    for (name, kind) in
        [("QoS 1: send, puback", SendQos::AtLeastOnce), ("QoS 2: send, pubrec, pubcomp", SendQos::ExactlyOnce)]
    {
        for window in WINDOWS {
            let mut outbound = Outbound::default();
            let mut in_flight = VecDeque::new();
            for message in 1..u32::from(window) {
                in_flight.extend(outbound.send(kind, message, window));
            }
            group.bench_function(BenchmarkId::new(name, window), |bencher| {
                bencher.iter(|| {
                    in_flight.extend(outbound.send(kind, black_box(7), window));
                    let id = in_flight.pop_front().expect("one was just sent");
                    let taken = match kind {
                        SendQos::AtLeastOnce => outbound.puback(id).is_ok(),
                        SendQos::ExactlyOnce => outbound.pubrec(id).is_ok() && outbound.pubcomp(id).is_ok(),
                    };
                    assert!(taken);
                });
            });
        }
    }
    group.finish();
}

fn inbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbound");
    for open in WINDOWS {
        let mut inbound = Inbound::default();
        let mut ids: VecDeque<PacketId> = (1..=open).filter_map(PacketId::new).collect();
        ids.iter().skip(1).for_each(|&id| _ = inbound.receive_exactly_once(id));
        group.bench_function(BenchmarkId::new("QoS 2: receive, pubrec, release; identifiers open", open), |bencher| {
            bencher.iter(|| {
                let id = ids.pop_front().expect("as many as are open");
                black_box(inbound.receive_exactly_once(id));
                black_box(inbound.ack_now(AckKind::PubRec, id, 0));
                ids.push_back(id);
                let oldest = ids[0];
                assert!(inbound.release(oldest));
            });
        });
    }
    let mut inbound = Inbound::default();
    group.bench_function("QoS 1: acknowledged after a commit", |bencher| {
        bencher.iter(|| {
            let ticket = inbound.ack_later(AckKind::PubAck, PacketId::MIN);
            inbound.ack_ready(ticket, 0);
            black_box(inbound.next_ack())
        });
    });
    group.finish();
}

#[derive(Clone)]
struct Item(Arc<u8>, u64);

impl QueueItem for Item {
    fn bytes(&self) -> usize {
        64 + usize::from(*self.0)
    }

    fn key_hash(&self) -> u64 {
        self.1.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn same_key(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue of 1,000");
    for policy in [FullPolicy::DropNewest, FullPolicy::DropOldest, FullPolicy::LastValue] {
        let bounds = QueueBounds { messages_max: 1_000, bytes_max: 1 << 30, policy };
        let mut queue = Queue::default();
        let message = Arc::new(0);
        let mut topic = 0;
        group.bench_function(format!("push when full, {policy:?}"), |bencher| {
            bencher.iter(|| {
                topic += 1;
                queue.push(Item(message.clone(), topic % 4_000), &bounds, |dropped, _| drop(dropped))
            });
        });
    }
    group.finish();
}

fn alias(criterion: &mut Criterion) {
    let topics: Vec<String> = (0..64).map(|line| format!("site/plant/line/{line}/temperature")).collect();
    let mut aliases = OutboundAliases::default();
    let mut at = 0;
    criterion.bench_function("topic alias, one of 64 known", |bencher| {
        bencher.iter(|| {
            at = (at + 1) % topics.len();
            black_box(aliases.assign(&topics[at], 64))
        });
    });
}

criterion_group!(benches, outbound, inbound, queue, alias);
criterion_main!(benches);
