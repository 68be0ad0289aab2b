//! QoS 1 and 2 as the sender: messages that the client has not yet taken over.
//!
//! | phase | event | phase | the caller |
//! |---|---|---|---|
//! | - | `send(AtLeastOnce)` | AwaitPubAck | sends PUBLISH |
//! | - | `send(ExactlyOnce)` | AwaitPubRec | sends PUBLISH |
//! | AwaitPubAck | `puback` | - | lets the message go |
//! | AwaitPubRec | `pubrec` | AwaitPubComp | lets the message go, sends PUBREL |
//! | AwaitPubRec | `pubrec_refused` | - | lets the message go |
//! | AwaitPubComp | `pubrec` | AwaitPubComp | sends PUBREL again |
//! | AwaitPubComp | `pubcomp` | - | |
//! | AwaitPubAck, AwaitPubRec | `next_resend` | same | sends PUBLISH with DUP |
//! | AwaitPubComp | `next_resend` | same | sends PUBREL |
//!
//! Any other acknowledgement is unexpected and changes nothing.
//!
//! Identifiers are given out in sequence, and the slot of an identifier is its low bits, so every step is an array
//! access. The price is that a finished message keeps its slot until all before it are finished too; `span_max` bounds
//! that.

use std::collections::VecDeque;
use std::mem;

use super::PacketId;

/// Slots at first use: enough for a client that takes one message at a time.
const SLOTS_MIN: usize = 4;

/// The span of identifiers in use, finished ones among them, is at most this many times the window and this much more:
/// then one message that is never acknowledged stops the others, and cannot make the slots grow.
const SPAN_PER_WINDOW: usize = 4;
const SPAN_SLACK: usize = 64;

/// An identifier and its successor, with the 0 that is skipped between them, must still differ from the first in use.
const SPAN_MAX: usize = u16::MAX as usize - 2;

/// The QoS of a message that needs an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendQos {
    AtLeastOnce,
    ExactlyOnce,
}

/// What a message in flight waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutboundPhase {
    AwaitPubAck,
    AwaitPubRec,
    AwaitPubComp,
}

/// An acknowledgement that fits nothing in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnexpectedAck {
    /// Packet Identifier not found (0x92): legitimate after a session was lost or a packet was resent.
    UnknownId,
    /// The kind of acknowledgement does not fit the message's QoS, or comes before its turn: a Protocol Error (0x82).
    WrongPhase,
}

/// A packet to send again on a resumed session, with its original identifier. [MQTT-4.4.0-1]
#[derive(PartialEq, Eq, Debug)]
pub enum Resend<'a, M> {
    /// To be sent with DUP. [MQTT-3.3.1-1]
    Publish {
        id: PacketId,
        delivery: SendQos,
        message: &'a M,
    },
    PubRel {
        id: PacketId,
    },
}

/// The messages in flight to one client. Two words while there are none.
#[derive(Debug)]
pub struct Outbound<M> {
    ring: Option<Box<Ring<M>>>,
    next_id: PacketId,
    /// Messages not finished: what the send quota counts. [MQTT-4.9.0-2]
    in_flight: u16,
    /// Those of them that were sent, or resent, on this connection.
    sent: u16,
}

#[derive(Debug)]
struct Ring<M> {
    /// A power of two of them; all outside `head..next_id` are free.
    slots: Box<[Slot<M>]>,
    /// The first identifier in use.
    head: u16,
    /// Where to look next for a PUBLISH to send again.
    publish_at: u16,
    /// The PUBRELs to send again, in the order in which their PUBRECs came.
    releases: VecDeque<u16>,
    /// Counts PUBRECs, for that order.
    received: u64,
}

#[derive(Debug)]
enum Slot<M> {
    Free,
    Publish { message: M, delivery: SendQos, sent: bool },
    Release { sent: bool, order: u64 },
}

impl<M> Default for Outbound<M> {
    fn default() -> Self {
        Self { ring: None, next_id: PacketId::MIN, in_flight: 0, sent: 0 }
    }
}

impl<M> Outbound<M> {
    /// Messages not finished: PUBLISH sent and neither PUBACK, PUBCOMP nor a refusing PUBREC received.
    pub const fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// Whether a new message may be sent to a client that allows `window` in flight [MQTT-3.3.4-9] [MQTT-4.9.0-2]. Not
    /// before all that must be resent has been resent, for the order's sake [MQTT-4.6.0-5].
    pub fn can_send(&self, window: u16) -> bool {
        self.in_flight < window && self.sent == self.in_flight && self.span() < span_max(window)
    }

    /// The identifier that the next message gets: it is not in use. [MQTT-2.2.1-4]
    pub const fn next_id(&self) -> PacketId {
        self.next_id
    }

    /// Gives the message an identifier that is not in use [MQTT-2.2.1-4] and keeps it until it is acknowledged. Ask
    /// `can_send` first: the message is dropped, and the answer is none, where it says no.
    pub fn send(&mut self, delivery: SendQos, message: M, window: u16) -> Option<PacketId> {
        if !self.can_send(window) {
            return None;
        }
        let id = self.next_id;
        let end = id.checked_add(1).unwrap_or(PacketId::MIN);
        let ring = self.ring.get_or_insert_with(|| Box::new(Ring::new(id.get())));
        // [MQTT-4.3.2-1] [MQTT-4.3.3-1]
        ring.make_room(id.get(), end.get());
        *ring.slot(id.get()) = Slot::Publish { message, delivery, sent: true };
        self.next_id = end;
        self.in_flight += 1;
        self.sent += 1;
        Some(id)
    }

    /// What was in flight when its state was stored: messages in their order, and identifiers to release in the order of
    /// their PUBRECs. All is to be sent again.
    pub fn restore(messages: Vec<(PacketId, SendQos, M)>, releases: &[PacketId]) -> Self {
        let in_use = messages.iter().map(|(id, ..)| id.get()).chain(releases.iter().map(|id| id.get()));
        let mut in_use: Vec<u16> = in_use.collect();
        in_use.sort_unstable();
        let Some((head, last)) = ends_of_span(&in_use) else { return Self::default() };
        let end = PacketId::new(last).and_then(|last| last.checked_add(1)).unwrap_or(PacketId::MIN);
        let mut ring = Ring::new(head);
        ring.make_room(head, end.get());
        let in_flight = in_use.len() as u16;
        for (id, delivery, message) in messages {
            *ring.slot(id.get()) = Slot::Publish { message, delivery, sent: false };
        }
        for &id in releases {
            *ring.slot(id.get()) = Slot::Release { sent: false, order: ring.received };
            ring.received += 1;
            ring.releases.push_back(id.get());
        }
        Self { ring: Some(Box::new(ring)), next_id: end, in_flight, sent: 0 }
    }

    /// PUBACK, whatever its Reason Code: the message is delivered. [MQTT-4.3.2-3] [MQTT-4.4.0-2]
    pub fn puback(&mut self, id: PacketId) -> Result<M, UnexpectedAck> {
        self.finish_publish(id, SendQos::AtLeastOnce)
    }

    /// PUBREC with a Reason Code below 0x80: answer PUBREL [MQTT-4.3.3-4]. Yields the message, which is never sent
    /// again [MQTT-4.3.3-6], or none when it was yielded before.
    pub fn pubrec(&mut self, id: PacketId) -> Result<Option<M>, UnexpectedAck> {
        let order = self.ring.as_ref().map_or(0, |ring| ring.received);
        let slot = self.lookup(id)?;
        let (message, sent) = match mem::replace(slot, Slot::Release { sent: true, order }) {
            Slot::Publish { message, delivery: SendQos::ExactlyOnce, sent } => (Some(message), sent),
            Slot::Release { sent, order } => {
                *slot = Slot::Release { sent: true, order };
                (None, sent)
            }
            other => {
                *slot = other;
                return Err(UnexpectedAck::WrongPhase);
            }
        };
        if let Some(ring) = &mut self.ring {
            ring.received += 1;
        }
        // The PUBREL that answers is this connection's, even where the PUBLISH was not.
        self.sent += u16::from(!sent);
        Ok(message)
    }

    /// PUBREC with a Reason Code of 0x80 or more: no PUBREL, the exchange is over. [MQTT-4.4.0-2]
    pub fn pubrec_refused(&mut self, id: PacketId) -> Result<M, UnexpectedAck> {
        self.finish_publish(id, SendQos::ExactlyOnce)
    }

    /// PUBCOMP, whatever its Reason Code. [MQTT-4.3.3-5]
    pub fn pubcomp(&mut self, id: PacketId) -> Result<(), UnexpectedAck> {
        let slot = self.lookup(id)?;
        let Slot::Release { sent, .. } = *slot else { return Err(UnexpectedAck::WrongPhase) };
        *slot = Slot::Free;
        self.finished(sent);
        Ok(())
    }

    /// Nothing in flight counts as sent any more; on the next connection `next_resend` gives it out. A new connection
    /// starts with a full send quota. [MQTT-4.9.0-1]
    pub fn connection_lost(&mut self) {
        self.sent = 0;
        let Some(ring) = &mut self.ring else { return };
        let mut releases = Vec::new();
        for id in ids(ring.head, self.next_id.get()) {
            match ring.slot(id.get()) {
                Slot::Free => {}
                Slot::Publish { sent, .. } => *sent = false,
                Slot::Release { sent, order } => {
                    *sent = false;
                    releases.push((*order, id.get()));
                }
            }
        }
        // [MQTT3-4.6.0-4]
        releases.sort_unstable();
        ring.releases = releases.into_iter().map(|(_, id)| id).collect();
        ring.publish_at = ring.head;
    }

    /// The next packet to send again, until none. First each PUBREL, which no window holds back [MQTT-3.3.4-10], in the
    /// order of the PUBRECs [MQTT3-4.6.0-4]; then each PUBLISH in its original order [MQTT-4.6.0-1], as far as the
    /// `window` of this connection allows: call again after acknowledgements. A message that waits for its PUBCOMP
    /// counts. [MQTT-4.4.0-1] [MQTT-4.3.3-3] [MQTT3-4.3.2-1] [MQTT3-4.3.3-1]
    pub fn next_resend(&mut self, window: u16) -> Option<Resend<'_, M>> {
        if self.sent == self.in_flight {
            return None;
        }
        let end = self.next_id.get();
        let ring = self.ring.as_deref_mut()?;
        let at = match ring.next_unsent_release(end) {
            Some(at) => at,
            None if self.sent < window => ring.next_unsent_publish(end)?,
            None => return None,
        };
        self.sent += 1;
        let id = PacketId::new(at)?;
        match ring.slot(at) {
            Slot::Free => None,
            Slot::Publish { message, delivery, sent } => {
                *sent = true;
                Some(Resend::Publish { id, delivery: *delivery, message })
            }
            Slot::Release { sent, .. } => {
                *sent = true;
                Some(Resend::PubRel { id })
            }
        }
    }

    /// What is in flight, in order.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, OutboundPhase)> {
        let end = self.next_id.get();
        self.ring.iter().flat_map(move |ring| {
            ids(ring.head, end).filter_map(|id| {
                let phase = match &ring.slots[ring.index(id.get())] {
                    Slot::Free => return None,
                    Slot::Publish { delivery: SendQos::AtLeastOnce, .. } => OutboundPhase::AwaitPubAck,
                    Slot::Publish { delivery: SendQos::ExactlyOnce, .. } => OutboundPhase::AwaitPubRec,
                    Slot::Release { .. } => OutboundPhase::AwaitPubComp,
                };
                Some((id, phase))
            })
        })
    }

    /// The messages that nobody took over yet, in no order.
    pub fn messages(&self) -> impl Iterator<Item = &M> {
        self.ring.iter().flat_map(|ring| &ring.slots).filter_map(|slot| match slot {
            Slot::Publish { message, .. } => Some(message),
            Slot::Free | Slot::Release { .. } => None,
        })
    }

    /// The session is over: the messages that nobody took over, in order. Nothing is in flight afterwards.
    pub fn drain(&mut self) -> impl Iterator<Item = M> + use<M> {
        let end = self.next_id.get();
        self.in_flight = 0;
        self.sent = 0;
        self.ring.take().into_iter().flat_map(move |mut ring| {
            ids(ring.head, end).filter_map(move |id| match mem::replace(ring.slot(id.get()), Slot::Free) {
                Slot::Publish { message, .. } => Some(message),
                Slot::Free | Slot::Release { .. } => None,
            })
        })
    }

    /// Gives back memory that what is in flight does not need.
    pub fn shrink(&mut self) {
        let span = self.span();
        let end = self.next_id.get();
        match &mut self.ring {
            Some(_) if self.in_flight == 0 => self.ring = None,
            Some(ring) => ring.shrink(span, end),
            None => {}
        }
    }

    fn span(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| self.next_id.get().wrapping_sub(ring.head) as usize)
    }

    fn lookup(&mut self, id: PacketId) -> Result<&mut Slot<M>, UnexpectedAck> {
        let span = self.span();
        let ring = self.ring.as_deref_mut().ok_or(UnexpectedAck::UnknownId)?;
        if id.get().wrapping_sub(ring.head) as usize >= span {
            return Err(UnexpectedAck::UnknownId);
        }
        match ring.slot(id.get()) {
            Slot::Free => Err(UnexpectedAck::UnknownId),
            slot => Ok(slot),
        }
    }

    fn finish_publish(&mut self, id: PacketId, acknowledged: SendQos) -> Result<M, UnexpectedAck> {
        let slot = self.lookup(id)?;
        match mem::replace(slot, Slot::Free) {
            Slot::Publish { message, delivery, sent } if delivery == acknowledged => {
                self.finished(sent);
                Ok(message)
            }
            other => {
                *slot = other;
                Err(UnexpectedAck::WrongPhase)
            }
        }
    }

    /// A slot became free: its send quota is back [MQTT-4.9.0-2], and so are the slots before the first in use.
    fn finished(&mut self, sent: bool) {
        self.in_flight -= 1;
        self.sent -= u16::from(sent);
        let Some(ring) = &mut self.ring else { return };
        if self.in_flight == 0 {
            ring.head = self.next_id.get();
            return;
        }
        while matches!(ring.slot(ring.head), Slot::Free) {
            ring.head = ring.head.wrapping_add(1);
        }
    }
}

/// Identifiers are given out in a circle: the first and the last of some, which are sorted, by the largest gap between
/// two.
fn ends_of_span(sorted: &[u16]) -> Option<(u16, u16)> {
    let (&first, &last) = (sorted.first()?, sorted.last()?);
    let around = (first.wrapping_sub(last), first, last);
    let gaps = sorted.windows(2).map(|pair| (pair[1] - pair[0], pair[1], pair[0]));
    let (_, first, last) = gaps.fold(around, |widest, gap| if gap.0 > widest.0 { gap } else { widest });
    Some((first, last))
}

const fn span_max(window: u16) -> usize {
    let span = window as usize * SPAN_PER_WINDOW + SPAN_SLACK;
    if span < SPAN_MAX { span } else { SPAN_MAX }
}

/// The identifiers from `head` up to and without `end`, around the end of their range.
fn ids(head: u16, end: u16) -> impl Iterator<Item = PacketId> {
    (0..end.wrapping_sub(head)).filter_map(move |offset| PacketId::new(head.wrapping_add(offset)))
}

impl<M> Ring<M> {
    fn new(head: u16) -> Self {
        Self { slots: free_slots(SLOTS_MIN), head, publish_at: head, releases: VecDeque::new(), received: 0 }
    }

    const fn index(&self, id: u16) -> usize {
        id as usize & (self.slots.len() - 1)
    }

    fn slot(&mut self, id: u16) -> &mut Slot<M> {
        &mut self.slots[id as usize & (self.slots.len() - 1)]
    }

    /// Slots for everything from `head` to `end`, of which `head..used_end` is in use.
    fn make_room(&mut self, used_end: u16, end: u16) {
        let span = end.wrapping_sub(self.head) as usize;
        if span > self.slots.len() {
            self.resize(span.next_power_of_two(), used_end);
        }
    }

    fn shrink(&mut self, span: usize, end: u16) {
        let enough = span.next_power_of_two().max(SLOTS_MIN);
        if enough * 2 < self.slots.len() {
            self.resize(enough, end);
        }
    }

    #[cold]
    fn resize(&mut self, len: usize, end: u16) {
        let mut slots = free_slots(len);
        for id in ids(self.head, end) {
            slots[id.get() as usize & (len - 1)] = mem::replace(self.slot(id.get()), Slot::Free);
        }
        self.slots = slots;
    }

    fn next_unsent_release(&mut self, end: u16) -> Option<u16> {
        while let Some(id) = self.releases.pop_front() {
            // Unless its PUBCOMP, or its PUBREC once more, came in the meantime; the slot may be a later one's then.
            let in_use = id.wrapping_sub(self.head) < end.wrapping_sub(self.head);
            if in_use && matches!(self.slot(id), Slot::Release { sent: false, .. }) {
                return Some(id);
            }
        }
        None
    }

    fn next_unsent_publish(&mut self, end: u16) -> Option<u16> {
        let found = self.find(self.publish_at, end, |slot| matches!(slot, Slot::Publish { sent: false, .. }));
        self.publish_at = found.unwrap_or(end);
        found
    }

    /// From `at`, or from `head` where acknowledgements have moved it past.
    fn find(&self, at: u16, end: u16, wanted: impl Fn(&Slot<M>) -> bool) -> Option<u16> {
        let span = end.wrapping_sub(self.head);
        let passed = at.wrapping_sub(self.head);
        let from = if passed > span { 0 } else { passed };
        let mut offsets = from..span;
        offsets.find_map(|offset| {
            let id = self.head.wrapping_add(offset);
            wanted(&self.slots[self.index(id)]).then_some(id)
        })
    }
}

fn free_slots<M>(len: usize) -> Box<[Slot<M>]> {
    (0..len).map(|_| Slot::Free).collect()
}

#[cfg(test)]
mod tests;
