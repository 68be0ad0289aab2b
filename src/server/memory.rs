//! How much memory a process has, as the kernel counts it, and when the allocator is to give some of it back.

use std::sync::OnceLock;

use crate::base::{Millis, Timestamp};

/// Gives back what the calling thread has freed; of the process, as its allocator is.
static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Tells the shards how the process's allocator gives memory back; the first one told stays.
pub fn set_give_back(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// A shard's tables move when they grow, and leave holes that an allocator keeps for the next allocation. That makes
/// messages fast, and a shard that has just filled would keep twice what it needs. So memory is given back when many
/// have come or gone, and at no other time.
#[derive(Debug)]
pub(super) struct GiveBack {
    entries: usize,
    not_before: Timestamp,
}

impl GiveBack {
    /// How long it is from one time to the next.
    const PAUSE: Millis = Millis(500);

    /// Fewer that came or went are not worth it, nor is a smaller part of all.
    const ENTRIES_MIN: usize = 64;
    const PART: usize = 64;

    pub(super) fn new(now: Timestamp) -> Self {
        Self { entries: 0, not_before: now }
    }

    /// When there is something to be done, with so many entries in the tables.
    pub(super) fn due(&self, entries: usize) -> Option<Timestamp> {
        let changed = entries.abs_diff(self.entries);
        (changed >= Self::ENTRIES_MIN.max(self.entries / Self::PART)).then_some(self.not_before)
    }

    pub(super) fn do_if_due(&mut self, now: Timestamp, entries: usize) {
        if self.due(entries).is_some_and(|due| due <= now) {
            *self = Self { entries, not_before: now + Self::PAUSE };
            give_back();
        }
    }
}

/// Of what this thread has freed.
pub(super) fn give_back() {
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}

/// Bytes that are resident: what `$SYS/broker/heap` tells.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HeapBytes {
    pub current: u64,
    /// The most there ever was.
    pub maximum: u64,
}

impl HeapBytes {
    /// None where the process, or `/proc`, is not there.
    pub fn of(pid: u32) -> Option<Self> {
        std::fs::read_to_string(format!("/proc/{pid}/status")).ok().map(|status| Self::read(&status))
    }

    /// Of this process; zero where there is no `/proc` to read it from.
    pub(super) fn own() -> Self {
        Self::of(std::process::id()).unwrap_or_default()
    }

    fn read(status: &str) -> Self {
        let bytes = |field| kilobytes(status, field).unwrap_or(0) * 1024;
        Self { current: bytes("VmRSS:"), maximum: bytes("VmHWM:") }
    }
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_many_have_come_or_gone_and_not_all_the_time() {
        let mut give_back = GiveBack::new(Timestamp(0));
        assert_eq!(give_back.due(63), None);
        assert_eq!(give_back.due(64), Some(Timestamp(0)));
        give_back.do_if_due(Timestamp(10), 3_200);
        let next = Timestamp(10) + GiveBack::PAUSE;
        assert_eq!([3_263, 3_264, 3_137, 3_136].map(|now| give_back.due(now)), [None, Some(next), None, Some(next)]);
        give_back.do_if_due(Timestamp(next.0 - 1), 0);
        assert_eq!(give_back.due(0), Some(next));
        give_back.do_if_due(next, 0);
        assert_eq!(give_back.due(0), None);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let status = "Name:\tthrum\nVmPeak:\t  900 kB\nVmHWM:\t   34 kB\nVmRSS:\t   12 kB\nThreads:\t4\n";
        assert_eq!(HeapBytes::read(status), HeapBytes { current: 12 * 1024, maximum: 34 * 1024 });
        assert_eq!(HeapBytes::read("VmRSS:\t1 pages\n"), HeapBytes::default());
        let now = HeapBytes::own();
        assert!(now.current > 0 && now.maximum >= now.current, "{now:?}");
    }
}
