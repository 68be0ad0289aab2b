//! One shard of the broker: its state, and the way each input takes.

use std::collections::VecDeque;

use ahash::RandomState;

use super::after_drain::{AfterDrain, AfterDrainQueue};
use super::connection::{Connection, Connections, Delayed};
use super::effects::Effects;
use super::entropy::Entropy;
use super::gate::Gate;
use super::held::Held;
use super::homes::Homes;
use super::input::{Consumed, Input};
use super::judging::Judging;
use super::mesh::{MeshMessage, ReplyTo, Token};
use super::message::Draft;
use super::options::{OptionError, Options};
use super::pending::{Completion, Join, Outcome, PendingTable};
use super::record::Record;
use super::retained::Retained;
use super::session::{Session, Sessions};
use super::timers::{TimerKey, TimerWheel};
use crate::access::Guard;
use crate::base::limits::{CONNECT_BYTES_MAX, TIMERS_PER_TICK};
use crate::base::{
    ConnId, Counters, DropReason, Millis, RecordId, Refusal, SessionRef, ShardId, SubscriptionId, Timestamp,
};
use crate::mqtt::{
    AckType, Error, Frame, Packet, PacketType, Progress, Properties, PropertyBuffer, PropertyId, ProtocolViolation,
    ReasonCode, Sender, TopicFilter, Version, decode, decode_publish, encode, frame,
};
use crate::routing::{FilterId, FilterIndex, InterestIndex, Matches, SharedGroups, TopicHash};
use crate::session::{Admission, ClientPacket, Phase};

/// One shard.
#[derive(Debug)]
pub struct ShardCore {
    pub(super) me: ShardId,
    pub(super) options: Options,
    pub(super) guard: Box<dyn Guard>,
    pub(super) judging: Judging,
    pub(super) connections: Connections,
    pub(super) sessions: Sessions,
    pub(super) index: FilterIndex,
    pub(super) interest: InterestIndex,
    pub(super) groups: SharedGroups,
    pub(super) retained: Retained,
    pub(super) timers: TimerWheel,
    pub(super) pending: PendingTable,
    /// Filters that not every shard has confirmed to know yet.
    pub(super) announcing: ahash::HashMap<FilterId, Token>,
    /// What waits for a commit, by the number of records that must be durable.
    pub(super) commits: VecDeque<(u64, Token)>,
    /// Whose output waits for a commit, likewise.
    pub(super) gated: VecDeque<(u64, ConnId)>,
    /// The number of the last record, of the last that is durable, and of the last that can be fetched.
    pub(super) records_made: u64,
    pub(super) records_committed: u64,
    pub(super) records_settled: u64,
    /// Nothing can be made durable now.
    pub(super) store_fails: bool,
    /// Nobody new is let in.
    pub(super) is_overloaded: bool,
    /// Those whose refusal waits.
    pub(super) delayed: ahash::HashMap<ConnId, Delayed>,
    /// Messages in the spool that are not on their way yet.
    pub(super) spooling: usize,
    /// Where a message of the spool is to be retained: how many of its topic are not on their way yet.
    pub(super) waiting_topics: ahash::HashMap<TopicHash, usize>,
    /// Sessions whose client is away, with messages that may leave memory.
    pub(super) long_queues: VecDeque<SessionRef>,
    /// Connections to be closed because their session's queue is full.
    pub(super) overfull: Vec<ConnId>,
    /// Counts verdicts asked for, and replays begun.
    pub(super) checks_asked: u64,
    pub(super) replays_begun: u64,
    pub(super) after_drain: AfterDrainQueue,
    pub(super) entropy: Entropy,
    pub(super) homes: Homes,
    pub(super) counters: Counters,
    /// Messages that wait for clients, or are under way to them.
    pub(super) held: Held,
    /// Those of them that are in the store alone.
    pub(super) messages_left: usize,
    pub(super) matches: Matches,
    pub(super) ids: Vec<SubscriptionId>,
    pub(super) scratch: Vec<u8>,
    /// Of the input that is being taken.
    pub(super) had_secret: bool,
}

/// See [`ShardCore::fullest`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Fullest {
    pub queue_messages: usize,
    pub queue_bytes: u64,
    pub in_flight: usize,
    pub unsent_bytes: u32,
}

/// Whether a connection goes on after a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    Next,
    /// This packet has to wait.
    Hold,
    /// The connection is on its way to another shard, this packet with it.
    Moved,
}

impl ShardCore {
    pub fn new(me: ShardId, options: Options, guard: Box<dyn Guard>, now: Timestamp) -> Result<Self, OptionError> {
        options.validate()?;
        let homes = Homes::new(options.seed, options.shards);
        Ok(Self {
            me,
            guard,
            judging: Judging::default(),
            connections: Connections::default(),
            sessions: Sessions::new(me, homes.clone()),
            index: FilterIndex::new(options.seed),
            interest: InterestIndex::new(options.seed),
            groups: SharedGroups::new(options.seed),
            retained: Retained::default(),
            timers: TimerWheel::new(now),
            pending: PendingTable::default(),
            announcing: ahash::HashMap::with_hasher(RandomState::with_seeds(options.seed, 7, 8, 9)),
            commits: VecDeque::new(),
            gated: VecDeque::new(),
            records_made: options.next_record - 1,
            records_committed: options.next_record - 1,
            records_settled: options.next_record - 1,
            store_fails: false,
            is_overloaded: false,
            delayed: ahash::HashMap::with_hasher(RandomState::with_seeds(options.seed, 22, 23, 24)),
            spooling: 0,
            waiting_topics: ahash::HashMap::with_hasher(RandomState::with_seeds(options.seed, 10, 11, 12)),
            long_queues: VecDeque::new(),
            overfull: Vec::new(),
            checks_asked: 0,
            replays_begun: 0,
            after_drain: AfterDrainQueue::default(),
            entropy: Entropy::new(options.secret),
            homes,
            counters: Counters::default(),
            held: Held::default(),
            messages_left: 0,
            matches: Matches::new(),
            ids: Vec::new(),
            scratch: Vec::new(),
            had_secret: false,
            options,
        })
    }

    /// Goes on with other options. What shards agree on, and what clients were told, stays.
    pub fn reconfigure(&mut self, now: Timestamp, options: Options, fx: &mut Effects) {
        let Options { shards, seed, secret, durable, next_record, .. } = self.options;
        let Options { packet_bytes_max, receive_max, topic_alias_max, .. } = self.options;
        let options = Options { packet_bytes_max, receive_max, topic_alias_max, ..options };
        self.options = Options { shards, seed, secret, durable, next_record, ..options };
        for conn in self.connections.ids() {
            self.make_use_of_room(now, conn, fx);
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn connections_len(&self) -> usize {
        self.connections.len()
    }

    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// What lies in the tables that grow with what clients do; and what has left them for the store.
    pub fn entries_len(&self) -> usize {
        let tables = self.connections.len() + self.sessions_len() + self.subscriptions_len() + self.retained_len();
        tables + self.messages_left
    }

    pub fn subscriptions_len(&self) -> usize {
        self.index.subscriptions_len()
    }

    pub fn retained_len(&self) -> usize {
        self.retained.index.len()
    }

    /// Messages that wait for clients, or are under way to them.
    pub fn messages_held(&self) -> usize {
        self.held.messages as usize
    }

    /// Those of them that are not in the store alone.
    pub fn messages_in_memory(&self) -> usize {
        let of = |session: &Session| session.queue.iter().count() + session.outbound.messages().count();
        self.sessions.iter().map(|(_, session)| of(session)).sum()
    }

    /// Timers, joins and questions under way: what must come to rest when nothing happens.
    pub fn unfinished_len(&self) -> usize {
        self.pending.len() + self.commits.len() + self.after_drain.len() + self.announcing.len()
    }

    /// Shared groups whose home is this shard.
    pub fn groups_len(&self) -> usize {
        self.groups.len()
    }

    /// Whether no other shard wants anything.
    pub fn interest_is_empty(&self) -> bool {
        self.interest.is_empty()
    }

    /// The most that any session or connection of this shard holds, of each thing that is bounded.
    pub fn fullest(&self) -> Fullest {
        let mut fullest = Fullest::default();
        for (_, session) in self.sessions.iter() {
            fullest.queue_messages = fullest.queue_messages.max(session.queue.len());
            fullest.queue_bytes = fullest.queue_bytes.max(session.queue.bytes());
            fullest.in_flight = fullest.in_flight.max(session.outbound.in_flight());
        }
        for conn in self.connections.ids() {
            fullest.unsent_bytes = fullest.unsent_bytes.max(self.connections[conn].unsent);
        }
        fullest
    }

    /// Whether `Input::Tick` has more to do at once.
    pub fn is_due(&self) -> bool {
        self.timers.has_due() || self.judging.is_under_way()
    }

    pub fn timers_len(&self) -> usize {
        self.timers.len()
    }

    /// When `Input::Tick` is due, if nothing else comes before. It may be early, never late.
    pub fn next_timeout(&self, now: Timestamp) -> Option<Millis> {
        if self.judging.is_under_way() { Some(Millis(0)) } else { self.timers.next_in(now) }
    }

    /// Takes one input. What is to be done about it is appended to `fx`.
    pub fn handle(&mut self, now: Timestamp, input: Input<'_>, fx: &mut Effects) -> Consumed {
        let consumed = self.take(now, input, fx);
        // Not where the queue was found full: its session, or by its will another one, may end with it.
        while let Some(conn) = self.overfull.pop() {
            if self.connections.get(conn).is_some() {
                self.close_connection(now, conn, ReasonCode::QuotaExceeded, fx);
            }
        }
        consumed
    }

    fn take(&mut self, now: Timestamp, input: Input<'_>, fx: &mut Effects) -> Consumed {
        match input {
            Input::Bytes { conn, bytes } => {
                // Whatever comes before CONNACK, well formed or not; later only an AUTH.
                self.had_secret = self.connections.get(conn).is_some_and(|connection| !connection.phase.is_connected());
                let consumed = self.receive(now, conn, bytes, fx);
                let had_secret = self.had_secret || begins_with_auth(&bytes[consumed.bytes..]);
                return Consumed { had_secret, ..consumed };
            }
            Input::Packet { conn, packet } => return self.receive_packet(now, conn, packet, fx),
            Input::Opened { conn } => self.open(now, conn, fx),
            Input::Entered { conn, entrance } => self.enter(conn, entrance),
            Input::Sent { conn, bytes } => self.on_sent(now, conn, bytes, fx),
            Input::Closed { conn } => self.on_closed(now, conn, fx),
            Input::Verdict { check, verdict } => self.on_verdict(now, check, verdict, fx),
            Input::Mesh { from, message } => self.on_mesh(now, from, message, fx),
            Input::MeshDrained => self.on_mesh_drained(now, fx),
            Input::Tick => self.on_tick(now, fx),
            Input::Committed { number } => self.on_committed(now, number, fx),
            Input::Settled { number } => self.on_settled(number),
            Input::Fetched { session, last, messages } => self.on_fetched(now, session, last, messages, fx),
            Input::Load { is_overloaded } => self.is_overloaded = is_overloaded,
            Input::Store { is_writable } => self.store_fails = !is_writable,
            Input::Announce { topic, payload } => self.announce(now, topic, payload, fx),
            Input::Shutdown => self.shut_down(now, fx),
        }
        Consumed::default()
    }

    fn open(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        self.counters.connections_opened += 1;
        let timer = self.timers.set(now + self.options.connect_timeout, TimerKey::Connection(conn.0));
        self.connections.insert(conn, Connection::new(now, timer));
        if self.connections.len() > self.options.connections_max {
            self.counters.refuse(Refusal::TooManyConnections);
            self.close_connection(now, conn, ReasonCode::ServerBusy, fx);
        }
    }

    /// Reads packet after packet, until one is not whole, has to wait, or ends the connection.
    fn receive(&mut self, now: Timestamp, conn: ConnId, bytes: &[u8], fx: &mut Effects) -> Consumed {
        let mut at = 0;
        loop {
            let Some(connection) = self.connections.get_mut(conn) else {
                return Consumed { bytes: bytes.len(), ..Consumed::default() };
            };
            if connection.phase == Phase::Closing {
                return Consumed { bytes: bytes.len(), ..Consumed::default() };
            }
            if connection.unsent >= self.options.output_bytes_max.saturating_mul(2) {
                // Who takes no answers may ask no more questions.
                connection.is_choked = true;
                self.notice_full(now, conn);
            }
            let connection = &mut self.connections[conn];
            if connection.held || connection.is_choked {
                return Consumed { bytes: at, held: true, ..Consumed::default() };
            }
            let bytes_max = match connection.phase {
                Phase::AwaitConnect => self.options.packet_bytes_max.min(CONNECT_BYTES_MAX),
                _ => self.options.packet_bytes_max,
            };
            match frame(&bytes[at..], bytes_max) {
                Ok(Progress::Packet(frame)) => {
                    connection.last_received = now;
                    self.counters.packets_received += 1;
                    match self.on_frame(now, conn, &frame, fx) {
                        Ok(Flow::Next) => at += frame.bytes,
                        Ok(Flow::Hold) => return Consumed { bytes: at, held: true, ..Consumed::default() },
                        Ok(Flow::Moved) => return Consumed { bytes: at, ..Consumed::default() },
                        Err(error) => self.fail(now, conn, Some(&frame), error, fx),
                    }
                }
                Ok(Progress::Need(need)) => return Consumed { bytes: at, need, ..Consumed::default() },
                Err(error) => self.fail(now, conn, None, error, fx),
            }
        }
    }

    /// A packet that was decoded elsewhere. Held, it has to come again.
    fn receive_packet(&mut self, now: Timestamp, conn: ConnId, packet: &Packet<'_>, fx: &mut Effects) -> Consumed {
        let Some(connection) = self.connections.get_mut(conn) else { return Consumed::default() };
        connection.last_received = now;
        self.counters.packets_received += 1;
        if connection.throttle.is_some() && connection.phase.is_connected() && matches!(packet, Packet::Publish(_)) {
            let mut bytes = Vec::new();
            encode(packet, connection.version, &mut bytes);
            if let Some(flow) = self.throttle(now, conn, bytes.len(), fx) {
                return Consumed { held: flow == Flow::Hold, ..Consumed::default() };
            }
        }
        let held = match self.on_packet(now, conn, packet, fx) {
            Ok(flow) => flow == Flow::Hold,
            Err(error) => {
                self.fail(now, conn, None, error, fx);
                false
            }
        };
        Consumed { held, ..Consumed::default() }
    }

    #[inline]
    fn on_frame(&mut self, now: Timestamp, conn: ConnId, frame: &Frame<'_>, fx: &mut Effects) -> Result<Flow, Error> {
        let (phase, version) = (self.connections[conn].phase, self.connections[conn].version);
        if phase.is_connected() && PacketType::of(frame.first_byte) == Some(PacketType::Publish) {
            if self.connections[conn].throttle.is_some()
                && let Some(flow) = self.throttle(now, conn, frame.bytes, fx)
            {
                return Ok(flow);
            }
            let publish = decode_publish(frame, version, Sender::Client)?;
            self.on_publish(now, conn, &publish, fx)?;
            return Ok(Flow::Next);
        }
        // The first packet's version is its own; only a CONNECT may be the first, and no other one may be, whatever is
        // in it: what is wrong with a CONNECT cannot be said in a DISCONNECT.
        // [MQTT-3.1.0-1] [MQTT-3.1.0-2]
        let is_connect = PacketType::of(frame.first_byte) == Some(PacketType::Connect);
        if (phase == Phase::AwaitConnect) != is_connect {
            return Err(ProtocolViolation::UnexpectedPacket.into());
        }
        self.had_secret |= PacketType::of(frame.first_byte) == Some(PacketType::Auth);
        let packet = decode(frame, version, Sender::Client)?;
        self.on_packet(now, conn, &packet, fx)
    }

    fn on_packet(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        packet: &Packet<'_>,
        fx: &mut Effects,
    ) -> Result<Flow, Error> {
        let Some(connection) = self.connections.get(conn) else { return Ok(Flow::Next) };
        let kind = client_packet(packet).ok_or(ProtocolViolation::PacketFromWrongSide)?;
        match connection.phase.may_receive(kind).map_err(|_| ProtocolViolation::UnexpectedPacket)? {
            Admission::Process => {}
            Admission::Hold => {
                self.connections[conn].held = true;
                return Ok(Flow::Hold);
            }
            Admission::Ignore => return Ok(Flow::Next),
        }
        match packet {
            Packet::Connect(connect) => return self.on_connect(now, conn, connect, fx),
            Packet::Publish(publish) => self.on_publish(now, conn, publish, fx)?,
            Packet::Ack(ack_type, ack) => self.on_ack(now, conn, *ack_type, ack, fx)?,
            Packet::Subscribe(subscribe) => self.on_subscribe(now, conn, subscribe, fx),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(now, conn, unsubscribe, fx),
            // [MQTT-3.12.4-1]
            Packet::PingReq => _ = self.send(conn, &Packet::PingResp, fx),
            Packet::Disconnect(disconnect) => self.on_disconnect(now, conn, disconnect, fx)?,
            Packet::Auth(auth) => self.on_auth(now, conn, auth, fx)?,
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(ProtocolViolation::PacketFromWrongSide.into());
            }
        }
        Ok(Flow::Next)
    }

    /// Appends a packet to a connection's output. False: it is larger than the client takes, and is not sent, but
    /// treated as if it had been. [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    pub(super) fn send(&mut self, conn: ConnId, packet: &Packet<'_>, fx: &mut Effects) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        let (version, bytes_max) = (connection.version, connection.packet_bytes_max as usize);
        let out = &mut connection.output(conn, fx).bytes;
        let before = out.len();
        encode(packet, version, out);
        let bytes = out.len() - before;
        if bytes > bytes_max {
            out.truncate(before);
            return false;
        }
        connection.unsent += bytes as u32;
        self.counters.output_bytes += bytes as u64;
        self.counters.packets_sent += 1;
        true
    }

    /// Sends a packet with a Reason String, and without it where the client could not take it [MQTT-3.2.2-19]
    /// [MQTT-3.14.2-3]. Only for CONNACK and DISCONNECT, which may have one even where the client wants no problem
    /// information. [MQTT-3.1.2-29]
    pub(super) fn send_explained(
        &mut self,
        conn: ConnId,
        why: Option<&str>,
        packet: impl for<'a> Fn(Properties<'a>) -> Packet<'a>,
        fx: &mut Effects,
    ) {
        let mut properties = PropertyBuffer::new();
        if let Some(why) = why {
            properties.push_text(PropertyId::ReasonString, why);
        }
        if !self.send(conn, &packet(properties.properties()), fx) && why.is_some() {
            self.send(conn, &packet(Properties::EMPTY), fx);
        }
    }

    fn on_sent(&mut self, now: Timestamp, conn: ConnId, bytes: usize, fx: &mut Effects) {
        // What waited for room goes on when half of it is free, not at every byte.
        let room_below = self.options.room_below();
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let before = connection.unsent;
        connection.unsent = before.saturating_sub(bytes as u32);
        self.counters.output_bytes_gone += u64::from(before - connection.unsent);
        if before >= room_below {
            if bytes > 0 {
                self.notice_reading(now, conn);
            }
            self.make_use_of_room(now, conn, fx);
        }
    }

    /// What waits for room in a connection's output goes on, where half of it is free.
    fn make_use_of_room(&mut self, now: Timestamp, conn: ConnId, fx: &mut Effects) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.unsent >= self.options.room_below() {
            return;
        }
        if std::mem::take(&mut connection.is_choked) && !connection.held {
            fx.resumed.push(conn);
        }
        if let Some(slot) = connection.session {
            self.pump(now, slot, fx);
        }
    }

    fn on_mesh(&mut self, now: Timestamp, from: ShardId, message: MeshMessage, fx: &mut Effects) {
        match message {
            MeshMessage::Publishes(batch) => {
                batch.for_each(|draft, token| {
                    let then = token.map(|token| Completion::Reply(ReplyTo { shard: from, token }));
                    let mut join = Join::new(then);
                    self.fan_out(now, None, draft, &mut join, fx);
                    self.finish(now, join, fx);
                });
                fx.mesh.reuse(batch);
            }
            MeshMessage::Interest { filter, wanted, token } => self.on_interest(from, &filter, wanted, token, fx),
            MeshMessage::Spooled { message, spooled, token } => {
                let mut join = Join::new(Some(Completion::Reply(ReplyTo { shard: from, token })));
                self.take_spooled(now, None, &message, spooled, &mut join, fx);
                self.finish(now, join, fx);
            }
            MeshMessage::Retain { message, token } => {
                let then = token.map(|token| Completion::Reply(ReplyTo { shard: from, token }));
                let mut join = Join::new(then);
                self.store_retained(&mut Draft::of(&message), &mut join, fx);
                self.finish(now, join, fx);
            }
            MeshMessage::RetainedAsk(question) => self.after_drain.push(AfterDrain::Question { from, question }),
            MeshMessage::RetainedPage { question, messages } => {
                self.after_drain.push(AfterDrain::Page { question, messages });
            }
            MeshMessage::ShareJoin { group, filter, session, options, online, token } => {
                let mut join = Join::new(Some(Completion::Reply(ReplyTo { shard: from, token })));
                let filter = TopicFilter::trusted(&filter);
                self.share_join(&group, filter, session, options, online, &mut join, fx);
                self.finish(now, join, fx);
            }
            MeshMessage::ShareLeave { group, filter, session } => self.share_leave(&group, &filter, session, fx),
            MeshMessage::ShareOnline { session, online } => self.groups.set_online(session, online),
            MeshMessage::ShareDeliver { session, delivery, last_resort } => {
                self.on_share_deliver(now, from, session, delivery, last_resort, fx);
            }
            MeshMessage::ShareReturn { session, delivery } => self.on_share_return(now, session, delivery, fx),
            MeshMessage::ShareAgain { delivery } => {
                let then = delivery.token.map(|token| Completion::Reply(ReplyTo { shard: from, token }));
                let mut join = Join::new(then);
                self.share_again(now, None, &delivery, &mut join, fx);
                self.finish(now, join, fx);
            }
            MeshMessage::ShareFinished { session, group } => self.share_finished_here(session, group),
            MeshMessage::Done { token, is_refused } => {
                if is_refused {
                    self.pending.refuse(token);
                }
                self.complete_one(now, token, fx);
            }
        }
    }

    pub(super) fn complete_one(&mut self, now: Timestamp, token: Token, fx: &mut Effects) {
        let Some(outcome) = self.pending.complete_one(token) else { return };
        if let Completion::Announced { filter, .. } = outcome.completion {
            // The filter may be gone, and its identifier announced anew.
            if self.announcing.get(&filter) == Some(&token) {
                self.announcing.remove(&filter);
            }
        }
        self.complete(now, outcome, fx);
    }

    pub(super) fn complete(&mut self, now: Timestamp, outcome: Outcome, fx: &mut Effects) {
        let Outcome { completion, is_refused } = outcome;
        match completion {
            Completion::Acknowledge { session, ticket } if is_refused => self.refuse_publish(session, ticket, fx),
            Completion::Acknowledge { session, ticket } => self.acknowledge_stored(session, ticket, fx),
            Completion::SubAck(due) => self.on_subscribed(now, due, fx),
            Completion::Spooled(spooled) => self.route_spooled(now, *spooled, fx),
            Completion::Route(late) => self.route_late(now, *late, fx),
            Completion::Unspool(spooled) => _ = self.record(Record::Unspooled { spooled }, fx),
            Completion::Nothing => {}
            Completion::Reply(ReplyTo { shard, token }) => {
                fx.mesh.push(shard, MeshMessage::Done { token, is_refused });
            }
            Completion::Passed(token) => {
                if is_refused {
                    self.pending.refuse(token);
                }
                self.complete_one(now, token, fx);
            }
            Completion::Announced { waiting, .. } => {
                for token in waiting {
                    self.complete_one(now, token, fx);
                }
            }
        }
    }

    fn on_committed(&mut self, now: Timestamp, number: u64, fx: &mut Effects) {
        self.records_committed = self.records_committed.max(number);
        while let Some((_, conn)) = self.gated.pop_front_if(|(needed, _)| *needed <= number) {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            let Some(gate) = &mut connection.gate else { continue };
            if gate.open(number, fx.output.buffer(conn)) {
                connection.gate = None;
            }
        }
        while let Some((_, token)) = self.commits.pop_front_if(|(needed, _)| *needed <= number) {
            self.complete_one(now, token, fx);
        }
    }

    /// What this connection is sent from here on waits until all that was recorded so far is durable.
    pub(super) fn shut_gate(&mut self, conn: ConnId) {
        let number = self.records_made;
        if number == self.records_committed {
            return;
        }
        match &mut self.connections[conn].gate {
            Some(gate) => gate.wait(number),
            none => *none = Some(Box::new(Gate::until(number))),
        }
        if self.gated.back() != Some(&(number, conn)) {
            self.gated.push_back((number, conn));
        }
    }

    /// What waits for the store is not sent any more.
    pub(super) fn forget_gated(&mut self, conn: ConnId) {
        let connection = &mut self.connections[conn];
        if let Some(gate) = connection.gate.take() {
            let (bytes, qos_zero) = gate.held();
            connection.unsent -= bytes as u32;
            self.counters.output_bytes_gone += bytes as u64;
            (0..qos_zero).for_each(|_| self.counters.drop_message(DropReason::QosZeroHeld));
        }
    }

    pub(super) fn record(&mut self, record: Record, fx: &mut Effects) -> RecordId {
        debug_assert!(self.options.durable);
        self.records_made += 1;
        fx.records.push(record);
        RecordId::new(self.records_made, self.me).expect("there are more numbers than a broker can count")
    }

    fn on_tick(&mut self, now: Timestamp, fx: &mut Effects) {
        self.judge_some();
        self.timers.advance(now);
        for _ in 0..TIMERS_PER_TICK {
            let Some(key) = self.timers.pop_due() else { return };
            match key {
                TimerKey::Connection(conn) => self.on_connection_timer(now, ConnId(conn), fx),
                TimerKey::Session(slot) => self.on_session_timer(now, slot, fx),
                TimerKey::Throttle(conn) => self.on_throttle_timer(now, ConnId(conn), fx),
                TimerKey::Reader(conn) => self.on_reader_timer(now, ConnId(conn), fx),
            }
        }
    }

    /// The other shards.
    pub(super) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let me = self.me;
        (0..self.options.shards).map(ShardId::new).filter(move |&shard| shard != me)
    }

    pub(super) fn is_v5(&self, conn: ConnId) -> bool {
        self.connections[conn].version == Version::V5
    }
}

/// Of input that was not used up: a part of one at least.
fn begins_with_auth(unused: &[u8]) -> bool {
    unused.first().and_then(|&byte| PacketType::of(byte)) == Some(PacketType::Auth)
}

fn client_packet(packet: &Packet<'_>) -> Option<ClientPacket> {
    Some(match packet {
        Packet::Connect(_) => ClientPacket::Connect,
        Packet::Publish(_) => ClientPacket::Publish,
        Packet::Ack(AckType::PubAck, _) => ClientPacket::PubAck,
        Packet::Ack(AckType::PubRec, _) => ClientPacket::PubRec,
        Packet::Ack(AckType::PubRel, _) => ClientPacket::PubRel,
        Packet::Ack(AckType::PubComp, _) => ClientPacket::PubComp,
        Packet::Subscribe(_) => ClientPacket::Subscribe,
        Packet::Unsubscribe(_) => ClientPacket::Unsubscribe,
        Packet::PingReq => ClientPacket::PingReq,
        Packet::Disconnect(_) => ClientPacket::Disconnect,
        Packet::Auth(_) => ClientPacket::Auth,
        Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => return None,
    })
}
