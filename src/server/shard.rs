//! One shard: its sockets, its core and its place in the mesh, and the loop that turns them. A turn does a bounded part
//! of everything that is to be done, and sends what came of it: one write a connection, one wake-up a shard.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use super::checks::Checks;
use super::clock::Clock;
use super::command::Command;
use super::config::Config;
use super::connections::Connections;
use super::doors::Doors;
use super::gather::Gather;
use super::listening::Listening;
use super::memory::GiveBack;
use super::overload::{Change, Overload};
use super::parcel::Parcel;
use super::report::Report;
use super::shard_store::ShardStore;
use super::stage::Stage;
use crate::base::limits::TIMER_TICK;
use crate::base::{ConnId, Counters, Millis, ShardId, Timestamp};
use crate::broker::{Effects, Input, ShardCore};
use crate::mesh::Port;
use crate::net::{Lingering, Poller, Readiness, Workspace};
use crate::storage::ShardImage;

/// What one read takes at most, and so what a connection may say in a turn, however few there are.
pub(super) const READ_BYTES_MAX: usize = 64 * 1024;

/// How long timers may be put off for input that came in time and was not looked at yet, as after a pause.
const TICK_DELAY_MAX: Millis = Millis(1_000);

/// What the poller calls things.
pub(super) const TOKEN_KIND: u64 = 0xF << 32;
pub(super) const CONNECTION_TOKEN: u64 = 0;
pub(super) const LISTENER_TOKEN: u64 = 1 << 32;
pub(super) const ALARM_TOKEN: u64 = 2 << 32;
pub(super) const LINGERING_TOKEN: u64 = 3 << 32;

/// What a shard begins with, made on the thread that starts it.
pub(super) struct ShardParts {
    pub(super) config: Arc<Config>,
    pub(super) listeners: Vec<Listening>,
    pub(super) port: Port<Parcel>,
    pub(super) doors: Arc<Doors>,
    pub(super) commands: Receiver<Command>,
    pub(super) checks: Checks,
    pub(super) clock: Clock,
    /// What was stored, to be taken over; none where there is no store.
    pub(super) image: Option<ShardImage>,
    /// Hears when the shard serves.
    pub(super) started: Sender<io::Result<()>>,
}

/// What came and went through this shard's sockets.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Traffic {
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) sockets_opened: u64,
}

pub(super) struct Shard {
    pub(super) config: Arc<Config>,
    pub(super) core: ShardCore,
    pub(super) effects: Effects,
    pub(super) poller: Poller,
    pub(super) port: Port<Parcel>,
    pub(super) listeners: Vec<Listening>,
    /// After there was no descriptor for a connection: when to try again.
    pub(super) accept_again: Option<Timestamp>,
    /// When the log said last that somebody could not come in.
    pub(super) told_no_room: Option<Timestamp>,
    pub(super) connections: Connections,
    pub(super) overload: Overload,
    /// Connections whose turn it was to be read, since the start.
    pub(super) served: u64,
    pub(super) lingering: Lingering,
    /// To be read, in this order.
    pub(super) ready: VecDeque<ConnId>,
    /// Came from other shards in this turn; read in the next one.
    pub(super) arrivals: Vec<ConnId>,
    /// To be read when the mesh has room again, or the store keeps up.
    pub(super) stalled: Vec<ConnId>,
    /// Their sockets are gone.
    pub(super) lost: Vec<ConnId>,
    /// What left of each connection's output in this batch.
    pub(super) sent: Vec<(ConnId, usize)>,
    pub(super) inbox: Vec<(ShardId, Parcel)>,
    pub(super) scratch: Box<[u8]>,
    /// Where the connections' layers work.
    pub(super) work: Workspace,
    /// What one connection may say in this turn.
    pub(super) portion_bytes: usize,
    pub(super) doors: Arc<Doors>,
    pub(super) commands: Receiver<Command>,
    pub(super) checks: Checks,
    pub(super) traffic: Traffic,
    /// What was refused before the core had a part in it.
    pub(super) counters: Counters,
    /// The first shard's.
    pub(super) report: Option<Report>,
    pub(super) stage: Stage,
    /// Nobody has to be told any more once this is gone.
    pub(super) started: Option<Sender<io::Result<()>>>,
    pub(super) image: Option<ShardImage>,
    pub(super) store: Option<ShardStore>,
    /// What the core had sent when its output was written last.
    pub(super) written_packets: u64,
    pub(super) written_payload_bytes: u64,
    pub(super) gather: Gather,
    pub(super) give_back: GiveBack,
    pub(super) clock: Clock,
    last_tick: u64,
    /// Since when a tick is due that is put off.
    tick_due: Option<Timestamp>,
}

impl Shard {
    pub(super) fn new(parts: ShardParts, core: ShardCore, store: Option<ShardStore>) -> io::Result<Self> {
        let ShardParts { config, listeners, port, doors, commands, checks, clock, image, started } = parts;
        let (me, shards, poller) = (port.shard(), port.shards(), Poller::new()?);
        poller.add_source(port.alarm(), ALARM_TOKEN)?;
        for Listening { listener, id, .. } in &listeners {
            poller.add_listener(listener, LISTENER_TOKEN | u64::from(id.0))?;
        }
        Ok(Self {
            config,
            core,
            effects: Effects::new(),
            poller,
            port,
            listeners,
            accept_again: None,
            told_no_room: None,
            connections: Connections::default(),
            overload: Overload::new(clock.now()),
            served: 0,
            lingering: Lingering::default(),
            ready: VecDeque::new(),
            arrivals: Vec::new(),
            stalled: Vec::new(),
            lost: Vec::new(),
            sent: Vec::new(),
            inbox: Vec::new(),
            scratch: vec![0; READ_BYTES_MAX].into(),
            work: Workspace::default(),
            portion_bytes: READ_BYTES_MAX,
            doors,
            commands,
            checks,
            traffic: Traffic::default(),
            counters: Counters::default(),
            report: (me.index() == 0).then(|| Report::new(clock.now())),
            stage: if image.is_some() { Stage::restoring(me, shards) } else { Stage::serving(me, shards) },
            started: Some(started),
            image,
            store,
            written_packets: 0,
            written_payload_bytes: 0,
            gather: Gather::new(Instant::now()),
            give_back: GiveBack::new(clock.now()),
            clock,
            last_tick: 0,
            tick_due: None,
        })
    }

    pub(super) fn run(mut self) {
        if !self.stage.is_starting() {
            self.tell_started();
        }
        let mut is_busy = true;
        while !self.is_finished(self.clock.now()) {
            self.wait(is_busy);
            let now = self.clock.now();
            self.look_at_load(now, is_busy);
            is_busy = self.turn(now);
        }
        if let Some(store) = &mut self.store {
            store.close();
        }
    }

    /// Does a bounded part of what there is to do. True: there is more, and it needs no waiting.
    pub(super) fn turn(&mut self, now: Timestamp) -> bool {
        self.take_commands(now);
        for index in 0..self.poller.len() {
            let readiness = self.poller.event(index);
            self.take_readiness(now, readiness);
        }
        self.queue_arrivals();
        self.take_parcels(now);
        self.restore_some(now);
        self.accept_more(now);
        self.serve_ready(now);
        self.tick(now);
        self.give_back.do_if_due(now, self.core.entries_len());
        self.ask_for_stats(now);
        self.take_steps(now);
        self.turn_journal(now);
        self.apply(now);
        self.is_busy()
    }

    /// Whether who waits to be read does so for too long.
    fn look_at_load(&mut self, now: Timestamp, was_busy: bool) {
        let max = Millis(self.config.limits.overload_ms.into());
        let Some(change) = self.overload.look(now, was_busy, self.served, self.ready.len(), max) else { return };
        let (shard, delay_ms) = (self.port.shard().index(), self.overload.average().0);
        let is_overloaded = change == Change::Begins;
        if is_overloaded {
            tracing::warn!(shard, delay_ms, "too much to do: nobody new is let in until input waits less");
        } else {
            tracing::info!(shard, delay_ms, "no longer too much to do: clients are let in again");
        }
        self.core.handle(now, Input::Load { is_overloaded }, &mut self.effects);
    }

    fn is_busy(&self) -> bool {
        let has_effects = !self.port.is_blocked() && !self.effects.is_empty();
        let accepts = self.may_accept() && self.listeners.iter().any(|listening| listening.has_more);
        let has_input = !self.ready.is_empty() || !self.arrivals.is_empty();
        let has_more = self.poller.is_partial() || self.core.wants_mesh_drained() || self.may_unstall();
        has_effects || accepts || has_input || has_more || self.may_restore()
    }

    fn may_accept(&self) -> bool {
        self.accept_again.is_none() && !self.stage.is_starting()
    }

    /// Whether those who wait for the mesh, or for the store, can be read again.
    pub(super) fn may_unstall(&self) -> bool {
        !self.stalled.is_empty() && !self.is_mesh_full() && !self.is_store_behind()
    }

    /// Whether who adds to what the mesh carries has to wait.
    pub(super) fn is_mesh_full(&self) -> bool {
        self.port.is_blocked() || self.port.is_congested()
    }

    fn take_readiness(&mut self, now: Timestamp, readiness: Readiness) {
        let number = readiness.token as u32;
        match readiness.token & TOKEN_KIND {
            CONNECTION_TOKEN => self.take_connection_readiness(now, ConnId(number), readiness),
            LISTENER_TOKEN => {
                if let Some(listening) = self.listeners.iter_mut().find(|listening| u32::from(listening.id.0) == number)
                {
                    listening.has_more = true;
                }
            }
            LINGERING_TOKEN => {
                let closed = self.lingering.on_ready(number, &mut self.scratch);
                self.doors.leave(closed.into());
            }
            // An alarm has done all it is for.
            _ => {}
        }
    }

    fn take_connection_readiness(&mut self, now: Timestamp, conn: ConnId, readiness: Readiness) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.hung_up |= readiness.hung_up;
        if readiness.writable && connection.has_unsent() {
            match connection.send_unsent() {
                Ok(bytes) => self.count_sent(now, conn, bytes),
                Err(_) => self.lost.push(conn),
            }
        }
        if readiness.readable {
            self.queue(conn);
        }
    }

    /// What left is told the core, which may have more to send.
    pub(super) fn count_sent(&mut self, now: Timestamp, conn: ConnId, bytes: usize) {
        if bytes > 0 {
            self.traffic.bytes_sent += bytes as u64;
            self.core.handle(now, Input::Sent { conn, bytes }, &mut self.effects);
        }
    }

    /// Puts a connection behind those that wait to be read.
    pub(super) fn queue(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if !std::mem::replace(&mut connection.is_queued, true) {
            self.ready.push_back(conn);
        }
    }

    /// Time passes in ticks of the core's timers; but nobody's time runs out while what he sent may lie unread, nor
    /// before all shards are there to hear what comes of it.
    fn tick(&mut self, now: Timestamp) {
        let tick = now.0 / TIMER_TICK.0;
        if self.stage.is_starting() || tick == self.last_tick && !self.core.is_due() {
            return;
        }
        let is_behind = self.poller.is_partial() || !self.ready.is_empty() || !self.arrivals.is_empty();
        let due = *self.tick_due.get_or_insert(now);
        if is_behind && now - due < TICK_DELAY_MAX {
            return;
        }
        (self.last_tick, self.tick_due) = (tick, None);
        self.core.handle(now, Input::Tick, &mut self.effects);
        let expired = self.lingering.expire(now);
        self.doors.leave(expired);
    }

    /// True: there were some.
    pub(super) fn take_commands(&mut self, now: Timestamp) -> bool {
        let mut took_any = false;
        while let Ok(command) = self.commands.try_recv() {
            took_any = true;
            match command {
                Command::Configure(new) => self.reconfigure(now, *new),
                Command::Listen(added) => self.listen(added),
                Command::Verdict { check, verdict } => {
                    self.core.handle(now, Input::Verdict { check, verdict }, &mut self.effects);
                }
                Command::Stored(told) => self.hear_store(now, told),
                Command::CommitNow => self.store.iter_mut().for_each(|store| store.journal.commit_now()),
                Command::Rotate(done) => self.store.iter_mut().for_each(|store| store.rotate(done.clone())),
                Command::Drain => self.begin_drain(now + Millis::from_secs(self.config.drain_secs)),
            }
        }
        took_any
    }
}
