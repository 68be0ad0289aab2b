//! An edge-triggered epoll set: what is added is told of once, when its state changes, and costs no system call until
//! it is closed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// What one wait tells at most. More is told by the next one.
const EVENTS_MAX: usize = 512;

/// What is to be known of a socket that is read and written.
const SOCKET: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
    was_interrupted: bool,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Poller({:?}, {} events)", self.epoll, self.events.len())
    }
}

/// A change of something that was added, by the token it was added with. It may be about what the token stood for
/// before: whoever acts on it finds nothing to do then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// The other side will send nothing more: what is left is to be read to its end, for there is no further edge.
    pub hung_up: bool,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX), was_interrupted: false })
    }

    /// Adds a socket that is read and written.
    pub fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), SOCKET)?)
    }

    /// Adds what only tells that there is something: an alarm.
    pub fn add_source(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), EventFlags::IN | EventFlags::ET)?)
    }

    /// Adds a listener; where several sets have the same one, a connection wakes one who sleeps and not
    /// all.
    pub fn add_listener(&self, listener: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET | EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.epoll, listener, EventData::new_u64(token), flags)?)
    }

    /// The socket goes on under another token.
    pub fn rename(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token), SOCKET)?)
    }

    /// Takes out what goes on elsewhere; what is closed leaves by itself.
    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits until something is ready, or the time is over; without a time, until something is ready.
    pub fn wait(&mut self, timeout: Option<Duration>) {
        self.events.clear();
        let timeout =
            timeout.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref());
        self.was_interrupted = waited == Err(Errno::INTR);
        match waited {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => unreachable!("an epoll set that is open can be waited for: {error}"),
        }
    }

    /// Whether there may be more than the last wait told.
    pub fn is_partial(&self) -> bool {
        self.was_interrupted || self.events.len() == EVENTS_MAX
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// One of what the last wait told.
    pub fn event(&self, index: usize) -> Readiness {
        let Event { flags, data } = self.events[index];
        Readiness {
            token: data.u64(),
            readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
            writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
            hung_up: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
