//! Whether a shard lets input gather before it looks for more. Clients that write one message at a time wake a shard
//! that keeps up with them for each message, and the wake-up, its read and its write cost many times what the message
//! does. So a shard that sleeps very often rests for a moment first, as long as that brings it much at once.

use std::time::{Duration, Instant};

/// How long input gathers: little beside what a client waits that shares the shard with so many messages.
pub(super) const REST: Duration = Duration::from_micros(50);

/// Sleeps that are judged together.
const SLEEPS: u32 = 32;

/// Sleeping more often than that is worth a rest: with 20 us from one to the next, wake-ups are most of the work.
const OFTEN: Duration = Duration::from_micros(20 * SLEEPS as u64);

/// Packets that a rest has to bring. Fewer are clients that wait for their answers, whom it only makes slower.
const PACKETS_MIN: u64 = 8 * SLEEPS as u64;

/// After rests that did not bring as much, how long it is before the next one.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Gather {
    is_on: bool,
    sleeps: u32,
    /// When the sleeps that are being counted began, and the packets that had come by then.
    since: Instant,
    packets: u64,
    /// No rest before this.
    not_before: Instant,
}

impl Gather {
    pub(super) fn new(now: Instant) -> Self {
        Self { is_on: false, sleeps: 0, since: now, packets: 0, not_before: now }
    }

    /// Before each sleep, with the packets that came so far. True: to rest first.
    pub(super) fn is_worth_it(&mut self, packets: u64, now: impl FnOnce() -> Instant) -> bool {
        self.sleeps += 1;
        if self.sleeps == SLEEPS {
            self.judge(packets, now());
        }
        self.is_on
    }

    fn judge(&mut self, packets: u64, now: Instant) {
        if !self.is_on {
            self.is_on = now - self.since <= OFTEN && now >= self.not_before;
        } else if packets - self.packets < PACKETS_MIN {
            self.is_on = false;
            self.not_before = now + PAUSE;
        }
        (self.sleeps, self.since, self.packets) = (0, now, packets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps until the next judgement, each after so long and so many packets; says what it came to.
    struct Shard {
        gather: Gather,
        now: Instant,
        packets: u64,
    }

    impl Shard {
        fn new() -> Self {
            let now = Instant::now();
            Self { gather: Gather::new(now), now, packets: 0 }
        }

        fn sleep(&mut self, interval: Duration, packets: u64) -> bool {
            let mut rests = false;
            for _ in 0..SLEEPS {
                self.now += interval;
                self.packets += packets;
                rests = self.gather.is_worth_it(self.packets, || self.now);
            }
            rests
        }
    }

    const SOON: Duration = Duration::from_micros(20);
    const LATE: Duration = Duration::from_micros(21);

    #[test]
    fn who_sleeps_very_often_rests_and_who_sleeps_less_often_does_not() {
        let mut shard = Shard::new();
        assert!(!shard.sleep(LATE, 1));
        assert!(shard.sleep(SOON, 1));
    }

    #[test]
    fn it_rests_as_long_as_that_brings_much() {
        let mut shard = Shard::new();
        assert!(shard.sleep(SOON, 1));
        // However long a round takes then.
        assert!(shard.sleep(Duration::from_millis(1), 8) && shard.sleep(SOON, 100));
        assert!(!shard.sleep(SOON, 7));
    }

    #[test]
    fn after_a_rest_that_was_not_worth_it_there_is_none_for_a_while() {
        let mut shard = Shard::new();
        assert!(shard.sleep(SOON, 1));
        assert!(!shard.sleep(SOON, 1));
        let until = shard.now + PAUSE;
        while shard.now + SOON * SLEEPS < until {
            assert!(!shard.sleep(SOON, 100));
        }
        assert!(shard.sleep(SOON, 1));
    }
}
