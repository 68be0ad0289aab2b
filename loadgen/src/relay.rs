//! A relay that does nothing, for the ceiling of the machine: what the same scenario costs when a message is read and
//! written and nothing besides (`switch` says what it leaves out). It reads and writes as a shard of the broker does. Its
//! drivers show what the ways to wait for sockets cost: epoll in the loop, the same behind glommio's doorbell, and a
//! glommio task for each socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use thrum::net::{Accepted, Connection, Listener, Poller, Received, Unread, ready_or_timeout};

use crate::switch::Switch;

// As the broker's shard has them.
const READ_BYTES_MAX: usize = 64 * 1024;
const PORTION_BYTES_MIN: usize = 4 * 1024;
const TURN_BYTES_MAX: usize = 1024 * 1024;
const OUTPUT_BYTES: usize = 512 * 1024;
const RING_DEPTH: usize = 4_096;
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// As in the broker: an executor whose timer has run out may go to sleep with a task ready (glommio 0.9). With 1 ms the
/// glommio driver on a busy machine stood still, with messages unread. A client's window bounds how long its task can
/// keep the others waiting.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

const LISTENER_TOKEN: u64 = 1 << 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Driver {
    /// epoll_wait in the loop
    Epoll,
    /// glommio waits for the epoll set
    Doorbell,
    /// A glommio task for each socket
    Glommio,
}

#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub listen: SocketAddr,
    /// How it waits for its sockets
    #[arg(long, value_enum, default_value = "epoll")]
    pub driver: Driver,
    /// Core to run on
    #[arg(long)]
    pub core: Option<usize>,
}

/// Relays until the process ends.
pub fn run(options: &Options) -> io::Result<()> {
    let Options { listen, driver, core } = *options;
    let executor = LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(NEVER)
        .make()
        .map_err(|error| io::Error::other(error.to_string()))?;
    executor.run(async move {
        match driver {
            Driver::Epoll => Loop::new(listen)?.run(false).await,
            Driver::Doorbell => Loop::new(listen)?.run(true).await,
            Driver::Glommio => serve_tasks(listen).await,
        }
    })
}

struct Loop {
    listener: Listener,
    poller: Poller,
    switch: Switch,
    connections: Vec<Option<Connection>>,
    /// To be read, in this order.
    ready: VecDeque<u32>,
    lost: Vec<u32>,
    scratch: Box<[u8]>,
}

impl Loop {
    fn new(address: SocketAddr) -> io::Result<Self> {
        Listener::probe(&address.into())?;
        let (listener, poller) = (Listener::bind(&address.into())?, Poller::new()?);
        poller.add_source(&listener, LISTENER_TOKEN)?;
        Ok(Self {
            listener,
            poller,
            switch: Switch::default(),
            connections: Vec::new(),
            ready: VecDeque::new(),
            lost: Vec::new(),
            scratch: vec![0; READ_BYTES_MAX].into(),
        })
    }

    async fn run(mut self, behind_doorbell: bool) -> io::Result<()> {
        loop {
            if !self.ready.is_empty() || self.poller.is_partial() {
                self.poller.wait(Some(Duration::ZERO));
            } else if behind_doorbell {
                ready_or_timeout(&self.poller, None).await?;
                self.poller.wait(Some(Duration::ZERO));
            } else {
                self.poller.wait(None);
            }
            self.turn()?;
        }
    }

    /// Every ready socket is read once, and then each client that has output is written to once.
    fn turn(&mut self) -> io::Result<()> {
        for index in 0..self.poller.len() {
            let readiness = self.poller.event(index);
            let number = readiness.token as u32;
            if readiness.token == LISTENER_TOKEN {
                self.accept()?;
            } else if let Some(Some(connection)) = self.connections.get_mut(number as usize) {
                connection.hung_up |= readiness.hung_up;
                if readiness.writable && connection.send_unsent().is_err() {
                    self.lost.push(number);
                }
                if readiness.readable {
                    queue(connection, number, &mut self.ready);
                }
            }
        }
        let portion = (TURN_BYTES_MAX / self.ready.len().max(1)).clamp(PORTION_BYTES_MIN, READ_BYTES_MAX);
        for _ in 0..self.ready.len() {
            let Some(number) = self.ready.pop_front() else { break };
            self.read(number, portion);
            if self.switch.output_bytes > OUTPUT_BYTES {
                self.write();
            }
        }
        self.write();
        for number in self.lost.drain(..) {
            self.connections[number as usize] = None;
            self.switch.close(number);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Accepted::Nothing => return Ok(()),
                Accepted::Exhausted(error) => return Err(error),
                Accepted::Connection(socket, peer) => {
                    let number = self.switch.open();
                    let connection = Connection::new(socket, peer);
                    self.poller.add(&connection, number.into())?;
                    if self.connections.len() <= number as usize {
                        self.connections.resize_with(number as usize + 1, || None);
                    }
                    self.connections[number as usize] = Some(connection);
                }
            }
        }
    }

    fn read(&mut self, number: u32, portion: usize) {
        let Some(Some(connection)) = self.connections.get_mut(number as usize) else { return };
        connection.is_queued = false;
        let unread = connection.take_unread();
        let before = unread.as_ref().map_or(0, |unread| unread.bytes.len());
        if self.scratch.len() < before + portion {
            // A packet that is longer than the scratch buffer.
            self.scratch = vec![0; 2 * (before + portion)].into();
        }
        if let Some(unread) = unread {
            self.scratch[..before].copy_from_slice(&unread.bytes);
        }
        let received = connection.receive(&mut self.scratch[before..before + portion]);
        let bytes = match received {
            Received::Bytes { bytes, is_all } => {
                if !is_all {
                    queue(connection, number, &mut self.ready);
                }
                bytes
            }
            Received::Nothing => 0,
            Received::End => return self.lost.push(number),
        };
        match self.switch.receive(number, &self.scratch[..before + bytes]) {
            Ok(used) if used == before + bytes => {}
            Ok(used) => {
                let rest = self.scratch[used..before + bytes].to_vec();
                connection.keep_unread(Box::new(Unread { bytes: rest, need: 1 }));
            }
            Err(_) => self.lost.push(number),
        }
    }

    fn write(&mut self) {
        let Self { switch, connections, lost, .. } = self;
        switch.drain(|number, out| {
            if let Some(Some(connection)) = connections.get_mut(number as usize)
                && connection.send(out).is_err()
            {
                lost.push(number);
            }
        });
    }
}

/// Puts a connection behind those that wait to be read.
fn queue(connection: &mut Connection, number: u32, ready: &mut VecDeque<u32>) {
    if !std::mem::replace(&mut connection.is_queued, true) {
        ready.push_back(number);
    }
}

/// A client's stream, which its own task reads and every task may write to.
struct Stream {
    socket: RefCell<TcpStream>,
    out: RefCell<Vec<u8>>,
    is_writing: Cell<bool>,
}

impl Stream {
    async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, into)).await
    }

    /// Writes what there is, and what comes meanwhile; where another task is at it, that one does.
    async fn write(&self) -> io::Result<()> {
        if self.is_writing.replace(true) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            std::mem::swap(&mut bytes, &mut *self.out.borrow_mut());
            if bytes.is_empty() {
                break;
            }
            let mut sent = 0;
            while sent < bytes.len() {
                sent += poll_fn(|cx| Pin::new(&mut *self.socket.borrow_mut()).poll_write(cx, &bytes[sent..])).await?;
            }
        }
        *self.out.borrow_mut() = bytes;
        self.is_writing.set(false);
        Ok(())
    }
}

#[derive(Default)]
struct Shared {
    switch: RefCell<Switch>,
    streams: RefCell<Vec<Option<Rc<Stream>>>>,
}

async fn serve_tasks(address: SocketAddr) -> io::Result<()> {
    Listener::probe(&address.into())?;
    let shared = Rc::<Shared>::default();
    let listener = TcpListener::bind(address)?;
    loop {
        let socket = listener.accept().await?;
        socket.set_nodelay(true)?;
        let socket = RefCell::new(socket);
        let stream = Rc::new(Stream { socket, out: RefCell::default(), is_writing: Cell::new(false) });
        let number = shared.switch.borrow_mut().open();
        let mut streams = shared.streams.borrow_mut();
        if streams.len() <= number as usize {
            streams.resize_with(number as usize + 1, || None);
        }
        streams[number as usize] = Some(Rc::clone(&stream));
        drop(streams);
        let shared = Rc::clone(&shared);
        glommio::spawn_local(async move {
            // However it ends, the client is gone.
            let _ = serve(&shared, number, &stream).await;
            shared.streams.borrow_mut()[number as usize] = None;
            shared.switch.borrow_mut().close(number);
        })
        .detach();
    }
}

async fn serve(shared: &Shared, number: u32, stream: &Stream) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES_MAX];
    let (mut filled, mut targets) = (0, Vec::new());
    loop {
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        let bytes = stream.read(&mut buffer[filled..]).await?;
        if bytes == 0 {
            return Ok(());
        }
        filled += bytes;
        let used = shared.switch.borrow_mut().receive(number, &buffer[..filled]).map_err(io::Error::other)?;
        buffer.copy_within(used..filled, 0);
        filled -= used;
        shared.switch.borrow_mut().drain(|target, out| {
            if let Some(Some(stream)) = shared.streams.borrow().get(target as usize) {
                stream.out.borrow_mut().extend_from_slice(&out.bytes);
                targets.push(Rc::clone(stream));
            }
        });
        for target in targets.drain(..) {
            // Whose socket is gone learns it by its own task.
            let _ = target.write().await;
        }
    }
}
