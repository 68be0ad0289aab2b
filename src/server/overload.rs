//! Whether a shard keeps up with those inside. What is measured is how long input waits: from a turn's first look, before
//! which it may have come, to the end of the turn that has served it and all that stood before it. One connection in line
//! stands for all; a look costs a comparison or two a turn, and no clock.
//!
//! A shard has too much to do when the shortest wait of some time, of two at least, is longer than is permitted: one pause
//! of the process, or one expensive message, does not make it so, a line that never gets short does. It is over that when
//! the shortest wait is half of what is permitted.

use crate::base::{Millis, Timestamp};

/// Waits that are judged together, and for how long at least.
const WAITS_MIN: u32 = 2;
const WINDOW: Millis = Millis(250);

/// What a wait counts for in the average: one in so many.
const AVERAGED_OVER: u64 = 8;

#[derive(Debug)]
pub(super) struct Overload {
    /// When it began to look, and how many will have been served when who is last in line is.
    probe: Option<(Timestamp, u64)>,
    /// When the last turn began that had more to do; none: it has slept since.
    busy_since: Option<Timestamp>,
    window: Window,
    is_over: bool,
    /// In sixteenths of a millisecond.
    average: u64,
    longest: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Timestamp,
    waits: u32,
    shortest: Millis,
}

impl Window {
    const fn new(now: Timestamp) -> Self {
        Self { began: now, waits: 0, shortest: Millis(u64::MAX) }
    }
}

/// What has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Begins,
    Ends,
}

impl Overload {
    pub(super) const fn new(now: Timestamp) -> Self {
        let window = Window::new(now);
        Self { probe: None, busy_since: None, window, is_over: false, average: 0, longest: Millis(0) }
    }

    /// Whether nobody new is to come in.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) const fn average(&self) -> Millis {
        Millis(self.average / 16)
    }

    /// The longest wait since this was asked last.
    pub(super) fn take_longest(&mut self) -> Millis {
        std::mem::take(&mut self.longest)
    }

    /// At the beginning of each turn: whether the one before had more to do and so nobody slept, how many connections have
    /// been served so far, and how many stand in line. A bound of zero is none.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        was_busy: bool,
        served: u64,
        in_line: usize,
        max: Millis,
    ) -> Option<Change> {
        let since = self.busy_since.replace(now).filter(|_| was_busy);
        let mut change = None;
        match self.probe {
            // Nobody waited for anything.
            _ if !was_busy => change = self.note(now, Millis(0), max),
            Some((began, target)) if served >= target => change = self.note(now, now - began, max),
            Some(_) => return None,
            None => {}
        }
        self.probe = Some((since.unwrap_or(now), served + in_line as u64));
        change
    }

    fn note(&mut self, now: Timestamp, wait: Millis, max: Millis) -> Option<Change> {
        self.longest = self.longest.max(wait);
        self.average = self.average - self.average / AVERAGED_OVER + wait.0 * 16 / AVERAGED_OVER;
        let window = &mut self.window;
        (window.waits, window.shortest) = (window.waits.saturating_add(1), window.shortest.min(wait));
        if window.waits < WAITS_MIN || now - window.began < WINDOW {
            return None;
        }
        let shortest = std::mem::replace(window, Window::new(now)).shortest;
        let bound = if self.is_over { Millis(max.0 / 2) } else { max };
        let is_over = max != Millis(0) && shortest > bound;
        let had_been = std::mem::replace(&mut self.is_over, is_over);
        match (had_been, is_over) {
            (false, true) => Some(Change::Begins),
            (true, false) => Some(Change::Ends),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Millis = Millis(500);

    /// A shard with so many in line, of whom each turn serves some.
    struct Line {
        overload: Overload,
        now: Timestamp,
        served: u64,
        changes: Vec<Change>,
    }

    impl Line {
        fn new() -> Self {
            let now = Timestamp(1_700_000_000_000);
            Self { overload: Overload::new(now), now, served: 0, changes: Vec::new() }
        }

        fn turns(&mut self, turns: u32, turn: Millis, served: u64, in_line: usize) {
            for _ in 0..turns {
                self.changes.extend(self.overload.look(self.now, true, self.served, in_line, MAX));
                self.now = self.now + turn;
                self.served += served;
            }
        }

        fn sleep(&mut self, times: u32, each: Millis) {
            for _ in 0..times {
                self.changes.extend(self.overload.look(self.now, false, self.served, 0, MAX));
                self.now = self.now + each;
            }
        }
    }

    #[test]
    fn a_line_that_stays_long_is_too_much_and_one_that_gets_short_is_not() {
        let mut line = Line::new();
        // 600 in line, 10 a turn of 10 ms.
        line.turns(1_000, Millis(10), 10, 600);
        assert_eq!(line.changes, [Change::Begins]);
        assert!(line.overload.is_over() && line.overload.average() > Millis(400));
        // Between half and all of it, it stays.
        line.turns(1_000, Millis(10), 10, 300);
        assert_eq!(line.changes, [Change::Begins]);
        line.turns(1_000, Millis(10), 10, 200);
        assert_eq!(line.changes, [Change::Begins, Change::Ends]);
        line.turns(1_000, Millis(10), 10, 400);
        assert_eq!(line.changes, [Change::Begins, Change::Ends]);
    }

    #[test]
    fn a_turn_that_takes_long_counts_from_its_beginning() {
        let mut line = Line::new();
        line.turns(10, Millis(600), 1, 1);
        assert_eq!(line.changes, [Change::Begins]);
        assert!(line.overload.take_longest() >= Millis(1_200));
        assert_eq!(line.overload.take_longest(), Millis(0));
    }

    #[test]
    fn one_pause_among_short_turns_is_none_of_the_shard_s() {
        let mut line = Line::new();
        for _ in 0..50 {
            line.turns(20, Millis(1), 5, 5);
            line.turns(1, Millis(3_000), 5, 5);
        }
        assert_eq!(line.changes, []);
        assert!(line.overload.take_longest() >= Millis(3_000));
    }

    #[test]
    fn who_sleeps_keeps_up() {
        let mut line = Line::new();
        line.turns(10, Millis(600), 1, 1);
        line.sleep(10, Millis(100));
        assert_eq!(line.changes, [Change::Begins, Change::Ends]);
        // However long: nothing came.
        line.sleep(10, Millis(10_000));
        assert_eq!(line.changes, [Change::Begins, Change::Ends]);
    }

    #[test]
    fn without_a_bound_nothing_is_too_much() {
        let mut overload = Overload::new(Timestamp(0));
        for turn in 0..100 {
            assert_eq!(overload.look(Timestamp(turn * 10_000), true, turn, 1, Millis(0)), None);
        }
    }
}
