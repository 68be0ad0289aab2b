//! The folder of a shard's log, on a disk: each [`Operation`] by way of glommio. Direct I/O where the file system has it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};

use super::batch::Buffer;
use super::operation::{FileName, Operation};

impl Buffer for DmaBuffer {
    fn allocate(bytes: usize) -> Self {
        // Not of the memory that glommio has registered with the kernel: of that it has little, and a batch keeps it long.
        glommio::allocate_dma_buffer_global(bytes)
    }

    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_bytes_mut()
    }

    fn truncate(&mut self, bytes: usize) {
        self.trim_to_size(bytes);
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    /// Few: the segment that is written to, the next one, and what is about to be closed.
    open: RefCell<Vec<(FileName, Rc<DmaFile>)>>,
}

impl Disk {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: RefCell::default() }
    }

    pub(super) fn path(&self, name: FileName) -> PathBuf {
        self.folder.join(name.to_string())
    }

    /// An error says what could not be done to which file, why, and what to do about it.
    pub(super) async fn run(&self, operation: Operation<DmaBuffer>) -> Result<(), String> {
        let (what, path) = match &operation {
            Operation::Open(file) => ("open", self.path(*file)),
            Operation::Write { file, .. } => ("write to", self.path(*file)),
            Operation::Sync(file) => ("sync", self.path(*file)),
            Operation::Rename { from, .. } => ("rename", self.path(*from)),
            Operation::SyncFolder => ("sync", self.folder.clone()),
            Operation::Close(file) => ("close", self.path(*file)),
            Operation::Remove(file) => ("remove", self.path(*file)),
        };
        self.do_it(operation).await.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its file system",
                io::ErrorKind::PermissionDenied => "let the broker write there",
                _ => "look to the disk and the system's log",
            };
            format!("cannot {what} {}: {error}; {advice}", path.display())
        })
    }

    async fn do_it(&self, operation: Operation<DmaBuffer>) -> io::Result<()> {
        match operation {
            Operation::Open(name) => self.open(name).await,
            Operation::Write { file, offset, buffer } => {
                let bytes = buffer.len();
                match self.file(file)?.write_rc_at(buffer, offset).await.map_err(plain)? {
                    written if written == bytes => Ok(()),
                    // The kernel tells why only who tries to write on.
                    written => Err(io::Error::new(
                        io::ErrorKind::StorageFull,
                        format!("{written} of {bytes} bytes were written, the file system may be full"),
                    )),
                }
            }
            Operation::Sync(name) => self.file(name)?.fdatasync().await.map_err(plain),
            Operation::Rename { from, to } => {
                glommio::io::rename(self.path(from), self.path(to)).await.map_err(plain)?;
                if let Some((name, _)) = self.open.borrow_mut().iter_mut().find(|(name, _)| *name == from) {
                    *name = to;
                }
                Ok(())
            }
            Operation::SyncFolder => self.sync_folder().await,
            Operation::Close(name) => self.close(name).await,
            Operation::Remove(name) => {
                // What it said to closing is no matter now.
                let _ = self.close(name).await;
                match glommio::io::remove(self.path(name)).await.map_err(plain) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    result => result,
                }
            }
        }
    }

    async fn open(&self, name: FileName) -> io::Result<()> {
        // Readable too: glommio finds out by reading how the device is to be waited for.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let file = options.dma_open(self.path(name)).await.map_err(plain)?;
        self.open.borrow_mut().push((name, Rc::new(file)));
        Ok(())
    }

    fn file(&self, name: FileName) -> io::Result<Rc<DmaFile>> {
        let open = self.open.borrow();
        let found = open.iter().find(|(of, _)| *of == name).map(|(_, file)| Rc::clone(file));
        found.ok_or_else(|| io::Error::other("it is not open"))
    }

    async fn close(&self, name: FileName) -> io::Result<()> {
        let file = {
            let mut open = self.open.borrow_mut();
            let at = open.iter().position(|(of, _)| *of == name);
            at.map(|at| open.swap_remove(at).1)
        };
        match file {
            Some(file) => file.close_rc().await.map(drop).map_err(plain),
            None => Ok(()),
        }
    }

    pub(super) async fn close_all(&self) {
        let names: Vec<FileName> = self.open.borrow().iter().map(|(name, _)| *name).collect();
        for name in names {
            // What counts was synced before.
            let _ = self.close(name).await;
        }
    }

    /// All of it, on a thread of glommio's pool: glommio's own way is fdatasync, which on ext4 leaves out names in a
    /// folder that did not grow.
    async fn sync_folder(&self) -> io::Result<()> {
        let folder = self.folder.clone();
        glommio::executor().spawn_blocking(move || File::open(folder)?.sync_all()).await
    }
}

/// Why, without where: [`Disk::run`] says that better.
fn plain(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } => source,
        error => error.into(),
    }
}
