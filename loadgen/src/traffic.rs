//! Runs a plan against a broker: opens every client, waits until all have subscribed, publishes for the time asked for,
//! and gives what is under way the time to arrive.

use std::io;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::thread::set_current_timer_slack;
use thrum::mqtt::{QoS, TopicName};

use crate::access::Access;
use crate::account::Account;
use crate::churn::Churn;
use crate::client::PublishHead;
use crate::outcome::{BrokerCost, Connects, Cost, Messages, Outcome, Sample, histogram};
use crate::plan::Plan;
use crate::stamp::Payloads;
use crate::swarm::Swarm;
use crate::usage::{Usage, own_cpu};

/// How long what is under way may take to arrive, counted from the last message that did.
pub const QUIET: Duration = Duration::from_secs(2);

/// What a message may be late without counting as late.
const LATE_NANOS: u64 = 1_000_000;

/// How long those who come and go wait for their turn at most.
const CHURN_EVERY: Duration = Duration::from_millis(1);

/// How often whoever watches is told.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// Samples of a run: one a second, but no fewer than this.
pub const SAMPLES_MIN: u32 = 20;

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
    /// Never sleeps, and so is not late to wake.
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
    latency: Histogram<u64>,
    samples: Vec<Sample>,
    received_in_span: u64,
    /// Nanoseconds that were spun away without anything to do.
    idle: u64,
}

/// Runs a plan. `watch` is told now and then how far it is.
pub fn run(plan: &Plan, load: &Load, mut watch: impl FnMut(Stage)) -> io::Result<Outcome> {
    let broker = || load.pid.and_then(Usage::of);
    // Wakes when it is to; where that is not permitted, it wakes some microseconds later.
    let _ = set_current_timer_slack(Some(NonZeroU64::MIN));
    let mut traffic = Traffic::new(plan, load)?;
    let (before, own) = (broker(), own_cpu());
    let connect_span = traffic.open(&mut watch)?;
    let generator_connecting_cpu = own_cpu() - own;
    let connected = broker();
    let (span, generator_cpu) = traffic.publish_all(&mut watch);
    traffic.drain();
    let broker = before.zip(connected).zip(broker()).map(|((before, connected), after)| BrokerCost {
        connecting_cpu: connected.cpu - before.cpu,
        messages_cpu: after.cpu - connected.cpu,
        connecting_bytes: connected.resident_bytes.saturating_sub(before.resident_bytes),
        ..BrokerCost::default()
    });
    Ok(traffic.finish(plan, connect_span, span, Cost { generator_cpu, generator_connecting_cpu, broker }))
}

impl<'a> Traffic<'a> {
    fn new(plan: &'a Plan, load: &'a Load) -> io::Result<Self> {
        let mut swarm = Swarm::new(load.access.clone())?;
        for subscriber in &plan.subscribers {
            let qos = plan.audiences[subscriber.audience as usize].qos.unwrap_or(load.qos);
            swarm.add(Rc::clone(&subscriber.filters), qos);
        }
        plan.publishers.iter().for_each(|_| _ = swarm.add(Rc::new([]), load.qos));
        let payloads = Payloads::new(load.payload_bytes, load.seed);
        let churn = |background| Churn::beside(&swarm, load.access.clone(), background, load.qos, payloads.clone());
        Ok(Self {
            load,
            churn: plan.background.as_ref().map(churn).transpose()?,
            swarm,
            heads: heads(plan, load, &payloads),
            account: Account::new(plan, load.qos, payloads, load.seed),
            scheduled: 0,
            late: 0,
            lateness_nanos: 0,
            next_publisher: 0,
            latency: histogram(),
            samples: Vec::new(),
            received_in_span: 0,
            idle: 0,
        })
    }

    /// Opens every client, subscribers first, and waits until all are ready.
    fn open(&mut self, watch: &mut impl FnMut(Stage)) -> io::Result<Duration> {
        let began = self.swarm.now();
        let clients = self.swarm.len();
        self.swarm.open_all(&mut self.account, |ready| watch(Stage::Connecting { ready, clients }))?;
        match self.account.failures.first() {
            Some(failure) if self.swarm.ready() == 0 => Err(io::Error::other(failure.clone())),
            _ => Ok(Duration::from_nanos(self.swarm.now() - began)),
        }
    }

    /// Warm-up and measurement. Gives the measurement's span, and what of this process's time it took.
    fn publish_all(&mut self, watch: &mut impl FnMut(Stage)) -> (Duration, Duration) {
        let began = self.swarm.now();
        let measure_from = began + nanos(self.load.warm_up);
        let end = measure_from + nanos(self.load.duration);
        let mut watched = began;
        self.account.queue_all();
        if let Some(churn) = &mut self.churn {
            churn.begin();
        }
        self.publish_until(began, measure_from, |_, _| {});
        self.account.clear_latency();
        let (measured_from, cpu, received) = (self.swarm.now(), own_cpu(), self.account.received);
        self.idle = 0;
        let sample_span = nanos(self.load.duration.min(Duration::from_secs(1)).min(self.load.duration / SAMPLES_MIN));
        let mut sample = Sampled { at: measured_from, sent: self.account.sent, received, churned: self.churned() };
        self.publish_until(began, end, |traffic, now| {
            if now >= sample.at + sample_span {
                traffic.sample(now, measured_from, &mut sample);
            }
            if now >= watched + nanos(WATCH_EVERY) {
                watched = now;
                watch(Stage::Publishing { sent: traffic.account.sent, received: traffic.account.received });
            }
        });
        let now = self.swarm.now();
        if now > sample.at {
            self.sample(now, measured_from, &mut sample);
        }
        self.received_in_span = self.account.received - received;
        let idle = Duration::from_nanos(self.idle);
        (Duration::from_nanos(now - measured_from), (own_cpu() - cpu).saturating_sub(idle))
    }

    /// Publishes until it is `end`; `each_turn` is called before each turn with the time.
    fn publish_until(&mut self, began: u64, end: u64, mut each_turn: impl FnMut(&mut Self, u64)) {
        let is_paced = self.load.rate > 0.0;
        let mut now = self.swarm.now();
        while now < end && self.account.failures.is_empty() {
            each_turn(self, now);
            let sent = self.account.sent;
            let timeout = if is_paced { self.publish_due(began, now) } else { self.publish_in_windows() };
            let timeout = self.churn(if self.load.spins { Duration::ZERO } else { timeout });
            let happened = self.swarm.turn(Some(timeout), &mut self.account);
            let after = self.swarm.now();
            if self.load.spins && !happened && self.account.sent == sent {
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
        timeout.min(CHURN_EVERY)
    }

    fn churned(&self) -> u64 {
        self.churn.as_ref().map_or(0, Churn::completed)
    }

    /// Ends a sample, and begins the next.
    fn sample(&mut self, now: u64, measured_from: u64, last: &mut Sampled) {
        let Account { sent, received, .. } = self.account;
        let churned = self.churned();
        let latency = self.account.latency();
        self.samples.push(Sample {
            at: Duration::from_nanos(now - measured_from),
            span: Duration::from_nanos(now - last.at),
            connects: churned - last.churned,
            sent: sent - last.sent,
            received: received - last.received,
            p50: latency.value_at_quantile(0.5),
            p99: latency.value_at_quantile(0.99),
            max: latency.max(),
        });
        self.latency.add(latency).expect("two histograms of one kind");
        self.account.clear_latency();
        *last = Sampled { at: now, sent, received, churned };
    }

    /// Closed loop: whoever has room for a batch in his window sends one; if he still has, another one with the next
    /// turn, so that a batch is a write.
    fn publish_in_windows(&mut self) -> Duration {
        for _ in 0..self.account.runnable() {
            let Some(publisher) = self.account.next_runnable() else { break };
            let count = self.batch_of(publisher);
            if count == 0 {
                continue;
            }
            let now = self.swarm.now();
            (0..count).for_each(|_| self.publish(publisher, now));
            if self.batch_of(publisher) > 0 {
                self.account.queue(publisher);
            }
        }
        if self.account.runnable() > 0 { Duration::ZERO } else { Duration::from_millis(10) }
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
                return Duration::from_nanos(due - now).min(Duration::from_millis(10));
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
            if self.account.received >= self.account.due && !self.has_waiting() {
                break;
            }
            self.swarm.turn(Some(Duration::from_millis(10)), &mut self.account);
        }
        self.latency.add(self.account.latency()).expect("two histograms of one kind");
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

    fn finish(mut self, plan: &Plan, connect_span: Duration, span: Duration, cost: Cost) -> Outcome {
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
                count: self.swarm.connect_latency().len(),
                span: connect_span,
                latency: self.swarm.connect_latency().clone(),
            },
            subscriptions: plan.subscribers.iter().map(|subscriber| subscriber.filters.len() as u64).sum(),
            retained: 0,
            messages: Messages {
                sent: self.account.sent,
                received: self.account.received,
                due: self.account.due,
                received_in_span: self.received_in_span,
                faults,
                broken,
                latency: self.latency,
                is_paced: self.load.rate > 0.0,
                late: self.late,
                lateness: Duration::from_nanos(self.lateness_nanos / self.scheduled.max(1)),
            },
            fetches: histogram(),
            span,
            samples: self.samples,
            cost,
            failures: self.account.failures,
        }
    }
}

/// Where the current sample began.
struct Sampled {
    at: u64,
    sent: u64,
    received: u64,
    churned: u64,
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
