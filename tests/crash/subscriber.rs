//! A client with a durable session that receives: its receiver's state of QoS 2 outlives its connections, as does what it
//! asked for without an answer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use std::{mem, thread};

use crate::broker::PATIENCE;
use crate::history::{MessageId, Session, Subscription, now};
use crate::link::{Came, Link};
use crate::packets::{self, Login, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Packet, SUBACK, UNSUBACK, V5};
use crate::random::Random;
use crate::world::World;

/// What comes within this time is waited for.
const TURN: Duration = Duration::from_millis(5);

/// Answers that are held back at most.
const ANSWERS_MAX: usize = 60;

/// Retained messages are not sent at SUBSCRIBE: it is a live one that has to come.
const NO_RETAINED: u8 = 0x20;

/// Who it is, and how it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) client_id: String,
    pub(crate) qos: u8,
    pub(crate) group: Option<String>,
    pub(crate) filters: Vec<String>,
    /// Filters that come and go.
    pub(crate) toggled: Vec<String>,
    /// The longest time that it is away.
    pub(crate) away_max: Duration,
}

impl Habits {
    pub(crate) fn session(&self) -> Session {
        let Self { client_id, qos, group, .. } = self.clone();
        Session { client_id, qos, group, subscriptions: Vec::new(), arrivals: Vec::new() }
    }
}

/// SUBSCRIBE or UNSUBSCRIBE without an answer.
#[derive(Clone, Copy, Debug)]
struct Request {
    packet_id: u16,
    /// Which of the session's subscriptions.
    subscription: usize,
    is_leaving: bool,
}

#[derive(Debug)]
pub(crate) struct Subscriber<'a> {
    world: &'a World,
    index: usize,
    habits: Habits,
    random: Random,
    login: Login,
    link: Link,
    /// SUBACK came, so that the session has to be there for good.
    is_known: bool,
    /// Identifiers of QoS 2 messages that were received and are not released.
    receiving: BTreeSet<u16>,
    answers: Vec<Vec<u8>>,
    requests: Vec<Request>,
    last_request: u16,
}

impl<'a> Subscriber<'a> {
    /// Subscribed to all but what comes and goes.
    pub(crate) fn connect(world: &'a World, index: usize, habits: Habits, random: Random) -> Self {
        let login = Login::new(V5, &*habits.client_id).lasting(u32::MAX);
        let (link, _) = world.connect(&login).expect("the run has just begun");
        let mut own = Self {
            world,
            index,
            habits,
            random,
            login,
            link,
            is_known: false,
            receiving: BTreeSet::new(),
            answers: Vec::new(),
            requests: Vec::new(),
            last_request: 0,
        };
        own.habits.filters.clone().into_iter().for_each(|filter| own.subscribe(filter));
        own.await_answers();
        own
    }

    /// Receives until the world is over.
    pub(crate) fn run(mut self) {
        while !self.world.is_over() {
            self.take(TURN);
            self.send_answers();
            if !self.world.is_publishing() {
                continue;
            }
            match self.random.below(100) {
                0 => self.connect_again(),
                1 => self.take_over(),
                2 | 3 => self.leave(),
                4 => thread::sleep(Duration::from_millis(self.random.below(100))),
                5..8 => self.toggle(),
                _ => {}
            }
        }
        self.link.send(&packets::BYE);
    }

    fn session<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        self.world.session(self.index, work)
    }

    fn subscribe(&mut self, filter: String) {
        let subscription = Subscription { filter, asked_at: now(), granted_at: None, left_at: None, gone_at: None };
        let index = self.session(|session| {
            session.subscriptions.push(subscription);
            session.subscriptions.len() - 1
        });
        self.request(index, false);
    }

    fn request(&mut self, subscription: usize, is_leaving: bool) {
        self.last_request = self.last_request % 1_000 + 1;
        let request = Request { packet_id: self.last_request, subscription, is_leaving };
        self.requests.push(request);
        self.send_request(request);
    }

    fn send_request(&mut self, request: Request) {
        let Request { packet_id, subscription, is_leaving } = request;
        let filter = self.session(|session| session.subscriptions[subscription].filter.clone());
        let filter = match &self.habits.group {
            Some(group) => format!("$share/{group}/{filter}"),
            None => filter,
        };
        let options = self.habits.qos | if self.habits.group.is_none() { NO_RETAINED } else { 0 };
        self.link.send(&match is_leaving {
            true => packets::unsubscribe(V5, packet_id, &[&filter]),
            false => packets::subscribe(V5, packet_id, &[(&filter, options)]),
        });
    }

    fn await_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.requests.is_empty() {
            assert!(Instant::now() < deadline, "{} is not subscribed in {PATIENCE:?}", self.habits.client_id);
            self.take(TURN);
        }
    }

    /// One of the filters that come and go does so.
    fn toggle(&mut self) {
        if self.habits.toggled.is_empty() || !self.requests.is_empty() {
            return;
        }
        let filter = &self.habits.toggled[self.random.below(self.habits.toggled.len() as u64) as usize];
        let current = self.session(|session| {
            let current = session.subscriptions.iter().rposition(|own| own.filter == *filter);
            current.filter(|&index| session.subscriptions[index].left_at.is_none())
        });
        match current {
            Some(index) => {
                self.session(|session| session.subscriptions[index].left_at = Some(now()));
                self.request(index, true);
            }
            None => self.subscribe(filter.clone()),
        }
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
        match packet.kind() {
            PUBLISH => self.on_publish(packet),
            PUBREL => {
                self.receiving.remove(&packet.packet_id());
                self.answers.push(packets::ack(PUBCOMP, packet.packet_id()));
            }
            SUBACK | UNSUBACK => self.on_answer(packet),
            _ => {}
        }
    }

    fn on_publish(&mut self, packet: &Packet) {
        let publish = packet.publish();
        match publish.qos {
            1 => self.answers.push(packets::ack(PUBACK, publish.packet_id)),
            2 => self.answers.push(packets::ack(PUBREC, publish.packet_id)),
            _ => self.world.oddity(format!("{} gets what was QoS 1 or 2 as {publish:?}", self.habits.client_id)),
        }
        let is_new = publish.qos != 2 || self.receiving.insert(publish.packet_id);
        if is_new && let Some(id) = MessageId::of(&publish.payload) {
            self.session(|session| session.arrivals.push(id));
        }
    }

    fn on_answer(&mut self, packet: &Packet) {
        let is_leaving = packet.kind() == UNSUBACK;
        let is_this = |request: &Request| request.packet_id == packet.packet_id() && request.is_leaving == is_leaving;
        let Some(at) = self.requests.iter().position(is_this) else { return };
        let request = self.requests.remove(at);
        let code = packet.codes()[0];
        let wanted = if is_leaving { 0 } else { self.habits.qos };
        // 0x11 is of an UNSUBSCRIBE that was sent twice.
        if code != wanted && !(is_leaving && code == 0x11) {
            self.world.oddity(format!("{} is answered {packet:?} to {request:?}", self.habits.client_id));
        }
        self.is_known = true;
        self.session(|session| {
            let subscription = &mut session.subscriptions[request.subscription];
            let answered_at = if is_leaving { &mut subscription.gone_at } else { &mut subscription.granted_at };
            // Asked for again in a session that is not the first, it is still what was granted once.
            answered_at.get_or_insert_with(now);
        });
    }

    /// Some at once, some late, and some not before the connection is over.
    fn send_answers(&mut self) {
        let is_held = self.world.is_publishing() && self.answers.len() < ANSWERS_MAX && self.random.below(4) == 0;
        if !is_held {
            let answers = mem::take(&mut self.answers).concat();
            self.link.send(&answers);
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
        thread::sleep(Duration::from_millis(self.random.below(1 + self.habits.away_max.as_millis() as u64)));
        self.connect_again();
    }

    fn connect_again(&mut self) {
        if let Some((link, is_present)) = self.world.connect(&self.login) {
            self.link = link;
            self.go_on(is_present);
        }
    }

    fn go_on(&mut self, is_present: bool) {
        self.answers.clear();
        if !is_present {
            self.begin_anew();
        }
        for request in self.requests.clone() {
            self.send_request(request);
        }
    }

    /// The session is gone: what it was subscribed to is asked for again, so that the rest of the run tells something.
    fn begin_anew(&mut self) {
        if mem::take(&mut self.is_known) {
            self.world.oddity(format!("the session of {} is gone", self.habits.client_id));
        }
        self.receiving.clear();
        let current = self.session(|session| {
            let current = session.subscriptions.iter().enumerate();
            let current =
                current.filter(|(_, subscription)| subscription.granted_at.is_some() && subscription.left_at.is_none());
            current.map(|(index, _)| index).collect::<Vec<_>>()
        });
        current.into_iter().for_each(|index| self.request(index, false));
    }
}
