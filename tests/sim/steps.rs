//! What happens next: one step of the simulation, chosen by chance.

use thrum::base::{Millis, ShardId, Timestamp};
use thrum::broker::Input;
use thrum::mqtt::Version;

use crate::hostile;
use crate::packets::Up;
use crate::world::{Cause, Job, World};

/// A packet more than the bound may have been begun, and answers to what the client sends go out in any case.
const UNSENT_SLACK: u32 = 4_000;

impl World {
    pub fn step(&mut self) {
        match self.rng.below(100) {
            0..16 => self.client_acts(),
            16..44 => self.step_up(),
            44..66 => self.step_down(),
            66..84 => {
                let shard = self.rng.below(self.shards.len());
                self.step_shard(shard, false);
            }
            84..88 => self.step_sent(),
            88..92 => self.step_commit(false),
            92..95 => self.step_time(),
            _ => self.step_job(),
        }
    }

    fn some_wire(&mut self, wanted: impl Fn(&crate::world::Wire) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.wires.len()).filter(|&wire| wanted(&self.wires[wire])).collect();
        (!found.is_empty()).then(|| self.rng.pick(&found))
    }

    fn step_up(&mut self) {
        let busy = |wire: &crate::world::Wire| {
            let open = wire.conn.is_some() && !wire.held && !wire.closing;
            open && (!wire.up.is_empty() || !wire.inbox.is_empty())
        };
        let Some(wire) = self.some_wire(busy) else { return };
        let all = self.wires[wire].up.len();
        let count = if self.rng.percent(self.profile.chunked) { self.rng.below(all + 1) } else { all };
        self.deliver_up(wire, count);
    }

    fn step_down(&mut self) {
        let slow = self.rng.percent(10);
        let busy = |wire: &crate::world::Wire| {
            !wire.cut && (slow || !wire.slow) && (wire.closing || wire.down_read < wire.down_sent)
        };
        let Some(wire) = self.some_wire(busy) else { return };
        let all = (self.wires[wire].down_sent - self.wires[wire].down_read) as usize;
        let count = if self.rng.percent(self.profile.chunked) { self.rng.below(all + 1) } else { all };
        self.deliver_down(wire, count);
        let at = &self.wires[wire];
        if at.closing && (at.down_read == at.down_sent || self.rng.percent(30)) {
            self.hang_up(wire);
        }
    }

    /// The client's end is gone. What it has sent may still arrive.
    pub fn hang_up(&mut self, wire: usize) {
        self.note(|| format!("wire {wire} hung up"));
        self.wires[wire].cut = true;
        self.jobs.push(Job::Closed(wire));
        if let Some(client) = self.wires[wire].client
            && self.clients[client].wire == Some(wire)
        {
            self.clients[client].lost();
        }
    }

    /// Both directions lose what is under way, from any byte on.
    fn cut(&mut self, wire: usize) {
        let at = self.wires[wire].up.len();
        let kept = self.rng.below(at + 1);
        self.note(|| format!("wire {wire} is cut, {kept} of {at} bytes get through"));
        self.wires[wire].up.truncate(kept);
        self.hang_up(wire);
    }

    /// One turn of a shard. `whole`: everything that waits. A draining of the mesh may take several turns, while the
    /// other shards go on.
    pub fn step_shard(&mut self, shard: usize, whole: bool) {
        let mut order: Vec<usize> = (0..self.shards.len()).filter(|&from| from != shard).collect();
        self.rng.shuffle(&mut order);
        if self.shards[shard].pass.is_none() {
            self.shards[shard].pass = Some(self.model.pushed.iter().map(|pushed| pushed[shard]).collect());
        }
        for &from in &order {
            let length = self.rings[from][shard].len();
            let lazy = !whole && self.rng.percent(self.profile.lazy_mesh);
            let slow = !whole && self.profile.slow_rings >> (from * 4 + shard) & 1 == 1 && !self.rng.percent(8);
            let count = if slow {
                0
            } else if lazy {
                self.rng.below(length + 1)
            } else {
                length
            };
            for _ in 0..count {
                let Some(message) = self.rings[from][shard].pop_front() else { break };
                self.note(|| format!("shard {shard} takes {message:?} of {from}"));
                let step = self.model.step + 1;
                self.model.popped[from][shard].push(step);
                self.call(shard, Input::Mesh { from: ShardId::new(from), message }, Cause::Other);
            }
            if !whole && self.rng.percent(self.profile.lazy_mesh) {
                break;
            }
        }
        let popped = |from: usize| self.model.popped[from][shard].len();
        let is_drained =
            self.shards[shard].pass.as_ref().is_some_and(|pass| order.iter().all(|&from| popped(from) >= pass[from]));
        if is_drained {
            self.shards[shard].pass = None;
        }
        if is_drained && self.shards[shard].core.wants_mesh_drained() {
            self.note(|| format!("shard {shard} has drained the mesh"));
            self.call(shard, Input::MeshDrained, Cause::Other);
        }
    }

    fn step_sent(&mut self) {
        let Some(wire) = self.some_wire(|wire| wire.unsaid > 0 && wire.conn.is_some()) else { return };
        let all = self.wires[wire].unsaid;
        let bytes = self.rng.between(1, all);
        self.say_sent(wire, bytes);
    }

    pub fn say_sent(&mut self, wire: usize, bytes: usize) {
        let at = &mut self.wires[wire];
        at.unsaid -= bytes;
        if let Some(conn) = at.conn {
            let shard = at.shard;
            self.call(shard, Input::Sent { conn, bytes }, Cause::Other);
        }
    }

    pub fn step_commit(&mut self, whole: bool) {
        let shard = self.rng.below(self.shards.len());
        self.commit(shard, whole);
    }

    pub fn commit(&mut self, shard: usize, whole: bool) {
        let groups = self.shards[shard].groups.len();
        if groups == 0 {
            return;
        }
        let more = if whole { groups } else { self.rng.between(1, groups) };
        let at = &mut self.shards[shard];
        let records = at.groups.drain(..more).next_back().unwrap_or(at.committed);
        at.committed = records;
        self.note(|| format!("shard {shard} has committed {records}"));
        self.call(shard, Input::Committed { number: records }, Cause::Other);
    }

    fn step_time(&mut self) {
        let span = if self.rng.percent(self.profile.long_time) {
            self.rng.between(500, 8_000)
        } else {
            self.rng.between(1, 150)
        };
        self.advance(span as u64);
    }

    pub fn advance(&mut self, span: u64) {
        let now = Timestamp(self.model.now);
        let quiet: Vec<bool> =
            self.shards.iter().map(|at| at.core.next_timeout(now).is_none_or(|due| due > Millis(span))).collect();
        self.model.now += span;
        self.note(|| format!("{span} ms pass"));
        for (shard, quiet) in quiet.into_iter().enumerate() {
            let before = self.hash;
            self.call(shard, Input::Tick, Cause::Tick);
            if quiet && self.hash_of_tick(before) != self.hash {
                self.model.fail(format!("shard {shard} did something at a tick before next_timeout"));
            }
        }
    }

    /// What the hash is after a tick at which nothing happened.
    fn hash_of_tick(&mut self, before: u64) -> u64 {
        let now = std::mem::replace(&mut self.hash, before);
        self.mix(0);
        std::mem::replace(&mut self.hash, now)
    }

    fn step_job(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.rng.below(self.jobs.len());
        let job = self.jobs.remove(job);
        self.run(job);
    }

    pub fn run(&mut self, job: Job) {
        match job {
            Job::Open(wire) => self.attach(wire),
            // It comes whoever has the connection's identifier by then.
            Job::Verdict(wire, check, verdict) => {
                let shard = self.wires[wire].shard;
                self.note(|| format!("wire {wire} gets its verdict"));
                self.call(shard, Input::Verdict { check, verdict }, Cause::Other);
            }
            Job::Closed(wire) => {
                let moving = self.jobs.iter().any(|job| matches!(job, Job::Open(other) if *other == wire));
                let at = &self.wires[wire];
                let unread = at.cut && !at.closing && !at.held && !at.up.is_empty();
                let Some(conn) = at.conn.filter(|_| !unread) else {
                    if moving || unread {
                        self.jobs.push(Job::Closed(wire));
                    }
                    return;
                };
                let shard = at.shard;
                self.note(|| format!("wire {wire}: closed"));
                self.call(shard, Input::Closed { conn }, Cause::Closed(wire));
                self.shards[shard].conns[conn.0 as usize] = None;
                let at = &mut self.wires[wire];
                (at.conn, at.closing) = (None, true);
            }
        }
    }

    fn client_acts(&mut self) {
        if self.rng.percent(self.profile.hostile) {
            return hostile::act(self);
        }
        let client = self.rng.below(self.clients.len());
        let Some(wire) = self.clients[client].wire else {
            let clean = self.rng.percent(self.profile.clean);
            return self.connect(client, clean);
        };
        if !self.clients[client].connected {
            if self.rng.percent(self.profile.cut / 4) {
                self.cut(wire);
            }
            return;
        }
        self.flush_acks(client, false);
        let Self { clients, profile, rng, model, .. } = self;
        let at = &mut clients[client];
        let up = match rng.below(100) {
            0..50 => at.publish(profile, rng, model),
            50..66 => Some(at.subscribe(profile, rng)),
            66..76 if rng.percent(profile.unsubscribe) => at.unsubscribe(rng),
            76..82 if rng.percent(profile.disconnect) => Some(at.disconnect(rng)),
            82..88 if rng.percent(profile.cut) => return self.cut(wire),
            88..92 if rng.percent(profile.takeover) => {
                let clean = rng.percent(profile.clean);
                at.lost();
                self.note(|| format!("client {client} leaves wire {wire} up"));
                return self.connect(client, clean);
            }
            92..98 => Some(Up::Ping),
            _ => {
                self.wires[wire].slow ^= rng.percent(profile.slow);
                None
            }
        };
        let Some(up) = up else { return };
        let ends = matches!(up, Up::Disconnect { .. });
        self.send(wire, up);
        if ends {
            self.hang_up(wire);
        }
    }

    /// Sends acknowledgements that wait, in order.
    pub fn flush_acks(&mut self, client: usize, whole: bool) {
        let Some(wire) = self.clients[client].wire else { return };
        if !self.clients[client].has_late_acks() {
            return;
        }
        let count = if !whole && self.rng.percent(self.profile.late_acks) { self.rng.below(3) } else { usize::MAX };
        for up in self.clients[client].take_acks(count) {
            self.send(wire, up);
        }
    }

    pub fn connect(&mut self, client: usize, clean: bool) {
        if self.profile.mixed {
            self.clients[client].change_version(&mut self.rng);
        }
        let version = self.clients[client].version;
        let Self { clients, profile, rng, model, .. } = self;
        let will = clients[client].draw_will(profile, rng, model);
        let expiry_secs = clients[client].expiry_secs;
        let wire = self.open(Some(client), version);
        self.clients[client].wire = Some(wire);
        let up = self.clients[client].connect(clean, expiry_secs, will);
        self.send(wire, up);
    }

    /// Runs without faults until nothing is left to do. Time stands still.
    pub fn settle(&mut self) {
        for _ in 0..20_000 {
            let before = (self.model.step, self.jobs.len());
            for shard in 0..self.shards.len() {
                self.step_shard(shard, true);
                self.commit(shard, true);
            }
            for job in std::mem::take(&mut self.jobs) {
                self.run(job);
            }
            for wire in 0..self.wires.len() {
                self.settle_wire(wire);
            }
            for client in 0..self.clients.len() {
                self.flush_acks(client, true);
            }
            if before == (self.model.step, self.jobs.len()) || self.model.violation.is_some() {
                return;
            }
        }
        self.model.fail("it does not come to rest".into());
    }

    fn settle_wire(&mut self, wire: usize) {
        let at = &self.wires[wire];
        if at.conn.is_some() && !at.held && !at.closing {
            // Bytes of a packet that will never be whole wait for ever.
            let up = at.up.len();
            if up > 0 || thrum::mqtt::frame(&at.inbox, u32::MAX).is_ok_and(is_whole) {
                self.deliver_up(wire, up);
            }
        }
        let at = &self.wires[wire];
        if !at.cut {
            let all = (at.down_sent - at.down_read) as usize;
            if all > 0 {
                self.model.step += 1;
                self.deliver_down(wire, all);
            }
            if self.wires[wire].closing {
                self.hang_up(wire);
            }
        }
        let at = &self.wires[wire];
        if at.unsaid > 0 && at.conn.is_some() {
            let bytes = at.unsaid;
            self.say_sent(wire, bytes);
        }
    }

    /// Nothing is over its bound, and what is counted as it comes and goes is what is there.
    pub fn check_bounds(&mut self) {
        let options = &self.profile.options;
        for (shard, at) in self.shards.iter().enumerate() {
            let fullest = at.core.fullest();
            let over = fullest.queue_messages > options.queue.messages_max as usize
                || fullest.queue_bytes > options.queue.bytes_max
                || fullest.in_flight > usize::from(options.inflight_max)
                || fullest.unsent_bytes > options.output_bytes_max + UNSENT_SLACK;
            if over {
                let what = format!("shard {shard} is over its bounds: {fullest:?}");
                self.model.violation.get_or_insert(what);
            }
            let (stats, anew) = (at.core.stats(), at.core.stats_counted_anew());
            if stats != anew {
                let what = format!("shard {shard} counted {stats:?}, but there are {anew:?}");
                self.model.violation.get_or_insert(what);
            }
        }
    }

    pub fn version_of_hostile(&mut self) -> Version {
        self.rng.pick(&[Version::V3_1_1, Version::V5])
    }
}

fn is_whole(progress: thrum::mqtt::Progress<'_>) -> bool {
    matches!(progress, thrum::mqtt::Progress::Packet(_))
}
