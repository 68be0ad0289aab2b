//! Threads that send, sleep and wake as fast as they can: nothing is lost or reordered, and nobody sleeps for ever. A
//! sleep that outlasts the watchdog is a lost wake-up; it fails the test instead of hanging it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::port::{Port, build};
use crate::base::ShardId;

const WATCHDOG: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A shard with nothing but its port: it sleeps as the real one does.
struct Shard {
    port: Port<u64>,
    epoll: OwnedFd,
    /// Each shard checks the order of what every other sends it: so many came from it.
    counts: Vec<u64>,
    /// How long to spin before sleeping, so that the writes of the other fall on each moment of going to sleep.
    jitter: u32,
    sleeps: u64,
}

impl Shard {
    fn new(port: Port<u64>, shards: usize) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &**port.alarm(), epoll::EventData::new_u64(0), flags).unwrap();
        Self { port, epoll, counts: vec![0; shards], jitter: 0, sleeps: 0 }
    }

    fn receive(&mut self) {
        let counts = &mut self.counts;
        self.port.receive(|from, item| {
            assert_eq!(item, counts[from.index()], "of shard {from:?}");
            counts[from.index()] += 1;
        });
    }

    fn sleep(&mut self) {
        self.sleep_unless(|| false);
    }

    fn sleep_unless(&mut self, has_other_work: impl Fn() -> bool) {
        self.jitter = (self.jitter + 7) % 64;
        (0..self.jitter).for_each(|_| std::hint::spin_loop());
        if !self.port.prepare_sleep() {
            return;
        }
        if has_other_work() {
            return self.port.woke();
        }
        self.sleeps += 1;
        let mut events = Vec::with_capacity(1);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&WATCHDOG)).unwrap();
        assert!(!events.is_empty(), "a wake-up of {:?} is lost: has incoming {}", self.port, self.port.has_incoming());
        self.port.woke();
    }
}

/// One thread per shard, and the shards when all are through: a port that is dropped would wake the others.
fn run(shards: usize, slots: usize, body: impl Fn(&mut Shard) + Sync) -> Vec<Shard> {
    let ports = build(shards, slots).unwrap();
    thread::scope(|scope| {
        let start = |port| {
            let body = &body;
            scope.spawn(move || {
                let mut shard = Shard::new(port, shards);
                body(&mut shard);
                shard
            })
        };
        let threads: Vec<_> = ports.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Each sends `items` to each other one in bursts, as long as it is not blocked, and sleeps whenever it has nothing to do.
fn flood(shards: usize, slots: usize, burst: u64, items: u64) -> Vec<Shard> {
    run(shards, slots, |shard| {
        let own = shard.port.shard().index();
        let is_through = |shard: &Shard| (0..shards).all(|from| from == own || shard.counts[from] == items);
        let mut sent = 0;
        while sent < items || shard.port.is_blocked() || !is_through(shard) {
            let may_send = if shard.port.is_blocked() { 0 } else { burst.min(items - sent) };
            for item in sent..sent + may_send {
                (0..shards).filter(|&to| to != own).for_each(|to| shard.port.send(ShardId::new(to), item));
            }
            sent += may_send;
            shard.port.flush();
            shard.receive();
            if may_send == 0 && !(sent == items && is_through(shard)) {
                shard.sleep();
            }
        }
        shard.port.flush();
    })
}

/// Each of the two has nothing to do but wait for the other: any lost wake-up stops both.
#[test]
fn a_hundred_thousand_round_trips_between_sleepers_lose_no_wake_up() {
    const ROUND_TRIPS: u64 = 100_000;
    let shards = run(2, 4, |shard| {
        let (own, peer) = (shard.port.shard().index(), 1 - shard.port.shard().index());
        for round in 0..ROUND_TRIPS {
            if own == 0 {
                shard.port.send(ShardId::new(peer), round);
                shard.port.flush();
            }
            while shard.counts[peer] == round {
                shard.receive();
                if shard.counts[peer] == round {
                    shard.sleep();
                }
            }
            if own == 1 {
                shard.port.send(ShardId::new(peer), round);
                shard.port.flush();
            }
        }
    });
    for shard in &shards {
        let stats = shard.port.stats();
        println!("{} sleeps, {stats:?}", shard.sleeps);
        assert_eq!((stats.sent, stats.received, stats.batches), (ROUND_TRIPS, ROUND_TRIPS, ROUND_TRIPS));
        assert!(stats.wakeups <= stats.batches && shard.sleeps > 0);
    }
}

#[test]
fn two_that_fill_each_others_rings_lose_nothing_and_wait_for_nobody() {
    for (slots, burst) in [(1, 1), (1, 8), (4, 16), (64, 48)] {
        let shards = flood(2, slots, burst, 100_000);
        let wakeups = shards.iter().map(|shard| shard.port.stats().wakeups).sum::<u64>();
        let overflowed = shards.iter().map(|shard| shard.port.stats().overflowed).sum::<u64>();
        println!("{slots} slots, bursts of {burst}: {wakeups} wake-ups, {overflowed} overflowed");
        assert!(overflowed > 0 && wakeups > 0);
    }
}

/// The first of an overflow blocks the rest of it: a circle of blocked shards must come undone.
#[test]
fn five_that_fill_each_others_rings_lose_nothing_and_wait_for_nobody() {
    for shard in flood(5, 2, 3, 10_000) {
        assert_eq!((shard.port.stats().sent, shard.port.stats().received), (40_000, 40_000));
    }
}

/// As the admin thread does: its queue is none of the mesh's, so the shard looks at it after `prepare_sleep`.
#[test]
fn a_thread_without_a_port_wakes_a_shard_by_its_alarm() {
    const ROUNDS: u64 = 20_000;
    let (asked, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let port = build(1, 1).unwrap().remove(0);
    let alarm = Arc::clone(port.alarm());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut shard = Shard::new(port, 1);
            for round in 1..=ROUNDS {
                while asked.load(Ordering::Acquire) < round {
                    shard.sleep_unless(|| asked.load(Ordering::Acquire) == round);
                }
                answered.store(round, Ordering::Release);
            }
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        for round in 1..=ROUNDS {
            asked.store(round, Ordering::Release);
            alarm.ring();
            while answered.load(Ordering::Acquire) < round {
                assert!(Instant::now() < deadline, "stopped at {round}");
                thread::yield_now();
            }
        }
    });
}
