//! The data directory: who may read it, who has it, and where in it what lies.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::StoreError;
use super::operation::FileName;
use crate::base::ShardId;
use crate::base::limits::SHARDS_MAX;

/// A data directory that this process has, as long as this lives.
#[derive(Debug)]
pub struct StoreDirectory {
    path: PathBuf,
    /// Held, not read: who has it open has the lock.
    _lock: File,
}

impl StoreDirectory {
    /// Makes the directory where there is none, and locks it.
    pub fn lock(path: &Path) -> Result<Self, StoreError> {
        create_folder(path)?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&lock_path)
            .map_err(StoreError::io("open the lock file", &lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { directory: path.to_owned(), pid: read_pid(&mut lock) });
            }
            Err(error) => return Err(StoreError::io("lock it", &lock_path)(error.into())),
        }
        write_pid(&mut lock).map_err(StoreError::io("write the lock file", &lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Locks a directory that must be there: to look into it makes none.
    pub fn lock_existing(path: &Path) -> Result<Self, StoreError> {
        let settled = path.join(SETTLED_FILE);
        fs::metadata(&settled).map_err(StoreError::io("find a store there", &settled))?;
        Self::lock(path)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn settled_file(&self) -> PathBuf {
        self.path.join(SETTLED_FILE)
    }

    pub fn shard_folder(&self, shard: ShardId) -> PathBuf {
        self.path.join(format!("shard-{:02}", shard.index()))
    }

    /// The shards that have a folder, in order.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        (0..SHARDS_MAX).map(ShardId::new).filter(|&shard| self.shard_folder(shard).is_dir()).collect()
    }

    /// A shard's segments with their sequences, in their order.
    pub(super) fn segments(&self, shard: ShardId) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let mut segments = Vec::new();
        for path in files_of(&self.shard_folder(shard))? {
            if let Some(sequence) = sequence_of(&path) {
                segments.push((sequence, path));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }
}

const SETTLED_FILE: &str = "settled.redb";
const FOLDER_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;

fn sequence_of(path: &Path) -> Option<u64> {
    match FileName::parse(path.file_name()?.to_str()?)? {
        FileName::Segment(sequence) => Some(sequence),
        FileName::Spare(_) => None,
    }
}

/// None where the folder is not there.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read the folder", folder)(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(StoreError::io("read the folder", folder))
}

/// For its owner alone, with the folders above it as they come.
pub(super) fn create_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(StoreError::io("create the directory", path))
}

/// What was created in a folder, or removed from it, survives a power loss from here on.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(StoreError::io("sync the folder", path))
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_one_is_told_who_has_it_and_the_directory_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/store");
        let first = StoreDirectory::lock(&path).unwrap();
        let second = StoreDirectory::lock(&path).unwrap_err();
        let StoreError::Locked { directory, pid } = second else { panic!("{second}") };
        assert_eq!((directory, pid), (path.clone(), Some(std::process::id())));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("lock"))), (0o700, 0o600));
        drop(first);
        StoreDirectory::lock(&path).unwrap();
    }
}
