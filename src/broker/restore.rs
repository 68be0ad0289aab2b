//! A start: sessions and retained messages as the store kept them. Connections are gone; whoever was connected when the
//! records ended, left at the start.

use super::core::ShardCore;
use super::effects::Effects;
use super::message::Message;
use super::pending::{Completion, Join};
use super::record::{Owner, Record};
use super::session::WillMessage;
use super::stored::{StoredItem, StoredSession, StoredWill};
use crate::access::{Identity, Who};
use crate::base::{Millis, Timestamp};
use crate::mqtt::{QoS, SharedFilter};
use crate::routing::SubscriptionOptions;
use crate::session::{Inbound, Left, Outbound, SendQos, SessionExpiry};

impl ShardCore {
    /// Takes up a session whose home is this shard. What time has run out meanwhile, its end and its will, comes with the
    /// next `Tick`, which is to wait until all sessions are there.
    pub fn restore(&mut self, now: Timestamp, stored: StoredSession, fx: &mut Effects) {
        let StoredSession { id, client_id, owner, expiry_secs, left_at, subscriptions, .. } = stored;
        let expiry = SessionExpiry::from_secs(expiry_secs);
        let has_owner = owner.is_some();
        let identity = owner
            .map_or(Identity::ANONYMOUS, |Owner { user, mount }| Identity::new(Who { user, mount, ..Who::default() }));
        let slot = self.sessions.insert(&client_id, identity, expiry, self.judging.free());
        let session = &mut self.sessions[slot];
        (session.has_owner, session.is_absent_since_start, session.stored) = (has_owner, true, Some(id));
        let away_since = left_at.unwrap_or(now);
        self.sessions[slot].ends_at = expiry.deadline(away_since).unwrap_or(Timestamp::NEVER);
        if left_at.is_none() {
            self.record(Record::SessionLeft { session: id, at: now, expiry_secs }, fx);
        }
        for (filter, options) in subscriptions {
            self.restore_subscription(slot, &filter, options, fx);
        }
        let in_flight = stored.in_flight.into_iter().map(|(id, stored)| {
            let outgoing = self.outgoing_of(stored);
            let qos = if outgoing.qos == QoS::ExactlyOnce { SendQos::ExactlyOnce } else { SendQos::AtLeastOnce };
            (id, qos, outgoing)
        });
        let in_flight: Vec<_> = in_flight.collect();
        in_flight.iter().for_each(|(.., outgoing)| self.held.put(outgoing));
        self.sessions[slot].outbound = Outbound::restore(in_flight, &stored.releases);
        self.sessions[slot].inbound = Inbound::restore(&stored.received);
        self.restore_queue(slot, stored.queue);
        if let Some(will) = stored.will {
            self.restore_will(slot, away_since, will);
        }
        self.set_session_timer(slot);
    }

    fn restore_subscription(&mut self, slot: u32, filter: &str, options: SubscriptionOptions, fx: &mut Effects) {
        // It was one when it was recorded.
        let Ok(SharedFilter { group, filter }) = SharedFilter::new(filter) else { return };
        let mut join = Join::new(Some(Completion::Nothing));
        match group {
            Some(group) => self.subscribe_shared(slot, group, filter, options, false, &mut join, fx),
            None => _ = self.subscribe_plain(slot, filter, options, &mut join, fx),
        }
    }

    fn restore_queue(&mut self, slot: u32, items: Vec<StoredItem>) {
        for item in items {
            match item {
                StoredItem::Left { item, bytes } => {
                    let left = Left { item, bytes };
                    self.held.put_left(left);
                    self.messages_left += 1;
                    self.sessions[slot].queue.push_left(left);
                }
                StoredItem::Loaded(stored) => {
                    let outgoing = self.outgoing_of(*stored);
                    self.held.put(&outgoing);
                    self.sessions[slot].queue.push_loaded(outgoing);
                }
            }
        }
    }

    fn restore_will(&mut self, slot: u32, away_since: Timestamp, will: StoredWill) {
        let StoredWill { message, delay_secs, expiry_secs } = will;
        let session = &mut self.sessions[slot];
        // [MQTT-3.1.2-8]
        let until = session.ends_at.min(away_since + Millis::from_secs(delay_secs));
        session.will.restore(WillMessage { message, expiry_secs }, until);
    }

    /// Takes up a retained message whose home is this shard.
    pub fn restore_retained(&mut self, message: &Message) {
        debug_assert_eq!(self.homes.of_topic(message.header().topic_hash), self.me);
        self.retained.put(message);
    }
}
