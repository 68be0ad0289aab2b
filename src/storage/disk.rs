//! The folder of a shard's log, on the machine's disk: each [`Operation`] as system calls that wait. Direct I/O where the
//! file system has it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use super::batch::Buffer;
use super::operation::{FileName, Operation};
use super::segment::BLOCK_BYTES;

/// Memory that begins at a multiple of a block, as direct I/O wants it.
#[derive(Debug)]
pub(super) struct Aligned {
    memory: Vec<u8>,
    from: usize,
    bytes: usize,
}

impl Buffer for Aligned {
    fn allocate(bytes: usize) -> Self {
        let memory = vec![0; bytes + BLOCK_BYTES];
        let from = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, from, bytes }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.bytes]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.from + self.bytes]
    }

    fn truncate(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
    }
}

/// Shared by who commits and who prepares what is committed to.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    /// Few: the segment that is written to, the next one, and what is about to be closed.
    open: Mutex<Vec<(FileName, Arc<File>)>>,
}

impl Disk {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: Mutex::default() }
    }

    pub(super) fn path(&self, name: FileName) -> PathBuf {
        self.folder.join(name.to_string())
    }

    /// An error says what could not be done to which file, why, and what to do about it.
    pub(super) fn run(&self, operation: &Operation<Aligned>) -> Result<(), String> {
        self.do_it(operation).map_err(|error| {
            let (what, path) = match operation {
                Operation::Open(file) => ("open", self.path(*file)),
                Operation::Write { file, .. } => ("write to", self.path(*file)),
                Operation::Sync(file) => ("sync", self.path(*file)),
                Operation::Rename { from, .. } => ("rename", self.path(*from)),
                Operation::SyncFolder => ("sync", self.folder.clone()),
                Operation::Close(file) => ("close", self.path(*file)),
                Operation::Remove(file) => ("remove", self.path(*file)),
            };
            let advice = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its file system",
                io::ErrorKind::PermissionDenied => "let the broker write there",
                _ => "look to the disk and the system's log",
            };
            format!("cannot {what} {}: {error}; {advice}", path.display())
        })
    }

    fn do_it(&self, operation: &Operation<Aligned>) -> io::Result<()> {
        match operation {
            Operation::Open(name) => self.open(*name),
            Operation::Write { file, offset, buffer } => self.file(*file)?.write_all_at(buffer.bytes(), *offset),
            Operation::Sync(name) => self.file(*name)?.sync_data(),
            Operation::Rename { from, to } => {
                fs::rename(self.path(*from), self.path(*to))?;
                if let Some((name, _)) = self.files().iter_mut().find(|(name, _)| name == from) {
                    *name = *to;
                }
                Ok(())
            }
            // All of it: fdatasync, on ext4, leaves out names in a folder that did not grow.
            Operation::SyncFolder => File::open(&self.folder)?.sync_all(),
            Operation::Close(name) => {
                self.close(*name);
                Ok(())
            }
            Operation::Remove(name) => {
                self.close(*name);
                match fs::remove_file(self.path(*name)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    result => result,
                }
            }
        }
    }

    fn open(&self, name: FileName) -> io::Result<()> {
        let with = |flags: OFlags| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags.bits() as i32);
            options.open(self.path(name))
        };
        let file = match with(OFlags::DIRECT) {
            // There are file systems that have none.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => with(OFlags::empty())?,
            opened => opened?,
        };
        self.files().push((name, Arc::new(file)));
        Ok(())
    }

    fn file(&self, name: FileName) -> io::Result<Arc<File>> {
        let found = self.files().iter().find(|(of, _)| *of == name).map(|(_, file)| Arc::clone(file));
        found.ok_or_else(|| io::Error::other("it is not open"))
    }

    fn close(&self, name: FileName) {
        self.files().retain(|(of, _)| *of != name);
    }

    fn files(&self) -> MutexGuard<'_, Vec<(FileName, Arc<File>)>> {
        // Whoever panicked had only looked something up.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
