//! The broker as a whole: its shards, each on a pinned executor, and the ways to speak to them.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use tracing::warn;

use super::checks::{CheckLimits, CheckPool, Checks};
use super::clock::Clock;
use super::command::{Command, Reconfiguration, ShardHandle};
use super::config::Config;
use super::config_file::Errors;
use super::control::{Asked, Control, SOCKET_FILE};
use super::doors::Doors;
use super::listeners::{Listeners, Plan};
use super::memory::give_back;
use super::open_store::{journal_options, open_store};
use super::parcel::Parcel;
use super::prepared::{Prepared, prepare};
use super::shard::{Shard, ShardParts};
use super::shard_store::ShardStore;
use crate::access::{Bans, Guard, Policy, PolicyGuard};
use crate::base::{ListenerId, ShardId};
use crate::broker::{OptionError, Options, ShardCore};
use crate::mesh::{self, Alarm, Port};
use crate::net::{ListenAddress, Transport};
use crate::storage::{Journal, LogOptions, Opened, Store, StoreError, StoreHandle, Told};

/// The rings that the kernel gives glommio. What waits in them has to be cancelled at every turn of its reactor, which
/// is cheap with room to spare.
const RING_DEPTH: usize = 4_096;
/// For glommio's file I/O, which nothing here uses, locked in memory: as little as it takes.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Nothing here gives way to glommio's tasks by its timer, and an executor that finds the timer run out before it has run
/// anything goes to sleep with a task ready (glommio 0.9: seen as a start that never ended, on a busy machine).
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A shard that takes longer to hear of a new configuration hears of it later than of the listeners that come with it.
const RECONFIGURE_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub enum StartError {
    Options(OptionError),
    /// What is wrong with the files that the configuration names, or with what they say.
    Files(Errors),
    Listen(ListenAddress, io::Error),
    Mesh(io::Error),
    Store(StoreError),
    StoreThreads(io::Error),
    Shard(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Options(error) => write!(f, "{error}"),
            Self::Files(errors) => f.write_str(&errors.join("; ")),
            Self::Listen(address, error) => f.write_str(&cannot_listen(address, error)),
            Self::Mesh(error) => write!(f, "cannot connect the shards: {error}"),
            Self::Store(error) => write!(f, "{error}"),
            Self::StoreThreads(error) => write!(f, "cannot start the store's threads: {error}"),
            Self::Shard(error) => write!(f, "a shard did not start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

fn cannot_listen(address: &ListenAddress, error: &io::Error) -> String {
    let is_port = address.internet().is_some();
    match error.kind() {
        io::ErrorKind::AddrInUse if is_port => {
            format!("cannot listen on {address}: another program does; stop it, or choose another port")
        }
        io::ErrorKind::AddrInUse => format!("cannot listen on {address}: another program does; stop it"),
        io::ErrorKind::PermissionDenied if is_port => {
            format!("cannot listen on {address}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    listeners: Listeners,
    guards: Guards,
    /// What made-up users are made of.
    secret: [u8; 32],
    doors: Arc<Doors>,
    shards: Vec<RunningShard>,
    store: Option<RunningStore>,
}

/// Where the shards' guards come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guards {
    /// From who started the broker: they stay as they are.
    Given,
    /// From the configuration.
    Configured,
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
    /// own, whatever the configuration says of access. Returns when all of them let clients in.
    pub fn start(config: &Config, cores: &[CoreId], guard: impl Fn() -> Box<dyn Guard>) -> Result<Self, StartError> {
        Self::boot(config, cores, Guards::Given, |_| guard())
    }

    /// The same with the guards that the configuration describes.
    pub fn start_guarded(config: &Config, cores: &[CoreId]) -> Result<Self, StartError> {
        Self::boot(config, cores, Guards::Configured, policy_guard)
    }

    fn boot(
        config: &Config,
        cores: &[CoreId],
        guards: Guards,
        guard: impl Fn(&Arc<Policy>) -> Box<dyn Guard>,
    ) -> Result<Self, StartError> {
        let options = fresh_options(config)?;
        let (none, secret) = (Listeners::default(), random());
        let names = none.names(&config.listeners).map_err(|error| StartError::Files(vec![error]))?;
        let prepared = prepare(config, &names, secret).map_err(StartError::Files)?;
        tell_warnings(&prepared);
        let failed = |(address, error)| StartError::Listen(address, error);
        Listeners::probe(&prepared).map_err(failed)?;
        let mut opened = open_store(config).map_err(StartError::Store)?;
        let options = with_store(options, opened.as_ref());
        let Plan { listeners, added, .. } =
            none.plan(&config.listeners, &names, &prepared, config.shards).map_err(failed)?;
        let ports = mesh::build(config.shards, mesh::ring_slots(config.shards)).map_err(StartError::Mesh)?;
        let (handles, commands) = handles(&ports);
        let journals = opened.as_ref().map(|opened| journals(config, opened)).unwrap_or_default();
        let mut images = opened.as_mut().map(|opened| mem::take(&mut opened.shards)).unwrap_or_default().into_iter();
        let (config, clock) = (Arc::new(config.clone()), Clock::start());
        let doors = Arc::new(config.doors(u64::from_ne_bytes(random()), names.iter().copied()));
        let store =
            opened.map(|opened| RunningStore::start(opened.store, &handles, doors.bans(), clock)).transpose()?;
        let mut journals = journals.into_iter();
        let policy = policy(prepared, &doors);
        let mut broker = Self { listeners, guards, secret, doors, shards: Vec::new(), store };
        let checks = CheckPool::start(&check_limits(&config)).map_err(|error| StartError::Shard(error.to_string()))?;
        let checks = Arc::new(checks);
        let (started, starts) = channel();
        let parts = ports.into_iter().zip(added).zip(handles.into_iter().zip(commands));
        for (index, ((port, listeners), (handle, commands))) in parts.enumerate() {
            let checks = Checks::new(Arc::clone(&checks), handle.clone());
            let parts = ShardParts {
                config: Arc::clone(&config),
                listeners,
                port,
                doors: Arc::clone(&broker.doors),
                commands,
                checks,
                clock,
                image: images.next(),
                started: started.clone(),
            };
            let store = broker.store.as_ref().map(|store| store.handle.clone());
            let plan =
                journals.next().zip(store).map(|((folder, options), store)| StorePlan { folder, options, store });
            let options = Options { secret: random(), ..options.clone() };
            let thread = spawn(parts, core_of(index, cores), options, guard(&policy), plan)?;
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

    /// Where it listens on TCP, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// Where it listens, with Unix sockets.
    pub fn listen_addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.listeners.bound()
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Goes on as the configuration says, and the files that it names, as far as a running broker can; nobody is
    /// disconnected by it. All is read and checked before anything changes: an error leaves everything as it was.
    pub fn reload(&mut self, config: &Config) -> Result<(), Errors> {
        let names = self.listeners.names(&config.listeners).map_err(|error| vec![error])?;
        let prepared = prepare(config, &names, self.secret)?;
        let plan = self.listeners.plan(&config.listeners, &names, &prepared, self.shards.len());
        let plan = plan.map_err(|(address, error)| vec![cannot_listen(&address, &error)])?;
        tell_warnings(&prepared);
        self.doors.set_rules(&config.door_rules(names));
        self.doors.bans().set_rules(config.ban_rules());
        self.reconfigure(&Arc::new(config.clone()), &policy(prepared, &self.doors), &plan.transports);
        // Only now, when all shards know what holds for who comes in there.
        for (shard, added) in self.shards.iter().zip(plan.added) {
            shard.handle.tell(Command::Listen(added));
        }
        self.listeners = plan.listeners;
        Ok(())
    }

    /// Returns when every shard goes on with it.
    fn reconfigure(&self, config: &Arc<Config>, policy: &Arc<Policy>, transports: &[(ListenerId, Arc<Transport>)]) {
        let (done, hear) = channel();
        for shard in &self.shards {
            let guard = (self.guards == Guards::Configured).then(|| policy_guard(policy));
            let (config, transports, done) = (Arc::clone(config), transports.into(), done.clone());
            shard.handle.tell(Command::Configure(Box::new(Reconfiguration { config, guard, transports, done })));
        }
        drop(done);
        let deadline = Instant::now() + RECONFIGURE_TIME_MAX;
        // A shard that has ended lets go of the channel.
        while hear.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
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

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Fails only where a signal came.
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

fn check_limits(config: &Config) -> CheckLimits {
    let access = &config.access;
    CheckLimits {
        hash_threads: access.hash_threads as usize,
        hash_queue_max: access.hash_queue_max as usize,
        wait_threads: access.hook.threads as usize,
        // Who waits for an answer costs no more than who waits for a hash.
        wait_queue_max: access.hash_queue_max as usize,
    }
}

/// With what all shards, and the doors, count together.
fn policy(prepared: Prepared, doors: &Doors) -> Arc<Policy> {
    let (bans, seats) = (Some(Arc::clone(doors.bans())), Some(Arc::clone(doors.seats())));
    Arc::new(Policy { bans, seats, ..prepared.policy })
}

fn policy_guard(policy: &Arc<Policy>) -> Box<dyn Guard> {
    Box::new(PolicyGuard::new(Arc::clone(policy), u64::from_ne_bytes(random())))
}

fn tell_warnings(prepared: &Prepared) {
    prepared.warnings.iter().for_each(|warning| warn!("{warning}"));
}
