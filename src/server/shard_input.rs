//! What comes to a shard: connections, their bytes, and parcels of other shards.

use zeroize::Zeroize as _;

use super::doors::Place;
use super::parcel::Parcel;
use super::shard::{CONNECTION_TOKEN, READ_BYTES_MAX, Shard};
use crate::access::Entrance;
use crate::base::{ConnId, Millis, Refusal, Timestamp};
use crate::broker::Input;
use crate::net::{Accepted, Connection, Received, Unread};

/// Connections accepted in one turn and from one listener; the others are not to wait for a flood of them.
pub(super) const ACCEPTS_PER_TURN: usize = 128;

/// How long accepting rests when there is no descriptor for another connection.
const ACCEPT_PAUSE: Millis = Millis(100);

/// How long accepting rests when connections come as fast as they may; who waits for that waits no longer than for a
/// busy turn.
const PACE_PAUSE: Millis = Millis(10);

/// How long accepting rests while there is too much to do, and how many are accepted between: they are told that the
/// server is busy, and more would have it busy with that.
const OVERLOAD_PAUSE: Millis = Millis(50);
const ACCEPTS_WHILE_OVERLOADED: usize = 16;

/// How often the log says that somebody could not come in.
const NO_ROOM_PAUSE: Millis = Millis::from_secs(10);

/// What all connections together may say in a turn, near enough: then other shards are listened to again. Each has its
/// part of it, so that one of many does not wait for all others' full buffers.
const TURN_BYTES_MAX: usize = 1024 * 1024;

/// The least that is read at once: smaller parts would be all system calls.
const PORTION_BYTES_MIN: usize = 4 * 1024;

/// The core is given input in pieces of this size, so that what comes of one piece can be sent before the next one
/// makes more.
const PIECE_BYTES: usize = 4 * 1024;

/// Unread input up to this size is put in front of what is read next; more is read into a buffer of its own.
const UNREAD_COPY_BYTES_MAX: usize = 16 * 1024;

/// What became of a connection's input.
struct Fed {
    used: usize,
    /// So many more are needed before the rest is worth another look; zero: it only waits.
    need: usize,
    /// Credentials were among it: it has to be wiped.
    had_secret: bool,
}

impl Shard {
    pub(super) fn accept_more(&mut self, now: Timestamp) {
        if self.stage.is_starting() || self.accept_again.is_some_and(|at| now < at) {
            return;
        }
        self.accept_again = None;
        for index in 0..self.listeners.len() {
            if self.listeners[index].has_more {
                self.accept(now, index);
            }
        }
        if self.overload.is_over() {
            self.accept_again = Some(now + OVERLOAD_PAUSE);
        }
    }

    const fn accepts_per_turn(&self) -> usize {
        if self.overload.is_over() { ACCEPTS_WHILE_OVERLOADED } else { ACCEPTS_PER_TURN }
    }

    fn accept(&mut self, now: Timestamp, index: usize) {
        for _ in 0..self.accepts_per_turn() {
            let listening = &self.listeners[index];
            if self.doors.is_waiting(now, listening.id) {
                self.accept_again = Some(now + PACE_PAUSE);
                return;
            }
            match listening.listener.accept() {
                Accepted::Connection(socket, peer) => {
                    self.traffic.sockets_opened += 1;
                    let connection = Connection::accepted(socket, peer, listening.id, &listening.transport);
                    // Where a header tells it, it is looked at when it has come.
                    let address = peer.address().filter(|_| !listening.transport.expects_proxy_header);
                    match self.doors.enter(now, listening.id, address.map(|address| address.ip())) {
                        Ok(place) => _ = self.open(now, connection, place),
                        Err(refusal) => self.turn_away(now, refusal),
                    }
                }
                Accepted::Nothing => {
                    self.listeners[index].has_more = false;
                    return;
                }
                Accepted::Exhausted(error) => {
                    // Whoever wants to come in waits in the kernel; it is asked now and then, not without end.
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    return self.tell_no_room(now, &error.to_string());
                }
            }
        }
    }

    fn turn_away(&mut self, now: Timestamp, refusal: Refusal) {
        self.counters.refuse(refusal);
        if refusal == Refusal::TooManyConnections {
            self.tell_no_room(now, "connections_max is reached");
        }
    }

    fn tell_no_room(&mut self, now: Timestamp, why: &str) {
        if self.told_no_room.is_none_or(|at| now - at >= NO_ROOM_PAUSE) {
            self.told_no_room = Some(now);
            let shard = self.port.shard().index();
            tracing::warn!(why, shard, "cannot let clients in: raise connections_max, LimitNOFILE= or `ulimit -n`");
        }
    }

    /// A connection is this shard's from here on.
    fn open(&mut self, now: Timestamp, mut connection: Connection, place: Place) -> Option<ConnId> {
        connection.has_entered = false;
        let conn = self.connections.insert(connection);
        let watched = self
            .connections
            .get(conn)
            .map(|connection| self.poller.add(connection, CONNECTION_TOKEN | u64::from(conn.0)));
        if let Some(Err(error)) = watched {
            tracing::error!(%error, "a connection cannot be watched: see fs.epoll.max_user_watches");
            self.connections.take(conn);
            self.doors.leave(1);
            return None;
        }
        self.connections.set_place(conn, place);
        self.core.handle(now, Input::Opened { conn }, &mut self.effects);
        self.enter(now, conn);
        Some(conn)
    }

    /// Tells the core where a client comes in, as soon as its connection's layers know. False: it may not come in.
    fn enter(&mut self, now: Timestamp, conn: ConnId) -> bool {
        let Some(connection) = self.connections.get_mut(conn).filter(|connection| !connection.has_entered) else {
            return true;
        };
        let Some(entrance) = connection.entrance() else { return true };
        connection.has_entered = true;
        if let Err(refusal) = self.seat_proxied(now, conn, &entrance) {
            self.counters.refuse(refusal);
            self.lost.push(conn);
            return false;
        }
        self.core.handle(now, Input::Entered { conn, entrance }, &mut self.effects);
        true
    }

    /// Whose address came in a header, takes his seat when it came; once, also where he is to move home.
    fn seat_proxied(&mut self, now: Timestamp, conn: ConnId, entrance: &Entrance) -> Result<(), Refusal> {
        let listening = self.listeners.iter().find(|listening| listening.id == entrance.listener);
        let is_proxied = listening.is_some_and(|listening| listening.transport.expects_proxy_header);
        let Some(address) = entrance.address.filter(|_| is_proxied && !self.connections.is_seated(conn)) else {
            return Ok(());
        };
        let seat = self.doors.seat(now, address)?;
        self.connections.take_seat(conn, seat);
        Ok(())
    }

    /// Reads those that wait for it, each once.
    pub(super) fn serve_ready(&mut self, now: Timestamp) {
        let portion = TURN_BYTES_MAX / self.ready.len().max(1);
        self.portion_bytes = portion.clamp(PORTION_BYTES_MIN, READ_BYTES_MAX);
        let enough = self.traffic.bytes_received + TURN_BYTES_MAX as u64;
        for _ in 0..self.ready.len() {
            if self.traffic.bytes_received >= enough {
                return;
            }
            let Some(conn) = self.ready.pop_front() else { return };
            self.served += 1;
            self.serve(now, conn);
        }
    }

    fn serve(&mut self, now: Timestamp, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.is_queued = false;
        if connection.is_held || connection.is_stalled || self.stage.is_draining() {
            return;
        }
        match connection.take_unread() {
            None => self.read(now, conn, 0),
            Some(unread) if unread.need == 0 => {
                // It only waited: it is looked at again, and then the socket.
                self.feed_own(now, conn, unread.into_bytes());
                self.queue(conn);
            }
            Some(unread) if unread.bytes.len() + unread.need <= UNREAD_COPY_BYTES_MAX => {
                // `unread` wipes itself where it must.
                self.scratch[..unread.bytes.len()].copy_from_slice(&unread.bytes);
                self.read(now, conn, unread.bytes.len());
            }
            Some(unread) => self.read_more(now, conn, unread),
        }
    }

    /// Reads into the scratch buffer, behind what is in it already.
    fn read(&mut self, now: Timestamp, conn: ConnId, before: usize) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        let received = connection.read(&mut scratch[before..], self.portion_bytes, &mut self.work);
        let bytes = match received {
            Received::Bytes { bytes, .. } => bytes,
            Received::Nothing | Received::End => 0,
        };
        self.traffic.bytes_received += bytes as u64;
        let all = &mut scratch[..before + bytes];
        let may_speak = connection.has_entered || self.enter(now, conn);
        if bytes > 0 && may_speak {
            let fed = self.feed(now, conn, all);
            let had_secret = fed.had_secret;
            self.keep(conn, fed, |used| all[used..].to_vec());
            if had_secret {
                all.zeroize();
                self.work.wipe();
            }
        } else if before > 0 {
            let unread = Unread { bytes: all.to_vec(), need: 1 };
            if unread.may_hold_secret() {
                all.zeroize();
            }
            self.keep_unread(conn, unread);
        }
        self.scratch = scratch;
        self.after_read(conn, received);
    }

    /// Reads what is long into the connection's own buffer, and looks at it when it is there.
    fn read_more(&mut self, now: Timestamp, conn: ConnId, mut unread: Box<Unread>) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let before = unread.bytes.len();
        let received = connection.read_more(&mut unread, &mut self.scratch, &mut self.work);
        self.traffic.bytes_received += (unread.bytes.len() - before) as u64;
        if unread.need > 0 {
            connection.keep_unread(unread);
        } else {
            self.feed_own(now, conn, unread.into_bytes());
        }
        self.after_read(conn, received);
    }

    fn feed_own(&mut self, now: Timestamp, conn: ConnId, mut bytes: Vec<u8>) {
        let fed = self.feed(now, conn, &bytes);
        let had_secret = fed.had_secret;
        self.keep(conn, fed, |used| {
            if had_secret {
                let rest = bytes[used..].to_vec();
                bytes.zeroize();
                return rest;
            }
            bytes.drain(..used);
            // A long packet's buffer is not for the short rest.
            bytes.shrink_to(2 * bytes.len());
            bytes
        });
    }

    fn after_read(&mut self, conn: ConnId, received: Received) {
        match received {
            Received::Bytes { is_all: false, .. } => self.queue(conn),
            Received::Bytes { .. } | Received::Nothing => {}
            Received::End => {
                self.tell_fault(conn);
                self.lost.push(conn);
            }
        }
    }

    /// Says why a connection's layers have ended it, where they have.
    fn tell_fault(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if let Some(fault) = connection.take_fault() {
            let (address, shard) = (connection.peer(), self.port.shard().index());
            self.counters.refuse(Refusal::Transport);
            tracing::info!(%address, listener = connection.listener().0, why = %fault, shard, "transport failed");
        }
    }

    /// Keeps what the core did not use.
    fn keep(&mut self, conn: ConnId, fed: Fed, rest: impl FnOnce(usize) -> Vec<u8>) {
        self.keep_unread(conn, Unread { bytes: rest(fed.used), need: fed.need });
    }

    fn keep_unread(&mut self, conn: ConnId, unread: Unread) {
        if let Some(connection) = self.connections.get_mut(conn)
            && !unread.bytes.is_empty()
        {
            connection.keep_unread(Box::new(unread));
        }
    }

    /// Gives the core a connection's input, piece by piece.
    fn feed(&mut self, now: Timestamp, conn: ConnId, bytes: &[u8]) -> Fed {
        let (mut used, mut end, mut had_secret) = (0, PIECE_BYTES.min(bytes.len()), false);
        loop {
            let input = Input::Bytes { conn, bytes: &bytes[used..end] };
            let consumed = self.core.handle(now, input, &mut self.effects);
            used += consumed.bytes;
            had_secret |= consumed.had_secret;
            if self.effects.moves.last().is_some_and(|(moved, _)| *moved == conn) {
                // The core here knows it no more; it may take a while until the mesh has room for it.
                self.rest(conn, true, false);
                return Fed { used, need: 0, had_secret };
            }
            let fills_mesh = self.send_mesh() && self.is_mesh_full();
            let is_stalled = fills_mesh || !self.effects.records.is_empty() && self.is_store_behind();
            if consumed.held || is_stalled {
                self.rest(conn, consumed.held, is_stalled);
                return Fed { used, need: 0, had_secret };
            }
            if end == bytes.len() {
                return Fed { used, need: consumed.need, had_secret };
            }
            if self.has_much_to_write() {
                self.apply(now);
            }
            end = (used + PIECE_BYTES).max(end + consumed.need).min(bytes.len());
        }
    }

    /// A connection is not read until what it waits for is there.
    fn rest(&mut self, conn: ConnId, is_held: bool, is_stalled: bool) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.is_held = is_held;
        if is_stalled {
            connection.is_stalled = true;
            self.stalled.push(conn);
        }
    }

    /// Takes what other shards sent before this moment.
    pub(super) fn take_parcels(&mut self, now: Timestamp) {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.port.receive(|from, parcel| inbox.push((from, parcel)));
        for (from, parcel) in inbox.drain(..) {
            match parcel {
                Parcel::Core(message) => {
                    self.core.handle(now, Input::Mesh { from, message }, &mut self.effects);
                    if self.has_much_to_write() {
                        self.apply(now);
                    }
                }
                Parcel::Connection(moved) => self.take_connection(now, *moved),
                Parcel::Restored => self.stage.hear_restored(from),
                Parcel::Quiet => self.stage.hear_quiet(from),
                Parcel::StatsAsked { round } => self.answer_stats(from, round),
                Parcel::Stats { round, stats } => self.add_stats(now, round, &stats),
            }
        }
        self.inbox = inbox;
        if self.core.wants_mesh_drained() {
            self.core.handle(now, Input::MeshDrained, &mut self.effects);
        }
    }

    /// A connection comes home.
    fn take_connection(&mut self, now: Timestamp, (connection, place): (Connection, Place)) {
        if self.stage.is_draining() {
            return self.doors.leave(1);
        }
        if let Some(conn) = self.open(now, connection, place) {
            self.arrivals.push(conn);
        }
    }

    /// Connections that came home are read behind everything that the poller has told since: a client that leaves and
    /// comes back must not be taken for one that comes back without having left.
    pub(super) fn queue_arrivals(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        arrivals.drain(..).for_each(|conn| self.queue(conn));
        self.arrivals = arrivals;
    }
}
