//! A broker of several shards without a network: clients speak raw bytes, shards exchange messages in rings, time is a
//! number. Everything happens when it is asked for, in a fixed order.

#![allow(dead_code, unreachable_pub, reason = "a module of several test crates, none of which uses all of it")]

use std::collections::VecDeque;

use thrum::access::{Entrance, Guard, Open};
use thrum::base::{ConnId, ListenerId, Millis, ShardId, Timestamp};
use thrum::broker::{Effects, Event, Fetch, Input, MeshMessage, Options, Record, ShardCore, StoredSession};
use thrum::mqtt::{Frame, Packet, Progress, Sender, TopicName, Version, decode, encode, frame};

/// Where all clients come in; not the one that is taken where none is named.
pub const LISTENER: ListenerId = ListenerId(1);

/// A client's end of a connection.
#[derive(Debug)]
struct Wire {
    shard: usize,
    conn: ConnId,
    version: Version,
    /// Sent by the client, not consumed by the broker.
    to_broker: Vec<u8>,
    /// Sent by the broker, not read by the client.
    to_client: Vec<u8>,
    held: bool,
    is_closed: bool,
    /// Whether output counts as sent at once.
    is_slow: bool,
    unsent: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(pub usize);

#[derive(Debug)]
pub struct Net {
    pub now: Timestamp,
    pub cores: Vec<ShardCore>,
    effects: Vec<Effects>,
    rings: Vec<Vec<VecDeque<MeshMessage>>>,
    wires: Vec<Wire>,
    /// By shard and connection.
    clients: Vec<Vec<Option<usize>>>,
    next_shard: usize,
    pub events: Vec<Event>,
    pub records: Vec<Record>,
    /// What the store was asked for.
    pub fetches: Vec<Fetch>,
    committed: Vec<u64>,
    /// Whether records are committed as soon as they are made.
    pub commits: bool,
    /// Whether what shards tell each other waits in the rings, until `drain_mesh`.
    pub holds_mesh: bool,
    pub mesh_messages: usize,
}

impl Net {
    pub fn new(options: Options) -> Self {
        Self::guarded(options, || Box::new(Open))
    }

    pub fn guarded(options: Options, guard: impl Fn() -> Box<dyn Guard>) -> Self {
        let now = Timestamp(1_700_000_000_000);
        let shards = options.shards;
        let core = |index: usize| {
            let mut options = options.clone();
            options.secret[0] = index as u8;
            ShardCore::new(ShardId::new(index), options, guard(), now).expect("the options of a test are valid")
        };
        Self {
            now,
            cores: (0..shards).map(core).collect(),
            effects: (0..shards).map(|_| Effects::new()).collect(),
            rings: (0..shards).map(|_| (0..shards).map(|_| VecDeque::new()).collect()).collect(),
            wires: Vec::new(),
            clients: (0..shards).map(|_| Vec::new()).collect(),
            next_shard: 0,
            events: Vec::new(),
            records: Vec::new(),
            fetches: Vec::new(),
            committed: vec![options.next_record - 1; shards],
            commits: true,
            holds_mesh: false,
            mesh_messages: 0,
        }
    }

    /// Opens a connection, on one shard after the other as the kernel might.
    pub fn open(&mut self, version: Version) -> Client {
        self.next_shard = (self.next_shard + 1) % self.cores.len();
        let client = self.wires.len();
        let (shard, conn) = (self.next_shard, self.free_conn(self.next_shard, client));
        self.wires.push(Wire {
            shard,
            conn,
            version,
            to_broker: Vec::new(),
            to_client: Vec::new(),
            held: false,
            is_closed: false,
            is_slow: false,
            unsent: 0,
        });
        self.come_in(shard, conn);
        self.settle();
        Client(client)
    }

    fn come_in(&mut self, shard: usize, conn: ConnId) {
        let entrance = Entrance { listener: LISTENER, ..Entrance::default() };
        for input in [Input::Opened { conn }, Input::Entered { conn, entrance }] {
            self.cores[shard].handle(self.now, input, &mut self.effects[shard]);
        }
    }

    fn free_conn(&mut self, shard: usize, client: usize) -> ConnId {
        let slots = &mut self.clients[shard];
        let free = slots.iter().position(Option::is_none).unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        slots[free] = Some(client);
        ConnId(free as u32)
    }

    /// Sends bytes and lets everything happen that follows.
    pub fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        let wire = &mut self.wires[client.0];
        if !wire.is_closed {
            wire.to_broker.extend_from_slice(bytes);
        }
        self.feed(client.0);
        self.settle();
    }

    pub fn send(&mut self, client: Client, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, self.wires[client.0].version, &mut bytes);
        self.send_bytes(client, &bytes);
    }

    fn feed(&mut self, client: usize) {
        let wire = &mut self.wires[client];
        if wire.is_closed || wire.held || wire.to_broker.is_empty() {
            return;
        }
        let (shard, conn) = (wire.shard, wire.conn);
        let input = Input::Bytes { conn, bytes: &wire.to_broker };
        let consumed = self.cores[shard].handle(self.now, input, &mut self.effects[shard]);
        wire.to_broker.drain(..consumed.bytes);
        wire.held = consumed.held;
    }

    /// What the client was sent and has not read, as bytes.
    pub fn take_bytes(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(&mut self.wires[client.0].to_client)
    }

    /// Reads the next packet, if one came.
    pub fn receive<T>(&mut self, client: Client, read: impl FnOnce(Packet<'_>) -> T) -> Option<T> {
        let wire = &mut self.wires[client.0];
        let Progress::Packet(Frame { bytes, .. }) = frame(&wire.to_client, u32::MAX).expect("the broker sends packets")
        else {
            return None;
        };
        let packet: Vec<u8> = wire.to_client.drain(..bytes).collect();
        let Progress::Packet(frame) = frame(&packet, u32::MAX).expect("the broker sends packets") else {
            unreachable!()
        };
        Some(read(decode(&frame, wire.version, Sender::Server).expect("the broker sends what a client can read")))
    }

    /// Reads packets as text, all that came.
    pub fn receive_all(&mut self, client: Client) -> Vec<String> {
        std::iter::from_fn(|| self.receive(client, |packet| format!("{packet:?}"))).collect()
    }

    pub fn is_closed(&self, client: Client) -> bool {
        self.wires[client.0].is_closed
    }

    /// The client's network breaks, without a word.
    pub fn cut(&mut self, client: Client) {
        let wire = &mut self.wires[client.0];
        if !std::mem::replace(&mut wire.is_closed, true) {
            let (shard, conn) = (wire.shard, wire.conn);
            self.clients[shard][conn.0 as usize] = None;
            self.cores[shard].handle(self.now, Input::Closed { conn }, &mut self.effects[shard]);
        }
        self.settle();
    }

    /// From now on the client's socket takes nothing, until `unblock`.
    pub fn block(&mut self, client: Client) {
        self.wires[client.0].is_slow = true;
    }

    pub fn unblock(&mut self, client: Client) {
        self.wires[client.0].is_slow = false;
        self.take_waiting(client);
    }

    /// The client's socket takes what waits for it. What follows waits again where the client is blocked.
    pub fn take_waiting(&mut self, client: Client) {
        self.take_some(client, usize::MAX);
    }

    /// The same, of so many bytes at most.
    pub fn take_some(&mut self, client: Client, bytes_max: usize) {
        let wire = &mut self.wires[client.0];
        if wire.is_closed {
            return;
        }
        let bytes = wire.unsent.min(bytes_max);
        wire.unsent -= bytes;
        let (shard, conn) = (wire.shard, wire.conn);
        self.cores[shard].handle(self.now, Input::Sent { conn, bytes }, &mut self.effects[shard]);
        self.settle();
    }

    /// Moves time on in steps, with a tick at each.
    pub fn advance(&mut self, span: Millis) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + Millis(500)).min(end);
            for (core, effects) in self.cores.iter_mut().zip(&mut self.effects) {
                core.handle(self.now, Input::Tick, effects);
            }
            self.settle();
        }
    }

    /// The broker says something of itself.
    pub fn announce(&mut self, shard: usize, topic: &str, payload: &str) {
        let topic = TopicName::new(topic).expect("a topic");
        let input = Input::Announce { topic, payload: payload.as_bytes() };
        self.cores[shard].handle(self.now, input, &mut self.effects[shard]);
        self.settle();
    }

    /// Tells a shard something, and lets everything happen that follows.
    pub fn tell(&mut self, shard: usize, input: Input<'_>) {
        self.cores[shard].handle(self.now, input, &mut self.effects[shard]);
        self.settle();
    }

    /// All shards go on with another guard.
    pub fn set_guard(&mut self, guard: impl Fn() -> Box<dyn Guard>) {
        for (core, effects) in self.cores.iter_mut().zip(&mut self.effects) {
            core.set_guard(self.now, guard(), effects);
        }
        self.settle();
    }

    pub fn restore(&mut self, shard: usize, stored: StoredSession) {
        self.cores[shard].restore(self.now, stored, &mut self.effects[shard]);
        self.settle();
    }

    pub fn shut_down(&mut self) {
        for (core, effects) in self.cores.iter_mut().zip(&mut self.effects) {
            core.handle(self.now, Input::Shutdown, effects);
        }
        self.settle();
    }

    /// Makes durable what one shard recorded.
    pub fn commit_one(&mut self, shard: usize) {
        let records = self.committed[shard];
        self.cores[shard].handle(self.now, Input::Committed { number: records }, &mut self.effects[shard]);
        self.settle();
    }

    /// Makes durable what was recorded, and tells the shards.
    pub fn commit(&mut self) {
        for shard in 0..self.cores.len() {
            let records = self.committed[shard];
            self.cores[shard].handle(self.now, Input::Committed { number: records }, &mut self.effects[shard]);
        }
        self.settle();
    }

    /// Runs until nothing is left to do.
    pub fn settle(&mut self) {
        while (0..self.cores.len()).map(|shard| self.step(shard)).fold(false, |any, did| any | did) {}
    }

    /// One shard reads so many messages at most of each ring, and what follows happens.
    pub fn drain_mesh(&mut self, shard: usize, messages_max: usize) {
        for from in 0..self.cores.len() {
            let len = self.rings[from][shard].len().min(messages_max);
            for message in self.rings[from][shard].drain(..len) {
                let input = Input::Mesh { from: ShardId::new(from), message };
                self.cores[shard].handle(self.now, input, &mut self.effects[shard]);
            }
        }
        let is_drained = self.rings.iter().all(|rings| rings[shard].is_empty());
        if is_drained && self.cores[shard].wants_mesh_drained() {
            self.cores[shard].handle(self.now, Input::MeshDrained, &mut self.effects[shard]);
        }
        self.settle();
    }

    /// One turn of one shard. True: something happened.
    fn step(&mut self, shard: usize) -> bool {
        let mut worked = self.apply(shard);
        if self.holds_mesh {
            return worked;
        }
        for from in 0..self.cores.len() {
            for message in std::mem::take(&mut self.rings[from][shard]) {
                let input = Input::Mesh { from: ShardId::new(from), message };
                self.cores[shard].handle(self.now, input, &mut self.effects[shard]);
                worked = true;
            }
        }
        if self.cores[shard].wants_mesh_drained() {
            self.cores[shard].handle(self.now, Input::MeshDrained, &mut self.effects[shard]);
            worked = true;
        }
        worked | self.apply(shard)
    }

    fn apply(&mut self, shard: usize) -> bool {
        let mut effects = std::mem::take(&mut self.effects[shard]);
        let worked = !effects.is_empty();
        self.events.append(&mut effects.events);
        self.committed[shard] += effects.records.len() as u64;
        self.records.append(&mut effects.records);
        self.fetches.append(&mut effects.fetches);
        for (to, message) in effects.mesh.drain() {
            self.mesh_messages += 1;
            self.rings[shard][to.index()].push_back(message);
        }
        let mut sent = Vec::new();
        effects.output.drain(|conn, buffer| {
            let Some(client) = self.clients[shard][conn.0 as usize] else { return };
            let wire = &mut self.wires[client];
            let before = wire.to_client.len();
            buffer.chunks().for_each(|chunk| wire.to_client.extend_from_slice(chunk));
            let bytes = wire.to_client.len() - before;
            if wire.is_slow { wire.unsent += bytes } else { sent.push((conn, bytes)) }
        });
        for (conn, to) in effects.moves.drain(..) {
            self.relocate(shard, conn, to.index());
        }
        for conn in effects.close.drain(..).collect::<Vec<_>>() {
            if let Some(client) = self.clients[shard][conn.0 as usize].take() {
                self.wires[client].is_closed = true;
            }
            self.cores[shard].handle(self.now, Input::Closed { conn }, &mut effects);
        }
        for (id, check) in effects.checks.drain(..).collect::<Vec<_>>() {
            self.cores[shard].handle(
                self.now,
                Input::Verdict { check: id, verdict: check.run().verdict() },
                &mut effects,
            );
        }
        for conn in effects.resumed.drain(..).collect::<Vec<_>>() {
            if let Some(client) = self.clients[shard][conn.0 as usize] {
                self.wires[client].held = false;
                self.effects[shard] = effects;
                self.feed(client);
                effects = std::mem::take(&mut self.effects[shard]);
            }
        }
        for (conn, bytes) in sent {
            self.cores[shard].handle(self.now, Input::Sent { conn, bytes }, &mut effects);
        }
        if self.commits {
            let records = self.committed[shard];
            self.cores[shard].handle(self.now, Input::Committed { number: records }, &mut effects);
        }
        self.effects[shard] = effects;
        worked
    }

    fn relocate(&mut self, from: usize, conn: ConnId, to: usize) {
        let Some(client) = self.clients[from][conn.0 as usize].take() else { return };
        let conn = self.free_conn(to, client);
        let wire = &mut self.wires[client];
        (wire.shard, wire.conn) = (to, conn);
        self.come_in(to, conn);
        self.feed(client);
    }
}
