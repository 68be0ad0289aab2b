//! Retained messages for a new subscription, pulled page by page as the subscriber's window and output allow, from one
//! shard after the other. A million matches cost one page of memory.
//!
//! A question is answered only when every ring to the answering shard was drained once more since it came. So whatever
//! was retained before the client could have known of it, is found: its publisher's shard had put it into the ring
//! before it acknowledged it, or sent it to anybody.

use std::collections::VecDeque;

use super::core::ShardCore;
use super::deliver::Copy;
use super::effects::Effects;
use super::mesh::{MeshMessage, RetainedQuestion};
use super::message::{Draft, Message};
use super::retained::{Asked, Replay};
use crate::base::limits::{RETAINED_PAGE_MESSAGES_MAX, RETAINED_PAGE_STEPS_MAX};
use crate::base::{ShardId, SubscriptionId, Timestamp};
use crate::mqtt::{QoS, TopicFilter};
use crate::routing::{RetainedCursor, SubscriptionOptions};

impl ShardCore {
    pub(super) fn new_replay(&mut self, filter: TopicFilter<'_>, options: SubscriptionOptions) -> Replay {
        let (shard, last_shard) = if filter.has_wildcard() {
            (0, self.options.shards - 1)
        } else {
            let home = self.home(self.topic_hash(filter.as_str())).index();
            (home, home)
        };
        self.replays_begun = self.replays_begun.wrapping_add(1);
        Replay {
            id: self.replays_begun,
            filter: filter.as_str().into(),
            options,
            shard,
            last_shard,
            cursor: RetainedCursor::default(),
            is_asked: false,
            held: VecDeque::new(),
        }
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
                self.sessions[slot].rare_mut().replays.pop_front();
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
        let Some(replay) = session.rare.as_ref().and_then(|rare| rare.replays.front()) else { return false };
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
        let Some(message) = self.front_replay(slot).and_then(|replay| replay.held.pop_front()) else { return false };
        if is_own {
            return true;
        }
        let ids: Option<[SubscriptionId; 1]> = id.map(|id| [id]);
        // [MQTT3-3.3.1-8]
        let copy = Copy { qos, retain: true, ids: ids.as_ref().map_or(&[], |ids| ids.as_slice()), via: None };
        self.deliver(now, slot, &mut Draft::of(&message), &copy, fx);
        true
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
            self.questions.push(me, question);
        } else {
            fx.mesh.push((shard, MeshMessage::RetainedAsk(question)));
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
        let ready = if self.options.shards == 1 { self.questions.waiting.len() } else { self.questions.ready };
        for Asked { from, question } in self.questions.waiting.drain(..ready).collect::<Vec<_>>() {
            self.answer(now, from, question, fx);
        }
        self.questions.ready = self.questions.waiting.len();
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
        if from == self.me {
            self.on_retained_page(now, question, messages, fx);
        } else {
            fx.mesh.push((from, MeshMessage::RetainedPage { question, messages }));
        }
    }

    /// An answer: the question comes back with its cursor moved on.
    pub(super) fn on_retained_page(
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
        self.questions.len() > 0
    }
}
