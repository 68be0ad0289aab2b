//! Connections that the broker has ended, while their last words leave. Closing a socket that has unread input resets
//! it, and takes back what was sent: so the output is ended first, and the input read until the client closes too, for a
//! bounded time.

use std::collections::BTreeMap;

use super::connection::{Connection, Received};
use super::layers::Workspace;
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
    pub fn add(
        &mut self,
        now: Timestamp,
        mut connection: Connection,
        poller: &Poller,
        token: impl Fn(u32) -> u64,
        work: &mut Workspace,
    ) -> bool {
        let number = self.next;
        if poller.rename(&connection, token(number)).is_err() {
            return false;
        }
        self.next = self.next.wrapping_add(1);
        connection.say_farewell(work);
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
            Received::Nothing => return false,
            // The end may have come with them, and would not be told again.
            Received::Bytes { .. } => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::os::unix::net::UnixStream;

    use socket2::SockRef;

    use super::super::unsent::tests::output;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    /// A connection as a shard has it, and its client.
    fn watched(poller: &Poller) -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        SockRef::from(&ours).set_send_buffer_size(8 << 10).expect("a small buffer");
        [&ours, &theirs].into_iter().for_each(|socket| socket.set_nonblocking(true).expect("a socket"));
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into();
        let connection = Connection::new(ours.into(), peer);
        poller.add(&connection, 7).expect("added");
        (connection, theirs)
    }

    #[test]
    fn the_end_is_told_at_once_and_input_is_read_until_the_client_ends_too() {
        let poller = Poller::new().expect("an epoll set");
        let (connection, mut client) = watched(&poller);
        client.write_all(&[1; 2_500]).expect("sent");
        let mut lingering = Lingering::default();
        assert!(lingering.add(NOW, connection, &poller, u64::from, &mut Workspace::default()));
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
        assert!(!lingering.on_ready(0, &mut [0; 1_000]));
        // What it says last, and its end, are one change.
        client.write_all(&[1; 10]).expect("it is still read");
        drop(client);
        assert!(lingering.on_ready(0, &mut [0; 1_000]));
        assert!(lingering.is_empty() && !lingering.on_ready(0, &mut [0; 1_000]));
    }

    #[test]
    fn what_waits_leaves_before_the_end() {
        let poller = Poller::new().expect("an epoll set");
        let (mut connection, mut client) = watched(&poller);
        let buffer = output([3_000; 20]);
        let all = buffer.chunks().collect::<Vec<_>>().concat();
        connection.send(&buffer).expect("sent");
        assert!(connection.has_unsent());
        let mut lingering = Lingering::default();
        assert!(lingering.add(NOW, connection, &poller, u64::from, &mut Workspace::default()));
        let (mut got, mut chunk) = (Vec::new(), [0; 777]);
        loop {
            match client.read(&mut chunk) {
                Ok(0) => break,
                Ok(bytes) => got.extend_from_slice(&chunk[..bytes]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert!(got.len() < all.len(), "the end is not told");
                }
            }
            assert!(!lingering.on_ready(0, &mut [0; 100]));
        }
        assert!(got == all, "{} of {} bytes came", got.len(), all.len());
    }

    #[test]
    fn whose_time_is_over_is_closed_and_nobody_else() {
        let poller = Poller::new().expect("an epoll set");
        let mut lingering = Lingering::default();
        let mut clients = Vec::new();
        for start in [NOW, NOW + Millis(1)] {
            let (connection, client) = watched(&poller);
            assert!(lingering.add(start, connection, &poller, u64::from, &mut Workspace::default()));
            clients.push(client);
        }
        let end = NOW + LINGER;
        assert_eq!(lingering.next_end(), Some(end));
        assert_eq!((lingering.expire(Timestamp(end.0 - 1)), lingering.expire(end), lingering.len()), (0, 1, 1));
        let written: Vec<_> = clients.iter_mut().map(|client| client.write(&[1]).is_ok()).collect();
        assert_eq!(written, [false, true]);
    }
}
