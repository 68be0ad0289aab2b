//! What one seed plays: each draws its own mix of features, so that rare combinations do meet.

use thrum::base::Millis;
use thrum::broker::Options;
use thrum::routing::Choice;
use thrum::session::{FullPolicy, QueueBounds};

use crate::rng::Rng;

#[derive(Clone, Debug)]
pub struct Profile {
    pub options: Options,
    pub clients: usize,
    pub steps: usize,
    /// No queue can be full: nothing may be lost.
    pub roomy: bool,
    /// No output can be full.
    pub roomy_output: bool,
    pub retain: usize,
    pub share: usize,
    pub will: usize,
    pub expiry: usize,
    pub big: usize,
    pub unsubscribe: usize,
    pub cut: usize,
    pub takeover: usize,
    pub disconnect: usize,
    pub slow: usize,
    pub hostile: usize,
    pub later_checks: usize,
    pub clean: usize,
    pub long_time: usize,
    pub wildcards: usize,
    pub version: Option<u8>,
    /// Clients come back with another version.
    pub mixed: bool,
    pub late_acks: usize,
    pub chunked: usize,
    pub lazy_mesh: usize,
    /// Rings that are seldom drained, as bits of four times the sender and the receiver.
    pub slow_rings: u64,
}

impl Profile {
    pub fn draw(rng: &mut Rng) -> Self {
        let roomy = rng.percent(65);
        let roomy_output = rng.percent(75);
        let policy = match (roomy, rng.below(4)) {
            (_, 0) => FullPolicy::DropNewest,
            (_, 1) => FullPolicy::DropOldest,
            (true, _) => FullPolicy::Disconnect,
            (false, 2) => FullPolicy::LastValue,
            (false, _) => FullPolicy::Disconnect,
        };
        let small = rng.between(1, 6) as u32;
        let mut secret = [0; 32];
        secret[1..9].copy_from_slice(&rng.next().to_le_bytes());
        let options = Options {
            shards: rng.pick(&[1, 1, 2, 2, 3, 4]),
            seed: rng.next(),
            secret,
            durable: rng.percent(50),
            connect_timeout: Millis::from_secs(10),
            keep_alive_secs_max: rng.pick(&[0, 0, 0, 30]),
            session_expiry_secs_max: rng.pick(&[u32::MAX, u32::MAX, 7]),
            receive_max: rng.pick(&[1, 2, 5, 1024]),
            inflight_max: rng.pick(&[1, 2, 3, 20]),
            queue: QueueBounds {
                messages_max: if roomy { 100_000 } else { small },
                bytes_max: if !roomy && rng.percent(30) { 400 } else { 64 << 20 },
                policy,
            },
            queue_qos_zero: rng.percent(40),
            output_bytes_max: if roomy_output { 1 << 20 } else { rng.between(60, 600) as u32 },
            topic_alias_max: rng.pick(&[0, 2, 10]),
            outbound_topic_alias_max: rng.pick(&[0, 2, 10]),
            share_choice: rng.pick(&[Choice::RoundRobin, Choice::LeastInFlight, Choice::StickyTopic]),
            ..Options::default()
        };
        let some = |rng: &mut Rng, often: usize| if rng.percent(50) { rng.between(1, often) } else { 0 };
        // A client that had more under way than its new version allows could not send it again.
        let mixed = options.receive_max == 1024 && rng.percent(30);
        Self {
            options,
            mixed,
            clients: rng.between(2, 8),
            steps: rng.between(150, 1_200),
            roomy,
            roomy_output,
            retain: some(rng, 50),
            share: some(rng, 60),
            will: some(rng, 100),
            expiry: some(rng, 40),
            big: some(rng, 20),
            unsubscribe: some(rng, 40),
            cut: some(rng, 30),
            takeover: some(rng, 30),
            disconnect: some(rng, 30),
            slow: some(rng, 60),
            hostile: if rng.percent(20) { rng.between(1, 5) } else { 0 },
            later_checks: some(rng, 100),
            clean: rng.pick(&[0, 10, 50, 100]),
            long_time: some(rng, 60),
            wildcards: rng.pick(&[0, 30, 80]),
            version: if rng.percent(40) { Some(rng.pick(&[3, 4, 5, 5])) } else { None },
            late_acks: some(rng, 80),
            chunked: some(rng, 100),
            lazy_mesh: some(rng, 100),
            slow_rings: if rng.percent(50) { rng.next() & rng.next() } else { 0 },
        }
    }
}
