//! The connections of a shard, by the small dense numbers that the core knows them by. A number is given to another
//! connection only after a release, which is when no output for the old one can be left.

use std::collections::HashMap;

use slab::Slab;

use super::doors::Place;
use crate::access::Seat;
use crate::base::ConnId;
use crate::net::Connection;

#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Slab<Option<Connection>>,
    /// Without a connection, and not given away yet.
    emptied: Vec<ConnId>,
    /// Of those that have taken something that is bounded.
    places: HashMap<ConnId, Place>,
}

const _: () = assert!(size_of::<Option<Connection>>() == size_of::<Connection>());

impl Connections {
    pub(super) fn insert(&mut self, connection: Connection) -> ConnId {
        if self.slots.len() == self.slots.capacity() {
            // Not twice as much as is needed: a large shard has many tables like this.
            self.slots.reserve_exact((self.slots.len() / 8).max(64));
        }
        ConnId(self.slots.insert(Some(connection)) as u32)
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.slots.get(conn.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(conn.0 as usize)?.as_mut()
    }

    /// What it takes of what is bounded is given back when it is.
    pub(super) fn set_place(&mut self, conn: ConnId, place: Place) {
        if place.is_counted() {
            self.places.insert(conn, place);
        }
    }

    /// A connection that goes on elsewhere, with its place.
    pub(super) fn take_away(&mut self, conn: ConnId) -> Option<(Connection, Place)> {
        let place = self.places.remove(&conn).unwrap_or_default();
        Some((self.take(conn)?, place))
    }

    pub(super) fn is_seated(&self, conn: ConnId) -> bool {
        self.places.get(&conn).is_some_and(Place::is_seated)
    }

    pub(super) fn take_seat(&mut self, conn: ConnId, seat: Option<Seat>) {
        if seat.is_some() {
            self.places.entry(conn).or_default().take_seat(seat);
        }
    }

    /// One that ends; its place is free.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<Connection> {
        self.places.remove(&conn);
        let connection = self.slots.get_mut(conn.0 as usize)?.take();
        if connection.is_some() {
            self.emptied.push(conn);
        }
        connection
    }

    /// All output so far was written: numbers that are free can be given away.
    pub(super) fn release(&mut self) {
        for conn in self.emptied.drain(..) {
            self.slots.remove(conn.0 as usize);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.emptied.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    fn connection() -> Connection {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address: SocketAddr = socket.local_addr().expect("an address");
        Connection::new(socket.into(), address.into())
    }

    #[test]
    fn a_number_is_given_away_after_a_release_and_not_before() {
        let mut connections = Connections::default();
        let first = connections.insert(connection());
        assert!(connections.take(first).is_some());
        assert!(connections.take(first).is_none() && connections.get(first).is_none() && connections.is_empty());
        let second = connections.insert(connection());
        assert_ne!(second, first);
        connections.release();
        assert_eq!(connections.insert(connection()), first);
        assert_eq!(connections.len(), 2);
    }
}
