//! How often something may happen: an even rate, of which one second's worth may come at once. The whole state is a
//! number, the time at which all that was permitted would be over at that rate, so that it fits wherever one is kept.

use crate::base::Timestamp;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    interval_ns: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Pace {
    /// None for zero: as often as it likes.
    pub const fn per_sec(rate: u32) -> Option<Self> {
        if rate == 0 { None } else { Some(Self { interval_ns: SECOND_NS / rate as u64 }) }
    }

    /// The state after one more, in nanoseconds; none: it is too early for it. State zero: nothing happened yet.
    pub const fn step(self, busy_until_ns: u64, now: Timestamp) -> Option<u64> {
        let now_ns = now.0.saturating_mul(1_000_000);
        let from = if busy_until_ns > now_ns { busy_until_ns } else { now_ns };
        let next = from.saturating_add(self.interval_ns);
        if next > now_ns.saturating_add(if self.interval_ns > SECOND_NS { self.interval_ns } else { SECOND_NS }) {
            return None;
        }
        Some(next)
    }

    /// Nothing follows from the state any more.
    pub const fn is_over(busy_until_ns: u64, now: Timestamp) -> bool {
        busy_until_ns <= now.0.saturating_mul(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Millis;

    const START: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_the_rate() {
        for rate in [1, 3, 7, 1_000, 30_000, 200_000] {
            let pace = Pace::per_sec(rate).unwrap();
            let (mut state, mut count) = (0, 0);
            while let Some(next) = pace.step(state, START) {
                (state, count) = (next, count + 1);
            }
            assert!(count == rate, "{rate}: {count} at once");
            assert!(!Pace::is_over(state, START) && Pace::is_over(state, START + Millis(1_001)));
            let mut later = 0;
            for ms in 1..=10_000 {
                while let Some(next) = pace.step(state, START + Millis(ms)) {
                    (state, later) = (next, later + 1);
                }
            }
            let most = u64::from(rate) * 10;
            assert!((most * 99 / 100..=most + 10).contains(&later), "{rate}: {later} in ten seconds");
        }
        assert_eq!(Pace::per_sec(0), None);
    }
}
