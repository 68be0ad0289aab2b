//! A client that takes nothing of what waits for it, while no more may wait, is cut off after a time: what is kept for it
//! is memory that others need. One that reads slowly, but reads, stays.

use super::core::ShardCore;
use super::effects::Effects;
use super::timers::TimerKey;
use crate::base::{ConnId, Millis, Refusal, Timestamp};
use crate::mqtt::ReasonCode;

impl ShardCore {
    /// Where something found no room in a connection's output: the time runs until some of it leaves.
    pub(super) fn notice_full(&mut self, now: Timestamp, conn: ConnId) {
        let (span, bytes_max) = (self.options.slow_reader, self.options.output_bytes_max);
        let connection = &mut self.connections[conn];
        if span != Millis(0) && connection.reader_timer.is_none() && connection.unsent >= bytes_max {
            connection.reader_timer = Some(self.timers.set(now + span, TimerKey::Reader(conn.0)));
        }
    }

    /// Some of a connection's output has left.
    pub(super) fn notice_reading(&mut self, now: Timestamp, conn: ConnId) {
        if let Some(timer) = self.connections[conn].reader_timer.take() {
            self.timers.cancel(timer);
            self.notice_full(now, conn);
        }
    }

    pub(super) fn on_reader_timer(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.reader_timer = None;
        self.counters.refuse(Refusal::SlowReader);
        self.close_connection(now, conn, ReasonCode::QuotaExceeded, fx);
    }
}
