//! The broker's binary, spoken to in raw bytes over TCP: one module a behaviour, most of them with 1, 2 and 4 shards.
//! THRUM_BINARY names another build to test; THRUM_SOAK_SECS, THRUM_IDLE_CONNECTIONS and THRUM_IDLE_SECS make two of the
//! tests measurements.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped is a failure")]
#![allow(clippy::print_stdout, reason = "figures, and what a failure needs to be understood")]

#[allow(dead_code, reason = "the parts of it that tests/crash uses")]
mod broker;
mod client;
mod log_line;
mod packets;
mod process;
mod random;
mod status;

mod bans;
mod drain;
mod fairness;
mod first_bytes;
mod home;
mod idle;
mod limits;
mod log;
mod mesh;
mod order;
mod qos;
mod rates;
mod reload;
mod reload_access;
mod retained;
mod session;
mod shared;
mod slow;
mod soak;
mod store;
mod store_restart;
mod sys;
mod transports;
mod vectors;
mod will;
