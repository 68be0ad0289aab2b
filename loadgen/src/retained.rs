//! Retained messages: gives the broker many, lets subscribers fetch all of them again and again, and takes them back.

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

/// How long the broker has to come to rest before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);

const TURN: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Collection {
    pub messages: usize,
    pub subscribers: usize,
    /// They ask for `retained/+`, and not for `retained/#`.
    pub is_single_level: bool,
    /// The messages stay with the broker.
    pub is_kept: bool,
}

/// A subscriber, and what it got of what it fetches.
#[derive(Debug)]
struct Reader {
    /// By message: the last fetch that brought it.
    seen: Vec<u32>,
    /// One more than those that are over.
    fetch: u32,
    is_fetching: bool,
    is_granted: bool,
    /// Messages that came in this fetch.
    came: usize,
    /// When it was begun, and its last message came.
    began: u64,
    last: u64,
}

/// What is heard of the clients.
#[derive(Debug)]
struct Shelf {
    payloads: Payloads,
    topics: Vec<Box<str>>,
    readers: Vec<Reader>,
    /// Readers that have got all.
    done: Vec<u32>,
    acknowledged: usize,
    received: u64,
    without_retain: u64,
    faults: Faults,
    /// Nanoseconds from SUBSCRIBE to each message, and to the last one.
    latency: Histogram<u64>,
    fetches: Histogram<u64>,
    failures: Vec<String>,
}

impl Shelf {
    /// Which message it is, if it is one that was put there.
    fn message(&self, publish: &Publish<'_>) -> Option<usize> {
        let Stamp { stream, number, .. } = self.payloads.read(publish.payload)?;
        let topic = self.topics.get(stream as usize)?;
        let is_right = number == 0 && publish.topic.is_some_and(|found| found.as_str() == &**topic);
        is_right.then_some(stream as usize)
    }

    fn end_if_done(&mut self, client: u32) {
        let reader = &mut self.readers[client as usize];
        if reader.is_fetching && reader.is_granted && reader.came == self.topics.len() {
            reader.is_fetching = false;
            self.fetches.saturating_record(reader.last - reader.began);
            self.done.push(client);
        }
    }
}

impl Handler for Shelf {
    fn on_ready(&mut self, client: u32) {
        if let Some(reader) = self.readers.get_mut(client as usize) {
            reader.is_granted = reader.is_fetching;
            self.end_if_done(client);
        }
    }

    #[inline]
    fn on_message(&mut self, client: u32, publish: &Publish<'_>, now: u64) {
        self.received += 1;
        let message = self.message(publish);
        let (Some(message), Some(reader)) = (message, self.readers.get_mut(client as usize)) else {
            self.faults.wrong_payload += 1;
            return;
        };
        self.without_retain += u64::from(!publish.retain);
        if !reader.is_fetching || std::mem::replace(&mut reader.seen[message], reader.fetch) == reader.fetch {
            self.faults.duplicated += 1;
            return;
        }
        (reader.came, reader.last) = (reader.came + 1, now);
        self.latency.saturating_record(now - reader.began);
        if reader.came == self.topics.len() {
            self.end_if_done(client);
        }
    }

    fn on_acknowledged(&mut self, _: u32, _: u64) {
        self.acknowledged += 1;
    }

    fn on_drained(&mut self, _: u32) {}

    fn on_failed(&mut self, _: u32, failure: Failure) {
        self.failures.push(failure.to_string());
    }
}

/// A collection under way. Readers come first, and behind them is who puts the messages.
struct Run<'a, W> {
    collection: Collection,
    load: &'a Load,
    swarm: Swarm,
    shelf: Shelf,
    filters: Rc<[Box<str>]>,
    watch: W,
    /// Messages that were put, and fetches that were begun.
    put: u64,
    begun: u64,
    lost: u64,
}

/// Runs a collection. `watch` is told now and then how far it is.
pub fn run(collection: Collection, load: &Load, watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let mut run = Run::new(collection, load, watch)?;
    let (began, own) = (run.swarm.now(), Spent::now());
    run.open()?;
    let (connect_span, connecting) = (Duration::from_nanos(run.swarm.now() - began), own.elapsed());
    run.settle();
    let empty = run.usage();
    run.put(|run, message| Some(Stamp { stream: message, number: 0, due: run.swarm.now() }));
    run.settle();
    let full = run.usage();
    let (timeline, received_in_span, generator) = run.fetch_all();
    let broker = empty.zip(full).zip(run.usage()).map(|((empty, full), after)| BrokerCost {
        messages_cpu: after.cpu - full.cpu,
        retained_bytes: full.resident_bytes.saturating_sub(empty.resident_bytes),
        ..BrokerCost::default()
    });
    (0..collection.subscribers as u32).for_each(|reader| run.swarm.close(reader));
    if !collection.is_kept {
        run.put(|_, _| None);
    }
    Ok(run.finish(connect_span, timeline, received_in_span, Cost::new(connecting, generator, broker)))
}

impl<'a, W: FnMut(Stage)> Run<'a, W> {
    fn new(collection: Collection, load: &'a Load, watch: W) -> io::Result<Self> {
        let mut swarm = Swarm::new(load.access.clone())?;
        (0..=collection.subscribers).for_each(|_| _ = swarm.add(Rc::new([]), load.qos));
        let reader = || Reader {
            seen: vec![0; collection.messages],
            fetch: 0,
            is_fetching: false,
            is_granted: false,
            came: 0,
            began: 0,
            last: 0,
        };
        let shelf = Shelf {
            payloads: Payloads::new(load.payload_bytes, load.seed),
            topics: (0..collection.messages).map(|message| format!("retained/{message}").into()).collect(),
            readers: (0..collection.subscribers).map(|_| reader()).collect(),
            done: Vec::new(),
            acknowledged: 0,
            received: 0,
            without_retain: 0,
            faults: Faults::default(),
            latency: histogram(),
            fetches: histogram(),
            failures: Vec::new(),
        };
        let filter = if collection.is_single_level { "retained/+" } else { "retained/#" };
        let filters = [filter.into()].into();
        Ok(Self { collection, load, swarm, shelf, filters, watch, put: 0, begun: 0, lost: 0 })
    }

    fn usage(&self) -> Option<Usage> {
        self.load.pid.and_then(Usage::of)
    }

    fn open(&mut self) -> io::Result<()> {
        let clients = self.swarm.len();
        self.swarm
            .open_all(&mut self.shelf, |swarm| (self.watch)(Stage::Connecting { ready: swarm.ready(), clients }))?;
        match self.shelf.failures.first() {
            Some(failure) if self.swarm.ready() == 0 => Err(io::Error::other(failure.clone())),
            _ => Ok(()),
        }
    }

    fn settle(&mut self) {
        let end = self.swarm.now() + SETTLE.as_nanos() as u64;
        while self.load.pid.is_some() && self.is_whole() && self.swarm.now() < end {
            self.swarm.turn(Some(TURN), &mut self.shelf);
        }
    }

    fn is_whole(&self) -> bool {
        self.shelf.failures.is_empty()
    }

    /// Puts a payload with each stamp, or nothing, which takes the message back; and waits until all is acknowledged.
    fn put(&mut self, stamp: impl Fn(&Self, u32) -> Option<Stamp>) {
        let putter = self.collection.subscribers as u32;
        let (mut next, mut last, mut at) = (0, 0, self.swarm.now());
        let payload = vec![0; self.shelf.payloads.bytes()];
        self.shelf.acknowledged = 0;
        while self.shelf.acknowledged < self.collection.messages && self.is_whole() {
            let (room, _) = self.swarm.room(putter, QoS::AtLeastOnce);
            let end = self.collection.messages.min(next + room as usize);
            for message in next..end {
                let stamp = stamp(self, message as u32);
                let topic = TopicName::new(&self.shelf.topics[message]).expect("a valid topic");
                let payload = if stamp.is_some() { &payload[..] } else { &[] };
                let head = PublishHead::new(self.load.access.version, topic, QoS::AtLeastOnce, true, payload);
                let payloads = &self.shelf.payloads;
                self.swarm.publish(putter, &head, |out| stamp.into_iter().for_each(|stamp| payloads.write(stamp, out)));
                self.put += u64::from(stamp.is_some());
            }
            next = end;
            self.swarm.turn(Some(TURN), &mut self.shelf);
            (self.watch)(Stage::Publishing { sent: self.put, received: self.shelf.received });
            let now = self.swarm.now();
            if self.shelf.acknowledged != last {
                (last, at) = (self.shelf.acknowledged, now);
            } else if now > at + QUIET.as_nanos() as u64 {
                let left = self.collection.messages - last;
                self.shelf.failures.push(format!("{left} retained messages were not acknowledged"));
            }
        }
    }

    /// Lets a reader ask for all.
    fn fetch(&mut self, client: u32) {
        self.swarm.unsubscribe(client);
        self.swarm.subscribe(client, Rc::clone(&self.filters));
        let (reader, now) = (&mut self.shelf.readers[client as usize], self.swarm.now());
        reader.fetch += 1;
        (reader.is_fetching, reader.is_granted, reader.came) = (true, false, 0);
        (reader.began, reader.last) = (now, now);
        self.begun += 1;
    }

    /// Warm-up and measurement. Gives the measurement's parts, what came in it, and what the generator took for it.
    fn fetch_all(&mut self) -> (Timeline, u64, Spent) {
        let measure_from = self.swarm.now() + self.load.warm_up.as_nanos() as u64;
        if self.is_whole() {
            (0..self.collection.subscribers as u32).for_each(|client| self.fetch(client));
        }
        self.fetch_until(measure_from, |_| {});
        self.shelf.latency.reset();
        self.shelf.fetches.reset();
        let (now, own, received) = (self.swarm.now(), Spent::now(), self.shelf.received);
        let mut timeline = Timeline::new(now, self.counts(), self.load.duration);
        self.fetch_until(now + self.load.duration.as_nanos() as u64, |run| {
            if timeline.is_due(run.swarm.now()) {
                run.end_part(&mut timeline);
                (run.watch)(Stage::Publishing { sent: run.put, received: run.shelf.received });
            }
        });
        self.end_part(&mut timeline);
        let (received, spent) = (self.shelf.received - received, own.elapsed());
        // What is under way is fetched to its end.
        while self.is_fetching() {
            self.swarm.turn(Some(TURN), &mut self.shelf);
            self.give_up();
        }
        timeline.add_latency(&self.shelf.latency);
        (timeline, received, spent)
    }

    const fn counts(&self) -> Counts {
        Counts { connects: 0, sent: self.put, received: self.shelf.received }
    }

    fn end_part(&mut self, timeline: &mut Timeline) {
        timeline.end_part(self.swarm.now(), self.counts(), &self.shelf.latency);
        self.shelf.latency.reset();
    }

    fn is_fetching(&self) -> bool {
        self.is_whole() && self.shelf.readers.iter().any(|reader| reader.is_fetching)
    }

    /// Lets those that are done begin anew.
    fn fetch_until(&mut self, end: u64, mut each_turn: impl FnMut(&mut Self)) {
        while self.swarm.now() < end && self.is_fetching() {
            self.swarm.turn(Some(TURN), &mut self.shelf);
            for client in std::mem::take(&mut self.shelf.done) {
                self.fetch(client);
            }
            self.give_up();
            each_turn(self);
        }
    }

    /// A reader to which nothing comes any more does not go on.
    fn give_up(&mut self) {
        let now = self.swarm.now();
        for reader in &mut self.shelf.readers {
            if reader.is_fetching && now > reader.last + QUIET.as_nanos() as u64 {
                reader.is_fetching = false;
                self.lost += (self.shelf.topics.len() - reader.came) as u64;
                if !reader.is_granted {
                    self.shelf.failures.push("the broker does not answer a subscription".into());
                }
            }
        }
    }

    fn finish(mut self, connect_span: Duration, timeline: Timeline, received_in_span: u64, cost: Cost) -> Outcome {
        let Collection { messages, subscribers, .. } = self.collection;
        let span = timeline.span();
        let (samples, latency) = timeline.finish();
        self.swarm.close_all();
        let Shelf { payloads, received, without_retain, mut faults, fetches, mut failures, .. } = self.shelf;
        if without_retain > 0 {
            failures.push(format!("{without_retain} retained messages came without RETAIN"));
        }
        faults.lost += self.lost;
        let connects = self.swarm.connect_latency().clone();
        Outcome {
            name: format!("retained, {messages} to {subscribers}, by {}", self.filters[0]),
            version: self.load.access.version,
            qos: self.load.qos,
            payload_bytes: payloads.bytes(),
            clients: self.swarm.len(),
            connects: Connects { count: connects.len(), span: connect_span, latency: connects },
            subscriptions: subscribers as u64,
            retained: messages as u64,
            messages: Messages {
                sent: self.put,
                received,
                due: self.begun * messages as u64,
                received_in_span,
                faults,
                broken: faults.broken(self.load.qos),
                latency,
                ..Messages::none()
            },
            fetches,
            span,
            samples,
            cost,
            failures,
        }
    }
}
