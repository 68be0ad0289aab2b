//! What a shard does on its way from one stage to the next, together with all others.

use super::parcel::Parcel;
use super::shard::Shard;
use super::stage::Step;
use crate::base::{ShardId, Timestamp};
use crate::broker::Input;

impl Shard {
    pub(super) fn take_steps(&mut self, now: Timestamp) {
        while let Some(step) = self.stage.next_step() {
            match step {
                Step::SayRestored => self.say_to_all(|| Parcel::Restored),
                Step::Serve => self.tell_started(),
                Step::SayQuiet => self.say_to_all(|| Parcel::Quiet),
                Step::Close => _ = self.core.handle(now, Input::Shutdown, &mut self.effects),
            }
        }
    }

    /// Behind all that this shard has caused so far.
    fn say_to_all(&mut self, word: impl Fn() -> Parcel) {
        self.send_mesh();
        let me = self.port.shard();
        for to in (0..self.port.shards()).map(ShardId::new).filter(|&to| to != me) {
            self.port.send(to, word());
        }
    }

    /// Whoever does not wait for it any more has failed to start another shard.
    pub(super) fn tell_started(&mut self) {
        if let Some(started) = self.started.take() {
            let _ = started.send(Ok(()));
        }
    }
}
