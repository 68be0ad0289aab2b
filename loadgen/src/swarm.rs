//! The clients of a run: their connections, opened at a pace and kept alive, read and written. What their messages mean
//! is the handler's business. One thread, one poller, as the broker has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use thrum::broker::OutputBuffer;
use thrum::mqtt::{Publish, QoS};
use thrum::net::{Connection, Poller, Readiness, Received, Unread};
use thrum::server::{HostLimits, raise_descriptor_limit};

use crate::access::Access;
use crate::client::{Client, Failure, Happening, Identity, Phase, PublishHead, Taken};
use crate::outcome::histogram;
use crate::transport::Transport;

/// What one read takes at most: little enough to stay in the cache until it is looked at.
const READ_BYTES_MAX: usize = 128 * 1024;

/// Of a packet that is not whole, what is moved to the front of the next read; more is read to where it stands.
const MOVED_BYTES_MAX: usize = 16 * 1024;

/// Reads of one client in one turn: a broker that sends without end must not keep the others from theirs.
const READS_PER_TURN: usize = 8;

/// Connections that are opened at once to one address: as many as a listener's queue holds everywhere.
const OPENING_MAX: usize = 100;

/// Descriptors that are not connections', where they cannot be counted.
const DESCRIPTORS_OF_OTHERS: u64 = 64;

/// An output buffer over that is given back when it has been sent.
const KEPT_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Of one address, when most of its ports are taken, the kernel looks for a free one for longer than everything else
/// takes (19,000 connections from one address: 280 us each; from five: 40 us). So to a broker on this machine the next
/// address is used where so many are open.
const OPEN_PER_SOURCE: usize = 4_000;

/// A client that has been silent for three quarters of its keep alive sends a ping; all are looked at once in an eighth
/// of it, so that it does so in time.
const PING_AFTER: f64 = 0.75;
const PING_ROUND: f64 = 0.125;

/// How long a broker may leave those connected that have sent DISCONNECT: it need not close a connection at all.
const CLOSING_MAX: Duration = Duration::from_secs(1);

/// Is told what happens to the clients, which it knows by number.
pub trait Handler {
    /// Connected, and subscribed to all it was to.
    fn on_ready(&mut self, client: u32);
    /// `now` is when its bytes were read.
    fn on_message(&mut self, client: u32, publish: &Publish<'_>, now: u64);
    /// A publish of QoS 1 or 2 has come to its end.
    fn on_acknowledged(&mut self, client: u32, now: u64);
    /// What would not leave has left.
    fn on_drained(&mut self, client: u32);
    /// The connection is gone, not by [`Swarm::close`].
    fn on_failed(&mut self, client: u32, failure: Failure);
    /// The broker has closed the connection after [`Swarm::leave`].
    fn on_left(&mut self, _client: u32) {}
    /// Has answered [`Swarm::ping`], or a ping of its keep alive.
    fn on_pinged(&mut self, _client: u32) {}
}

/// Hears nothing.
struct Nobody;

impl Handler for Nobody {
    fn on_ready(&mut self, _: u32) {}
    fn on_message(&mut self, _: u32, _: &Publish<'_>, _: u64) {}
    fn on_acknowledged(&mut self, _: u32, _: u64) {}
    fn on_drained(&mut self, _: u32) {}
    fn on_failed(&mut self, _: u32, _: Failure) {}
}

#[derive(Debug)]
struct Member {
    client: Client,
    connection: Option<Connection>,
    /// None where MQTT is spoken plainly.
    transport: Option<Box<Transport>>,
    out: OutputBuffer,
    /// What is left of a packet that is not whole yet.
    unread: Unread,
    is_dirty: bool,
    /// When its socket was opened, and when it sent something last.
    opened_at: u64,
    sent_at: u64,
}

#[derive(Debug)]
pub struct Swarm {
    access: Access,
    poller: Poller,
    members: Vec<Member>,
    /// What the first client identifier ends with.
    ids_from: usize,
    /// Members with output that is not sent yet.
    dirty: Vec<u32>,
    /// Members that had more to read than one turn takes.
    unfinished: Vec<u32>,
    scratch: Box<[u8]>,
    /// What a transport makes of one client's output.
    wire: OutputBuffer,
    clock: Instant,
    /// Connections opened, ever.
    opened: usize,
    /// Connections that there are, and those of them without CONNACK.
    open: usize,
    connecting: usize,
    ready: usize,
    /// Clients whose connection is the broker's to close.
    leaving: usize,
    /// Connections that have failed, ever.
    failed: usize,
    /// The shortest that a broker has.
    keep_alive_secs: u16,
    /// Who is looked at next for its keep alive, and when the round began.
    pinged: usize,
    ping_round_at: u64,
    connects: u64,
    connect_latency: Histogram<u64>,
}

impl Swarm {
    pub fn new(access: Access) -> io::Result<Self> {
        Self::with_ids_from(0, access)
    }

    /// Beside a swarm of so many.
    pub fn with_ids_from(ids_from: usize, access: Access) -> io::Result<Self> {
        let keep_alive_secs = access.keep_alive_secs;
        Ok(Self {
            ids_from,
            access,
            poller: Poller::new()?,
            keep_alive_secs,
            members: Vec::new(),
            dirty: Vec::new(),
            unfinished: Vec::new(),
            scratch: vec![0; READ_BYTES_MAX].into(),
            wire: OutputBuffer::default(),
            clock: Instant::now(),
            opened: 0,
            open: 0,
            connecting: 0,
            ready: 0,
            leaving: 0,
            failed: 0,
            pinged: 0,
            ping_round_at: 0,
            connects: 0,
            connect_latency: histogram(),
        })
    }

    /// Nanoseconds since the swarm began.
    #[inline]
    pub fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Clients that are connected and subscribed.
    pub const fn ready(&self) -> usize {
        self.ready
    }

    /// Connections that got their CONNACK, ever.
    pub const fn connects(&self) -> u64 {
        self.connects
    }

    /// Nanoseconds from opening a socket to CONNACK, since they were cleared.
    pub const fn connect_latency(&self) -> &Histogram<u64> {
        &self.connect_latency
    }

    pub fn clear_connect_latency(&mut self) {
        self.connect_latency.reset();
    }

    /// Adds a client, which is not opened yet, and gives its number.
    pub fn add(&mut self, filters: Rc<[Box<str>]>, qos: QoS) -> u32 {
        let number = self.members.len() as u32;
        let Access { version, keep_alive_secs, ref user_name, ref password, is_durable, .. } = self.access;
        let is_durable = is_durable && !filters.is_empty();
        let client_id = format!("loadgen-{}-{}", std::process::id(), self.ids_from + number as usize).into();
        let (user_name, password) = (user_name.clone(), password.clone());
        let client = Client::new(Identity {
            version,
            client_id,
            user_name,
            password,
            keep_alive_secs,
            filters,
            qos,
            is_durable,
        });
        self.members.push(Member {
            client,
            connection: None,
            transport: None,
            out: OutputBuffer::default(),
            unread: Unread { bytes: Vec::new(), need: 0 },
            is_dirty: false,
            opened_at: 0,
            sent_at: 0,
        });
        number
    }

    /// Lets a client, which is not opened yet, have so many publishes of QoS 1 and 2 under way at most.
    pub fn bound(&mut self, number: u32, unacknowledged_max: u32) {
        self.members[number as usize].client.bound(unacknowledged_max);
    }

    /// Opens all clients, in order, until all are ready or one has failed. `watch` looks on meanwhile.
    pub fn open_all(&mut self, handler: &mut impl Handler, mut watch: impl FnMut(&mut Self)) -> io::Result<()> {
        check_descriptors(self.members.len())?;
        let (began, failed, mut opened) = (self.now(), self.failed, 0);
        while self.ready < self.members.len() && self.failed == failed {
            let now = self.now();
            while opened < self.members.len() && self.may_open(opened, now - began) {
                self.open(opened as u32)?;
                opened += 1;
            }
            self.turn(Some(Duration::from_millis(1)), handler);
            watch(self);
        }
        Ok(())
    }

    /// Whether the pace lets another one be opened, when so many were in so much time.
    pub fn may_open(&self, opened: usize, nanos: u64) -> bool {
        match self.access.ramp {
            ramp if ramp > 0.0 => opened as f64 <= nanos as f64 * 1e-9 * ramp,
            _ => self.connecting < OPENING_MAX * self.access.brokers.len(),
        }
    }

    /// Opens a client that is closed.
    pub fn open(&mut self, number: u32) -> io::Result<()> {
        let broker = self.access.brokers[self.opened % self.access.brokers.len()].clone();
        let opened_at = self.now();
        let socket = self.socket(broker.address)?;
        let mut connection = Connection::new(socket.into(), broker.address.into());
        self.poller.add(&connection, number.into())?;
        let member = &mut self.members[number as usize];
        debug_assert!(member.connection.is_none());
        let begun = self.access.wrapping.begin(&broker.host, broker.address.port(), &mut self.wire.bytes);
        member.transport = begun.map_err(|error| io::Error::other(error.to_string()))?;
        // One that is gone is told of as any other.
        let _ = send_wire(&mut connection, &mut self.wire);
        (member.opened_at, member.connection) = (opened_at, Some(connection));
        member.client.connect(&mut member.out.bytes);
        self.opened += 1;
        self.open += 1;
        self.connecting += 1;
        self.mark(number);
        Ok(())
    }

    /// Where the next connection is to come from, if that is not left to the system.
    fn source(&self, broker: IpAddr) -> Option<Ipv4Addr> {
        let sources = &self.access.sources;
        if !sources.is_empty() {
            return Some(sources[self.opened % sources.len()]);
        }
        let nth = (self.open / OPEN_PER_SOURCE) as u32;
        let is_loopback = broker.is_ipv4() && broker.is_loopback();
        (is_loopback && nth > 0).then(|| Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + nth))
    }

    /// One that connects, or has.
    fn socket(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.source(address.ip()) {
            // Those that have just been closed leave their ports to others.
            socket.set_reuse_address(true)?;
            socket
                .bind(&SocketAddr::from((source, 0)).into())
                .map_err(|error| told(error, &format!("from {source}")))?;
        }
        match socket.connect(&address.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => {
                Err(told(error, &format!("to {address}")))
            }
            _ => Ok(socket),
        }
    }

    /// Closes a client, with DISCONNECT if it has not sent one. It can be opened again.
    pub fn close(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        let phase = member.client.phase();
        if phase != Phase::Leaving
            && let Some(connection) = &mut member.connection
        {
            member.client.disconnect(&mut member.out.bytes);
            // One that is gone need not be told.
            let _ = send(connection, &mut member.transport, &mut member.out, &mut self.wire);
        }
        self.forget(number, phase);
    }

    /// Lets a client that is ready send DISCONNECT, and leaves it to the broker to close the connection. Whoever closes
    /// first keeps the pair of ports for a minute (TIME_WAIT): with the broker it blocks nothing, for a new connection
    /// takes it over, whereas a client's port could not be used again, of which an address has 28,000.
    pub fn leave(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        debug_assert_eq!(member.client.phase(), Phase::Ready);
        member.client.disconnect(&mut member.out.bytes);
        (self.ready, self.leaving) = (self.ready - 1, self.leaving + 1);
        self.mark(number);
    }

    /// Lets all leave that are ready, and closes those that are not, or that the broker does not close in time. Nobody
    /// is told of what happens to them meanwhile.
    pub fn close_all(&mut self) {
        for number in 0..self.members.len() as u32 {
            if self.is_ready(number) {
                self.leave(number);
            }
        }
        let end = self.now() + CLOSING_MAX.as_nanos() as u64;
        while self.leaving > 0 && self.now() < end {
            self.turn(Some(Duration::from_millis(10)), &mut Nobody);
        }
        (0..self.members.len() as u32).for_each(|number| self.close(number));
    }

    /// Subscribes a client that is ready, which is ready again when all is granted.
    pub fn subscribe(&mut self, number: u32, filters: Rc<[Box<str>]>) {
        let member = &mut self.members[number as usize];
        member.client.subscribe(filters, &mut member.out.bytes);
        self.ready -= 1;
        self.mark(number);
    }

    /// Ends all subscriptions of a client that is ready.
    pub fn unsubscribe(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        member.client.unsubscribe(&mut member.out.bytes);
        self.mark(number);
    }

    pub fn ping(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        member.client.ping(&mut member.out.bytes);
        self.mark(number);
    }

    pub fn is_ready(&self, number: u32) -> bool {
        self.phase(number) == Phase::Ready
    }

    pub fn phase(&self, number: u32) -> Phase {
        self.members[number as usize].client.phase()
    }

    /// Of a client that has no connection any more, and was in this phase.
    fn forget(&mut self, number: u32, phase: Phase) {
        match phase {
            Phase::Closed => return,
            Phase::Connecting => self.connecting -= 1,
            Phase::Ready => self.ready -= 1,
            Phase::Leaving => self.leaving -= 1,
            Phase::Subscribing => {}
        }
        self.open -= 1;
        let member = &mut self.members[number as usize];
        member.client.close();
        (member.connection, member.transport) = (None, None);
        member.out.bytes.clear();
        member.unread.bytes.clear();
    }

    fn fail(&mut self, number: u32, failure: Failure, handler: &mut impl Handler) {
        let phase = self.phase(number);
        self.forget(number, phase);
        if phase == Phase::Leaving {
            return handler.on_left(number);
        }
        self.failed += 1;
        handler.on_failed(number, failure);
    }

    /// How many messages a client can publish now, and how many it ever can have under way.
    #[inline]
    pub fn room(&self, number: u32, qos: QoS) -> (u32, u32) {
        let member = &self.members[number as usize];
        let (left, most) = member.client.publishes_left(qos);
        let takes = member.connection.as_ref().is_some_and(|connection| !connection.has_unsent());
        if takes { (left, most) } else { (0, most) }
    }

    /// Publishes with the next turn; the payload is what `put_payload` appends, as long as the head was told.
    #[inline]
    pub fn publish(&mut self, number: u32, head: &PublishHead, put_payload: impl FnOnce(&mut Vec<u8>)) {
        let member = &mut self.members[number as usize];
        member.client.publish(head, &mut member.out.bytes, put_payload);
        self.mark(number);
    }

    /// Sends what is to be sent, one write a client, waits for input, and takes it. Says whether there was any.
    pub fn turn(&mut self, timeout: Option<Duration>, handler: &mut impl Handler) -> bool {
        self.keep_alive();
        self.send_dirty(handler);
        let unfinished = std::mem::take(&mut self.unfinished);
        self.poller.wait(if unfinished.is_empty() { timeout } else { Some(Duration::ZERO) });
        let happened = !self.poller.is_empty() || !unfinished.is_empty();
        unfinished.into_iter().for_each(|number| self.read(number, handler));
        for index in 0..self.poller.len() {
            let event = self.poller.event(index);
            self.on_event(event, handler);
        }
        happened
    }

    fn on_event(&mut self, event: Readiness, handler: &mut impl Handler) {
        let number = event.token as u32;
        let Member { client, connection: Some(connection), .. } = &mut self.members[number as usize] else { return };
        if event.hung_up {
            // What there is still to read comes to its end.
            connection.hung_up = true;
            if client.phase() == Phase::Connecting
                && let Ok(Some(error)) = SockRef::from(&*connection).take_error()
            {
                return self.fail(number, Failure::Unreachable(error.to_string()), handler);
            }
        }
        if event.writable && connection.has_unsent() {
            if connection.send_unsent().is_err() {
                return self.fail(number, Failure::Closed, handler);
            }
            if !connection.has_unsent() {
                handler.on_drained(number);
            }
        }
        if event.readable {
            self.read(number, handler);
        }
    }

    fn read(&mut self, number: u32, handler: &mut impl Handler) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for turn in 0.. {
            if turn == READS_PER_TURN {
                self.unfinished.push(number);
                break;
            }
            match self.read_once(number, &mut scratch, handler) {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure) => {
                    self.fail(number, failure, handler);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    /// Says whether there may be more.
    fn read_once(&mut self, number: u32, scratch: &mut [u8], handler: &mut impl Handler) -> Result<bool, Failure> {
        let Member { connection: Some(connection), transport, unread, .. } = &mut self.members[number as usize] else {
            return Ok(false);
        };
        let moved = unread.bytes.len();
        let is_moved = transport.is_none() && moved <= MOVED_BYTES_MAX;
        let received = if is_moved {
            scratch[..moved].copy_from_slice(&unread.bytes);
            connection.receive(&mut scratch[moved..])
        } else if transport.is_some() {
            connection.receive(scratch)
        } else {
            connection.receive_more(unread)
        };
        let (bytes, is_all) = match received {
            Received::Bytes { bytes: 0, .. } => return Ok(true),
            Received::Bytes { bytes, is_all } => (bytes, is_all),
            Received::Nothing => return Ok(false),
            Received::End => return Err(Failure::Closed),
        };
        let now = self.clock.elapsed().as_nanos() as u64;
        if let Some(transport) = transport {
            let opened = transport.open(&scratch[..bytes], &mut unread.bytes, &mut self.wire.bytes);
            // The end of a connection is told by the next read, and why there is an error is told first.
            let _ = send_wire(connection, &mut self.wire);
            opened.map_err(|error| Failure::Transport(error.to_string()))?;
        }
        self.take(number, is_moved.then(|| &scratch[..moved + bytes]), now, handler)?;
        Ok(!is_all)
    }

    /// Takes an input, or what is unread, and keeps the rest unread.
    fn take(&mut self, number: u32, input: Option<&[u8]>, now: u64, handler: &mut impl Handler) -> Result<(), Failure> {
        let Self { members, connecting, ready, connects, connect_latency, keep_alive_secs, .. } = self;
        let Member { client, out, unread, opened_at, .. } = &mut members[number as usize];
        let bytes = input.unwrap_or(&unread.bytes);
        let taken = client.receive(bytes, &mut out.bytes, &mut |happening| match happening {
            Happening::Message(publish) => handler.on_message(number, publish, now),
            Happening::Acknowledged => handler.on_acknowledged(number, now),
            Happening::Pinged => handler.on_pinged(number),
            Happening::Connected { keep_alive_secs: secs } => {
                if secs > 0 && (*keep_alive_secs == 0 || secs < *keep_alive_secs) {
                    *keep_alive_secs = secs;
                }
                *connecting -= 1;
                *connects += 1;
                connect_latency.saturating_record(now - *opened_at);
            }
            Happening::Ready => {
                *ready += 1;
                handler.on_ready(number);
            }
        });
        let Taken { bytes: used, need } = taken?;
        match input {
            Some(input) => {
                unread.bytes.clear();
                unread.bytes.extend_from_slice(&input[used..]);
            }
            None => {
                unread.bytes.drain(..used);
            }
        }
        unread.need = need;
        self.mark(number);
        Ok(())
    }

    #[inline]
    fn mark(&mut self, number: u32) {
        let member = &mut self.members[number as usize];
        if !member.out.bytes.is_empty() && !std::mem::replace(&mut member.is_dirty, true) {
            self.dirty.push(number);
        }
    }

    fn send_dirty(&mut self, handler: &mut impl Handler) {
        if self.dirty.is_empty() {
            return;
        }
        let now = self.now();
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            self.members[number as usize].is_dirty = false;
            self.flush(number, now, handler);
        }
        self.dirty = dirty;
    }

    /// Sends what a client has to say now, and not with the next turn.
    pub fn flush(&mut self, number: u32, now: u64, handler: &mut impl Handler) {
        let member = &mut self.members[number as usize];
        member.sent_at = now;
        let Some(connection) = &mut member.connection else { return };
        if let Err(error) = send(connection, &mut member.transport, &mut member.out, &mut self.wire) {
            self.on_unsendable(number, &error, handler);
        }
    }

    fn on_unsendable(&mut self, number: u32, error: &io::Error, handler: &mut impl Handler) {
        if self.members[number as usize].client.phase() == Phase::Connecting {
            return self.fail(number, Failure::Unreachable(error.to_string()), handler);
        }
        // What came before the end is the better reason.
        self.read(number, handler);
        if self.members[number as usize].connection.is_some() {
            self.fail(number, Failure::Closed, handler);
        }
    }

    /// Lets those ping that have been silent for long, as many as are due to be looked at since the last time.
    fn keep_alive(&mut self) {
        let keep_alive = f64::from(self.keep_alive_secs) * 1e9;
        if keep_alive == 0.0 || self.members.is_empty() {
            return;
        }
        let now = self.now();
        let share = (now - self.ping_round_at) as f64 / (keep_alive * PING_ROUND);
        let end = ((self.members.len() as f64 * share) as usize).min(self.members.len());
        for number in self.pinged..end {
            let member = &mut self.members[number];
            if member.client.phase() == Phase::Ready && (now - member.sent_at) as f64 > keep_alive * PING_AFTER {
                member.client.ping(&mut member.out.bytes);
                self.mark(number as u32);
            }
        }
        self.pinged = end;
        if end == self.members.len() {
            (self.pinged, self.ping_round_at) = (0, now);
        }
    }
}

/// Sends an output, and empties it.
#[inline]
fn send(
    connection: &mut Connection,
    transport: &mut Option<Box<Transport>>,
    out: &mut OutputBuffer,
    wire: &mut OutputBuffer,
) -> io::Result<()> {
    let Some(transport) = transport else { return send_wire(connection, out) };
    let sealed = transport.seal(&out.bytes, &mut wire.bytes);
    out.bytes.clear();
    sealed.map_err(|error| io::Error::other(error.to_string()))?;
    send_wire(connection, wire)
}

#[inline]
fn send_wire(connection: &mut Connection, wire: &mut OutputBuffer) -> io::Result<()> {
    if wire.bytes.is_empty() {
        return Ok(());
    }
    let sent = connection.send(wire);
    wire.bytes.clear();
    wire.bytes.shrink_to(KEPT_BUFFER_BYTES_MAX);
    sent.map(|_| ())
}

/// An error with what it was about, and what helps.
fn told(error: io::Error, about: &str) -> io::Error {
    let help = match error.kind() {
        io::ErrorKind::AddrNotAvailable => ": there is no free port, or no such address; give more with --source",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot connect {about}: {error}{help}"))
}

/// How many files this process may have open, and how many of them it has that are not clients'.
pub fn descriptors() -> (u64, u64) {
    raise_descriptor_limit();
    let used = std::fs::read_dir("/proc/self/fd").map_or(DESCRIPTORS_OF_OTHERS, |files| files.count() as u64);
    (HostLimits::read().descriptors, used)
}

/// Before so many connections are opened, so that it is not found out on the way.
fn check_descriptors(clients: usize) -> io::Result<()> {
    let (limit, used) = descriptors();
    let needed = clients as u64 + used;
    if needed <= limit {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{clients} clients need {needed} open files, and this process may have {limit}: \
         raise its limit (ulimit -n {needed}), or share the clients among several generators"
    )))
}
