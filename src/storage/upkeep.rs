//! The segments beside the one that is written to: the next one is prepared before it is needed, and those that are done
//! with become spares or go.
//!
//! | job | step | then, if it went well |
//! |---|---|---|
//! | prepare of a spare | `SyncFolder`: it is no segment for ever | Open |
//! | prepare | `Open` the spare, or a new one | Zero if new, else Header |
//! | prepare | Zero: `Write` zeros, part by part | Zero until the file is as long as it is to be, then Header |
//! | prepare | Header: `Write` | Sync |
//! | prepare | `Sync` | Rename |
//! | prepare | `Rename` to the segment's name | Publish |
//! | prepare | Publish: `SyncFolder` | prepared |
//! | prepare that failed in any step | `Remove` the segment's name, then the spare's | - |
//! | recycle | `Rename` to a spare's name | a spare |
//! | recycle that failed, remove | `Remove` | - |
//! | close | `Close` | - |
//!
//! A segment is prepared when its header, its length and its name are on the disk: a batch that is synced there is there
//! whatever happens. A prepare that failed is tried again a second later, under the next number and not in the same file.
//! A job that does away with something counts for nothing, so that nobody cares whether it went well.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::Buffer;
use super::operation::{FileName, Operation};
use super::segment::{BLOCK_BYTES, Header};

/// Between two attempts at what failed.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Files that wait for being used again; more are not kept. As many as a settler gives back at once.
const SPARES_MAX: usize = 8;

/// Zeros that are written at once: enough for a disk to be fast, and little beside a commit that has to wait for it.
const ZERO_BYTES: u64 = 256 * 1024;

/// A segment to write to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prepared {
    pub(super) header: Header,
    /// Of the file.
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Upkeep<B> {
    /// But for the sequence.
    header: Header,
    segment_bytes: u64,
    next_sequence: u64,
    spares: Vec<FileName>,
    /// A segment of so many bytes is wanted.
    wanted: Option<u64>,
    prepared: Option<Prepared>,
    jobs: VecDeque<Job>,
    running: Option<Running<B>>,
    /// Why the last prepare failed, and when there will be another.
    failed: Option<(String, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Job {
    Close(FileName),
    Recycle(u64),
    Remove(FileName),
}

#[derive(Debug)]
enum Running<B> {
    Job(Job),
    Prepare(Prepare<B>),
}

#[derive(Debug)]
struct Prepare<B> {
    file: FileName,
    segment: Prepared,
    step: Step,
    zeros: Option<Arc<B>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Settle,
    Open { is_new: bool },
    Zero { from: u64 },
    Header,
    Sync,
    Rename,
    Publish,
}

impl<B: Buffer> Upkeep<B> {
    /// `found` is what is in the folder, with the length of each.
    pub(super) fn new(header: Header, segment_bytes: u64, found: &[(FileName, u64)]) -> Self {
        let last = found.iter().map(|(name, _)| name.sequence()).max().unwrap_or(0);
        let mut upkeep = Self {
            header,
            segment_bytes,
            next_sequence: last + 1,
            spares: Vec::new(),
            wanted: None,
            prepared: None,
            jobs: VecDeque::new(),
            running: None,
            failed: None,
        };
        for &(name, bytes) in found {
            match name {
                FileName::Spare(_) if bytes == segment_bytes => upkeep.keep(name),
                FileName::Spare(_) => upkeep.jobs.push_back(Job::Remove(name)),
                FileName::Segment(_) => {}
            }
        }
        upkeep
    }

    fn keep(&mut self, spare: FileName) {
        match self.spares.len() < SPARES_MAX {
            true => self.spares.push(spare),
            false => self.jobs.push_back(Job::Remove(spare)),
        }
    }

    /// A segment with room for so many bytes behind its header will be needed.
    pub(super) fn want(&mut self, bytes: usize) {
        let bytes = self.file_bytes(bytes);
        if self.prepared.is_none_or(|prepared| prepared.bytes < bytes) {
            self.wanted = Some(self.wanted.unwrap_or(0).max(bytes));
        }
    }

    fn file_bytes(&self, bytes: usize) -> u64 {
        self.segment_bytes.max((BLOCK_BYTES + bytes) as u64)
    }

    /// The segment that was prepared, if it has room for so many bytes; else one will be.
    pub(super) fn take(&mut self, bytes: usize) -> Option<Prepared> {
        self.want(bytes);
        if self.prepared.is_some_and(|prepared| prepared.bytes >= self.file_bytes(bytes)) {
            return self.prepared.take();
        }
        None
    }

    /// Nobody writes to the segment any more.
    pub(super) fn close(&mut self, sequence: u64) {
        self.jobs.push_back(Job::Close(FileName::Segment(sequence)));
    }

    /// Nobody needs what is in the segment. It was closed.
    pub(super) fn retire(&mut self, sequence: u64, may_recycle: bool) {
        self.jobs.push_back(match may_recycle && self.spares.len() < SPARES_MAX {
            true => Job::Recycle(sequence),
            false => Job::Remove(FileName::Segment(sequence)),
        });
    }

    /// Why there is no segment, where one is wanted.
    pub(super) fn failure(&self) -> Option<&str> {
        self.wanted.and(self.failed.as_ref()).map(|(what, _)| what.as_str())
    }

    pub(super) const fn has_prepared(&self) -> bool {
        self.prepared.is_some()
    }

    /// When there is something to do by time.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.running.is_some() || self.wanted.is_none() {
            return None;
        }
        self.failed.as_ref().map(|(_, again)| *again)
    }

    /// The step to take now; [`Self::done`] comes before the next. Nothing is prepared for who is closing.
    pub(super) fn next(&mut self, now: Instant, may_prepare: bool) -> Option<Operation<B>> {
        if self.running.is_none() {
            self.running = self.begin(now, may_prepare);
        }
        self.running.as_mut().map(Running::operation)
    }

    fn begin(&mut self, now: Instant, may_prepare: bool) -> Option<Running<B>> {
        let may_try = self.failed.as_ref().is_none_or(|(_, again)| *again <= now);
        match self.wanted {
            Some(bytes) if may_prepare && may_try => Some(Running::Prepare(self.prepare(bytes))),
            _ => self.jobs.pop_front().map(Running::Job),
        }
    }

    fn prepare(&mut self, bytes: u64) -> Prepare<B> {
        if let Some(smaller) = self.prepared.take() {
            self.close(smaller.header.sequence);
            self.retire(smaller.header.sequence, smaller.bytes == self.segment_bytes);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let segment = Prepared { header: Header { sequence, ..self.header }, bytes };
        let spare = if bytes == self.segment_bytes { self.spares.pop() } else { None };
        let (file, step) = match spare {
            Some(spare) => (spare, Step::Settle),
            None => (FileName::Spare(sequence), Step::Open { is_new: true }),
        };
        Prepare { file, segment, step, zeros: None }
    }

    /// How the step went.
    pub(super) fn done(&mut self, now: Instant, result: Result<(), String>) {
        match self.running.take() {
            Some(Running::Job(job)) => self.job_done(job, result.is_ok()),
            Some(Running::Prepare(prepare)) => self.prepare_done(now, prepare, result),
            None => debug_assert!(false, "nothing was begun"),
        }
    }

    fn job_done(&mut self, job: Job, is_ok: bool) {
        match job {
            Job::Recycle(sequence) if is_ok => self.keep(FileName::Spare(sequence)),
            // Under which of the two names it is now, is not certain.
            Job::Recycle(sequence) => {
                self.jobs.extend([FileName::Spare(sequence), FileName::Segment(sequence)].map(Job::Remove));
            }
            Job::Close(_) | Job::Remove(_) => {}
        }
    }

    fn prepare_done(&mut self, now: Instant, mut prepare: Prepare<B>, result: Result<(), String>) {
        if let Err(what) = result {
            self.failed = Some((what, now + RETRY));
            let segment = FileName::Segment(prepare.segment.header.sequence);
            self.jobs.extend([segment, prepare.file].map(Job::Remove));
            return;
        }
        match prepare.step.next(prepare.segment.bytes) {
            Some(step) => {
                prepare.step = step;
                self.running = Some(Running::Prepare(prepare));
            }
            None => {
                self.failed = None;
                self.prepared = Some(prepare.segment);
                self.wanted = self.wanted.filter(|wanted| *wanted > prepare.segment.bytes);
            }
        }
    }
}

impl Step {
    /// What follows it in a file that is to have so many bytes.
    fn next(self, bytes: u64) -> Option<Self> {
        match self {
            Self::Settle => Some(Self::Open { is_new: false }),
            Self::Open { is_new: true } => Some(Self::Zero { from: 0 }),
            Self::Open { is_new: false } => Some(Self::Header),
            Self::Zero { from } if from + ZERO_BYTES < bytes => Some(Self::Zero { from: from + ZERO_BYTES }),
            Self::Zero { .. } => Some(Self::Header),
            Self::Header => Some(Self::Sync),
            Self::Sync => Some(Self::Rename),
            Self::Rename => Some(Self::Publish),
            Self::Publish => None,
        }
    }
}

impl<B: Buffer> Running<B> {
    fn operation(&mut self) -> Operation<B> {
        match self {
            Self::Job(Job::Close(file)) => Operation::Close(*file),
            Self::Job(Job::Remove(file)) => Operation::Remove(*file),
            Self::Job(Job::Recycle(sequence)) => {
                Operation::Rename { from: FileName::Segment(*sequence), to: FileName::Spare(*sequence) }
            }
            Self::Prepare(prepare) => prepare.operation(),
        }
    }
}

impl<B: Buffer> Prepare<B> {
    fn operation(&mut self) -> Operation<B> {
        let file = self.file;
        match self.step {
            Step::Settle | Step::Publish => Operation::SyncFolder,
            Step::Open { .. } => Operation::Open(file),
            Step::Zero { from } => {
                Operation::Write { file, offset: from, buffer: self.zeros(self.segment.bytes - from) }
            }
            Step::Header => {
                let buffer = Arc::new(filled(BLOCK_BYTES, |bytes| {
                    bytes.copy_from_slice(&self.segment.header.to_block());
                }));
                Operation::Write { file, offset: 0, buffer }
            }
            Step::Sync => Operation::Sync(file),
            Step::Rename => Operation::Rename { from: file, to: FileName::Segment(self.segment.header.sequence) },
        }
    }

    /// So many, or as many as are written at once.
    fn zeros(&mut self, bytes: u64) -> Arc<B> {
        if bytes < ZERO_BYTES {
            return Arc::new(filled(bytes as usize, |bytes| bytes.fill(0)));
        }
        Arc::clone(self.zeros.get_or_insert_with(|| Arc::new(filled(ZERO_BYTES as usize, |bytes| bytes.fill(0)))))
    }
}

fn filled<B: Buffer>(bytes: usize, fill: impl FnOnce(&mut [u8])) -> B {
    let mut buffer = B::allocate(bytes);
    fill(buffer.bytes_mut());
    buffer
}
