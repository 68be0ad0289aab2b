//! Exactly once from shard to shard. What has to go to other shards, and must neither get lost nor be delivered twice by a
//! crash in between, is first made durable here, in the spool, together with what it comes of: a QoS 2 publish with its
//! packet identifier, a will with its session's having none any more, a message for a shared group with the end of the
//! session that had it. Then it sets out. Each shard makes durable in one group what it did about the message and that the
//! message has arrived, and when all have said so, it is taken out of the spool.
//!
//! A restart finds in the spool what was under way, and which shards it had reached.

use super::core::ShardCore;
use super::effects::Effects;
use super::mesh::MeshMessage;
use super::message::{Draft, Message, Origin};
use super::pending::{Completion, Join, Late, Spooled};
use super::record::Record;
use super::session::Via;
use crate::base::{RecordId, Timestamp};
use crate::mqtt::{PacketId, QoS};
use crate::session::AckTicket;

impl ShardCore {
    /// Whether a message of a session that survives may leave this shard, or would overtake one that does.
    pub(super) fn must_spool(&self, draft: &Draft<'_>) -> bool {
        let header = draft.header();
        if self.options.shards == 1 || header.qos == QoS::AtMostOnce {
            return false;
        }
        let is_retained_elsewhere = header.retain && self.homes.of_topic(header.topic_hash) != self.me;
        self.spooling > 0 || is_retained_elsewhere || !self.groups.is_empty() || !self.interested(draft).is_empty()
    }

    /// Puts a message into the spool, where it waits until that is durable. `share`: it is for one member of this group.
    pub(super) fn spool(
        &mut self,
        now: Timestamp,
        publisher: Option<u32>,
        draft: &mut Draft<'_>,
        share: Option<(Via, Box<str>)>,
        acknowledges: Option<(AckTicket, PacketId)>,
        fx: &mut Effects,
    ) {
        let message = draft.message();
        let stored = publisher.and_then(|slot| self.sessions[slot].stored);
        let (share, text) = share.unzip();
        let id = self.record(Record::Spooled { message: message.clone(), publisher: stored, share: text }, fx);
        if let (Some(session), Some((_, packet_id))) = (stored, acknowledges) {
            self.record(Record::Accepted { session, packet_id }, fx);
        }
        self.spooling += 1;
        if share.is_none() && message.header().retain {
            self.count_waiting(&message, true);
        }
        let acknowledges =
            acknowledges.zip(publisher).map(|((ticket, _), slot)| (self.sessions.reference(slot), ticket));
        let publisher = publisher.map(|slot| self.sessions[slot].client_id.clone());
        let spooled = Spooled { id, message, publisher, share, acknowledges };
        let mut join = Join::new(Some(Completion::Spooled(Box::new(spooled))));
        self.wait_for_commit(&mut join);
        self.finish(now, join, fx);
    }

    /// It is durable, and sets out.
    pub(super) fn route_spooled(&mut self, now: Timestamp, spooled: Spooled, fx: &mut Effects) {
        let Spooled { id, message, publisher, share, acknowledges } = spooled;
        self.spooling -= 1;
        if share.is_none() && message.header().retain {
            self.count_waiting(&message, false);
        }
        let publisher = publisher.and_then(|client_id| self.sessions.find(&client_id));
        let mut join = Join::new(Some(Completion::Unspool(id)));
        match share {
            Some(via) => self.route_to_share(now, via, message, id, &mut join, fx),
            None => self.route_to_all(now, publisher, &message, id, &mut join, fx),
        }
        if let Some((session, ticket)) = acknowledges {
            self.acknowledge_stored(session, ticket, fx);
        }
        self.finish(now, join, fx);
    }

    /// Whether a message is not to overtake one of its topic that waits: a topic's last value is what was published last,
    /// whatever the QoS.
    pub(super) fn must_wait(&self, draft: &Draft<'_>) -> bool {
        !self.waiting_topics.is_empty() && self.waiting_topics.contains_key(&draft.header().topic_hash)
    }

    /// Routes a message that needs no spool, and nobody waits for.
    pub(super) fn route_in_order(&mut self, now: Timestamp, publisher: u32, draft: &mut Draft<'_>, fx: &mut Effects) {
        if self.must_wait(draft) {
            self.route_later(now, publisher, draft, None, fx);
        } else {
            self.route(now, Some(publisher), draft, &mut Join::new(None), fx);
        }
    }

    pub(super) fn route_later(
        &mut self,
        now: Timestamp,
        publisher: u32,
        draft: &mut Draft<'_>,
        then: Option<Completion>,
        fx: &mut Effects,
    ) {
        let (message, publisher) = (draft.message(), self.sessions[publisher].client_id.clone());
        self.count_waiting(&message, true);
        let mut join = Join::new(Some(Completion::Route(Box::new(Late { message, publisher, then }))));
        self.wait_for_commit(&mut join);
        self.finish(now, join, fx);
    }

    pub(super) fn route_late(&mut self, now: Timestamp, late: Late, fx: &mut Effects) {
        let Late { message, publisher, then } = late;
        self.count_waiting(&message, false);
        let (mut join, publisher) = (Join::new(then), self.sessions.find(&publisher));
        self.route(now, publisher, &mut Draft::of(&message), &mut join, fx);
        self.finish(now, join, fx);
    }

    fn count_waiting(&mut self, message: &Message, is_new: bool) {
        let count = self.waiting_topics.entry(message.header().topic_hash).or_default();
        *count = if is_new { *count + 1 } else { *count - 1 };
        if *count == 0 {
            self.waiting_topics.remove(&message.header().topic_hash);
        }
    }

    fn route_to_all(
        &mut self,
        now: Timestamp,
        publisher: Option<u32>,
        message: &Message,
        id: RecordId,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let draft = Draft::of(message);
        let mut shards = self.interested(&draft);
        if message.header().retain {
            shards.insert(self.homes.of_topic(message.header().topic_hash));
        }
        shards.remove(self.me);
        for shard in shards.iter() {
            if let Some(token) = join.wait(&mut self.pending) {
                self.counters.mesh_publishes_sent += 1;
                fx.mesh.push(shard, MeshMessage::Spooled { message: message.clone(), spooled: id, token });
            }
        }
        self.take_spooled(now, publisher, message, id, join, fx);
    }

    /// What this shard has to do about a message out of a spool, its own or another shard's.
    pub(super) fn take_spooled(
        &mut self,
        now: Timestamp,
        publisher: Option<u32>,
        message: &Message,
        spooled: RecordId,
        join: &mut Join,
        fx: &mut Effects,
    ) {
        let mut draft = Draft::from(message, Origin::Spool(spooled));
        if message.header().retain && self.homes.of_topic(message.header().topic_hash) == self.me {
            self.store_retained(&mut draft, join, fx);
        }
        self.fan_out(now, publisher, &mut draft, join, fx);
        self.record(Record::Arrived { spooled }, fx);
        self.wait_for_commit(join);
    }
}
