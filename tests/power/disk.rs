//! The folder of a shard's log on a disk that does what disks may do: of what was not synced it keeps, loses or tears what
//! it likes when the power fails, and what fails has happened in part.

use std::collections::BTreeMap;
use std::sync::Arc;

use thrum::storage::{FileName, Operation};

use crate::rng::Rng;

const SECTOR: usize = 512;

#[derive(Clone, Default, Debug)]
struct File {
    /// What is there after a power failure, for certain.
    durable: Vec<u8>,
    /// What who reads it finds now.
    current: Vec<u8>,
    /// Not synced: of each any sector may be on the disk, or not.
    pending: Vec<(usize, Arc<Vec<u8>>)>,
}

impl File {
    fn write(&mut self, offset: usize, bytes: &Arc<Vec<u8>>) {
        put(&mut self.current, offset, bytes);
        self.pending.push((offset, Arc::clone(bytes)));
    }

    fn write_some(&mut self, offset: usize, bytes: &[u8], rng: &mut Rng) {
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            if rng.percent(50) {
                self.write(offset + index * SECTOR, &Arc::new(sector.to_vec()));
            }
        }
    }

    fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.current);
    }

    /// What is not kept now never will be.
    fn keep(&mut self, mut is_kept: impl FnMut() -> bool) {
        for (offset, bytes) in self.pending.drain(..) {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if is_kept() {
                    put(&mut self.durable, offset + index * SECTOR, sector);
                }
            }
        }
    }

    /// All of it, none of it, or something in between.
    fn lose_power(&mut self, rng: &mut Rng) {
        let chance = rng.pick(&[0, 0, 20, 50, 80, 100]);
        self.keep(|| rng.percent(chance));
        self.current.clone_from(&self.durable);
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

#[derive(Clone, Copy, Debug)]
enum Naming {
    Make(FileName, usize),
    Rename(FileName, FileName),
    Remove(FileName),
}

#[derive(Clone, Default, Debug)]
pub struct Folder {
    files: Vec<File>,
    /// For certain, and as they are to be; between them in this order.
    durable: BTreeMap<FileName, usize>,
    current: BTreeMap<FileName, usize>,
    pending: Vec<Naming>,
}

fn apply(names: &mut BTreeMap<FileName, usize>, naming: Naming) {
    match naming {
        Naming::Make(name, file) => drop(names.insert(name, file)),
        Naming::Remove(name) => drop(names.remove(&name)),
        Naming::Rename(from, to) => {
            if let Some(file) = names.remove(&from) {
                names.insert(to, file);
            }
        }
    }
}

impl Folder {
    fn name(&mut self, naming: Naming) {
        apply(&mut self.current, naming);
        self.pending.push(naming);
    }

    fn file(&mut self, name: FileName) -> Option<&mut File> {
        let file = *self.current.get(&name)?;
        self.files.get_mut(file)
    }

    /// Does it, or does some of it and says that it failed.
    pub fn run(&mut self, operation: &Operation<Vec<u8>>, rng: &mut Rng, fails: bool) -> Result<(), String> {
        if fails {
            self.run_in_part(operation, rng);
            return Err(format!("the disk failed in {}", told(operation)));
        }
        match operation {
            Operation::Open(name) if self.current.contains_key(name) => {}
            Operation::Open(name) => {
                self.files.push(File::default());
                self.name(Naming::Make(*name, self.files.len() - 1));
            }
            Operation::Write { file, offset, buffer } => match self.file(*file) {
                Some(file) => file.write(*offset as usize, buffer),
                None => return Err(format!("{file} is not there")),
            },
            Operation::Sync(file) => match self.file(*file) {
                Some(file) => file.sync(),
                None => return Err(format!("{file} is not there")),
            },
            Operation::Rename { from, to } => self.name(Naming::Rename(*from, *to)),
            Operation::Remove(name) => self.name(Naming::Remove(*name)),
            Operation::SyncFolder => self.sync_names(0),
            Operation::Close(_) => {}
        }
        Ok(())
    }

    /// Any part of it happens: what is left of it by a failure, or by an end in its midst.
    pub fn run_in_part(&mut self, operation: &Operation<Vec<u8>>, rng: &mut Rng) {
        match operation {
            Operation::Write { file, offset, buffer } => {
                if let Some(file) = self.file(*file) {
                    file.write_some(*offset as usize, buffer, rng);
                }
            }
            Operation::Sync(file) => {
                let (chance, is_forgotten) = (rng.below(101), rng.percent(50));
                if let Some(file) = self.file(*file) {
                    file.keep(|| rng.percent(chance));
                    if is_forgotten {
                        file.current.clone_from(&file.durable);
                    }
                }
            }
            Operation::SyncFolder => self.sync_names(rng.below(4)),
            other if rng.percent(50) => _ = self.run(other, rng, false),
            _ => {}
        }
    }

    /// The process is gone in the midst of it, and the disk goes on.
    pub fn interrupt(&mut self, operation: &Operation<Vec<u8>>, rng: &mut Rng) {
        match operation {
            Operation::Sync(file) => {
                if let Some(file) = self.file(*file).filter(|_| rng.percent(50)) {
                    file.sync();
                }
            }
            other => self.run_in_part(other, rng),
        }
    }

    /// But the last so many.
    fn sync_names(&mut self, but: usize) {
        let synced = self.pending.len().saturating_sub(but);
        for naming in self.pending.drain(..synced) {
            apply(&mut self.durable, naming);
        }
    }

    pub fn lose_power(&mut self, rng: &mut Rng) {
        let lost = rng.below(self.pending.len() + 1);
        self.sync_names(lost);
        self.pending.clear();
        self.current.clone_from(&self.durable);
        self.files.iter_mut().for_each(|file| file.lose_power(rng));
    }

    /// What is found in it, with the length of each.
    pub fn found(&self) -> Vec<(FileName, u64)> {
        self.current.iter().map(|(&name, &file)| (name, self.files[file].current.len() as u64)).collect()
    }

    pub fn segments(&self) -> impl Iterator<Item = (FileName, &[u8])> {
        let segments = self.current.iter().filter(|(name, _)| matches!(name, FileName::Segment(_)));
        segments.map(|(&name, &file)| (name, self.files[file].current.as_slice()))
    }

    pub fn read(&self, name: FileName) -> Option<&[u8]> {
        self.current.get(&name).map(|&file| self.files[file].current.as_slice())
    }

    /// As a start removes what it has settled, without a sync; `but`: it comes to its end before the last so many.
    pub fn remove(&mut self, with_spares: bool, but: usize) {
        let names: Vec<FileName> = self.current.keys().copied().collect();
        let mut gone: Vec<_> =
            names.into_iter().filter(|name| with_spares || matches!(name, FileName::Segment(_))).collect();
        gone.truncate(gone.len().saturating_sub(but));
        gone.into_iter().for_each(|name| self.name(Naming::Remove(name)));
    }
}

pub fn told(operation: &Operation<Vec<u8>>) -> String {
    match operation {
        Operation::Write { file, offset, buffer } => format!("write of {} bytes at {offset} of {file}", buffer.len()),
        Operation::Open(file) => format!("open of {file}"),
        Operation::Sync(file) => format!("sync of {file}"),
        Operation::Rename { from, to } => format!("rename of {from} to {to}"),
        Operation::SyncFolder => "sync of the folder".to_owned(),
        Operation::Close(file) => format!("close of {file}"),
        Operation::Remove(file) => format!("remove of {file}"),
    }
}
