//! What is known of a run's messages: who has sent how many, what came of them, and when. It hears of the clients from
//! the swarm, and says who may publish next.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use thrum::mqtt::{Publish, QoS};

use crate::client::Failure;
use crate::ledger::{Faults, Ledger};
use crate::outcome::histogram;
use crate::plan::Plan;
use crate::stamp::{Payloads, Stamp, random};
use crate::swarm::Handler;
use crate::timeline::Counts;

/// A stream, with what a message of it has to do with.
#[derive(Debug)]
struct StreamAccount {
    publisher: u32,
    sent: u32,
    /// Its audiences, and where their slots in the ledger begin.
    audiences_from: u32,
    audiences: u32,
    slots_from: u32,
}

#[derive(Debug)]
pub struct PublisherAccount {
    pub qos: QoS,
    streams_from: u32,
    streams: u32,
    sent: u64,
    /// Of all its messages, over all audiences, with those that are not waited for any more.
    delivered: u64,
    audiences: u64,
    is_queued: bool,
    /// When messages were due that the broker has not let it send yet.
    pub waiting: VecDeque<u64>,
    /// When those were due that are not acknowledged, where sessions are durable; acknowledgements come in their order.
    unacknowledged: VecDeque<u64>,
}

#[derive(Debug)]
pub struct Account<'a> {
    plan: &'a Plan,
    qos: QoS,
    pub payloads: Payloads,
    streams: Vec<StreamAccount>,
    pub publishers: Vec<PublisherAccount>,
    /// Publishers that may have room, each once.
    runnable: VecDeque<u32>,
    ledger: Ledger,
    pub sent: u64,
    pub due: u64,
    pub received: u64,
    /// Of the received ones, those that were due and came for the first time.
    pub arrived: u64,
    pub last_received: u64,
    /// Clients that have come and gone beside the plan's.
    pub churned: u64,
    /// Nanoseconds of latency since it was taken last.
    latency: Histogram<u64>,
    /// A latency that came many times in a row, as those of messages do that were sent and read together.
    repeated: (u64, u64),
    /// Nanoseconds until messages are acknowledged, where sessions are durable.
    pub acknowledging: Histogram<u64>,
    is_durable: bool,
    pub failures: Vec<String>,
    random: u64,
}

impl<'a> Account<'a> {
    pub fn new(plan: &'a Plan, qos: QoS, is_durable: bool, payloads: Payloads, seed: u64) -> Self {
        let mut slots = 0;
        let mut streams: Vec<_> = plan
            .streams
            .iter()
            .map(|stream| {
                let slots_from = slots;
                slots += stream.audiences.len() as u32;
                StreamAccount {
                    publisher: 0,
                    sent: 0,
                    audiences_from: stream.audiences.start,
                    audiences: stream.audiences.len() as u32,
                    slots_from,
                }
            })
            .collect();
        let mut publishers = Vec::with_capacity(plan.publishers.len());
        for (number, publisher) in plan.publishers.iter().enumerate() {
            let range = publisher.streams.start as usize..publisher.streams.end as usize;
            streams[range.clone()].iter_mut().for_each(|stream| stream.publisher = number as u32);
            publishers.push(PublisherAccount {
                qos: publisher.qos.unwrap_or(qos),
                streams_from: publisher.streams.start,
                streams: publisher.streams.len() as u32,
                sent: 0,
                delivered: 0,
                audiences: plan.streams[range.start].audiences.len() as u64,
                is_queued: false,
                waiting: VecDeque::new(),
                unacknowledged: VecDeque::new(),
            });
        }
        Self {
            plan,
            qos,
            payloads,
            streams,
            publishers,
            runnable: VecDeque::new(),
            ledger: Ledger::new(slots as usize),
            sent: 0,
            due: 0,
            received: 0,
            arrived: 0,
            last_received: 0,
            churned: 0,
            latency: histogram(),
            repeated: (0, 0),
            acknowledging: histogram(),
            is_durable,
            failures: Vec::new(),
            random: seed,
        }
    }

    /// The swarm's number of a publisher: subscribers come first.
    pub const fn client_of(&self, publisher: u32) -> u32 {
        self.plan.subscribers.len() as u32 + publisher
    }

    /// The next message of a publisher.
    #[inline]
    pub fn next(&mut self, publisher: u32, due: u64) -> Stamp {
        let publisher = &mut self.publishers[publisher as usize];
        let nth =
            if publisher.streams == 1 { 0 } else { (random(&mut self.random) % u64::from(publisher.streams)) as u32 };
        let stream = publisher.streams_from + nth;
        publisher.sent += 1;
        self.sent += 1;
        self.due += publisher.audiences;
        if self.is_durable && publisher.qos != QoS::AtMostOnce {
            publisher.unacknowledged.push_back(due);
        }
        let account = &mut self.streams[stream as usize];
        account.sent += 1;
        Stamp { stream, number: account.sent - 1, due }
    }

    /// Messages that fit into a publisher's window.
    #[inline]
    pub fn window_left(&self, publisher: u32, window: u32) -> u32 {
        let PublisherAccount { sent, delivered, audiences, .. } = self.publishers[publisher as usize];
        let under_way = match audiences {
            // Nobody hears of it, so nothing is under way.
            0 => 0,
            1 => sent.saturating_sub(delivered),
            _ => sent.saturating_sub(delivered / audiences),
        };
        u64::from(window).saturating_sub(under_way) as u32
    }

    /// Puts a publisher behind those that are looked at next.
    #[inline]
    pub fn queue(&mut self, publisher: u32) {
        if !std::mem::replace(&mut self.publishers[publisher as usize].is_queued, true) {
            self.runnable.push_back(publisher);
        }
    }

    pub fn queue_all(&mut self) {
        (0..self.publishers.len() as u32).for_each(|publisher| self.queue(publisher));
    }

    pub fn next_runnable(&mut self) -> Option<u32> {
        let publisher = self.runnable.pop_front()?;
        self.publishers[publisher as usize].is_queued = false;
        Some(publisher)
    }

    pub fn runnable(&self) -> usize {
        self.runnable.len()
    }

    /// Gives up waiting for what is under way, where the broker may lose messages.
    pub fn forgive(&mut self) {
        self.publishers.iter_mut().for_each(|publisher| publisher.delivered = publisher.sent * publisher.audiences);
        self.queue_all();
    }

    #[inline]
    fn record(&mut self, nanos: u64) {
        if nanos == self.repeated.0 {
            self.repeated.1 += 1;
        } else {
            self.record_repeated();
            self.repeated = (nanos, 1);
        }
    }

    fn record_repeated(&mut self) {
        let (nanos, times) = std::mem::take(&mut self.repeated);
        self.latency.saturating_record_n(nanos, times);
    }

    pub const fn counts(&self) -> Counts {
        Counts { connects: self.churned, sent: self.sent, received: self.received }
    }

    /// The latencies since the last call of [`Account::clear_latency`].
    pub fn latency(&mut self) -> &Histogram<u64> {
        self.record_repeated();
        &self.latency
    }

    pub fn clear_latency(&mut self) {
        self.repeated = (0, 0);
        self.latency.reset();
    }

    /// All faults, and how many of them break what the QoS of the delivery promises.
    pub fn settle(&self) -> (Faults, u64) {
        let wrong_payload = self.ledger.wrong_payload();
        let (mut faults, mut broken) = (Faults { wrong_payload, ..Faults::default() }, wrong_payload);
        for stream in &self.streams {
            let published = self.publishers[stream.publisher as usize].qos;
            for nth in 0..stream.audiences {
                let audience = self.plan.audiences[(stream.audiences_from + nth) as usize];
                let slot = self.ledger.settle((stream.slots_from + nth) as usize, stream.sent, !audience.is_shared);
                let qos = published.min(audience.qos.unwrap_or(self.qos));
                broken += slot.broken(qos);
                faults.add(&slot);
            }
        }
        (faults, broken)
    }
}

impl Handler for Account<'_> {
    fn on_ready(&mut self, _: u32) {}

    #[inline]
    fn on_message(&mut self, client: u32, publish: &Publish<'_>, now: u64) {
        // Was there before this subscription, as what comes of it has no RETAIN: nobody is due it.
        if publish.retain {
            return;
        }
        self.received += 1;
        self.last_received = now;
        let Some(subscriber) = self.plan.subscribers.get(client as usize) else {
            return self.ledger.enter_wrong_payload();
        };
        let Some(stamp) = self.payloads.read(publish.payload) else { return self.ledger.enter_wrong_payload() };
        let Some(stream) = self.streams.get(stamp.stream as usize) else { return self.ledger.enter_wrong_payload() };
        let nth = subscriber.audience.wrapping_sub(stream.audiences_from);
        if stamp.number >= stream.sent || nth >= stream.audiences {
            return self.ledger.enter_wrong_payload();
        }
        let publisher = stream.publisher;
        // One that comes twice is not another one under way.
        let is_new = self.ledger.enter((stream.slots_from + nth) as usize, stamp.number);
        self.arrived += u64::from(is_new);
        self.publishers[publisher as usize].delivered += u64::from(is_new);
        self.record(now.saturating_sub(stamp.due));
        self.queue(publisher);
    }

    #[inline]
    fn on_acknowledged(&mut self, client: u32, now: u64) {
        if let Some(publisher) = client.checked_sub(self.plan.subscribers.len() as u32) {
            if let Some(due) = self.publishers[publisher as usize].unacknowledged.pop_front() {
                self.acknowledging.saturating_record(now.saturating_sub(due));
            }
            self.queue(publisher);
        }
    }

    fn on_drained(&mut self, client: u32) {
        if let Some(publisher) = client.checked_sub(self.plan.subscribers.len() as u32) {
            self.queue(publisher);
        }
    }

    fn on_failed(&mut self, _: u32, failure: Failure) {
        self.failures.push(failure.to_string());
    }
}
