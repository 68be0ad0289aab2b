//! A client that publishes at QoS 1 and 2 and has its session outlive the broker: an exchange that is under way when the
//! connection ends goes on, with the same packet identifier, on the next one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use std::{mem, thread};

use crate::broker::PATIENCE;
use crate::history::{MessageId, Sent, now};
use crate::link::{Came, Link};
use crate::packets::{self, Login, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, V5};
use crate::random::Random;
use crate::world::World;

/// Exchanges that are under way at most.
const WINDOW: usize = 24;

/// Topics of a publisher.
const TOPICS: u64 = 4;

/// What comes within this time is waited for.
const TURN: Duration = Duration::from_millis(4);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Published,
    /// PUBREC came.
    Received,
}

#[derive(Clone, Copy, Debug)]
struct Exchange {
    number: usize,
    packet_id: u16,
    stage: Stage,
}

#[derive(Debug)]
pub(crate) struct Publisher<'a> {
    world: &'a World,
    index: usize,
    retains: bool,
    random: Random,
    login: Login,
    link: Link,
    /// An acknowledgement came, so that the session has to be there for good.
    is_known: bool,
    next_packet_id: u16,
    /// In the order of their publishes.
    open: VecDeque<Exchange>,
    /// PUBRELs that are due and not sent yet.
    releases: Vec<u8>,
}

impl<'a> Publisher<'a> {
    /// Its messages are to topics below its own number, or, retained, below `kept`.
    pub(crate) fn connect(world: &'a World, index: usize, retains: bool, random: Random) -> Self {
        let login = Login::new(V5, format!("publisher {index}")).lasting(u32::MAX);
        let (link, _) = world.connect(&login).expect("the run has just begun");
        let (open, releases) = (VecDeque::new(), Vec::new());
        Self { world, index, retains, random, login, link, is_known: false, next_packet_id: 1, open, releases }
    }

    /// Publishes until the world says that it is enough, and then until all is acknowledged.
    pub(crate) fn run(mut self) {
        while self.world.is_publishing() {
            self.publish_some();
            self.take(TURN);
            self.send_releases();
            match self.random.below(200) {
                0 => self.connect_again(),
                1 => self.take_over(),
                2 => self.leave(),
                _ => {}
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.open.is_empty() && Instant::now() < deadline {
            self.take(TURN);
            self.send_releases();
        }
        if !self.open.is_empty() {
            let Self { index, open, .. } = &self;
            self.world.oddity(format!("publisher {index} has no answer in {PATIENCE:?}: {open:?}"));
        }
        self.link.send(&packets::BYE);
    }

    fn publish_some(&mut self) {
        // What is retained has to stand for a while to be looked at.
        let count = if self.retains { u64::from(self.random.below(16) == 0) } else { self.random.below(8) };
        let room = WINDOW - self.open.len();
        for _ in 0..room.min(count as usize) {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let topic = match self.retains {
            true => format!("kept/{}", self.random.below(TOPICS)),
            false => format!("crash/{}/{}", self.index, self.random.below(TOPICS)),
        };
        let is_clear = self.retains && self.random.below(8) == 0;
        let qos = if self.retains { qos_of_kept(&topic) } else { 1 + self.random.below(2) as u8 };
        let sent = Sent { topic, qos, is_clear, sent_at: now(), acknowledged_at: None };
        let number = self.world.sent(self.index, sent);
        let exchange = Exchange { number, packet_id: self.packet_id(), stage: Stage::Published };
        self.open.push_back(exchange);
        self.send(exchange, false);
    }

    fn packet_id(&mut self) -> u16 {
        let packet_id = self.next_packet_id;
        // Soon used again, as one that is confused with another must be noticed.
        self.next_packet_id = packet_id % 100 + 1;
        if self.open.iter().any(|exchange| exchange.packet_id == packet_id) { self.packet_id() } else { packet_id }
    }

    fn send(&mut self, exchange: Exchange, is_again: bool) {
        let Exchange { number, packet_id, stage } = exchange;
        if stage == Stage::Received {
            return self.link.send(&packets::ack(PUBREL, packet_id));
        }
        let Sent { topic, qos, is_clear, .. } = self.world.message(self.index, number);
        let id = MessageId { publisher: self.index, number };
        // As long as its number says, so that it is the same when it is sent again.
        let bytes = if number.is_multiple_of(50) { 9_000 } else { 16 + number % 300 };
        let payload = if is_clear { Vec::new() } else { id.payload(bytes) };
        let flags = qos << 1 | u8::from(self.retains) | u8::from(is_again) << 3;
        self.link.send(&packets::publish_flagged(V5, &topic, &payload, flags, packet_id));
    }

    /// What comes within the time.
    fn take(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            match self.link.come(deadline.saturating_duration_since(Instant::now())) {
                Came::Packet(packet) => self.on_packet(&packet),
                Came::End => return self.connect_again(),
                Came::Nothing => return,
            }
        }
    }

    fn on_packet(&mut self, packet: &Packet) {
        if !matches!(packet.kind(), PUBACK | PUBREC | PUBCOMP) {
            return;
        }
        self.is_known = true;
        let packet_id = packet.packet_id();
        let Some(at) = self.open.iter().position(|exchange| exchange.packet_id == packet_id) else {
            return self.world.oddity(format!("publisher {} is answered what it did not ask: {packet:?}", self.index));
        };
        // PUBCOMP has a reason that is no refusal: the exchange was over already.
        if packet.reason() >= 0x80 && packet.kind() != PUBCOMP {
            self.open.remove(at);
            return self.world.oddity(format!("publisher {} is refused: {packet:?}", self.index));
        }
        match packet.kind() {
            PUBREC => {
                self.world.acknowledged(self.index, self.open[at].number);
                self.open[at].stage = Stage::Received;
                self.releases.extend(packets::ack(PUBREL, packet_id));
            }
            PUBACK => {
                self.world.acknowledged(self.index, self.open[at].number);
                self.open.remove(at);
            }
            _ => _ = self.open.remove(at),
        }
    }

    /// Not always at once.
    fn send_releases(&mut self) {
        if !self.releases.is_empty() && (self.random.below(3) > 0 || !self.world.is_publishing()) {
            let releases = mem::take(&mut self.releases);
            self.link.send(&releases);
        }
    }

    /// Another connection of the same client while this one is there; what came on this one comes first.
    fn take_over(&mut self) {
        let Some((link, is_present)) = Link::connect(self.world.address, &self.login) else { return };
        let mut old = mem::replace(&mut self.link, link);
        while let Came::Packet(packet) = old.come(PATIENCE) {
            self.on_packet(&packet);
        }
        self.go_on(is_present);
    }

    fn leave(&mut self) {
        self.link.send(&packets::BYE);
        while let Came::Packet(packet) = self.link.come(PATIENCE) {
            self.on_packet(&packet);
        }
        thread::sleep(Duration::from_millis(self.random.below(200)));
        self.connect_again();
    }

    fn connect_again(&mut self) {
        if let Some((link, is_present)) = self.world.connect(&self.login) {
            self.link = link;
            self.go_on(is_present);
        }
    }

    fn go_on(&mut self, is_present: bool) {
        self.releases.clear();
        if !is_present {
            self.begin_anew();
        }
        for at in 0..self.open.len() {
            self.send(self.open[at], is_present);
        }
    }

    /// The session is gone: what was taken over is done with, all else is published for the first time.
    fn begin_anew(&mut self) {
        if mem::take(&mut self.is_known) {
            self.world.oddity(format!("the session of publisher {} is gone", self.index));
        }
        self.open.retain(|exchange| exchange.stage == Stage::Published);
        for at in 0..self.open.len() {
            self.open[at].packet_id = self.packet_id();
        }
    }
}

/// A topic of one QoS only: a QoS 1 message that is sent again would come after a QoS 2 message that is not.
fn qos_of_kept(topic: &str) -> u8 {
    if topic.ends_with(['0', '2']) { 1 } else { 2 }
}
