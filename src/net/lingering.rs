//! Connections that the broker has ended, while their last words leave. Closing a socket that has unread input resets
//! it, and takes back what was sent: so the output is ended first, and the input read until the client closes too, for a
//! bounded time.

use std::collections::BTreeMap;

use super::connection::{Connection, Received};
use super::poller::Poller;
use crate::base::{Millis, Timestamp};

/// How long a client has to take what it was told last.
const LINGER: Millis = Millis::from_secs(2);

/// Reads of input that nobody wants: who sends on and on is not waited for.
const READS_MAX: usize = 4;

/// In the order of their ends.
#[derive(Debug, Default)]
pub struct Lingering {
    connections: BTreeMap<u32, (Timestamp, Connection)>,
    next: u32,
}

impl Lingering {
    /// Takes over a connection; `token` gives the poller's name of a number. False: it could be closed at once.
    pub fn add(&mut self, now: Timestamp, connection: Connection, poller: &Poller, token: impl Fn(u32) -> u64) -> bool {
        let number = self.next;
        if poller.rename(&connection, token(number)).is_err() {
            return false;
        }
        self.next = self.next.wrapping_add(1);
        if !connection.has_unsent() {
            connection.end_output();
        }
        self.connections.insert(number, (now + LINGER, connection));
        true
    }

    /// Something changed. True: the connection is closed now.
    pub fn on_ready(&mut self, number: u32, scratch: &mut [u8]) -> bool {
        let Some((_, connection)) = self.connections.get_mut(&number) else { return false };
        let had_unsent = connection.has_unsent();
        let is_over = connection.send_unsent().is_err() || is_at_end(connection, scratch);
        if is_over {
            self.connections.remove(&number);
        } else if had_unsent && !connection.has_unsent() {
            connection.end_output();
        }
        is_over
    }

    /// Closes those whose time is over, and says how many.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let before = self.connections.len();
        while let Some(first) = self.connections.first_entry()
            && first.get().0 <= now
        {
            first.remove();
        }
        before - self.connections.len()
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        self.connections.first_key_value().map(|(_, (end, _))| *end)
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}

/// Reads what nobody wants any more.
fn is_at_end(connection: &Connection, scratch: &mut [u8]) -> bool {
    for _ in 0..READS_MAX {
        match connection.receive(scratch) {
            Received::End => return true,
            Received::Nothing | Received::Bytes { is_all: true, .. } => return false,
            Received::Bytes { .. } => {}
        }
    }
    true
}
