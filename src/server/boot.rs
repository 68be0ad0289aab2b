//! The broker as a whole: its shards, each on a pinned executor, and the ways to speak to them.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use core_affinity::CoreId;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use tracing::warn;

use super::checks::Checks;
use super::clock::Clock;
use super::command::{Command, ShardHandle};
use super::config::Config;
use super::control::{Asked, Control, SOCKET_FILE};
use super::doors::Doors;
use super::listener_config::Address;
use super::memory::give_back;
use super::open_store::{journal_options, open_store};
use super::parcel::Parcel;
use super::shard::{Listening, Shard, ShardParts};
use super::shard_store::ShardStore;
use crate::access::{Bans, Guard};
use crate::base::{ListenerId, ShardId};
use crate::broker::{OptionError, Options, ShardCore};
use crate::mesh::{self, Alarm, Port};
use crate::net::{ListenAddress, Listener, Transport};
use crate::storage::{Journal, LogOptions, Opened, Store, StoreError, StoreHandle, Told};

/// The rings that the kernel gives glommio. What waits in them has to be cancelled at every turn of its reactor, which
/// is cheap with room to spare.
const RING_DEPTH: usize = 4_096;
/// For glommio's file I/O, which nothing here uses, locked in memory: as little as it takes.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Nothing here gives way to glommio's tasks by its timer, and an executor that finds the timer run out before it has run
/// anything goes to sleep with a task ready (glommio 0.9: seen as a start that never ended, on a busy machine).
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug)]
pub enum StartError {
    Options(OptionError),
    Listen(SocketAddr, io::Error),
    Mesh(io::Error),
    Store(StoreError),
    StoreThreads(io::Error),
    Shard(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Options(error) => write!(f, "{error}"),
            Self::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: another program does; stop it, or choose another port")
            }
            Self::Listen(address, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "cannot listen on {address}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE")
            }
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Mesh(error) => write!(f, "cannot connect the shards: {error}"),
            Self::Store(error) => write!(f, "{error}"),
            Self::StoreThreads(error) => write!(f, "cannot start the store's threads: {error}"),
            Self::Shard(error) => write!(f, "a shard did not start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    addresses: Vec<SocketAddr>,
    doors: Arc<Doors>,
    shards: Vec<RunningShard>,
    store: Option<RunningStore>,
}

#[derive(Debug)]
struct RunningStore {
    handle: StoreHandle,
    /// None where there can be no socket.
    control: Option<Control>,
}

#[derive(Debug)]
struct RunningShard {
    handle: ShardHandle,
    thread: ExecutorJoinHandle<()>,
}

impl Broker {
    /// Opens the store, and starts as many shards as the configuration says, on `cores` in turn. Each gets a guard of its
    /// own. Returns when all of them let clients in.
    pub fn start(config: &Config, cores: &[CoreId], guard: impl Fn() -> Box<dyn Guard>) -> Result<Self, StartError> {
        let options = fresh_options(config)?;
        probe(config)?;
        let mut opened = open_store(config).map_err(StartError::Store)?;
        let options = with_store(options, opened.as_ref());
        let listeners = listeners(config)?;
        let addresses = listeners[0].iter().filter_map(|listening| listening.listener.address().internet()).collect();
        let ports = mesh::build(config.shards, mesh::ring_slots(config.shards)).map_err(StartError::Mesh)?;
        let (handles, commands) = handles(&ports);
        let journals = opened.as_ref().map(|opened| journals(config, opened)).unwrap_or_default();
        let mut images = opened.as_mut().map(|opened| mem::take(&mut opened.shards)).unwrap_or_default().into_iter();
        let (config, clock) = (Arc::new(config.clone()), Clock::start());
        let doors = Arc::new(config.doors(u64::from_ne_bytes(random()), listener_ids(&config)));
        let store =
            opened.map(|opened| RunningStore::start(opened.store, &handles, doors.bans(), clock)).transpose()?;
        let mut journals = journals.into_iter();
        let mut broker = Self { addresses, doors, shards: Vec::new(), store };
        let (started, starts) = channel();
        let parts = ports.into_iter().zip(listeners).zip(handles.into_iter().zip(commands));
        for (index, ((port, listeners), (handle, commands))) in parts.enumerate() {
            let checks = Checks::start(port.shard(), handle.clone());
            let parts = ShardParts {
                config: Arc::clone(&config),
                listeners,
                port,
                doors: Arc::clone(&broker.doors),
                commands,
                checks: checks.map_err(|error| StartError::Shard(error.to_string()))?,
                clock,
                image: images.next(),
                started: started.clone(),
            };
            let store = broker.store.as_ref().map(|store| store.handle.clone());
            let plan =
                journals.next().zip(store).map(|((folder, options), store)| StorePlan { folder, options, store });
            let options = Options { secret: random(), ..options.clone() };
            let thread = spawn(parts, core_of(index, cores), options, guard(), plan)?;
            broker.shards.push(RunningShard { handle, thread });
        }
        drop(started);
        broker.await_starts(&starts)
    }

    /// A shard says so when it has started, or why it has not; one that ends without a word ends the channel.
    fn await_starts(self, starts: &Receiver<io::Result<()>>) -> Result<Self, StartError> {
        for _ in 0..self.shards.len() {
            match starts.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(StartError::Shard(error.to_string())),
                Err(_) => return Err(StartError::Shard(self.stop().err().unwrap_or_else(|| "it ended".to_owned()))),
            }
        }
        Ok(self)
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Gives every shard the options that can change while it runs.
    pub fn reload(&self, config: &Config) {
        self.doors.set_rules(&config.door_rules(listener_ids(config)));
        self.doors.bans().set_rules(config.ban_rules());
        let config = Arc::new(config.clone());
        self.tell(|| Command::Configure(Arc::clone(&config)));
    }

    /// Whether anything outlives the process.
    pub fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    /// Has what is recorded so far made durable without delay.
    pub fn commit_now(&self) {
        self.tell(|| Command::CommitNow);
    }

    /// Drains, within the time configured, and ends.
    pub fn stop(self) -> Result<(), String> {
        self.tell(|| Command::Drain);
        let mut result = Ok(());
        for shard in self.shards {
            if let Err(error) = shard.thread.join() {
                result = Err(error.to_string());
            }
        }
        if let Some(store) = self.store {
            store.stop();
        }
        result
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for shard in &self.shards {
            // A shard that has ended needs telling nothing.
            shard.handle.tell(command());
        }
    }
}

/// The cores are given out in turn, where there are more shards than cores.
fn core_of(shard: usize, cores: &[CoreId]) -> Placement {
    cores.get(shard % cores.len().max(1)).map_or(Placement::Unbound, |core| Placement::Fixed(core.id))
}

/// What a shard makes its journal of, on its own thread.
struct StorePlan {
    folder: PathBuf,
    options: LogOptions,
    store: StoreHandle,
}

impl StorePlan {
    fn carry_out(self, alarm: &Arc<Alarm>) -> io::Result<ShardStore> {
        let alarm = Arc::clone(alarm);
        let journal = Journal::start(&self.folder, self.options, move || _ = alarm.ring()).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write into {}: {error}", self.folder.display()))
        })?;
        Ok(ShardStore::new(journal, self.store))
    }
}

/// Starts the thread of one shard.
fn spawn(
    parts: ShardParts,
    placement: Placement,
    options: Options,
    guard: Box<dyn Guard>,
    plan: Option<StorePlan>,
) -> Result<ExecutorJoinHandle<()>, StartError> {
    let builder = LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{}", parts.port.shard().index()))
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(NEVER);
    let run = move || async move {
        let started = parts.started.clone();
        let core = ShardCore::new(parts.port.shard(), options, guard, parts.clock.now());
        let store = match plan {
            Some(plan) => plan.carry_out(parts.port.alarm()).map(Some),
            None => Ok(None),
        };
        let shard = store.and_then(|store| Shard::new(parts, core.expect("options that were looked at before"), store));
        match shard {
            Ok(shard) => {
                // The shard has its own, and lets go of it when it serves.
                drop(started);
                shard.run();
            }
            // Whoever does not wait for it any more has failed to start another one.
            Err(error) => _ = started.send(Err(error)),
        }
    };
    builder.spawn(run).map_err(|error| StartError::Shard(error.to_string()))
}

/// For each shard the way to it, and its end of that.
fn handles(ports: &[Port<Parcel>]) -> (Vec<ShardHandle>, Vec<Receiver<Command>>) {
    let handle = |port: &Port<Parcel>| {
        let (commands, receiver) = channel();
        (ShardHandle { commands, alarm: Arc::clone(port.alarm()) }, receiver)
    };
    ports.iter().map(handle).unzip()
}

/// Where each shard writes its journal, and how.
fn journals(config: &Config, opened: &Opened) -> Vec<(PathBuf, LogOptions)> {
    let shards = (0..config.shards).map(ShardId::new);
    let folder = |shard| opened.store.directory().shard_folder(shard);
    shards.map(|shard| (folder(shard), journal_options(config, opened, shard))).collect()
}

impl RunningStore {
    /// Its threads tell a shard what they have to say by its command channel.
    fn start(store: Store, shards: &[ShardHandle], bans: &Arc<Bans>, clock: Clock) -> Result<Self, StartError> {
        let directory = store.directory().path().to_owned();
        let to = shards.to_vec();
        let tell = move |shard: ShardId, told| {
            // The settler has read a whole segment, and needs none of it any more.
            if matches!(told, Told::Settled { .. }) {
                give_back();
            }
            let _ = to[shard.index()].tell(Command::Stored(told));
        };
        let handle = store.start(tell).map_err(StartError::StoreThreads)?;
        let asked = Asked { shards: shards.to_vec(), store: handle.clone(), bans: Arc::clone(bans), clock };
        let control = Control::start(&directory, asked).map_err(|error| {
            let socket = directory.join(SOCKET_FILE);
            warn!(
                "no socket for `thrum store backup` and `thrum bans` while the broker runs: {}: {error}",
                socket.display()
            );
        });
        Ok(Self { handle, control: control.ok() })
    }

    /// When no shard has anything to store any more.
    fn stop(self) {
        if let Some(control) = self.control {
            control.stop();
        }
        self.handle.stop();
    }
}

/// What a store remembers, in the place of what a broker without one makes up.
fn with_store(options: Options, opened: Option<&Opened>) -> Options {
    match opened {
        Some(opened) => Options { seed: opened.seed, next_record: opened.next_number, ..options },
        None => options,
    }
}

fn fresh_options(config: &Config) -> Result<Options, StartError> {
    let seed = u64::from_ne_bytes(random());
    let options = Options { shards: config.shards, seed, ..config.options() };
    options.validate().map_err(StartError::Options)?;
    Ok(options)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Fails only where a signal came.
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

fn listener_ids(config: &Config) -> impl Iterator<Item = ListenerId> + use<> {
    (0..config.listeners.len()).map(|index| ListenerId(index as u16))
}

/// Whether there will be listeners: what takes long begins only then.
fn probe(config: &Config) -> Result<(), StartError> {
    config.listeners.iter().try_for_each(|listener| {
        let address = internet(&listener.address);
        Listener::probe(&address.into()).map_err(|error| StartError::Listen(address, error))
    })
}

fn internet(address: &Address) -> SocketAddr {
    match address {
        Address::Internet(address) => *address,
        Address::Unix(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}

/// For each shard its listeners, on the same addresses.
fn listeners(config: &Config) -> Result<Vec<Vec<Listening>>, StartError> {
    let mut all: Vec<Vec<Listening>> = (0..config.shards).map(|_| Vec::new()).collect();
    for (index, listener) in config.listeners.iter().enumerate() {
        let address = internet(&listener.address);
        let failed = |error| StartError::Listen(address, error);
        let (id, transport) = (ListenerId(index as u16), Arc::new(Transport::default()));
        let listening = |listener| Listening { listener, id, transport: Arc::clone(&transport), has_more: false };
        let address = ListenAddress::from(address);
        Listener::probe(&address).map_err(failed)?;
        let first = Listener::bind(&address).map_err(failed)?;
        for others in &mut all[1..] {
            others.push(listening(first.share().map_err(failed)?));
        }
        all[0].push(listening(first));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::server::ListenerConfig;

    #[test]
    fn another_broker_on_the_address_is_told_and_not_shared_with() {
        let on = |address: SocketAddr| Config {
            shards: 2,
            listeners: vec![ListenerConfig::on(address)],
            ..Config::default()
        };
        let running = listeners(&on((Ipv4Addr::LOCALHOST, 0).into())).expect("a port");
        let address = running[0][0].listener.address().internet().expect("an address");
        assert_eq!(running[1][0].listener.address().internet(), Some(address));
        let Err(error) = listeners(&on(address)) else { panic!("two brokers share {address}") };
        assert!(error.to_string().contains("another program does"), "{error}");
    }
}
