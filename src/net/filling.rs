//! A buffer that layers fill with what they have unwrapped. Whoever makes one sees to it that it has room: no layer gives
//! more than it takes.

#[derive(Debug)]
pub struct Filling<'a> {
    into: &'a mut [u8],
    filled: usize,
}

impl<'a> Filling<'a> {
    pub const fn new(into: &'a mut [u8]) -> Self {
        Self { into, filled: 0 }
    }

    pub const fn len(&self) -> usize {
        self.filled
    }

    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Room for so much, which counts as filled.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let from = self.filled;
        self.filled += bytes;
        &mut self.into[from..self.filled]
    }
}
