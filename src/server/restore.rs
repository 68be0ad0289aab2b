//! What was stored comes back: a bounded part of it in each turn, and its memory is given back as it goes.

use super::shard::Shard;
use crate::base::Timestamp;
use crate::storage::ShardImage;

/// What one turn takes over, so that other shards are listened to in between. A session may have a queue as long as its
/// bound.
const SESSIONS_PER_TURN: usize = 64;
const RETAINED_PER_TURN: usize = 256;

impl Shard {
    pub(super) fn restore_some(&mut self, now: Timestamp) {
        if !self.may_restore() {
            return;
        }
        let Some(mut image) = self.image.take() else { return };
        for _ in 0..SESSIONS_PER_TURN {
            let Some(session) = image.sessions.pop() else { break };
            self.core.restore(now, session, &mut self.effects);
        }
        for _ in 0..RETAINED_PER_TURN {
            let Some(message) = image.retained.pop() else { break };
            self.core.restore_retained(&message);
        }
        if image.sessions.is_empty() && image.retained.is_empty() {
            self.stage.end_restoring();
        } else {
            give_back(&mut image);
            self.image = Some(image);
        }
    }

    /// What is restored is told other shards, who have to keep up.
    pub(super) fn may_restore(&self) -> bool {
        self.image.is_some() && !self.is_mesh_full()
    }
}

fn give_back(image: &mut ShardImage) {
    let ShardImage { sessions, retained } = image;
    if sessions.len() < sessions.capacity() / 2 {
        sessions.shrink_to_fit();
    }
    if retained.len() < retained.capacity() / 2 {
        retained.shrink_to_fit();
    }
}
