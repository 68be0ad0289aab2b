//! How a shard waits for the next thing to do. While its journal has nothing under way it sleeps in `epoll_wait` itself;
//! while glommio writes and syncs for it, it sleeps behind the doorbell, where a commit that is done wakes it too.

use std::time::{Duration, Instant};

use futures_lite::future::or;

use super::gather::REST;
use super::report::Report;
use super::shard::Shard;
use crate::base::{Millis, Timestamp};
use crate::net::{give_way, ready_or_timeout};

/// How often a shard that has something to do lets glommio go on with the journal's commits. Giving way costs 6 to 9 us, and
/// a disk takes 150 us for a commit: a busy shard loses less than a tenth of its time.
const GIVE_WAY_INTERVAL: Duration = Duration::from_micros(100);

impl Shard {
    /// With the journal busy.
    pub(super) async fn wait_beside_journal(&mut self, is_busy: bool) {
        let now = self.clock.now();
        if is_busy {
            self.give_way_at_times().await;
        } else if self.may_sleep(now) {
            let timeout = self.timeout(now);
            if let Some(store) = &self.store {
                let changed = async { store.journal.changed().await };
                or(async { _ = ready_or_timeout(&self.poller, timeout).await }, changed).await;
            }
            self.port.woke();
        }
        self.poller.wait(Some(Duration::ZERO));
    }

    async fn give_way_at_times(&mut self) {
        let Some(store) = &mut self.store else { return };
        if store.gave_way.elapsed() >= GIVE_WAY_INTERVAL {
            give_way().await;
            store.gave_way = Instant::now();
        }
    }

    /// With no journal, or nothing of it under way.
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

    /// Commands are looked at once more when whoever sends one knows that he has to ring.
    fn may_sleep(&mut self, now: Timestamp) -> bool {
        let may_sleep = self.port.prepare_sleep() && !self.take_commands(now) && !self.may_unstall();
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
