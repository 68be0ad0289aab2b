//! One socket with what it has not been read to the end of, and what it would not take yet; and the layers that lie
//! between it and MQTT, where there are any. 56 bytes while it is idle.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SendFlags;
use zeroize::Zeroize as _;

use super::fault::Fault;
use super::layers::{Layers, Workspace, Wrapped};
use super::peer::Peer;
use super::transport::Transport;
use super::unsent::{Unsent, send_pieces};
use crate::access::Entrance;
use crate::base::ListenerId;
use crate::broker::OutputBuffer;
use crate::mqtt::PacketType;

/// What grows in a connection's own memory, grows by so much at a time at least, and to no more than twice what came:
/// a length that a client only claims costs nothing.
const GROWTH_BYTES_MIN: usize = 64 * 1024;

/// Behind so much output that waits, pings of a WebSocket are not answered: who does not read would have pongs without end.
const ANSWERED_BEHIND_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    peer: Peer,
    listener: ListenerId,
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
    /// The core knows where it comes in.
    pub has_entered: bool,
    /// None: what comes is MQTT.
    layers: Option<Box<Layers>>,
    unread: Option<Box<Unread>>,
    unsent: Option<Box<Unsent>>,
}

const _: () = assert!(size_of::<Connection>() <= 56);

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
    /// One without layers.
    pub fn new(socket: OwnedFd, peer: Peer) -> Self {
        Self {
            socket,
            peer,
            listener: ListenerId(0),
            hung_up: false,
            is_held: false,
            is_stalled: false,
            is_queued: false,
            was_written: false,
            was_ever_written: false,
            has_entered: false,
            layers: None,
            unread: None,
            unsent: None,
        }
    }

    pub fn accepted(socket: OwnedFd, peer: Peer, listener: ListenerId, transport: &Arc<Transport>) -> Self {
        Self { listener, layers: Layers::new(transport).map(Box::new), ..Self::new(socket, peer) }
    }

    pub const fn peer(&self) -> Peer {
        self.peer
    }

    pub const fn listener(&self) -> ListenerId {
        self.listener
    }

    /// What its layers have found out about the client; none while they are not done with that.
    pub fn entrance(&self) -> Option<Entrance> {
        let certificate = match &self.layers {
            None => None,
            Some(layers) if layers.is_established() => layers.certificate_name(),
            Some(_) => return None,
        };
        let address = self.peer.address().map(|address| address.ip());
        Some(Entrance { listener: self.listener, address, certificate })
    }

    /// Why its layers have ended it; told once.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.layers.as_mut()?.take_fault()
    }

    /// Reads once, to where `into` begins: MQTT, whatever lies around it. No more than `portion` is read of the socket.
    pub fn read(&mut self, into: &mut [u8], portion: usize, work: &mut Workspace) -> Received {
        if self.layers.is_some() {
            return self.read_layered(into, portion, work);
        }
        let end = portion.min(into.len());
        self.receive(&mut into[..end])
    }

    fn read_layered(&mut self, into: &mut [u8], portion: usize, work: &mut Workspace) -> Received {
        let Some(layers) = &mut self.layers else { return Received::Nothing };
        if layers.is_over() {
            return Received::End;
        }
        let raw = layers.room(portion, into.len(), work);
        let received = received(raw.len(), self.hung_up, rustix::io::read(&self.socket, raw));
        let Received::Bytes { bytes, is_all } = received else { return received };
        layers.set_choked(self.unsent.as_ref().is_some_and(|unsent| unsent.bytes_left() > ANSWERED_BEHIND_MAX));
        let taken = layers.take_in(bytes, into, work, &mut self.peer);
        let is_over = layers.is_over();
        if layers.are_transparent() {
            self.layers = None;
        }
        if !work.wire.is_empty() && self.send_wire(&work.wire).is_err() {
            return Received::End;
        }
        Received::Bytes { bytes: taken, is_all: is_all && !is_over }
    }

    /// Reads the socket once, past all layers, to where `into` begins.
    pub fn receive(&self, into: &mut [u8]) -> Received {
        received(into.len(), self.hung_up, rustix::io::read(&self.socket, into))
    }

    /// Reads once, behind what is unread already. `scratch` is for those who have layers.
    pub fn read_more(&mut self, unread: &mut Unread, scratch: &mut [u8], work: &mut Workspace) -> Received {
        if self.layers.is_none() {
            return self.receive_more(unread);
        }
        let received = self.read_layered(scratch, scratch.len(), work);
        if let Received::Bytes { bytes, .. } = received {
            unread.bytes.extend_from_slice(&scratch[..bytes]);
            unread.need = unread.need.saturating_sub(bytes);
        }
        received
    }

    /// Reads the socket once, past all layers, behind what is unread already.
    pub fn receive_more(&self, unread: &mut Unread) -> Received {
        let missing = unread.need.clamp(1, unread.bytes.len().max(GROWTH_BYTES_MIN));
        unread.reserve(missing);
        let room = unread.bytes.capacity() - unread.bytes.len();
        let result = rustix::io::read(&self.socket, rustix::buffer::spare_capacity(&mut unread.bytes));
        let received = received(room, self.hung_up, result);
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

    /// Sends a batch's output through the layers, behind what waits already, and says how much of the output has left.
    pub fn write(&mut self, buffer: &OutputBuffer, work: &mut Workspace) -> io::Result<usize> {
        let Some(layers) = &mut self.layers else { return self.send(buffer) };
        (self.was_written, self.was_ever_written) = (true, true);
        let sent = match layers.wrap(buffer, work).map_err(|fault| io::Error::other(fault.to_string()))? {
            Wrapped::Nobody(bytes) => return Ok(bytes),
            Wrapped::Sealed => self.send_wire(&work.wire)?,
            Wrapped::Framed => self.send_framed(&work.wire, buffer)?,
        };
        Ok(self.gone(sent))
    }

    /// Sends a batch's output as it is, behind what waits already, and says how much has left.
    pub fn send(&mut self, buffer: &OutputBuffer) -> io::Result<usize> {
        (self.was_written, self.was_ever_written) = (true, true);
        self.send_framed(&[], buffer)
    }

    fn send_framed(&mut self, head: &[u8], buffer: &OutputBuffer) -> io::Result<usize> {
        if let Some(unsent) = &mut self.unsent {
            unsent.push_bytes(head);
            unsent.push_buffer(buffer, 0);
            return Ok(0);
        }
        let result = if head.is_empty() && buffer.payloads.is_empty() {
            rustix::net::send(&self.socket, &buffer.bytes, SendFlags::NOSIGNAL)
        } else {
            let head = Some(head).filter(|head| !head.is_empty());
            send_pieces(self.socket.as_fd(), head.into_iter().chain(buffer.chunks()))
        };
        let mut sent = sent(result)?;
        let bytes: usize = head.len() + buffer.chunks().map(<[u8]>::len).sum::<usize>();
        if sent < bytes {
            let mut unsent = Box::<Unsent>::default();
            unsent.push_bytes(head.get(sent..).unwrap_or_default());
            unsent.push_buffer(buffer, sent.saturating_sub(head.len()));
            // For more pieces than one call takes; otherwise it learns that the socket is full, and so will be told of
            // room.
            sent += unsent.send(self.socket.as_fd())?;
            self.unsent = Some(unsent).filter(|unsent| !unsent.is_empty());
        }
        Ok(sent)
    }

    /// Sends bytes as they are, behind what waits already.
    fn send_wire(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(unsent) = &mut self.unsent {
            unsent.push_bytes(bytes);
            return Ok(0);
        }
        let mut sent = sent(rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL))?;
        if sent < bytes.len() {
            let mut unsent = Box::<Unsent>::default();
            unsent.push_bytes(&bytes[sent..]);
            // It learns that the socket is full, and so will be told of room.
            sent += unsent.send(self.socket.as_fd())?;
            self.unsent = Some(unsent).filter(|unsent| !unsent.is_empty());
        }
        Ok(sent)
    }

    /// Sends what waits, as far as the socket takes it, and says how much of the output has left.
    pub fn send_unsent(&mut self) -> io::Result<usize> {
        let Some(unsent) = &mut self.unsent else { return Ok(0) };
        let sent = unsent.send(self.socket.as_fd())?;
        if unsent.is_empty() {
            self.unsent = None;
        }
        Ok(self.gone(sent))
    }

    /// What so many bytes that have left were of the output.
    fn gone(&mut self, sent: usize) -> usize {
        let left = self.unsent.as_ref();
        match &mut self.layers {
            None => sent,
            Some(layers) => layers.gone(sent, left.map_or(0, |unsent| unsent.bytes_left())),
        }
    }

    pub const fn has_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    pub const fn has_layers(&self) -> bool {
        self.layers.is_some()
    }

    /// Whether there is something that should reach the client before the connection is closed.
    pub const fn has_last_words(&self) -> bool {
        self.was_written || self.unsent.is_some() || self.layers.is_some()
    }

    /// Tells the client that nothing more will come, in the words of its layers; the socket itself goes on.
    pub fn say_farewell(&mut self, work: &mut Workspace) {
        let Some(layers) = &mut self.layers else { return };
        if layers.say_farewell(work) {
            // Fails only where the connection is gone, which the next read tells.
            let _ = self.send_wire(&work.wire);
        }
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

fn received(room: usize, hung_up: bool, result: rustix::io::Result<usize>) -> Received {
    match result {
        Ok(0) => Received::End,
        // A short read has emptied the socket. (epoll(7), Q9)
        Ok(bytes) => Received::Bytes { bytes, is_all: bytes < room && !hung_up },
        Err(Errno::AGAIN) => Received::Nothing,
        Err(Errno::INTR) => Received::Bytes { bytes: 0, is_all: false },
        Err(_) => Received::End,
    }
}

fn sent(result: rustix::io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(bytes) => Ok(bytes),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
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
        let (mut connection, mut client) = pair();
        client.write_all(&[1; 5]).expect("sent");
        let mut unread = Unread { bytes: vec![0; 10], need: 200 << 20 };
        assert_eq!(
            connection.read_more(&mut unread, &mut [], &mut Workspace::default()),
            Received::Bytes { bytes: 5, is_all: true }
        );
        assert_eq!((unread.bytes.len(), unread.need), (15, (200 << 20) - 5));
        assert!(unread.bytes.capacity() <= 2 * GROWTH_BYTES_MIN, "{} bytes", unread.bytes.capacity());
    }
}
