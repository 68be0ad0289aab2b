//! The data directory: the logs' folders on disks that are made up, the settled store in a real file, as the engine below
//! it answers for that one. A start has the surviving segments written beside it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thrum::base::ShardId;
use thrum::storage::{Ended, FileName, FullSegment, Identity, Opened, Store};

use crate::broker::Broker;
use crate::disk::Folder;
use crate::rng::Rng;

pub const SHARDS_MAX: usize = 3;

const SETTLED: &str = "settled.redb";

#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
    identity: Identity,
    pub folders: Vec<Folder>,
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(!seed);
        let identity = Identity { store_id: rng.next(), seed: rng.next() };
        // In memory, where there is such a place: what is synced there is no matter here.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("thrum-power-").tempdir_in(place).expect("a directory");
        Self { directory, identity, folders: vec![Folder::default(); SHARDS_MAX] }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn folder(&self, shard: usize) -> PathBuf {
        self.store().join(format!("shard-{shard:02}"))
    }

    fn settled_file(&self) -> PathBuf {
        self.store().join(SETTLED)
    }

    fn copy(&self) -> PathBuf {
        self.directory.path().join("copy")
    }

    pub fn lose_power(&mut self, rng: &mut Rng) {
        self.folders.iter_mut().for_each(|folder| folder.lose_power(rng));
    }

    fn put_segments(&self) -> Result<(), String> {
        let put = || -> std::io::Result<()> {
            for (shard, folder) in self.folders.iter().enumerate() {
                let path = self.folder(shard);
                if path.is_dir() {
                    fs::remove_dir_all(&path)?;
                }
                for (name, bytes) in folder.segments() {
                    fs::create_dir_all(&path)?;
                    fs::write(path.join(name.to_string()), bytes)?;
                }
            }
            Ok(())
        };
        put().map_err(|error| format!("cannot put segments into {}: {error}", self.store().display()))
    }

    /// What has ended is in the settled store when this returns.
    pub fn settle(&self, broker: &Broker, segments: &[(usize, Ended)]) -> Result<(), String> {
        let mut full = Vec::new();
        for &(shard, Ended { sequence, last_number }) in segments {
            let name = FileName::Segment(sequence);
            let path = self.folder(shard).join(name.to_string());
            let bytes = self.folders[shard].read(name).ok_or(format!("{name} of shard {shard} is not there"))?;
            fs::create_dir_all(self.folder(shard)).map_err(|error| error.to_string())?;
            fs::write(&path, bytes).map_err(|error| error.to_string())?;
            full.push(FullSegment { path, shard: ShardId::new(shard), sequence, last_number });
        }
        let store = broker.store.as_ref().ok_or("there is no store")?;
        match store.settle(&full).map_err(|error| error.to_string())?.orphans {
            0 => Ok(()),
            orphans => Err(format!("{orphans} orphans in {segments:?}")),
        }
    }

    /// The process is gone. `is_whole`: as its last commit left the file, and not as an orderly end would.
    pub fn close(&self, store: Option<Store>, is_whole: bool) -> Result<(), String> {
        let is_kept = is_whole && store.is_some();
        if is_kept {
            self.save()?;
        }
        drop(store);
        if is_kept { self.bring_back() } else { Ok(()) }
    }

    fn save(&self) -> Result<(), String> {
        fs::copy(self.settled_file(), self.copy()).map(drop).map_err(|error| format!("cannot save: {error}"))
    }

    fn bring_back(&self) -> Result<(), String> {
        fs::rename(self.copy(), self.settled_file()).map_err(|error| format!("cannot bring back: {error}"))
    }

    /// A start that ends somewhere in its midst.
    pub fn begin_start(&mut self, shards: usize, rng: &mut Rng) -> Result<(), String> {
        self.put_segments()?;
        let (last, mut calls, mut saved) = (rng.below(5), 0, Ok(()));
        let is_new = !self.settled_file().exists();
        let opened = {
            let (file, copy) = (self.settled_file(), self.copy());
            let save = || fs::copy(&file, &copy).map(drop);
            if !is_new {
                saved = save();
            }
            Store::open_as(&self.store(), shards, self.identity, &mut |_| {
                calls += 1;
                if calls <= last {
                    saved = save();
                }
            })
        };
        saved.map_err(|error| format!("cannot save: {error}"))?;
        let opened = opened.map_err(|error| error.to_string())?;
        if is_new || rng.percent(40) {
            // It had come to removing what it had settled.
            self.save()?;
            let but = rng.below(4);
            for (shard, folder) in self.folders.iter_mut().enumerate() {
                folder.remove(shard >= shards, but);
            }
        }
        drop(opened);
        self.bring_back()
    }

    pub fn start(&mut self, shards: usize) -> Result<Opened, String> {
        self.put_segments()?;
        let opened = Store::open_as(&self.store(), shards, self.identity, &mut |_| {});
        let opened = opened.map_err(|error| format!("it does not start: {error}"))?;
        for (shard, folder) in self.folders.iter_mut().enumerate() {
            folder.remove(shard >= shards, 0);
        }
        match opened.report.orphans {
            0 => Ok(opened),
            orphans => Err(format!("{orphans} orphans at a start")),
        }
    }
}
