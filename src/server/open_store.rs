//! The store at a start: opened, with a line in the log now and then where that takes long, and handed to the shards.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::config::Config;
use super::store_config::Durability;
use crate::base::ShardId;
use crate::storage::{self, LogOptions, Opened, Phase, Progress, RecoveryReport, Store, StoreError};

/// A start that takes longer says how far it is, and again after as long.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// None: there is to be no store.
pub(super) fn open_store(config: &Config) -> Result<Option<Opened>, StoreError> {
    if !config.is_durable() {
        return Ok(None);
    }
    let began = Instant::now();
    let mut told = began;
    let directory = &config.store.directory;
    let opened = Store::open(directory, config.shards, &mut |progress| {
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            tell_progress(progress);
        }
    })?;
    tell_opened(&opened, began.elapsed());
    Ok(Some(opened))
}

fn tell_progress(progress: Progress) {
    let Progress { phase, done, total } = progress;
    let what = match phase {
        Phase::Reading => "reading what was not settled",
        Phase::Settling => "settling it",
        Phase::Loading => "loading what is stored",
    };
    info!(done, total, "opening the store: {what}");
}

fn tell_opened(opened: &Opened, time: Duration) {
    let RecoveryReport { segments, segment_bytes, records, spooled, orphans, torn } = &opened.report;
    for tail in torn {
        warn!(
            file = %tail.path.display(),
            offset = tail.offset,
            bytes = tail.bytes,
            "what was being written when the broker ended was left out: nobody was told that it was stored"
        );
    }
    if *orphans > 0 {
        warn!(
            orphans,
            "records are missing: these changes are of sessions that are not there; look with `thrum store check`"
        );
    }
    let sessions: usize = opened.shards.iter().map(|shard| shard.sessions.len()).sum();
    let retained: usize = opened.shards.iter().map(|shard| shard.retained.len()).sum();
    info!(
        directory = %opened.store.directory().path().display(),
        sessions,
        retained,
        segments,
        segment_bytes,
        records,
        spooled,
        ms = time.as_millis() as u64,
        "store opened"
    );
}

/// How a shard's journal is to work.
pub(super) fn journal_options(config: &Config, opened: &Opened, shard: ShardId) -> LogOptions {
    let store = &config.store;
    LogOptions {
        store_id: opened.store_id,
        epoch: opened.epoch,
        shard,
        next_number: opened.next_number,
        durability: match store.durability {
            Durability::Interval => storage::Durability::Interval(Duration::from_millis(store.interval_ms.into())),
            Durability::Commit | Durability::None => storage::Durability::Commit,
        },
        commit_delay: Duration::from_micros(store.commit_delay_us.into()),
        commit_bytes_max: store.commit_bytes_max as usize,
        segment_bytes: store.segment_bytes.into(),
        segments_max: store.segments_max as usize,
    }
}
