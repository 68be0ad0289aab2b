//! A connection as the core knows it: the phase it is in, what its client can take, and what is owed to its socket.

use zeroize::Zeroizing;

use super::effects::Effects;
use super::gate::Gate;
use super::output::OutputBuffer;
use super::throttle::Throttle;
use super::timers::TimerId;
use crate::access::{Denial, Entrance, Exchange};
use crate::base::{ConnId, Timestamp};
use crate::mqtt::Version;
use crate::session::{InboundAliases, KeepAlive, OutboundAliases, Phase};

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) last_received: Timestamp,
    /// Of this connection, as are those outbound. [MQTT-3.3.2-7]
    pub(super) inbound_aliases: InboundAliases,
    pub(super) outbound_aliases: OutboundAliases,
    /// Until it is let in; where it can authenticate again, as long as it is there.
    pub(super) entrance: Option<Box<Entrance>>,
    /// While somebody is being let in, or re-authenticates.
    pub(super) authentication: Option<Box<Authentication>>,
    pub(super) session: Option<u32>,
    pub(super) timer: Option<TimerId>,
    /// While its output is full and none of it leaves.
    pub(super) reader_timer: Option<TimerId>,
    /// Where it may publish only so much.
    pub(super) throttle: Option<Box<Throttle>>,
    /// Output that waits for the store.
    pub(super) gate: Option<Box<Gate>>,
    /// Bytes handed out that have not left yet, those behind the gate among them.
    pub(super) unsent: u32,
    /// What the client can take. [MQTT-3.1.2-24]
    pub(super) packet_bytes_max: u32,
    /// QoS 1 and 2 publishes under way to the client: its Receive Maximum or ours, whichever is less.
    pub(super) window: u16,
    pub(super) alias_max: u16,
    pub(super) keep_alive: KeepAlive,
    pub(super) version: Version,
    pub(super) phase: Phase,
    /// Input waits for a verdict.
    pub(super) held: bool,
    /// Input waits for output to leave.
    pub(super) is_choked: bool,
    /// The guard was told that it is there.
    pub(super) has_entered: bool,
    /// A refused publish or subscription was told of; the next ones are only counted.
    pub(super) told_refusal: bool,
}

impl Connection {
    pub(super) fn new(now: Timestamp, timer: TimerId) -> Self {
        Self {
            last_received: now,
            inbound_aliases: InboundAliases::default(),
            outbound_aliases: OutboundAliases::default(),
            entrance: None,
            authentication: None,
            session: None,
            timer: Some(timer),
            reader_timer: None,
            throttle: None,
            gate: None,
            unsent: 0,
            packet_bytes_max: u32::MAX,
            window: 0,
            alias_max: 0,
            keep_alive: KeepAlive::default(),
            version: Version::V3_1_1,
            phase: Phase::AwaitConnect,
            held: false,
            is_choked: false,
            has_entered: false,
            told_refusal: false,
        }
    }

    /// Where its output goes.
    #[inline]
    pub(super) fn output<'a>(&'a mut self, conn: ConnId, fx: &'a mut Effects) -> &'a mut OutputBuffer {
        match &mut self.gate {
            Some(gate) => gate.output(),
            None => fx.output.buffer(conn),
        }
    }

    /// The end of the time for a re-authentication; `NEVER` without one.
    pub(super) fn authenticate_by(&self) -> Timestamp {
        match &self.authentication {
            Some(authentication) if self.phase == Phase::Reauthenticating => authentication.ends_at,
            _ => Timestamp::NEVER,
        }
    }
}

/// An authentication under way.
#[derive(Debug)]
pub(super) struct Authentication {
    /// The CONNECT that began it, without its password, to be acted on when it succeeds; empty in a re-authentication.
    pub(super) connect: Zeroizing<Vec<u8>>,
    pub(super) method: Box<str>,
    /// None where the guard's verdict is awaited.
    pub(super) exchange: Option<Box<dyn Exchange>>,
    pub(super) rounds: u32,
    /// Of the verdict that is awaited; counted from one.
    pub(super) check: u64,
    /// Of a re-authentication. Before CONNACK the time of the connection itself runs.
    pub(super) ends_at: Timestamp,
}

/// A refusal that waits.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) client_id: Box<str>,
    pub(super) user_name: Option<Box<str>>,
    pub(super) denial: Denial,
}

/// The connections of a shard, by the driver's identifiers, which are dense.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    len: usize,
}

impl Connections {
    pub(super) fn insert(&mut self, id: ConnId, connection: Connection) {
        let index = id.0 as usize;
        if index >= self.slots.len() {
            if index >= self.slots.capacity() {
                let missing = index + 1 - self.slots.len();
                self.slots.reserve_exact(missing.max(self.slots.len() / 8));
            }
            self.slots.resize_with(index + 1, || None);
        }
        let before = self.slots[index].replace(connection);
        debug_assert!(before.is_none(), "the driver opened {id:?} twice");
        self.len += 1;
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let connection = self.slots.get_mut(id.0 as usize)?.take()?;
        self.len -= 1;
        Some(connection)
    }

    #[inline]
    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn ids(&self) -> Vec<ConnId> {
        let ids = self.slots.iter().enumerate();
        ids.filter(|(_, slot)| slot.is_some()).map(|(index, _)| ConnId(index as u32)).collect()
    }
}

impl std::ops::Index<ConnId> for Connections {
    type Output = Connection;

    fn index(&self, id: ConnId) -> &Connection {
        self.get(id).expect("a session's connection is there until it is detached")
    }
}

impl std::ops::IndexMut<ConnId> for Connections {
    fn index_mut(&mut self, id: ConnId) -> &mut Connection {
        self.get_mut(id).expect("a session's connection is there until it is detached")
    }
}
