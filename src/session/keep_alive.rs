//! Keep Alive: how long a client may be silent.
//!
//! | Keep Alive | deadline after the last packet |
//! |---|---|
//! | 0 | none |
//! | n | 1.5 n seconds |

use crate::base::{Millis, Timestamp};

const GRACE_MILLIS_PER_SEC: u64 = 1500;

/// The Keep Alive of a connection: the client's, or the Server Keep Alive that replaced it. [MQTT-3.2.2-22]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeepAlive(u16);

impl KeepAlive {
    pub const fn new(secs: u16) -> Self {
        Self(secs)
    }

    pub const fn secs(self) -> u16 {
        self.0
    }

    /// When the connection is to be closed as if the network had failed, unless another packet comes. [MQTT-3.1.2-22]
    pub fn deadline(self, last_received: Timestamp) -> Option<Timestamp> {
        (self.0 != 0).then(|| last_received + Millis(u64::from(self.0) * GRACE_MILLIS_PER_SEC))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [MQTT-3.1.2-22]
    #[test]
    fn silence_ends_after_one_and_a_half_times_the_keep_alive() {
        assert_eq!(KeepAlive::new(1).deadline(Timestamp(10_000)), Some(Timestamp(11_500)));
        assert_eq!(KeepAlive::new(u16::MAX).deadline(Timestamp(0)), Some(Timestamp(98_302_500)));
    }

    #[test]
    fn zero_turns_the_rule_off() {
        assert_eq!(KeepAlive::new(0).deadline(Timestamp(10_000)), None);
    }
}
