//! What the process tells a shard, and the way from any other thread to it.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::config::Config;
use crate::access::Verdict;
use crate::broker::CheckId;
use crate::mesh::Alarm;
use crate::storage::Told;

#[derive(Debug)]
pub(super) enum Command {
    /// New options; those that only a start can change are as they were.
    Configure(Arc<Config>),
    /// A slow check is done.
    Verdict { check: CheckId, verdict: Verdict },
    /// A thread of the store has something to say.
    Stored(Told),
    /// What is recorded is to be durable without delay.
    CommitNow,
    /// What is recorded is to be in the settled store; says so when it is.
    Rotate(Sender<()>),
    /// Stop accepting, tell every client, and end.
    Drain,
}

#[derive(Clone, Debug)]
pub(super) struct ShardHandle {
    pub(super) commands: Sender<Command>,
    pub(super) alarm: Arc<Alarm>,
}

impl ShardHandle {
    /// False: the shard has ended.
    pub(super) fn tell(&self, command: Command) -> bool {
        let is_there = self.commands.send(command).is_ok();
        // Only now: a shard looks for commands once more before it sleeps.
        self.alarm.ring();
        is_there
    }
}
