//! Which rules hold, and whose subscriptions are still to be looked at after they changed.

use std::collections::VecDeque;

use super::session::Sessions;
use crate::base::SessionRef;
use crate::base::limits::SESSIONS_LOOKED_AT_MAX;

/// Which rules hold, and whose subscriptions are still to be looked at.
#[derive(Debug)]
pub(super) struct Judging {
    /// Counts guards from one: a session is free by the rules of one of them.
    guard: u32,
    /// The next slot of all sessions, while they are looked at.
    sweep: Option<u32>,
    pub(super) queue: VecDeque<SessionRef>,
    /// How many subscriptions of the first in the queue were looked at.
    pub(super) done: usize,
    pub(super) text: String,
}

impl Default for Judging {
    fn default() -> Self {
        Self { guard: 1, sweep: None, queue: VecDeque::new(), done: 0, text: String::new() }
    }
}

impl Judging {
    /// The mark of a session that is free.
    #[inline]
    pub(super) const fn free(&self) -> u32 {
        self.guard
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.sweep.is_some() || !self.queue.is_empty()
    }

    pub(super) fn begin_sweep(&mut self) {
        // Zero is the mark of those that are not free.
        self.guard = self.guard.checked_add(1).unwrap_or(1);
        (self.sweep, self.done) = (Some(0), 0);
    }

    pub(super) fn push(&mut self, session: SessionRef) {
        self.queue.push_back(session);
    }

    /// A subscription that goes may move another one to where nobody looks any more.
    pub(super) fn begin_again(&mut self, session: SessionRef) {
        if self.queue.front() == Some(&session) {
            self.done = 0;
        }
    }

    /// Puts the next sessions of all into the queue. False: there are none.
    pub(super) fn look_at_more(&mut self, sessions: &Sessions) -> bool {
        let Some(from) = self.sweep else { return false };
        let to = from + SESSIONS_LOOKED_AT_MAX;
        self.queue.extend((from..to).filter(|&slot| sessions.has(slot)).map(|slot| sessions.reference(slot)));
        self.sweep = Some(to).filter(|&to| (to as usize) < sessions.slots_end());
        true
    }
}
