//! What an operator can choose of how those are met who fail to come in, or publish too much; thrum.toml explains each.

use serde::{Deserialize, Serialize};

use super::range::{Ranged, out_of_range};

/// `[access.bans]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BansConfig {
    /// Zero: nobody is banned.
    pub failures_max: u32,
    pub window_secs: u32,
    pub ban_secs: u32,
    pub ban_secs_max: u32,
    pub users: bool,
    /// Zero: refusals come at once.
    pub failure_delay_ms: u32,
}

/// What becomes of who publishes more than he may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateExcess {
    Slow,
    Disconnect,
}

impl Default for BansConfig {
    fn default() -> Self {
        Self {
            failures_max: 0,
            window_secs: 60,
            ban_secs: 60,
            ban_secs_max: 24 * 60 * 60,
            users: true,
            failure_delay_ms: 0,
        }
    }
}

const YEAR_SECS: u64 = 366 * 24 * 60 * 60;
/// Less than any client waits for its CONNACK.
const FAILURE_DELAY_MS_MAX: u64 = 10_000;

impl BansConfig {
    /// Each value that is out of range.
    pub(super) fn out_of_range(&self) -> Vec<Ranged> {
        out_of_range([
            ("bans.window_secs", self.window_secs.into(), 1, YEAR_SECS),
            ("bans.ban_secs", self.ban_secs.into(), 1, YEAR_SECS),
            ("bans.ban_secs_max", self.ban_secs_max.into(), self.ban_secs.into(), YEAR_SECS),
            ("bans.failure_delay_ms", self.failure_delay_ms.into(), 0, FAILURE_DELAY_MS_MAX),
        ])
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_that_is_longer_than_the_longest_is_a_fault() {
        let bans = BansConfig { ban_secs: 61, ban_secs_max: 60, ..BansConfig::default() };
        assert_eq!(bans.out_of_range(), [("bans.ban_secs_max", 60, 61, YEAR_SECS)]);
        assert_eq!(BansConfig::default().out_of_range(), []);
    }
}
