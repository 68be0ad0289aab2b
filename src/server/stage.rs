//! Where a shard is between serving and its end.

use crate::base::{ShardId, Timestamp};

/// How often all shards tell each other that they are quiet. What a client published may go on to a second shard (the
/// home of a shared group) and from there to a third: two rounds are behind all of it.
const QUIET_ROUNDS: u8 = 2;

#[derive(Debug)]
pub(super) struct Stage {
    /// When a drain ends at the latest; none while the shard serves.
    deadline: Option<Timestamp>,
    /// Rounds that this shard said to be quiet in.
    said: u8,
    /// The same of each shard; what a faster one says comes before our own drain begins.
    heard: Vec<u8>,
    is_closing: bool,
}

/// What a drain does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    SayQuiet,
    /// Nothing more can come: the clients are told.
    Close,
}

impl Stage {
    pub(super) fn serving(me: ShardId, shards: usize) -> Self {
        let mut heard = vec![0; shards];
        heard[me.index()] = u8::MAX;
        Self { deadline: None, said: 0, heard, is_closing: false }
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.deadline.is_some()
    }

    pub(super) const fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// A second one changes nothing but brings the end nearer.
    pub(super) fn begin_drain(&mut self, deadline: Timestamp) {
        self.deadline = Some(self.deadline.unwrap_or(deadline).min(deadline));
    }

    pub(super) fn hear_quiet(&mut self, from: ShardId) {
        self.heard[from.index()] += 1;
    }

    pub(super) fn next_step(&mut self) -> Option<Step> {
        if !self.is_draining() || self.is_closing || self.heard.iter().any(|&heard| heard < self.said) {
            return None;
        }
        if self.said == QUIET_ROUNDS {
            self.is_closing = true;
            return Some(Step::Close);
        }
        self.said += 1;
        Some(Step::SayQuiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_are_told_when_every_shard_was_quiet_twice() {
        let [me, second, third] = [0, 1, 2].map(ShardId::new);
        let mut stage = Stage::serving(me, 3);
        // The second shard is ahead of our own drain, and of the third.
        stage.hear_quiet(second);
        assert_eq!(stage.next_step(), None);
        stage.begin_drain(Timestamp(5));
        assert_eq!(stage.next_step(), Some(Step::SayQuiet));
        assert_eq!(stage.next_step(), None);
        stage.hear_quiet(second);
        assert_eq!(stage.next_step(), None);
        stage.hear_quiet(third);
        assert_eq!(stage.next_step(), Some(Step::SayQuiet));
        assert_eq!(stage.next_step(), None);
        stage.hear_quiet(third);
        assert_eq!(stage.next_step(), Some(Step::Close));
        assert_eq!(stage.next_step(), None);
    }

    #[test]
    fn a_shard_alone_waits_for_nobody() {
        let mut stage = Stage::serving(ShardId::new(0), 1);
        stage.begin_drain(Timestamp(5));
        let steps: Vec<_> = std::iter::from_fn(|| stage.next_step()).collect();
        assert_eq!(steps, [Step::SayQuiet, Step::SayQuiet, Step::Close]);
    }

    #[test]
    fn asking_again_brings_the_end_nearer_and_never_puts_it_off() {
        let mut stage = Stage::serving(ShardId::new(0), 1);
        for deadline in [9, 5, 7] {
            stage.begin_drain(Timestamp(deadline));
        }
        assert_eq!(stage.deadline(), Some(Timestamp(5)));
    }
}
