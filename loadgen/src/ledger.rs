//! What came of what was due. A slot is one stream (a publisher's messages to one topic) as one audience (a subscriber,
//! or a shared group) got it: each message is expected once, in order, and as it was sent.

use std::collections::BTreeMap;

use thrum::mqtt::QoS;

/// What went wrong, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// Or one that nobody sent, or that was sent to others.
    pub wrong_payload: u64,
}

impl Faults {
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.wrong_payload += other.wrong_payload;
    }

    /// Those that break what the QoS promises: nothing may be lost above QoS 0, nothing come twice but at QoS 1, and all
    /// of it comes in order and as it was sent.
    pub fn broken(&self, qos: QoS) -> u64 {
        let Self { lost, duplicated, out_of_order, wrong_payload } = *self;
        let lost = if qos == QoS::AtMostOnce { 0 } else { lost };
        let duplicated = if qos == QoS::AtLeastOnce { 0 } else { duplicated };
        lost + duplicated + out_of_order + wrong_payload
    }
}

#[derive(Clone, Default, Debug)]
struct Slot {
    /// One more than the highest number that came.
    next: u32,
    duplicated: u32,
    /// Came after a higher number.
    late: u32,
    missing: Option<Box<Missing>>,
}

/// Numbers below the highest that did not come yet: the first of each gap, and where it ends.
type Missing = BTreeMap<u32, u32>;

#[derive(Clone, Default, Debug)]
pub struct Ledger {
    slots: Vec<Slot>,
    wrong_payload: u64,
}

impl Ledger {
    pub fn new(slots: usize) -> Self {
        Self { slots: vec![Slot::default(); slots], wrong_payload: 0 }
    }

    /// False: it came before.
    #[inline]
    pub fn enter(&mut self, slot: usize, number: u32) -> bool {
        let slot = &mut self.slots[slot];
        if number != slot.next {
            return slot.enter_unexpected(number);
        }
        slot.next += 1;
        true
    }

    pub const fn enter_wrong_payload(&mut self) {
        self.wrong_payload += 1;
    }

    pub const fn wrong_payload(&self) -> u64 {
        self.wrong_payload
    }

    /// The faults of a slot of whose stream so many messages were sent. The members of a shared group do not wait for
    /// each other: what it gets has no order.
    pub fn settle(&self, slot: usize, sent: u32, is_ordered: bool) -> Faults {
        let Slot { next, duplicated, late, missing } = &self.slots[slot];
        let gaps: u64 =
            missing.iter().flat_map(|missing| missing.iter()).map(|(from, end)| u64::from(end - from)).sum();
        Faults {
            lost: u64::from(sent.saturating_sub(*next)) + gaps,
            duplicated: (*duplicated).into(),
            out_of_order: if is_ordered { (*late).into() } else { 0 },
            wrong_payload: 0,
        }
    }
}

impl Slot {
    fn enter_unexpected(&mut self, number: u32) -> bool {
        if number > self.next {
            self.missing.get_or_insert_default().insert(self.next, number);
            self.next = number + 1;
            return true;
        }
        let is_new = self.fill(number);
        self.late += u32::from(is_new);
        self.duplicated += u32::from(!is_new);
        is_new
    }

    /// Takes a number out of the gap it is in; false: it is in none.
    fn fill(&mut self, number: u32) -> bool {
        let Some(missing) = &mut self.missing else { return false };
        let Some((&from, end)) = missing.range_mut(..=number).next_back() else { return false };
        let gap_end = *end;
        if number >= gap_end {
            return false;
        }
        if from < number {
            *end = number;
        } else {
            missing.remove(&from);
        }
        if number + 1 < gap_end {
            missing.insert(number + 1, gap_end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(is_ordered: bool, numbers: &[u32], sent: u32) -> Faults {
        let mut ledger = Ledger::new(8);
        numbers.iter().for_each(|&number| _ = ledger.enter(7, number));
        assert_eq!(ledger.settle(6, 0, is_ordered), Faults::default());
        ledger.settle(7, sent, is_ordered)
    }

    #[test]
    fn what_comes_once_and_in_order_is_without_fault() {
        assert_eq!(faults(true, &[0, 1, 2], 3), Faults::default());
    }

    #[test]
    fn a_gap_and_a_missing_end_are_lost() {
        assert_eq!(faults(true, &[0, 2], 5), Faults { lost: 3, ..Faults::default() });
        assert_eq!(faults(true, &[], 4), Faults { lost: 4, ..Faults::default() });
        assert_eq!(faults(true, &[3_999_999_999], 4_000_000_000).lost, 3_999_999_999);
    }

    #[test]
    fn what_comes_late_is_out_of_order_and_not_lost() {
        assert_eq!(faults(true, &[0, 2, 1, 3], 4), Faults { out_of_order: 1, ..Faults::default() });
        assert_eq!(faults(false, &[0, 2, 1, 3], 4), Faults::default());
    }

    #[test]
    fn a_gap_is_filled_from_any_side_and_in_the_middle() {
        for late in [[1, 2, 3], [3, 2, 1], [2, 1, 3], [2, 3, 1]] {
            let numbers = [&[0, 5][..], &late, &[4]].concat();
            assert_eq!(faults(true, &numbers, 6), Faults { out_of_order: 4, ..Faults::default() }, "{late:?}");
            let again = [&numbers[..4], &late].concat();
            assert_eq!(faults(true, &again, 6), Faults { out_of_order: 3, duplicated: 2, lost: 1, wrong_payload: 0 });
        }
    }

    #[test]
    fn what_comes_again_is_duplicated_wherever_it_comes() {
        assert_eq!(faults(true, &[0, 0, 1, 2, 1], 3), Faults { duplicated: 2, ..Faults::default() });
        assert_eq!(faults(true, &[0, 2, 1, 1], 3), Faults { duplicated: 1, out_of_order: 1, ..Faults::default() });
    }

    #[test]
    fn each_fault_breaks_what_each_qos_promises_or_does_not() {
        let none = Faults::default();
        let faults = [
            (none, [0, 0, 0]),
            (Faults { lost: 2, ..none }, [0, 2, 2]),
            (Faults { duplicated: 3, ..none }, [3, 0, 3]),
            (Faults { out_of_order: 4, ..none }, [4, 4, 4]),
            (Faults { wrong_payload: 5, ..none }, [5, 5, 5]),
            (Faults { lost: 3, duplicated: 20, out_of_order: 4, wrong_payload: 1 }, [25, 8, 28]),
        ];
        for (faults, expected) in faults {
            let broken = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| faults.broken(qos));
            assert_eq!(broken, expected, "{faults:?}");
        }
    }
}
