//! A shard's log on a disk: [`Log`] says what is to be done, glommio does it, in tasks of the shard's own executor. What
//! the shard calls in its turns never waits.
//!
//! While [`Journal::is_busy`], the shard has to come to its executor, or nothing goes on; [`Journal::changed`] tells when
//! there is something to hear.

use std::cell::{Cell, RefCell};
use std::fs::DirBuilder;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::future;
use glommio::io::DmaBuffer;
use glommio::timer::Timer;

use super::disk::Disk;
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
    writer: Rc<Writer>,
    shard: ShardId,
}

/// What the shard and the tasks share; nobody holds the log while he waits.
#[derive(Debug)]
struct Writer {
    log: RefCell<Log<DmaBuffer>>,
    disk: Disk,
    news: News,
}

impl Journal {
    /// In the shard's folder, which is made if it is not there. Returns when there is a segment to write to. Segments that
    /// are there already are left alone.
    pub async fn start(folder: &Path, options: LogOptions) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = files(folder)?;
        let log = RefCell::new(Log::new(options, &found));
        let writer = Rc::new(Writer { log, disk: Disk::new(folder), news: News::default() });
        let journal = Self { writer, shard: options.shard };
        loop {
            journal.writer.go_on(Instant::now());
            if journal.writer.log.borrow().is_ready() {
                return Ok(journal);
            }
            if let Some(Failure { what }) = journal.failure() {
                return Err(io::Error::other(what));
            }
            journal.changed().await;
        }
    }

    /// Takes the records: those of a call become durable together, so that groups must be whole.
    pub fn record(&mut self, records: &mut Vec<Record>) {
        if !records.is_empty() {
            self.writer.log.borrow_mut().record(Instant::now(), records);
        }
    }

    /// Begins what can begin.
    pub fn turn(&mut self, now: Instant) {
        self.writer.go_on(now);
    }

    /// Returns when something was committed, has failed, or is full, or when the journal is busy no more. What is new before
    /// it is called counts, so that nothing is missed.
    pub async fn changed(&self) {
        self.writer.news.heard().await;
    }

    /// The number of the last record that need not be waited for.
    pub fn committed(&self) -> u64 {
        self.writer.log.borrow().committed()
    }

    /// Whether something was asked of glommio that is not done.
    pub fn is_busy(&self) -> bool {
        self.writer.is_busy()
    }

    /// When [`Self::turn`] will have something to do.
    pub fn due(&self) -> Option<Instant> {
        self.writer.log.borrow().due()
    }

    /// What was recorded waits no longer.
    pub fn commit_now(&mut self) {
        self.writer.log.borrow_mut().commit_now();
        self.writer.go_on(Instant::now());
    }

    /// Commits, then ends the segment even if it is not full: it comes with [`Self::full_segments`], unless it is empty.
    pub fn rotate(&mut self) {
        self.writer.log.borrow_mut().rotate();
        self.writer.go_on(Instant::now());
    }

    /// Those that have ended since this was asked last.
    pub fn full_segments(&mut self) -> Vec<FullSegment> {
        let ended = self.writer.log.borrow_mut().full_segments();
        let full = |Ended { sequence, last_number }| {
            let path = self.writer.disk.path(FileName::Segment(sequence));
            FullSegment { path, shard: self.shard, sequence, last_number }
        };
        ended.into_iter().map(full).collect()
    }

    /// What counts in the segment is safe elsewhere, and nobody reads it any more: its file is used again, or removed.
    pub fn settled(&mut self, sequence: u64) {
        self.writer.log.borrow_mut().settled(sequence);
        self.writer.go_on(Instant::now());
    }

    /// Why nothing can be committed now; it is tried once a second. None when all is well again.
    pub fn failure(&self) -> Option<Failure> {
        self.writer.log.borrow().failure()
    }

    pub fn counters(&self) -> LogCounters {
        self.writer.log.borrow().counters()
    }

    /// Commits what is left. True: all that was ever recorded is on the disk.
    pub async fn close(&mut self) -> bool {
        self.writer.log.borrow_mut().close();
        future::or(self.writer.end(), async {
            Timer::new(CLOSE_MAX).await;
        })
        .await;
        let log = self.writer.log.borrow();
        log.synced() == log.recorded()
    }
}

impl Writer {
    fn is_busy(&self) -> bool {
        let log = self.log.borrow();
        log.is_busy(Lane::Commit) || log.is_busy(Lane::Upkeep)
    }

    fn go_on(self: &Rc<Self>, now: Instant) {
        for lane in [Lane::Commit, Lane::Upkeep] {
            let operation = self.log.borrow_mut().next(now, lane);
            if let Some(operation) = operation {
                glommio::spawn_local(Rc::clone(self).run(lane, operation)).detach();
            }
        }
    }

    /// The operation, and those that follow it, as long as there are any.
    async fn run(self: Rc<Self>, lane: Lane, first: Operation<DmaBuffer>) {
        let mut operation = Some(first);
        while let Some(current) = operation {
            let is_commit = lane == Lane::Commit && matches!(current, Operation::Sync(_));
            let result = self.disk.run(current).await;
            let (now, is_news) = (Instant::now(), is_commit || result.is_err());
            self.log.borrow_mut().done(now, lane, result);
            operation = self.log.borrow_mut().next(now, lane);
            // What one lane has done may be what the other waited for.
            self.go_on(now);
            if is_news || operation.is_none() {
                self.news.tell();
            }
        }
    }

    /// Returns when all is committed and nothing is under way.
    async fn end(self: &Rc<Self>) {
        loop {
            self.go_on(Instant::now());
            let due = {
                let log = self.log.borrow();
                if log.synced() == log.recorded() && !log.is_busy(Lane::Commit) && !log.is_busy(Lane::Upkeep) {
                    break;
                }
                log.due()
            };
            let again = async {
                match due {
                    Some(due) => drop(Timer::new(due.saturating_duration_since(Instant::now())).await),
                    None => future::pending().await,
                }
            };
            future::or(self.news.heard(), again).await;
        }
        self.disk.close_all().await;
    }
}

/// That there is something to hear, and who waits for it.
#[derive(Default, Debug)]
struct News {
    is_new: Cell<bool>,
    waits: RefCell<Option<Waker>>,
}

impl News {
    fn tell(&self) {
        self.is_new.set(true);
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
    }

    async fn heard(&self) {
        poll_fn(|context| {
            if self.is_new.take() {
                return Poll::Ready(());
            }
            *self.waits.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
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
