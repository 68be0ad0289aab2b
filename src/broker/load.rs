//! Long queues live in the store: what waits for a client that is away leaves memory once it is settled there, and comes
//! back page by page when the client does.

use super::core::ShardCore;
use super::effects::Effects;
use super::record::StoredCopy;
use super::session::{Ids, Outgoing, Via};
use super::stored::{Fetch, StoredMessage};
use crate::base::limits::{FETCH_BYTES_MAX, FETCH_MESSAGES_MAX};
use crate::base::{DropReason, RecordId, SessionRef, Timestamp};
use crate::mqtt::SharedFilter;
use crate::session::{FullPolicy, Left, QueueItem};

impl ShardCore {
    /// Remembers a session whose client is away, if there are messages that may leave memory.
    pub(super) fn list_long_queue(&mut self, slot: u32) {
        let session = &mut self.sessions[slot];
        // The last value of a topic is to be found among all that wait.
        let may_leave = session.stored.is_some() && self.options.queue.policy != FullPolicy::LastValue;
        if may_leave && session.conn.is_none() && !session.is_listed && !session.queue.is_empty() {
            session.is_listed = true;
            self.long_queues.push_back(self.sessions.reference(slot));
        }
    }

    pub(super) fn on_settled(&mut self, number: u64) {
        self.records_settled = self.records_settled.max(number);
        for _ in 0..self.long_queues.len() {
            let Some(session) = self.long_queues.pop_front() else { return };
            if let Some(slot) = self.sessions.resolve(session)
                && self.let_queue_leave(slot)
            {
                self.long_queues.push_back(session);
            }
        }
    }

    /// True: some of it cannot yet.
    fn let_queue_leave(&mut self, slot: u32) -> bool {
        let settled = self.records_settled;
        let session = &mut self.sessions[slot];
        session.is_listed = false;
        if session.conn.is_some() {
            return false;
        }
        // What a shared group chose the session for is to be at hand when the session ends, for another member.
        let mut count = 0;
        let all_left = session.queue.leave(|outgoing| {
            let item = outgoing.item.filter(|item| item.number() <= settled && outgoing.via.is_none())?;
            let bytes = u32::try_from(outgoing.bytes()).ok()?;
            count += 1;
            Some(Left { item, bytes })
        });
        self.messages_left += count;
        session.is_listed = !all_left;
        !all_left
    }

    /// Asks for the next page of a queue, while the one before is on its way to the client.
    pub(super) fn load_more(&mut self, slot: u32, fx: &mut Effects) {
        let session = &mut self.sessions[slot];
        if session.is_loading {
            return;
        }
        let Some(id) = session.stored else { return };
        let page = session.queue.to_load(FETCH_MESSAGES_MAX / 2, FETCH_MESSAGES_MAX, FETCH_BYTES_MAX);
        let Some((first, last)) = page else { return };
        session.is_loading = true;
        fx.fetches.push(Fetch { session: self.sessions.reference(slot), id, first, last });
    }

    pub(super) fn on_fetched(
        &mut self,
        now: Timestamp,
        session: SessionRef,
        last: RecordId,
        messages: Vec<StoredMessage>,
        fx: &mut Effects,
    ) {
        let Some(slot) = self.sessions.resolve(session) else { return };
        let loaded: Vec<_> = messages.into_iter().map(|stored| (stored.item, self.outgoing_of(stored))).collect();
        let (mut gone, held) = (Vec::new(), &mut self.held);
        let found = &mut self.sessions[slot];
        found.is_loading = false;
        let messages_left = &mut self.messages_left;
        let on_load = |left: Left, outgoing: &Outgoing| {
            *messages_left -= 1;
            held.take_left(left);
            held.put(outgoing);
        };
        found.queue.load(last, loaded, on_load, |left| gone.push(left));
        for left in gone {
            self.messages_left -= 1;
            self.held.take_left(left);
            self.counters.drop_message(DropReason::StoreLost);
        }
        self.list_long_queue(slot);
        self.pump(now, slot, fx);
    }

    pub(super) fn outgoing_of(&self, stored: StoredMessage) -> Outgoing {
        let StoredMessage { item, message, copy } = stored;
        let StoredCopy { qos, retain, subscription_ids, share } = copy;
        let via = share.and_then(|text| self.via_of(&text));
        Outgoing { message, ids: Ids::of(&subscription_ids), via, item: Some(item), qos, retain }
    }

    fn via_of(&self, text: &str) -> Option<Via> {
        let SharedFilter { group, filter } = SharedFilter::new(text).ok()?;
        let group = group?;
        Some(Via { home: self.homes.of_group(group, filter), group: self.groups.reference_to(group, filter.as_str()) })
    }
}
