//! What must be true, as far as the clients' packets and the moments at which the broker took them tell: sessions,
//! subscriptions, messages, wills. Times are steps of the simulation, so that before and after are never in doubt.

use std::collections::{BTreeMap, BTreeSet};

use thrum::mqtt::{TopicFilter, TopicName, Version};

use crate::packets::{FilterUp, Msg, TOPICS, WillUp, Written};

pub type Step = u64;
pub const NEVER_SECS: u32 = u32::MAX;

/// When a timer set for `due` may fire at the earliest, and must at the latest: the broker's wheel has ticks of 64 ms.
pub const fn fires_at(due: u64) -> u64 {
    due.div_ceil(64) * 64
}

/// One time that the broker took a message over.
#[derive(Clone, Debug)]
pub struct Taken {
    pub step: Step,
    pub time: u64,
    pub shard: usize,
    /// When it went on its way: none while it waits in the spool.
    pub routed: Option<Step>,
    /// How much its shard had put into each ring when it was done with it.
    pub pushed: [usize; 4],
    /// The publisher's session, and whether it wrote properties.
    pub session: usize,
    pub v5: bool,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub publisher: usize,
    pub written: Written,
    pub is_will: bool,
    pub taken: Vec<Taken>,
    /// Its publisher has PUBACK or PUBREC.
    pub acknowledged: bool,
}

#[derive(Clone, Debug)]
pub struct Sub {
    pub request: FilterUp,
    pub id: Option<u32>,
    pub from: Step,
    /// SUBACK left the broker.
    pub acked: Option<Step>,
    pub to: Option<Step>,
    /// Whether it asks for retained messages.
    pub replays: bool,
    pub pid: u16,
    pub wire: usize,
}

impl Sub {
    pub fn matches(&self, topic: u8) -> bool {
        TopicFilter::trusted(self.request.filter).matches(TopicName::trusted(TOPICS[topic as usize]))
    }
}

/// A delivery that the broker has under way to a session.
#[derive(Clone, Debug)]
pub struct Flight {
    pub msg: Option<Msg>,
    pub qos: u8,
    pub released: bool,
    /// The connection it was last sent on.
    pub wire: usize,
}

#[derive(Clone, Debug)]
pub enum WillPhase {
    Armed,
    Delayed(u64),
}

/// How often a session got a message.
#[derive(Clone, Default, Debug)]
pub struct Got {
    /// PUBLISH without DUP, live and retained.
    pub emitted: usize,
    pub first: Step,
    /// Handed to the application: QoS 1 once for each PUBLISH, QoS 2 once for each exchange.
    pub received: usize,
    pub emitted_exactly_once: usize,
    pub received_exactly_once: usize,
    pub last: Step,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub client: usize,
    pub v5: bool,
    pub shard: usize,
    pub to: Option<Step>,
    /// The interval; `NEVER_SECS` for ever.
    pub expiry_secs: u32,
    pub subs: Vec<Sub>,
    pub wire: Option<usize>,
    /// Step of every connection's beginning and end.
    pub online: Vec<(Step, Option<Step>)>,
    pub left_at: u64,
    pub will: Option<(WillUp, WillPhase)>,
    pub flights: BTreeMap<u16, Flight>,
    pub got: BTreeMap<Msg, Got>,
    /// The newest message of each publisher's session, topic, QoS published and QoS delivered.
    pub newest: BTreeMap<(usize, u8, u8, u8), Msg>,
    /// QoS 2 identifiers that the broker took from the client, not released.
    pub inbound: BTreeSet<u16>,
    pub packet_max_ever: u32,
    /// By identifier, the message that the broker took last.
    pub last_taken: BTreeMap<u16, Msg>,
}

impl Session {
    pub fn online_throughout(&self, from: Step, to: Step) -> bool {
        self.online.iter().any(|&(begin, end)| begin < from && end.is_none_or(|end| end > to))
    }

    pub fn deadline(&self) -> Option<u64> {
        (self.expiry_secs != NEVER_SECS).then(|| self.left_at + u64::from(self.expiry_secs) * 1000)
    }
}

#[derive(Debug, Default)]
pub struct Model {
    pub step: Step,
    pub now: u64,
    pub shards: usize,
    pub messages: Vec<Message>,
    pub sessions: Vec<Session>,
    /// By client, its session.
    pub live: Vec<Option<usize>>,
    pub versions: Vec<Version>,
    pub expiry_max: u32,
    /// Nothing is dropped: no queue can be full, no output can, and QoS 0 waits for who is away.
    pub roomy: bool,
    pub roomy_output: bool,
    pub queue_qos_zero: bool,
    pub durable: bool,
    /// By ring, how much was put in, and at which step each was taken out.
    pub pushed: [[usize; 4]; 4],
    pub popped: [[Vec<Step>; 4]; 4],
    pub violation: Option<String>,
    /// Messages made durable: shard, place among its records, and step.
    pub recorded: Vec<(Msg, usize, u64, Step)>,
    /// The same, of messages that went into a spool.
    pub spooled: Vec<(Msg, usize, u64, Step)>,
    /// The same, of those without a payload: their topics.
    pub spooled_clears: Vec<(u8, usize, u64, Step)>,
    /// The same, of those that wait for one in the spool, as the same topic is to retain both.
    pub late: Vec<(Msg, usize, u64, Step)>,
    /// How many records each shard has made.
    pub records: [u64; 4],
    /// A session that ended with nothing to justify it but a Clean Start that must now follow.
    pub awaits_clean: Option<usize>,
}

impl Model {
    pub fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn write_down(&mut self, publisher: usize, written: Written, is_will: bool) -> Msg {
        self.messages.push(Message { publisher, written, is_will, taken: Vec::new(), acknowledged: false });
        self.messages.len() - 1
    }

    /// The step at which a shard had seen a message; none while it is under way.
    pub fn reached(&self, taken: &Taken, shard: usize) -> Option<Step> {
        let routed = taken.routed?;
        if taken.shard == shard || taken.pushed[shard] == 0 {
            return Some(routed);
        }
        let at = self.popped[taken.shard][shard].get(taken.pushed[shard] - 1).copied();
        at.map(|at| at.max(routed))
    }

    /// What lay in the spool of a shard is on its way, as far as the records up to `committed` say.
    pub fn unspooled(&mut self, shard: usize, committed: u64) {
        let waiting = self.spooled.iter().chain(&self.late);
        for (msg, _, at, step) in waiting.filter(|(_, spooling, ..)| *spooling == shard) {
            let waits = |taken: &&mut Taken| taken.shard == shard && taken.step == *step && taken.routed.is_none();
            if *at <= committed
                && let Some(taken) = self.messages[*msg].taken.iter_mut().find(waits)
            {
                (taken.routed, taken.pushed) = (Some(self.step), self.pushed[shard]);
            }
        }
    }

    fn waits_for_spool(&self, msg: Msg, shard: usize) -> bool {
        let written = &self.messages[msg].written;
        let waits = |taken: &Taken| taken.shard == shard && taken.routed.is_none();
        let is_late = |msg: Msg| self.late.iter().any(|(late, ..)| *late == msg);
        let mut before = self.messages.iter().enumerate().filter(|(_, message)| message.taken.iter().any(waits));
        before.any(|(msg, message)| message.written.topic == written.topic && (message.written.retain || is_late(msg)))
    }

    pub fn take(&mut self, msg: Msg, shard: usize, session: usize) {
        let v5 = self.sessions[session].v5;
        let pushed = self.pushed[shard];
        let Written { clears, topic, .. } = self.messages[msg].written;
        let is_its = |&&(other, at, _, step): &&(u8, usize, u64, Step)| (other, at, step) == (topic, shard, self.step);
        if let Some(&(.., at, step)) = self.spooled_clears.iter().find(is_its).filter(|_| clears) {
            self.spooled.push((msg, shard, at, step));
        }
        let is_spooled = |&(other, at, _, step): &(Msg, usize, u64, Step)| (other, at, step) == (msg, shard, self.step);
        let is_spooled = self.spooled.iter().any(is_spooled);
        let is_late = !is_spooled && self.waits_for_spool(msg, shard);
        if is_late {
            self.late.push((msg, shard, self.records[shard], self.step));
        }
        let routed = (!is_spooled && !is_late).then_some(self.step);
        let taken = Taken { step: self.step, time: self.now, shard, routed, pushed, session, v5 };
        self.messages[msg].taken.push(taken);
    }

    /// A client was let in. `asked`: Clean Start, the interval it asked for (as its version means it), its will.
    pub fn connected(
        &mut self,
        wire: usize,
        client: usize,
        shard: usize,
        present: bool,
        connect: &crate::packets::ConnectUp,
    ) {
        let clean = connect.clean;
        let expiry_secs = match connect.version {
            Version::V5 => connect.expiry_secs,
            _ if clean => 0,
            _ => NEVER_SECS,
        }
        .min(self.expiry_max);
        if self.awaits_clean.take().is_some_and(|ended| self.sessions[ended].client != client || !clean) {
            self.fail(format!("client {client} connected with clean={clean}, and another session ended for it"));
        }
        let live = self.live[client];
        if present != live.is_some() {
            self.fail(format!("client {client} session_present={present}, and its session is {live:?}"));
        }
        if present && clean {
            self.fail(format!("client {client} has a session after a clean start"));
        }
        let index = live.unwrap_or_else(|| {
            self.sessions.push(Session {
                client,
                v5: false,
                shard,
                to: None,
                expiry_secs,
                subs: Vec::new(),
                wire: None,
                online: Vec::new(),
                left_at: 0,
                will: None,
                flights: BTreeMap::new(),
                got: BTreeMap::new(),
                newest: BTreeMap::new(),
                inbound: BTreeSet::new(),
                packet_max_ever: u32::MAX,
                last_taken: BTreeMap::new(),
            });
            self.sessions.len() - 1
        });
        self.live[client] = Some(index);
        let step = self.step;
        let session = &mut self.sessions[index];
        if session.shard != shard || session.wire.is_some() {
            let what =
                format!("client {client} on shard {shard}, its session is {} with {:?}", session.shard, session.wire);
            return self.fail(what);
        }
        session.expiry_secs = expiry_secs;
        session.v5 = connect.version == Version::V5;
        session.wire = Some(wire);
        session.online.push((step, None));
        session.packet_max_ever = session.packet_max_ever.min(connect.packet_max.unwrap_or(u32::MAX));
        session.will = connect.will.clone().map(|will| (will, WillPhase::Armed));
    }

    /// The connection of a session is over.
    pub fn detached(&mut self, index: usize) {
        let (step, now) = (self.step, self.now);
        let session = &mut self.sessions[index];
        session.wire = None;
        session.left_at = now;
        if let Some((_, end)) = session.online.last_mut() {
            *end = Some(step);
        }
        let expiry = session.expiry_secs;
        let Some((will, phase)) = &mut session.will else { return };
        let delay = u64::from(will.delay_secs.min(expiry)) * 1000;
        if delay == 0 {
            let (msg, shard) = (will.msg, session.shard);
            session.will = None;
            self.take(msg, shard, index);
        } else {
            *phase = WillPhase::Delayed(now + delay);
        }
    }

    pub fn session_ended(&mut self, client: usize, expired: bool) {
        let Some(index) = self.live[client].take() else {
            return self.fail(format!("client {client} had no session that could end"));
        };
        let (step, now) = (self.step, self.now);
        let session = &mut self.sessions[index];
        session.to = Some(step);
        for sub in &mut session.subs {
            sub.to.get_or_insert(step);
        }
        let detached = session.wire.is_none();
        let is_over = detached && session.deadline().is_some_and(|deadline| deadline <= now);
        let will = session.will.take();
        let shard = session.shard;
        if !is_over && (expired || !detached) {
            self.fail(format!("the session of client {client} ended early, expired={expired}"));
        } else if !is_over {
            self.awaits_clean = Some(index);
        }
        if let Some((will, _)) = will {
            self.take(will.msg, shard, index);
        }
    }

    /// Before the events of a tick are looked at: wills that are due.
    pub fn ticked(&mut self, shard: usize) {
        for index in 0..self.sessions.len() {
            let session = &mut self.sessions[index];
            if session.to.is_some() || session.shard != shard {
                continue;
            }
            if let Some((will, WillPhase::Delayed(due))) = &session.will
                && fires_at(*due) <= self.now
            {
                let msg = will.msg;
                session.will = None;
                self.take(msg, shard, index);
            }
        }
    }

    /// After them: whatever had to expire has.
    pub fn check_expired(&mut self, shard: usize) {
        for session in &self.sessions {
            let over = session.to.is_none() && session.wire.is_none() && session.shard == shard;
            if over && session.deadline().is_some_and(|deadline| fires_at(deadline) <= self.now) {
                let what = format!("the session of client {} outlived its expiry", session.client);
                self.violation.get_or_insert(what);
            }
        }
    }

    pub fn subscribed(&mut self, index: usize, wire: usize, pid: u16, id: Option<u32>, filters: &[FilterUp]) {
        let step = self.step;
        let session = &mut self.sessions[index];
        for request in filters {
            let same = |sub: &&mut Sub| {
                sub.to.is_none() && (sub.request.group, sub.request.filter) == (request.group, request.filter)
            };
            let older = session.subs.iter_mut().find(same);
            let is_new = older.is_none();
            if let Some(older) = older {
                older.to = Some(step);
            }
            let replays = request.group.is_none() && (request.rh == 0 || request.rh == 1 && is_new);
            session.subs.push(Sub {
                request: request.clone(),
                id,
                from: step,
                acked: None,
                to: None,
                replays,
                pid,
                wire,
            });
        }
    }

    pub fn suback(&mut self, index: usize, wire: usize, pid: u16, reasons: &[u8]) {
        let step = self.step;
        let subs = &mut self.sessions[index].subs;
        let mine = subs.iter_mut().filter(|sub| sub.wire == wire && sub.pid == pid && sub.acked.is_none());
        let mut granted = Vec::new();
        for sub in mine {
            sub.acked = Some(step);
            granted.push(sub.request.qos);
        }
        if granted != reasons {
            self.fail(format!("SUBACK {pid} says {reasons:?}, asked for was {granted:?}"));
        }
    }

    pub fn unsubscribed(&mut self, index: usize, filters: &[(Option<&'static str>, &'static str)]) {
        let step = self.step;
        for sub in &mut self.sessions[index].subs {
            if sub.to.is_none() && filters.contains(&(sub.request.group, sub.request.filter)) {
                sub.to = Some(step);
            }
        }
    }
}
