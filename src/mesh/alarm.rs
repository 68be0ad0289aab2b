//! Wakes a sleeping shard, and costs the waker one load while the shard is awake.
//!
//! # No wake-up is lost
//!
//! Two threads meet here, each of which writes one thing and then reads the other's:
//!
//! | the waker | the sleeper |
//! |---|---|
//! | W1 puts something into a queue, or makes room in a ring | S1 announces its sleep: `state = ASLEEP` |
//! | W2 `fence(SeqCst)` | S2 `fence(SeqCst)` |
//! | W3 reads `state`, writes to the eventfd unless `AWAKE` | S3 looks at its queues, sleeps where there is nothing |
//!
//! The fences have one order. If W2 comes first, S3 sees what W1 did, and there is no sleep. If S2 comes first, W3 reads
//! what S1 wrote or something newer:
//! - `ASLEEP`, or a newer announcement: the waker writes to the eventfd. An eventfd that was written to before
//!   `epoll_wait` began ends it as well as one written to during it.
//! - `AWAKE`, which another waker swapped in: that one writes to the eventfd.
//! - `AWAKE`, which the sleeper stored when it had woken by itself: it announces itself once more before it sleeps again,
//!   and for that announcement the same holds.
//!
//! So the fences have to stand between the two steps on both sides, and nothing else needs an order: `state` carries no
//! data, and what the queues carry they order themselves. A write too many (a waker was slow, the sleeper has long been
//! up, or lies down again) is a spurious wake-up and does no harm.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

use crate::base::ShardId;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
/// Plus the index of the shard whose full ring the sleeper waits for. It wakes for anything else as well.
const BLOCKED: u32 = 2;

const fn blocked_by(shard: ShardId) -> u32 {
    BLOCKED + shard.index() as u32
}

/// An eventfd to be put into the owner's epoll set, edge-triggered (`EPOLLIN | EPOLLET`): it is never read, and each
/// write is a new edge. On a cache line of its own, for other threads look at it all the time.
#[derive(Debug)]
#[repr(align(128))]
pub struct Alarm {
    state: AtomicU32,
    eventfd: OwnedFd,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        // Not blocking: a write to a counter at its end, after 2^64 wake-ups, would otherwise wait for a reader.
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: AtomicU32::new(AWAKE), eventfd })
    }

    /// Wakes the owner if it sleeps; true if that took a write to the eventfd. To be called, from any thread, after
    /// something was put where the owner looks before it sleeps.
    pub fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.ring_after_fence()
    }

    /// For one fence before many alarms.
    pub(super) fn ring_after_fence(&self) -> bool {
        self.state.load(Ordering::Relaxed) != AWAKE
            && self.state.swap(AWAKE, Ordering::Relaxed) != AWAKE
            && self.write()
    }

    /// Wakes the owner if it sleeps until there is room in its ring to `shard`, where there now is.
    pub(super) fn room_after_fence(&self, shard: ShardId) -> bool {
        let blocked = blocked_by(shard);
        let swap = |from| self.state.compare_exchange(from, AWAKE, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.state.load(Ordering::Relaxed) == blocked && swap(blocked) && self.write()
    }

    /// Steps S1 and S2: what follows is the last look, S3.
    pub(super) fn announce_sleep(&self, blocked: Option<ShardId>) {
        self.state.store(blocked.map_or(ASLEEP, blocked_by), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(super) fn woke(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    fn write(&self) -> bool {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes()));
        debug_assert!(written.is_ok(), "an open eventfd far from its end takes a 1: {written:?}");
        true
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{Timespec, epoll};

    use super::*;

    fn edges(epoll: &OwnedFd) -> usize {
        let mut events = Vec::with_capacity(4);
        epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
            .unwrap();
        events.len()
    }

    fn watched(alarm: &Alarm) -> OwnedFd {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let data = epoll::EventData::new_u64(7);
        epoll::add(&epoll, alarm, data, epoll::EventFlags::IN | epoll::EventFlags::ET).unwrap();
        epoll
    }

    #[test]
    fn each_write_is_a_new_edge_although_nobody_reads_the_eventfd() {
        let alarm = Alarm::new().unwrap();
        let epoll = watched(&alarm);
        for _ in 0..3 {
            assert_eq!(edges(&epoll), 0);
            alarm.announce_sleep(None);
            assert!(alarm.ring());
            assert_eq!(edges(&epoll), 1);
        }
    }

    #[test]
    fn a_ring_before_the_epoll_set_is_waited_on_is_not_lost() {
        let alarm = Alarm::new().unwrap();
        alarm.announce_sleep(None);
        assert!(alarm.ring());
        assert_eq!(edges(&watched(&alarm)), 1);
    }

    #[test]
    fn it_rings_once_and_only_a_sleeper() {
        let alarm = Alarm::new().unwrap();
        assert!(!alarm.ring());
        alarm.announce_sleep(None);
        assert!(alarm.ring() && !alarm.ring());
        alarm.announce_sleep(None);
        alarm.woke();
        assert!(!alarm.ring());
    }

    #[test]
    fn room_wakes_whom_that_ring_blocks_and_a_ring_wakes_anybody() {
        let alarm = Alarm::new().unwrap();
        alarm.announce_sleep(None);
        assert!(!alarm.room_after_fence(ShardId::new(0)));
        alarm.announce_sleep(Some(ShardId::new(63)));
        assert!(!alarm.room_after_fence(ShardId::new(62)));
        assert!(alarm.room_after_fence(ShardId::new(63)) && !alarm.room_after_fence(ShardId::new(63)));
        alarm.announce_sleep(Some(ShardId::new(0)));
        assert!(alarm.ring());
    }
}
