//! Two threads beside the shards: one moves what full segments still have to say into the settled store, the other reads
//! from it what shards ask for, so that a fetch never waits for a long settling.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::backup::{self, BackupReport};
use super::error::StoreError;
use super::journal::FullSegment;
use super::overlay::Overlay;
use super::recovery::Store;
use super::segment::Chain;
use super::settled::Rows;
use super::stretch::Stretch;
use crate::base::{RecordId, SessionRef, ShardId};
use crate::broker::{Fetch, StoredMessage};

/// What the threads tell a shard.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// All of the segment is in the settled store: it may be used again.
    Settled { sequence: u64, last_number: u64 },
    /// Every message in the asked span that the store has, in order.
    Fetched { session: SessionRef, last: RecordId, messages: Vec<StoredMessage> },
    /// What the shard asked for, or its settling, does not succeed, and is tried again.
    Failed(String),
    /// It succeeds again.
    Recovered,
    /// Of what was fetched this could not be read, and was left out.
    Unreadable(String),
}

/// What the shards and the console have of the store. All of it is one; the threads end with [`Self::stop`], or with the
/// last of its clones.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    to_settler: Sender<Order<FullSegment>>,
    to_reader: Sender<Order<Fetch>>,
    shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// What the settled store holds and how it does, for $SYS and `thrum store stats`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StoreStats {
    pub sessions: u64,
    pub subscriptions: u64,
    pub items: u64,
    pub retained: u64,
    pub spooled: u64,
    pub file_bytes: u64,
    pub segments_settled: u64,
    pub records_settled: u64,
    pub fetches: u64,
    /// Changes of sessions that are not there: none, unless records were lost.
    pub orphans: u64,
}

#[derive(Debug)]
enum Order<T> {
    Do(T),
    Stop,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    is_stopping: AtomicBool,
    segments_settled: AtomicU64,
    records_settled: AtomicU64,
    fetches: AtomicU64,
    orphans: AtomicU64,
}

/// Segments that are settled in one transaction at most: what comes and goes between them is never written.
const SEGMENTS_AT_ONCE: usize = 8;

/// What failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);

impl Store {
    /// Goes on with the store on threads of its own. `tell` is called by them.
    pub fn start(self, tell: impl Fn(ShardId, Told) + Send + Sync + 'static) -> io::Result<StoreHandle> {
        let [segments_settled, records_settled, fetches, orphans] = [0; 4].map(AtomicU64::new);
        let is_stopping = AtomicBool::new(false);
        let shared = Shared { store: self, is_stopping, segments_settled, records_settled, fetches, orphans };
        let (shared, tell) = (Arc::new(shared), Arc::new(tell));
        let (to_settler, orders) = mpsc::channel();
        let worker = Worker { shared: Arc::clone(&shared), tell: Arc::clone(&tell), failing: Vec::new() };
        let settler = thread::Builder::new().name("thrum-settler".into()).spawn(move || worker.settle_all(&orders))?;
        let (to_reader, orders) = mpsc::channel();
        let worker = Worker { shared: Arc::clone(&shared), tell, failing: Vec::new() };
        let reader = thread::Builder::new().name("thrum-fetcher".into()).spawn(move || worker.fetch_all(&orders))?;
        Ok(StoreHandle { to_settler, to_reader, shared, threads: Arc::new(Mutex::new(vec![settler, reader])) })
    }
}

impl StoreHandle {
    /// Of one shard in the order of their sequences.
    pub fn settle(&self, segment: FullSegment) {
        // Without a thread there is nobody to tell: the next start settles it.
        let _ = self.to_settler.send(Order::Do(segment));
    }

    pub fn fetch(&self, fetch: Fetch) {
        let _ = self.to_reader.send(Order::Do(fetch));
    }

    /// A copy of what is settled when it begins, into a directory that is empty or not there.
    pub fn backup(&self, into: PathBuf) -> Receiver<Result<BackupReport, StoreError>> {
        let (done, receiver) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        let failed = done.clone();
        let spawned = thread::Builder::new().name("thrum-backup".into()).spawn(move || {
            // Who asked may have gone.
            let _ = done.send(backup::copy(&shared.store.settled, &into));
        });
        if let Err(error) = spawned {
            let _ = failed
                .send(Err(StoreError::io("start a thread for the copy of", self.shared.store.directory.path())(error)));
        }
        receiver
    }

    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let Shared { store, segments_settled, records_settled, fetches, orphans, .. } = &*self.shared;
        let settled = &store.settled;
        let Rows { sessions, subscriptions, items, retained, spooled, file_bytes } =
            settled.rows().map_err(settled.at())?;
        let [segments_settled, records_settled, fetches, orphans] =
            [segments_settled, records_settled, fetches, orphans].map(|counter| counter.load(Ordering::Relaxed));
        Ok(StoreStats {
            sessions,
            subscriptions,
            items,
            retained,
            spooled,
            file_bytes,
            segments_settled,
            records_settled,
            fetches,
            orphans,
        })
    }

    /// What was handed over for settling is settled, where that succeeds; then the threads end.
    pub fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        let _ = self.to_settler.send(Order::Stop);
        let _ = self.to_reader.send(Order::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.thread().unpark();
            // One that panicked has said so; what it had not settled, the next start does.
            let _ = thread.join();
        }
    }
}

/// One of the two threads.
struct Worker<T> {
    shared: Arc<Shared>,
    tell: Arc<T>,
    /// The shards that were told of a failure.
    failing: Vec<ShardId>,
}

impl<T: Fn(ShardId, Told)> Worker<T> {
    fn settle_all(mut self, orders: &Receiver<Order<FullSegment>>) {
        let mut is_last = false;
        while !is_last {
            let Ok(Order::Do(segment)) = orders.recv() else { return };
            let mut segments = vec![segment];
            while segments.len() < SEGMENTS_AT_ONCE && !is_last {
                match orders.try_recv() {
                    Ok(Order::Do(segment)) => segments.push(segment),
                    Ok(Order::Stop) => is_last = true,
                    Err(_) => break,
                }
            }
            let shard = segments[0].shard;
            if self.until_done(shard, |shared| settle(shared, &segments)).is_none() {
                return;
            }
            for FullSegment { shard, sequence, last_number, .. } in segments {
                (self.tell)(shard, Told::Settled { sequence, last_number });
            }
        }
    }

    fn fetch_all(mut self, orders: &Receiver<Order<Fetch>>) {
        while let Ok(Order::Do(fetch)) = orders.recv() {
            let shard = fetch.session.shard;
            let mut unreadable = Vec::new();
            let fetched = self.until_done(shard, |shared| {
                unreadable.clear();
                shared.store.fetch(&fetch, &mut unreadable)
            });
            let Some(messages) = fetched else { return };
            self.shared.fetches.fetch_add(1, Ordering::Relaxed);
            for what in unreadable {
                (self.tell)(shard, Told::Unreadable(what));
            }
            (self.tell)(shard, Told::Fetched { session: fetch.session, last: fetch.last, messages });
        }
    }

    /// Tries until it succeeds; when the store is to stop, once more. The shard is told when that begins to fail, and
    /// when it succeeds again.
    fn until_done<V>(
        &mut self,
        shard: ShardId,
        mut attempt: impl FnMut(&Shared) -> Result<V, StoreError>,
    ) -> Option<V> {
        loop {
            let is_last = self.shared.is_stopping.load(Ordering::Acquire);
            match attempt(&self.shared) {
                Ok(value) => {
                    for shard in self.failing.drain(..) {
                        (self.tell)(shard, Told::Recovered);
                    }
                    return Some(value);
                }
                Err(error) => {
                    if !self.failing.contains(&shard) {
                        self.failing.push(shard);
                        (self.tell)(shard, Told::Failed(error.to_string()));
                    }
                    if is_last {
                        return None;
                    }
                }
            }
            self.rest();
            // After an I/O error the tables answer nothing any more until they are opened anew. Where that fails too,
            // the next attempt says it.
            let _ = self.shared.store.settled.reopen();
        }
    }

    fn rest(&self) {
        let end = Instant::now() + RETRY;
        while !self.shared.is_stopping.load(Ordering::Acquire) && Instant::now() < end {
            thread::park_timeout(RETRY);
        }
    }
}

fn settle(shared: &Shared, segments: &[FullSegment]) -> Result<(), StoreError> {
    let SettledNow { records, orphans } = shared.store.settle(segments)?;
    shared.orphans.fetch_add(orphans, Ordering::Relaxed);
    shared.records_settled.fetch_add(records, Ordering::Relaxed);
    shared.segments_settled.fetch_add(segments.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// What one settling came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettledNow {
    pub records: u64,
    /// Changes of sessions that are not there: none, unless records were lost.
    pub orphans: u64,
}

/// What the threads do, for who has none.
impl Store {
    /// All of them in one transaction, so that a crash leaves each settled or not; what is settled is skipped next time.
    pub fn settle(&self, segments: &[FullSegment]) -> Result<SettledNow, StoreError> {
        let settled = &self.settled;
        let meta = settled.meta().map_err(settled.at())?;
        let mut overlay = Overlay::new(settled.numbers().map_err(settled.at())?);
        for FullSegment { path, shard, sequence, last_number } in segments {
            // It may have been settled before a commit whose success nobody heard of.
            if overlay.next_number(*shard) > *last_number {
                continue;
            }
            let stretch = Stretch { path, shard: *shard, sequence: *sequence, last_number: *last_number };
            let mut chain = Chain::new(overlay.next_number(*shard));
            stretch.read(&meta, &settled.hasher, &mut chain, &mut |batch| overlay.apply_batch(*shard, batch))?;
            if overlay.next_number(*shard) <= *last_number {
                let what = format!("it ends before record {last_number}, which was written to it");
                return Err(StoreError::damaged(path, 0, what));
            }
        }
        let orphans = settled.settle(&overlay).map_err(settled.at())?;
        Ok(SettledNow { records: overlay.records, orphans })
    }

    /// Every message in the asked span that there is, in order. What cannot be read is told of and left out.
    pub fn fetch(&self, fetch: &Fetch, unreadable: &mut Vec<String>) -> Result<Vec<StoredMessage>, StoreError> {
        self.settled.fetch(fetch, unreadable).map_err(self.settled.at())
    }
}
