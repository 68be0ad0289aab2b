//! What a shard holds, counted as it comes and goes, so that nobody has to walk over a million sessions to know it.

use crate::session::{Dropped, Left, QueueItem};

/// Messages, and the bytes that the bounds count for them. One that several sessions hold counts for each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Held {
    pub messages: u64,
    pub bytes: u64,
}

impl Held {
    #[inline]
    pub(super) fn put(&mut self, item: &impl QueueItem) {
        self.messages += 1;
        self.bytes += item.bytes() as u64;
    }

    #[inline]
    pub(super) fn take(&mut self, item: &impl QueueItem) {
        self.messages -= 1;
        self.bytes -= item.bytes() as u64;
    }

    pub(super) fn put_left(&mut self, left: Left) {
        self.messages += 1;
        self.bytes += u64::from(left.bytes);
    }

    pub(super) fn take_left(&mut self, left: Left) {
        self.messages -= 1;
        self.bytes -= u64::from(left.bytes);
    }

    pub(super) fn drop(&mut self, dropped: &Dropped<impl QueueItem>) {
        match dropped {
            Dropped::Here(item) => self.take(item),
            Dropped::InStore(left) => self.take_left(*left),
        }
    }

    pub(super) fn of<'a, M: QueueItem + 'a>(items: impl Iterator<Item = &'a M>) -> Self {
        let mut held = Self::default();
        items.for_each(|item| held.put(item));
        held
    }

    pub fn add(&mut self, other: &Self) {
        let Self { messages, bytes } = other;
        self.messages += messages;
        self.bytes += bytes;
    }
}
