//! What the disk itself takes to make something durable: a block written over another and synced, again and again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::outcome::histogram;

/// What a filesystem writes at least.
const BLOCK_BYTES: usize = 4096;
const SYNCS: u64 = 200;

/// Microseconds for one write with its fdatasync.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SyncTimes {
    pub p50: f64,
    pub p99: f64,
}

impl SyncTimes {
    /// Of the disk that the folder is on, with a pause before each: what has slept takes longer.
    pub fn measure(folder: &Path, pause: Duration) -> io::Result<Self> {
        let path = folder.join("syncs");
        let times = Self::of(&File::create_new(&path)?, pause);
        fs::remove_file(path)?;
        times
    }

    /// The blocks are there before: what is synced is the data alone, as with the segments of a log that are used again.
    fn of(file: &File, pause: Duration) -> io::Result<Self> {
        let block = |nth: u64| [nth as u8 + 1; BLOCK_BYTES];
        let at = |nth: u64| nth * BLOCK_BYTES as u64;
        (0..SYNCS).try_for_each(|nth| file.write_all_at(&[0; BLOCK_BYTES], at(nth)))?;
        file.sync_all()?;
        let mut nanos = histogram();
        for nth in 0..SYNCS {
            thread::sleep(pause);
            let began = Instant::now();
            file.write_all_at(&block(nth), at(nth))?;
            file.sync_data()?;
            nanos.saturating_record(began.elapsed().as_nanos() as u64);
        }
        let micros = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Self { p50: micros(0.5), p99: micros(0.99) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_takes_a_time_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let times = SyncTimes::measure(folder.path(), Duration::ZERO).expect("measured");
        assert!(times.p50 > 0.0 && times.p99 >= times.p50, "{times:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
