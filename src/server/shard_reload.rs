//! What a running shard does with a new configuration: nobody is disconnected by it.

use std::sync::Arc;

use tracing::error;

use super::command::Reconfiguration;
use super::listening::Listening;
use super::shard::{LISTENER_TOKEN, Shard};
use crate::base::Timestamp;

impl Shard {
    pub(super) fn reconfigure(&mut self, now: Timestamp, new: Reconfiguration) {
        let Reconfiguration { config, guard, transports, done } = new;
        self.core.reconfigure(now, config.options(), &mut self.effects);
        if let Some(guard) = guard {
            self.core.set_guard(now, guard, &mut self.effects);
        }
        self.config = config;
        self.report.iter_mut().for_each(|report| report.hurry(now));
        let poller = &self.poller;
        self.listeners.retain_mut(|listening| {
            let transport = transports.iter().find(|(id, _)| *id == listening.id);
            match transport {
                Some((_, transport)) => listening.transport = Arc::clone(transport),
                // Others may share the socket, which would go on telling of clients.
                None => drop(poller.remove(&listening.listener)),
            }
            transport.is_some()
        });
        // Whoever does not wait for it any more goes on without.
        let _ = done.send(());
    }

    /// Accepts from more listeners. That all shards know what holds for their clients came first.
    pub(super) fn listen(&mut self, added: Vec<Listening>) {
        for listening in added {
            let token = LISTENER_TOKEN | u64::from(listening.id.0);
            match self.poller.add_listener(&listening.listener, token) {
                Ok(()) => self.listeners.push(listening),
                Err(error) => error!("cannot listen on {}: {error}", listening.listener.address()),
            }
        }
    }
}
