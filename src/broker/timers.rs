//! A hierarchical timer wheel: four wheels of 64 slots, ticks of 64 ms. Setting, moving and cancelling cost a few
//! stores; a timer is 24 bytes, and nothing is left behind when it is cancelled.

use std::num::{NonZeroU16, NonZeroU32};

use crate::base::limits::{SLOTS_MAX, TIMER_TICK};
use crate::base::{Millis, Timestamp};

const TICK_MILLIS: u64 = TIMER_TICK.0;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const WHEELS: usize = 4;
/// The farthest that the wheels reach; what is due later waits in the last slot and is put off again.
const REACH_TICKS: u64 = (1 << (SLOT_BITS * WHEELS as u32)) - 1;

const NONE: u32 = u32::MAX;

/// Whose time it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimerKey {
    Connection(u32),
    Session(u32),
    /// A connection that is not read because it published too much.
    Throttle(u32),
    /// A connection whose output is full and does not leave.
    Reader(u32),
}

impl TimerKey {
    const NUMBER: u32 = SLOTS_MAX;
    const SESSION: u32 = 1 << 30;
    const THROTTLE: u32 = 2 << 30;
    const READER: u32 = 3 << 30;

    const fn pack(self) -> u32 {
        match self {
            Self::Connection(conn) => conn,
            Self::Session(slot) => slot | Self::SESSION,
            Self::Throttle(conn) => conn | Self::THROTTLE,
            Self::Reader(conn) => conn | Self::READER,
        }
    }

    const fn unpack(packed: u32) -> Self {
        let number = packed & Self::NUMBER;
        match packed & !Self::NUMBER {
            Self::SESSION => Self::Session(number),
            Self::THROTTLE => Self::Throttle(number),
            Self::READER => Self::Reader(number),
            _ => Self::Connection(number),
        }
    }
}

/// A timer that is set: its slot, counted from one, so that an optional one is four bytes too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TimerId(NonZeroU32);

#[derive(Clone, Copy, Debug)]
struct Timer {
    due_tick: u64,
    key: u32,
    previous: u32,
    next: u32,
    /// Counted from one: the slab finds room for its own mark in the zero.
    list: NonZeroU16,
}

const _: () = assert!(size_of::<Timer>() == 24);

/// One list per slot of each wheel, one for what is due.
const DUE: usize = WHEELS * SLOTS;

#[derive(Debug)]
pub(super) struct TimerWheel {
    timers: slab::Slab<Timer>,
    heads: Vec<u32>,
    tick: u64,
}

impl TimerWheel {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { timers: slab::Slab::new(), heads: vec![NONE; DUE + 1], tick: now.0 / TICK_MILLIS }
    }

    pub(super) fn set(&mut self, at: Timestamp, key: TimerKey) -> TimerId {
        if self.timers.len() == self.timers.capacity() {
            self.timers.reserve_exact((self.timers.len() / 8).max(16));
        }
        // Rounded up: a timer is never early.
        let due_tick = at.0.div_ceil(TICK_MILLIS);
        let timer = Timer { due_tick, key: key.pack(), previous: NONE, next: NONE, list: NonZeroU16::MIN };
        let id = self.timers.insert(timer) as u32;
        self.link(id);
        TimerId(NonZeroU32::MIN.saturating_add(id))
    }

    pub(super) fn cancel(&mut self, timer: TimerId) {
        let id = timer.0.get() - 1;
        self.unlink(id);
        self.timers.remove(id as usize);
    }

    fn list_of(&self, due_tick: u64) -> usize {
        let ahead = due_tick.saturating_sub(self.tick);
        if ahead == 0 {
            return DUE;
        }
        let reached = if ahead > REACH_TICKS { self.tick + REACH_TICKS } else { due_tick };
        // The highest digit in which the two ticks differ names the wheel.
        let wheel = ((reached ^ self.tick).ilog2() / SLOT_BITS).min(WHEELS as u32 - 1) as usize;
        let slot = (reached >> (SLOT_BITS * wheel as u32)) as usize & (SLOTS - 1);
        wheel * SLOTS + slot
    }

    fn link(&mut self, id: u32) {
        let list = self.list_of(self.timers[id as usize].due_tick);
        let head = std::mem::replace(&mut self.heads[list], id);
        if head != NONE {
            self.timers[head as usize].previous = id;
        }
        let timer = &mut self.timers[id as usize];
        (timer.previous, timer.next, timer.list) = (NONE, head, NonZeroU16::MIN.saturating_add(list as u16));
    }

    fn unlink(&mut self, id: u32) {
        let Timer { previous, next, list, .. } = self.timers[id as usize];
        match previous {
            NONE => self.heads[usize::from(list.get()) - 1] = next,
            previous => self.timers[previous as usize].next = next,
        }
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
    }

    /// Moves time on. Afterwards `pop_due` gives what is due, in no particular order.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let target = now.0 / TICK_MILLIS;
        if self.timers.is_empty() {
            self.tick = self.tick.max(target);
            return;
        }
        while self.tick < target {
            self.tick += 1;
            self.cascade();
        }
    }

    /// Spreads the slots that the new tick opens over the finer wheels.
    fn cascade(&mut self) {
        for wheel in (0..WHEELS).rev() {
            let shift = SLOT_BITS * wheel as u32;
            if self.tick & ((1 << shift) - 1) != 0 {
                continue;
            }
            let slot = (self.tick >> shift) as usize & (SLOTS - 1);
            let mut id = std::mem::replace(&mut self.heads[wheel * SLOTS + slot], NONE);
            while id != NONE {
                let next = self.timers[id as usize].next;
                self.link(id);
                id = next;
            }
        }
    }

    pub(super) fn pop_due(&mut self) -> Option<TimerKey> {
        let id = self.heads[DUE];
        if id == NONE {
            return None;
        }
        self.unlink(id);
        Some(TimerKey::unpack(self.timers.remove(id as usize).key))
    }

    /// How long nothing can be due; none with no timer set. It may be too short, never too long.
    pub(super) fn next_in(&self, now: Timestamp) -> Option<Millis> {
        if self.timers.is_empty() {
            return None;
        }
        if self.heads[DUE] != NONE {
            return Some(Millis(0));
        }
        // The next slot of the finest wheel that holds something, or the next turn of a coarser one.
        let ahead = (1..=SLOTS as u64)
            .find(|ahead| {
                let tick = self.tick + ahead;
                tick.is_multiple_of(SLOTS as u64) || self.heads[tick as usize & (SLOTS - 1)] != NONE
            })
            .unwrap_or(SLOTS as u64);
        Some(Timestamp((self.tick + ahead) * TICK_MILLIS) - now)
    }

    pub(super) fn has_due(&self) -> bool {
        self.heads[DUE] != NONE
    }

    pub(super) fn len(&self) -> usize {
        self.timers.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(wheel: &mut TimerWheel) -> Vec<u32> {
        let mut keys: Vec<_> = std::iter::from_fn(|| wheel.pop_due())
            .map(|key| match key {
                TimerKey::Connection(key) | TimerKey::Session(key) => key,
                TimerKey::Throttle(key) | TimerKey::Reader(key) => key,
            })
            .collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_key_is_what_was_packed() {
        for number in [0, 1, SLOTS_MAX] {
            for key in [TimerKey::Connection, TimerKey::Session, TimerKey::Throttle, TimerKey::Reader] {
                assert_eq!(TimerKey::unpack(key(number).pack()), key(number));
            }
        }
    }

    proptest! {
        /// Whatever is set fires in the first step at or after its time, within a tick, and what is cancelled does not.
        #[test]
        fn timers_fire_when_they_are_due(
            delays in prop::collection::vec((0u64..40_000_000, any::<bool>()), 1..60),
            steps in prop::collection::vec(1u64..3_000_000, 1..60),
        ) {
            let start = Timestamp(1_700_000_000_123);
            let mut wheel = TimerWheel::new(start);
            let mut expected = Vec::new();
            for (key, &(delay, cancelled)) in delays.iter().enumerate() {
                let id = wheel.set(start + Millis(delay), TimerKey::Session(key as u32));
                if cancelled { wheel.cancel(id) } else { expected.push((start.0 + delay, key as u32)) }
            }
            let mut now = start;
            for step in steps {
                if let Some(wait) = wheel.next_in(now) {
                    let earliest = expected.iter().map(|&(at, _)| at).min().unwrap_or(u64::MAX);
                    prop_assert!(now.0 + wait.0 <= earliest.max(now.0) + TICK_MILLIS);
                }
                now = now + Millis(step);
                wheel.advance(now);
                let fired = drain(&mut wheel);
                let (due, later): (Vec<_>, Vec<_>) = expected.iter().partition(|&&(at, _)| at.div_ceil(TICK_MILLIS) <= now.0 / TICK_MILLIS);
                let mut due: Vec<u32> = due.iter().map(|&&(_, key)| key).collect();
                due.sort_unstable();
                prop_assert_eq!(fired, due);
                expected = later.into_iter().copied().collect();
            }
            prop_assert_eq!(wheel.len(), expected.len());
        }
    }

    #[test]
    fn what_lies_beyond_the_wheels_is_put_off_and_still_fires() {
        let start = Timestamp(0);
        let mut wheel = TimerWheel::new(start);
        let far = Millis(REACH_TICKS * TICK_MILLIS * 2);
        wheel.set(start + far, TimerKey::Session(1));
        wheel.advance(Timestamp(far.0 - TICK_MILLIS));
        assert!(drain(&mut wheel).is_empty());
        wheel.advance(Timestamp(far.0));
        assert_eq!(drain(&mut wheel), [1]);
    }
}
