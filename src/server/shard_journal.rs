//! What a shard does with its journal in a turn: what it recorded goes there, what became durable is told the core, and
//! what the store's threads have to say comes as commands.

use std::time::Instant;

use tracing::error;

use super::shard::Shard;
use super::shard_store::ShardStore;
use crate::base::Timestamp;
use crate::broker::Input;
use crate::storage::Told;

impl Shard {
    pub(super) fn is_store_behind(&self) -> bool {
        self.store.as_ref().is_some_and(ShardStore::is_behind)
    }

    /// True: it has done something.
    pub(super) fn hear_journal(&mut self) -> bool {
        self.store.as_mut().is_some_and(|store| store.journal.hear())
    }

    /// What the turn recorded goes to the journal, and what became durable since the last one comes from it.
    pub(super) fn turn_journal(&mut self, now: Timestamp) {
        let Some(store) = &mut self.store else { return };
        store.journal.record(&mut self.effects.records);
        for fetch in self.effects.fetches.drain(..) {
            store.handle.fetch(fetch);
        }
        store.journal.turn(Instant::now());
        for segment in store.journal.full_segments() {
            store.handle.settle(segment);
        }
        let (is_writable, committed) = (store.look_for_failure(), store.take_committed());
        if let Some(is_writable) = is_writable {
            self.core.handle(now, Input::Store { is_writable }, &mut self.effects);
        }
        if let Some(number) = committed {
            self.core.handle(now, Input::Committed { number }, &mut self.effects);
        }
    }

    /// What a thread of the store has to say.
    pub(super) fn hear_store(&mut self, now: Timestamp, told: Told) {
        let Some(store) = &mut self.store else { return };
        match told {
            Told::Settled { sequence, last_number } => {
                store.hear_settled(sequence, last_number);
                self.core.handle(now, Input::Settled { number: last_number }, &mut self.effects);
            }
            Told::Fetched { session, last, messages } => {
                self.core.handle(now, Input::Fetched { session, last, messages }, &mut self.effects);
            }
            Told::Failed(what) => store.hear_settler(Some(what)),
            Told::Unreadable(what) => error!("a message that was stored is not there any more: {what}"),
            Told::Recovered => store.hear_settler(None),
        }
    }
}
