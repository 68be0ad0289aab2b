//! Bytes on their way out: one buffer for each connection that has something to send in this batch, so that a batch
//! costs a connection one write, and a silent connection four bytes.

use super::message::Message;
use crate::base::ConnId;

/// What one connection is to be sent: bytes, with large payloads by reference between them.
#[derive(Debug, Default)]
pub struct OutputBuffer {
    pub bytes: Vec<u8>,
    /// Payloads, each with the position in `bytes` that it goes before. Positions ascend.
    pub payloads: Vec<(usize, Message)>,
}

impl OutputBuffer {
    /// What is to be sent, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let mut payloads = self.payloads.iter();
        let mut pending: Option<&[u8]> = None;
        let mut ended = false;
        std::iter::from_fn(move || {
            if let Some(payload) = pending.take() {
                return Some(payload);
            }
            if ended {
                return None;
            }
            match payloads.next() {
                Some((at, message)) => {
                    let bytes = &self.bytes[from..*at];
                    from = *at;
                    pending = Some(message.body().payload());
                    Some(bytes)
                }
                None => {
                    ended = true;
                    Some(&self.bytes[from..])
                }
            }
        })
        .filter(|chunk| !chunk.is_empty())
    }

    /// Puts a payload behind what was written last.
    pub(super) fn attach_payload(&mut self, message: Message) {
        self.payloads.push((self.bytes.len(), message));
    }

    pub(super) fn append(&mut self, other: Self) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.payloads.extend(other.payloads.into_iter().map(|(at, message)| (before + at, message)));
    }

    /// What it is to send, in bytes.
    pub(super) fn len(&self) -> usize {
        let payloads = self.payloads.iter().map(|(_, message)| message.body().payload().len());
        self.bytes.len() + payloads.sum::<usize>()
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BUFFER_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.payloads.clear();
    }
}

const NONE: u32 = u32::MAX;

/// Buffers kept for the next batch, and the largest that is worth keeping.
const KEPT_BUFFERS_MAX: usize = 1_024;
const KEPT_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The output of a batch.
#[derive(Debug, Default)]
pub struct Output {
    /// By connection, where its buffer is.
    slots: Vec<u32>,
    /// Who has a buffer in this batch; the first buffers are theirs, in this order.
    active: Vec<ConnId>,
    buffers: Vec<OutputBuffer>,
}

impl Output {
    #[inline]
    pub(super) fn buffer(&mut self, conn: ConnId) -> &mut OutputBuffer {
        let index = conn.0 as usize;
        if self.slots.get(index).is_none_or(|&slot| slot == NONE) {
            self.open(conn, index);
        }
        &mut self.buffers[self.slots[index] as usize]
    }

    fn open(&mut self, conn: ConnId, index: usize) {
        if self.slots.len() <= index {
            let missing = index + 1 - self.slots.len();
            self.slots.reserve_exact(missing.max(self.slots.len() / 8));
            self.slots.resize(index + 1, NONE);
        }
        self.slots[index] = self.active.len() as u32;
        self.active.push(conn);
        if self.buffers.len() < self.active.len() {
            self.buffers.push(OutputBuffer::default());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Hands each connection's buffer to `write`, and keeps the emptied buffers for the next batch.
    pub fn drain(&mut self, mut write: impl FnMut(ConnId, &OutputBuffer)) {
        for (conn, buffer) in self.active.drain(..).zip(&mut self.buffers) {
            write(conn, buffer);
            self.slots[conn.0 as usize] = NONE;
            buffer.clear();
        }
        self.buffers.truncate(KEPT_BUFFERS_MAX);
    }
}
