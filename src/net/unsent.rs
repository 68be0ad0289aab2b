//! Output that a socket did not take at once. It exists only until it has left.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::broker::{Message, OutputBuffer};

/// Pieces that one system call is given at most (the kernel's own limit is 1,024).
const PIECES_MAX: usize = 64;

/// Bytes that one piece takes; it is given back when all of it has left.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Bytes in order, with large payloads by reference between them.
#[derive(Debug, Default)]
pub struct Unsent {
    pieces: VecDeque<Piece>,
    /// Of the first piece, what has left.
    sent: usize,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Payload(Message),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Payload(message) => message.body().payload(),
        }
    }
}

impl Unsent {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What has not left yet, in bytes.
    pub fn bytes_left(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    pub fn push_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if !matches!(self.pieces.back(), Some(Piece::Bytes(last)) if last.len() < PIECE_BYTES_MAX) {
                self.pieces.push_back(Piece::Bytes(Vec::new()));
            }
            let Some(Piece::Bytes(piece)) = self.pieces.back_mut() else { return };
            let fitting = bytes.len().min(PIECE_BYTES_MAX - piece.len());
            piece.extend_from_slice(&bytes[..fitting]);
            bytes = &bytes[fitting..];
        }
    }

    /// Appends a buffer but for its first `skip` bytes.
    pub fn push_buffer(&mut self, buffer: &OutputBuffer, mut skip: usize) {
        let mut from = 0;
        for (at, message) in &buffer.payloads {
            self.push_bytes(after(&buffer.bytes[from..*at], &mut skip));
            from = *at;
            let payload_bytes = message.body().payload().len();
            if skip >= payload_bytes {
                skip -= payload_bytes;
                continue;
            }
            if self.pieces.is_empty() {
                self.sent = skip;
            }
            skip = 0;
            self.pieces.push_back(Piece::Payload(message.clone()));
        }
        self.push_bytes(after(&buffer.bytes[from..], &mut skip));
    }

    /// Sends until nothing is left or the socket takes no more, and says how much has left.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut sent = 0;
        while !self.is_empty() {
            match send_pieces(socket, self.slices()) {
                Ok(bytes) => {
                    sent += bytes;
                    self.advance(bytes);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let slices = self.pieces.iter().map(Piece::as_slice);
        slices.enumerate().map(|(index, slice)| if index == 0 { &slice[self.sent..] } else { slice })
    }

    fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        while let Some(first) = self.pieces.front()
            && self.sent >= first.as_slice().len()
        {
            self.sent -= first.as_slice().len();
            self.pieces.pop_front();
        }
    }
}

fn after<'a>(bytes: &'a [u8], skip: &mut usize) -> &'a [u8] {
    let skipped = (*skip).min(bytes.len());
    *skip -= skipped;
    &bytes[skipped..]
}

/// One system call for as many pieces as it takes.
pub(super) fn send_pieces<'a>(
    socket: BorrowedFd<'_>,
    slices: impl Iterator<Item = &'a [u8]>,
) -> rustix::io::Result<usize> {
    let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
    let mut count = 0;
    for (piece, slice) in pieces.iter_mut().zip(slices) {
        *piece = IoSlice::new(slice);
        count += 1;
    }
    let mut control = rustix::net::SendAncillaryBuffer::default();
    rustix::net::sendmsg(socket, &pieces[..count], &mut control, SendFlags::NOSIGNAL)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use socket2::SockRef;

    use super::*;
    use crate::access::Open;
    use crate::base::{ConnId, ShardId, Timestamp};
    use crate::broker::{Effects, Input, Options, ShardCore};
    use crate::mqtt::TopicName;

    /// What a subscriber is sent of messages of these sizes.
    pub(in crate::net) fn output(payload_sizes: impl IntoIterator<Item = usize>) -> OutputBuffer {
        let (now, conn, mut effects) = (Timestamp(1), ConnId(0), Effects::new());
        let mut core = ShardCore::new(ShardId::new(0), Options::default(), Box::new(Open), now).expect("valid options");
        core.handle(now, Input::Opened { conn }, &mut effects);
        let bytes = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a\x82\x07\0\x01\0\x02$a\0";
        core.handle(now, Input::Bytes { conn, bytes }, &mut effects);
        let topic = TopicName::new("$a").expect("a topic");
        for (number, size) in payload_sizes.into_iter().enumerate() {
            let payload: Vec<u8> = (0..size).map(|at| (number * 7 + at * 31 + at / 251) as u8).collect();
            core.handle(now, Input::Announce { topic, payload: &payload }, &mut effects);
        }
        let mut all = OutputBuffer::default();
        effects.output.drain(|_, buffer| {
            all = OutputBuffer { bytes: buffer.bytes.clone(), payloads: buffer.payloads.clone() };
        });
        all
    }

    /// A large payload at the front, in the middle and at the end, and more bytes between them than a piece takes.
    fn long_output() -> OutputBuffer {
        let sizes = [vec![3_000; 2], vec![2_000; 40], vec![5_000, 10, 4_000]].concat();
        output(sizes)
    }

    #[test]
    fn wherever_a_buffer_was_cut_what_follows_is_kept() {
        let buffer = long_output();
        assert_eq!(buffer.payloads.len(), 4);
        let all = buffer.chunks().collect::<Vec<_>>().concat();
        let mut end = 0;
        let ends = buffer.chunks().map(|chunk| {
            end += chunk.len();
            end
        });
        let cuts = ends.flat_map(|end| [end - 1, end, end + 1]).chain((0..all.len()).step_by(997));
        for cut in cuts.filter(|&cut| cut <= all.len()) {
            let mut unsent = Unsent::default();
            unsent.push_buffer(&buffer, cut);
            assert!(unsent.slices().collect::<Vec<_>>().concat() == all[cut..], "cut at {cut}");
        }
    }

    #[test]
    fn a_socket_that_takes_little_gets_all_of_it_in_order() {
        let buffer = long_output();
        let (writer, mut reader) = UnixStream::pair().expect("a pair");
        SockRef::from(&writer).set_send_buffer_size(8 << 10).expect("a small buffer");
        writer.set_nonblocking(true).expect("a socket");
        let mut unsent = Unsent::default();
        (0..2).for_each(|_| unsent.push_buffer(&buffer, 0));
        let (mut sent, mut got, mut chunk) = (0, Vec::new(), [0; 777]);
        while !unsent.is_empty() {
            sent += unsent.send(writer.as_fd()).expect("sent");
            let bytes = reader.read(&mut chunk).expect("something came");
            got.extend_from_slice(&chunk[..bytes]);
        }
        drop(writer);
        reader.read_to_end(&mut got).expect("the rest");
        let all = buffer.chunks().collect::<Vec<_>>().concat().repeat(2);
        assert_eq!(sent, all.len());
        assert!(got == all, "changed on the way");
    }
}
