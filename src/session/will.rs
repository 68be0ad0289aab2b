//! The Will: the message a client leaves with its CONNECT, to be published when it is gone.
//!
//! | state | event | state | the caller |
//! |---|---|---|---|
//! | any | `arm` | Armed | |
//! | Absent | `restore` | Delayed | sets a timer |
//! | Armed | `on_disconnect(normal)` | Absent | discards it [MQTT-3.14.4-3] |
//! | Armed | `on_disconnect(not normal)` | Armed | |
//! | Armed | `on_connection_lost`, no delay or no session to come back to | Absent | publishes it [MQTT-3.1.2-8] |
//! | Armed | `on_connection_lost`, delay | Delayed | sets a timer |
//! | Delayed | `on_connection_lost` | Delayed | keeps the timer |
//! | Delayed | `on_timer`, before the time | Delayed | |
//! | Delayed | `on_timer`, at the time | Absent | publishes it |
//! | Delayed | `on_resume` | Absent | discards it [MQTT-3.1.3-9] |
//! | Armed | `on_resume` | Armed | |
//! | Armed, Delayed | `on_session_end` | Absent | publishes it [MQTT-3.1.2-8] |
//! | Absent | anything else | Absent | |

use super::SessionExpiry;
use crate::base::{Millis, Timestamp};

/// The Will of a session. One word while there is none. [MQTT-3.1.2-10]
#[derive(Debug)]
pub struct WillState<W>(Option<Box<Will<W>>>);

#[derive(Debug)]
struct Will<W> {
    message: W,
    phase: WillPhase,
}

#[derive(Clone, Copy, Debug)]
enum WillPhase {
    Armed { delay: Millis },
    Delayed { until: Timestamp },
}

/// What a lost connection means for the Will.
#[derive(PartialEq, Eq, Debug)]
pub enum WillStep<W> {
    Publish(W),
    /// Call `on_timer` at this time.
    Wait(Timestamp),
    Nothing,
}

impl<W> Default for WillState<W> {
    fn default() -> Self {
        Self(None)
    }
}

impl<W> WillState<W> {
    /// The Will of a CONNECT. [MQTT-3.1.2-7]
    pub fn arm(&mut self, message: W, delay_secs: u32) {
        let phase = WillPhase::Armed { delay: Millis::from_secs(delay_secs) };
        self.0 = Some(Box::new(Will { message, phase }));
    }

    /// The Will of a stored session whose connection is gone. Call `on_timer` at `until`.
    pub fn restore(&mut self, message: W, until: Timestamp) {
        self.0 = Some(Box::new(Will { message, phase: WillPhase::Delayed { until } }));
    }

    pub fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    /// When a delayed Will is due.
    pub fn due(&self) -> Option<Timestamp> {
        match self.0.as_ref()?.phase {
            WillPhase::Armed { .. } => None,
            WillPhase::Delayed { until } => Some(until),
        }
    }

    /// A DISCONNECT came; `normal` is Reason Code 0x00, and any DISCONNECT before version 5. Yields the Will that is
    /// discarded. [MQTT-3.14.4-3]
    pub fn on_disconnect(&mut self, normal: bool) -> Option<W> {
        if normal { self.take() } else { None }
    }

    /// The connection is gone, whether or not a DISCONNECT came before. The Will is due after its delay or with the end
    /// of the session, whichever is first. [MQTT-3.1.2-8]
    pub fn on_connection_lost(&mut self, now: Timestamp, session_expiry: SessionExpiry) -> WillStep<W> {
        let Some(will) = &mut self.0 else { return WillStep::Nothing };
        let until = match will.phase {
            WillPhase::Delayed { until } => until,
            WillPhase::Armed { delay } => {
                let session_end = session_expiry.deadline(now).unwrap_or(Timestamp::NEVER);
                session_end.min(now + delay)
            }
        };
        if until > now {
            will.phase = WillPhase::Delayed { until };
            return WillStep::Wait(until);
        }
        self.take().map_or(WillStep::Nothing, WillStep::Publish)
    }

    /// The client is back in time. Yields the Will that is discarded. [MQTT-3.1.3-9]
    pub fn on_resume(&mut self) -> Option<W> {
        self.0.take_if(|will| matches!(will.phase, WillPhase::Delayed { .. })).map(|will| will.message)
    }

    /// The session is over, by its expiry or by a Clean Start: the Will to publish now. [MQTT-3.1.2-8]
    pub fn on_session_end(&mut self) -> Option<W> {
        self.take()
    }

    /// The Will to publish now, where its time has come.
    pub fn on_timer(&mut self, now: Timestamp) -> Option<W> {
        let due = |will: &mut Box<Will<W>>| matches!(will.phase, WillPhase::Delayed { until } if until <= now);
        self.0.take_if(due).map(|will| will.message)
    }

    fn take(&mut self) -> Option<W> {
        self.0.take().map(|will| will.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const IN_10_S: Timestamp = Timestamp(NOW.0 + 10_000);
    const HOUR: SessionExpiry = SessionExpiry::After { secs: 3600 };

    fn armed(delay_secs: u32) -> WillState<&'static str> {
        let mut will = WillState::default();
        will.arm("gone", delay_secs);
        will
    }

    fn delayed() -> WillState<&'static str> {
        let mut will = armed(10);
        assert_eq!(will.on_connection_lost(NOW, HOUR), WillStep::Wait(IN_10_S));
        assert_eq!(will.due(), Some(IN_10_S));
        will
    }

    // [MQTT-3.14.4-3] [MQTT-3.1.2-10]
    #[test]
    fn a_normal_disconnect_discards_it() {
        let mut will = armed(0);
        assert_eq!(will.on_disconnect(true), Some("gone"));
        assert_eq!(will.on_connection_lost(NOW, HOUR), WillStep::Nothing);
        assert!(will.is_absent());
    }

    // [MQTT-3.1.2-8]
    #[test]
    fn any_other_end_publishes_it_once() {
        let mut will = armed(0);
        assert_eq!(will.on_disconnect(false), None);
        assert_eq!(will.on_connection_lost(NOW, HOUR), WillStep::Publish("gone"));
        assert_eq!(will.on_connection_lost(NOW, HOUR), WillStep::Nothing);
        assert_eq!(will.on_session_end(), None);
    }

    // [MQTT-3.1.2-8]
    #[test]
    fn it_waits_for_its_delay_but_not_beyond_the_session() {
        let steps = [
            (SessionExpiry::AtDisconnect, WillStep::Publish("gone")),
            (SessionExpiry::After { secs: 4 }, WillStep::Wait(Timestamp(NOW.0 + 4000))),
            (HOUR, WillStep::Wait(IN_10_S)),
            (SessionExpiry::Never, WillStep::Wait(IN_10_S)),
        ];
        for (expiry, step) in steps {
            assert_eq!(armed(10).on_connection_lost(NOW, expiry), step);
        }
    }

    #[test]
    fn a_delayed_will_comes_at_its_time() {
        let mut will = delayed();
        assert_eq!(will.on_timer(Timestamp(IN_10_S.0 - 1)), None);
        assert_eq!(will.on_connection_lost(Timestamp(NOW.0 + 5), HOUR), WillStep::Wait(IN_10_S));
        assert_eq!(will.on_timer(IN_10_S), Some("gone"));
        assert_eq!(will.on_timer(IN_10_S), None);
    }

    // [MQTT-3.1.3-9]
    #[test]
    fn a_client_that_comes_back_in_time_cancels_it() {
        let mut will = delayed();
        will.on_resume();
        assert!(will.is_absent());
        assert_eq!(will.on_timer(IN_10_S), None);
    }

    #[test]
    fn an_armed_will_is_touched_neither_by_a_timer_nor_by_a_resume() {
        let mut will = armed(0);
        assert_eq!(will.on_timer(Timestamp::NEVER), None);
        will.on_resume();
        assert_eq!(will.due(), None);
        assert!(!will.is_absent());
    }

    // [MQTT-3.1.2-8]
    #[test]
    fn the_end_of_the_session_publishes_it() {
        assert_eq!(armed(10).on_session_end(), Some("gone"));
        assert_eq!(delayed().on_session_end(), Some("gone"));
    }

    #[test]
    fn a_new_connect_replaces_it() {
        let mut will = delayed();
        will.arm("new", 0);
        assert_eq!(will.due(), None);
        assert_eq!(will.on_session_end(), Some("new"));
    }

    #[test]
    fn without_a_will_nothing_happens() {
        let mut will = WillState::<()>::default();
        assert_eq!(will.on_disconnect(true), None);
        assert_eq!(will.on_connection_lost(NOW, HOUR), WillStep::Nothing);
        assert_eq!(will.on_timer(Timestamp::NEVER), None);
        assert_eq!(will.on_session_end(), None);
        will.on_resume();
        assert!(will.is_absent());
    }

    #[test]
    fn it_is_one_word() {
        assert_eq!(size_of::<WillState<[u64; 8]>>(), 8);
    }
}
