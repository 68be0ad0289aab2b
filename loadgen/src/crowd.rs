//! Many connections that are only held: opened, subscribed if asked for, kept alive, called by name at the end, and
//! closed.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use thrum::mqtt::Publish;

use crate::client::Failure;
use crate::outcome::{BrokerCost, Connects, Cost, Messages, Outcome, histogram};
use crate::swarm::{Handler, Swarm};
use crate::timeline::{Counts, Timeline};
use crate::traffic::{Load, Stage};
use crate::usage::{Spent, Usage};

/// How long the broker has to come to rest before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the broker may leave all of them without an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it takes to connect, about, where there is no pace: what it is divided into parts by.
const CONNECTING: Duration = Duration::from_secs(2);

/// How long one wait takes while there is nothing to do.
const IDLE_TURN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crowd {
    pub clients: usize,
    /// Filters that each of them subscribes to, all of them different.
    pub filters_each: usize,
}

/// What is heard of the clients.
#[derive(Default, Debug)]
struct Roll {
    failures: Vec<String>,
    ready: u64,
    pinged: u64,
}

impl Handler for Roll {
    fn on_ready(&mut self, _: u32) {
        self.ready += 1;
    }

    fn on_message(&mut self, _: u32, _: &Publish<'_>, _: u64) {}

    fn on_acknowledged(&mut self, _: u32, _: u64) {}

    fn on_drained(&mut self, _: u32) {}

    fn on_failed(&mut self, _: u32, failure: Failure) {
        self.failures.push(failure.to_string());
    }

    fn on_pinged(&mut self, _: u32) {
        self.pinged += 1;
    }
}

/// A crowd under way.
struct Run<'a, W> {
    crowd: Crowd,
    load: &'a Load,
    swarm: Swarm,
    roll: Roll,
    watch: W,
}

/// Runs a crowd. `watch` is told now and then how far it is.
pub fn run(crowd: Crowd, load: &Load, watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let mut swarm = Swarm::new(load.access.clone())?;
    (0..crowd.clients).for_each(|_| _ = swarm.add(Rc::new([]), load.qos));
    let mut run = Run { crowd, load, swarm, roll: Roll::default(), watch };
    let (before, own) = (run.usage(), Spent::now());
    let opened = run.open()?;
    let (connecting, generator_connecting) = (run.usage(), own.elapsed());
    run.settle();
    let connected = run.usage();
    run.subscribe();
    let (subscribed, own) = (run.usage(), Spent::now());
    let span = run.hold();
    let (held, generator) = (run.usage(), own.elapsed());
    run.call_roll();
    run.swarm.close_all();
    let known = before.zip(connecting).zip(connected).zip(subscribed).zip(held);
    let broker = known.map(|((((before, connecting), connected), subscribed), held)| BrokerCost {
        connecting_cpu: connecting.cpu - before.cpu,
        connecting_bytes: subscribed.resident_bytes.saturating_sub(before.resident_bytes),
        subscribing_bytes: subscribed.resident_bytes.saturating_sub(connected.resident_bytes),
        holding_cpu: held.cpu - subscribed.cpu,
        ..BrokerCost::default()
    });
    Ok(run.finish(opened, span, Cost::new(generator_connecting, generator, broker)))
}

impl<W: FnMut(Stage)> Run<'_, W> {
    fn usage(&self) -> Option<Usage> {
        self.load.pid.and_then(Usage::of)
    }

    /// Gives what came of it, part by part.
    fn open(&mut self) -> io::Result<Timeline> {
        let (clients, ramp) = (self.crowd.clients, self.load.access.ramp);
        let expected = if ramp > 0.0 { Duration::from_secs_f64(clients as f64 / ramp) } else { CONNECTING };
        let mut timeline = Timeline::new(self.swarm.now(), Counts::default(), expected);
        self.swarm.open_all(&mut self.roll, |swarm| {
            (self.watch)(Stage::Connecting { ready: swarm.ready(), clients });
            if timeline.is_due(swarm.now()) {
                end_part(&mut timeline, swarm);
            }
        })?;
        end_part(&mut timeline, &mut self.swarm);
        match self.roll.failures.first() {
            Some(failure) if self.swarm.ready() == 0 => Err(io::Error::other(failure.clone())),
            _ => Ok(timeline),
        }
    }

    fn is_whole(&self) -> bool {
        self.roll.failures.is_empty()
    }

    fn settle(&mut self) {
        if self.load.pid.is_some() && self.is_whole() {
            self.turn_until(self.swarm.now() + SETTLE.as_nanos() as u64);
        }
    }

    fn turn_until(&mut self, end: u64) {
        while self.swarm.now() < end {
            let left = Duration::from_nanos(end.saturating_sub(self.swarm.now()));
            self.swarm.turn(Some(left.min(IDLE_TURN)), &mut self.roll);
        }
    }

    fn subscribe(&mut self) {
        let Crowd { clients, filters_each } = self.crowd;
        if filters_each == 0 || !self.is_whole() {
            return;
        }
        let expected = self.roll.ready + clients as u64;
        for client in 0..clients as u32 {
            let filters = (0..filters_each).map(|filter| format!("crowd/{client}/{filter}").into()).collect();
            self.swarm.subscribe(client, filters);
        }
        if !self.await_answers(expected, |roll| roll.ready) && self.is_whole() {
            self.roll.failures.push("the broker does not answer subscriptions".into());
        }
        self.settle();
    }

    /// Waits until so many have answered, or one has failed, or none did for long.
    fn await_answers(&mut self, expected: u64, count: impl Fn(&Roll) -> u64) -> bool {
        let (failures, mut last, mut at) = (self.roll.failures.len(), count(&self.roll), self.swarm.now());
        while last < expected && self.roll.failures.len() == failures {
            self.swarm.turn(Some(IDLE_TURN), &mut self.roll);
            let now = self.swarm.now();
            if count(&self.roll) != last {
                (last, at) = (count(&self.roll), now);
            } else if now > at + PATIENCE.as_nanos() as u64 {
                return false;
            }
        }
        last >= expected
    }

    /// The measurement. Those that are lost meanwhile are failures, and the others are held on.
    fn hold(&mut self) -> Duration {
        let began = self.swarm.now();
        let end = began + self.load.duration.as_nanos() as u64;
        while self.swarm.now() < end && self.swarm.ready() > 0 {
            self.turn_until(end.min(self.swarm.now() + IDLE_TURN.as_nanos() as u64));
            (self.watch)(Stage::Holding { ready: self.swarm.ready(), clients: self.crowd.clients });
        }
        Duration::from_nanos(self.swarm.now() - began)
    }

    /// A connection that nothing is sent on looks whole, whatever became of the broker.
    fn call_roll(&mut self) {
        let expected = self.roll.pinged + self.swarm.ready() as u64;
        (0..self.crowd.clients as u32).for_each(|client| {
            if self.swarm.is_ready(client) {
                self.swarm.ping(client);
            }
        });
        if !self.await_answers(expected, |roll| roll.pinged) {
            let unanswered = expected - self.roll.pinged;
            self.roll.failures.push(format!("{unanswered} clients have no answer to their last ping"));
        }
    }

    fn finish(self, opened: Timeline, span: Duration, cost: Cost) -> Outcome {
        let Crowd { clients, filters_each } = self.crowd;
        let name = match filters_each {
            0 => format!("conn, {clients} clients"),
            1 => format!("conn, {clients} clients with a subscription each"),
            more => format!("conn, {clients} clients with {more} subscriptions each"),
        };
        let connect_span = opened.span();
        let (samples, latency) = opened.finish();
        Outcome {
            name,
            version: self.load.access.version,
            qos: self.load.qos,
            payload_bytes: 0,
            clients,
            connects: Connects { count: self.swarm.connects(), span: connect_span, latency },
            subscriptions: (clients * filters_each) as u64,
            retained: 0,
            messages: Messages::none(),
            fetches: histogram(),
            span,
            samples,
            cost,
            failures: self.roll.failures,
        }
    }
}

fn end_part(timeline: &mut Timeline, swarm: &mut Swarm) {
    timeline.end_part(swarm.now(), Counts { connects: swarm.connects(), ..Counts::default() }, swarm.connect_latency());
    swarm.clear_connect_latency();
}
