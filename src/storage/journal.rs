//! A shard's log on the machine's disk: [`Log`] says what is to be done, two threads do it, one that commits and one that
//! prepares segments meanwhile. What the shard calls in its turns never waits; when there is something to hear, it is
//! woken.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::disk::{Aligned, Disk};
use super::log::{Ended, Failure, Log, LogCounters, LogOptions};
use super::operation::{FileName, Lane, Operation};
use crate::base::ShardId;
use crate::broker::Record;

/// How long an end may take whose disk does not do what it is told.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A segment that is synced, and never written to again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullSegment {
    pub path: PathBuf,
    pub shard: ShardId,
    pub sequence: u64,
    /// Of the records in it that count: what may stand behind it, stands in a later segment again.
    pub last_number: u64,
}

#[derive(Debug)]
pub struct Journal {
    log: Log<Aligned>,
    disk: Arc<Disk>,
    shard: ShardId,
    commits: Sender<Operation<Aligned>>,
    upkeep: Sender<Operation<Aligned>>,
    done: Receiver<Done>,
}

/// How an operation went, and when that was.
#[derive(Debug)]
struct Done {
    lane: Lane,
    result: Result<(), String>,
    at: Instant,
    /// The sync that always follows the write of a batch: begun when that was done, without asking.
    sync: Option<(Result<(), String>, Instant)>,
}

impl Journal {
    /// In the shard's folder, which is made if it is not there. Returns when there is a segment to write to. Segments that
    /// are there already are left alone. `wake` is called, on other threads, when there is something to hear.
    pub fn start(folder: &Path, options: LogOptions, wake: impl Fn() + Clone + Send + 'static) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let disk = Arc::new(Disk::new(folder));
        let log = prepared(Log::new(options, &files(folder)?), &disk)?;
        let (tell, done) = channel();
        let shard = options.shard;
        let begin = |lane: Lane, name: &str| {
            let (operations, asked) = channel();
            let (disk, tell, wake) = (Arc::clone(&disk), tell.clone(), wake.clone());
            let work = move || work(lane, &asked, &disk, &tell, &wake);
            thread::Builder::new().name(format!("{name}-{}", shard.index())).spawn(work)?;
            Ok::<_, io::Error>(operations)
        };
        let (commits, upkeep) = (begin(Lane::Commit, "commits")?, begin(Lane::Upkeep, "segments")?);
        Ok(Self { log, disk, shard, commits, upkeep, done })
    }

    /// Takes the records: those of a call become durable together, so that groups must be whole.
    pub fn record(&mut self, records: &mut Vec<Record>) {
        if !records.is_empty() {
            self.log.record(Instant::now(), records);
        }
    }

    /// Hears what was done, and begins what can begin.
    pub fn turn(&mut self, now: Instant) {
        self.hear();
        self.begin(now);
    }

    /// True: something was done since this was asked last.
    pub fn hear(&mut self) -> bool {
        let mut heard_any = false;
        while let Ok(done) = self.done.try_recv() {
            self.take(done);
            heard_any = true;
        }
        heard_any
    }

    fn take(&mut self, done: Done) {
        let Done { lane, result, at, sync } = done;
        self.log.done(at, lane, result);
        if let Some((result, ended)) = sync {
            let next = self.log.next(at, lane);
            debug_assert!(matches!(next, Some(Operation::Sync(_))), "a batch that was written is synced");
            self.log.done(ended, lane, result);
        }
    }

    fn begin(&mut self, now: Instant) {
        for (lane, to) in [(Lane::Commit, &self.commits), (Lane::Upkeep, &self.upkeep)] {
            if let Some(operation) = self.log.next(now, lane) {
                // Its thread ends with us, and a panic ends the process.
                let _ = to.send(operation);
            }
        }
    }

    /// The number of the last record there is.
    pub fn recorded(&self) -> u64 {
        self.log.recorded()
    }

    /// The number of the last record that need not be waited for.
    pub fn committed(&self) -> u64 {
        self.log.committed()
    }

    /// When [`Self::turn`] will have something to do by itself.
    pub fn due(&self) -> Option<Instant> {
        self.log.due()
    }

    /// What was recorded waits no longer.
    pub fn commit_now(&mut self) {
        self.log.commit_now();
        self.begin(Instant::now());
    }

    /// Commits, then ends the segment even if it is not full: it comes with [`Self::full_segments`], unless it is empty.
    pub fn rotate(&mut self) {
        self.log.rotate();
        self.begin(Instant::now());
    }

    /// Those that have ended since this was asked last.
    pub fn full_segments(&mut self) -> Vec<FullSegment> {
        let full = |Ended { sequence, last_number }| {
            let path = self.disk.path(FileName::Segment(sequence));
            FullSegment { path, shard: self.shard, sequence, last_number }
        };
        self.log.full_segments().into_iter().map(full).collect()
    }

    /// What counts in the segment is safe elsewhere, and nobody reads it any more: its file is used again, or removed.
    pub fn settled(&mut self, sequence: u64) {
        self.log.settled(sequence);
        self.begin(Instant::now());
    }

    /// Why nothing can be committed now; it is tried once a second. None when all is well again.
    pub fn failure(&self) -> Option<Failure> {
        self.log.failure()
    }

    pub fn counters(&self) -> LogCounters {
        self.log.counters()
    }

    /// Commits what is left, and waits for it. True: all that was ever recorded is on the disk.
    pub fn close(&mut self) -> bool {
        let until = Instant::now() + CLOSE_MAX;
        self.log.close();
        while !self.is_over() {
            let now = Instant::now();
            self.begin(now);
            let wait = until.min(self.log.due().unwrap_or(until)).saturating_duration_since(now);
            match self.done.recv_timeout(wait) {
                Ok(done) => self.take(done),
                Err(_) if Instant::now() >= until => break,
                Err(_) => {}
            }
        }
        self.log.synced() == self.log.recorded()
    }

    fn is_over(&self) -> bool {
        let is_busy = self.log.is_busy(Lane::Commit) || self.log.is_busy(Lane::Upkeep);
        self.log.synced() == self.log.recorded() && !is_busy
    }
}

/// With a segment to write to.
fn prepared(mut log: Log<Aligned>, disk: &Disk) -> io::Result<Log<Aligned>> {
    while !log.is_ready() {
        if let Some(Failure { what }) = log.failure() {
            return Err(io::Error::other(what));
        }
        let operation = log.next(Instant::now(), Lane::Upkeep);
        let operation = operation.ok_or_else(|| io::Error::other("no segment can be prepared"))?;
        log.done(Instant::now(), Lane::Upkeep, disk.run(&operation));
    }
    Ok(log)
}

/// Does one thing after the other, until nobody asks any more.
fn work(
    lane: Lane,
    asked: &Receiver<Operation<Aligned>>,
    disk: &Disk,
    tell: &Sender<Done>,
    wake: &(impl Fn() + Clone + Send + 'static),
) {
    for operation in asked {
        let result = disk.run(&operation);
        let at = Instant::now();
        let sync = match (&operation, &result) {
            (Operation::Write { file, .. }, Ok(())) if lane == Lane::Commit => {
                Some((disk.run(&Operation::Sync(*file)), Instant::now()))
            }
            _ => None,
        };
        // So that the batch is nobody else's when it is heard of.
        drop(operation);
        if tell.send(Done { lane, result, at, sync }).is_err() {
            return;
        }
        wake();
    }
}

/// What is in the folder of the log's files, with the length of each.
fn files(folder: &Path) -> io::Result<Vec<(FileName, u64)>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(FileName::parse) {
            files.push((name, entry.metadata()?.len()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
#[path = "journal/tests.rs"]
mod tests;
