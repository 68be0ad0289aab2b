//! The only clock: milliseconds since the epoch that never go back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::Timestamp;

/// The time of day is asked for once; from there on time only passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    started_at: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_at: since_epoch.as_millis() as u64 }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.started_at + self.started.elapsed().as_millis() as u64)
    }
}
