//! Retained messages for a new subscription, pulled page by page as the subscriber's window and output allow, from one
//! shard after the other. A million matches cost one page of memory.
//!
//! A question is answered only when every ring to the answering shard was drained once more since it came. So whatever
//! was retained before the client could have known of it, is found: its publisher's shard had put it into the ring
//! before it acknowledged it, or sent it to anybody.
//!
//! What the session is sent live meanwhile is not replayed as well, and nothing older of its topic is.

use std::collections::VecDeque;

use super::after_drain::AfterDrain;
use super::core::ShardCore;
use super::deliver::{Copy, Delivered};
use super::effects::Effects;
use super::mesh::{MeshMessage, RetainedQuestion};
use super::message::{Draft, Message};
use super::retained::Replay;
use crate::base::limits::{REPLAYS_APART_MAX, RETAINED_PAGE_MESSAGES_MAX, RETAINED_PAGE_STEPS_MAX};
use crate::base::{ShardId, SubscriptionId, Timestamp};
use crate::mqtt::{QoS, TopicFilter, TopicName};
use crate::routing::{RetainedCursor, SubscriptionOptions};

impl ShardCore {
    pub(super) fn new_replay(&mut self, filter: TopicFilter<'_>, options: SubscriptionOptions) -> Replay {
        let (shard, last_shard) = if filter.has_wildcard() {
            (0, self.options.shards - 1)
        } else {
            let home = self.homes.of_topic(self.index.hash(TopicName::trusted(filter.as_str()))).index();
            (home, home)
        };
        Replay {
            id: 0,
            filter: filter.as_str().into(),
            options,
            shard,
            last_shard,
            cursor: RetainedCursor::default(),
            is_asked: false,
            held: VecDeque::new(),
        }
    }

    pub(super) fn begin_replays(&mut self, slot: u32, mut replays: Vec<Replay>) {
        for replay in &mut replays {
            self.replays_begun += 1;
            replay.id = self.replays_begun;
        }
        self.sessions[slot].rare_mut().begin_replays(replays);
    }

    /// Sends what was fetched, and fetches more, while there is room.
    pub(super) fn replay(&mut self, now: Timestamp, slot: u32, fx: &mut Effects) {
        while let Some(replay) = self.front_replay(slot) {
            let has_held = !replay.held.is_empty();
            if has_held {
                if !self.send_held(now, slot, fx) {
                    return;
                }
            } else if replay.is_asked {
                return;
            } else if !replay.cursor.done {
                return self.ask(slot, fx);
            } else if !replay.next_shard() {
                self.sessions[slot].rare_mut().end_front_replay();
                self.sessions[slot].shrink_rare();
            }
        }
    }

    fn front_replay(&mut self, slot: u32) -> Option<&mut Replay> {
        self.sessions[slot].rare.as_mut()?.replays.front_mut()
    }

    /// Sends one of the messages that were fetched. False: there is no room for it.
    fn send_held(&mut self, now: Timestamp, slot: u32, fx: &mut Effects) -> bool {
        let session = &self.sessions[slot];
        let Some(conn) = session.conn.filter(|&conn| self.has_room(conn)) else { return false };
        let Some(rare) = session.rare.as_ref() else { return false };
        let Some(replay) = rare.replays.front() else { return false };
        let Some(message) = replay.held.front() else { return false };
        let SubscriptionOptions { qos, id, no_local, .. } = replay.options;
        let qos = message.header().qos.min(qos);
        // Behind what waits: in the queue it could be dropped.
        let is_next = session.queue.is_empty();
        let can_send = match qos {
            QoS::AtMostOnce => is_next || !self.options.queue_qos_zero,
            _ => is_next && session.outbound.can_send(self.connections[conn].window),
        };
        if !can_send {
            return false;
        }
        // [MQTT-3.8.3-3]
        let is_own = no_local && message.header().publisher == self.sessions.client_hash(&session.client_id);
        let came_live = rare.live_topics.stand_for(replay, message.header().topic_hash);
        let Some(message) = self.front_replay(slot).and_then(|replay| replay.held.pop_front()) else { return false };
        if is_own || came_live {
            return true;
        }
        let ids: Option<[SubscriptionId; 1]> = id.map(|id| [id]);
        // [MQTT3-3.3.1-8]
        let copy = Copy { qos, retain: true, ids: ids.as_ref().map_or(&[], |ids| ids.as_slice()), via: None };
        self.deliver(now, slot, &mut Draft::of(&message), &copy, fx);
        true
    }

    /// A message with RETAIN was delivered live, or dropped. It is newer than the replays that are there, since these
    /// began when nothing older was on its way here any more; and whatever is newer still comes live, too.
    pub(super) fn note_live(&mut self, slot: u32, draft: &Draft<'_>, delivered: Delivered) {
        let Some(rare) = &mut self.sessions[slot].rare else { return };
        let Some(newest) = rare.replays.back() else { return };
        let (header, newest) = (draft.header(), newest.id);
        if delivered == Delivered::Dropped {
            return rare.live_topics.remove(header.topic_hash);
        }
        let many = rare.replays.len() > REPLAYS_APART_MAX;
        if many || rare.replays.iter().any(|replay| replay.filter().matches(draft.topic())) {
            let is_own = header.publisher == self.sessions.client_hash(&self.sessions[slot].client_id);
            self.sessions[slot].rare_mut().live_topics.put(header.topic_hash, is_own, newest);
        }
    }

    fn ask(&mut self, slot: u32, fx: &mut Effects) {
        let session = self.sessions.reference(slot);
        let messages_max = self.page_size(slot);
        let me = self.me;
        let Some(replay) = self.front_replay(slot) else { return };
        if messages_max == 0 {
            return;
        }
        replay.is_asked = true;
        let shard = ShardId::new(replay.shard);
        let question = RetainedQuestion {
            session,
            replay: replay.id,
            filter: replay.filter.clone(),
            cursor: replay.cursor.clone(),
            messages_max,
        };
        if shard == me {
            self.after_drain.push(AfterDrain::Question { from: me, question });
        } else {
            fx.mesh.push(shard, MeshMessage::RetainedAsk(question));
        }
    }

    /// As many as can be sent at once, and none for a client that is away or takes nothing.
    fn page_size(&self, slot: u32) -> usize {
        let session = &self.sessions[slot];
        let Some(conn) = session.conn.filter(|&conn| self.has_room(conn)) else { return 0 };
        let front = session.rare.as_ref().and_then(|rare| rare.replays.front());
        if front.is_some_and(|replay| replay.options.qos == QoS::AtMostOnce) {
            return RETAINED_PAGE_MESSAGES_MAX;
        }
        let window = usize::from(self.connections[conn].window);
        window.saturating_sub(session.outbound.in_flight()).min(RETAINED_PAGE_MESSAGES_MAX)
    }

    pub(super) fn on_mesh_drained(&mut self, now: Timestamp, fx: &mut Effects) {
        if self.options.shards == 1 {
            self.after_drain.begin_draining();
        }
        for due in self.after_drain.take_ready() {
            match due {
                AfterDrain::Question { from, question } => self.answer(now, from, question, fx),
                AfterDrain::Page { question, messages } => self.on_retained_page(now, question, messages, fx),
                AfterDrain::SubAck(due) => self.send_suback(now, due, fx),
            }
        }
        self.after_drain.begin_draining();
    }

    fn answer(&mut self, now: Timestamp, from: ShardId, mut question: RetainedQuestion, fx: &mut Effects) {
        let (mut messages, mut expired) = (Vec::new(), Vec::new());
        let messages_max = question.messages_max.min(RETAINED_PAGE_MESSAGES_MAX);
        let filter = TopicFilter::trusted(&question.filter);
        self.retained.index.page(filter, &mut question.cursor, messages_max, RETAINED_PAGE_STEPS_MAX, |_, message| {
            let list = if message.header().expires > now { &mut messages } else { &mut expired };
            list.push(message.clone());
        });
        for message in expired {
            self.remove_retained(&message, fx);
        }
        if self.options.shards == 1 {
            self.on_retained_page(now, question, messages, fx);
        } else if from == self.me {
            self.after_drain.push(AfterDrain::Page { question, messages });
        } else {
            fx.mesh.push(from, MeshMessage::RetainedPage { question, messages });
        }
    }

    /// An answer: the question comes back with its cursor moved on.
    fn on_retained_page(
        &mut self,
        now: Timestamp,
        question: RetainedQuestion,
        messages: Vec<Message>,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.sessions.resolve(question.session) else { return };
        // Unless it was unsubscribed in the meantime; then it is the next one's turn.
        if let Some(replay) = self.front_replay(slot).filter(|replay| replay.id == question.replay) {
            replay.is_asked = false;
            replay.cursor = question.cursor;
            replay.held.extend(messages);
        }
        self.replay(now, slot, fx);
    }

    /// Whether `Input::MeshDrained` is waited for.
    pub fn wants_mesh_drained(&self) -> bool {
        self.after_drain.len() > 0
    }
}
