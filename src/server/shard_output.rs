//! What comes of a shard's inputs: bytes to clients, messages to other shards, connections that move or end, checks to
//! be run, lines of the log.

use super::log::log_event;
use super::parcel::Parcel;
use super::shard::{LINGERING_TOKEN, Shard};
use crate::base::{ConnId, Timestamp};
use crate::broker::Input;
use crate::net::Connection;

/// Output beyond this is written before more is made, near enough: it is to leave the caches as bytes on their way.
const OUTPUT_BYTES: u64 = 512 * 1024;

/// What a packet has besides its payload, roughly.
const PACKET_BYTES: u64 = 32;

impl Shard {
    /// Whether what waits to be written is better written now.
    pub(super) fn has_much_to_write(&self) -> bool {
        let counters = self.core.counters();
        let packets = counters.packets_sent - self.written_packets;
        let payload_bytes = counters.publish_bytes_sent - self.written_payload_bytes;
        packets * PACKET_BYTES + payload_bytes > OUTPUT_BYTES
    }

    /// Hands what the core told other shards to the mesh. True: there was something.
    pub(super) fn send_mesh(&mut self) -> bool {
        let had_some = !self.effects.mesh.is_empty();
        for (to, message) in self.effects.mesh.drain() {
            self.port.send(to, Parcel::Core(message));
        }
        had_some
    }

    /// Does what the core asked for; nothing of it while the mesh has no room.
    pub(super) fn apply(&mut self, now: Timestamp) {
        if !self.send_and_write() {
            return;
        }
        if !self.port.is_congested() && !self.is_store_behind() {
            self.unstall();
        }
        self.connections.release();
        self.log_events();
        self.move_connections();
        for conn in std::mem::take(&mut self.effects.close) {
            self.close(now, conn);
        }
        self.drop_lost(now);
        for (check, question) in std::mem::take(&mut self.effects.checks) {
            self.checks.ask(check, question);
        }
        for conn in std::mem::take(&mut self.effects.resumed) {
            self.resume(conn);
        }
        self.tell_sent(now);
    }

    /// Many wills at once may be more than a client's output has room for.
    fn write_if_much(&mut self, now: Timestamp) {
        if self.has_much_to_write() && self.send_and_write() {
            self.tell_sent(now);
        }
    }

    /// What the core says to other shards goes first: nobody may learn of a message before it is where others will look
    /// for it. False: the mesh has no room, and so no output has left.
    fn send_and_write(&mut self) -> bool {
        self.send_mesh();
        self.port.flush();
        let has_room = !self.port.is_blocked();
        if has_room {
            self.write_output();
        }
        has_room
    }

    fn unstall(&mut self) {
        for conn in std::mem::take(&mut self.stalled) {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.is_stalled = false;
                self.queue(conn);
            }
        }
    }

    fn write_output(&mut self) {
        let counters = self.core.counters();
        (self.written_packets, self.written_payload_bytes) = (counters.packets_sent, counters.publish_bytes_sent);
        let Self { effects, connections, sent, lost, work, .. } = self;
        effects.output.drain(|conn, buffer| {
            let Some(connection) = connections.get_mut(conn) else { return };
            match connection.write(buffer, work) {
                Ok(bytes) => sent.push((conn, bytes)),
                Err(_) => lost.push(conn),
            }
        });
    }

    /// Last in a batch: the core may have more for who has room again, which is the next batch's.
    fn tell_sent(&mut self, now: Timestamp) {
        let mut sent = std::mem::take(&mut self.sent);
        for (conn, bytes) in sent.drain(..) {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.was_written = false;
                self.count_sent(now, conn, bytes);
            }
        }
        self.sent = sent;
    }

    fn log_events(&mut self) {
        for event in self.effects.events.drain(..) {
            let conn = event.connection();
            let peer = conn.and_then(|conn| self.connections.get(conn)).map(Connection::peer);
            log_event(&event, peer, self.port.shard());
        }
    }

    fn move_connections(&mut self) {
        if self.effects.moves.is_empty() {
            return;
        }
        for (conn, to) in self.effects.moves.drain(..) {
            let Some((mut connection, place)) = self.connections.take_away(conn) else { continue };
            // Fails only where it is not watched any more, which is what is wanted.
            let _ = self.poller.remove(&connection);
            (connection.is_queued, connection.is_held) = (false, false);
            self.port.send(to, Parcel::Connection(Box::new((connection, place))));
        }
        self.port.flush();
    }

    /// Ends a connection when its last words have left.
    fn close(&mut self, now: Timestamp, conn: ConnId) {
        let Some(connection) = self.connections.take(conn) else { return };
        self.core.handle(now, Input::Closed { conn }, &mut self.effects);
        // At a drain clients of 3.x are told nothing new, and may not have taken yet what they were told before.
        let has_last_words = connection.has_last_words() || self.stage.is_draining() && connection.was_ever_written;
        self.let_go(now, connection, has_last_words);
    }

    fn let_go(&mut self, now: Timestamp, connection: Connection, has_last_words: bool) {
        let token = |number| LINGERING_TOKEN | u64::from(number);
        if !has_last_words || !self.lingering.add(now, connection, &self.poller, token, &mut self.work) {
            self.doors.leave(1);
        }
    }

    /// Sockets that are gone.
    fn drop_lost(&mut self, now: Timestamp) {
        let lost = std::mem::take(&mut self.lost);
        for &conn in &lost {
            self.core.handle(now, Input::Closed { conn }, &mut self.effects);
            self.write_if_much(now);
        }
        // As long as their addresses are known.
        self.log_events();
        for conn in lost {
            if let Some(connection) = self.connections.take(conn) {
                // Of a client that is still there, layers take their leave.
                let has_last_words = connection.has_layers() && !connection.hung_up;
                self.let_go(now, connection, has_last_words);
            }
        }
    }

    fn resume(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.is_held = false;
            self.queue(conn);
        }
    }
}
