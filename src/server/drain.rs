//! How a shard ends: it accepts and reads no more; when no shard does, and what clients caused before has arrived
//! everywhere, every client is told; when the last words have left, or the time is over, the shard is finished.

use super::shard::Shard;
use crate::base::Timestamp;

impl Shard {
    pub(super) fn begin_drain(&mut self, deadline: Timestamp) {
        self.listeners.clear();
        self.accept_again = None;
        self.stage.begin_drain(deadline);
    }

    pub(super) fn is_finished(&self, now: Timestamp) -> bool {
        let is_late = self.stage.deadline().is_some_and(|deadline| deadline <= now);
        let is_done = self.stage.is_closing() && self.connections.is_empty() && self.lingering.is_empty();
        is_late || is_done && self.effects.is_empty() && !self.port.is_blocked()
    }
}
