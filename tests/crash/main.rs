//! The broker's binary with a store, killed and starved: `kill -9` at random moments while publishers and durable
//! subscribers go on, and disks that are full or fail. What was acknowledged must have survived.
//!
//! THRUM_CRASH_KILLS (20) makes the run longer, THRUM_CRASH_SEED repeats its choices, THRUM_BINARY names another build.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped is a failure")]
#![allow(clippy::print_stdout, reason = "figures, and what a failure needs to be understood")]

#[allow(dead_code, reason = "the parts of it that other tests use")]
#[path = "../wire/broker.rs"]
mod broker;
#[allow(dead_code, reason = "the parts of it that other tests use")]
#[path = "../wire/client.rs"]
mod client;
#[allow(dead_code, reason = "the parts of it that other tests use")]
#[path = "../wire/log_line.rs"]
mod log_line;
#[allow(dead_code, reason = "the parts of it that other tests use")]
#[path = "../wire/packets.rs"]
mod packets;
#[path = "../wire/random.rs"]
mod random;
#[allow(dead_code, reason = "the parts of it that other tests use")]
#[path = "../wire/status.rs"]
mod status;
#[allow(dead_code, reason = "tests/wire comes by each way, this one by TCP")]
#[path = "../wire/wrapping.rs"]
mod wrapping;

mod broken_disk;
mod disk;
mod faults;
mod folder;
mod history;
mod judge;
mod kills;
mod link;
mod publisher;
mod retained;
mod subscriber;
mod world;
