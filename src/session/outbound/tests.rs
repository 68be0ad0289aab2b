//! Every transition of the window, and the window against a model.

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
    assert_eq!(resent(outbound.next_resend(3)), Some((3, Some((AtLeastOnce, 3)))), "PUBREL was the answer to PUBREC");
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

// A PUBREL to send again was acknowledged before its turn came, and the slots shrank: its identifier then stood for the
// slot of a later one, which was taken for sent.
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

#[test]
fn what_was_stored_goes_on_where_it_stood() {
    // Around the end of the identifiers: 65,533 was acknowledged, 65,535 received, and so was 1 before it.
    let messages = vec![(id(65_532), AtLeastOnce, 10), (id(65_534), ExactlyOnce, 11), (id(2), ExactlyOnce, 12)];
    let mut outbound = Outbound::restore(messages, &[id(1), id(65_535)]);
    assert_eq!((outbound.in_flight(), outbound.next_id()), (5, id(3)));
    assert!(!outbound.can_send(100), "not before all is sent again");
    let sent: Vec<_> = std::iter::from_fn(|| resent(outbound.next_resend(100))).collect();
    let publish = |at, delivery, message| (at, Some((delivery, message)));
    let expected = [publish(65_532, AtLeastOnce, 10), publish(65_534, ExactlyOnce, 11), publish(2, ExactlyOnce, 12)];
    assert_eq!(sent, [&[(1, None), (65_535, None)][..], &expected].concat());
    assert!(outbound.can_send(6));
    assert_eq!(outbound.puback(id(65_532)), Ok(10));
    assert_eq!(outbound.puback(id(65_533)), Err(UnexpectedAck::UnknownId));
    assert_eq!(outbound.pubcomp(id(1)), Ok(()));
    assert_eq!(outbound.send(AtLeastOnce, 13, 100), Some(id(3)));
    assert_eq!(outbound.drain().collect::<Vec<_>>(), [11, 12, 13]);
    let empty = Outbound::<u32>::restore(Vec::new(), &[]);
    assert_eq!((empty.in_flight(), empty.next_id()), (0, id(1)));
}
