//! Time as an argument: the core never asks a clock.

use std::ops::{Add, Sub};

/// Milliseconds since the Unix epoch, made monotonic by the driver. An absolute time, so that what is stored keeps its
/// meaning across a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp(pub u64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs as u64 * 1000)
    }

    /// Whole seconds, rounded up: what is left of a lifetime must not read as nothing while some is left.
    pub const fn secs_ceil(self) -> u32 {
        let secs = self.0.div_ceil(1000);
        if secs > u32::MAX as u64 { u32::MAX } else { secs as u32 }
    }
}

impl Timestamp {
    pub const NEVER: Self = Self(u64::MAX);
}

impl Add<Millis> for Timestamp {
    type Output = Self;

    fn add(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Millis;

    /// Zero where `earlier` is in fact later.
    fn sub(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}
