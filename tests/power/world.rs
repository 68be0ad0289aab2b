//! The world: clients, the wires to the broker, and what can happen next. One seed decides everything.

use thrum::base::{ConnId, Millis, ShardId, Timestamp};
use thrum::broker::{Consumed, Effects, Input};
use thrum::mqtt::{Delivery, Packet, Progress, Sender, Version, decode, frame};
use thrum::storage::{Lane, ShardImage};

use crate::broker::{Broker, LANES};
use crate::client::Client;
use crate::disk::told;
use crate::judge::Sent;
use crate::packets::{Down, PublishDown, Up, down_of, msg_of, put_up, topic_index};
use crate::profile::Profile;
use crate::rng::Rng;
use crate::store::Disk;

pub const START: u64 = 1_700_000_000_000;

#[derive(Debug)]
pub struct Wire {
    /// None: its client has left it.
    client: Option<usize>,
    version: Version,
    shard: usize,
    /// None: on the move between shards, or over.
    conn: Option<ConnId>,
    /// Sent, under way; arrived, not consumed.
    pub up: Vec<u8>,
    inbox: Vec<u8>,
    /// Sent by the broker, not read.
    down: Vec<u8>,
    is_held: bool,
    /// The broker wants it closed.
    is_closing: bool,
}

/// What the driver has still to do.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    Open(usize),
    Closed(usize),
}

#[derive(Debug)]
pub struct World {
    pub profile: Profile,
    pub rng: Rng,
    /// The time of day, and how many things have happened.
    pub now: u64,
    pub step: u64,
    pub disk: Disk,
    pub broker: Broker,
    pub wires: Vec<Wire>,
    pub jobs: Vec<Job>,
    pub clients: Vec<Client>,
    pub sent: Vec<Sent>,
    pub is_failing: bool,
    pub trace: Option<Vec<String>>,
    pub hash: u64,
    pub fault: Option<String>,
}

impl World {
    pub fn new(seed: u64, is_traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let profile = Profile::draw(&mut rng);
        let clients = (0..profile.clients).map(|index| Client::draw(index, &profile, &mut rng)).collect();
        let mut world = Self {
            disk: Disk::new(seed),
            broker: Broker::default(),
            profile,
            rng,
            now: START,
            step: 0,
            wires: Vec::new(),
            jobs: Vec::new(),
            clients,
            sent: Vec::new(),
            is_failing: true,
            trace: is_traced.then(Vec::new),
            hash: seed,
            fault: None,
        };
        let about = format!("{:?}\n{:?}", world.profile, world.clients);
        world.note(|| about);
        world
    }

    /// The whole run.
    pub fn play(&mut self) {
        self.start();
        let mut crashes: Vec<usize> = (0..self.profile.crashes).map(|_| self.rng.below(self.profile.steps)).collect();
        crashes.sort_unstable();
        for at in 0..self.profile.steps {
            while crashes.first() == Some(&at) {
                crashes.remove(0);
                self.crash();
                self.start();
            }
            if self.fault.is_some() {
                return;
            }
            self.act();
        }
        self.end();
        if self.fault.is_none() && self.rng.percent(30) {
            self.crash();
            self.start();
            self.end();
        }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:6} {:>8} {}", self.step, self.now - START, line()));
        }
    }

    pub fn fail(&mut self, fault: String) {
        self.note(|| format!("FAULT {fault}"));
        self.fault.get_or_insert(fault);
    }

    fn mix(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What can happen next.
impl World {
    fn act(&mut self) {
        if !self.broker.is_up() {
            return self.act_in_start();
        }
        let Profile { disk, mesh, settle, .. } = self.profile;
        let roll = self.rng.below(60 + disk + mesh + settle);
        match roll {
            0..20 => self.client_acts(),
            20..35 => self.some_up(),
            35..48 => self.some_down(),
            48..53 => self.pass(),
            53..56 => self.some_job(),
            56..60 => self.some_news(),
            _ if roll < 60 + disk => self.some_operation(),
            _ if roll < 60 + disk + mesh => self.some_mesh(),
            _ => self.some_store(),
        }
    }

    fn act_in_start(&mut self) {
        match self.rng.below(10) {
            0..3 => self.some_operation(),
            3 => self.some_news(),
            4..6 => self.some_mesh(),
            6 => self.some_store(),
            _ => self.restore_one(),
        }
    }

    fn some_shard(&mut self) -> usize {
        self.rng.below(self.broker.shards.len())
    }

    /// Time goes on, at times by much.
    fn pass(&mut self) {
        self.now += match self.rng.below(20) {
            0 => self.rng.between(500, 3_000) as u64,
            _ => self.rng.between(1, 20) as u64,
        };
        self.tick();
    }

    pub fn tick(&mut self) {
        for shard in 0..self.broker.shards.len() {
            let core = &self.broker.shards[shard].core;
            if core.is_due() || core.next_timeout(Timestamp(self.now)) == Some(Millis(0)) {
                self.handle(shard, Input::Tick);
            }
        }
    }

    fn some_operation(&mut self) {
        let (shard, lane) = (self.some_shard(), self.rng.below(2));
        self.operate(shard, lane);
    }

    /// A lane begins an operation, or is done with one. True: it did something.
    pub fn operate(&mut self, shard: usize, lane: usize) -> bool {
        let now = self.broker.instant(self.now);
        let at = &mut self.broker.shards[shard];
        match at.running[lane].take() {
            None => {
                at.running[lane] = at.log.next(now, LANES[lane]);
                let begun = at.running[lane].as_ref().map(told);
                if let Some(begun) = &begun {
                    self.note(|| format!("shard {shard} begins the {begun}"));
                }
                begun.is_some()
            }
            Some(operation) => {
                let fails = self.is_failing && self.rng.percent(self.profile.failing);
                let result = self.disk.folders[shard].run(&operation, &mut self.rng, fails);
                self.note(|| format!("shard {shard}: {} {result:?}", told(&operation)));
                drop(operation);
                let at = &mut self.broker.shards[shard];
                at.log.done(now, LANES[lane], result);
                let ended = at.log.full_segments();
                self.broker.to_settle.extend(ended.into_iter().map(|ended| (shard, ended)));
                if LANES[lane] == Lane::Commit && self.rng.percent(70) {
                    self.news(shard);
                }
                true
            }
        }
    }

    fn some_news(&mut self) {
        let shard = self.some_shard();
        self.news(shard);
    }

    /// A core hears what its log has to say.
    pub fn news(&mut self, shard: usize) -> bool {
        let at = &mut self.broker.shards[shard];
        let (is_writable, committed) = (at.log.failure().is_none(), at.log.committed());
        let has_changed = std::mem::replace(&mut at.is_writable, is_writable) != is_writable;
        let is_more = std::mem::replace(&mut at.committed, committed) != committed;
        if has_changed {
            self.note(|| format!("shard {shard} is writable: {is_writable}"));
            for msg in self.clients.iter().flat_map(Client::unanswered) {
                self.sent[msg].is_late = true;
            }
            self.handle(shard, Input::Store { is_writable });
        }
        if is_more {
            self.note(|| format!("shard {shard} has committed {committed}"));
            self.handle(shard, Input::Committed { number: committed });
        }
        has_changed || is_more
    }

    fn some_mesh(&mut self) {
        let shard = self.some_shard();
        let whole = self.rng.percent(30);
        self.mesh(shard, whole);
    }

    /// A shard takes what others have sent: something of one ring, or all there is.
    pub fn mesh(&mut self, shard: usize, whole: bool) -> bool {
        let shards = self.broker.shards.len();
        let from = self.rng.below(shards);
        let mut did = false;
        for from in (0..shards).map(|at| (at + from) % shards) {
            let length = self.broker.rings[from][shard].len();
            let count = if whole { length } else { self.rng.below(length + 1) };
            for _ in 0..count {
                let Some(message) = self.broker.rings[from][shard].pop_front() else { break };
                self.note(|| format!("shard {shard} takes {message:?} of {from}"));
                self.handle(shard, Input::Mesh { from: ShardId::new(from), message });
                did = true;
            }
        }
        if whole && self.broker.shards[shard].core.wants_mesh_drained() {
            self.handle(shard, Input::MeshDrained);
            did = true;
        }
        did
    }

    /// The store's threads do something, or a shard hears of it.
    fn some_store(&mut self) {
        match self.rng.below(3) {
            0 => _ = self.settle(),
            1 => _ = self.settled(),
            _ => _ = self.fetch(),
        }
    }

    pub fn settle(&mut self) -> bool {
        let count = self.broker.to_settle.len().min(self.rng.between(1, 8));
        if count == 0 {
            return false;
        }
        let segments: Vec<_> = self.broker.to_settle.drain(..count).collect();
        self.note(|| format!("settles {segments:?}"));
        if let Err(fault) = self.disk.settle(&self.broker, &segments) {
            self.fail(fault);
        }
        self.broker.settled.extend(segments);
        true
    }

    pub fn settled(&mut self) -> bool {
        let Some((shard, ended)) = self.broker.settled.pop_front() else { return false };
        self.note(|| format!("shard {shard} hears of {ended:?} settled"));
        self.broker.shards[shard].log.settled(ended.sequence);
        self.handle(shard, Input::Settled { number: ended.last_number });
        true
    }

    pub fn fetch(&mut self) -> bool {
        let Some((shard, fetch)) = self.broker.fetches.pop_front() else { return false };
        match self.broker.fetch(&fetch) {
            Ok(messages) => {
                self.note(|| format!("shard {shard}: {fetch:?} gives {} messages", messages.len()));
                self.handle(shard, Input::Fetched { session: fetch.session, last: fetch.last, messages });
            }
            Err(fault) => self.fail(fault),
        }
        true
    }

    pub fn restore_one(&mut self) {
        let shard = self.some_shard();
        let ShardImage { sessions, retained } = &mut self.broker.images[shard];
        if let Some(session) = sessions.pop() {
            self.note(|| format!("shard {shard} restores {session:?}"));
            let now = Timestamp(self.now);
            let at = &mut self.broker.shards[shard];
            at.core.restore(now, session, &mut at.fx);
            self.apply(shard);
        } else if let Some(message) = retained.pop() {
            self.note(|| format!("shard {shard} restores the retained {message:?}"));
            self.broker.shards[shard].core.restore_retained(&message);
        } else if self.broker.is_restored() {
            self.let_in();
        }
    }

    /// All is restored and the rings are drained: clients may come, and time goes on.
    fn let_in(&mut self) {
        let shards = self.broker.shards.len();
        while (0..shards).filter(|&shard| self.mesh(shard, true)).count() > 0 {}
        self.note(|| "the broker is up".to_owned());
        self.broker.open();
        self.tick();
    }
}

/// The shards.
impl World {
    fn handle(&mut self, shard: usize, input: Input<'_>) -> Consumed {
        self.step += 1;
        let at = &mut self.broker.shards[shard];
        let consumed = at.core.handle(Timestamp(self.now), input, &mut at.fx);
        self.apply(shard);
        consumed
    }

    /// Carries out what a shard wants.
    fn apply(&mut self, shard: usize) {
        let now = self.broker.instant(self.now);
        let mut fx = std::mem::take(&mut self.broker.shards[shard].fx);
        if self.trace.is_some() {
            let (records, number) = (&fx.records, self.broker.shards[shard].log.recorded() + 1);
            let lines: Vec<String> =
                (number..).zip(records).map(|(number, record)| format!("{number} {record:?}")).collect();
            lines.into_iter().for_each(|line| self.note(|| format!("shard {shard} records {line}")));
        }
        self.broker.shards[shard].log.record(now, &mut fx.records);
        for (to, message) in fx.mesh.drain() {
            self.note(|| format!("shard {shard} -> {}: {message:?}", to.index()));
            self.broker.rings[shard][to.index()].push_back(message);
        }
        self.broker.fetches.extend(fx.fetches.drain(..).map(|fetch| (shard, fetch)));
        let said = self.put_down(shard, &mut fx);
        for (conn, to) in fx.moves.drain(..) {
            let Some(wire) = self.broker.shards[shard].conns[conn.0 as usize].take() else { continue };
            (self.wires[wire].conn, self.wires[wire].shard) = (None, to.index());
            self.jobs.push(Job::Open(wire));
        }
        for conn in fx.close.drain(..) {
            if let Some(wire) = self.broker.shards[shard].conns[conn.0 as usize] {
                self.note(|| format!("the broker closes wire {wire}"));
                self.wires[wire].is_closing = true;
                self.jobs.push(Job::Closed(wire));
            }
        }
        for conn in fx.resumed.drain(..) {
            if let Some(wire) = self.broker.shards[shard].conns[conn.0 as usize] {
                self.wires[wire].is_held = false;
            }
        }
        fx.events.clear();
        self.broker.shards[shard].fx = fx;
        for (conn, bytes) in said {
            self.handle(shard, Input::Sent { conn, bytes });
        }
    }

    fn put_down(&mut self, shard: usize, fx: &mut Effects) -> Vec<(ConnId, usize)> {
        let (mut out, mut said) = (Vec::new(), Vec::new());
        fx.output.drain(|conn, buffer| out.push((conn, buffer.chunks().collect::<Vec<_>>().concat())));
        for (conn, bytes) in out {
            self.mix(&bytes);
            said.push((conn, bytes.len()));
            match self.broker.shards[shard].conns.get(conn.0 as usize).copied().flatten() {
                Some(wire) => self.wires[wire].down.extend_from_slice(&bytes),
                None => self.fail(format!("output for {conn:?} of shard {shard}, which is over")),
            }
        }
        said
    }
}

/// The wires.
impl World {
    fn open_wire(&mut self, client: usize) -> usize {
        let (wire, shard) = (self.wires.len(), self.some_shard());
        self.wires.push(Wire {
            client: Some(client),
            version: self.clients[client].version,
            shard,
            conn: None,
            up: Vec::new(),
            inbox: Vec::new(),
            down: Vec::new(),
            is_held: false,
            is_closing: false,
        });
        self.attach(wire);
        wire
    }

    fn attach(&mut self, wire: usize) {
        let shard = self.wires[wire].shard;
        let conn = self.broker.shards[shard].give_conn(wire);
        self.wires[wire].conn = Some(conn);
        self.handle(shard, Input::Opened { conn });
    }

    pub fn send(&mut self, client: usize, up: &Up) {
        let Some(wire) = self.clients[client].wire else { return };
        let written = match up {
            Up::Publish { msg, .. } => Some(&self.sent[*msg].written),
            _ => None,
        };
        let mut bytes = Vec::new();
        put_up(up, self.wires[wire].version, written, &mut bytes);
        self.wires[wire].up.extend_from_slice(&bytes);
        self.note(|| format!("{client} on wire {wire}: {up:?} {}", written_of(up)));
    }

    fn some_wire(&mut self, is_wanted: impl Fn(&Wire) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.wires.len()).filter(|&wire| is_wanted(&self.wires[wire])).collect();
        (!found.is_empty()).then(|| self.rng.pick(&found))
    }

    fn some_up(&mut self) {
        let Some(wire) = self.some_wire(|wire| wire.can_be_fed()) else { return };
        let all = self.wires[wire].up.len();
        let count = if self.rng.percent(20) { self.rng.below(all + 1) } else { all };
        self.feed(wire, count);
    }

    /// Some bytes reach the broker, which looks at all that have.
    pub fn feed(&mut self, wire: usize, count: usize) -> bool {
        let at = &mut self.wires[wire];
        at.inbox.extend(at.up.drain(..count));
        let Some(conn) = at.conn else { return false };
        let (shard, inbox) = (at.shard, std::mem::take(&mut at.inbox));
        let Consumed { bytes, held, .. } = self.handle(shard, Input::Bytes { conn, bytes: &inbox });
        let at = &mut self.wires[wire];
        at.is_held = held;
        at.inbox = inbox;
        at.inbox.drain(..bytes);
        bytes > 0
    }

    fn some_down(&mut self) {
        let Some(wire) = self.some_wire(|wire| wire.client.is_some() && (wire.is_closing || !wire.down.is_empty()))
        else {
            return;
        };
        let packets = self.rng.between(1, 6);
        self.read(wire, packets);
    }

    /// The client reads so many packets at most, or that the broker has hung up.
    pub fn read(&mut self, wire: usize, packets: usize) -> bool {
        for at in 0..packets {
            let Some(client) = self.wires[wire].client else { return at > 0 };
            let down = std::mem::take(&mut self.wires[wire].down);
            let version = self.wires[wire].version;
            let (packet, bytes) = match frame(&down, u32::MAX) {
                Ok(Progress::Packet(frame)) => {
                    (decode(&frame, version, Sender::Server).map_err(|error| format!("{error:?}")), frame.bytes)
                }
                _ if !self.wires[wire].is_closing => return at > 0,
                _ => {
                    self.clients[client].lost();
                    self.wires[wire].client = None;
                    return true;
                }
            };
            let read = packet.and_then(|packet| read_down(&packet));
            let result = read.and_then(|down| {
                self.note(|| format!("client {client} reads {down:?}"));
                self.clients[client].receive(self.step, &down, &mut self.sent)
            });
            self.wires[wire].down = down;
            self.wires[wire].down.drain(..bytes);
            match result {
                Ok(ups) => ups.iter().for_each(|up| self.send(client, up)),
                Err(fault) => self.fail(format!("client {client}: {fault}")),
            }
        }
        packets > 0
    }

    fn some_job(&mut self) {
        if !self.jobs.is_empty() {
            let at = self.rng.below(self.jobs.len());
            let job = self.jobs.swap_remove(at);
            self.run(job);
        }
    }

    pub fn run(&mut self, job: Job) {
        match job {
            Job::Open(wire) => {
                self.attach(wire);
                self.feed(wire, 0);
            }
            Job::Closed(wire) => {
                let is_moving = self.jobs.iter().any(|job| matches!(job, Job::Open(other) if *other == wire));
                let Some(conn) = self.wires[wire].conn.take() else {
                    if is_moving {
                        self.jobs.push(job);
                    }
                    return;
                };
                let shard = self.wires[wire].shard;
                self.handle(shard, Input::Closed { conn });
                self.broker.shards[shard].conns[conn.0 as usize] = None;
            }
        }
    }

    /// The client's end is gone; of what it sent some bytes may have arrived.
    pub fn hang_up(&mut self, client: usize) {
        let Some(wire) = self.clients[client].wire else { return };
        self.note(|| format!("client {client} leaves wire {wire}"));
        self.clients[client].lost();
        let at = &mut self.wires[wire];
        at.client = None;
        if at.can_be_fed() {
            let count = self.rng.below(at.up.len() + 1);
            self.feed(wire, count);
        }
        self.wires[wire].up.clear();
        self.jobs.push(Job::Closed(wire));
    }
}

/// The clients.
impl World {
    fn client_acts(&mut self) {
        let client = self.rng.below(self.clients.len());
        let Self { clients, profile, rng, sent, step, .. } = self;
        let at = &mut clients[client];
        if at.wire.is_none() {
            return self.connect(client, true);
        }
        if !at.is_connected {
            return;
        }
        if at.has_answers() && rng.percent(60) {
            let answers = rng.between(1, 4);
            return (0..answers).for_each(|_| _ = self.answer(client));
        }
        let up = match rng.below(100) {
            0..60 => at.publish(*step, profile, rng, sent),
            60..80 => at.subscribe(rng),
            80..86 if rng.percent(profile.unsubscribe) => at.unsubscribe(*step, rng),
            86..96 if rng.percent(profile.cut) => {
                self.hang_up(client);
                if self.rng.percent(50) {
                    self.connect(client, true);
                }
                return;
            }
            96..98 if rng.percent(profile.cut) => {
                self.send(client, &Up::Disconnect { with_will: false, expiry: None });
                return self.hang_up(client);
            }
            _ => None,
        };
        if let Some(up) = up {
            self.send(client, &up);
        }
    }

    pub fn answer(&mut self, client: usize) -> bool {
        let Some(up) = self.clients[client].answer() else { return false };
        self.send(client, &up);
        true
    }

    pub fn connect(&mut self, client: usize, may_vary: bool) {
        let Self { clients, profile, rng, sent, step, .. } = self;
        let up = clients[client].connect(*step, profile, rng, sent, may_vary);
        let wire = self.open_wire(client);
        self.clients[client].wire = Some(wire);
        self.send(client, &up);
    }
}

impl Wire {
    pub fn can_be_fed(&self) -> bool {
        let has_some = !self.up.is_empty() || !self.inbox.is_empty();
        has_some && self.conn.is_some() && !self.is_held && !self.is_closing
    }
}

fn written_of(up: &Up) -> &'static str {
    if matches!(up, Up::Publish { dup: true, .. }) { "again" } else { "" }
}

fn read_down(packet: &Packet<'_>) -> Result<Down, String> {
    let Packet::Publish(publish) = packet else { return down_of(packet) };
    let topic = publish.topic.ok_or("no topic")?;
    let topic = topic_index(topic.as_str()).ok_or(format!("topic {topic:?}"))?;
    let msg = msg_of(publish.payload);
    if msg.is_none() && !publish.payload.is_empty() {
        return Err(format!("payload {:?}", publish.payload));
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
        expiry: None,
        ids: Vec::new(),
        v5: true,
    })))
}
