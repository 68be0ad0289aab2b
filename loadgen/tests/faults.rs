//! A broker that loses, duplicates, reorders, changes or delays messages: the generator says exactly that.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use thrum::mqtt::{
    Ack, AckType, ConnAck, Delivery, Packet, Progress, Properties, Publish, QoS, ReasonCode, Sender, SubAck, Version,
    decode, encode, frame,
};
use thrum_loadgen::access::Access;
use thrum_loadgen::ledger::Faults;
use thrum_loadgen::outcome::Outcome;
use thrum_loadgen::plan::Plan;
use thrum_loadgen::traffic::{Load, run};

const VERSION: Version = Version::V3_1_1;

/// What becomes of the messages: it is given the number of each and what would be sent, and says what is sent instead.
type Mischief = dyn FnMut(u64, Vec<u8>) -> Vec<Vec<u8>> + Send;

/// Takes a publisher and a subscriber, and passes on what the mischief makes of the messages.
fn start(mischief: impl FnMut(u64, Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mischief: Arc<Mutex<Box<Mischief>>> = Arc::new(Mutex::new(Box::new(mischief)));
    let subscriber = Arc::new(Mutex::new(None));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mischief, subscriber) = (Arc::clone(&mischief), Arc::clone(&subscriber));
            let client = client.expect("a client");
            client.set_nodelay(true).expect("a socket");
            thread::spawn(move || serve(client, &mischief, &subscriber));
        }
    });
    address
}

fn serve(mut client: TcpStream, mischief: &Mutex<Box<Mischief>>, subscriber: &Mutex<Option<TcpStream>>) {
    let (mut input, mut count) = (Vec::new(), 0);
    let mut bytes = [0; 4_096];
    while let Ok(read @ 1..) = client.read(&mut bytes) {
        input.extend_from_slice(&bytes[..read]);
        let mut used = 0;
        while let Ok(Progress::Packet(frame)) = frame(&input[used..], u32::MAX) {
            let (mut answer, mut forward) = (Vec::new(), Vec::new());
            match decode(&frame, VERSION, Sender::Client).expect("a packet") {
                Packet::Connect(_) => answer = encoded(&Packet::ConnAck(conn_ack())),
                Packet::Subscribe(subscribe) => {
                    *subscriber.lock().expect("no panic") = Some(client.try_clone().expect("a socket"));
                    let reasons: Vec<u8> = subscribe.filters().map(|request| request.qos as u8).collect();
                    let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
                    answer = encoded(&Packet::SubAck(SubAck { packet_id, properties, reasons: &reasons }));
                }
                Packet::Publish(publish) => {
                    if let Delivery::AtLeastOnce(packet_id) = publish.delivery {
                        let ack = Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY };
                        answer = encoded(&Packet::Ack(AckType::PubAck, ack));
                    }
                    forward = (mischief.lock().expect("no panic"))(
                        count,
                        encoded(&Packet::Publish(Publish { dup: false, ..publish })),
                    );
                    count += 1;
                }
                _ => {}
            }
            used += frame.bytes;
            // Whoever has left is sent nothing.
            let _ = client.write_all(&answer);
            if let Some(subscriber) = &mut *subscriber.lock().expect("no panic") {
                let _ = subscriber.write_all(&forward.concat());
            }
        }
        input.drain(..used);
    }
}

fn conn_ack() -> ConnAck<'static> {
    ConnAck { session_present: false, reason: ReasonCode::Success, properties: Properties::EMPTY }
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, VERSION, &mut bytes);
    bytes
}

fn load(address: SocketAddr, qos: QoS, rate: f64) -> Load {
    Load {
        access: Access::plain(address, VERSION),
        qos,
        payload_bytes: 20,
        window: 16,
        batch: 4,
        rate,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
        spins: false,
        seed: 1,
        pid: None,
    }
}

fn measure(address: SocketAddr, qos: QoS, rate: f64) -> Outcome {
    run(&Plan::pairs(1), &load(address, qos, rate), |_| {}).expect("a run")
}

/// Of the messages from 0 on, how many end in a 9.
const fn nines(sent: u64) -> u64 {
    sent / 10
}

fn assert_faults(outcome: &Outcome, expected: Faults, broken: u64) {
    assert_eq!(outcome.failures, Vec::<String>::new());
    assert!(outcome.messages.sent > 300, "{} were sent", outcome.messages.sent);
    assert_eq!((outcome.messages.faults, outcome.messages.broken), (expected, broken));
}

#[test]
fn a_faultless_broker_is_found_without_fault() {
    let outcome = measure(start(|_, packet| vec![packet]), QoS::AtLeastOnce, 400.0);
    assert_faults(&outcome, Faults::default(), 0);
}

#[test]
fn lost_messages_are_counted_and_break_qos_1_only() {
    for (qos, breaks) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1)] {
        let lossy = |nth, packet| if nth % 10 == 9 { vec![] } else { vec![packet] };
        let outcome = measure(start(lossy), qos, 400.0);
        let lost = nines(outcome.messages.sent);
        assert_faults(&outcome, Faults { lost, ..Faults::default() }, lost * breaks);
        assert_eq!(outcome.messages.received, outcome.messages.due - lost);
    }
}

#[test]
fn duplicated_messages_are_counted_and_break_qos_0_only() {
    for (qos, breaks) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 0)] {
        let doubling = |nth, packet: Vec<u8>| if nth % 10 == 9 { vec![packet.clone(), packet] } else { vec![packet] };
        let outcome = measure(start(doubling), qos, 400.0);
        let duplicated = nines(outcome.messages.sent);
        assert_faults(&outcome, Faults { duplicated, ..Faults::default() }, duplicated * breaks);
    }
}

#[test]
fn messages_that_overtake_others_are_counted() {
    let mut held = None;
    let swapping = move |nth, packet| match nth % 10 {
        8 => {
            held = Some(packet);
            vec![]
        }
        _ => [Some(packet), held.take()].into_iter().flatten().collect(),
    };
    let outcome = measure(start(swapping), QoS::AtLeastOnce, 400.0);
    let (out_of_order, lost) = (nines(outcome.messages.sent), u64::from(outcome.messages.sent % 10 == 9));
    assert_faults(&outcome, Faults { out_of_order, lost, ..Faults::default() }, out_of_order + lost);
}

#[test]
fn changed_payloads_are_counted() {
    let changing = |nth, mut packet: Vec<u8>| {
        *packet.last_mut().expect("a payload") ^= u8::from(nth % 10 == 9);
        vec![packet]
    };
    let outcome = measure(start(changing), QoS::AtLeastOnce, 400.0);
    let wrong = nines(outcome.messages.sent);
    assert_faults(&outcome, Faults { wrong_payload: wrong, lost: wrong, ..Faults::default() }, 2 * wrong);
}

/// A broker that stops for a while delays all that was due meanwhile, and not only the one message that it had.
#[test]
fn a_stall_is_in_the_latency_of_every_message_that_was_due_meanwhile() {
    let stalling = |nth, packet| {
        if nth == 500 {
            thread::sleep(Duration::from_millis(300));
        }
        vec![packet]
    };
    let outcome = measure(start(stalling), QoS::AtMostOnce, 1_000.0);
    assert_faults(&outcome, Faults::default(), 0);
    let latency = &outcome.messages.latency;
    assert!(latency.max() >= 290_000_000, "{} ns at most", latency.max());
    // Two thirds of the messages of 300 ms waited for longer than 100 ms.
    let waited = latency.count_between(100_000_000, latency.max());
    assert!((190..=400).contains(&waited), "{waited} waited for long");
}

/// Losses must not make a closed loop stop: who has lost his whole window goes on.
#[test]
fn a_closed_loop_goes_on_after_its_whole_window_was_lost() {
    let lossy = |nth, packet| if nth < 16 { vec![] } else { vec![packet] };
    let load = Load { duration: Duration::from_secs(3), ..load(start(lossy), QoS::AtMostOnce, 0.0) };
    let outcome = run(&Plan::pairs(1), &load, |_| {}).expect("a run");
    assert_faults(&outcome, Faults { lost: 16, ..Faults::default() }, 0);
}
