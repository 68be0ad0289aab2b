//! Expiry of sessions and of messages.
//!
//! | Session Expiry Interval | the session ends | may become by DISCONNECT |
//! |---|---|---|
//! | 0 (or absent) | with the connection | 0 |
//! | n | n seconds after the connection | anything |
//! | 0xFFFFFFFF | never | anything |

use crate::base::{Millis, Timestamp};

/// The Session Expiry Interval.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum SessionExpiry {
    #[default]
    AtDisconnect,
    After {
        secs: u32,
    },
    Never,
}

/// A DISCONNECT that asks to keep a session that CONNECT had asked not to keep: the client's Protocol Error (0x82),
/// after which the interval of the CONNECT still holds. (MQTT 5.0, 3.14.2.2.2)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpiryRaisedFromZero;

impl SessionExpiry {
    pub const fn from_secs(secs: u32) -> Self {
        match secs {
            0 => Self::AtDisconnect,
            u32::MAX => Self::Never,
            secs => Self::After { secs },
        }
    }

    /// For MQTT 3.1 and 3.1.1. [MQTT3-3.1.2-4] [MQTT3-3.1.2-6]
    pub const fn from_clean_session(clean: bool) -> Self {
        if clean { Self::AtDisconnect } else { Self::Never }
    }

    pub const fn secs(self) -> u32 {
        match self {
            Self::AtDisconnect => 0,
            Self::After { secs } => secs,
            Self::Never => u32::MAX,
        }
    }

    /// When the session ends; none for never. Until then it is kept. [MQTT-3.1.2-23]
    pub fn deadline(self, disconnected_at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::AtDisconnect => Some(disconnected_at),
            Self::After { secs } => Some(disconnected_at + Millis::from_secs(secs)),
            Self::Never => None,
        }
    }

    /// The Session Expiry Interval of a DISCONNECT replaces that of the CONNECT, except that zero stays zero.
    pub const fn change(self, secs: u32) -> Result<Self, ExpiryRaisedFromZero> {
        match (self, secs) {
            (Self::AtDisconnect, 1..) => Err(ExpiryRaisedFromZero),
            (_, secs) => Ok(Self::from_secs(secs)),
        }
    }
}

/// What is left of a message's lifetime, to be sent on as its Message Expiry Interval [MQTT-3.3.2-6]; none when it is
/// over and the message must not be sent any more [MQTT-3.3.2-5]. Never zero.
pub fn remaining_secs(deadline: Timestamp, now: Timestamp) -> Option<u32> {
    (now < deadline).then(|| (deadline - now).secs_ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    // [MQTT-3.1.2-23]
    #[test]
    fn a_session_is_kept_for_its_interval() {
        let cases = [
            (0, Some(NOW)),
            (1, Some(Timestamp(NOW.0 + 1000))),
            (u32::MAX - 1, Some(Timestamp(NOW.0 + 4_294_967_294_000))),
            (u32::MAX, None),
        ];
        for (secs, deadline) in cases {
            assert_eq!(SessionExpiry::from_secs(secs).deadline(NOW), deadline);
            assert_eq!(SessionExpiry::from_secs(secs).secs(), secs);
        }
    }

    // [MQTT3-3.1.2-4] [MQTT3-3.1.2-6]
    #[test]
    fn before_version_5_a_session_lasts_for_ever_or_as_long_as_its_connection() {
        assert_eq!(SessionExpiry::from_clean_session(true), SessionExpiry::AtDisconnect);
        assert_eq!(SessionExpiry::from_clean_session(false), SessionExpiry::Never);
    }

    #[test]
    fn a_disconnect_changes_everything_but_zero() {
        let intervals = [0, 1, 60, u32::MAX - 1, u32::MAX];
        for from in intervals {
            for to in intervals {
                let changed = SessionExpiry::from_secs(from).change(to);
                if from == 0 && to != 0 {
                    assert_eq!(changed, Err(ExpiryRaisedFromZero));
                } else {
                    assert_eq!(changed, Ok(SessionExpiry::from_secs(to)));
                }
            }
        }
    }

    // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    #[test]
    fn a_message_is_sent_with_what_is_left_of_its_lifetime() {
        assert_eq!(remaining_secs(Timestamp(NOW.0 + 2000), NOW), Some(2));
        assert_eq!(remaining_secs(Timestamp(NOW.0 + 1), NOW), Some(1), "rounded up: zero would read as expired");
        assert_eq!(remaining_secs(NOW, NOW), None);
        assert_eq!(remaining_secs(Timestamp(NOW.0 - 1), NOW), None);
    }
}
