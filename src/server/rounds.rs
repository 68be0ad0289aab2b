//! How all shards agree that something is over everywhere: each tells all others so through the rings, behind what it
//! had to say before, and does so again when it has heard it of all.

use crate::base::ShardId;

/// What one shard caused may go on to a second one (the home of a shared group) and from there to a third: two rounds are
/// behind all of it.
const ROUNDS: u8 = 2;

#[derive(Debug)]
pub(super) struct Rounds {
    said: u8,
    /// Of each shard; a faster one may be ahead.
    heard: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Round {
    Say,
    Over,
}

impl Rounds {
    pub(super) fn new(me: ShardId, shards: usize) -> Self {
        let mut heard = vec![0; shards];
        heard[me.index()] = u8::MAX;
        Self { said: 0, heard }
    }

    pub(super) fn hear(&mut self, from: ShardId) {
        self.heard[from.index()] += 1;
    }

    /// None: there are some to wait for.
    pub(super) fn next(&mut self) -> Option<Round> {
        if self.heard.iter().any(|&heard| heard < self.said) {
            return None;
        }
        if self.said == ROUNDS {
            return Some(Round::Over);
        }
        self.said += 1;
        Some(Round::Say)
    }
}
