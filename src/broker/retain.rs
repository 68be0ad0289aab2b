//! Retained messages, on the shard of their topic.

use super::core::ShardCore;
use super::effects::Effects;
use super::mesh::MeshMessage;
use super::message::{Draft, Message};
use super::options::Options;
use super::pending::Join;
use super::record::Record;
use crate::base::Refusal;
use crate::mqtt::QoS;

impl ShardCore {
    /// Takes a message with RETAIN to the home of its topic.
    pub(super) fn retain(&mut self, draft: &mut Draft<'_>, join: &mut Join, fx: &mut Effects) {
        let home = self.homes.of_topic(draft.header().topic_hash);
        if home == self.me {
            return self.store_retained(draft, join, fx);
        }
        let token = join.wait(&mut self.pending);
        fx.mesh.push(home, MeshMessage::Retain { message: draft.message(), token });
    }

    /// Replaces the retained message of a topic [MQTT-3.3.1-5]; an empty payload removes it [MQTT-3.3.1-6] and is not
    /// stored itself [MQTT-3.3.1-7].
    pub(super) fn store_retained(&mut self, draft: &mut Draft<'_>, join: &mut Join, fx: &mut Effects) {
        let message = draft.message();
        if self.may_not_store(message.header().qos, draft.origin, join) {
            return join.refuse(&mut self.pending);
        }
        let is_empty = message.body().payload().is_empty();
        if is_empty {
            self.remove_retained(&message, fx);
        } else if !self.put_retained(&message) {
            self.counters.refuse(Refusal::RetainedFull);
            // What it replaces must not be taken for the topic's last value. [MQTT3-3.3.1-7]
            self.remove_retained(&message, fx);
        } else if self.is_recorded(&message) {
            self.record(Record::Retained { message: message.clone() }, fx);
        }
        if self.options.durable && message.header().qos != QoS::AtMostOnce {
            self.wait_for_commit(join);
        }
    }

    fn put_retained(&mut self, message: &Message) -> bool {
        let Options { retained_messages_max, retained_bytes_max, .. } = self.options;
        if !message.topic().is_dollar() {
            let held = self.retained.held_with(message);
            if held.messages > retained_messages_max as u64 || held.bytes > retained_bytes_max as u64 {
                return false;
            }
        }
        self.retained.put(message);
        true
    }

    /// What the broker says of itself is not: after a restart it says it anew.
    fn is_recorded(&self, message: &Message) -> bool {
        self.options.durable && !message.topic().is_dollar()
    }

    pub(super) fn remove_retained(&mut self, message: &Message, fx: &mut Effects) {
        if self.retained.remove(message.topic()).is_some() && self.is_recorded(message) {
            self.record(Record::RetainedCleared { topic: message.topic().as_str().into() }, fx);
        }
    }
}
