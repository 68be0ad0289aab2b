//! What an operator can choose of the store; thrum.toml at the top of the repository explains each. Everything here is
//! fixed at start.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::range::{Ranged, out_of_range};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreConfig {
    pub directory: PathBuf,
    pub durability: Durability,
    /// Of "interval".
    pub interval_ms: u32,
    /// How long a commit waits for more to commit with it.
    pub commit_delay_us: u32,
    /// What one commit takes at most, near enough.
    pub commit_bytes_max: u32,
    pub segment_bytes: u32,
    /// Segments of a shard that are written and not settled yet; then acknowledgements wait.
    pub segments_max: u32,
}

/// When what was recorded is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When it is on the disk.
    Commit,
    /// At once; it is on the disk an interval later.
    Interval,
    /// There is no store.
    None,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            directory: "thrum-data".into(),
            durability: Durability::Commit,
            interval_ms: 100,
            commit_delay_us: 0,
            commit_bytes_max: 1 << 20,
            segment_bytes: 4 << 20,
            segments_max: 4,
        }
    }
}

/// A longer interval would be a loss that nobody expects.
const INTERVAL_MS_MAX: u64 = 60_000;
/// Longer than any disk takes for a commit, so that no delay saves any.
const COMMIT_DELAY_US_MAX: u64 = 100_000;
const COMMIT_BYTES_MIN: u64 = 1 << 12;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// One is written, one is prepared, and one is being settled.
const SEGMENTS_MIN: u64 = 3;
const SEGMENTS_MAX: u64 = 65_536;

impl StoreConfig {
    /// Each value that is out of range.
    pub(super) fn out_of_range(&self) -> Vec<Ranged> {
        let segment_bytes = u64::from(self.segment_bytes);
        out_of_range([
            ("interval_ms", self.interval_ms.into(), 1, INTERVAL_MS_MAX),
            ("commit_delay_us", self.commit_delay_us.into(), 0, COMMIT_DELAY_US_MAX),
            ("segment_bytes", segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            ("commit_bytes_max", self.commit_bytes_max.into(), COMMIT_BYTES_MIN, segment_bytes.max(COMMIT_BYTES_MIN)),
            ("segments_max", self.segments_max.into(), SEGMENTS_MIN, SEGMENTS_MAX),
        ])
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_fits_into_a_segment() {
        assert_eq!(StoreConfig::default().out_of_range(), []);
        let config = StoreConfig { commit_bytes_max: 2 << 20, segment_bytes: 1 << 20, ..StoreConfig::default() };
        assert_eq!(config.out_of_range(), [("commit_bytes_max", 2 << 20, 1 << 12, 1 << 20)]);
    }

    #[test]
    fn each_bound_is_kept() {
        let wrong = StoreConfig {
            interval_ms: 0,
            commit_delay_us: 100_001,
            commit_bytes_max: 1,
            segment_bytes: 1,
            segments_max: 2,
            ..StoreConfig::default()
        };
        let keys: Vec<_> = wrong.out_of_range().into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["interval_ms", "commit_delay_us", "segment_bytes", "commit_bytes_max", "segments_max"]);
    }
}
