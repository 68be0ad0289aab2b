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

/// Lets two threads begin a step at once, within some ten nanoseconds where each has a core.
#[derive(Default)]
struct StartingLine(AtomicU64);

impl StartingLine {
    fn wait(&self, step: u64) {
        self.0.fetch_add(1, Ordering::AcqRel);
        let start = Instant::now();
        for spins in 1_u64.. {
            if self.0.load(Ordering::Acquire) >= 2 * step {
                return;
            }
            if spins.is_multiple_of(1_000) {
                assert!(start.elapsed() < Duration::from_secs(10), "the other thread has ended");
                thread::yield_now();
            }
        }
    }
}

/// Cache lines that the other thread wrote last: writes to them, and those that follow, take long to be seen, while reads
/// go ahead. So what is wrong without a fence goes wrong often.
#[derive(Default)]
struct SlowLines([SlowLine; 8]);

#[derive(Default)]
#[repr(align(128))]
struct SlowLine(AtomicU64);

impl SlowLines {
    fn write(&self) {
        self.0.iter().for_each(|line| line.0.store(1, Ordering::Relaxed));
    }
}

/// One goes to sleep in the very moment in which the other gives it a reason not to: it sees the reason, or it is woken,
/// or both, but never neither. Without the fences a processor may look before it has announced. The tests that really
/// sleep do not notice that, the moment is too short for them.
fn never_neither(slots: usize, prepare: impl Fn(&mut Port<u64>) + Sync, reason: impl Fn(&mut Port<u64>, &SlowLines)) {
    const ROUNDS: u64 = 200_000;
    let mut ports = build(2, slots).unwrap();
    let (mut waker, mut sleeper) = (ports.remove(1), ports.remove(0));
    let alarm = Arc::clone(sleeper.alarm());
    let (line, wakeups) = (StartingLine::default(), AtomicU64::new(0));
    let (of_sleeper, of_waker) = (SlowLines::default(), SlowLines::default());
    let delay = |length: u64| (0..length).for_each(|step| _ = std::hint::black_box(step));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut woken = 0;
            for round in 0..ROUNDS {
                prepare(&mut sleeper);
                of_waker.write();
                line.wait(3 * round + 1);
                line.wait(3 * round + 2);
                delay(round % 128);
                of_sleeper.write();
                let slept = sleeper.prepare_sleep();
                line.wait(3 * round + 3);
                let woken_before = std::mem::replace(&mut woken, wakeups.load(Ordering::Relaxed));
                assert!(!slept || woken > woken_before, "round {round}: asleep, and nobody rang");
                sleeper.woke();
            }
        });
        for round in 0..ROUNDS {
            line.wait(3 * round + 1);
            // The state comes into this core's cache, so that looking at it is quicker than writing.
            alarm.ring();
            of_sleeper.write();
            line.wait(3 * round + 2);
            delay(64);
            reason(&mut waker, &of_waker);
            wakeups.store(waker.stats().wakeups, Ordering::Relaxed);
            line.wait(3 * round + 3);
        }
    });
}

#[test]
fn who_falls_asleep_while_a_message_comes_sees_it_or_is_woken() {
    let prepare = |sleeper: &mut Port<u64>| {
        sleeper.receive(|_, _| ());
        assert!(!sleeper.has_incoming());
    };
    let reason = |waker: &mut Port<u64>, slow: &SlowLines| {
        slow.write();
        waker.send(ShardId::new(0), 0);
        waker.flush();
    };
    never_neither(4, prepare, reason);
}

#[test]
fn who_falls_asleep_blocked_while_room_is_made_sees_it_or_is_woken() {
    let prepare = |sleeper: &mut Port<u64>| {
        sleeper.flush();
        // Says no where the flush has unblocked it.
        let _ = sleeper.prepare_sleep();
        sleeper.woke();
        while !sleeper.is_blocked() {
            sleeper.send(ShardId::new(1), 0);
        }
    };
    never_neither(4, prepare, |waker, slow| _ = waker.receive(|_, _| slow.write()));
}
