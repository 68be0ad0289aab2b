//! What the broker may send to a session, judged at the moment it does.

use thrum::mqtt::{AckType, ReasonCode};

use crate::model::{Flight, Message, Model, Session, Step, Sub, Taken};
use crate::packets::{Msg, PublishDown, Up};

/// How a message may have come to a session.
#[derive(Debug, Default)]
struct Ways {
    /// Plain subscriptions that were, or may have been, there.
    plain: Vec<usize>,
    shared: Vec<usize>,
    replays: Vec<usize>,
    /// All of `plain` were there for sure while the message went by, once.
    is_sure: bool,
}

impl Model {
    /// A client's packet was taken by the broker.
    pub fn processed(&mut self, index: usize, wire: usize, up: &Up) {
        let shard = self.sessions[index].shard;
        match up {
            Up::Publish { msg, pid, .. } => {
                self.sessions[index].last_taken.insert(*pid, *msg);
                let is_new = self.messages[*msg].written.qos < 2 || self.sessions[index].inbound.insert(*pid);
                if is_new {
                    self.take(*msg, shard, index);
                }
            }
            Up::Ack(AckType::PubRel, pid) => {
                self.sessions[index].inbound.remove(pid);
            }
            Up::Ack(kind, pid) => self.acknowledged_by_client(index, *kind, *pid),
            Up::Subscribe { pid, id, filters } => self.subscribed(index, wire, *pid, *id, filters),
            Up::Unsubscribe { filters, .. } => self.unsubscribed(index, filters),
            Up::Disconnect { with_will, expiry } => {
                let max = self.expiry_max;
                let session = &mut self.sessions[index];
                if let Some(secs) = expiry {
                    session.expiry_secs = (*secs).min(max);
                }
                if !with_will {
                    session.will = None;
                }
            }
            Up::Connect(_) | Up::Ping | Up::Garbage(_) => {}
        }
    }

    fn acknowledged_by_client(&mut self, index: usize, kind: AckType, pid: u16) {
        let flights = &mut self.sessions[index].flights;
        match kind {
            AckType::PubRec => {
                if let Some(flight) = flights.get_mut(&pid) {
                    flight.released = true;
                }
            }
            _ => {
                flights.remove(&pid);
            }
        }
    }

    pub fn acknowledged(&mut self, msg: Msg, _reason: ReasonCode) {
        self.messages[msg].acknowledged = true;
        if self.messages[msg].taken.is_empty() {
            self.fail(format!("message {msg} was acknowledged before it was taken"));
        }
    }

    /// PUBREL went out.
    pub fn pubrel(&mut self, index: usize, wire: usize, pid: u16, reason: ReasonCode) {
        let Some(flight) = self.sessions[index].flights.get_mut(&pid) else {
            return self.fail(format!("PUBREL {pid} {reason:?} for nothing under way"));
        };
        flight.wire = wire;
        if !flight.released || flight.qos != 2 {
            let what = format!("PUBREL {pid} for {flight:?}");
            self.fail(what);
        }
    }

    /// A PUBLISH went out. `window` is what the client and the options allow under way.
    pub fn emitted(&mut self, index: usize, wire: usize, down: &PublishDown, window: u16) {
        // What waited for the store when its connection was lost is sent again without ever having left.
        let never_left = self.durable && !self.sessions[index].flights.contains_key(&down.pid);
        if down.dup && !never_left {
            return self.emitted_again(index, wire, down);
        }
        if down.qos > 0 {
            self.begin_flight(index, wire, down, window);
        }
        let Some(msg) = down.msg else { return self.emitted_empty(index, down) };
        if self.messages.get(msg).is_none_or(|message| message.taken.is_empty()) {
            return self.fail(format!("message {msg} was delivered and never published"));
        }
        if let Err(what) = self.judge(index, msg, down) {
            let session = &self.sessions[index];
            let subs: Vec<&Sub> = session.subs.iter().filter(|sub| sub.matches(down.topic)).collect();
            let message = &self.messages[msg];
            let what = format!("{what}: client {} {down:?} of {message:?}; subscriptions {subs:?}", session.client);
            self.fail(what);
        }
        let step = self.step;
        let got = self.sessions[index].got.entry(msg).or_default();
        if got.emitted == 0 {
            got.first = step;
        }
        got.last = step;
        got.emitted += 1;
        got.emitted_exactly_once += usize::from(down.qos == 2);
    }

    fn begin_flight(&mut self, index: usize, wire: usize, down: &PublishDown, window: u16) {
        let flights = &mut self.sessions[index].flights;
        let flight = Flight { msg: down.msg, qos: down.qos, released: false, wire };
        if let Some(used) = flights.insert(down.pid, flight) {
            return self.fail(format!("identifier {} is in use by {used:?}", down.pid));
        }
        if flights.len() > usize::from(window) {
            let len = flights.len();
            self.fail(format!("{len} deliveries under way, allowed are {window}"));
        }
    }

    fn emitted_again(&mut self, index: usize, wire: usize, down: &PublishDown) {
        let Some(flight) = self.sessions[index].flights.get_mut(&down.pid) else {
            return self.fail(format!("DUP for nothing under way: {down:?}"));
        };
        let fits = flight.msg == down.msg && flight.qos == down.qos && !flight.released && flight.wire != wire;
        let what = format!("DUP {down:?} of {flight:?} on {wire}");
        flight.wire = wire;
        let client = self.sessions[index].client;
        if !fits {
            self.fail(format!("client {client}: {what}"));
        }
    }

    /// An empty payload: a retained message was cleared. All that can be told is whether somebody did, and may tell.
    fn emitted_empty(&mut self, index: usize, down: &PublishDown) {
        let clears = |message: &&Message| {
            message.written.clears && message.written.topic == down.topic && !message.taken.is_empty()
        };
        let cleared = self.messages.iter().any(|message| clears(&message));
        let wanted = self.sessions[index].subs.iter().any(|sub| sub.matches(down.topic));
        if !cleared || !wanted {
            self.fail(format!("an empty message: {down:?}"));
        }
    }

    fn ways(&self, index: usize, msg: Msg) -> Ways {
        let (session, message) = (&self.sessions[index], &self.messages[msg]);
        let own = session.client == message.publisher;
        let mut ways = Ways { is_sure: message.taken.len() == 1, ..Ways::default() };
        let first = message.taken.iter().map(|taken| taken.step).min().unwrap_or(Step::MAX);
        for (at, sub) in session.subs.iter().enumerate() {
            if !sub.matches(message.written.topic) {
                continue;
            }
            if sub.request.group.is_some() {
                // The group's home learns of new options until SUBACK.
                let newer = |newer: &&Sub| {
                    sub.to.is_some_and(|to| to <= newer.from)
                        && (newer.request.group, newer.request.filter) == (sub.request.group, sub.request.filter)
                        && newer.acked.is_none_or(|acked| acked >= first)
                };
                if sub.to.is_none_or(|to| to >= first) || session.subs.iter().any(|sub| newer(&sub)) {
                    ways.shared.push(at);
                }
                continue;
            }
            if own && sub.request.no_local {
                continue;
            }
            if sub.replays && message.written.retain && !self.comes_live(session, sub, message) {
                ways.replays.push(at);
            }
            let may = message.taken.iter().any(|taken| {
                let reached = self.reached(taken, session.shard).unwrap_or(Step::MAX);
                sub.from <= reached && sub.to.is_none_or(|to| to >= taken.step)
            });
            if may {
                ways.plain.push(at);
                ways.is_sure &= message.taken.iter().all(|taken| self.is_sure(sub, taken, session.shard));
            }
        }
        ways
    }

    /// Whether a subscription was there, for all shards, while a message went by.
    pub fn is_sure(&self, sub: &Sub, taken: &Taken, shard: usize) -> bool {
        let known = if taken.shard == shard { Some(sub.from) } else { sub.acked };
        let reached = self.reached(taken, shard);
        known.is_some_and(|known| known < taken.step)
            && sub.to.is_none_or(|to| reached.is_some_and(|reached| reached < to))
    }

    /// Whether a message was published after the SUBACK of a subscription and has come by it, or will for sure: then it
    /// must not be replayed as well.
    fn comes_live(&self, session: &Session, sub: &Sub, message: &Message) -> bool {
        let Some(acked) = sub.acked else { return false };
        let own = sub.request.no_local && message.publisher == session.client;
        let online = || session.online_throughout(acked, self.step);
        let drops_nothing = self.roomy && (self.queue_qos_zero || self.roomy_output && online());
        let is_later = |taken: &Taken| acked < taken.step && self.is_sure(sub, taken, session.shard);
        drops_nothing && !own && !message.taken.is_empty() && message.taken.iter().all(is_later)
    }

    /// Whether another message of the topic that is to be retained instead came live by a subscription.
    fn has_newer_live(&self, session: &Session, sub: &Sub, message: &Message) -> bool {
        let last = message.taken.iter().map(|taken| taken.step).max();
        self.messages.iter().enumerate().any(|(number, newer)| {
            // Behind what waits for the store, the newer one may wait as well.
            let has_left = || session.got.get(&number).is_some_and(|got| got.emitted > 0);
            (!self.durable || has_left())
                && newer.written.topic == message.written.topic
                && newer.written.retain
                && newer.taken.first().map(|taken| taken.step) > last
                && newer.taken.iter().all(|taken| {
                    // In this very step it may have come after.
                    self.reached(taken, session.shard).is_some_and(|reached| reached < self.step)
                })
                && self.comes_live(session, sub, newer)
        })
    }

    fn judge(&mut self, index: usize, msg: Msg, down: &PublishDown) -> Result<(), String> {
        let ways = self.ways(index, msg);
        let session = &self.sessions[index];
        let message = &self.messages[msg];
        let written = &message.written;
        let granted = |at: &usize| session.subs[*at].request.qos;
        if down.topic != written.topic {
            return Err("wrong topic".into());
        }
        if ways.plain.is_empty() && ways.shared.is_empty() && (ways.replays.is_empty() || !down.retain) {
            return Err("nobody asked for it".into());
        }
        let all = || ways.plain.iter().chain(&ways.shared).chain(&ways.replays);
        let qos_max = all().map(granted).max().unwrap_or(0).min(written.qos);
        if down.qos > qos_max {
            return Err(format!("QoS over {qos_max}"));
        }
        self.judge_expiry(msg, down)?;
        let rap = all().any(|at| session.subs[*at].request.rap) && written.retain;
        if down.retain && ways.replays.is_empty() && !rap {
            return Err("RETAIN on a live message".into());
        }
        let ids: Vec<u32> = all().filter_map(|at| session.subs[*at].id).collect();
        if let Some(id) = down.ids.iter().find(|id| !ids.contains(id)) {
            return Err(format!("subscription identifier {id}"));
        }
        let only_plain = ways.is_sure && ways.shared.is_empty() && (!down.retain || ways.replays.is_empty());
        if only_plain {
            let mut wanted: Vec<u32> = ways.plain.iter().filter_map(|at| session.subs[*at].id).collect();
            let mut got = down.ids.clone();
            wanted.sort_unstable();
            got.sort_unstable();
            wanted.dedup();
            got.dedup();
            if down.v5 && wanted != got {
                return Err(format!("subscription identifiers should be {wanted:?}"));
            }
            let qos = ways.plain.iter().map(granted).max().unwrap_or(0).min(written.qos);
            if down.qos != qos {
                return Err(format!("QoS should be {qos}"));
            }
            let rap = ways.plain.iter().any(|at| session.subs[*at].request.rap) && written.retain;
            if down.retain != rap {
                return Err("wrong RETAIN".into());
            }
        }
        let mut groups: Vec<_> = ways.shared.iter().map(|at| &session.subs[*at].request).collect();
        groups.sort_by_key(|request| (request.group, request.filter));
        groups.dedup_by_key(|request| (request.group, request.filter));
        let live = message.taken.len() * (usize::from(!ways.plain.is_empty()) + groups.len());
        let emitted = session.got.get(&msg).map_or(0, |got| got.emitted);
        if emitted >= live + ways.replays.len() {
            return Err(format!("{} times", emitted + 1));
        }
        // The newest value on its way in a replay may be older than what came live.
        let is_replay = down.retain && !ways.replays.is_empty();
        let once = message.taken.len() == 1;
        if emitted == 0 && once && !is_replay && ways.shared.is_empty() && !message.is_will {
            // What a client publishes in a new session may overtake what the old one left in the spool.
            let key = (message.taken[0].session, written.topic, written.qos, down.qos);
            let session = &mut self.sessions[index];
            let newest = session.newest.entry(key).or_insert(msg);
            if *newest > msg {
                return Err(format!("after message {newest}"));
            }
            *newest = msg;
        } else if is_replay && !rap {
            self.judge_replay(index, msg, &ways)?;
        }
        Ok(())
    }

    /// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    fn judge_expiry(&self, msg: Msg, down: &PublishDown) -> Result<(), String> {
        let message = &self.messages[msg];
        let Some(secs) = message.written.expiry else {
            return if down.expiry.is_some() && down.v5 { Err("an expiry that nobody gave".into()) } else { Ok(()) };
        };
        let fits = message.taken.iter().any(|taken| {
            let end = if taken.v5 { taken.time + u64::from(secs) * 1000 } else { u64::MAX };
            // What is written may still wait for the store.
            let written = if self.durable { taken.time..=self.now } else { self.now..=self.now };
            let left_at = |at: u64| end.saturating_sub(at).div_ceil(1000);
            let may_be_left = left_at(*written.end())..=left_at(*written.start());
            let is_alive = end > *written.start();
            !taken.v5 && down.expiry.is_none()
                || is_alive && down.expiry.is_none_or(|left| may_be_left.contains(&u64::from(left)))
        });
        if fits { Ok(()) } else { Err(format!("expired, or not its remaining time, at {}", self.now)) }
    }

    /// A retained message that was replaced before the subscription came must not be replayed, nor one behind a newer live
    /// one.
    fn judge_replay(&self, index: usize, msg: Msg, ways: &Ways) -> Result<(), String> {
        let session = &self.sessions[index];
        let since = ways.replays.iter().map(|at| session.subs[*at].from).min().unwrap_or(0);
        let message = &self.messages[msg];
        if ways.replays.iter().all(|at| self.has_newer_live(session, &session.subs[*at], message)) {
            return Err("a retained message behind a newer live one".into());
        }
        let newer = self.messages.iter().enumerate().find(|(other, newer)| {
            let same = newer.written.topic == message.written.topic && newer.written.retain && *other != msg;
            same && newer.taken.iter().any(|newer| {
                newer.routed.is_some_and(|routed| routed < since)
                    && message.taken.iter().all(|taken| {
                        let done = (0..self.shards).filter_map(|shard| self.reached(taken, shard)).max();
                        let all_done = (0..self.shards).all(|shard| self.reached(taken, shard).is_some());
                        taken.step < newer.step && (taken.shard == newer.shard || all_done && done < Some(newer.step))
                    })
            })
        });
        match newer {
            Some((newer, _)) => Err(format!("a retained message that {newer} had replaced")),
            None => Ok(()),
        }
    }

    /// The broker says that a message has no subscriber.
    pub fn nobody_wants(&mut self, index: usize, pid: u16) {
        let Some(&msg) = self.sessions[index].last_taken.get(&pid) else { return };
        let message = &self.messages[msg];
        let Some(taken) = message.taken.last() else { return };
        let wanting = self.sessions.iter().find(|session| {
            session.subs.iter().any(|sub| {
                let known = if taken.shard == session.shard { Some(sub.from) } else { sub.acked };
                let own = sub.request.no_local && message.publisher == session.client;
                let there = sub.to.is_none() && known.is_some_and(|known| known < taken.step);
                there && !own && sub.request.group.is_none() && sub.matches(message.written.topic)
            })
        });
        if let Some(session) = wanting {
            let what = format!("nobody is said to want {msg}, and client {} does", session.client);
            self.fail(what);
        }
    }

    /// A client handed a message to its application.
    pub fn received(&mut self, index: usize, msg: Msg, down: &PublishDown) {
        let ways = self.ways(index, msg);
        let session = &mut self.sessions[index];
        let got = session.got.entry(msg).or_default();
        got.received += 1;
        got.received_exactly_once += usize::from(down.qos == 2);
        let got = got.clone();
        // QoS 2: once for each exchange, however often it was sent. QoS 1: repeated only with DUP.
        if got.received_exactly_once > got.emitted_exactly_once || down.qos == 1 && !down.dup && got.emitted == 0 {
            let what = format!("client {} got {msg} {} times; {ways:?}", session.client, got.received);
            self.fail(what);
        }
    }
}
