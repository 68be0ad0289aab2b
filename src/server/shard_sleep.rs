//! How a shard waits for the next thing to do: asleep in `epoll_wait`, or looking again and again for a moment.

use std::time::{Duration, Instant};

use super::gather::REST;
use super::report::Report;
use super::shard::Shard;
use crate::base::{Millis, Timestamp};

impl Shard {
    /// Waits for the next thing to do, where there is nothing.
    pub(super) fn wait(&mut self, is_busy: bool) {
        if is_busy {
            return self.poller.wait(Some(Duration::ZERO));
        }
        if self.looks_again() {
            return;
        }
        let now = self.clock.now();
        if !self.may_sleep(now) {
            return self.poller.wait(Some(Duration::ZERO));
        }
        let timeout = self.timeout(now);
        self.poller.wait(timeout);
        self.port.woke();
    }

    /// Commands, and what the journal has done, are looked at once more when whoever has some knows that he has to ring.
    fn may_sleep(&mut self, now: Timestamp) -> bool {
        let may_sleep =
            self.port.prepare_sleep() && !self.take_commands(now) && !self.hear_journal() && !self.may_unstall();
        if !may_sleep {
            self.port.woke();
        }
        may_sleep
    }

    /// Looks once more before it sleeps: at once and for some time, or after a rest. True: there is something.
    fn looks_again(&mut self) -> bool {
        if self.config.spin_us > 0 {
            return self.spin();
        }
        if !self.gather.is_worth_it(self.core.counters().packets_received, Instant::now) {
            return false;
        }
        std::thread::sleep(REST);
        self.poller.wait(Some(Duration::ZERO));
        !self.poller.is_empty() || self.port.has_incoming()
    }

    /// Asks again and again for a short time. True: there is something.
    fn spin(&mut self) -> bool {
        let (started, time) = (Instant::now(), Duration::from_micros(self.config.spin_us.into()));
        loop {
            self.poller.wait(Some(Duration::ZERO));
            if !self.poller.is_empty() || self.port.has_incoming() {
                return true;
            }
            if started.elapsed() >= time {
                return false;
            }
        }
    }

    /// How long to sleep at most.
    fn timeout(&self, now: Timestamp) -> Option<Duration> {
        let own = self.sleep_time(now).map(|time| Duration::from_millis(time.0));
        let journal = self.store.as_ref().and_then(|store| store.journal.due());
        let journal = journal.map(|due| due.saturating_duration_since(Instant::now()));
        own.into_iter().chain(journal).min()
    }

    /// How long nothing of the shard's own is due; none: until something comes.
    pub(super) fn sleep_time(&self, now: Timestamp) -> Option<Millis> {
        if self.stage.is_starting() {
            return None;
        }
        let report_due = self.report.as_ref().map(Report::due);
        let give_back_due = self.give_back.due(self.core.entries_len());
        let ends = [self.lingering.next_end(), self.accept_again, self.stage.deadline(), report_due, give_back_due];
        let due = ends.into_iter().flatten().map(|end| end - now);
        due.chain(self.core.next_timeout(now)).min()
    }
}
