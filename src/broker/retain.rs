//! Retained messages, on the shard of their topic.

use super::core::ShardCore;
use super::effects::Effects;
use super::mesh::MeshMessage;
use super::message::{Draft, Message};
use super::pending::Join;
use super::record::Record;
use crate::base::Refusal;
use crate::mqtt::QoS;

impl ShardCore {
    /// Takes a message with RETAIN to the home of its topic.
    pub(super) fn retain(&mut self, draft: &mut Draft<'_>, join: &mut Join, fx: &mut Effects) {
        let home = self.home(draft.header().topic_hash);
        if home == self.me {
            return self.store_retained(draft.message(), join, fx);
        }
        let token = join.wait(&mut self.pending);
        fx.mesh.push((home, MeshMessage::Retain { message: draft.message(), token }));
    }

    /// Replaces the retained message of a topic [MQTT-3.3.1-5]; an empty payload removes it [MQTT-3.3.1-6] and is not
    /// stored itself [MQTT-3.3.1-7].
    pub(super) fn store_retained(&mut self, message: Message, join: &mut Join, fx: &mut Effects) {
        let is_empty = message.body().payload().is_empty();
        if is_empty {
            self.remove_retained(&message, fx);
        } else if !self.put_retained(&message) {
            self.counters.refuse(Refusal::RetainedFull);
            // What it replaces must not be taken for the topic's last value. [MQTT3-3.3.1-7]
            self.remove_retained(&message, fx);
        } else if self.options.durable {
            self.record(Record::Retained { message: message.clone() }, fx);
        }
        if self.options.durable && message.header().qos != QoS::AtMostOnce {
            self.wait_for_commit(join);
        }
    }

    fn put_retained(&mut self, message: &Message) -> bool {
        let retained = &mut self.retained;
        let before = retained.index.get(message.topic()).map(Message::held_bytes);
        let bytes = retained.bytes - before.unwrap_or(0) + message.held_bytes();
        let too_many = before.is_none() && retained.index.len() >= self.options.retained_messages_max;
        if too_many || bytes > self.options.retained_bytes_max {
            return false;
        }
        retained.bytes = bytes;
        retained.index.put(message.topic(), message.clone());
        true
    }

    pub(super) fn remove_retained(&mut self, message: &Message, fx: &mut Effects) {
        if let Some(removed) = self.retained.index.remove(message.topic()) {
            self.retained.bytes -= removed.held_bytes();
            if self.options.durable {
                self.record(Record::RetainedCleared { topic: message.topic().as_str().into() }, fx);
            }
        }
    }
}
