//! L4: what shards send each other, and how they wake each other: a ring per ordered pair of shards, an alarm per shard.
//!
//! A shard's loop, as far as the mesh is concerned:
//!
//! 1. `receive`, and hand on what it takes; then the mesh is drained, in the sense of the core's `MeshDrained`;
//! 2. `send` what came of it, and of the connections' input; `flush` once at the end, before connections are written to;
//! 3. while `is_blocked`, read from no publisher, but go on receiving: two shards that fill each other's rings would
//!    otherwise wait for each other;
//! 4. to sleep: `prepare_sleep`; if it says so, look at every other queue whose writers `ring` the alarm; then wait on
//!    the epoll set that has the alarm in it, edge-triggered; then `woke`.

mod alarm;
mod port;
#[cfg(test)]
mod stress;

pub use alarm::Alarm;
pub use port::{MeshStats, Port, build, ring_slots};
