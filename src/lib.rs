//! Thrum: an MQTT 3.1, 3.1.1 and 5.0 broker, one thread per core.
//!
//! Layers, each of which imports only the ones before it (`tests/tidy.rs` keeps it so):
//! `base` < `mqtt` < `session`, `routing`, `access` < `broker` < `net`, `mesh`, `storage` < `server`. Up to `broker` nothing has a
//! socket, a clock or a thread.
//!
//! The core is one function:
//!
//! ```rust
//! use thrum::access::Open;
//! use thrum::base::{ConnId, ShardId, Timestamp};
//! use thrum::broker::{Effects, Input, Options, ShardCore};
//!
//! let now = Timestamp(1_700_000_000_000);
//! let mut core = ShardCore::new(ShardId::new(0), Options::default(), Box::new(Open), now).expect("valid options");
//! let mut effects = Effects::new();
//!
//! let conn = ConnId(0);
//! core.handle(now, Input::Opened { conn }, &mut effects);
//! let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
//! let consumed = core.handle(now, Input::Bytes { conn, bytes: connect }, &mut effects);
//! assert_eq!(consumed.bytes, connect.len());
//!
//! let mut sent = Vec::new();
//! effects.output.drain(|_, buffer| buffer.chunks().for_each(|chunk| sent.extend_from_slice(chunk)));
//! assert_eq!(sent, [0x20, 2, 0, 0]); // CONNACK: welcome
//! ```

pub mod access;
pub mod base;
pub mod broker;
pub mod mesh;
pub mod mqtt;
pub mod net;
pub mod routing;
pub mod server;
pub mod session;
pub mod storage;
