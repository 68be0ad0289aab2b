//! A run about retained messages: one client stores them, and others subscribe to all of them, again and again, and are
//! to get each once a time.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use thrum::mqtt::{Publish, QoS, TopicName};

use crate::client::{Failure, PublishHead};
use crate::ledger::Faults;
use crate::outcome::{BrokerCost, Connects, Cost, Messages, Outcome, histogram};
use crate::stamp::{Payloads, Stamp};
use crate::swarm::{Handler, Swarm};
use crate::timeline::{Counts, Timeline};
use crate::traffic::{Load, QUIET, Stage};
use crate::usage::{Spent, Usage};

const TURN: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
pub struct Library {
    pub messages: usize,
    pub subscribers: usize,
}

/// The client that stores them; the others read them.
const KEEPER: u32 = 0;

/// From a subscription to when all of it has come.
#[derive(Clone, Debug)]
struct Visit {
    opened_at: u64,
    is_subscribed: bool,
    /// A bit for each message.
    seen: Vec<u64>,
    left: u64,
}

struct Readers {
    payloads: Payloads,
    messages: u64,
    /// By client; the keeper's means nothing.
    visits: Vec<Visit>,
    /// Those whose visit is over.
    done: Vec<u32>,
    is_keeper_ready: bool,
    due: u64,
    received: u64,
    last_received: u64,
    faults: Faults,
    latency: Histogram<u64>,
    failures: Vec<String>,
}

impl Visit {
    fn begin(&mut self, now: u64, messages: u64) {
        (self.opened_at, self.is_subscribed, self.left) = (now, false, messages);
        self.seen.fill(0);
    }

    /// False: it came before.
    fn enter(&mut self, message: u32) -> bool {
        let (word, bit) = (&mut self.seen[message as usize / 64], 1 << (message % 64));
        // A branch, for `self.left -= u64::from(is_new)` is left out by rustc 1.95 where it optimizes.
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.left -= 1;
        true
    }
}

impl Handler for Readers {
    fn on_ready(&mut self, client: u32) {
        self.is_keeper_ready |= client == KEEPER;
        let visit = &mut self.visits[client as usize];
        visit.is_subscribed = true;
        if visit.left == 0 && client != KEEPER {
            self.done.push(client);
        }
    }

    fn on_message(&mut self, client: u32, publish: &Publish<'_>, now: u64) {
        self.received += 1;
        self.last_received = now;
        let stamp = self.payloads.read(publish.payload).filter(|stamp| u64::from(stamp.stream) < self.messages);
        let Some(stamp) = stamp.filter(|_| publish.retain) else {
            self.faults.wrong_payload += 1;
            return;
        };
        let visit = &mut self.visits[client as usize];
        self.latency.saturating_record(now - visit.opened_at);
        if !visit.enter(stamp.stream) {
            self.faults.duplicated += 1;
        } else if visit.left == 0 && visit.is_subscribed {
            self.done.push(client);
        }
    }

    fn on_acknowledged(&mut self, _: u32) {}

    fn on_drained(&mut self, _: u32) {}

    fn on_failed(&mut self, _: u32, failure: Failure) {
        self.failures.push(failure.to_string());
    }
}

struct Reading<'a> {
    load: &'a Load,
    swarm: Swarm,
    readers: Readers,
    topics: Vec<String>,
    qos: QoS,
}

/// Stores the messages, has them read for the duration, and removes them.
pub fn run(library: &Library, load: &Load, mut watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let broker = || load.pid.and_then(Usage::of);
    let mut reading = Reading::new(library, load)?;
    let before = broker();
    reading.store(&mut watch)?;
    let stored = broker();
    let (mut timeline, spent) = reading.read_all(library, &mut watch)?;
    timeline.add_latency(&reading.readers.latency);
    let broker = before.zip(stored).zip(broker()).map(|((before, stored), after)| BrokerCost {
        connecting_cpu: Duration::ZERO,
        messages_cpu: after.cpu - stored.cpu,
        connecting_bytes: stored.resident_bytes.saturating_sub(before.resident_bytes),
    });
    let received_in_span = timeline.counted().received;
    reading.remove();
    Ok(reading.finish(library, timeline, received_in_span, Cost::new(spent, broker)))
}

impl<'a> Reading<'a> {
    fn new(library: &Library, load: &'a Load) -> io::Result<Self> {
        let Library { messages, subscribers } = *library;
        let mut swarm = Swarm::new(load.access.clone())?;
        swarm.add(Rc::new([]), load.qos);
        let filters: Rc<[Box<str>]> = ["retained/#".into()].into();
        (0..subscribers).for_each(|_| _ = swarm.add(Rc::clone(&filters), load.qos));
        let visit = Visit { opened_at: 0, is_subscribed: false, seen: vec![0; messages.div_ceil(64)], left: 0 };
        Ok(Self {
            load,
            swarm,
            readers: Readers {
                payloads: Payloads::new(load.payload_bytes, load.seed),
                messages: messages as u64,
                visits: vec![visit; subscribers + 1],
                done: Vec::new(),
                is_keeper_ready: false,
                due: 0,
                received: 0,
                last_received: 0,
                faults: Faults::default(),
                latency: histogram(),
                failures: Vec::new(),
            },
            topics: (0..messages).map(|message| format!("retained/{message}")).collect(),
            // So that there is an answer when it is stored.
            qos: load.qos.max(QoS::AtLeastOnce),
        })
    }

    fn store(&mut self, watch: &mut impl FnMut(Stage)) -> io::Result<()> {
        self.swarm.open(KEEPER)?;
        while !self.readers.is_keeper_ready && self.readers.failures.is_empty() {
            self.swarm.turn(Some(TURN), &mut self.readers);
        }
        let payload_bytes = self.readers.payloads.bytes();
        self.publish_each(payload_bytes, |payloads, stream, due, out| {
            payloads.write(Stamp { stream, number: 0, due }, out);
        });
        watch(Stage::Connecting { ready: 1, clients: self.swarm.len() });
        match self.readers.failures.first() {
            Some(failure) => Err(io::Error::other(failure.clone())),
            None => Ok(()),
        }
    }

    /// An empty message takes the place of each.
    fn remove(&mut self) {
        if self.readers.failures.is_empty() {
            self.publish_each(0, |_, _, _, _| {});
        }
    }

    /// Publishes to every topic, and waits until all of it is acknowledged.
    fn publish_each(&mut self, payload_bytes: usize, put_payload: impl Fn(&Payloads, u32, u64, &mut Vec<u8>)) {
        let payload = vec![0; payload_bytes];
        let mut next = 0;
        loop {
            let (left, most) = self.swarm.room(KEEPER, self.qos);
            let is_over = next == self.topics.len() && left == most;
            if is_over || !self.readers.failures.is_empty() {
                return;
            }
            let now = self.swarm.now();
            for _ in 0..left {
                let Some(topic) = self.topics.get(next) else { break };
                let topic = TopicName::trusted(topic);
                let head = PublishHead::new(self.load.access.version, topic, self.qos, true, &payload);
                let payloads = &self.readers.payloads;
                self.swarm.publish(KEEPER, &head, |out| put_payload(payloads, next as u32, now, out));
                next += 1;
            }
            self.swarm.turn(Some(TURN), &mut self.readers);
        }
    }

    /// Lets every subscriber come again as long as the time lasts, and those that are there at its end finish. Gives the
    /// generator's own time in the measurement.
    fn read_all(&mut self, library: &Library, watch: &mut impl FnMut(Stage)) -> io::Result<(Timeline, Spent)> {
        let (began, from) = (self.swarm.now(), Spent::now());
        let end = began + self.load.duration.as_nanos() as u64;
        let mut timeline = Timeline::new(began, Counts::default(), self.load.duration);
        let mut reading = library.subscribers;
        let mut spent = None;
        (1..=reading as u32).try_for_each(|client| self.visit(client))?;
        self.readers.last_received = began;
        while reading > 0 && self.readers.failures.is_empty() {
            self.swarm.turn(Some(TURN), &mut self.readers);
            let now = self.swarm.now();
            for client in std::mem::take(&mut self.readers.done) {
                self.swarm.close(client);
                if now < end { self.visit(client)? } else { reading -= 1 }
            }
            if now < end && timeline.is_due(now) || now >= end && spent.is_none() {
                self.end_part(&mut timeline, now);
                watch(Stage::Publishing { sent: 0, received: self.readers.received });
            }
            if now >= end {
                spent.get_or_insert_with(|| from.elapsed());
            }
            if now > self.readers.last_received + QUIET.as_nanos() as u64 {
                break;
            }
        }
        if spent.is_none() {
            self.end_part(&mut timeline, self.swarm.now());
        }
        Ok((timeline, spent.unwrap_or_else(|| from.elapsed())))
    }

    fn end_part(&mut self, timeline: &mut Timeline, now: u64) {
        let counts = Counts { connects: self.swarm.connects(), sent: 0, received: self.readers.received };
        timeline.end_part(now, counts, &self.readers.latency);
        self.readers.latency.reset();
    }

    fn visit(&mut self, client: u32) -> io::Result<()> {
        let (now, messages) = (self.swarm.now(), self.readers.messages);
        self.readers.visits[client as usize].begin(now, messages);
        self.readers.due += messages;
        self.swarm.open(client)
    }

    fn finish(mut self, library: &Library, timeline: Timeline, received_in_span: u64, cost: Cost) -> Outcome {
        (0..self.swarm.len() as u32).for_each(|client| self.swarm.close(client));
        let Readers { due, received, mut faults, visits, failures, .. } = self.readers;
        faults.lost = visits[1..].iter().map(|visit| visit.left).sum();
        let span = timeline.span();
        let (samples, latency) = timeline.finish();
        let Library { messages, subscribers } = library;
        Outcome {
            name: format!("retained, {messages} messages to {subscribers} subscribers over and over"),
            version: self.load.access.version,
            qos: self.load.qos,
            payload_bytes: self.readers.payloads.bytes(),
            clients: self.swarm.len(),
            connects: Connects { count: self.swarm.connects(), span, latency: self.swarm.connect_latency().clone() },
            messages: Messages {
                sent: self.readers.messages,
                received,
                due,
                received_in_span,
                faults,
                broken: faults.broken(self.load.qos),
                latency,
                is_paced: false,
                late: 0,
                lateness: Duration::ZERO,
            },
            span,
            samples,
            cost,
            failures,
        }
    }
}
