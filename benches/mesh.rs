//! What a hop between two shards costs a message: on one thread without contention, and there and back between two.

use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustix::event::epoll;
use thrum::base::ShardId;
use thrum::mesh::{Port, build, ring_slots};

/// As large as the broker's mesh messages are.
type Item = [u64; 11];

/// Ends the thread that answers.
const END: Item = [u64::MAX; 11];

fn pair() -> (Port<Item>, Port<Item>) {
    let mut ports = build(2, ring_slots(2)).expect("two eventfds");
    let second = ports.pop().expect("two ports");
    (ports.pop().expect("two ports"), second)
}

fn hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh hop, one thread");
    for batch in [1, 16, 256] {
        let (mut a, mut b) = pair();
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            bencher.iter(|| {
                for item in 0..batch {
                    a.send(b.shard(), black_box([item; 11]));
                }
                a.flush();
                b.receive(|from, item| _ = black_box((from, item)))
            });
        });
    }
    group.finish();
}

/// A pass that finds nothing: what it costs a busy shard to look.
fn look(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh, nothing to receive");
    for shards in [2, 8, 64] {
        let mut ports = build::<Item>(shards, ring_slots(shards)).expect("as many eventfds");
        group.bench_function(BenchmarkId::new("shards", shards), |bencher| {
            bencher.iter(|| ports[0].receive(|_, item| _ = black_box(item)));
        });
    }
    group.finish();
}

/// One item there and back. Both spin, or both sleep as a shard does.
fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh round trip, two threads");
    for (name, sleeps) in [("spinning", false), ("sleeping", true)] {
        let (a, b) = pair();
        let (mut a, b) = (Shard::new(a, sleeps), Shard::new(b, sleeps));
        let answering = thread::spawn(move || answer(b));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                a.tell(ShardId::new(1), [1; 11]);
                a.wait()
            });
        });
        a.tell(ShardId::new(1), END);
        answering.join().expect("the answering thread ends");
    }
    group.finish();
}

fn answer(mut shard: Shard) {
    loop {
        let item = shard.wait();
        if item == END {
            return;
        }
        shard.tell(ShardId::new(0), item);
    }
}

struct Shard {
    port: Port<Item>,
    epoll: OwnedFd,
    sleeps: bool,
}

impl Shard {
    fn new(port: Port<Item>, sleeps: bool) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set");
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &**port.alarm(), epoll::EventData::new_u64(0), flags).expect("an eventfd can be waited for");
        Self { port, epoll, sleeps }
    }

    fn tell(&mut self, to: ShardId, item: Item) {
        self.port.send(to, item);
        self.port.flush();
    }

    fn wait(&mut self) -> Item {
        loop {
            let mut received = None;
            self.port.receive(|_, item| received = Some(item));
            if let Some(item) = received {
                return item;
            }
            if !self.sleeps {
                std::hint::spin_loop();
            } else if self.port.prepare_sleep() {
                let mut events = Vec::with_capacity(1);
                let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None);
                self.port.woke();
            }
        }
    }
}

criterion_group!(benches, hop, look, round_trip);
criterion_main!(benches);
