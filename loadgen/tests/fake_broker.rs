//! A broker that on purpose loses, duplicates, swaps and damages messages, delays them and stalls: the generator must say
//! exactly that.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thrum::mqtt::{
    Ack, AckType, ConnAck, Delivery, Packet, PacketId, Progress, Properties, Publish, QoS, ReasonCode, Sender, SubAck,
    Version, decode, encode, encode_ack, frame,
};
use thrum_loadgen::access::Access;
use thrum_loadgen::ledger::Faults;
use thrum_loadgen::outcome::Outcome;
use thrum_loadgen::plan::Plan;
use thrum_loadgen::summary::Summary;
use thrum_loadgen::traffic::{Load, run};

const VERSION: Version = Version::V3_1_1;

/// A message that waits to be swapped with the next one goes alone after so long.
const HELD_MAX: Duration = Duration::from_millis(50);

/// What is done to every so many deliveries, to one; zero: to none. One thing at most is done to each.
#[derive(Clone, Copy, Default, Debug)]
struct Mischief {
    lose: u64,
    duplicate: u64,
    swap: u64,
    damage: u64,
    delay: Duration,
    /// Does nothing at all for so long, once, when so many messages have come.
    stall: Option<(u64, Duration)>,
}

/// What was done.
#[derive(Clone, Copy, Default, Debug)]
struct Done {
    published: u64,
    delivered: u64,
    lost: u64,
    duplicated: u64,
    swapped: u64,
    damaged: u64,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    next_id: u16,
    /// A delivery that goes behind the next one, and since when it waits.
    held: Option<(Vec<u8>, Instant)>,
}

struct Fake {
    mischief: Mischief,
    done: Done,
    connections: Vec<Connection>,
    subscribers: HashMap<String, Vec<(usize, QoS)>>,
    /// Deliveries, and when each goes to whom.
    delayed: VecDeque<(Instant, usize, Vec<u8>)>,
    stalls: bool,
}

struct FakeBroker {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Done>,
}

impl FakeBroker {
    fn start(mischief: Mischief) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let (address, is_over) = (listener.local_addr().expect("an address"), Arc::<AtomicBool>::default());
        let fake = Fake {
            mischief,
            done: Done::default(),
            connections: Vec::new(),
            subscribers: HashMap::new(),
            delayed: VecDeque::new(),
            stalls: false,
        };
        let told = Arc::clone(&is_over);
        Self { address, is_over, thread: thread::spawn(move || fake.serve(&listener, &told)) }
    }

    fn stop(self) -> Done {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("what it did")
    }
}

impl Fake {
    fn serve(mut self, listener: &TcpListener, is_over: &AtomicBool) -> Done {
        while !is_over.load(Ordering::Relaxed) {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true).expect("a socket");
                let (input, output) = (Vec::new(), Vec::new());
                self.connections.push(Connection { stream, input, output, next_id: 1, held: None });
            }
            (0..self.connections.len()).for_each(|number| self.read(number));
            self.send_due();
            if let Some((_, stall)) = self.mischief.stall.take_if(|_| self.stalls) {
                thread::sleep(stall);
            }
            self.connections.iter_mut().for_each(Connection::write);
            thread::sleep(Duration::from_micros(200));
        }
        self.done
    }

    fn read(&mut self, number: usize) {
        let mut buffer = [0; 65_536];
        let connection = &mut self.connections[number];
        while let Ok(bytes @ 1..) = connection.stream.read(&mut buffer) {
            connection.input.extend_from_slice(&buffer[..bytes]);
        }
        let input = std::mem::take(&mut connection.input);
        let mut used = 0;
        while let Progress::Packet(frame) = frame(&input[used..], u32::MAX).expect("a packet") {
            used += frame.bytes;
            self.on_packet(number, &decode(&frame, VERSION, Sender::Client).expect("a packet"));
        }
        self.connections[number].input = input[used..].to_vec();
    }

    fn on_packet(&mut self, number: usize, packet: &Packet<'_>) {
        let out = &mut self.connections[number].output;
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        match packet {
            Packet::Connect(_) => {
                encode(&Packet::ConnAck(ConnAck { session_present: false, reason, properties }), VERSION, out);
            }
            Packet::Subscribe(subscribe) => {
                let mut reasons = Vec::new();
                for request in subscribe.filters() {
                    reasons.push(request.qos as u8);
                    let filter = request.filter.filter.as_str().to_owned();
                    self.subscribers.entry(filter).or_default().push((number, request.qos));
                }
                let ack = SubAck { packet_id: subscribe.packet_id, properties, reasons: &reasons };
                encode(&Packet::SubAck(ack), VERSION, out);
            }
            Packet::Publish(publish) => {
                match publish.delivery {
                    Delivery::AtMostOnce => {}
                    Delivery::AtLeastOnce(id) => encode_ack(AckType::PubAck, id, reason, VERSION, out),
                    Delivery::ExactlyOnce(id) => encode_ack(AckType::PubRec, id, reason, VERSION, out),
                }
                self.on_publish(publish);
            }
            Packet::Ack(AckType::PubRel, Ack { packet_id, .. }) => {
                encode_ack(AckType::PubComp, *packet_id, reason, VERSION, out);
            }
            Packet::Ack(AckType::PubRec, Ack { packet_id, .. }) => {
                encode_ack(AckType::PubRel, *packet_id, reason, VERSION, out);
            }
            Packet::PingReq => encode(&Packet::PingResp, VERSION, out),
            _ => {}
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>) {
        self.done.published += 1;
        self.stalls |= self.mischief.stall.is_some_and(|(after, _)| self.done.published == after);
        let topic = publish.topic.expect("a topic").as_str();
        for (number, qos) in self.subscribers.get(topic).cloned().unwrap_or_default() {
            let mut payload = publish.payload.to_vec();
            self.done.delivered += 1;
            let Mischief { lose, duplicate, swap, damage, .. } = self.mischief;
            let delivered = self.done.delivered;
            let is_due = |every: u64| every > 0 && delivered.is_multiple_of(every);
            let connection = &mut self.connections[number];
            let qos = qos.min(publish.delivery.qos());
            if is_due(lose) {
                self.done.lost += 1;
            } else if is_due(damage) {
                self.done.damaged += 1;
                *payload.last_mut().expect("a payload") ^= 1;
                let bytes = connection.encode(publish, qos, &payload);
                self.send(number, bytes);
            } else if is_due(swap) && connection.held.is_none() {
                connection.held = Some((connection.encode(publish, qos, &payload), Instant::now()));
            } else {
                let times = if is_due(duplicate) { 2 } else { 1 };
                self.done.duplicated += times - 1;
                for _ in 0..times {
                    let bytes = self.connections[number].encode(publish, qos, &payload);
                    self.send(number, bytes);
                }
                if let Some((held, _)) = self.connections[number].held.take() {
                    self.done.swapped += 1;
                    self.send(number, held);
                }
            }
        }
    }

    fn send(&mut self, number: usize, bytes: Vec<u8>) {
        self.delayed.push_back((Instant::now() + self.mischief.delay, number, bytes));
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        for number in 0..self.connections.len() {
            if let Some((held, _)) = self.connections[number].held.take_if(|(_, since)| now > *since + HELD_MAX) {
                self.send(number, held);
            }
        }
        while let Some((_, number, bytes)) = self.delayed.pop_front_if(|(due, ..)| *due <= now) {
            self.connections[number].output.extend_from_slice(&bytes);
        }
    }
}

impl Connection {
    fn encode(&mut self, publish: &Publish<'_>, qos: QoS, payload: &[u8]) -> Vec<u8> {
        let id = PacketId::new(self.next_id).unwrap_or(PacketId::MIN);
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
        };
        self.next_id = id.get().wrapping_add(1);
        let mut bytes = Vec::new();
        encode(&Packet::Publish(Publish { delivery, payload, ..*publish }), VERSION, &mut bytes);
        bytes
    }

    fn write(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(bytes) => drop(self.output.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.output.clear(),
            }
        }
    }
}

fn load(broker: &FakeBroker, qos: QoS, rate: f64) -> Load {
    Load {
        access: Access::plain(broker.address, VERSION),
        qos,
        payload_bytes: 20,
        window: 4,
        batch: 1,
        rate,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(500),
        spins: false,
        seed: 1,
        pid: None,
    }
}

/// What a pair came to at so many messages a second, and what was done to it.
fn pair(mischief: Mischief, qos: QoS, rate: f64) -> (Outcome, Done) {
    let broker = FakeBroker::start(mischief);
    let outcome = run(&Plan::pairs(1), &load(&broker, qos, rate), |_| {}).expect("a run");
    (outcome, broker.stop())
}

#[test]
fn a_broker_that_does_as_it_should_has_no_fault() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for rate in [0.0, 1_000.0] {
            let (outcome, done) = pair(Mischief::default(), qos, rate);
            let messages = &outcome.messages;
            assert_eq!((messages.faults, messages.broken, &outcome.failures), (Faults::default(), 0, &Vec::new()));
            assert_eq!((messages.sent, messages.received), (done.published, done.delivered));
            assert!(messages.sent > 0 && Summary::of(&outcome).is_kept);
        }
    }
}

fn assert_told(mischief: Mischief, qos: QoS) {
    let (outcome, done) = pair(mischief, qos, 2_000.0);
    let Done { lost, duplicated, swapped, damaged, .. } = done;
    let asked = [mischief.lose, mischief.duplicate, mischief.swap, mischief.damage].map(|every| every > 0);
    assert_eq!([lost, duplicated, swapped, damaged].map(|count| count > 0), asked);
    // What is damaged came, but is not what was sent.
    let expected = Faults { lost: lost + damaged, duplicated, out_of_order: swapped, wrong_payload: damaged };
    let messages = &outcome.messages;
    assert_eq!(messages.faults, expected, "{mischief:?} at {qos:?}: {done:?}");
    assert_eq!((messages.sent, messages.received), (done.published, done.delivered - lost + duplicated));
    assert_eq!((messages.sent, messages.due, &outcome.failures), (1_000, 1_000, &Vec::new()));
    let lost = if qos == QoS::AtMostOnce { 0 } else { expected.lost };
    let duplicated = if qos == QoS::AtLeastOnce { 0 } else { expected.duplicated };
    let broken = lost + duplicated + expected.out_of_order + expected.wrong_payload;
    assert_eq!((messages.broken, Summary::of(&outcome).is_kept), (broken, broken == 0));
}

#[test]
fn each_fault_is_told_exactly() {
    let none = Mischief::default();
    let each = [
        Mischief { lose: 10, ..none },
        Mischief { duplicate: 10, ..none },
        Mischief { swap: 10, ..none },
        Mischief { damage: 10, ..none },
    ];
    let runs = each.map(|mischief| thread::spawn(move || assert_told(mischief, QoS::AtLeastOnce)));
    runs.into_iter().for_each(|run| run.join().expect("as expected"));
}

#[test]
fn all_faults_at_once_are_told_exactly_at_each_qos() {
    let mischief = Mischief { lose: 7, duplicate: 11, swap: 13, damage: 17, ..Mischief::default() };
    let each = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let runs = each.map(|qos| thread::spawn(move || assert_told(mischief, qos)));
    runs.into_iter().for_each(|run| run.join().expect("as expected"));
}

#[test]
fn a_closed_loop_goes_on_where_messages_are_lost() {
    let broker = FakeBroker::start(Mischief { lose: 50, ..Mischief::default() });
    let load = Load { duration: Duration::from_millis(2_500), ..load(&broker, QoS::AtMostOnce, 0.0) };
    let outcome = run(&Plan::pairs(1), &load, |_| {}).expect("a run");
    let done = broker.stop();
    // Its window was full of what is lost, and was given up.
    assert!(done.lost > 4, "{done:?}");
    assert_eq!(outcome.messages.faults, Faults { lost: done.lost, ..Faults::default() });
}

#[test]
fn a_delay_is_in_every_latency() {
    let delay = Duration::from_millis(50);
    for rate in [0.0, 500.0] {
        let (outcome, done) = pair(Mischief { delay, ..Mischief::default() }, QoS::AtLeastOnce, rate);
        let latency = &outcome.messages.latency;
        assert_eq!((outcome.messages.faults, latency.len()), (Faults::default(), done.delivered));
        // To the three digits that a histogram keeps.
        assert!(latency.min() as f64 >= delay.as_nanos() as f64 * 0.999, "{}", latency.min());
    }
}

/// Messages whose latency was this or more.
fn above(outcome: &Outcome, latency: Duration) -> u64 {
    let histogram = &outcome.messages.latency;
    histogram.count_between(latency.as_nanos() as u64, histogram.max())
}

const STALL: Duration = Duration::from_millis(300);

#[test]
fn a_stall_is_in_the_latency_of_every_message_that_was_due_meanwhile() {
    const RATE: f64 = 1_000.0;
    let broker = FakeBroker::start(Mischief { stall: Some((100, STALL)), ..Mischief::default() });
    let load = Load { duration: Duration::from_secs(1), ..load(&broker, QoS::AtLeastOnce, RATE) };
    let outcome = run(&Plan::pairs(1), &load, |_| {}).expect("a run");
    assert_eq!(broker.stop().published, 1_000);
    assert_eq!(outcome.messages.faults, Faults::default());
    // What was due in the stall's beginning waited for nearly all of it, and so on: a generator that waits for answers
    // before it sends would have a handful. A busy machine adds to them, and takes none away.
    for least in [50, 100, 150, 200, 250].map(Duration::from_millis) {
        let expected = RATE * (STALL - least).as_secs_f64();
        let found = above(&outcome, least);
        assert!(found as f64 >= expected - 2.0, "{found} of {expected} waited for {least:?}");
    }
}

#[test]
fn a_stall_is_one_window_of_a_closed_loop() {
    let (outcome, _) = pair(Mischief { stall: Some((100, STALL)), ..Mischief::default() }, QoS::AtLeastOnce, 0.0);
    let latency = &outcome.messages.latency;
    assert!((1..=20).contains(&above(&outcome, STALL.mul_f64(0.8))), "{}", above(&outcome, STALL.mul_f64(0.8)));
    assert!(latency.value_at_quantile(0.5) < STALL.as_nanos() as u64 / 3, "{}", latency.value_at_quantile(0.5));
}
