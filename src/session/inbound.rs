//! QoS 1 and 2 as the receiver: what was received and not yet acknowledged to the end.
//!
//! A QoS 2 identifier:
//!
//! | state | event | state | the caller |
//! |---|---|---|---|
//! | unknown | `receive_exactly_once` | received | takes the message over, acknowledges |
//! | received | `receive_exactly_once`, PUBREC pending | received | nothing: the PUBREC is on its way |
//! | received | `receive_exactly_once`, else | received | acknowledges |
//! | received | PUBREC with 0x80 or more | unknown | |
//! | received | `release` | unknown | answers PUBCOMP |
//! | unknown | `release` | unknown | answers PUBCOMP, not found |
//! | received | `connection_lost` | received | |
//!
//! An acknowledgement that must wait for the log on disk:
//!
//! | state | event | state |
//! |---|---|---|
//! | - | `ack_later` | waiting |
//! | - | `ack_now`, others before it | ready |
//! | waiting | `ack_ready` | ready |
//! | waiting | `ack_never` | withheld |
//! | ready, first in line | `next_ack` | - (sent) |
//! | withheld, first in line | `next_ack` | - |
//! | waiting, PUBREC | `connection_lost` | unsettled |
//! | ready, or PUBACK | `connection_lost` | - (the client sends its PUBLISH again) |
//! | unsettled | `ack_ready` | - |
//! | unsettled | `receive_exactly_once` of its identifier | waiting, until the same `ack_ready` |
//!
//! Unsettled is what keeps the promise that an acknowledged message is on disk: the PUBLISH that a resumed client
//! repeats is a duplicate, yet the log may still be on its way with the first one.

use std::collections::VecDeque;

use super::{PacketId, PacketIdSet};

/// Reason Codes from here on are refusals.
const REFUSAL_MIN: u8 = 0x80;

/// The acknowledgements that a PUBLISH gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckKind {
    PubAck,
    PubRec,
}

/// The place of an acknowledgement in the line. Never given out twice in a session's life, so that one that outlives
/// its connection does no harm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AckTicket(u64);

/// What a QoS 2 PUBLISH is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    New,
    /// Taken over before: acknowledge it again and deliver it to nobody. [MQTT-4.3.3-10]
    Duplicate,
    /// Taken over before, and the acknowledgement is yet to come: do nothing.
    DuplicatePending,
}

/// An acknowledgement to send now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadyAck {
    pub kind: AckKind,
    pub id: PacketId,
    pub reason: u8,
}

/// What one client has sent with QoS 1 or 2. Two words while nothing is open.
#[derive(Default, Debug)]
pub struct Inbound {
    open: Option<Box<Open>>,
    next_ticket: u64,
}

#[derive(Default, Debug)]
struct Open {
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    received: PacketIdSet,
    /// How many of them, at most, are of an earlier connection.
    carried: usize,
    /// The line, in the order of the PUBLISHes; its last ticket is the one before `next_ticket`.
    acks: VecDeque<Pending>,
    /// How many of the line are PUBACKs.
    pub_acks: usize,
    /// In the order of tickets.
    unsettled: Vec<Unsettled>,
}

#[derive(Debug)]
struct Pending {
    id: PacketId,
    kind: AckKind,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Waiting,
    /// Waits for the ticket of an earlier connection.
    WaitingForUnsettled,
    Ready {
        reason: u8,
    },
    /// The client is told nothing, and has to send again.
    Withheld,
}

/// A PUBREC whose connection was lost before its `ack_ready`.
#[derive(Debug)]
struct Unsettled {
    ticket: AckTicket,
    id: PacketId,
    /// The acknowledgement of the PUBLISH repeated last; void like any other when its connection is lost.
    repeated: Option<AckTicket>,
}

impl Inbound {
    /// A QoS 2 PUBLISH came. Its identifier is known from now on until it is released or refused, and so is the message
    /// never taken over twice. [MQTT-4.3.3-10]
    pub fn receive_exactly_once(&mut self, id: PacketId) -> Received {
        let next_ticket = AckTicket(self.next_ticket);
        let open = self.open.get_or_insert_default();
        if open.received.insert(id) {
            return Received::New;
        }
        // Looked for in the whole line, which the Receive Maximum bounds: a client repeats a PUBLISH only on a new
        // connection [MQTT-4.4.0-1], where the line is empty.
        if open.acks.iter().any(|pending| pending.kind == AckKind::PubRec && pending.id == id) {
            return Received::DuplicatePending;
        }
        let Some(unsettled) = open.unsettled.iter_mut().find(|unsettled| unsettled.id == id) else {
            return Received::Duplicate;
        };
        unsettled.repeated = Some(next_ticket);
        self.line_up(AckKind::PubRec, id, Answer::WaitingForUnsettled);
        Received::DuplicatePending
    }

    /// Whether a QoS 2 PUBLISH with this identifier was taken over and not released yet.
    pub fn is_received(&self, id: PacketId) -> bool {
        self.open.as_ref().is_some_and(|open| open.received.contains(id))
    }

    /// PUBREL came. False when the identifier is unknown: PUBCOMP is sent all the same [MQTT-4.3.3-11], in version 5
    /// with Packet Identifier not found (0x92). A PUBLISH with this identifier is a new message from now on.
    /// [MQTT-4.3.3-12]
    pub fn release(&mut self, id: PacketId) -> bool {
        let Some(open) = &mut self.open else { return false };
        if !open.unsettled.is_empty() {
            open.unsettled.retain(|unsettled| unsettled.id != id);
        }
        open.forget(id)
    }

    /// A PUBLISH is to be acknowledged once its ticket is reported ready. Every ticket must be, at some time, even one
    /// whose connection is lost.
    pub fn ack_later(&mut self, kind: AckKind, id: PacketId) -> AckTicket {
        self.line_up(kind, id, Answer::Waiting)
    }

    /// A PUBLISH can be acknowledged already. None when others come first: `next_ack` yields it in its turn.
    /// [MQTT-4.6.0-2] [MQTT-4.6.0-3]
    pub fn ack_now(&mut self, kind: AckKind, id: PacketId, reason: u8) -> Option<ReadyAck> {
        let Some(open) = &mut self.open else { return Some(ReadyAck { kind, id, reason }) };
        open.forget_refused(kind, id, reason);
        if open.acks.is_empty() {
            return Some(ReadyAck { kind, id, reason });
        }
        self.line_up(kind, id, Answer::Ready { reason });
        None
    }

    /// What the acknowledgement waited for has come. A ticket that means nothing any more is ignored.
    pub fn ack_ready(&mut self, ticket: AckTicket, reason: u8) {
        let next_ticket = self.next_ticket;
        let Some(open) = &mut self.open else { return };
        if open.settle(next_ticket, ticket, Answer::Waiting, reason) {
            return;
        }
        let Ok(index) = open.unsettled.binary_search_by_key(&ticket, |unsettled| unsettled.ticket) else { return };
        let Unsettled { id, repeated, .. } = open.unsettled.remove(index);
        open.forget_refused(AckKind::PubRec, id, reason);
        if let Some(repeated) = repeated {
            open.settle(next_ticket, repeated, Answer::WaitingForUnsettled, reason);
        }
    }

    /// What the acknowledgement waited for will not come: it is never sent. A QoS 2 identifier is unknown again.
    pub fn ack_never(&mut self, ticket: AckTicket) {
        let next_ticket = self.next_ticket;
        let Some(open) = &mut self.open else { return };
        let first_ticket = next_ticket - open.acks.len() as u64;
        let offset = ticket.0.checked_sub(first_ticket).and_then(|offset| usize::try_from(offset).ok());
        if let Some(pending) = offset.and_then(|offset| open.acks.get_mut(offset)) {
            pending.answer = Answer::Withheld;
            let (kind, id) = (pending.kind, pending.id);
            open.forget_refused(kind, id, REFUSAL_MIN);
        } else if let Ok(index) = open.unsettled.binary_search_by_key(&ticket, |unsettled| unsettled.ticket) {
            let Unsettled { id, repeated, .. } = open.unsettled.remove(index);
            open.forget(id);
            if let Some(repeated) = repeated {
                self.ack_never(repeated);
            }
        }
    }

    /// The next acknowledgement to send, in the order of the PUBLISHes; none when the first in line is not ready. Call
    /// it until then.
    pub fn next_ack(&mut self) -> Option<ReadyAck> {
        let open = self.open.as_deref_mut()?;
        loop {
            let &Pending { id, kind, answer } = open.acks.front()?;
            let reason = match answer {
                Answer::Ready { reason } => Some(reason),
                Answer::Withheld => None,
                Answer::Waiting | Answer::WaitingForUnsettled => return None,
            };
            open.acks.pop_front();
            open.pub_acks -= usize::from(kind == AckKind::PubAck);
            if let Some(reason) = reason {
                return Some(ReadyAck { kind, id, reason });
            }
        }
    }

    /// Acknowledgements in line.
    pub fn acks_pending(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.acks.len())
    }

    /// Messages that count against the Receive Maximum that the client was given: those it has sent on this connection
    /// and got neither PUBACK, PUBCOMP nor a refusing PUBREC for [MQTT-3.3.4-7]. Identifiers of an earlier connection
    /// do not count, since the client's quota started anew [MQTT-4.9.0-1]; where it is unknown which of them were
    /// released, the count is too low rather than too high.
    pub fn unacknowledged(&self) -> usize {
        self.open.as_ref().map_or(0, |open| {
            let exchanges = open.received.len() - open.carried + open.pub_acks;
            exchanges.max(open.acks.len())
        })
    }

    /// Drops the line: the client sends again what is not acknowledged. What was received with QoS 2 stays known.
    pub fn connection_lost(&mut self) {
        let Some(open) = &mut self.open else { return };
        let first_ticket = self.next_ticket - open.acks.len() as u64;
        for (ticket, pending) in (first_ticket..).zip(open.acks.drain(..)) {
            let waiting = pending.kind == AckKind::PubRec && pending.answer == Answer::Waiting;
            if waiting && open.received.contains(pending.id) {
                open.unsettled.push(Unsettled { ticket: AckTicket(ticket), id: pending.id, repeated: None });
            }
        }
        open.pub_acks = 0;
        open.carried = open.received.len();
    }

    /// A Clean Start: nothing was ever received. Tickets given out before stay void. [MQTT-3.1.2-4]
    pub fn clear(&mut self) {
        self.open = None;
    }

    /// What a stored session remembered: identifiers received on an earlier connection.
    pub fn restore(received: &[PacketId]) -> Self {
        let mut inbound = Self::default();
        if !received.is_empty() {
            let open = inbound.open.get_or_insert_default();
            received.iter().for_each(|&id| _ = open.received.insert(id));
            open.carried = open.received.len();
        }
        inbound
    }

    /// The QoS 2 identifiers that a stored session must remember.
    pub fn received(&self) -> impl Iterator<Item = PacketId> {
        self.open.iter().flat_map(|open| open.received.iter())
    }

    /// Gives back memory that what is open does not need.
    pub fn shrink(&mut self) {
        let Some(open) = &mut self.open else { return };
        if open.received.is_empty() && open.acks.is_empty() && open.unsettled.is_empty() {
            self.open = None;
            return;
        }
        open.received.shrink();
        open.acks.shrink_to_fit();
        open.unsettled.shrink_to_fit();
    }

    fn line_up(&mut self, kind: AckKind, id: PacketId, answer: Answer) -> AckTicket {
        let open = self.open.get_or_insert_default();
        open.acks.push_back(Pending { id, kind, answer });
        open.pub_acks += usize::from(kind == AckKind::PubAck);
        let ticket = AckTicket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }
}

impl Open {
    /// False when `ticket` is not in line as `from`.
    fn settle(&mut self, next_ticket: u64, ticket: AckTicket, from: Answer, reason: u8) -> bool {
        let first_ticket = next_ticket - self.acks.len() as u64;
        let Some(offset) = ticket.0.checked_sub(first_ticket) else { return false };
        let Some(pending) = self.acks.get_mut(offset as usize) else { return false };
        if pending.answer != from {
            return false;
        }
        pending.answer = Answer::Ready { reason };
        let (kind, id) = (pending.kind, pending.id);
        self.forget_refused(kind, id, reason);
        true
    }

    /// A PUBLISH with the identifier of a refused one is a new message. [MQTT-4.3.3-9]
    fn forget_refused(&mut self, kind: AckKind, id: PacketId, reason: u8) {
        if kind == AckKind::PubRec && reason >= REFUSAL_MIN {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: PacketId) -> bool {
        let known = self.received.remove(id);
        self.carried = self.carried.min(self.received.len());
        known
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::AckKind::{PubAck, PubRec};
    use super::*;

    const OK: u8 = 0;
    const NOT_AUTHORIZED: u8 = 0x87;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    fn sent(inbound: &mut Inbound) -> Vec<(AckKind, u16, u8)> {
        std::iter::from_fn(|| inbound.next_ack()).map(|ack| (ack.kind, ack.id.get(), ack.reason)).collect()
    }

    #[test]
    fn what_is_never_acknowledged_holds_up_nobody_and_may_come_again() {
        let mut inbound = Inbound::default();
        let first = inbound.ack_later(PubAck, id(1));
        inbound.receive_exactly_once(id(2));
        let second = inbound.ack_later(PubRec, id(2));
        let third = inbound.ack_later(PubAck, id(3));
        inbound.ack_ready(third, OK);
        inbound.ack_never(second);
        assert_eq!(sent(&mut inbound), []);
        inbound.ack_never(first);
        assert_eq!(sent(&mut inbound), [(PubAck, 3, OK)]);
        assert_eq!((inbound.acks_pending(), inbound.unacknowledged()), (0, 0));
        assert_eq!(inbound.receive_exactly_once(id(2)), Received::New);
        // The connection is lost before, and the client has repeated its PUBLISH.
        let ticket = inbound.ack_later(PubRec, id(2));
        inbound.connection_lost();
        assert_eq!(inbound.receive_exactly_once(id(2)), Received::DuplicatePending);
        inbound.ack_never(ticket);
        assert_eq!(sent(&mut inbound), []);
        assert_eq!((inbound.acks_pending(), inbound.receive_exactly_once(id(2))), (0, Received::New));
    }

    #[test]
    fn what_was_received_before_a_restart_is_a_duplicate_and_counts_for_nothing() {
        let mut inbound = Inbound::restore(&[id(5), id(9)]);
        assert_eq!((inbound.receive_exactly_once(id(9)), inbound.unacknowledged()), (Received::Duplicate, 0));
        assert_eq!(inbound.received().count(), 2);
        assert!(inbound.release(id(5)) && inbound.release(id(9)));
    }

    // [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12]
    #[test]
    fn an_identifier_is_known_from_publish_to_pubrel() {
        let mut inbound = Inbound::default();
        assert!(!inbound.release(id(1)) && !inbound.is_received(id(1)));
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::New);
        assert!(inbound.ack_now(PubRec, id(1), OK).is_some() && inbound.is_received(id(1)));
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::Duplicate);
        inbound.connection_lost();
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::Duplicate);
        assert!(inbound.release(id(1)));
        assert!(!inbound.release(id(1)));
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::New);
    }

    // [MQTT-4.3.3-9]
    #[test]
    fn an_identifier_that_was_refused_is_unknown() {
        let mut inbound = Inbound::default();
        inbound.receive_exactly_once(id(1));
        assert!(inbound.ack_now(PubRec, id(1), NOT_AUTHORIZED).is_some());
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::New);

        let ticket = inbound.ack_later(PubRec, id(1));
        inbound.ack_ready(ticket, NOT_AUTHORIZED);
        assert_eq!(sent(&mut inbound), [(PubRec, 1, NOT_AUTHORIZED)]);
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::New);

        let ticket = inbound.ack_later(PubRec, id(1));
        inbound.connection_lost();
        inbound.ack_ready(ticket, NOT_AUTHORIZED);
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::New);
    }

    // [MQTT-4.6.0-2] [MQTT-4.6.0-3]
    #[test]
    fn acknowledgements_go_in_the_order_of_the_publishes() {
        let mut inbound = Inbound::default();
        let first = inbound.ack_later(PubAck, id(1));
        inbound.receive_exactly_once(id(2));
        let second = inbound.ack_later(PubRec, id(2));
        assert_eq!(inbound.ack_now(PubAck, id(3), NOT_AUTHORIZED), None);
        inbound.ack_ready(second, OK);
        assert_eq!((inbound.next_ack(), inbound.acks_pending()), (None, 3));
        inbound.ack_ready(first, 0x10);
        assert_eq!(sent(&mut inbound), [(PubAck, 1, 0x10), (PubRec, 2, OK), (PubAck, 3, NOT_AUTHORIZED)]);
        assert_eq!(inbound.acks_pending(), 0);
        let direct = ReadyAck { kind: PubAck, id: id(4), reason: OK };
        assert_eq!(inbound.ack_now(PubAck, id(4), OK), Some(direct));
    }

    #[test]
    fn a_ticket_counts_once() {
        let mut inbound = Inbound::default();
        let ticket = inbound.ack_later(PubAck, id(1));
        inbound.ack_ready(AckTicket(ticket.0 + 1), OK);
        assert_eq!(inbound.next_ack(), None);
        inbound.ack_ready(ticket, OK);
        inbound.ack_ready(ticket, NOT_AUTHORIZED);
        assert_eq!(sent(&mut inbound), [(PubAck, 1, OK)]);
        inbound.ack_ready(ticket, OK);
        assert_eq!(inbound.next_ack(), None);
    }

    #[test]
    fn a_ticket_of_a_lost_connection_is_void() {
        let mut inbound = Inbound::default();
        let old = inbound.ack_later(PubAck, id(1));
        inbound.connection_lost();
        inbound.shrink();
        let new = inbound.ack_later(PubAck, id(7));
        inbound.ack_ready(old, OK);
        assert_eq!(inbound.next_ack(), None);
        inbound.clear();
        inbound.ack_later(PubAck, id(8));
        inbound.ack_ready(new, OK);
        assert_eq!(inbound.next_ack(), None);
    }

    #[test]
    fn a_duplicate_gets_no_second_acknowledgement_while_the_first_is_on_its_way() {
        let mut inbound = Inbound::default();
        inbound.receive_exactly_once(id(1));
        let ticket = inbound.ack_later(PubRec, id(1));
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::DuplicatePending);
        inbound.ack_ready(ticket, OK);
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::DuplicatePending);
        assert_eq!(sent(&mut inbound), [(PubRec, 1, OK)]);
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::Duplicate);
    }

    // [MQTT-4.3.3-8]
    #[test]
    fn a_repeated_publish_waits_for_what_the_first_one_waited_for() {
        let mut inbound = Inbound::default();
        inbound.receive_exactly_once(id(1));
        let ticket = inbound.ack_later(PubRec, id(1));
        for _ in 0..3 {
            inbound.connection_lost();
            inbound.shrink();
            assert_eq!(inbound.receive_exactly_once(id(1)), Received::DuplicatePending);
            assert_eq!(inbound.receive_exactly_once(id(1)), Received::DuplicatePending);
            assert_eq!((inbound.next_ack(), inbound.acks_pending()), (None, 1));
        }
        inbound.ack_ready(ticket, OK);
        assert_eq!(sent(&mut inbound), [(PubRec, 1, OK)]);
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::Duplicate);
        assert!(inbound.release(id(1)));
    }

    #[test]
    fn what_became_ready_between_two_connections_is_acknowledged_at_once() {
        let mut inbound = Inbound::default();
        inbound.receive_exactly_once(id(1));
        let ticket = inbound.ack_later(PubRec, id(1));
        inbound.connection_lost();
        inbound.ack_ready(ticket, OK);
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::Duplicate);
    }

    // [MQTT-3.3.4-7] [MQTT-4.9.0-1]
    #[test]
    fn what_counts_against_the_receive_maximum() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.unacknowledged(), 0);
        let ticket = inbound.ack_later(PubAck, id(1));
        for value in 2..=4 {
            inbound.receive_exactly_once(id(value));
            assert_eq!(inbound.ack_now(PubRec, id(value), if value == 4 { NOT_AUTHORIZED } else { OK }), None);
        }
        assert_eq!(inbound.unacknowledged(), 4, "also the refused one, until it knows");
        inbound.ack_ready(ticket, OK);
        assert_eq!(sent(&mut inbound).len(), 4);
        assert_eq!(inbound.unacknowledged(), 2);
        inbound.release(id(2));
        assert_eq!(inbound.unacknowledged(), 1);

        inbound.connection_lost();
        assert_eq!(inbound.unacknowledged(), 0);
        inbound.receive_exactly_once(id(5));
        assert_eq!(inbound.unacknowledged(), 1);
        inbound.release(id(3));
        inbound.release(id(5));
        inbound.receive_exactly_once(id(6));
        assert_eq!(inbound.unacknowledged(), 1);
    }

    // [MQTT-3.1.2-4]
    #[test]
    fn a_clean_start_knows_nothing() {
        let mut inbound = Inbound::default();
        inbound.receive_exactly_once(id(1));
        assert_eq!(inbound.received().collect::<Vec<_>>(), [id(1)]);
        inbound.clear();
        assert_eq!(inbound.received().count(), 0);
        assert_eq!(inbound.receive_exactly_once(id(1)), Received::New);
    }

    #[test]
    fn it_is_two_words_while_idle() {
        assert_eq!(size_of::<Inbound>(), 16);
        let mut inbound = Inbound::default();
        inbound.receive_exactly_once(id(1));
        inbound.release(id(1));
        assert!(inbound.open.is_some());
        inbound.shrink();
        assert!(inbound.open.is_none());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Publish,
        /// The broker reads the next packet, and takes a new message over at once or once it is on disk.
        Receive {
            durable: bool,
            refused: bool,
        },
        Commit {
            which: usize,
        },
        Acknowledge,
        /// The client reads the next packet.
        Answer,
        Lose,
        Shrink,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => Just(Op::Publish),
            12 => (any::<bool>(), prop::bool::weighted(0.1))
                .prop_map(|(durable, refused)| Op::Receive { durable, refused }),
            6 => any::<usize>().prop_map(|which| Op::Commit { which }),
            8 => Just(Op::Acknowledge),
            12 => Just(Op::Answer),
            1 => Just(Op::Lose),
            1 => Just(Op::Shrink),
        ]
    }

    #[derive(Clone, Copy, Debug)]
    enum ToBroker {
        Publish { id: PacketId, message: u32 },
        PubRel { id: PacketId },
    }

    #[derive(Clone, Copy, Debug)]
    enum ToClient {
        PubRec { id: PacketId, reason: u8 },
        PubComp { id: PacketId },
    }

    /// A client, a network that loses everything under way, and a broker around `Inbound`.
    #[derive(Default)]
    struct World {
        inbound: Inbound,
        /// The client's: in order of sending; no message any more once PUBREC came.
        exchanges: Vec<(PacketId, Option<u32>)>,
        next_message: u32,
        to_broker: VecDeque<ToBroker>,
        to_client: VecDeque<ToClient>,
        /// The broker's: message by ticket that waits for the disk.
        commits: BTreeMap<AckTicket, (PacketId, u32, u8)>,
        delivered: BTreeMap<u32, u32>,
        on_disk: BTreeSet<u32>,
        refused: BTreeSet<u32>,
    }

    const RECEIVE_MAXIMUM: u16 = 6;

    impl World {
        fn publish(&mut self) {
            let free = (1..=RECEIVE_MAXIMUM).map(id).find(|&id| self.exchanges.iter().all(|&(used, _)| used != id));
            let Some(id) = free else { return };
            let message = self.next_message;
            self.next_message += 1;
            self.exchanges.push((id, Some(message)));
            self.to_broker.push_back(ToBroker::Publish { id, message });
        }

        fn receive(&mut self, durable: bool, refused: bool) {
            match self.to_broker.pop_front() {
                Some(ToBroker::Publish { id, message }) => self.on_publish(id, message, durable, refused),
                Some(ToBroker::PubRel { id }) => {
                    self.inbound.release(id);
                    self.to_client.push_back(ToClient::PubComp { id });
                }
                None => {}
            }
        }

        fn on_publish(&mut self, id: PacketId, message: u32, durable: bool, refused: bool) {
            assert!(self.inbound.unacknowledged() < RECEIVE_MAXIMUM as usize, "a client within its quota is let in");
            let reason = if refused { NOT_AUTHORIZED } else { OK };
            let direct = match self.inbound.receive_exactly_once(id) {
                Received::New => {
                    if refused {
                        self.refused.insert(message);
                    } else {
                        *self.delivered.entry(message).or_default() += 1;
                    }
                    if durable {
                        let ticket = self.inbound.ack_later(PubRec, id);
                        self.commits.insert(ticket, (id, message, reason));
                        return;
                    }
                    if !refused {
                        self.on_disk.insert(message);
                    }
                    self.inbound.ack_now(PubRec, id, reason)
                }
                Received::Duplicate => self.inbound.ack_now(PubRec, id, OK),
                Received::DuplicatePending => None,
            };
            self.to_client.extend(direct.map(|ack| ToClient::PubRec { id: ack.id, reason: ack.reason }));
        }

        fn commit(&mut self, which: usize) {
            let tickets: Vec<_> = self.commits.keys().copied().collect();
            if tickets.is_empty() {
                return;
            }
            let ticket = tickets[which % tickets.len()];
            let (_, message, reason) = self.commits.remove(&ticket).unwrap();
            if reason == OK {
                self.on_disk.insert(message);
            }
            self.inbound.ack_ready(ticket, reason);
        }

        fn acknowledge(&mut self) {
            if let Some(ack) = self.inbound.next_ack() {
                self.to_client.push_back(ToClient::PubRec { id: ack.id, reason: ack.reason });
            }
        }

        fn answer(&mut self) {
            match self.to_client.pop_front() {
                Some(ToClient::PubRec { id, reason }) => {
                    let index = self.exchanges.iter().position(|&(known, _)| known == id).unwrap();
                    let message = self.exchanges[index].1.take().expect("one PUBREC for each PUBLISH");
                    if reason == OK {
                        assert!(self.on_disk.contains(&message), "acknowledged and not on disk");
                        self.to_broker.push_back(ToBroker::PubRel { id });
                    } else {
                        assert!(self.refused.contains(&message));
                        self.exchanges.remove(index);
                    }
                }
                Some(ToClient::PubComp { id }) => self.exchanges.retain(|&(known, _)| known != id),
                None => {}
            }
        }

        fn lose(&mut self) {
            self.inbound.connection_lost();
            self.to_client.clear();
            self.to_broker = self
                .exchanges
                .iter()
                .map(|&(id, message)| {
                    message.map_or(ToBroker::PubRel { id }, |message| ToBroker::Publish { id, message })
                })
                .collect();
        }

        fn settle(&mut self) {
            while !(self.exchanges.is_empty() && self.to_broker.is_empty()) {
                self.receive(false, false);
                self.commit(0);
                self.acknowledge();
                self.answer();
            }
        }
    }

    proptest! {
        // [MQTT-4.3.3-8] [MQTT-4.3.3-9] [MQTT-4.3.3-10] [MQTT-3.3.4-7]
        #[test]
        fn each_message_is_taken_over_exactly_once_and_acknowledged_when_on_disk(
            ops in prop::collection::vec(op(), 0..500),
        ) {
            let mut world = World::default();
            for op in ops {
                match op {
                    Op::Publish => world.publish(),
                    Op::Receive { durable, refused } => world.receive(durable, refused),
                    Op::Commit { which } => world.commit(which),
                    Op::Acknowledge => world.acknowledge(),
                    Op::Answer => world.answer(),
                    Op::Lose => world.lose(),
                    Op::Shrink => world.inbound.shrink(),
                }
            }
            world.settle();
            for message in 0..world.next_message {
                let times = world.delivered.get(&message).copied().unwrap_or(0);
                prop_assert!(times == 1 || times == 0 && world.refused.contains(&message), "{message}: {times}");
            }
            prop_assert_eq!(world.inbound.received().count(), 0);
            prop_assert_eq!(world.inbound.unacknowledged(), 0);
        }
    }
}
