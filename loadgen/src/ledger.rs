//! What one audience (a subscriber, or a shared group) got of the streams it is due: each message is expected once, in
//! order, and as it was sent.

use std::collections::{BTreeSet, HashMap};

/// What went wrong, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub wrong_payload: u64,
}

impl Faults {
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.wrong_payload += other.wrong_payload;
    }
}

/// The messages of one publisher to one topic, as far as they came.
#[derive(Clone, Default, Debug)]
struct Stream {
    /// One more than the highest number that came.
    next: u32,
    /// Lower ones that did not come yet.
    missing: BTreeSet<u32>,
}

#[derive(Clone, Default, Debug)]
pub struct Ledger {
    streams: HashMap<u32, Stream>,
    /// A shared group spreads a stream over its members, who do not wait for each other.
    is_ordered: bool,
    faults: Faults,
    received: u64,
}

impl Ledger {
    pub fn new(is_ordered: bool) -> Self {
        Self { is_ordered, ..Self::default() }
    }

    pub fn enter(&mut self, stream: u32, number: u32) {
        self.received += 1;
        let stream = self.streams.entry(stream).or_default();
        if number >= stream.next {
            stream.missing.extend(stream.next..number);
            stream.next = number + 1;
        } else if stream.missing.remove(&number) {
            self.faults.out_of_order += u64::from(self.is_ordered);
        } else {
            self.faults.duplicated += 1;
        }
    }

    pub fn enter_wrong_payload(&mut self) {
        self.received += 1;
        self.faults.wrong_payload += 1;
    }

    pub const fn received(&self) -> u64 {
        self.received
    }

    /// The faults, where `sent` tells of each stream how many messages of it were due.
    pub fn settle(&self, sent: impl IntoIterator<Item = (u32, u32)>) -> Faults {
        let mut faults = self.faults;
        for (stream, count) in sent {
            let never_came = self.streams.get(&stream).map_or(count, |stream| count.saturating_sub(stream.next));
            faults.lost += u64::from(never_came);
        }
        faults.lost += self.streams.values().map(|stream| stream.missing.len() as u64).sum::<u64>();
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(is_ordered: bool, numbers: &[u32], sent: u32) -> Faults {
        let mut ledger = Ledger::new(is_ordered);
        numbers.iter().for_each(|&number| ledger.enter(7, number));
        ledger.settle([(7, sent)])
    }

    #[test]
    fn what_comes_once_and_in_order_is_without_fault() {
        assert_eq!(faults(true, &[0, 1, 2], 3), Faults::default());
    }

    #[test]
    fn a_gap_and_a_missing_end_are_lost() {
        assert_eq!(faults(true, &[0, 2], 5), Faults { lost: 3, ..Faults::default() });
        assert_eq!(faults(true, &[], 4), Faults { lost: 4, ..Faults::default() });
    }

    #[test]
    fn what_comes_late_is_out_of_order_and_not_lost() {
        assert_eq!(faults(true, &[0, 2, 1, 3], 4), Faults { out_of_order: 1, ..Faults::default() });
        assert_eq!(faults(false, &[0, 2, 1, 3], 4), Faults::default());
    }

    #[test]
    fn what_comes_again_is_duplicated_wherever_it_comes() {
        assert_eq!(faults(true, &[0, 0, 1, 2, 1], 3), Faults { duplicated: 2, ..Faults::default() });
        assert_eq!(faults(true, &[0, 2, 1, 1], 3), Faults { duplicated: 1, out_of_order: 1, ..Faults::default() });
    }
}
