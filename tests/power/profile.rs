//! What one seed plays: how many of what, and how bad the disk is.

use std::time::Duration;

use thrum::base::ShardId;
use thrum::broker::Options;
use thrum::routing::Choice;
use thrum::session::{FullPolicy, QueueBounds};
use thrum::storage::{Durability, LogOptions};

use crate::rng::Rng;

#[derive(Clone, Debug)]
pub struct Profile {
    pub options: Options,
    pub log: LogOptions,
    pub clients: usize,
    /// The first so many are the shared group.
    pub members: usize,
    pub group_qos: u8,
    pub steps: usize,
    /// How often the broker comes to its end before its time.
    pub crashes: usize,
    /// In a hundred: ends by power loss, operations that fail, crashes in a start.
    pub power: usize,
    pub failing: usize,
    pub in_start: usize,
    pub retain: usize,
    pub will: usize,
    pub clean: usize,
    pub big: usize,
    pub unsubscribe: usize,
    pub cut: usize,
    /// How busy the disk and the rings are.
    pub disk: usize,
    pub mesh: usize,
    pub settle: usize,
}

const BLOCK: u64 = 4096;

impl Profile {
    pub fn draw(rng: &mut Rng) -> Self {
        let some = |rng: &mut Rng, often: usize| if rng.percent(50) { rng.between(1, often) } else { 0 };
        let mut secret = [0; 32];
        secret[1..9].copy_from_slice(&rng.next().to_le_bytes());
        let options = Options {
            secret,
            durable: true,
            inflight_max: rng.pick(&[1, 2, 3, 20]),
            queue: QueueBounds { messages_max: 100_000, bytes_max: 64 << 20, policy: FullPolicy::DropNewest },
            share_choice: rng.pick(&[Choice::RoundRobin, Choice::LeastInFlight, Choice::StickyTopic]),
            ..Options::default()
        };
        let log = LogOptions {
            store_id: 0,
            epoch: 0,
            shard: ShardId::new(0),
            next_number: 1,
            durability: Durability::Commit,
            commit_delay: Duration::from_millis(rng.pick(&[0, 0, 1, 5])),
            commit_bytes_max: rng.pick(&[1_000, 8_000, 1 << 20]),
            segment_bytes: BLOCK * rng.pick(&[3, 4, 6, 12, 40]),
            segments_max: rng.between(1, 6),
        };
        let clients = rng.between(2, 6);
        Self {
            options,
            log,
            clients,
            members: if clients > 2 && rng.percent(50) { rng.between(2, clients - 1) } else { 0 },
            group_qos: rng.pick(&[1, 2, 2]),
            steps: rng.between(200, 1_000),
            crashes: rng.between(1, 4),
            power: rng.pick(&[0, 50, 100, 100]),
            failing: rng.pick(&[0, 0, 2, 10]),
            in_start: rng.pick(&[0, 0, 30]),
            retain: some(rng, 60),
            will: some(rng, 60),
            clean: if rng.percent(25) { rng.between(5, 30) } else { 0 },
            big: some(rng, 20),
            unsubscribe: some(rng, 60),
            cut: rng.pick(&[0, 20, 60]),
            disk: rng.pick(&[10, 25, 60]),
            mesh: rng.pick(&[5, 15, 40]),
            settle: rng.pick(&[1, 4, 10]),
        }
    }
}
