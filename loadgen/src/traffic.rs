//! Runs a plan against a broker: opens every client, waits until all have subscribed, publishes for the time asked for,
//! and gives what is under way the time to arrive.

use std::io;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;
use thrum::mqtt::{QoS, TopicName};

use crate::access::Access;
use crate::account::Account;
use crate::churn::Churn;
use crate::client::PublishHead;
use crate::outcome::{BrokerCost, Connects, Cost, Messages, Outcome, histogram};
use crate::plan::Plan;
use crate::stamp::Payloads;
use crate::swarm::Swarm;
use crate::timeline::Timeline;
use crate::usage::{Spent, Usage};

/// How long what is under way may take to arrive, counted from the last message that did.
pub const QUIET: Duration = Duration::from_secs(2);

/// What a message may be late without counting as late.
const LATE_NANOS: u64 = 1_000_000;

/// What a timer may be late (1 ms where the kernel has no better ones): who waits for what is due sleeps only until then.
const TIMER_NANOS: u64 = 1_500_000;

/// Of so many filters for each client, the connections weigh nothing.
const FILTERS_PER_CLIENT_MIN: u64 = 100;

/// How long those who come and go wait for their turn at most.
const CHURN_EVERY: Duration = Duration::from_millis(1);

/// How often whoever watches is told.
const WATCH_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct Load {
    pub access: Access,
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
    /// Never sleeps, and so is not late to wake; otherwise it does when nothing is due for a while.
    pub spins: bool,
    /// Of payloads, and of the choice among a publisher's topics.
    pub seed: u64,
    /// The broker's process, where it is known.
    pub pid: Option<u32>,
}

/// How far a run has got, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Connecting {
        ready: usize,
        clients: usize,
    },
    Publishing {
        sent: u64,
        received: u64,
    },
    /// Connections that are only held.
    Holding {
        ready: usize,
        clients: usize,
    },
    /// Clients that have come and gone.
    Churning {
        completed: u64,
    },
}

/// A run under way.
struct Traffic<'a> {
    load: &'a Load,
    swarm: Swarm,
    account: Account<'a>,
    /// Clients that come and go meanwhile.
    churn: Option<Churn>,
    /// By stream.
    heads: Vec<PublishHead>,
    /// Messages that were due, and late, at a rate; and who is next.
    scheduled: u64,
    late: u64,
    lateness_nanos: u64,
    next_publisher: u32,
    /// Nanoseconds that were spun away without anything to do.
    idle: u64,
}

/// Runs a plan. `watch` is told now and then how far it is.
pub fn run(plan: &Plan, load: &Load, mut watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    if plan.publishers.is_empty() || plan.publishers.iter().any(|publisher| publisher.streams.is_empty()) {
        return Err(io::Error::other("there must be a publisher, and a topic for each"));
    }
    let broker = || load.pid.and_then(Usage::of);
    // Wakes when it is to; where that is not permitted, it wakes some microseconds later.
    let _ = set_current_timer_slack(Some(NonZeroU64::MIN));
    let mut traffic = Traffic::new(plan, load)?;
    let (before, own) = (broker(), Spent::now());
    let connect_span = traffic.open(&mut watch)?;
    let connecting = own.elapsed();
    let connected = broker();
    let mut measured = traffic.publish_all(&mut watch);
    traffic.drain();
    measured.timeline.add_latency(traffic.account.latency());
    let broker = before.zip(connected).zip(broker()).map(|((before, connected), after)| {
        let connecting_bytes = connected.resident_bytes.saturating_sub(before.resident_bytes);
        let is_of_filters = plan.filters() >= FILTERS_PER_CLIENT_MIN * traffic.swarm.len() as u64;
        BrokerCost {
            connecting_cpu: connected.cpu - before.cpu,
            messages_cpu: after.cpu - connected.cpu,
            connecting_bytes,
            subscribing_bytes: if is_of_filters { connecting_bytes } else { 0 },
            ..BrokerCost::default()
        }
    });
    let cost = Cost::new(connecting, measured.generator, broker);
    Ok(traffic.finish(plan, connect_span, measured, cost))
}

impl<'a> Traffic<'a> {
    fn new(plan: &'a Plan, load: &'a Load) -> io::Result<Self> {
        let mut swarm = Swarm::new(load.access.clone())?;
        for subscriber in &plan.subscribers {
            let qos = plan.audiences[subscriber.audience as usize].qos.unwrap_or(load.qos);
            swarm.add(Rc::clone(&subscriber.filters), qos);
        }
        for _ in &plan.publishers {
            let publisher = swarm.add(Rc::new([]), load.qos);
            if load.access.is_durable && load.rate == 0.0 {
                swarm.bound(publisher, load.window);
            }
        }
        let payloads = Payloads::new(load.payload_bytes, load.seed);
        let churn = |background| Churn::beside(&swarm, load.access.clone(), background, load.qos, payloads.clone());
        Ok(Self {
            load,
            churn: plan.background.as_ref().map(churn).transpose()?,
            swarm,
            heads: heads(plan, load, &payloads),
            account: Account::new(plan, load.qos, load.access.is_durable, payloads, load.seed),
            scheduled: 0,
            late: 0,
            lateness_nanos: 0,
            next_publisher: 0,
            idle: 0,
        })
    }

    /// Opens every client, subscribers first, and waits until all are ready.
    fn open(&mut self, watch: &mut impl FnMut(Stage)) -> io::Result<Duration> {
        let began = self.swarm.now();
        let clients = self.swarm.len();
        self.swarm.open_all(&mut self.account, |swarm| watch(Stage::Connecting { ready: swarm.ready(), clients }))?;
        match self.account.failures.first() {
            Some(failure) if self.swarm.connects() == 0 => Err(io::Error::other(failure.clone())),
            _ => Ok(Duration::from_nanos(self.swarm.now() - began)),
        }
    }

    /// Warm-up and measurement.
    fn publish_all(&mut self, watch: &mut impl FnMut(Stage)) -> Measured {
        let began = self.swarm.now();
        let measure_from = began + nanos(self.load.warm_up);
        let end = measure_from + nanos(self.load.duration);
        let mut watched = began;
        let mut tell = |account: &Account<'_>, now| {
            if now >= watched + nanos(WATCH_EVERY) {
                watched = now;
                watch(Stage::Publishing { sent: account.sent, received: account.received });
            }
        };
        self.account.queue_all();
        if let Some(churn) = &mut self.churn {
            churn.begin();
        }
        self.publish_until(began, measure_from, |account, now| tell(account, now));
        self.account.clear_latency();
        self.account.acknowledging.reset();
        self.idle = 0;
        let (received, spent) = (self.account.received, Spent::now());
        let mut timeline = Timeline::new(self.swarm.now(), self.account.counts(), self.load.duration);
        self.publish_until(began, end, |account, now| {
            if timeline.is_due(now) {
                end_part(&mut timeline, now, account);
            }
            tell(account, now);
        });
        end_part(&mut timeline, self.swarm.now(), &mut self.account);
        Measured {
            timeline,
            received: self.account.received - received,
            generator: spent.elapsed().without_idle(self.idle),
        }
    }

    /// Publishes until it is `end`; `each_turn` is called before each turn with the time.
    fn publish_until(&mut self, began: u64, end: u64, mut each_turn: impl FnMut(&mut Account<'a>, u64)) {
        let is_paced = self.load.rate > 0.0;
        let mut now = self.swarm.now();
        while now < end && self.account.failures.is_empty() {
            each_turn(&mut self.account, now);
            let sent = self.account.sent;
            let timeout = if is_paced { self.publish_due(began, now) } else { self.publish_in_windows() };
            let timeout = self.churn(if self.load.spins { Duration::ZERO } else { timeout });
            let happened = self.swarm.turn(Some(timeout), &mut self.account);
            let after = self.swarm.now();
            if timeout.is_zero() && !happened && self.account.sent == sent {
                self.idle += after - now;
            }
            now = after;
            if !is_paced && now > self.account.last_received.max(began) + nanos(QUIET) {
                self.account.forgive();
                self.account.last_received = now;
            }
        }
        if is_paced && self.account.failures.is_empty() {
            // The last turn may have taken longer than there was time.
            self.publish_due(began, end - 1);
        }
    }

    /// Those who come and go have their turn; says how long the others may wait before these have another one.
    fn churn(&mut self, timeout: Duration) -> Duration {
        let Some(churn) = &mut self.churn else { return timeout };
        if let Err(error) = churn.turn(Duration::ZERO) {
            self.account.failures.push(error.to_string());
        }
        self.account.failures.append(&mut churn.take_failures());
        self.account.churned = churn.completed();
        timeout.min(CHURN_EVERY)
    }

    /// Closed loop: whoever has room in his window sends one batch after the other, as a client by itself does, and each
    /// batch is a write.
    fn publish_in_windows(&mut self) -> Duration {
        for _ in 0..self.account.runnable() {
            let Some(publisher) = self.account.next_runnable() else { break };
            self.publish_window(publisher);
        }
        if self.account.runnable() > 0 { Duration::ZERO } else { Duration::from_millis(10) }
    }

    /// A window at most: whom nothing ever fills it must not keep the others, and the clock, from their turn.
    fn publish_window(&mut self, publisher: u32) {
        let mut left = self.load.window;
        loop {
            let count = self.batch_of(publisher);
            if count == 0 {
                return;
            }
            if left == 0 {
                return self.account.queue(publisher);
            }
            left = left.saturating_sub(count);
            let now = self.swarm.now();
            (0..count).for_each(|_| self.publish(publisher, now));
            self.swarm.flush(self.account.client_of(publisher), now, &mut self.account);
        }
    }

    /// How many messages a publisher can send together: a batch, or none.
    fn batch_of(&self, publisher: u32) -> u32 {
        let (left, most) = self.room(publisher);
        let batch = self.load.batch.min(most);
        let fits = left.min(self.account.window_left(publisher, self.load.window)) >= batch;
        if fits { batch } else { 0 }
    }

    fn room(&self, publisher: u32) -> (u32, u32) {
        self.swarm.room(self.account.client_of(publisher), self.account.publishers[publisher as usize].qos)
    }

    /// Open loop: what is due is sent, however slow the broker is with what was sent before. What he does not take is
    /// sent when he does, with the time that it was due.
    fn publish_due(&mut self, began: u64, now: u64) -> Duration {
        self.publish_waiting();
        let nanos_each = 1e9 / self.load.rate;
        loop {
            let due = began + (self.scheduled as f64 * nanos_each) as u64;
            if due > now {
                return Duration::from_nanos((due - now).saturating_sub(TIMER_NANOS)).min(Duration::from_millis(10));
            }
            self.scheduled += 1;
            self.late += u64::from(now - due > LATE_NANOS);
            self.lateness_nanos += now - due;
            let publisher = self.next_publisher;
            self.next_publisher = if publisher + 1 == self.account.publishers.len() as u32 { 0 } else { publisher + 1 };
            if self.account.publishers[publisher as usize].waiting.is_empty() && self.room(publisher).0 > 0 {
                self.publish(publisher, due);
            } else {
                self.account.publishers[publisher as usize].waiting.push_back(due);
            }
        }
    }

    /// Sends what was due before and can be sent now.
    fn publish_waiting(&mut self) {
        while let Some(publisher) = self.account.next_runnable() {
            while self.room(publisher).0 > 0
                && let Some(due) = self.account.publishers[publisher as usize].waiting.pop_front()
            {
                self.publish(publisher, due);
            }
        }
    }

    #[inline]
    fn publish(&mut self, publisher: u32, due: u64) {
        let stamp = self.account.next(publisher, due);
        let client = self.account.client_of(publisher);
        let payloads = &self.account.payloads;
        self.swarm.publish(client, &self.heads[stamp.stream as usize], |out| payloads.write(stamp, out));
    }

    /// The time that is left to what is under way.
    fn drain(&mut self) {
        self.account.last_received = self.swarm.now();
        while self.account.failures.is_empty() && self.swarm.now() < self.account.last_received + nanos(QUIET) {
            if self.load.rate > 0.0 {
                self.publish_waiting();
            }
            if self.account.arrived >= self.account.due && !self.has_waiting() {
                break;
            }
            self.swarm.turn(Some(Duration::from_millis(10)), &mut self.account);
        }
    }

    fn has_waiting(&self) -> bool {
        self.account.publishers.iter().any(|publisher| !publisher.waiting.is_empty())
    }

    /// Takes back what the broker was to retain.
    fn clear(&mut self, plan: &Plan) {
        for (publisher, streams) in plan.publishers.iter().enumerate().filter(|(_, publisher)| publisher.retain) {
            let client = self.account.client_of(publisher as u32);
            for stream in &plan.streams[streams.streams.start as usize..streams.streams.end as usize] {
                let topic = TopicName::new(&stream.topic).expect("scenarios make valid topics");
                let head = PublishHead::new(self.load.access.version, topic, QoS::AtLeastOnce, true, &[]);
                if self.swarm.is_ready(client) {
                    self.swarm.publish(client, &head, |_| {});
                }
            }
        }
    }

    fn finish(mut self, plan: &Plan, connect_span: Duration, measured: Measured, cost: Cost) -> Outcome {
        let Measured { timeline, received: received_in_span, .. } = measured;
        let span = timeline.span();
        let (samples, latency) = timeline.finish();
        let clients = self.swarm.len();
        let (mut faults, mut broken) = self.account.settle();
        if let Some(churn) = &mut self.churn {
            churn.end();
            faults.wrong_payload += churn.wrong_payload();
            broken += churn.wrong_payload();
        }
        self.clear(plan);
        self.swarm.close_all();
        let qos = self.account.publishers.iter().map(|publisher| publisher.qos).max();
        Outcome {
            name: plan.name.clone(),
            version: self.load.access.version,
            qos: qos.unwrap_or(self.load.qos),
            payload_bytes: self.account.payloads.bytes(),
            clients,
            connects: Connects {
                count: self.swarm.connects(),
                span: connect_span,
                latency: self.swarm.connect_latency().clone(),
            },
            subscriptions: plan.filters(),
            retained: 0,
            messages: Messages {
                sent: self.account.sent,
                received: self.account.received,
                due: self.account.due,
                received_in_span,
                faults,
                broken,
                latency,
                acknowledging: self.account.acknowledging,
                is_paced: self.load.rate > 0.0,
                late: self.late,
                lateness: Duration::from_nanos(self.lateness_nanos / self.scheduled.max(1)),
            },
            fetches: histogram(),
            span,
            samples,
            cost,
            failures: self.account.failures,
        }
    }
}

/// What the measurement itself came to.
struct Measured {
    timeline: Timeline,
    received: u64,
    generator: Spent,
}

fn end_part(timeline: &mut Timeline, now: u64, account: &mut Account<'_>) {
    let counts = account.counts();
    timeline.end_part(now, counts, account.latency());
    account.clear_latency();
}

fn heads(plan: &Plan, load: &Load, payloads: &Payloads) -> Vec<PublishHead> {
    let payload = vec![0; payloads.bytes()];
    let publishers = plan.publishers.iter();
    let streams = publishers.flat_map(|publisher| {
        let streams = &plan.streams[publisher.streams.start as usize..publisher.streams.end as usize];
        streams.iter().map(|stream| (stream, publisher.qos.unwrap_or(load.qos), publisher.retain))
    });
    streams
        .map(|(stream, qos, retain)| {
            let topic = TopicName::new(&stream.topic).expect("scenarios make valid topics");
            PublishHead::new(load.access.version, topic, qos, retain, &payload)
        })
        .collect()
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
