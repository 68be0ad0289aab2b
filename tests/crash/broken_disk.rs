//! A filesystem in the memory of the test, mounted by FUSE, whose writes or syncs fail on demand: io_uring reaches it as it
//! does any other, where a preloaded library could not come between. A sync that fails loses what it should have made
//! durable, as that of a real disk may.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::io::Errno;

use crate::broker::Broker;
use crate::disk::{Disk, Mounted};

/// What the kernel sends and is sent at once at most, beside a header.
const WRITE_BYTES_MAX: usize = 128 << 10;
const REQUEST_BYTES_MAX: usize = WRITE_BYTES_MAX + 4096;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// Of the protocol: <linux/fuse.h>.
mod opcode {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const MKNOD: u32 = 8;
    pub(super) const MKDIR: u32 = 9;
    pub(super) const UNLINK: u32 = 10;
    pub(super) const RMDIR: u32 = 11;
    pub(super) const RENAME: u32 = 12;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const STATFS: u32 = 17;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const OPENDIR: u32 = 27;
    pub(super) const READDIR: u32 = 28;
    pub(super) const RELEASEDIR: u32 = 29;
    pub(super) const FSYNCDIR: u32 = 30;
    pub(super) const CREATE: u32 = 35;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
    pub(super) const FALLOCATE: u32 = 43;
    pub(super) const RENAME2: u32 = 45;
}

/// The version of the protocol that is spoken here.
const PROTOCOL: [u32; 2] = [7, 31];
/// Reads and writes of O_DIRECT need not wait for each other; writes may be larger than a page, and than 32.
const INIT_FLAGS: u32 = 1 << 15 | 1 << 5 | 1 << 22;
/// Bits of SETATTR.
const SETS_MODE: u32 = 1;
const SETS_SIZE: u32 = 8;

/// What fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Write,
    Sync,
}

#[derive(Debug)]
pub(crate) struct BrokenDisk {
    mounted: Mounted,
    is_failing: Arc<AtomicBool>,
}

impl BrokenDisk {
    /// A disk that is well, and will not be in this way.
    pub(crate) fn new(fault: Fault) -> std::io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let mounted = Mounted::new("fuse", &options)?;
        let is_failing = Arc::new(AtomicBool::new(false));
        let mut files = Files::new(fault, Arc::clone(&is_failing));
        // Ends when it is not mounted any more.
        thread::spawn(move || files.serve(device));
        Ok(Self { mounted, is_failing })
    }
}

impl Disk for BrokenDisk {
    fn folder(&self) -> PathBuf {
        self.mounted.path().join("store")
    }

    fn fail(&self, _: &Broker) {
        self.is_failing.store(true, Ordering::Relaxed);
    }

    fn mend(&self, _: &Broker) {
        self.is_failing.store(false, Ordering::Relaxed);
    }
}

#[derive(Default, Debug)]
struct Node {
    mode: u32,
    data: Vec<u8>,
    /// Of a directory.
    entries: BTreeMap<Vec<u8>, u64>,
    /// What was in the places that were written since the last sync, in the order of the writes.
    unsynced: Vec<(usize, Vec<u8>)>,
}

struct Files {
    fault: Fault,
    is_failing: Arc<AtomicBool>,
    /// None is ever forgotten: the kernel may still know it.
    nodes: Vec<Node>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("fault", &self.fault).finish_non_exhaustive()
    }
}

type Reply = Result<Vec<u8>, Errno>;

/// The fields of a request, one after the other.
struct Request<'a>(&'a [u8]);

impl<'a> Request<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.bytes(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.bytes(8).try_into().expect("eight bytes"))
    }

    fn name(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == 0).expect("a name ends with a zero");
        let name = self.bytes(end);
        self.bytes(1);
        name
    }
}

impl Files {
    fn new(fault: Fault, is_failing: Arc<AtomicBool>) -> Self {
        // Numbers begin with that of the root.
        let root = Node { mode: DIRECTORY | 0o700, ..Node::default() };
        Self { fault, is_failing, nodes: vec![Node::default(), root] }
    }

    fn serve(&mut self, mut device: File) {
        let mut buffer = vec![0; REQUEST_BYTES_MAX];
        loop {
            let bytes = match device.read(&mut buffer) {
                Ok(bytes) => bytes,
                // A request that was taken back before it was read.
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::INTR)) => continue,
                Err(_) => return,
            };
            let mut request = Request(&buffer[..bytes]);
            let (_, opcode, unique, node) = (request.u32(), request.u32(), request.u64(), request.u64());
            request.bytes(16);
            if matches!(opcode, opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT) {
                continue;
            }
            let (error, body) = match self.answer(opcode, node, request) {
                Ok(body) => (0, body),
                Err(error) => (-error.raw_os_error(), Vec::new()),
            };
            let mut reply = (16 + body.len() as u32).to_ne_bytes().to_vec();
            reply.extend(error.to_ne_bytes());
            reply.extend(unique.to_ne_bytes());
            reply.extend(body);
            // Nobody waits for it any more if that fails.
            let _ = device.write(&reply);
        }
    }

    fn answer(&mut self, opcode: u32, node: u64, mut request: Request<'_>) -> Reply {
        match opcode {
            opcode::INIT => Ok(init()),
            opcode::LOOKUP => self.entry(self.child(node, request.name())?),
            opcode::GETATTR => Ok(self.attributes(node)),
            opcode::SETATTR => Ok(self.set_attributes(node, request)),
            opcode::MKNOD => {
                let mode = request.u32();
                request.bytes(12);
                let made = self.make(node, request.name(), mode);
                self.entry(made)
            }
            opcode::MKDIR => {
                let mode = request.u32();
                request.bytes(4);
                let made = self.make(node, request.name(), DIRECTORY | mode);
                self.entry(made)
            }
            opcode::CREATE => {
                let (_, mode) = (request.u32(), request.u32());
                request.bytes(8);
                let made = self.make(node, request.name(), REGULAR | mode);
                Ok([self.entry(made)?, vec![0; 16]].concat())
            }
            opcode::UNLINK | opcode::RMDIR => {
                self.node(node).entries.remove(request.name()).map(|_| Vec::new()).ok_or(Errno::NOENT)
            }
            opcode::RENAME | opcode::RENAME2 => {
                let to = request.u64();
                if opcode == opcode::RENAME2 {
                    request.bytes(8);
                }
                let moved = self.node(node).entries.remove(request.name()).ok_or(Errno::NOENT)?;
                self.node(to).entries.insert(request.name().into(), moved);
                Ok(Vec::new())
            }
            opcode::OPEN | opcode::OPENDIR => Ok(vec![0; 16]),
            opcode::RELEASE | opcode::RELEASEDIR | opcode::FLUSH | opcode::FSYNCDIR => Ok(Vec::new()),
            opcode::READ => Ok(self.read(node, request)),
            opcode::READDIR => Ok(self.list(node, request)),
            opcode::WRITE => self.write(node, request),
            opcode::FALLOCATE => self.allocate(node, request),
            opcode::FSYNC => self.sync(node),
            opcode::STATFS => Ok(statistics()),
            _ => Err(Errno::NOSYS),
        }
    }

    fn node(&mut self, number: u64) -> &mut Node {
        &mut self.nodes[number as usize]
    }

    fn fails(&self, fault: Fault) -> bool {
        self.fault == fault && self.is_failing.load(Ordering::Relaxed)
    }

    fn child(&self, folder: u64, name: &[u8]) -> Result<u64, Errno> {
        self.nodes[folder as usize].entries.get(name).copied().ok_or(Errno::NOENT)
    }

    fn make(&mut self, folder: u64, name: &[u8], mode: u32) -> u64 {
        let number = self.nodes.len() as u64;
        self.nodes.push(Node { mode, ..Node::default() });
        self.node(folder).entries.insert(name.into(), number);
        number
    }

    /// What the kernel may remember of it: nothing.
    fn attributes(&self, number: u64) -> Vec<u8> {
        [&[0; 16][..], &self.attribute(number)].concat()
    }

    fn entry(&self, number: u64) -> Reply {
        Ok([&number.to_ne_bytes()[..], &[0; 32], &self.attribute(number)].concat())
    }

    fn attribute(&self, number: u64) -> Vec<u8> {
        let Node { mode, data, .. } = &self.nodes[number as usize];
        let size = data.len() as u64;
        let mut bytes: Vec<u8> = [number, size, size.div_ceil(512), 0, 0, 0].map(u64::to_ne_bytes).concat();
        // Times, mode, links, owner, group, device, block size, flags.
        bytes.extend([0, 0, 0, *mode, 1, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat());
        bytes
    }

    fn set_attributes(&mut self, number: u64, mut request: Request<'_>) -> Vec<u8> {
        let valid = request.u32();
        request.bytes(12);
        let size = request.u64() as usize;
        request.bytes(44);
        let mode = request.u32();
        let node = self.node(number);
        if valid & SETS_SIZE != 0 {
            node.data.resize(size, 0);
            node.unsynced.retain(|(at, was)| at + was.len() <= size);
        }
        if valid & SETS_MODE != 0 {
            node.mode = mode;
        }
        self.attributes(number)
    }

    fn read(&mut self, number: u64, mut request: Request<'_>) -> Vec<u8> {
        let (_, offset, size) = (request.u64(), request.u64() as usize, request.u32() as usize);
        let data = &self.node(number).data;
        let from = offset.min(data.len());
        data[from..(offset + size).min(data.len()).max(from)].into()
    }

    /// Of a part of the names, from a number on, whole entries.
    fn list(&mut self, number: u64, mut request: Request<'_>) -> Vec<u8> {
        let (_, offset, size) = (request.u64(), request.u64() as usize, request.u32() as usize);
        let mut bytes = Vec::new();
        for (nth, (name, child)) in self.node(number).entries.iter().enumerate().skip(offset) {
            let mut entry = [child.to_ne_bytes(), (nth as u64 + 1).to_ne_bytes()].concat();
            entry.extend((name.len() as u32).to_ne_bytes());
            // Of a kind that has to be asked for.
            entry.extend(0_u32.to_ne_bytes());
            entry.extend(name);
            entry.resize(entry.len().next_multiple_of(8), 0);
            if bytes.len() + entry.len() > size {
                break;
            }
            bytes.extend(entry);
        }
        bytes
    }

    fn write(&mut self, number: u64, mut request: Request<'_>) -> Reply {
        let (_, offset, size) = (request.u64(), request.u64() as usize, request.u32() as usize);
        request.bytes(20);
        if self.fails(Fault::Write) {
            return Err(Errno::IO);
        }
        let node = self.node(number);
        let end = offset + size;
        if node.data.len() < end {
            node.data.resize(end, 0);
        }
        let place = &mut node.data[offset..end];
        node.unsynced.push((offset, place.into()));
        place.copy_from_slice(request.bytes(size));
        Ok([size as u32, 0].map(u32::to_ne_bytes).concat())
    }

    fn allocate(&mut self, number: u64, mut request: Request<'_>) -> Reply {
        let (_, offset, length, mode) = (request.u64(), request.u64(), request.u64(), request.u32());
        if mode != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let node = self.node(number);
        node.data.resize(node.data.len().max((offset + length) as usize), 0);
        Ok(Vec::new())
    }

    fn sync(&mut self, number: u64) -> Reply {
        let is_failing = self.fails(Fault::Sync);
        let Node { data, unsynced, .. } = self.node(number);
        if !is_failing {
            unsynced.clear();
            return Ok(Vec::new());
        }
        for (at, was) in unsynced.drain(..).rev() {
            data[at..at + was.len()].copy_from_slice(&was);
        }
        Err(Errno::IO)
    }
}

fn init() -> Vec<u8> {
    let mut bytes = PROTOCOL.map(u32::to_ne_bytes).concat();
    bytes.extend([0, INIT_FLAGS].map(u32::to_ne_bytes).concat());
    // Requests in the background, and so many that are too many.
    bytes.extend([64, 48].map(u16::to_ne_bytes).concat());
    bytes.extend([WRITE_BYTES_MAX as u32, 1].map(u32::to_ne_bytes).concat());
    bytes.extend(((WRITE_BYTES_MAX / 4096) as u16).to_ne_bytes());
    bytes.resize(64, 0);
    bytes
}

/// A gigabyte in blocks of 4 KiB, all of it free.
fn statistics() -> Vec<u8> {
    let mut bytes = [1 << 18, 1 << 18, 1 << 18, 1 << 18, 1 << 18].map(u64::to_ne_bytes).concat();
    bytes.extend([4096, 255, 4096].map(u32::to_ne_bytes).concat());
    bytes.resize(80, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// What would be wrong with the disk must not be told as the broker's fault.
    #[test]
    fn a_disk_that_is_well_keeps_everything_and_a_broken_one_says_so() {
        for fault in [Fault::Write, Fault::Sync] {
            let Ok(disk) = BrokenDisk::new(fault) else { return println!("NOT RUN: nothing can be mounted by FUSE") };
            let folder = disk.folder();
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("a"), [7; 300_000]).unwrap();
            fs::rename(folder.join("a"), folder.join("b")).unwrap();
            let names = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            assert_eq!(names(), [OsStr::from_bytes(b"b")]);
            let file = File::options().read(true).write(true).open(folder.join("b")).unwrap();
            file.sync_data().unwrap();
            file.write_all_at(&[8; 10], 5).unwrap();
            file.sync_data().unwrap();

            disk.is_failing.store(true, Ordering::Relaxed);
            let (write, sync) = (file.write_all_at(&[9; 10], 0), file.sync_data());
            assert_eq!((write.is_err(), sync.is_err()), (fault == Fault::Write, fault == Fault::Sync));
            disk.is_failing.store(false, Ordering::Relaxed);

            assert_eq!(fs::read(folder.join("b")).unwrap()[..16], [[7; 5].as_slice(), &[8; 10], &[7]].concat());
            file.write_all_at(&[6; 5], 299_998).unwrap();
            file.sync_data().unwrap();
            assert_eq!(fs::metadata(folder.join("b")).unwrap().len(), 300_003);
            drop(file);
            fs::remove_file(folder.join("b")).unwrap();
            assert!(names().is_empty());
        }
    }
}
