//! How much a client may publish.

use std::num::{NonZeroU32, NonZeroU64};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rates {
    pub messages_per_sec: Option<NonZeroU32>,
    pub bytes_per_sec: Option<NonZeroU64>,
    pub on_excess: Excess,
}

/// What becomes of who publishes more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Excess {
    /// He is not read until he may publish again.
    Slow,
    Disconnect,
}
