//! Thrum: an MQTT 3.1, 3.1.1 and 5.0 broker, one thread per core.
//!
//! Layers, each of which imports only the ones before it (`tests/tidy.rs` keeps it so):
//! `base` < `mqtt` < `session`, `routing`, `access` < `broker` < `net`, `mesh` < `server`. Up to `broker` nothing has a
//! socket, a clock or a thread.

pub mod access;
pub mod base;
pub mod broker;
pub mod mesh;
pub mod mqtt;
pub mod net;
pub mod routing;
pub mod server;
pub mod session;

/// The README's examples are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
