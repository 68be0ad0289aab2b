//! Clients that come and go: each connects, subscribes if asked for, leaves, and comes again.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use thrum::mqtt::{Publish, QoS};

use crate::access::Access;
use crate::client::{Failure, Phase};
use crate::outcome::{BrokerCost, Connects, Cost, Messages, Outcome, histogram};
use crate::plan::Background;
use crate::stamp::Payloads;
use crate::swarm::{Handler, Swarm};
use crate::timeline::{Counts, Timeline};
use crate::traffic::{Load, Stage};
use crate::usage::{Spent, Usage};

/// A broker need not close the connection after DISCONNECT; it is closed here then, and costs a port for a minute.
const CLOSING: Duration = Duration::from_secs(1);

/// How often those are looked for that the broker does not close.
const CLOSING_ROUND: Duration = Duration::from_millis(100);

/// How long nobody may get anywhere.
const PATIENCE: Duration = Duration::from_secs(5);

/// A run with so many failures need not go on.
const FAILURES_MAX: usize = 100;

const TURN: Duration = Duration::from_millis(10);

/// What is heard of the clients.
#[derive(Default, Debug)]
struct Gate {
    ready: Vec<u32>,
    gone: Vec<u32>,
    /// Of messages that come to those that subscribe; none: there are not to be any.
    payloads: Option<Payloads>,
    wrong_payload: u64,
    failures: Vec<String>,
}

impl Handler for Gate {
    fn on_ready(&mut self, client: u32) {
        self.ready.push(client);
    }

    fn on_message(&mut self, _: u32, publish: &Publish<'_>, _: u64) {
        let is_right = self.payloads.as_ref().is_some_and(|payloads| payloads.read(publish.payload).is_some());
        self.wrong_payload += u64::from(!is_right);
    }

    fn on_acknowledged(&mut self, _: u32, _: u64) {}

    fn on_drained(&mut self, _: u32) {}

    fn on_failed(&mut self, client: u32, failure: Failure) {
        self.failures.push(failure.to_string());
        self.gone.push(client);
    }

    fn on_left(&mut self, client: u32) {
        self.gone.push(client);
    }
}

/// Clients that come and go, by turns.
#[derive(Debug)]
pub struct Churn {
    swarm: Swarm,
    gate: Gate,
    /// Those that are to be opened.
    closed: Vec<u32>,
    /// When each has sent DISCONNECT.
    leaving_at: Vec<u64>,
    looked_at: u64,
    began: u64,
    opened: usize,
    /// Clients that got all they wanted, ever, and when the last one did, or there was nobody who wanted anything.
    completed: u64,
    progress_at: u64,
}

impl Churn {
    /// So many clients at a time, at the pace of the access, which subscribe to what each is given.
    pub fn new(
        access: Access,
        clients: usize,
        qos: QoS,
        filters: impl Fn(usize) -> Rc<[Box<str>]>,
    ) -> io::Result<Self> {
        Ok(Self::of(Swarm::new(access)?, clients, qos, filters))
    }

    fn of(mut swarm: Swarm, clients: usize, qos: QoS, filters: impl Fn(usize) -> Rc<[Box<str>]>) -> Self {
        let closed = (0..clients).map(|client| swarm.add(filters(client), qos)).rev().collect();
        let now = swarm.now();
        Self {
            swarm,
            gate: Gate::default(),
            closed,
            leaving_at: vec![0; clients],
            looked_at: now,
            began: now,
            opened: 0,
            completed: 0,
            progress_at: now,
        }
    }

    /// Beside others, whose messages come to these as well; with client identifiers of their own.
    pub fn beside(
        others: &Swarm,
        access: Access,
        background: &Background,
        qos: QoS,
        payloads: Payloads,
    ) -> io::Result<Self> {
        let access = Access { ramp: background.connects_per_sec, ..access };
        let mut churn = Self::of(Swarm::with_ids_from(others.len(), access)?, background.clients, qos, |_| {
            Rc::clone(&background.filters)
        });
        churn.gate.payloads = Some(payloads);
        Ok(churn)
    }

    /// Connections that came as far as they were to, ever.
    pub const fn completed(&self) -> u64 {
        self.completed
    }

    pub fn take_failures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gate.failures)
    }

    /// Messages that came and were not as they were sent.
    pub const fn wrong_payload(&self) -> u64 {
        self.gate.wrong_payload
    }

    /// The pace counts from now.
    pub fn begin(&mut self) {
        self.began = self.swarm.now();
    }

    /// Opens who is to come, and lets go who has come.
    pub fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        if self.closed.len() == self.swarm.len() {
            self.progress_at = self.swarm.now();
        }
        while !self.closed.is_empty() && self.swarm.may_open(self.opened, self.swarm.now() - self.began) {
            self.swarm.open(self.closed.pop().expect("one that is closed"))?;
            self.opened += 1;
        }
        self.swarm.turn(Some(timeout), &mut self.gate);
        let now = self.swarm.now();
        for client in self.gate.ready.drain(..) {
            // It may have failed since.
            if self.swarm.phase(client) == Phase::Ready {
                self.swarm.leave(client);
                self.leaving_at[client as usize] = now;
                (self.completed, self.progress_at) = (self.completed + 1, now);
            }
        }
        self.closed.append(&mut self.gate.gone);
        if now > self.looked_at + CLOSING_ROUND.as_nanos() as u64 {
            self.looked_at = now;
            self.close_left(now);
        }
        Ok(())
    }

    fn close_left(&mut self, now: u64) {
        for client in 0..self.leaving_at.len() as u32 {
            let is_due = now > self.leaving_at[client as usize] + CLOSING.as_nanos() as u64;
            if is_due && self.swarm.phase(client) == Phase::Leaving {
                self.swarm.close(client);
                self.closed.push(client);
            }
        }
    }

    /// Lets all go.
    pub fn end(&mut self) {
        self.swarm.close_all();
    }
}

impl Churn {
    fn counts(&self) -> Counts {
        Counts { connects: self.swarm.connects(), ..Counts::default() }
    }

    fn end_part(&mut self, timeline: &mut Timeline) {
        timeline.end_part(self.swarm.now(), self.counts(), self.swarm.connect_latency());
        self.swarm.clear_connect_latency();
    }
}

/// Runs so many clients at a time for the duration. `watch` is told now and then how far it is.
pub fn run(clients: usize, subscribes: bool, load: &Load, mut watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let filters = |client| if subscribes { [format!("churn/{client}").into()].into() } else { Rc::new([]) as Rc<[_]> };
    let mut churn = Churn::new(load.access.clone(), clients, load.qos, filters)?;
    churn.turn_until(churn.began + load.warm_up.as_nanos() as u64, &mut watch, |_| {})?;
    let broker = || load.pid.and_then(Usage::of);
    churn.swarm.clear_connect_latency();
    let (before, own, now) = (broker(), Spent::now(), churn.swarm.now());
    let mut timeline = Timeline::new(now, churn.counts(), load.duration);
    churn.turn_until(now + load.duration.as_nanos() as u64, &mut watch, |churn| {
        if timeline.is_due(churn.swarm.now()) {
            churn.end_part(&mut timeline);
        }
    })?;
    churn.end_part(&mut timeline);
    let (span, generator) = (timeline.span(), own.elapsed());
    let (samples, latency) = timeline.finish();
    let broker = before
        .zip(broker())
        .map(|(before, after)| BrokerCost { connecting_cpu: after.cpu - before.cpu, ..BrokerCost::default() });
    churn.end();
    let failures = churn.take_failures();
    match failures.first() {
        Some(failure) if churn.completed == 0 => return Err(io::Error::other(failure.clone())),
        _ => {}
    }
    Ok(Outcome {
        name: format!("churn, {clients} at a time{}", if subscribes { ", each subscribing" } else { "" }),
        version: load.access.version,
        qos: load.qos,
        payload_bytes: 0,
        clients,
        connects: Connects { count: latency.len(), span, latency },
        subscriptions: if subscribes { churn.completed } else { 0 },
        retained: 0,
        messages: Messages::none(),
        fetches: histogram(),
        span,
        samples,
        cost: Cost::new(generator, generator, broker),
        failures,
    })
}

impl Churn {
    fn turn_until(
        &mut self,
        end: u64,
        watch: &mut impl FnMut(Stage),
        mut each_turn: impl FnMut(&mut Self),
    ) -> io::Result<()> {
        while self.swarm.now() < end && self.gate.failures.len() < FAILURES_MAX {
            self.turn(TURN)?;
            each_turn(self);
            watch(Stage::Churning { completed: self.completed });
            if self.swarm.now() > self.progress_at + PATIENCE.as_nanos() as u64 {
                self.gate.failures.push(format!("the broker let nobody in for {} s", PATIENCE.as_secs()));
                break;
            }
        }
        Ok(())
    }
}
