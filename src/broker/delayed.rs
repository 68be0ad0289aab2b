//! Refusals that wait: who tries passwords is to wait for each answer. Only so many wait at once; the others are refused
//! at once, as what waits is memory.

use super::connect::Named;
use super::connection::Delayed;
use super::core::ShardCore;
use super::effects::Effects;
use super::timers::TimerKey;
use crate::access::Denial;
use crate::base::limits::DELAYED_REFUSALS_MAX;
use crate::base::{ConnId, Millis, Timestamp};

impl ShardCore {
    /// True: the refusal waits, and so does the connection, which has had its time to prove something.
    pub(super) fn delay_refusal(&mut self, now: Timestamp, conn: ConnId, who: Named<'_>, denial: Denial) -> bool {
        let delay = self.options.failure_delay;
        let is_failure = matches!(denial, Denial::BadUserNameOrPassword | Denial::NotAuthorized);
        if delay == Millis(0) || !is_failure || self.delayed.len() >= DELAYED_REFUSALS_MAX {
            return false;
        }
        let connection = &mut self.connections[conn];
        connection.timer.take().into_iter().for_each(|timer| self.timers.cancel(timer));
        connection.timer = Some(self.timers.set(now + delay, TimerKey::Connection(conn.0)));
        let Named { client_id, user_name } = who;
        self.delayed
            .insert(conn, Delayed { client_id: client_id.into(), user_name: user_name.map(Into::into), denial });
        true
    }

    /// The connection's time has come. False: no refusal waits.
    pub(super) fn refuse_delayed(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) -> bool {
        let Some(Delayed { client_id, user_name, denial }) = self.delayed.remove(&conn) else { return false };
        let who = Named { client_id: &client_id, user_name: user_name.as_deref() };
        self.deny(now, conn, who, denial, fx);
        true
    }
}
