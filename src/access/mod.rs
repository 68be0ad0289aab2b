//! L2 (being built).
