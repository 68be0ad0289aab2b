//! Rules for who is there already. A session whose subscriptions may all bring whatever they match is free: its messages
//! are not looked at. All others are judged, message by message. New rules make every session one of these at once, and
//! then the subscriptions are looked at anew, some at each turn, so that those that may be free are.

use super::core::ShardCore;
use super::effects::Effects;
use crate::access::{Client, Grant, Guard, Identity};
use crate::base::limits::SUBSCRIPTIONS_JUDGED_MAX;
use crate::base::{SessionRef, Timestamp};
use crate::mqtt::{QoS, TopicFilter, TopicName};
use crate::routing::Subscriber;

impl ShardCore {
    /// Goes on with other rules of who may do what. They apply at once to who is there as well: nobody is disconnected, but
    /// what a subscription brings is judged from now on, until it turns out that it may bring everything.
    pub fn set_guard(&mut self, _now: Timestamp, guard: Box<dyn Guard>, _fx: &mut Effects) {
        self.guard = guard;
        self.judging.begin_sweep();
    }

    /// Whether each message for a session has to be asked about.
    #[inline]
    pub(super) fn is_judged(&self, slot: u32) -> bool {
        self.sessions[slot].free_by != self.judging.free()
    }

    #[cold]
    pub(super) fn may_receive(&mut self, slot: u32, topic: TopicName<'_>) -> bool {
        let session = &self.sessions[slot];
        // Of whom nothing but the name is known, he is judged when he is back: what waits for him is asked about then.
        session.is_absent_since_start
            || self.guard.may_receive(&Client { identity: &session.identity, client_id: &session.client_id }, topic)
    }

    /// What a new subscription may bring.
    pub(super) fn grant(&mut self, slot: u32, filter: TopicFilter<'_>, qos: QoS) -> Grant {
        let session = &mut self.sessions[slot];
        let client = Client { identity: &session.identity, client_id: &session.client_id };
        let grant = self.guard.may_subscribe(&client, filter, qos);
        if grant == Grant::Filtered {
            session.free_by = 0;
        }
        grant
    }

    /// The client is who he says, which he has not always been: his rights may be others.
    pub(super) fn identify(&mut self, slot: u32, identity: Identity) {
        let session = &mut self.sessions[slot];
        let was_absent = std::mem::take(&mut session.is_absent_since_start);
        let is_same = !was_absent && session.identity == identity;
        session.identity = identity;
        if is_same {
            return;
        }
        if session.subscriptions_len() == 0 {
            session.free_by = if session.queue.is_empty() { self.judging.free() } else { 0 };
        } else {
            session.free_by = 0;
            self.judging.push(self.sessions.reference(slot));
        }
    }

    /// A bounded part of what there is to look at.
    pub(super) fn judge_some(&mut self) {
        let mut left = SUBSCRIPTIONS_JUDGED_MAX;
        let mut has_looked = false;
        while left > 0 {
            let Some(&session) = self.judging.queue.front() else {
                if has_looked || !self.judging.look_at_more(&self.sessions) {
                    return;
                }
                has_looked = true;
                continue;
            };
            left -= 1;
            if self.judge_one(session) {
                self.judging.queue.pop_front();
                self.judging.done = 0;
            }
        }
    }

    /// Looks at one more subscription of the first in the queue. True: that was all.
    fn judge_one(&mut self, session: SessionRef) -> bool {
        let Some(slot) = self.sessions.resolve(session) else { return true };
        let found = &self.sessions[slot];
        if found.is_absent_since_start || found.free_by == self.judging.free() {
            return true;
        }
        let at = self.judging.done;
        let Some(qos) = self.write_filter(slot, at) else {
            self.sessions[slot].free_by = self.judging.free();
            return true;
        };
        let session = &self.sessions[slot];
        let client = Client { identity: &session.identity, client_id: &session.client_id };
        let filter = TopicFilter::trusted(&self.judging.text);
        self.judging.done += 1;
        self.guard.may_subscribe(&client, filter, qos) != Grant::Whole
    }

    /// The filter of one of a session's subscriptions, the shared ones behind the others.
    fn write_filter(&mut self, slot: u32, at: usize) -> Option<QoS> {
        let (session, text) = (&self.sessions[slot], &mut self.judging.text);
        text.clear();
        if let Some(&filter) = session.subscriptions.get(at) {
            self.index.write_text(filter, text);
            return Some(self.index.options(filter, Subscriber::session(slot)).map_or(QoS::ExactlyOnce, |of| of.qos));
        }
        // What QoS was granted, its group's home knows.
        text.push_str(&session.shares().get(at - session.subscriptions.len())?.filter);
        Some(QoS::ExactlyOnce)
    }
}
