//! Runs that are about connections alone: [`hold`] opens many and keeps them, [`churn`] opens and closes them over and
//! over.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use thrum::mqtt::{Publish, QoS};

use crate::client::Failure;
use crate::ledger::Faults;
use crate::outcome::{BrokerCost, Connects, Cost, Messages, Outcome, Sample, histogram};
use crate::swarm::{Handler, Swarm};
use crate::timeline::{Counts, Timeline};
use crate::traffic::{Load, Stage};
use crate::usage::{Spent, Usage};

/// How long a turn waits at most: as exactly can connections be opened at a pace.
const TURN: Duration = Duration::from_millis(1);

/// Clients, each with so many subscriptions of its own.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub clients: usize,
    pub filters: usize,
}

#[derive(Default, Debug)]
struct Entrance {
    /// Those that became ready and were not looked at yet.
    ready: Vec<u32>,
    failures: Vec<String>,
}

impl Handler for Entrance {
    fn on_ready(&mut self, client: u32) {
        self.ready.push(client);
    }

    fn on_message(&mut self, _: u32, _: &Publish<'_>, _: u64) {}

    fn on_acknowledged(&mut self, _: u32) {}

    fn on_drained(&mut self, _: u32) {}

    fn on_failed(&mut self, _: u32, failure: Failure) {
        self.failures.push(failure.to_string());
    }
}

impl Crowd {
    fn swarm(&self, load: &Load) -> io::Result<Swarm> {
        let mut swarm = Swarm::new(load.access.clone())?;
        for client in 0..self.clients {
            let filters = (0..self.filters).map(|filter| format!("conn/{client}/{filter}").into());
            swarm.add(filters.collect::<Rc<[Box<str>]>>(), load.qos);
        }
        Ok(swarm)
    }
}

/// Opens all clients, and keeps them for as long as the load says. What is measured is the opening, and the memory that
/// the broker has at the end.
pub fn hold(crowd: &Crowd, load: &Load, mut watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let broker = || load.pid.and_then(Usage::of);
    let (mut swarm, mut entrance) = (crowd.swarm(load)?, Entrance::default());
    let (before, spent, clients) = (broker(), Spent::now(), crowd.clients);
    let secs = if load.access.ramp > 0.0 { clients as f64 / load.access.ramp } else { 1.0 };
    let mut timeline = Timeline::new(swarm.now(), Counts::default(), Duration::from_secs_f64(secs));
    swarm.open_all(&mut entrance, |swarm| {
        let now = swarm.now();
        if timeline.is_due(now) {
            end_part(&mut timeline, now, swarm);
        }
        watch(Stage::Connecting { ready: swarm.ready(), clients });
    })?;
    end_part(&mut timeline, swarm.now(), &mut swarm);
    if let (0, Some(failure)) = (swarm.connects(), entrance.failures.first()) {
        return Err(io::Error::other(failure.clone()));
    }
    let (connected, spent) = (broker(), spent.elapsed());
    let count = swarm.ready() as u64;
    let end = swarm.now() + load.duration.as_nanos() as u64;
    while swarm.now() < end && entrance.failures.is_empty() {
        swarm.turn(Some(TURN * 10), &mut entrance);
        watch(Stage::Publishing { sent: 0, received: 0 });
    }
    let broker = before.zip(connected).zip(broker()).map(|((before, connected), after)| BrokerCost {
        connecting_cpu: connected.cpu - before.cpu,
        messages_cpu: after.cpu - connected.cpu,
        connecting_bytes: after.resident_bytes.saturating_sub(before.resident_bytes),
    });
    let name = match crowd.filters {
        0 => format!("conn, {clients} clients"),
        filters => format!("conn, {clients} clients with {filters} subscriptions"),
    };
    Ok(outcome(name, crowd, load, timeline, count, Cost::new(spent, broker), entrance.failures))
}

/// Opens clients, and closes each as soon as it is ready, to open it again.
pub fn churn(crowd: &Crowd, load: &Load, mut watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let broker = || load.pid.and_then(Usage::of);
    let mut churn = Churn {
        swarm: crowd.swarm(load)?,
        entrance: Entrance::default(),
        closed: (0..crowd.clients as u32).collect(),
        opened: 0,
        idle: 0,
    };
    let (began, spins) = (churn.swarm.now(), load.spins);
    while churn.goes_on_until(began + load.warm_up.as_nanos() as u64) {
        churn.turn(began, spins)?;
        watch(Stage::Connecting { ready: churn.swarm.connects() as usize, clients: crowd.clients });
    }
    churn.swarm.clear_connect_latency();
    churn.idle = 0;
    let (from, before, spent) = (churn.swarm.now(), broker(), Spent::now());
    let count = churn.swarm.connects();
    let counts = Counts { connects: count, ..Counts::default() };
    let mut timeline = Timeline::new(from, counts, load.duration);
    while churn.goes_on_until(from + load.duration.as_nanos() as u64) {
        churn.turn(began, spins)?;
        let now = churn.swarm.now();
        if timeline.is_due(now) {
            end_part(&mut timeline, now, &mut churn.swarm);
            watch(Stage::Publishing { sent: 0, received: 0 });
        }
    }
    end_part(&mut timeline, churn.swarm.now(), &mut churn.swarm);
    let count = churn.swarm.connects() - count;
    if let (0, Some(failure)) = (count, churn.entrance.failures.first()) {
        return Err(io::Error::other(failure.clone()));
    }
    let spent = spent.elapsed().without_idle(churn.idle);
    let broker = before.zip(broker()).map(|(before, after)| BrokerCost {
        connecting_cpu: after.cpu - before.cpu,
        messages_cpu: Duration::ZERO,
        connecting_bytes: 0,
    });
    let name = format!("churn, {} clients", crowd.clients);
    Ok(outcome(name, crowd, load, timeline, count, Cost::new(spent, broker), churn.entrance.failures))
}

struct Churn {
    swarm: Swarm,
    entrance: Entrance,
    /// Those that are to be opened, in this order.
    closed: VecDeque<u32>,
    opened: usize,
    /// Nanoseconds that were spun away without anything to do.
    idle: u64,
}

impl Churn {
    fn goes_on_until(&self, end: u64) -> bool {
        self.swarm.now() < end && self.entrance.failures.is_empty()
    }

    fn turn(&mut self, began: u64, spins: bool) -> io::Result<()> {
        let from = self.swarm.now();
        let before = self.opened;
        while let Some(&client) = self.closed.front()
            && self.swarm.may_open(self.opened, from - began)
        {
            self.swarm.open(client)?;
            self.closed.pop_front();
            self.opened += 1;
        }
        let timeout = if spins { Duration::ZERO } else { TURN };
        let happened = self.swarm.turn(Some(timeout), &mut self.entrance);
        for client in self.entrance.ready.drain(..) {
            self.swarm.close(client);
            self.closed.push_back(client);
        }
        if spins && !happened && self.opened == before {
            self.idle += self.swarm.now() - from;
        }
        Ok(())
    }
}

fn end_part(timeline: &mut Timeline, now: u64, swarm: &mut Swarm) {
    timeline.end_part(now, Counts { connects: swarm.connects(), ..Counts::default() }, swarm.connect_latency());
    swarm.clear_connect_latency();
}

fn outcome(
    name: String,
    crowd: &Crowd,
    load: &Load,
    timeline: Timeline,
    count: u64,
    cost: Cost,
    failures: Vec<String>,
) -> Outcome {
    let span = timeline.span();
    let (samples, latency): (Vec<Sample>, Histogram<u64>) = timeline.finish();
    Outcome {
        name,
        version: load.access.version,
        qos: if crowd.filters > 0 { load.qos } else { QoS::AtMostOnce },
        payload_bytes: 0,
        clients: crowd.clients,
        connects: Connects { count, span, latency },
        messages: Messages {
            sent: 0,
            received: 0,
            due: 0,
            received_in_span: 0,
            faults: Faults::default(),
            broken: 0,
            latency: histogram(),
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
