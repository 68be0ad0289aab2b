//! What the process tells a shard, and the way from any other thread to it.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::config::Config;
use super::listening::Listening;
use crate::access::{Guard, Verdict};
use crate::base::ListenerId;
use crate::broker::CheckId;
use crate::mesh::Alarm;
use crate::net::Transport;
use crate::storage::Told;

#[derive(Debug)]
pub(super) enum Command {
    /// New options, rules and listeners' transports; what only a start can change is as it was.
    Configure(Box<Reconfiguration>),
    /// Accept from these listeners too.
    Listen(Vec<Listening>),
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

/// What holds from now on.
#[derive(Debug)]
pub(super) struct Reconfiguration {
    pub(super) config: Arc<Config>,
    /// None: as before.
    pub(super) guard: Option<Box<dyn Guard>>,
    /// Of all listeners that there will be; those without go.
    pub(super) transports: Vec<(ListenerId, Arc<Transport>)>,
    /// Hears when it holds.
    pub(super) done: Sender<()>,
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
