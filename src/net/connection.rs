//! One socket with what it has not been read to the end of, and what it would not take yet. 48 bytes while it is idle.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;
use zeroize::Zeroize as _;

use super::peer::Peer;
use super::unsent::{Unsent, send_pieces};
use crate::broker::OutputBuffer;
use crate::mqtt::PacketType;

/// What grows in a connection's own memory, grows by so much at a time at least, and to no more than twice what came:
/// a length that a client only claims costs nothing.
const GROWTH_BYTES_MIN: usize = 64 * 1024;

#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    peer: Peer,
    /// The client will send nothing more; what it sent is read to the end.
    pub hung_up: bool,
    /// Not to be read until the core says so.
    pub is_held: bool,
    /// Not to be read until the mesh has taken what this one caused.
    pub is_stalled: bool,
    /// It waits for its next turn to be read.
    pub is_queued: bool,
    /// It was written to in this batch.
    pub was_written: bool,
    /// It was written to at some time.
    pub was_ever_written: bool,
    unread: Option<Box<Unread>>,
    unsent: Option<Box<Unsent>>,
}

const _: () = assert!(size_of::<Connection>() <= 48);

/// Bytes that came and were not used up.
#[derive(Debug)]
pub struct Unread {
    pub bytes: Vec<u8>,
    /// So many more are needed before anything can be done; zero: they only wait for their turn.
    pub need: usize,
}

impl Unread {
    /// Whether these may be credentials, or the part of them that has come: a CONNECT or an AUTH.
    pub fn may_hold_secret(&self) -> bool {
        let first = self.bytes.first().and_then(|&byte| PacketType::of(byte));
        matches!(first, Some(PacketType::Connect | PacketType::Auth))
    }

    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Room for so many more, without leaving behind what must be wiped.
    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() >= more {
            return;
        }
        if !self.may_hold_secret() {
            return self.bytes.reserve(more);
        }
        let mut bytes = Vec::with_capacity(2 * self.bytes.len() + more);
        bytes.extend_from_slice(&self.bytes);
        self.bytes.zeroize();
        self.bytes = bytes;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.may_hold_secret() {
            self.bytes.zeroize();
        }
    }
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// So many bytes; and whether there may be more at once.
    Bytes { bytes: usize, is_all: bool },
    /// Nothing now.
    Nothing,
    /// The connection is over.
    End,
}

impl Connection {
    pub fn new(socket: OwnedFd, peer: Peer) -> Self {
        Self {
            socket,
            peer,
            hung_up: false,
            is_held: false,
            is_stalled: false,
            is_queued: false,
            was_written: false,
            was_ever_written: false,
            unread: None,
            unsent: None,
        }
    }

    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Reads once, to where `into` begins.
    pub fn receive(&self, into: &mut [u8]) -> Received {
        let room = into.len();
        self.received(room, rustix::io::read(&self.socket, into))
    }

    fn received(&self, room: usize, result: rustix::io::Result<usize>) -> Received {
        match result {
            Ok(0) => Received::End,
            // A short read has emptied the socket. (epoll(7), Q9)
            Ok(bytes) => Received::Bytes { bytes, is_all: bytes < room && !self.hung_up },
            Err(Errno::AGAIN) => Received::Nothing,
            Err(Errno::INTR) => Received::Bytes { bytes: 0, is_all: false },
            Err(_) => Received::End,
        }
    }

    /// Reads once, behind what is unread already.
    pub fn receive_more(&self, unread: &mut Unread) -> Received {
        let missing = unread.need.clamp(1, unread.bytes.len().max(GROWTH_BYTES_MIN));
        unread.reserve(missing);
        let room = unread.bytes.capacity() - unread.bytes.len();
        let received =
            self.received(room, rustix::io::read(&self.socket, rustix::buffer::spare_capacity(&mut unread.bytes)));
        if let Received::Bytes { bytes, .. } = received {
            unread.need = unread.need.saturating_sub(bytes);
        }
        received
    }

    pub const fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    pub fn take_unread(&mut self) -> Option<Box<Unread>> {
        self.unread.take()
    }

    pub fn keep_unread(&mut self, unread: Box<Unread>) {
        if !unread.bytes.is_empty() {
            self.unread = Some(unread);
        }
    }

    /// Sends a batch's output, behind what waits already, and says how much has left.
    pub fn send(&mut self, buffer: &OutputBuffer) -> io::Result<usize> {
        (self.was_written, self.was_ever_written) = (true, true);
        if let Some(unsent) = &mut self.unsent {
            unsent.push_buffer(buffer, 0);
            return Ok(0);
        }
        let result = if buffer.payloads.is_empty() {
            rustix::net::send(&self.socket, &buffer.bytes, SendFlags::NOSIGNAL)
        } else {
            send_pieces(self.socket.as_fd(), buffer.chunks())
        };
        let mut sent = match result {
            Ok(bytes) => bytes,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let bytes: usize = buffer.chunks().map(<[u8]>::len).sum();
        if sent < bytes {
            let mut unsent = Box::<Unsent>::default();
            unsent.push_buffer(buffer, sent);
            // For more pieces than one call takes; otherwise it learns that the socket is full, and so will be told of
            // room.
            sent += unsent.send(self.socket.as_fd())?;
            self.unsent = Some(unsent).filter(|unsent| !unsent.is_empty());
        }
        Ok(sent)
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn send_unsent(&mut self) -> io::Result<usize> {
        let Some(unsent) = &mut self.unsent else { return Ok(0) };
        let sent = unsent.send(self.socket.as_fd())?;
        if unsent.is_empty() {
            self.unsent = None;
        }
        Ok(sent)
    }

    pub const fn has_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    /// Tells the client that nothing more will come.
    pub fn end_output(&self) {
        // Fails only where the connection is gone, which the next read tells.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::os::unix::net::UnixStream;

    use super::super::unsent::tests::output;
    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into();
        (Connection::new(ours.into(), peer), theirs)
    }

    #[test]
    fn all_that_has_left_is_told_though_it_took_more_than_one_call() {
        let buffer = output([2_100; 40]);
        let all = buffer.chunks().collect::<Vec<_>>().concat();
        let (mut connection, mut client) = pair();
        assert_eq!(connection.send(&buffer).expect("sent"), all.len());
        assert!(!connection.has_unsent());
        drop(connection);
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("all of it");
        assert!(got == all, "changed on the way");
    }

    #[test]
    fn what_grows_keeps_what_was_there_whether_it_is_to_be_wiped_or_not() {
        for first in [0x10, 0x30, 0xf0] {
            let mut unread = Unread { bytes: vec![first; 10], need: 1 };
            assert_eq!(unread.may_hold_secret(), first != 0x30);
            unread.reserve(1_000_000);
            assert!(unread.bytes.capacity() >= 1_000_010);
            assert_eq!(unread.into_bytes(), [first; 10]);
        }
    }

    #[test]
    fn a_length_that_is_only_claimed_costs_nothing() {
        let (connection, mut client) = pair();
        client.write_all(&[1; 5]).expect("sent");
        let mut unread = Unread { bytes: vec![0; 10], need: 200 << 20 };
        assert_eq!(connection.receive_more(&mut unread), Received::Bytes { bytes: 5, is_all: true });
        assert_eq!((unread.bytes.len(), unread.need), (15, (200 << 20) - 5));
        assert!(unread.bytes.capacity() <= 2 * GROWTH_BYTES_MIN, "{} bytes", unread.bytes.capacity());
    }
}
