//! Looks at files once a second, and acts when some are others than they were and have stayed so for another second: who
//! changes several, or writes one in parts, is not taken at his first word.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);

/// What tells a file from the one that had its name before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds, of the content and of all the rest.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files as they were at some time; none where there was no such file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

impl Stamps {
    /// Before the file is read, so that no change to come is missed.
    pub(super) fn look_at(&mut self, path: &Path) {
        self.0.insert(path.into(), stamp(path));
    }

    fn now(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), stamp(path))).collect())
    }

    /// These, and of others those that are not among them.
    pub(super) fn or(mut self, others: &Self) -> Self {
        for (path, stamp) in &others.0 {
            self.0.entry(path.clone()).or_insert(*stamp);
        }
        self
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// The thread that looks. It ends with this.
#[derive(Debug)]
pub(super) struct Watch {
    known: Sender<Stamps>,
}

impl Watch {
    /// Looks at nothing yet.
    pub(super) fn start(act: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (known, heard) = channel();
        thread::Builder::new().name("watch".into()).spawn(move || watch(&heard, act))?;
        Ok(Self { known })
    }

    /// Looks at these from now on, and at no others.
    pub(super) fn follow(&self, known: Stamps) {
        // The thread is there as long as this is.
        let _ = self.known.send(known);
    }
}

fn watch(heard: &Receiver<Stamps>, act: impl Fn()) {
    let mut settling = Settling::default();
    loop {
        let new = match settling.known.0.is_empty() {
            true => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => heard.recv_timeout(INTERVAL),
        };
        match new {
            Ok(known) => settling = Settling { known, ..Settling::default() },
            Err(RecvTimeoutError::Timeout) => {
                if settling.see(settling.known.now()) {
                    act();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[derive(Default)]
struct Settling {
    known: Stamps,
    /// As they were seen last, where that is not as they are known.
    other: Option<Stamps>,
}

impl Settling {
    /// True: they have changed, and settled.
    fn see(&mut self, now: Stamps) -> bool {
        if now == self.known {
            self.other = None;
            return false;
        }
        let has_settled = self.other.as_ref() == Some(&now);
        if has_settled {
            (self.known, self.other) = (now, None);
        } else {
            self.other = Some(now);
        }
        has_settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_acted_on_once_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            let mut stamps = Stamps::default();
            stamps.look_at(&path);
            stamps
        };
        let mut settling = Settling { known: write("a"), other: None };
        assert!(!settling.see(settling.known.now()));
        let (first, second) = (write("ab"), write("abc"));
        assert_eq!(
            [first.clone(), second.clone(), second.clone(), second].map(|now| settling.see(now)),
            [false, false, true, false]
        );
        // What is as it was before is no change.
        let known = settling.known.clone();
        assert_eq!([first.clone(), known, first].map(|now| settling.see(now)), [false; 3]);
    }

    #[test]
    fn a_file_that_comes_goes_or_takes_anothers_place_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let stamps = |text: Option<&str>| {
            match text {
                Some(text) => {
                    let new = folder.path().join("new");
                    fs::write(&new, text).unwrap();
                    fs::rename(new, &path).unwrap();
                }
                None => _ = fs::remove_file(&path),
            }
            let mut stamps = Stamps::default();
            stamps.look_at(&path);
            stamps
        };
        let all = [stamps(None), stamps(Some("a")), stamps(Some("b"))];
        assert!(all[0] != all[1] && all[1] != all[2]);
        assert_eq!(all[2], all[2].now());
    }

    #[test]
    fn the_thread_tells_of_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (told, hear) = channel();
        let watch = Watch::start(move || told.send(()).unwrap()).unwrap();
        let mut stamps = Stamps::default();
        stamps.look_at(&path);
        watch.follow(stamps);
        fs::write(&path, "new").unwrap();
        hear.recv_timeout(Duration::from_secs(20)).unwrap();
        drop(watch);
        assert_eq!(hear.recv_timeout(Duration::from_secs(20)), Err(RecvTimeoutError::Disconnected));
    }
}
