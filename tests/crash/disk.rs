//! Disks for a store that fail when a test wants them to, and are well again when it says so.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::broker::Broker;
use crate::folder::Folder;

pub(crate) trait Disk {
    /// For the store.
    fn folder(&self) -> PathBuf;
    fn fail(&self, broker: &Broker);
    fn mend(&self, broker: &Broker);
    /// What a shell has to do before it becomes the broker.
    fn before(&self) -> &'static str {
        ""
    }
}

/// A filesystem that is gone when the test is over.
#[derive(Debug)]
pub(crate) struct Mounted(Folder);

impl Mounted {
    pub(crate) fn new(kind: &str, options: &str) -> rustix::io::Result<Self> {
        let folder = Folder::new();
        let options = std::ffi::CString::new(options).expect("options without a zero");
        mount(kind, folder.path(), kind, MountFlags::empty(), options.as_c_str())?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also while somebody still has a file open there.
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// A disk that somebody else fills.
#[derive(Debug)]
pub(crate) struct SmallDisk(Mounted);

impl SmallDisk {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Mounted::new("tmpfs", "size=32m,mode=0700").map(Self)
    }

    fn filling(&self) -> PathBuf {
        self.0.path().join("filling")
    }
}

impl Disk for SmallDisk {
    fn folder(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn fail(&self, _: &Broker) {
        let mut file = File::create(self.filling()).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn mend(&self, _: &Broker) {
        fs::remove_file(self.filling()).expect("the file is there");
    }
}

/// Where nothing may be mounted: files must not grow.
#[derive(Debug)]
pub(crate) struct SmallFiles(Folder);

impl SmallFiles {
    pub(crate) fn new() -> Self {
        Self(Folder::new())
    }

    fn limit(broker: &Broker, bytes: &str) {
        let (pid, limit) = (broker.pid().to_string(), format!("--fsize={bytes}:unlimited"));
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit runs");
        assert!(status.success(), "prlimit {limit}");
    }
}

impl Disk for SmallFiles {
    fn folder(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn fail(&self, broker: &Broker) {
        Self::limit(broker, "1");
    }

    fn mend(&self, broker: &Broker) {
        Self::limit(broker, "unlimited");
    }

    /// The signal would end it, where a full disk would not.
    fn before(&self) -> &'static str {
        "trap '' XFSZ"
    }
}
