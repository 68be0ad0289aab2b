//! How much a client may publish: token buckets of one second each, for its messages and their bytes. Who publishes more
//! is not read until he may go on, or is cut off. What one bucket has room for may come at once; a packet larger than
//! that is taken, and waited for afterwards, so that over time nobody gets more than his rate.

use super::timers::TimerId;
use crate::access::{Excess, Rates};
use crate::base::{Millis, Timestamp};

/// Where the client's identity has rates.
#[derive(Debug)]
pub(super) struct Throttle {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    pub(super) on_excess: Excess,
    filled: Timestamp,
    /// While the client is not read.
    pub(super) timer: Option<TimerId>,
}

/// Of which there was too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    Messages,
    Bytes,
}

impl Throttle {
    pub(super) fn new(now: Timestamp, rates: Rates) -> Self {
        Self {
            messages: rates.messages_per_sec.map(|rate| Bucket::full(rate.get().into())),
            bytes: rates.bytes_per_sec.map(|rate| Bucket::full(rate.get())),
            on_excess: rates.on_excess,
            filled: now,
            timer: None,
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.timer.is_some()
    }

    /// The connection is over: what it waited for has to be cancelled.
    pub(super) fn take_timer(&mut self) -> Option<TimerId> {
        self.timer.take()
    }

    /// Takes one message, or says of which there were too many.
    pub(super) fn admit(&mut self, now: Timestamp, packet_bytes: usize) -> Result<(), Over> {
        let since = now - self.filled;
        self.filled = self.filled.max(now);
        for bucket in [&mut self.messages, &mut self.bytes].into_iter().flatten() {
            bucket.fill(since);
        }
        for (bucket, over) in [(&self.messages, Over::Messages), (&self.bytes, Over::Bytes)] {
            if bucket.as_ref().is_some_and(Bucket::is_empty) {
                return Err(over);
            }
        }
        self.messages.iter_mut().for_each(|bucket| bucket.take(1));
        self.bytes.iter_mut().for_each(|bucket| bucket.take(packet_bytes as u64));
        Ok(())
    }

    /// How long until both have something again.
    pub(super) fn wait(&self) -> Millis {
        [&self.messages, &self.bytes].into_iter().flatten().map(Bucket::wait).max().unwrap_or_default()
    }
}

/// Counts in thousandths: so much comes in a millisecond as the rate says of a second.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_sec: i64,
    /// Below zero after a packet that was larger than what was left.
    level: i64,
}

const THOUSANDTHS: i64 = 1_000;

/// A terabyte a second is no bound any more, and what is computed with it stays far from the ends of the numbers.
const PER_SEC_MAX: u64 = 1 << 40;

impl Bucket {
    const fn full(per_sec: u64) -> Self {
        let per_sec = if per_sec < PER_SEC_MAX { per_sec } else { PER_SEC_MAX } as i64;
        Self { per_sec, level: per_sec * THOUSANDTHS }
    }

    fn fill(&mut self, since: Millis) {
        let since = i64::try_from(since.0).unwrap_or(i64::MAX);
        let filled = self.level.saturating_add(since.saturating_mul(self.per_sec));
        self.level = filled.min(self.per_sec * THOUSANDTHS);
    }

    const fn is_empty(&self) -> bool {
        self.level <= 0
    }

    const fn take(&mut self, amount: u64) {
        self.level -= amount as i64 * THOUSANDTHS;
    }

    fn wait(&self) -> Millis {
        if self.is_empty() { Millis((-self.level / self.per_sec) as u64 + 1) } else { Millis(0) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp(1_700_000_000_000);

    fn throttle(messages: u32, bytes: u64) -> Throttle {
        let rates = Rates {
            messages_per_sec: messages.try_into().ok(),
            bytes_per_sec: bytes.try_into().ok(),
            on_excess: Excess::Slow,
        };
        Throttle::new(START, rates)
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_the_rate() {
        let mut throttle = throttle(10, 0);
        assert!((0..10).all(|_| throttle.admit(START, 1_000_000).is_ok()));
        assert_eq!(throttle.admit(START, 1), Err(Over::Messages));
        let mut taken = 0;
        for ms in 1..=10_000 {
            taken += u32::from(throttle.admit(START + Millis(ms), 1).is_ok());
        }
        assert!((99..=101).contains(&taken), "{taken}");
    }

    #[test]
    fn a_packet_larger_than_the_bucket_is_taken_and_waited_for() {
        let mut throttle = throttle(0, 1_000);
        assert!(throttle.admit(START, 5_000).is_ok());
        assert_eq!(throttle.wait(), Millis(4_001));
        assert_eq!(throttle.admit(START + Millis(4_000), 1), Err(Over::Bytes));
        assert!(throttle.admit(START + Millis(4_001), 1).is_ok());
    }

    #[test]
    fn a_long_silence_saves_up_no_more_than_a_second() {
        let mut throttle = throttle(3, 0);
        let later = START + Millis::from_secs(u32::MAX);
        assert_eq!((0..10).filter(|_| throttle.admit(later, 1).is_ok()).count(), 3);
        // A clock that stands still, or goes back, gives nothing.
        assert_eq!(throttle.admit(START, 1), Err(Over::Messages));
        assert_eq!(throttle.admit(later, 1), Err(Over::Messages));
    }

    proptest! {
        /// Whatever comes when: no more than the rate, one second's worth and one packet; and after the wait there is some.
        #[test]
        fn nobody_gets_more_than_his_rate(
            rate in prop_oneof![1..2_000_u64, Just(u64::MAX)],
            packets in prop::collection::vec((0..300_u64, 1..5_000_usize), 1..200),
        ) {
            let mut throttle = throttle(0, rate);
            let (mut now, mut bytes, mut largest) = (START, 0_u128, 0_u128);
            for (pause, size) in packets {
                now = now + Millis(pause);
                if throttle.admit(now, size).is_ok() {
                    bytes += size as u128;
                    largest = largest.max(size as u128);
                } else {
                    now = now + throttle.wait();
                    prop_assert!(throttle.admit(now, size).is_ok(), "after the wait");
                    bytes += size as u128;
                    largest = largest.max(size as u128);
                }
                let span = u128::from((now - START).0);
                prop_assert!(bytes <= u128::from(rate) * (span + 1_000) / 1_000 + largest + 1);
            }
        }
    }
}
