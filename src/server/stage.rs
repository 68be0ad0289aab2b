//! Where a shard is between its start and its end: it takes over what was stored, serves, drains and closes. All shards
//! begin to serve together, and tell their clients of the end together.

use super::rounds::{Round, Rounds};
use crate::base::{ShardId, Timestamp};

#[derive(Debug)]
pub(super) struct Stage {
    phase: Phase,
    /// Of the start: what was stored is here, and what it had to say to other shards is on its way to them.
    restored: Rounds,
    /// Of the drain: no client is read any more.
    quiet: Rounds,
}

/// `deadline`: when a drain ends at the latest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Restoring,
    Restored,
    Serving,
    Draining { deadline: Timestamp },
    Closing { deadline: Timestamp },
}

/// What a start or a drain does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    SayRestored,
    /// Every shard knows what it has to know of the others: clients may come.
    Serve,
    SayQuiet,
    /// Nothing more can come: the clients are told.
    Close,
}

impl Stage {
    pub(super) fn serving(me: ShardId, shards: usize) -> Self {
        Self { phase: Phase::Serving, restored: Rounds::new(me, shards), quiet: Rounds::new(me, shards) }
    }

    pub(super) fn restoring(me: ShardId, shards: usize) -> Self {
        Self { phase: Phase::Restoring, ..Self::serving(me, shards) }
    }

    /// No client was let in yet.
    pub(super) const fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Restoring | Phase::Restored)
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Draining { deadline } | Phase::Closing { deadline } => Some(deadline),
            Phase::Restoring | Phase::Restored | Phase::Serving => None,
        }
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.deadline().is_some()
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Everything that was stored is here.
    pub(super) fn end_restoring(&mut self) {
        if self.phase == Phase::Restoring {
            self.phase = Phase::Restored;
        }
    }

    /// A second one changes nothing but brings the end nearer.
    pub(super) fn begin_drain(&mut self, deadline: Timestamp) {
        let nearer = |old: Timestamp| old.min(deadline);
        self.phase = match self.phase {
            Phase::Draining { deadline } => Phase::Draining { deadline: nearer(deadline) },
            Phase::Closing { deadline } => Phase::Closing { deadline: nearer(deadline) },
            Phase::Restoring | Phase::Restored | Phase::Serving => Phase::Draining { deadline },
        };
    }

    pub(super) fn hear_restored(&mut self, from: ShardId) {
        self.restored.hear(from);
    }

    pub(super) fn hear_quiet(&mut self, from: ShardId) {
        self.quiet.hear(from);
    }

    pub(super) fn next_step(&mut self) -> Option<Step> {
        match self.phase {
            Phase::Restored => Some(match self.restored.next()? {
                Round::Say => Step::SayRestored,
                Round::Over => {
                    self.phase = Phase::Serving;
                    Step::Serve
                }
            }),
            Phase::Draining { deadline } => Some(match self.quiet.next()? {
                Round::Say => Step::SayQuiet,
                Round::Over => {
                    self.phase = Phase::Closing { deadline };
                    Step::Close
                }
            }),
            Phase::Restoring | Phase::Serving | Phase::Closing { .. } => None,
        }
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
    fn a_shard_serves_when_every_shard_has_taken_over_what_was_stored_twice_told() {
        let [me, second] = [0, 1].map(ShardId::new);
        let mut stage = Stage::restoring(me, 2);
        stage.hear_restored(second);
        assert_eq!(stage.next_step(), None);
        stage.end_restoring();
        assert_eq!(stage.next_step(), Some(Step::SayRestored));
        assert_eq!(stage.next_step(), Some(Step::SayRestored));
        // One that serves already may drain; that is not what this one waits for.
        stage.hear_quiet(second);
        assert_eq!((stage.next_step(), stage.is_starting()), (None, true));
        stage.hear_restored(second);
        assert_eq!((stage.next_step(), stage.is_starting()), (Some(Step::Serve), false));
        assert_eq!(stage.next_step(), None);
    }

    #[test]
    fn a_shard_alone_waits_for_nobody() {
        let mut stage = Stage::restoring(ShardId::new(0), 1);
        stage.end_restoring();
        let steps: Vec<_> = std::iter::from_fn(|| stage.next_step()).collect();
        assert_eq!(steps, [Step::SayRestored, Step::SayRestored, Step::Serve]);
        stage.begin_drain(Timestamp(5));
        let steps: Vec<_> = std::iter::from_fn(|| stage.next_step()).collect();
        assert_eq!(steps, [Step::SayQuiet, Step::SayQuiet, Step::Close]);
    }

    #[test]
    fn who_is_to_drain_before_it_serves_drains() {
        let mut stage = Stage::restoring(ShardId::new(0), 1);
        stage.begin_drain(Timestamp(5));
        stage.end_restoring();
        assert!(!stage.is_starting() && stage.is_draining());
        assert_eq!(stage.next_step(), Some(Step::SayQuiet));
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
