//! What becomes of a client that publishes more than it may: it is not read for a while, or cut off.

use super::core::{Flow, ShardCore};
use super::effects::Effects;
use super::throttle::Over;
use super::timers::TimerKey;
use crate::access::Excess;
use crate::base::{ConnId, Refusal, Timestamp};
use crate::mqtt::ReasonCode;

impl ShardCore {
    /// Before each PUBLISH of a client that has rates; none: it may go on.
    pub(super) fn throttle(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        packet_bytes: usize,
        fx: &mut Effects,
    ) -> Option<Flow> {
        let throttle = self.connections[conn].throttle.as_mut()?;
        let admitted = throttle.admit(now, packet_bytes);
        let Err(over) = admitted else {
            throttle.timer.take().into_iter().for_each(|timer| self.timers.cancel(timer));
            return None;
        };
        match throttle.on_excess {
            Excess::Slow => {
                if throttle.timer.is_none() {
                    let at = now + throttle.wait();
                    throttle.timer = Some(self.timers.set(at, TimerKey::Throttle(conn.0)));
                    self.counters.throttled += 1;
                }
                // It comes again, and is counted then.
                self.counters.packets_received -= 1;
                Some(Flow::Hold)
            }
            Excess::Disconnect => {
                let (refusal, reason) = match over {
                    Over::Messages => (Refusal::MessageRate, ReasonCode::MessageRateTooHigh),
                    Over::Bytes => (Refusal::ByteRate, ReasonCode::QuotaExceeded),
                };
                self.counters.refuse(refusal);
                self.close_connection(now, conn, reason, fx);
                Some(Flow::Next)
            }
        }
    }

    pub(super) fn on_throttle_timer(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.throttle.iter_mut().for_each(|throttle| throttle.timer = None);
        // Nobody read what it said meanwhile.
        connection.last_received = now;
        if !connection.held && !connection.is_choked {
            fx.resumed.push(conn);
        }
    }
}
