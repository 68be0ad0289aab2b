//! Thrum: an MQTT 3.1, 3.1.1 and 5.0 broker core without a socket, a clock or a thread.
//!
//! Layers, each of which imports only the ones before it (`tests/tidy.rs` keeps it so):
//! `base` < `mqtt` < `session`, `routing`, `access` < `broker`.

pub mod access;
pub mod base;
pub mod broker;
pub mod mqtt;
pub mod routing;
pub mod session;

/// The README's examples are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
