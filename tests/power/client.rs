//! A client that keeps to the protocol, with a durable session: what it sent and has no answer to, it sends again when it
//! is back, and what it received with QoS 2 it knows until that is released.

use std::collections::{BTreeMap, VecDeque};

use thrum::mqtt::{AckType, ReasonCode, Version};

use crate::judge::{Sent, matches};
use crate::packets::{ConnectUp, Down, FilterUp, Msg, PublishDown, TOPICS, Up, WillUp, Written};
use crate::profile::Profile;
use crate::rng::Rng;

const FILTERS: [&str; 10] = ["a", "a/b", "a/c", "a/+", "a/#", "b/+", "#", "/z", "+/x", "q"];

/// What the members of the one shared group subscribe to.
const GROUP: &str = "crew";
const GROUP_FILTERS: [&str; 2] = ["a/#", "b/+"];

/// Identifiers come again soon.
const PID_MAX: u16 = 12;
const WINDOW: usize = 6;
const REQUESTS_MAX: usize = 4;

#[derive(Clone, Debug)]
pub struct Subscription {
    /// Without `$share/group/`.
    pub filter: &'static str,
    pub granted_at: Option<u64>,
    /// When UNSUBSCRIBE was sent, or a new session asked for, and when that was answered.
    pub left_at: Option<u64>,
    pub gone_at: Option<u64>,
}

/// A publish of QoS 1 or 2 that is not completed.
#[derive(Clone, Copy, Debug)]
struct Out {
    msg: Msg,
    pid: u16,
    is_received: bool,
}

/// SUBSCRIBE or UNSUBSCRIBE without an answer.
#[derive(Clone, Copy, Debug)]
struct Request {
    pid: u16,
    subscription: usize,
    is_leaving: bool,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub index: usize,
    pub id: String,
    pub version: Version,
    /// Of all its subscriptions.
    pub qos: u8,
    pub group: Option<&'static str>,
    pub wire: Option<usize>,
    pub is_connected: bool,
    /// It asked for a new session and has no answer.
    is_clean: bool,
    /// It sent a CONNECT, and had sent another one before that.
    has_asked: bool,
    had_asked: bool,
    /// Something was acknowledged to it, so that its session has to be there.
    pub is_known: bool,
    /// How many sessions it had before, and when each was given up.
    life: usize,
    pub ended_at: Vec<u64>,
    out: VecDeque<Out>,
    last_pid: u16,
    /// QoS 2 publishes that were received and are not released.
    receiving: BTreeMap<u16, Option<Msg>>,
    answers: VecDeque<Up>,
    requests: Vec<Request>,
    pub subscriptions: Vec<Subscription>,
    /// What came, in which of its sessions. What was retained and is sent at SUBSCRIBE does not count.
    pub arrivals: Vec<(Msg, usize)>,
    /// The retained message of each topic that came last at SUBSCRIBE.
    pub retained: BTreeMap<u8, Option<Msg>>,
}

impl Client {
    pub fn draw(index: usize, profile: &Profile, rng: &mut Rng) -> Self {
        let group = (index < profile.members).then_some(GROUP);
        Self {
            index,
            id: format!("client {index}"),
            version: rng.pick(&[Version::V3_1_1, Version::V5, Version::V5]),
            qos: if group.is_some() { profile.group_qos } else { rng.pick(&[1, 2, 2]) },
            group,
            wire: None,
            is_connected: false,
            is_clean: false,
            has_asked: false,
            had_asked: false,
            is_known: false,
            life: 0,
            ended_at: Vec::new(),
            out: VecDeque::new(),
            last_pid: 0,
            receiving: BTreeMap::new(),
            answers: VecDeque::new(),
            requests: Vec::new(),
            subscriptions: Vec::new(),
            arrivals: Vec::new(),
            retained: BTreeMap::new(),
        }
    }

    /// The connection is gone.
    pub fn lost(&mut self) {
        (self.wire, self.is_connected) = (None, false);
        self.answers.clear();
    }

    /// What of its publishes has no answer.
    pub fn unanswered(&self) -> impl Iterator<Item = Msg> {
        self.out.iter().filter(|out| !out.is_received).map(|out| out.msg)
    }

    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    pub fn answer(&mut self) -> Option<Up> {
        self.answers.pop_front()
    }

    /// What it still waits for.
    pub fn unfinished(&self) -> Option<String> {
        let is_idle = self.out.is_empty() && self.requests.is_empty() && self.receiving.is_empty();
        (!is_idle || !self.is_connected).then(|| {
            let Self { out, requests, receiving, is_connected, .. } = self;
            format!("{}: {out:?}, {requests:?}, {receiving:?}, connected: {is_connected}", self.id)
        })
    }

    fn pid(&mut self) -> u16 {
        loop {
            self.last_pid = self.last_pid % PID_MAX + 1;
            let pid = self.last_pid;
            if !self.out.iter().any(|out| out.pid == pid) && !self.requests.iter().any(|request| request.pid == pid) {
                return pid;
            }
        }
    }

    pub fn connect(&mut self, now: u64, profile: &Profile, rng: &mut Rng, sent: &mut Vec<Sent>, may_vary: bool) -> Up {
        let may_clean = may_vary && self.is_known && self.version == Version::V5;
        let is_clean = may_clean && rng.percent(profile.clean);
        // Who has given up what he knew asks for a new session until he is told that he has one.
        let is_again = self.is_clean;
        if is_clean {
            self.is_known = false;
            self.ended_at.push(now);
            self.subscriptions.iter_mut().for_each(|own| _ = own.left_at.get_or_insert(now));
            // It begins anew too, whatever becomes of this CONNECT. [MQTT-3.1.2-4]
            self.life += 1;
            self.out.clear();
            self.requests.clear();
            self.receiving.clear();
        }
        self.is_clean = is_clean || is_again;
        self.had_asked = std::mem::replace(&mut self.has_asked, true);
        let will = (may_vary && rng.percent(profile.will)).then(|| {
            let topic = rng.below(TOPICS.len()) as u8;
            let qos = rng.pick(&[1, 2, 2]);
            let written = Written { topic, qos, retain: false, clears: false, big: false, expiry: None };
            let will = Sent {
                publisher: self.index,
                written,
                is_will: true,
                sent_at: now,
                is_late: false,
                acknowledged_at: None,
            };
            sent.push(will);
            let delay_secs = if self.version == Version::V5 { rng.below(4) as u32 } else { 0 };
            WillUp { msg: sent.len() - 1, topic, qos, retain: false, delay_secs, expiry: None }
        });
        Up::Connect(Box::new(ConnectUp {
            id: self.id.clone(),
            version: self.version,
            clean: self.is_clean,
            keep_alive_secs: 0,
            expiry_secs: u32::MAX,
            receive_max: if may_vary { rng.pick(&[1, 2, 3, 20, u16::MAX]) } else { u16::MAX },
            alias_max: 0,
            packet_max: None,
            will,
        }))
    }

    pub fn publish(&mut self, now: u64, profile: &Profile, rng: &mut Rng, sent: &mut Vec<Sent>) -> Option<Up> {
        if self.out.len() >= WINDOW {
            return None;
        }
        let own: Vec<u8> =
            (0..TOPICS.len()).filter(|topic| topic % profile.clients == self.index).map(|at| at as u8).collect();
        // One client alone retains what is retained of a topic, so that there is an order.
        let retain = !own.is_empty() && rng.percent(profile.retain);
        let topic = if retain { rng.pick(&own) } else { rng.below(TOPICS.len()) as u8 };
        // Were some of QoS 1 among those of QoS 2, one that is sent again could come behind one that is not.
        let qos = if retain { 1 + topic % 2 } else { rng.pick(&[0, 1, 1, 2, 2, 2, 2]) };
        let clears = retain && rng.percent(15);
        let written = Written { topic, qos, retain, clears, big: rng.percent(profile.big), expiry: None };
        sent.push(Sent {
            publisher: self.index,
            written,
            is_will: false,
            sent_at: now,
            is_late: false,
            acknowledged_at: None,
        });
        let msg = sent.len() - 1;
        let pid = if qos == 0 { 0 } else { self.pid() };
        if qos > 0 {
            self.out.push_back(Out { msg, pid, is_received: false });
        }
        Some(Up::Publish { msg, pid, dup: false, alias: None })
    }

    pub fn subscribe(&mut self, rng: &mut Rng) -> Option<Up> {
        let filter = match self.group {
            Some(_) => rng.pick(&GROUP_FILTERS),
            None => rng.pick(&FILTERS),
        };
        let may_ask = self.requests.len() < REQUESTS_MAX && !self.is_asking(filter);
        may_ask.then(|| self.subscribe_to(filter))
    }

    pub fn subscribe_to(&mut self, filter: &'static str) -> Up {
        let is_there = |own: &Subscription| own.filter == filter && own.left_at.is_none() && own.granted_at.is_some();
        let subscription = self.subscriptions.iter().position(is_there).unwrap_or_else(|| {
            self.subscriptions.push(Subscription { filter, granted_at: None, left_at: None, gone_at: None });
            self.subscriptions.len() - 1
        });
        let request = Request { pid: self.pid(), subscription, is_leaving: false };
        self.requests.push(request);
        self.ask(request)
    }

    pub fn unsubscribe(&mut self, now: u64, rng: &mut Rng) -> Option<Up> {
        let there: Vec<usize> = (0..self.subscriptions.len())
            .filter(|&at| self.subscriptions[at].left_at.is_none() && self.subscriptions[at].granted_at.is_some())
            .collect();
        if there.is_empty() {
            return None;
        }
        let subscription = rng.pick(&there);
        if self.requests.len() >= REQUESTS_MAX || self.is_asking(self.subscriptions[subscription].filter) {
            return None;
        }
        self.subscriptions[subscription].left_at = Some(now);
        let request = Request { pid: self.pid(), subscription, is_leaving: true };
        self.requests.push(request);
        Some(self.ask(request))
    }

    fn is_asking(&self, filter: &str) -> bool {
        self.requests.iter().any(|request| self.subscriptions[request.subscription].filter == filter)
    }

    fn ask(&self, request: Request) -> Up {
        let Request { pid, subscription, is_leaving } = request;
        let (group, filter) = (self.group, self.subscriptions[subscription].filter);
        match is_leaving {
            true => Up::Unsubscribe { pid, filters: vec![(group, filter)] },
            false => {
                let filters = vec![FilterUp { group, filter, qos: self.qos, no_local: false, rap: false, rh: 0 }];
                Up::Subscribe { pid, id: None, filters }
            }
        }
    }

    /// Reads a packet. What is to be said at once is given, what may wait is with the answers.
    pub fn receive(&mut self, now: u64, down: &Down, sent: &mut [Sent]) -> Result<Vec<Up>, String> {
        match down {
            Down::ConnAck { present, reason: ReasonCode::Success, .. } => return self.connected(now, *present, sent),
            Down::ConnAck { reason, .. } => return Err(format!("it was not let in: {reason:?}")),
            Down::Publish(publish) => self.published(publish, sent)?,
            Down::Ack(kind, pid, reason) => self.acknowledged(now, *kind, *pid, *reason, sent)?,
            Down::SubAck { pid, reasons } => {
                let request = self.answered(*pid, false).ok_or("an answer to no SUBSCRIBE")?;
                if reasons[0] < 0x80 {
                    self.subscriptions[request.subscription].granted_at.get_or_insert(now);
                    self.is_known = true;
                }
            }
            Down::UnsubAck { pid } => {
                let request = self.answered(*pid, true).ok_or("an answer to no UNSUBSCRIBE")?;
                self.subscriptions[request.subscription].gone_at = Some(now);
                self.is_known = true;
            }
            Down::Disconnect | Down::PingResp => {}
        }
        Ok(Vec::new())
    }

    fn connected(&mut self, now: u64, is_present: bool, sent: &[Sent]) -> Result<Vec<Up>, String> {
        if is_present && (self.is_clean || !self.had_asked) {
            return Err("a session is present, and there can be none".to_owned());
        }
        if !is_present && self.is_known {
            return Err("its session is not present".to_owned());
        }
        self.is_connected = true;
        if !is_present {
            for own in &mut self.subscriptions {
                own.left_at.get_or_insert(now);
                own.gone_at.get_or_insert(now);
            }
            self.life += 1;
            self.out.clear();
            self.requests.clear();
            self.receiving.clear();
        }
        self.is_clean = false;
        let mut again: Vec<Up> = Vec::new();
        for &Out { msg, pid, is_received } in &self.out {
            debug_assert!(sent[msg].written.qos > 0);
            again.push(match is_received {
                true => Up::Ack(AckType::PubRel, pid),
                false => Up::Publish { msg, pid, dup: true, alias: None },
            });
        }
        again.extend(self.requests.iter().map(|&request| self.ask(request)));
        Ok(again)
    }

    fn published(&mut self, publish: &PublishDown, sent: &[Sent]) -> Result<(), String> {
        let PublishDown { qos, pid, retain, topic, msg, .. } = *publish;
        match qos {
            0 => {}
            1 => self.answers.push_back(Up::Ack(AckType::PubAck, pid)),
            _ => self.answers.push_back(Up::Ack(AckType::PubRec, pid)),
        }
        if qos == 2
            && let Some(before) = self.receiving.insert(pid, msg)
        {
            return match before == msg {
                true => Ok(()),
                false => Err(format!("identifier {pid} has {before:?} and now {msg:?}")),
            };
        }
        if let Some(sent) = msg.and_then(|msg| sent.get(msg))
            && sent.written.topic != topic
        {
            return Err(format!("{msg:?} came to topic {topic}"));
        }
        if retain {
            self.retained.insert(topic, msg);
        } else {
            self.arrivals.extend(msg.map(|msg| (msg, self.life)));
        }
        let is_wanted = self.subscriptions.iter().any(|own| matches(own.filter, TOPICS[topic as usize]));
        if is_wanted { Ok(()) } else { Err(format!("it never asked for topic {topic}")) }
    }

    fn acknowledged(
        &mut self,
        now: u64,
        kind: AckType,
        pid: u16,
        reason: ReasonCode,
        sent: &mut [Sent],
    ) -> Result<(), String> {
        let at = self.out.iter().position(|out| out.pid == pid);
        let is_error = reason as u8 >= 0x80;
        match (kind, at) {
            (AckType::PubRel, _) => {
                self.receiving.remove(&pid);
                self.answers.push_back(Up::Ack(AckType::PubComp, pid));
            }
            (AckType::PubComp, Some(at)) if self.out[at].is_received => _ = self.out.remove(at),
            (AckType::PubAck | AckType::PubRec, Some(at)) => {
                let Out { msg, is_received, .. } = self.out[at];
                if (sent[msg].written.qos == 2) != (kind == AckType::PubRec) {
                    return Err(format!("{kind:?} for {msg}"));
                }
                if is_error {
                    self.out.remove(at);
                    return if is_received { Err(format!("{reason:?} for {msg} that was received")) } else { Ok(()) };
                }
                sent[msg].acknowledged_at.get_or_insert(now);
                if kind == AckType::PubAck {
                    self.out.remove(at);
                } else {
                    self.is_known = true;
                    self.out[at].is_received = true;
                    self.answers.push_back(Up::Ack(AckType::PubRel, pid));
                }
            }
            _ => return Err(format!("{kind:?} for {pid}, which is not under way")),
        }
        Ok(())
    }

    fn answered(&mut self, pid: u16, is_leaving: bool) -> Option<Request> {
        let at = self.requests.iter().position(|request| request.pid == pid && request.is_leaving == is_leaving)?;
        Some(self.requests.remove(at))
    }
}
