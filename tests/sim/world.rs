//! The world: shards, the rings between them, the wires to clients, and what can happen next.

use std::collections::{BTreeMap, VecDeque};

use thrum::access::Verdict;
use thrum::base::{ConnId, ShardId, Timestamp};
use thrum::broker::{CheckId, Consumed, DisconnectCause, Effects, Event, Input, MeshMessage, Record, ShardCore};
use thrum::mqtt::{
    AckType, Delivery, Frame, Packet, Progress, PropertyId, PropertyValue, ReasonCode, Sender, Version, decode, frame,
};

use crate::client::Client;
use crate::guard::SimGuard;
use crate::model::Model;
use crate::packets::{Down, Msg, PublishDown, Up, down_of, msg_of, put_up, topic_index};
use crate::profile::Profile;
use crate::rng::Rng;

pub const START: u64 = 1_700_000_000_000;

/// A connection, with the packets on it by where they end in the stream.
#[derive(Debug)]
pub struct Wire {
    /// None: a hostile client's.
    pub client: Option<usize>,
    pub version: Version,
    pub shard: usize,
    /// None: on the move between shards, or over.
    pub conn: Option<ConnId>,
    /// Sent, under way.
    pub up: Vec<u8>,
    /// Arrived, not consumed.
    pub inbox: Vec<u8>,
    up_packets: VecDeque<(u64, Up)>,
    up_sent: u64,
    up_consumed: u64,
    down_packets: VecDeque<(u64, Down)>,
    pub down_sent: u64,
    pub down_read: u64,
    /// Read by the client, not told to the broker.
    pub unsaid: usize,
    pub held: bool,
    /// The broker wants it closed.
    pub closing: bool,
    /// The client is not there any more.
    pub cut: bool,
    pub slow: bool,
    pub session: Option<usize>,
    pub connack_sent: bool,
    /// Whether the client was let in to a session that was there.
    present: Option<bool>,
    connect: Option<Box<crate::packets::ConnectUp>>,
    aliases: BTreeMap<u16, u8>,
    heard_at: u64,
    opened_at: u64,
    keep_alive_secs: u16,
    /// Garbage was sent that no broker may go on after.
    doomed: bool,
}

/// Why a shard was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    Tick,
    Closed(usize),
    Other,
}

/// What the driver has still to do.
#[derive(Debug)]
pub enum Job {
    Open(usize),
    Closed(usize),
    Verdict(usize, CheckId, Verdict),
}

#[derive(Debug)]
pub struct Shard {
    pub core: ShardCore,
    pub fx: Effects,
    pub conns: Vec<Option<usize>>,
    pub records: u64,
    pub committed: u64,
    /// The message that those are about which follow.
    pub stored: Option<Msg>,
    /// Where each group of records ends that is not committed: what one call made is committed together.
    pub groups: VecDeque<u64>,
    /// A draining of the mesh that has begun: how far each ring has to be drained.
    pub pass: Option<Vec<usize>>,
}

#[derive(Debug)]
pub struct World {
    pub profile: Profile,
    pub rng: Rng,
    pub model: Model,
    pub shards: Vec<Shard>,
    pub rings: Vec<Vec<VecDeque<MeshMessage>>>,
    pub wires: Vec<Wire>,
    pub clients: Vec<Client>,
    pub jobs: Vec<Job>,
    pub trace: Option<Vec<String>>,
    pub hash: u64,
}

impl World {
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let profile = Profile::draw(&mut rng);
        let shards = profile.options.shards;
        let core = |index: usize| {
            let mut options = profile.options.clone();
            options.secret[0] = index as u8;
            let guard = Box::new(SimGuard { later: profile.later_checks });
            ShardCore::new(ShardId::new(index), options, guard, Timestamp(START)).expect("profiles are valid")
        };
        let shard = |index| Shard {
            core: core(index),
            fx: Effects::new(),
            conns: Vec::new(),
            records: 0,
            committed: 0,
            stored: None,
            groups: VecDeque::new(),
            pass: None,
        };
        let clients: Vec<_> = (0..profile.clients).map(|index| Client::draw(index, &profile, &mut rng)).collect();
        let model = Model {
            now: START,
            shards,
            live: vec![None; clients.len()],
            versions: clients.iter().map(|client| client.version).collect(),
            expiry_max: profile.options.session_expiry_secs_max,
            roomy: profile.roomy,
            roomy_output: profile.roomy_output,
            queue_qos_zero: profile.options.queue_qos_zero,
            durable: profile.options.durable,
            ..Model::default()
        };
        let mut world = Self {
            rings: (0..shards).map(|_| (0..shards).map(|_| VecDeque::new()).collect()).collect(),
            shards: (0..shards).map(shard).collect(),
            wires: Vec::new(),
            jobs: Vec::new(),
            trace: traced.then(Vec::new),
            hash: seed,
            profile,
            rng,
            model,
            clients,
        };
        let about = format!("{:?}", world.profile);
        world.note(|| about);
        world
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:6} {:>8} {}", self.model.step, self.model.now - START, line()));
        }
    }

    pub fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }

    fn free_conn(&mut self, shard: usize, wire: usize) -> ConnId {
        let conns = &mut self.shards[shard].conns;
        let free = conns.iter().position(Option::is_none).unwrap_or_else(|| {
            conns.push(None);
            conns.len() - 1
        });
        conns[free] = Some(wire);
        ConnId(free as u32)
    }

    pub fn open(&mut self, client: Option<usize>, version: Version) -> usize {
        let shard = self.rng.below(self.shards.len());
        let slow = self.rng.percent(self.profile.slow);
        let wire = self.wires.len();
        self.wires.push(Wire {
            client,
            version,
            shard,
            conn: None,
            up: Vec::new(),
            inbox: Vec::new(),
            up_packets: VecDeque::new(),
            up_sent: 0,
            up_consumed: 0,
            down_packets: VecDeque::new(),
            down_sent: 0,
            down_read: 0,
            unsaid: 0,
            held: false,
            closing: false,
            cut: false,
            slow,
            session: None,
            connack_sent: false,
            present: None,
            connect: None,
            aliases: BTreeMap::new(),
            heard_at: self.model.now,
            opened_at: self.model.now,
            keep_alive_secs: 0,
            doomed: false,
        });
        self.attach(wire);
        wire
    }

    /// The wire's shard learns of it.
    pub fn attach(&mut self, wire: usize) {
        let shard = self.wires[wire].shard;
        let conn = self.free_conn(shard, wire);
        self.wires[wire].conn = Some(conn);
        self.note(|| format!("wire {wire} is {conn:?} of shard {shard}"));
        self.call(shard, Input::Opened { conn }, Cause::Other);
    }

    /// A client puts a packet on its wire.
    pub fn send(&mut self, wire: usize, up: Up) {
        let written = match &up {
            Up::Publish { msg, .. } => Some(&self.model.messages[*msg].written),
            _ => None,
        };
        let mut bytes = Vec::new();
        put_up(&up, self.wires[wire].version, written, &mut bytes);
        self.note(|| format!("wire {wire} <- {up:?} {written_as}", written_as = bytes.len()));
        self.send_bytes(wire, up, &bytes);
    }

    pub fn send_bytes(&mut self, wire: usize, up: Up, bytes: &[u8]) {
        let wire = &mut self.wires[wire];
        if wire.cut {
            return;
        }
        wire.doomed |= matches!(up, Up::Garbage(true));
        wire.up.extend_from_slice(bytes);
        wire.up_sent += bytes.len() as u64;
        let end = wire.up_sent;
        wire.up_packets.push_back((end, up));
    }

    /// Some bytes reach the broker, which may look at all that have.
    pub fn deliver_up(&mut self, wire: usize, count: usize) {
        let one_at_a_time = !self.profile.roomy;
        let at = &mut self.wires[wire];
        let count = count.min(at.up.len());
        at.inbox.extend(at.up.drain(..count));
        let (Some(conn), false, false) = (at.conn, at.held, at.closing) else { return };
        if at.inbox.is_empty() {
            return;
        }
        // A CONNECT is looked at alone, so that it is known what came before and what after.
        let mut end = at.inbox.len();
        let is_first = at.up_consumed == 0;
        if (is_first || one_at_a_time)
            && let Ok(Progress::Packet(Frame { bytes, .. })) = frame(&at.inbox, u32::MAX)
        {
            end = bytes;
        }
        let shard = at.shard;
        let inbox = std::mem::take(&mut at.inbox);
        let before = self.shards[shard].fx.close.len();
        debug_assert_eq!(before, 0);
        let consumed = self.bytes(shard, wire, conn, &inbox[..end]);
        self.note(|| format!("wire {wire}: {count} of {} bytes to shard {shard}, {consumed:?}", inbox.len()));
        let at = &mut self.wires[wire];
        at.inbox = inbox;
        at.inbox.drain(..consumed.bytes);
    }

    fn bytes(&mut self, shard: usize, wire: usize, conn: ConnId, bytes: &[u8]) -> Consumed {
        self.model.step += 1;
        self.mix(bytes.len() as u64);
        let now = Timestamp(self.model.now);
        let Shard { core, fx, .. } = &mut self.shards[shard];
        let consumed = core.handle(now, Input::Bytes { conn, bytes }, fx);
        let at = &mut self.wires[wire];
        at.held = consumed.held;
        at.up_consumed += consumed.bytes as u64;
        if consumed.bytes > 0 {
            at.heard_at = self.model.now;
        }
        let mut processed = Vec::new();
        while at.up_packets.front().is_some_and(|(end, _)| *end <= at.up_consumed) {
            processed.extend(at.up_packets.pop_front().map(|(_, up)| (wire, up)));
        }
        self.apply(shard, &processed, Cause::Other);
        let at = &self.wires[wire];
        if at.doomed && at.up_packets.is_empty() && at.inbox.is_empty() && at.up.is_empty() && !at.closing && !at.held {
            self.model.fail(format!("wire {wire} sent garbage, and goes on"));
        }
        consumed
    }

    pub fn call(&mut self, shard: usize, input: Input<'_>, cause: Cause) {
        self.model.step += 1;
        let now = Timestamp(self.model.now);
        let Shard { core, fx, .. } = &mut self.shards[shard];
        core.handle(now, input, fx);
        self.apply(shard, &[], cause);
    }

    /// Carries out what a shard wants, and tells the model in the order in which it happened.
    fn apply(&mut self, shard: usize, processed: &[(usize, Up)], cause: Cause) {
        let mut fx = std::mem::take(&mut self.shards[shard].fx);
        for (to, message) in fx.mesh.drain() {
            self.note(|| format!("shard {shard} -> {}: {message:?}", to.index()));
            self.model.pushed[shard][to.index()] += 1;
            self.rings[shard][to.index()].push_back(message);
        }
        self.model.unspooled(shard, self.shards[shard].committed);
        self.mix(fx.records.len() as u64);
        if !fx.records.is_empty() {
            let at = &mut self.shards[shard];
            at.groups.push_back(at.records + fx.records.len() as u64);
        }
        for record in fx.records.drain(..) {
            self.shards[shard].records += 1;
            self.note(|| format!("shard {shard} records {record:?}"));
            let at = self.shards[shard].records;
            match record {
                Record::Message { message } => self.shards[shard].stored = msg_of(message.body().payload()),
                // Not what was retained before: its publisher was answered long ago.
                Record::Queued { copy, .. } if !copy.retain => {
                    let stored = self.shards[shard].stored;
                    self.model.recorded.extend(stored.map(|msg| (msg, shard, at, self.model.step)));
                }
                Record::Retained { message } => {
                    if let Some(msg) = msg_of(message.body().payload()) {
                        self.model.recorded.push((msg, shard, at, self.model.step));
                    }
                }
                Record::Spooled { message, .. } => {
                    let step = self.model.step;
                    match msg_of(message.body().payload()) {
                        Some(msg) => self.model.spooled.push((msg, shard, at, step)),
                        // Which one it is, its publisher's packet says.
                        None => self
                            .model
                            .spooled_clears
                            .extend(topic_index(message.topic().as_str()).map(|topic| (topic, shard, at, step))),
                    }
                }
                _ => {}
            }
        }
        self.model.records[shard] = self.shards[shard].records;
        for (wire, up) in processed {
            if let Up::Connect(connect) = up {
                self.wires[*wire].connect = Some(connect.clone());
                self.wires[*wire].keep_alive_secs = connect.keep_alive_secs;
            } else if let Some(session) = self.wires[*wire].session.filter(|_| !self.wires[*wire].closing) {
                self.model.processed(session, *wire, up);
            }
        }
        match cause {
            Cause::Tick => self.model.ticked(shard),
            Cause::Closed(wire) => self.detach(wire),
            Cause::Other => {}
        }
        for conn in &fx.close {
            self.closed_by_broker(shard, *conn);
        }
        for event in fx.events.drain(..) {
            self.on_event(shard, event);
        }
        if let Some(ended) = self.model.awaits_clean.take() {
            let client = self.model.sessions[ended].client;
            self.model.fail(format!("the session of client {client} ended for no reason"));
        }
        if cause == Cause::Tick {
            self.model.check_expired(shard);
            self.check_silence(shard);
        }
        let mut sent = Vec::new();
        fx.output.drain(|conn, buffer| sent.push((conn, buffer.chunks().collect::<Vec<_>>().concat())));
        for (conn, bytes) in sent {
            match self.shards[shard].conns.get(conn.0 as usize).copied().flatten() {
                Some(wire) => self.tap(wire, &bytes),
                None => self.model.fail(format!("output for {conn:?} of shard {shard}, which is over")),
            }
        }
        for conn in fx.close.drain(..) {
            if let Some(wire) = self.shards[shard].conns[conn.0 as usize] {
                self.jobs.push(Job::Closed(wire));
            }
        }
        for (conn, to) in fx.moves.drain(..) {
            let Some(wire) = self.shards[shard].conns[conn.0 as usize].take() else { continue };
            self.note(|| format!("wire {wire} moves from shard {shard} to {}", to.index()));
            let at = &mut self.wires[wire];
            (at.conn, at.shard) = (None, to.index());
            self.jobs.push(Job::Open(wire));
        }
        for conn in fx.resumed.drain(..) {
            if let Some(wire) = self.shards[shard].conns[conn.0 as usize] {
                self.wires[wire].held = false;
            }
        }
        for (id, check) in fx.checks.drain(..) {
            if let Some(wire) = self.shards[shard].conns[id.conn.0 as usize] {
                self.jobs.push(Job::Verdict(wire, id, check.run().verdict()));
            }
        }
        self.shards[shard].fx = fx;
    }

    fn closed_by_broker(&mut self, shard: usize, conn: ConnId) {
        let Some(wire) = self.shards[shard].conns[conn.0 as usize] else {
            return self.model.fail(format!("shard {shard} closes {conn:?}, which is over"));
        };
        self.wires[wire].closing = true;
        self.detach(wire);
    }

    fn detach(&mut self, wire: usize) {
        if let Some(session) = self.wires[wire].session
            && self.model.sessions[session].wire == Some(wire)
        {
            self.note(|| format!("wire {wire} parts from session {session}"));
            self.model.detached(session);
        }
    }

    fn on_event(&mut self, shard: usize, event: Event) {
        self.note(|| format!("shard {shard}: {event:?}"));
        let client_of = |world: &Self, id: &str| world.clients.iter().position(|client| client.id == id);
        match event {
            Event::Connected { conn, session_present, client_id, .. } => {
                let Some(wire) = self.shards[shard].conns[conn.0 as usize] else { return };
                let (Some(client), Some(connect)) = (self.wires[wire].client, self.wires[wire].connect.clone()) else {
                    return;
                };
                if *client_id != *self.clients[client].id {
                    return self.model.fail(format!("wire {wire} of client {client} was let in as {client_id}"));
                }
                self.model.connected(wire, client, shard, session_present, &connect);
                self.wires[wire].present = Some(session_present);
                self.wires[wire].session = self.model.live[client];
                self.wires[wire].heard_at = self.model.now;
                let max = self.profile.options.keep_alive_secs_max;
                let asked = connect.keep_alive_secs;
                // Before 5.0 a client cannot be told.
                let too_long = max != 0 && (asked == 0 || asked > max) && connect.version == Version::V5;
                let told = if too_long { max } else { asked };
                self.wires[wire].keep_alive_secs = told;
                if self.wires[wire].closing {
                    // Let in, and cut off at once.
                    self.detach(wire);
                }
            }
            Event::SessionEnded { client_id, expired } => {
                if let Some(client) = client_of(self, &client_id) {
                    self.model.session_ended(client, expired);
                }
            }
            Event::Disconnected { conn, cause: DisconnectCause::ByBroker(reason), .. } => {
                let wire = self.shards[shard].conns[conn.0 as usize];
                if let Some(wire) = wire.filter(|&wire| self.wires[wire].client.is_some()) {
                    self.check_reason(wire, reason);
                }
            }
            Event::Refused { conn, reason, .. } => {
                let wire = self.shards[shard].conns[conn.0 as usize];
                if wire.is_some_and(|wire| self.wires[wire].client.is_some()) {
                    self.model.fail(format!("{wire:?} was refused: {reason:?}"));
                }
            }
            Event::Disconnected { .. } | Event::PublishRefused { .. } | Event::SubscribeRefused { .. } => {}
        }
    }

    /// Who keeps to the protocol is cut off for few reasons.
    fn check_reason(&mut self, wire: usize, reason: ReasonCode) {
        let at = &self.wires[wire];
        let silent = self.model.now - at.heard_at;
        let slow_connect = !at.connack_sent && self.model.now - at.opened_at >= 10_000;
        let timeout = at.keep_alive_secs != 0 && silent >= u64::from(at.keep_alive_secs) * 1500;
        let full = thrum::session::FullPolicy::Disconnect;
        let fine = match reason {
            ReasonCode::SessionTakenOver => true,
            ReasonCode::KeepAliveTimeout => timeout || slow_connect,
            ReasonCode::QuotaExceeded => !self.profile.roomy && self.profile.options.queue.policy == full,
            _ => false,
        };
        if !fine {
            self.model.fail(format!("wire {wire} was cut off: {reason:?}, after a silence of {silent} ms"));
        }
    }

    fn check_silence(&mut self, shard: usize) {
        let now = self.model.now;
        for (wire, at) in self.wires.iter().enumerate() {
            let attached = at.session.is_some() && at.conn.is_some() && !at.closing && at.shard == shard;
            let due = at.heard_at + u64::from(at.keep_alive_secs) * 1500;
            if attached && at.keep_alive_secs != 0 && crate::model::fires_at(due) <= now {
                let what = format!("wire {wire} is silent for {} ms and still there", now - at.heard_at);
                self.model.violation.get_or_insert(what);
            }
        }
    }

    /// Reads what the broker sends, as it does.
    fn tap(&mut self, wire: usize, bytes: &[u8]) {
        self.mix(bytes.iter().fold(wire as u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))));
        let mut rest = bytes;
        while !rest.is_empty() {
            let version = self.wires[wire].version;
            let Ok(Progress::Packet(frame)) = frame(rest, u32::MAX) else {
                return self.model.fail(format!("wire {wire} was sent half a packet: {rest:?}"));
            };
            let down = match decode(&frame, version, Sender::Server) {
                Ok(packet) => self.read(wire, &packet, frame.bytes),
                Err(error) => Err(format!("{error:?} in {:?}", &rest[..frame.bytes])),
            };
            rest = &rest[frame.bytes..];
            let at = &mut self.wires[wire];
            at.down_sent += frame.bytes as u64;
            let end = at.down_sent;
            match down {
                Ok(down) => {
                    at.down_packets.push_back((end, down.clone()));
                    self.note(|| format!("wire {wire} -> {down:?}"));
                    self.judge(wire, &down);
                }
                Err(what) => self.model.fail(format!("wire {wire}: {what}")),
            }
        }
    }

    fn read(&mut self, wire: usize, packet: &Packet<'_>, bytes: usize) -> Result<Down, String> {
        let Packet::Publish(publish) = packet else { return down_of(packet) };
        let at = &mut self.wires[wire];
        let version = at.version;
        let alias = publish.properties.two_byte(PropertyId::TopicAlias);
        let topic = match (publish.topic, alias) {
            (Some(topic), _) => topic_index(topic.as_str()).ok_or(format!("topic {topic:?}"))?,
            (None, Some(alias)) => *at.aliases.get(&alias).ok_or(format!("alias {alias} was never set"))?,
            (None, None) => return Err("no topic".into()),
        };
        let connect = at.connect.as_ref();
        if let Some(alias) = alias {
            if connect.is_none_or(|connect| alias == 0 || alias > connect.alias_max) {
                return Err(format!("alias {alias} is not allowed"));
            }
            at.aliases.insert(alias, topic);
        }
        if connect.and_then(|connect| connect.packet_max).is_some_and(|max| bytes > max as usize) {
            return Err(format!("a packet of {bytes} bytes is too large"));
        }
        let ids = publish.properties.iter().filter(|property| property.id == PropertyId::SubscriptionIdentifier);
        let ids = ids.filter_map(|property| match property.value {
            PropertyValue::Variable(id) => Some(id),
            _ => None,
        });
        let msg = msg_of(publish.payload);
        if msg.is_none() && !publish.payload.is_empty() {
            return Err(format!("payload {:?}", publish.payload));
        }
        if let Some(written) = msg.and_then(|msg| self.model.messages.get(msg)).map(|message| &message.written)
            && written.big != (publish.payload.len() > 6)
        {
            return Err("a payload cut short".into());
        }
        Ok(Down::Publish(Box::new(PublishDown {
            dup: publish.dup,
            qos: publish.delivery.qos() as u8,
            pid: match publish.delivery {
                Delivery::AtMostOnce => 0,
                Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id) => id.get(),
            },
            retain: publish.retain,
            topic,
            msg,
            expiry: publish.properties.four_byte(PropertyId::MessageExpiryInterval),
            ids: ids.collect(),
            v5: version == Version::V5,
        })))
    }

    fn judge(&mut self, wire: usize, down: &Down) {
        if let Down::ConnAck { reason: ReasonCode::Success, .. } = down {
            self.wires[wire].connack_sent = true;
        }
        let Some(session) = self.wires[wire].session else { return };
        match down {
            Down::Publish(publish) => {
                let receive_max = self.wires[wire].connect.as_ref().map_or(u16::MAX, |connect| connect.receive_max);
                self.model.emitted(session, wire, publish, receive_max.min(self.profile.options.inflight_max));
            }
            Down::Ack(AckType::PubRel, pid, reason) => self.model.pubrel(session, wire, *pid, *reason),
            Down::Ack(AckType::PubAck | AckType::PubRec, pid, reason) => {
                self.judge_ack(session, wire, *pid);
                if *reason == ReasonCode::NoMatchingSubscribers {
                    self.model.nobody_wants(session, *pid);
                }
            }
            Down::SubAck { pid, reasons } => self.model.suback(session, wire, *pid, reasons),
            Down::ConnAck { present, keep_alive_secs, .. } => {
                let at = &self.wires[wire];
                let asked = at.connect.as_ref().map_or(0, |connect| connect.keep_alive_secs);
                if *keep_alive_secs != (at.keep_alive_secs != asked).then_some(at.keep_alive_secs) {
                    self.model
                        .fail(format!("wire {wire}: Server Keep Alive is {keep_alive_secs:?}, asked was {asked}"));
                }
                // It may have waited for the store.
                if Some(*present) != self.wires[wire].present && self.wires[wire].version != Version::V3_1 {
                    self.model.fail(format!("wire {wire}: Session Present is {present}"));
                }
            }
            _ => {}
        }
    }

    /// An acknowledgement means that it is on disk: where a message is kept, and where it is retained.
    fn judge_ack(&mut self, session: usize, wire: usize, pid: u16) {
        let Some(msg) = self.model.sessions[session].last_taken.get(&pid).copied() else {
            return self.model.fail(format!("wire {wire}: an answer to {pid}, which was not taken"));
        };
        let message = &self.model.messages[msg];
        let taken = message.taken.last().map_or(0, |taken| taken.step);
        // What comes back from a shared group's member is recorded anew, without anybody waiting.
        let shared =
            self.model.sessions.iter().flat_map(|session| &session.subs).any(|sub| sub.request.group.is_some());
        // From the spool on it is safe; when it arrives, nobody waits for any more.
        let spooled = self.model.spooled.iter().filter(|(other, .., step)| *other == msg && *step >= taken);
        let spooled: Vec<_> = spooled.copied().collect();
        let awaited = if spooled.is_empty() { &self.model.recorded } else { &spooled };
        let late = awaited
            .iter()
            .find(|(other, shard, at, step)| *other == msg && *step >= taken && *at > self.shards[*shard].committed);
        // Of a publish of QoS 1 that was repeated, an earlier copy may still be under way: nobody waits for it.
        let is_only = message.taken.len() == 1;
        if let (Some(late), false, true) = (late, shared, is_only) {
            let what =
                format!("message {msg} is acknowledged, and {late:?} (message, shard, record, step) not committed");
            self.model.fail(what);
        }
        let message = &self.model.messages[msg];
        if !self.profile.options.durable || shared || !is_only || !message.written.retain {
            return;
        }
        let kept = message.written.clears
            || !spooled.is_empty()
            || self.model.recorded.iter().any(|(other, ..)| *other == msg);
        if !kept {
            self.model.fail(format!("message {msg} is acknowledged, and never was recorded as retained"));
        }
    }

    /// The client reads some bytes.
    pub fn deliver_down(&mut self, wire: usize, count: usize) {
        let at = &mut self.wires[wire];
        let count = count.min((at.down_sent - at.down_read) as usize);
        at.down_read += count as u64;
        at.unsaid += count;
        let client = at.client;
        let read = at.down_read;
        while let Some((_, down)) = self.wires[wire].down_packets.pop_front_if(|(end, _)| *end <= read) {
            let Some(client) = client.filter(|&client| self.clients[client].wire == Some(wire)) else { continue };
            let session = self.wires[wire].session;
            self.note(|| format!("client {client} reads {down:?}"));
            for up in self.clients[client].receive(&down, session, &mut self.model) {
                self.send(wire, up);
            }
        }
    }
}
