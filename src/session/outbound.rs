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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::SendQos::{AtLeastOnce, ExactlyOnce};
    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    fn resent<M: Copy>(resend: Option<Resend<'_, M>>) -> Option<(u16, Option<(SendQos, M)>)> {
        resend.map(|resend| match resend {
            Resend::Publish { id, delivery, message } => (id.get(), Some((delivery, *message))),
            Resend::PubRel { id } => (id.get(), None),
        })
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Event {
        PubAck,
        PubRec,
        Refused,
        PubComp,
    }

    /// Some(message) when one was yielded.
    fn apply(outbound: &mut Outbound<u32>, id: PacketId, event: Event) -> Result<Option<u32>, UnexpectedAck> {
        match event {
            Event::PubAck => outbound.puback(id).map(Some),
            Event::PubRec => outbound.pubrec(id),
            Event::Refused => outbound.pubrec_refused(id).map(Some),
            Event::PubComp => outbound.pubcomp(id).map(|()| None),
        }
    }

    // [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.4.0-2]
    #[test]
    fn each_acknowledgement_in_each_phase() {
        use Event::{PubAck, PubComp, PubRec, Refused};
        use OutboundPhase::*;
        const WRONG: Result<(Option<u32>, Option<OutboundPhase>), UnexpectedAck> = Err(UnexpectedAck::WrongPhase);
        let table = [
            (AwaitPubAck, PubAck, Ok((Some(7), None))),
            (AwaitPubAck, PubRec, WRONG),
            (AwaitPubAck, Refused, WRONG),
            (AwaitPubAck, PubComp, WRONG),
            (AwaitPubRec, PubAck, WRONG),
            (AwaitPubRec, PubRec, Ok((Some(7), Some(AwaitPubComp)))),
            (AwaitPubRec, Refused, Ok((Some(7), None))),
            (AwaitPubRec, PubComp, WRONG),
            (AwaitPubComp, PubAck, WRONG),
            (AwaitPubComp, PubRec, Ok((None, Some(AwaitPubComp)))),
            (AwaitPubComp, Refused, WRONG),
            (AwaitPubComp, PubComp, Ok((None, None))),
        ];
        for (phase, event, expected) in table {
            let mut outbound = Outbound::default();
            let delivery = if phase == AwaitPubAck { AtLeastOnce } else { ExactlyOnce };
            let id = outbound.send(delivery, 7, 1).unwrap();
            if phase == AwaitPubComp {
                outbound.pubrec(id).unwrap();
            }
            let yielded = apply(&mut outbound, id, event);
            let after = outbound.iter().next().map(|(_, phase)| phase);
            match expected {
                Ok((message, next)) => assert_eq!((yielded, after), (Ok(message), next), "{event:?} in {phase:?}"),
                Err(error) => assert_eq!((yielded, after), (Err(error), Some(phase)), "{event:?} in {phase:?}"),
            }
            assert_eq!(outbound.in_flight(), usize::from(after.is_some()));
            assert_eq!(outbound.can_send(1), after.is_none(), "the quota is back exactly when the exchange is over");
        }
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_unknown() {
        let mut outbound = Outbound::default();
        for event in [Event::PubAck, Event::PubRec, Event::Refused, Event::PubComp] {
            assert_eq!(apply(&mut outbound, id(1), event), Err(UnexpectedAck::UnknownId));
        }
        let first = outbound.send(AtLeastOnce, 1, 9).unwrap();
        outbound.send(AtLeastOnce, 2, 9).unwrap();
        outbound.puback(first).unwrap();
        for unknown in [first, id(3), id(u16::MAX)] {
            assert_eq!(outbound.puback(unknown), Err(UnexpectedAck::UnknownId));
        }
    }

    // [MQTT-2.2.1-4]
    #[test]
    fn identifiers_go_around_without_zero_and_without_those_in_use() {
        let mut outbound = Outbound::default();
        let mut held = None;
        for round in 0..200_000u32 {
            let id = outbound.send(AtLeastOnce, round, 2).unwrap();
            assert_eq!(u32::from(id.get()), round % 65_535 + 1);
            // Two in flight, so that the end of the range is crossed with a message on either side.
            if let Some((id, message)) = held.replace((id, round)) {
                assert_eq!(outbound.puback(id), Ok(message));
            }
        }
    }

    // [MQTT-3.3.4-9] [MQTT-4.9.0-2]
    #[test]
    fn no_more_are_sent_than_the_window_allows() {
        let mut outbound = Outbound::default();
        for message in 0..5 {
            assert!(outbound.send(ExactlyOnce, message, 5).is_some());
        }
        assert!(!outbound.can_send(5));
        assert_eq!(outbound.send(ExactlyOnce, 5, 5), None);
        outbound.pubrec(id(3)).unwrap();
        assert!(!outbound.can_send(5), "PUBREC does not free it");
        outbound.pubcomp(id(3)).unwrap();
        assert!(outbound.can_send(5));
        outbound.pubrec_refused(id(1)).unwrap();
        assert!(outbound.can_send(4), "a refusing PUBREC does");
        assert_eq!(outbound.in_flight(), 3);
    }

    #[test]
    fn the_largest_window_fills_and_empties() {
        let mut outbound = Outbound::default();
        let mut sent = VecDeque::new();
        while let Some(id) = outbound.send(AtLeastOnce, sent.len(), u16::MAX) {
            sent.push_back(id);
        }
        assert_eq!(sent.len(), SPAN_MAX);
        for (message, id) in sent.into_iter().enumerate() {
            assert_eq!(outbound.puback(id), Ok(message));
        }
        outbound.shrink();
        assert!(outbound.ring.is_none());
        assert_eq!(outbound.send(AtLeastOnce, 0, 1), PacketId::new(u16::MAX - 1), "the sequence goes on");
    }

    #[test]
    fn a_message_that_is_never_acknowledged_stops_the_others_and_takes_no_more_memory() {
        let mut outbound = Outbound::default();
        let stuck = outbound.send(AtLeastOnce, 0, 10).unwrap();
        let mut others = 0;
        while let Some(id) = outbound.send(AtLeastOnce, 1, 10) {
            outbound.puback(id).unwrap();
            others += 1;
        }
        assert_eq!(others, span_max(10) - 1);
        assert!(outbound.ring.as_ref().unwrap().slots.len() <= span_max(10).next_power_of_two());
        assert_eq!(outbound.puback(stuck), Ok(0));
        assert!(outbound.can_send(10));
        assert_eq!(outbound.span(), 0);
    }

    // [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-4.3.3-6]
    #[test]
    fn a_resumed_session_gets_each_pubrel_and_then_each_publish_in_order() {
        let mut outbound = Outbound::default();
        for (delivery, message) in [(AtLeastOnce, 10), (ExactlyOnce, 20), (ExactlyOnce, 30), (AtLeastOnce, 40)] {
            outbound.send(delivery, message, 9).unwrap();
        }
        outbound.pubrec(id(3)).unwrap();
        assert_eq!(resent(outbound.next_resend(9)), None, "only on a new connection");

        outbound.connection_lost();
        assert!(!outbound.can_send(9), "new messages come after the resent ones");
        assert_eq!(resent(outbound.next_resend(9)), Some((3, None)));
        assert_eq!(resent(outbound.next_resend(9)), Some((1, Some((AtLeastOnce, 10)))));
        assert_eq!(resent(outbound.next_resend(9)), Some((2, Some((ExactlyOnce, 20)))));
        assert!(!outbound.can_send(9));
        assert_eq!(resent(outbound.next_resend(9)), Some((4, Some((AtLeastOnce, 40)))));
        assert_eq!(resent(outbound.next_resend(9)), None);
        assert!(outbound.can_send(9));
    }

    // [MQTT-4.9.0-1] [MQTT-3.3.4-9] [MQTT-3.3.4-10]
    #[test]
    fn a_smaller_window_takes_the_resends_bit_by_bit_but_every_pubrel_at_once() {
        let mut outbound = Outbound::default();
        for message in 0..6 {
            outbound.send(ExactlyOnce, message, 6).unwrap();
        }
        outbound.pubrec(id(5)).unwrap();
        outbound.pubrec(id(6)).unwrap();
        outbound.connection_lost();
        assert_eq!(resent(outbound.next_resend(1)), Some((5, None)));
        assert_eq!(resent(outbound.next_resend(1)), Some((6, None)));
        assert_eq!(resent(outbound.next_resend(1)), None);
        outbound.pubcomp(id(5)).unwrap();
        assert_eq!(resent(outbound.next_resend(1)), None);
        outbound.pubcomp(id(6)).unwrap();
        assert_eq!(resent(outbound.next_resend(1)), Some((1, Some((ExactlyOnce, 0)))));
        assert_eq!(resent(outbound.next_resend(1)), None);
        outbound.pubrec_refused(id(1)).unwrap();
        assert_eq!(resent(outbound.next_resend(1)), Some((2, Some((ExactlyOnce, 1)))));
    }

    #[test]
    fn an_acknowledgement_that_overtakes_the_resend_is_accepted() {
        let mut outbound = Outbound::default();
        for (delivery, message) in [(AtLeastOnce, 1), (ExactlyOnce, 2), (AtLeastOnce, 3)] {
            outbound.send(delivery, message, 3).unwrap();
        }
        outbound.connection_lost();
        assert_eq!(outbound.puback(id(1)), Ok(1));
        assert_eq!(outbound.pubrec(id(2)), Ok(Some(2)));
        assert_eq!(
            resent(outbound.next_resend(3)),
            Some((3, Some((AtLeastOnce, 3)))),
            "PUBREL was the answer to PUBREC"
        );
        assert_eq!(resent(outbound.next_resend(3)), None);
        assert!(outbound.can_send(3));
    }

    #[test]
    fn the_end_of_a_session_hands_over_what_nobody_took() {
        let mut outbound = Outbound::default();
        for message in 1..=5 {
            outbound.send(ExactlyOnce, message, 5).unwrap();
        }
        outbound.pubrec(id(2)).unwrap();
        outbound.pubrec_refused(id(4)).unwrap();
        assert_eq!(outbound.drain().collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!((outbound.in_flight(), outbound.iter().count()), (0, 0));
        assert_eq!(outbound.send(AtLeastOnce, 6, 1), Some(id(6)));
    }

    #[test]
    fn memory_of_a_full_window_is_given_back() {
        let mut outbound = Outbound::default();
        for message in 1..=1000 {
            outbound.send(AtLeastOnce, message, 1000).unwrap();
        }
        for acknowledged in 1..=990 {
            outbound.puback(id(acknowledged)).unwrap();
        }
        outbound.shrink();
        assert_eq!(outbound.ring.as_ref().unwrap().slots.len(), 16);
        assert_eq!(outbound.drain().collect::<Vec<_>>(), (991..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn it_is_two_words_while_idle() {
        assert_eq!(size_of::<Outbound<Box<u8>>>(), 16);
        assert!(size_of::<Slot<Box<u8>>>() <= 24);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Send(SendQos),
        Ack { which: usize, event: Event },
        AckAny { id: u16, event: Event },
        Lose,
        Resend,
        Window(u16),
        Shrink,
    }

    fn op() -> impl Strategy<Value = Op> {
        let event = prop_oneof![Just(Event::PubAck), Just(Event::PubRec), Just(Event::Refused), Just(Event::PubComp)];
        let delivery = prop_oneof![Just(AtLeastOnce), Just(ExactlyOnce)];
        prop_oneof![
            12 => delivery.prop_map(Op::Send),
            16 => (any::<usize>(), event.clone()).prop_map(|(which, event)| Op::Ack { which, event }),
            1 => (any::<u16>(), event).prop_map(|(id, event)| Op::AckAny { id: id.max(1), event }),
            1 => Just(Op::Lose),
            6 => Just(Op::Resend),
            1 => prop_oneof![1..40u16, Just(u16::MAX)].prop_map(Op::Window),
            1 => Just(Op::Shrink),
        ]
    }

    /// The same, told as plainly as possible.
    #[derive(Default)]
    struct Model {
        /// By order of sending.
        in_flight: BTreeMap<u64, Entry>,
        next: u64,
        pubrecs: u64,
    }

    struct Entry {
        id: PacketId,
        message: Option<u32>,
        delivery: SendQos,
        sent: bool,
        /// The first PUBREC's place among all.
        received: u64,
    }

    impl Model {
        fn sent(&self) -> usize {
            self.in_flight.values().filter(|entry| entry.sent).count()
        }

        fn span(&self) -> u64 {
            self.in_flight.keys().next().map_or(0, |first| self.next - first)
        }

        fn ack(&mut self, id: PacketId, event: Event) -> Result<Option<u32>, UnexpectedAck> {
            let found = self.in_flight.iter_mut().find(|(_, entry)| entry.id == id);
            let (&order, entry) = found.ok_or(UnexpectedAck::UnknownId)?;
            match (entry.delivery, entry.message, event) {
                (AtLeastOnce, Some(_), Event::PubAck)
                | (ExactlyOnce, Some(_), Event::Refused)
                | (ExactlyOnce, None, Event::PubComp) => Ok(self.in_flight.remove(&order).unwrap().message),
                (ExactlyOnce, message, Event::PubRec) => {
                    entry.sent = true;
                    if message.is_some() {
                        self.pubrecs += 1;
                        entry.received = self.pubrecs;
                    }
                    Ok(entry.message.take())
                }
                _ => Err(UnexpectedAck::WrongPhase),
            }
        }

        fn next_resend(&mut self, window: u16) -> Option<(u16, Option<(SendQos, u32)>)> {
            let free = self.sent() < window as usize;
            let mut unsent: Vec<_> = self.in_flight.values_mut().filter(|entry| !entry.sent).collect();
            // PUBRELs in the order of the PUBRECs, then PUBLISHes in theirs. [MQTT3-4.6.0-4]
            unsent.sort_by_key(|entry| (entry.message.is_some(), entry.received));
            let entry = unsent.into_iter().next().filter(|entry| free || entry.message.is_none())?;
            entry.sent = true;
            Some((entry.id.get(), entry.message.map(|message| (entry.delivery, message))))
        }
    }

    // A PUBREL to send again was acknowledged before its turn came, and the slots shrank: its identifier then stood for
    // the slot of a later one, which was taken for sent.
    #[test]
    fn a_release_that_is_over_is_not_taken_for_a_later_one() {
        let mut outbound = Outbound::default();
        (1..=9).for_each(|number| assert_eq!(outbound.send(ExactlyOnce, number.into(), 20), Some(id(number))));
        for number in 1..=9 {
            let event = if number == 1 || number == 9 { Event::PubRec } else { Event::Refused };
            apply(&mut outbound, id(number), event).unwrap();
        }
        outbound.connection_lost();
        outbound.pubcomp(id(1)).unwrap();
        outbound.shrink();
        assert_eq!(outbound.next_resend(20), Some(Resend::PubRel { id: id(9) }));
    }

    proptest! {
        // [MQTT-2.2.1-4] [MQTT-3.3.4-9] [MQTT-4.4.0-1] [MQTT-4.6.0-1]
        #[test]
        fn it_does_what_the_model_does(
            start in prop_oneof![Just(1u16), 65_000..=u16::MAX],
            ops in prop::collection::vec(op(), 0..800),
        ) {
            let mut outbound = Outbound { next_id: id(start), ..Outbound::default() };
            let mut model = Model::default();
            let mut window = 20;
            for op in ops {
                match op {
                    Op::Send(delivery) => {
                        let message = model.next as u32;
                        let may = model.in_flight.len() < window as usize && model.sent() == model.in_flight.len();
                        // The identifier 0 that is skipped takes one of the span.
                        let span_over = model.span() + 1 > span_max(window) as u64;
                        let sent = outbound.send(delivery, message, window);
                        if let Some(id) = sent {
                            prop_assert!(may && !span_over);
                            prop_assert!(model.in_flight.values().all(|entry| entry.id != id));
                            let entry = Entry { id, message: Some(message), delivery, sent: true, received: 0 };
                            model.in_flight.insert(model.next, entry);
                            model.next += 1;
                        } else {
                            prop_assert!(!may || model.span() + 1 >= span_max(window) as u64);
                        }
                    }
                    Op::Ack { which, event } => {
                        let known: Vec<_> = model.in_flight.values().map(|entry| entry.id).collect();
                        if !known.is_empty() {
                            let id = known[which % known.len()];
                            prop_assert_eq!(apply(&mut outbound, id, event), model.ack(id, event));
                        }
                    }
                    Op::AckAny { id: any, event } => {
                        prop_assert_eq!(apply(&mut outbound, id(any), event), model.ack(id(any), event));
                    }
                    Op::Lose => {
                        outbound.connection_lost();
                        model.in_flight.values_mut().for_each(|entry| entry.sent = false);
                    }
                    Op::Resend => {
                        let expected = model.next_resend(window);
                        prop_assert_eq!(resent(outbound.next_resend(window)), expected);
                    }
                    Op::Window(new) => window = new,
                    Op::Shrink => outbound.shrink(),
                }
                prop_assert_eq!(outbound.in_flight(), model.in_flight.len());
                let ids: Vec<_> = outbound.iter().map(|(id, _)| id).collect();
                prop_assert_eq!(ids, model.in_flight.values().map(|entry| entry.id).collect::<Vec<_>>());
            }
            let left: Vec<_> = model.in_flight.values().filter_map(|entry| entry.message).collect();
            prop_assert_eq!(outbound.drain().collect::<Vec<_>>(), left);
        }
    }
}
