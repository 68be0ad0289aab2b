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
