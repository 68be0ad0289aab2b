//! Runs a plan against a broker: opens every client, waits until all have subscribed, publishes for the time asked for,
//! and gives what is under way the time to arrive. One thread, one poller, as the broker has.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use socket2::{Domain, Socket, Type};
use thrum::broker::OutputBuffer;
use thrum::mqtt::{QoS, TopicName, Version};
use thrum::net::{Connection, Poller, Received};

use crate::client::{Client, Failure, Happening};
use crate::ledger::{Faults, Ledger};
use crate::outcome::{BrokerCost, Connects, Cost, Messages, Outcome, histogram};
use crate::plan::Plan;
use crate::stamp::Stamp;
use crate::usage::{Usage, own_wait};

/// What one read takes at most.
const READ_BYTES_MAX: usize = 256 * 1024;

/// Publishes of QoS 1 and 2 that a client has under way at most: what brokers take without being asked.
const UNACKNOWLEDGED_MAX: u32 = 1_000;

/// How long what is under way may take to arrive, counted from the last message that did.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Load {
    pub broker: SocketAddr,
    pub version: Version,
    pub qos: QoS,
    pub payload_bytes: usize,
    /// Messages that a publisher has under way, end to end; what a rate leaves out of account.
    pub window: u32,
    /// Messages that are sent together.
    pub batch: u32,
    /// Messages a second of all publishers together; zero: as many as the window lets through.
    pub rate: f64,
    pub warm_up: Duration,
    pub duration: Duration,
    pub keep_alive_secs: u16,
    /// Connections opened a second; zero: as fast as they can be.
    pub ramp: f64,
    /// The broker's process, where it is known.
    pub pid: Option<u32>,
}

/// How far a run has got, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Connecting { ready: usize, clients: usize },
    Publishing { sent: u64, received: u64 },
}

struct Member {
    connection: Connection,
    client: Client,
    out: OutputBuffer,
    /// What is left of a packet that is not whole yet.
    unread: Vec<u8>,
    role: Role,
    is_dirty: bool,
}

#[derive(Clone, Copy)]
enum Role {
    Subscriber { audience: u32 },
    Publisher(u32),
}

/// One publisher's place in its streams.
#[derive(Clone, Default)]
struct Turn {
    member: u32,
    next_stream: u32,
    sent: u64,
    /// Of all its messages, over all audiences.
    delivered: u64,
    audiences: u64,
    is_queued: bool,
}

/// A run under way.
struct Run<'a> {
    plan: &'a Plan,
    load: &'a Load,
    poller: Poller,
    members: Vec<Member>,
    ready: usize,
    /// Members with output that is not sent yet.
    dirty: Vec<u32>,
    ledgers: Vec<Ledger>,
    /// By stream: messages sent, and whose they are.
    sent: Vec<u32>,
    owners: Vec<u32>,
    turns: Vec<Turn>,
    /// Publishers that may have room in their window.
    runnable: VecDeque<u32>,
    began: Instant,
    measures: bool,
    latency: Histogram<u64>,
    received: u64,
    received_in_span: u64,
    last_received: Instant,
    late: u64,
    failures: Vec<String>,
    payload: Vec<u8>,
    scratch: Vec<u8>,
}

/// Runs a plan. `watch` is told now and then how far it is.
pub fn run(plan: &Plan, load: &Load, mut watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let broker = || load.pid.and_then(Usage::of);
    let mut run = Run::new(plan, load)?;
    let (connecting, before) = (Instant::now(), broker());
    run.connect_all(&mut watch)?;
    let connect_span = connecting.elapsed();
    let (connected, own, waited) = (broker(), Usage::own(), own_wait());
    let span = run.publish_all(&mut watch);
    let (generator_cpu, generator_waited) = (Usage::own().cpu - own.cpu, own_wait() - waited);
    run.drain();
    let broker = before.zip(connected).zip(broker()).map(|((before, connected), after)| BrokerCost {
        connecting_cpu: connected.cpu - before.cpu,
        messages_cpu: after.cpu - connected.cpu,
        connecting_bytes: connected.resident_bytes.saturating_sub(before.resident_bytes),
    });
    Ok(run.finish(connect_span, span, Cost { generator_cpu, generator_waited, broker }))
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, load: &'a Load) -> io::Result<Self> {
        let mut owners = vec![0; plan.streams.len()];
        let mut turns = Vec::with_capacity(plan.publishers.len());
        for (publisher, streams) in plan.publishers.iter().enumerate() {
            owners[streams.start as usize..streams.end as usize].fill(publisher as u32);
            let audiences = plan.streams[streams.start as usize].audiences.len().max(1) as u64;
            turns.push(Turn { next_stream: streams.start, audiences, ..Turn::default() });
        }
        Ok(Self {
            plan,
            load,
            poller: Poller::new()?,
            members: Vec::with_capacity(plan.subscribers.len() + plan.publishers.len()),
            ready: 0,
            dirty: Vec::new(),
            ledgers: plan.audiences.iter().map(|audience| Ledger::new(!audience.is_shared)).collect(),
            sent: vec![0; plan.streams.len()],
            owners,
            turns,
            runnable: VecDeque::new(),
            began: Instant::now(),
            measures: false,
            latency: histogram(),
            received: 0,
            received_in_span: 0,
            last_received: Instant::now(),
            late: 0,
            failures: Vec::new(),
            payload: Vec::new(),
            scratch: vec![0; READ_BYTES_MAX],
        })
    }

    /// Opens every client, subscribers first, and waits until all are ready.
    fn connect_all(&mut self, watch: &mut impl FnMut(Stage)) -> io::Result<()> {
        let clients = self.plan.subscribers.len() + self.plan.publishers.len();
        let began = Instant::now();
        while self.ready < clients && self.failures.is_empty() {
            let allowed = match self.load.ramp {
                ramp if ramp > 0.0 => ((began.elapsed().as_secs_f64() * ramp) as usize + 1).min(clients),
                // As many at once as a listener's queue holds everywhere.
                _ => (self.ready + 100).min(clients),
            };
            while self.members.len() < allowed {
                self.open(self.members.len())?;
            }
            self.turn(Some(Duration::from_millis(1)));
            watch(Stage::Connecting { ready: self.ready, clients });
        }
        Ok(())
    }

    fn open(&mut self, number: usize) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(self.load.broker), Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        socket.connect(&self.load.broker.into())?;
        socket.set_nonblocking(true)?;
        let connection = Connection::new(socket.into(), self.load.broker.into());
        self.poller.add(&connection, number as u64)?;
        let (role, filters) = match self.plan.subscribers.get(number) {
            Some(subscriber) => (Role::Subscriber { audience: subscriber.audience }, subscriber.filters.clone()),
            None => {
                let publisher = number - self.plan.subscribers.len();
                self.turns[publisher].member = number as u32;
                (Role::Publisher(publisher as u32), Vec::new())
            }
        };
        let mut out = OutputBuffer::default();
        let client_id = format!("loadgen-{}-{number}", std::process::id());
        let Load { version, qos, keep_alive_secs, .. } = *self.load;
        let client = Client::connect(version, &client_id, filters, qos, keep_alive_secs, &mut out.bytes);
        self.members.push(Member { connection, client, out, unread: Vec::new(), role, is_dirty: true });
        self.dirty.push(number as u32);
        Ok(())
    }

    /// Waits for input, takes it, and sends what it asks for.
    fn turn(&mut self, timeout: Option<Duration>) {
        self.send_dirty();
        self.poller.wait(timeout);
        let now = self.began.elapsed().as_nanos() as u64;
        for index in 0..self.poller.len() {
            let event = self.poller.event(index);
            let member = &mut self.members[event.token as usize];
            if event.writable && member.connection.has_unsent() && member.connection.send_unsent().is_err() {
                self.failures.push("the broker closed a connection".into());
            }
            if event.readable {
                self.read(event.token as u32, now);
            }
        }
        self.send_dirty();
    }

    fn read(&mut self, number: u32, now: u64) {
        let mut scratch = std::mem::take(&mut self.scratch);
        loop {
            let member = &mut self.members[number as usize];
            let before = member.unread.len();
            scratch[..before].copy_from_slice(&member.unread);
            let received = member.connection.receive(&mut scratch[before..]);
            let Received::Bytes { bytes, is_all } = received else {
                if received == Received::End {
                    self.failures.push("the broker closed a connection".into());
                }
                break;
            };
            self.take(number, now, &scratch[..before + bytes]);
            if is_all {
                break;
            }
        }
        self.scratch = scratch;
    }

    fn take(&mut self, number: u32, now: u64, bytes: &[u8]) {
        let Self { members, ledgers, turns, runnable, owners, latency, load, .. } = self;
        let Member { client, out, unread, role, .. } = &mut members[number as usize];
        let (mut ready, mut received) = (false, 0);
        let result = client.receive(bytes, &mut out.bytes, |happening| match (happening, *role) {
            (Happening::Ready, _) => ready = true,
            (Happening::Message { payload, .. }, Role::Subscriber { audience }) => {
                received += 1;
                let ledger = &mut ledgers[audience as usize];
                let Some(stamp) = Stamp::read(payload, load.payload_bytes) else { return ledger.enter_wrong_payload() };
                ledger.enter(stamp.stream, stamp.number);
                latency.saturating_record(now.saturating_sub(stamp.due).max(1));
                let Some(&owner) = owners.get(stamp.stream as usize) else { return ledger.enter_wrong_payload() };
                turns[owner as usize].delivered += 1;
                queue(&mut turns[owner as usize], owner, runnable);
            }
            (Happening::Acknowledged, Role::Publisher(publisher)) => {
                queue(&mut turns[publisher as usize], publisher, runnable)
            }
            _ => {}
        });
        unread.clear();
        match result {
            Ok(used) => unread.extend_from_slice(&bytes[used..]),
            Err(failure) => self.failures.push(words(&failure)),
        }
        self.ready += usize::from(ready);
        self.received += received;
        if received > 0 {
            self.last_received = Instant::now();
        }
        self.mark(number);
    }

    fn mark(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        if !member.out.bytes.is_empty() && !std::mem::replace(&mut member.is_dirty, true) {
            self.dirty.push(number);
        }
    }

    fn send_dirty(&mut self) {
        for number in self.dirty.drain(..) {
            let member = &mut self.members[number as usize];
            member.is_dirty = false;
            if member.connection.send(&member.out).is_err() {
                self.failures.push("the broker closed a connection".into());
            }
            member.out.bytes.clear();
        }
    }

    /// Warm-up and measurement. Gives the measurement's span.
    fn publish_all(&mut self, watch: &mut impl FnMut(Stage)) -> Duration {
        self.began = Instant::now();
        self.runnable = (0..self.turns.len() as u32).collect();
        self.turns.iter_mut().for_each(|turn| turn.is_queued = true);
        let (measure_from, end) = (self.load.warm_up, self.load.warm_up + self.load.duration);
        let mut measured_from = Duration::ZERO;
        while self.began.elapsed() < end && self.failures.is_empty() {
            if !self.measures && self.began.elapsed() >= measure_from {
                self.measures = true;
                self.latency.reset();
                (measured_from, self.received_in_span) = (self.began.elapsed(), self.received);
            }
            let timeout = if self.load.rate > 0.0 { self.publish_due() } else { self.publish_in_windows() };
            self.turn(timeout);
            watch(Stage::Publishing { sent: self.messages_sent(), received: self.received });
        }
        let span = self.began.elapsed() - measured_from;
        self.received_in_span = self.received - self.received_in_span;
        span
    }

    fn messages_sent(&self) -> u64 {
        self.turns.iter().map(|turn| turn.sent).sum()
    }

    fn messages_due(&self) -> u64 {
        self.turns.iter().map(|turn| turn.sent * turn.audiences).sum()
    }

    /// The time that is left to what is under way.
    fn drain(&mut self) {
        self.last_received = Instant::now();
        while self.received < self.messages_due() && self.last_received.elapsed() < QUIET && self.failures.is_empty() {
            self.turn(Some(Duration::from_millis(10)));
        }
    }

    /// Closed loop: whoever has room for a batch in his window sends one after the other.
    fn publish_in_windows(&mut self) -> Option<Duration> {
        for _ in 0..self.runnable.len() {
            let Some(publisher) = self.runnable.pop_front() else { break };
            self.turns[publisher as usize].is_queued = false;
            while self.has_room(publisher) {
                let now = self.began.elapsed().as_nanos() as u64;
                (0..self.load.batch).for_each(|_| self.publish(publisher, now));
                // Not with the next one, for which there may be room too: a batch is a write.
                self.send_dirty();
            }
        }
        Some(Duration::from_millis(10))
    }

    fn has_room(&self, publisher: u32) -> bool {
        let turn = &self.turns[publisher as usize];
        let member = &self.members[turn.member as usize];
        let under_way = turn.sent - turn.delivered / turn.audiences;
        let unacknowledged = member.client.unacknowledged + self.load.batch;
        under_way + u64::from(self.load.batch) <= u64::from(self.load.window)
            && unacknowledged <= UNACKNOWLEDGED_MAX
            && !member.connection.has_unsent()
    }

    /// Open loop: what is due is sent, whether the broker keeps up or not.
    fn publish_due(&mut self) -> Option<Duration> {
        let nanos_each = 1e9 / self.load.rate;
        let now = self.began.elapsed().as_nanos() as u64;
        let mut sent = self.messages_sent();
        loop {
            let due = (sent as f64 * nanos_each) as u64;
            if due > now {
                break;
            }
            self.late += u64::from(now - due > 1_000_000);
            self.publish((sent % self.turns.len() as u64) as u32, due);
            sent += 1;
        }
        // A timer is coarser than the gaps between messages.
        Some(Duration::ZERO)
    }

    fn publish(&mut self, publisher: u32, due: u64) {
        let streams = &self.plan.publishers[publisher as usize];
        let turn = &mut self.turns[publisher as usize];
        let stream = turn.next_stream;
        turn.next_stream = if stream + 1 < streams.end { stream + 1 } else { streams.start };
        turn.sent += 1;
        let number = self.sent[stream as usize];
        self.sent[stream as usize] += 1;
        Stamp { stream, number, due }.write(self.load.payload_bytes, &mut self.payload);
        let member = &mut self.members[turn.member as usize];
        let topic = TopicName::new(&self.plan.streams[stream as usize].topic).expect("scenarios make valid topics");
        member.client.publish(topic, &self.payload, false, &mut member.out.bytes);
        let number = turn.member;
        self.mark(number);
    }

    fn finish(mut self, connect_span: Duration, span: Duration, cost: Cost) -> Outcome {
        for number in 0..self.members.len() {
            let member = &mut self.members[number];
            member.client.disconnect(&mut member.out.bytes);
            self.mark(number as u32);
        }
        self.send_dirty();
        let mut due: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.ledgers.len()];
        for (number, stream) in self.plan.streams.iter().enumerate() {
            for &audience in &stream.audiences {
                due[audience as usize].push((number as u32, self.sent[number]));
            }
        }
        let mut faults = Faults::default();
        for (ledger, due) in self.ledgers.iter().zip(due) {
            faults.add(&ledger.settle(due));
        }
        Outcome {
            name: self.plan.name.clone(),
            version: self.load.version,
            qos: self.load.qos,
            payload_bytes: self.load.payload_bytes,
            clients: self.members.len(),
            connects: Connects { count: self.members.len() as u64, span: connect_span, latency: histogram() },
            messages: Messages {
                sent: self.messages_sent(),
                received: self.received,
                due: self.messages_due(),
                received_in_span: self.received_in_span,
                faults,
                latency: self.latency,
                is_paced: self.load.rate > 0.0,
                late: self.late,
            },
            span,
            samples: Vec::new(),
            cost,
            failures: self.failures,
        }
    }
}

/// Puts a publisher behind those that are looked at next.
fn queue(turn: &mut Turn, publisher: u32, runnable: &mut VecDeque<u32>) {
    if !std::mem::replace(&mut turn.is_queued, true) {
        runnable.push_back(publisher);
    }
}

fn words(failure: &Failure) -> String {
    match failure {
        Failure::Refused(reason) => format!("a client was refused: {reason}"),
        Failure::SubscriptionRefused(code) => format!("a subscription was refused: 0x{code:02X}"),
        Failure::Disconnected(reason) => format!("the broker ended a connection: {reason}"),
        Failure::Malformed(error) => format!("the broker sent what is no packet: {error}"),
    }
}
