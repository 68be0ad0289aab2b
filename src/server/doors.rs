//! How many connections may be open, counted over all shards: the one number that they share.

use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct Doors {
    open: AtomicUsize,
    max: AtomicUsize,
}

impl Doors {
    pub(super) const fn new(max: usize) -> Self {
        Self { open: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    /// Counts one more in; false: there are enough.
    pub(super) fn enter(&self) -> bool {
        let is_full = self.open.fetch_add(1, Ordering::Relaxed) >= self.max.load(Ordering::Relaxed);
        if is_full {
            self.leave(1);
        }
        !is_full
    }

    pub(super) fn leave(&self, connections: usize) {
        self.open.fetch_sub(connections, Ordering::Relaxed);
    }

    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_takes_no_place() {
        let doors = Doors::new(1);
        assert_eq!([doors.enter(), doors.enter(), doors.enter()], [true, false, false]);
        doors.leave(1);
        assert_eq!([doors.enter(), doors.enter()], [true, false]);
    }
}
