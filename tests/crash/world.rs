//! A run: who takes part, what they tell of each other, and the broker that comes and goes meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, PATIENCE, Setup};
use crate::folder::Folder;
use crate::history::{History, Sent, Session, now};
use crate::judge::{Verdict, judge};
use crate::link::Link;
use crate::packets::Login;
use crate::publisher::Publisher;
use crate::random::Random;
use crate::retained::audit;
use crate::subscriber::{Habits, Subscriber};

/// The last of them retains what it publishes.
const PUBLISHERS: usize = 4;
const RETAINER: usize = PUBLISHERS - 1;

/// How long the broker lives at most before it is killed.
const LIFE_MS_MAX: u64 = 1_500;

/// How long it lives at most where it is killed while it starts.
const START_MS_MAX: u64 = 60;

/// Between two attempts to reach a broker that is not there.
const RETRY: Duration = Duration::from_millis(10);

/// How long duplicates may take to come.
const LATE: Duration = Duration::from_millis(500);

/// How a run is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) kills: u64,
    pub(crate) has_store: bool,
    /// How long the last broker has the clients at work.
    pub(crate) last_life: Duration,
    /// How long nothing comes before nothing is expected any more.
    pub(crate) quiet: Duration,
}

/// What the clients share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    sent: Vec<Mutex<Vec<Sent>>>,
    sessions: Vec<Mutex<Session>>,
    kills: Mutex<Vec<u64>>,
    /// What is wrong whatever else comes.
    oddities: Mutex<BTreeSet<String>>,
    ready: AtomicUsize,
    is_publishing: AtomicBool,
    is_over: AtomicBool,
}

impl World {
    fn new(address: SocketAddr, habits: &[Habits]) -> Self {
        Self {
            address,
            sent: (0..PUBLISHERS).map(|_| Mutex::default()).collect(),
            sessions: habits.iter().map(|habits| Mutex::new(habits.session())).collect(),
            kills: Mutex::default(),
            oddities: Mutex::default(),
            ready: AtomicUsize::new(0),
            is_publishing: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
        }
    }

    /// Goes on until the client is let in, and says whether there was a session. `None`: the run is over.
    pub(crate) fn connect(&self, login: &Login) -> Option<(Link, bool)> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_over() {
            if let Some(connected) = Link::connect(self.address, login) {
                return Some(connected);
            }
            assert!(Instant::now() < deadline, "{} is not let in for {PATIENCE:?}", login.client_id);
            thread::sleep(RETRY);
        }
        None
    }

    pub(crate) fn is_publishing(&self) -> bool {
        self.is_publishing.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn oddity(&self, what: String) {
        self.oddities.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
    }

    /// The message's number.
    pub(crate) fn sent(&self, publisher: usize, message: Sent) -> usize {
        let mut sent = self.sent[publisher].lock().unwrap();
        sent.push(message);
        sent.len() - 1
    }

    pub(crate) fn message(&self, publisher: usize, number: usize) -> Sent {
        self.sent[publisher].lock().unwrap()[number].clone()
    }

    pub(crate) fn all_sent(&self, publisher: usize) -> Vec<Sent> {
        self.sent[publisher].lock().unwrap().clone()
    }

    pub(crate) fn acknowledged(&self, publisher: usize, number: usize) {
        self.sent[publisher].lock().unwrap()[number].acknowledged_at.get_or_insert_with(now);
    }

    pub(crate) fn session<T>(&self, index: usize, work: impl FnOnce(&mut Session) -> T) -> T {
        work(&mut self.sessions[index].lock().unwrap())
    }

    fn history(&self) -> History {
        History {
            sent: (0..PUBLISHERS).map(|publisher| self.all_sent(publisher)).collect(),
            sessions: self.sessions.iter().map(|session| session.lock().unwrap().clone()).collect(),
            kills: self.kills.lock().unwrap().clone(),
        }
    }

    fn arrivals(&self) -> usize {
        self.sessions.iter().map(|session| session.lock().unwrap().arrivals.len()).sum()
    }
}

/// What each subscriber is subscribed to; no two filters of one match the same topic.
fn habits() -> Vec<Habits> {
    let habits = |client_id: &str, qos, filters: &[&str], toggled: &[&str], away_ms| Habits {
        client_id: client_id.into(),
        qos,
        group: None,
        filters: filters.iter().map(|&filter| filter.into()).collect(),
        toggled: toggled.iter().map(|&filter| filter.into()).collect(),
        away_max: Duration::from_millis(away_ms),
    };
    let member = |number: usize| Habits {
        group: Some("crew".into()),
        ..habits(&format!("member {number}"), 2, &["crash/#"], &[], 300)
    };
    vec![
        habits("all", 2, &["crash/#"], &[], 50),
        habits("often away", 2, &["crash/#"], &[], 4_000),
        habits("wildcard", 1, &["crash/+/0", "crash/0/1"], &[], 200),
        habits("exact", 2, &["crash/0/1", "crash/1/2", "crash/2/3"], &["crash/0/0"], 200),
        habits("fickle", 2, &["crash/2/+"], &["crash/0/0", "crash/1/+", "crash/0/2"], 200),
        habits("fickle 1", 1, &[], &["crash/0/+", "crash/1/0", "crash/2/#"], 1_000),
        habits("keeper", 2, &["kept/#"], &[], 500),
        member(0),
        member(1),
        member(2),
    ]
}

/// One run; gives what is wrong.
pub(crate) fn run(run: Run) -> Vec<String> {
    let folder = Folder::new();
    let mut random = Random::new(run.seed);
    let mut brokers = Brokers { run, folder: &folder, address: own_address(), random: Random::new(run.seed + 1) };
    let broker = brokers.setup().start();
    brokers.address = broker.address;
    let habits = habits();
    let world = World::new(broker.address, &habits);
    let mut fork = || Random::new(random.next());
    let publishers: Vec<_> = (0..PUBLISHERS).map(|_| fork()).collect();
    let subscribers: Vec<_> = habits.into_iter().map(|habits| (habits, fork())).collect();
    let verdict = thread::scope(|scope| {
        // Whatever fails, the clients must not go on for ever.
        let end = End(&world);
        let subscribed = subscribers.len();
        for (index, (habits, random)) in subscribers.into_iter().enumerate() {
            let world = &world;
            scope.spawn(move || {
                let subscriber = Subscriber::connect(world, index, habits, random);
                world.ready.fetch_add(1, Ordering::Relaxed);
                subscriber.run();
            });
        }
        wait(|| world.ready.load(Ordering::Relaxed) == subscribed);
        let publishers = publishers.into_iter().enumerate().map(|(index, random)| {
            let publisher = Publisher::connect(&world, index, index == RETAINER, random);
            scope.spawn(|| publisher.run())
        });
        let publishers: Vec<_> = publishers.collect();
        let broker = brokers.kill_again_and_again(&world, broker);
        world.is_publishing.store(false, Ordering::Relaxed);
        wait(|| publishers.iter().all(thread::ScopedJoinHandle::is_finished));
        let verdict = drain(&world, run.quiet);
        let verdict = brokers.stop_and_start(&world, broker, verdict);
        drop(end);
        verdict
    });
    told(&world, &verdict);
    let oddities = world.oddities.into_inner().unwrap();
    oddities.into_iter().chain(verdict.wrong).chain(verdict.missing).collect()
}

/// Ends the clients, also where the run fails.
struct End<'a>(&'a World);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_publishing.store(false, Ordering::Relaxed);
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

fn wait(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "the clients do not get on");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An address of this run alone, from which nobody connects: a connect to a port where nobody listens could else meet
/// itself.
fn own_address() -> SocketAddr {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let run = RUNS.fetch_add(1, Ordering::Relaxed) as u8;
    ([127, 10 + run, high, low.clamp(1, 254)], 0).into()
}

/// The brokers of a run, one after the other.
struct Brokers<'a> {
    run: Run,
    folder: &'a Folder,
    address: SocketAddr,
    random: Random,
}

impl Brokers<'_> {
    /// Nothing is dropped for being too much; segments are soon full. The number of shards is another one now and then.
    fn setup(&mut self) -> Setup {
        let shards = [2, 2, 1, 3][self.random.below(4) as usize];
        let mut setup = Setup::new(shards).address(self.address);
        for limit in ["queue_messages_max", "queue_bytes_max"] {
            setup = setup.limit(limit, u32::MAX.into());
        }
        match self.run.has_store {
            true => setup.store(self.folder.path()).store_option("segment_bytes", "1048576"),
            false => setup,
        }
    }

    /// Gives the one that lives on.
    fn kill_again_and_again(&mut self, world: &World, mut broker: Broker) -> Broker {
        let mut killed = 0;
        while killed < self.run.kills {
            thread::sleep(Duration::from_millis(self.random.below(LIFE_MS_MAX)));
            self.kill(world, broker);
            killed += 1;
            while killed < self.run.kills && self.random.below(4) == 0 {
                let starting = self.setup().launch();
                thread::sleep(Duration::from_millis(self.random.below(START_MS_MAX)));
                self.kill(world, starting);
                killed += 1;
            }
            broker = self.setup().start();
            if self.random.below(2) == 0 {
                audit(world, RETAINER);
            }
        }
        thread::sleep(self.run.last_life);
        broker
    }

    fn kill(&self, world: &World, broker: Broker) {
        broker.kill();
        world.kills.lock().unwrap().push(now());
    }

    /// After an end that was asked for nothing is there again, and nothing is gone.
    fn stop_and_start(&mut self, world: &World, broker: Broker, verdict: Verdict) -> Verdict {
        if !audit(world, RETAINER) {
            world.oddity("the retained messages cannot be looked at in the end".into());
        }
        let (broker, verdict) = match self.run.has_store {
            false => (broker, verdict),
            true => {
                broker.stop();
                let broker = self.setup().start();
                if !audit(world, RETAINER) {
                    world.oddity("the retained messages cannot be looked at after a stop".into());
                }
                (broker, drain(world, LATE))
            }
        };
        world.is_over.store(true, Ordering::Relaxed);
        broker.stop();
        verdict
    }
}

/// Until nothing is missing and no more comes, or nothing came for that long.
fn drain(world: &World, quiet: Duration) -> Verdict {
    let (mut arrivals, mut last) = (world.arrivals(), Instant::now());
    loop {
        thread::sleep(LATE);
        let verdict = judge(&world.history());
        let more = world.arrivals();
        if more > arrivals {
            (arrivals, last) = (more, Instant::now());
        } else if verdict.missing.is_empty() || last.elapsed() > quiet {
            return verdict;
        }
    }
}

fn told(world: &World, verdict: &Verdict) {
    let history = world.history();
    let sent = history.sent.iter().flatten();
    let acknowledged = sent.clone().filter(|sent| sent.acknowledged_at.is_some()).count();
    let subscriptions: usize = history.sessions.iter().map(|session| session.subscriptions.len()).sum();
    println!(
        "{} kills, {} messages ({acknowledged} acknowledged), {} arrivals, {subscriptions} subscriptions; {} missing, {} \
         wrong",
        history.kills.len(),
        sent.count(),
        world.arrivals(),
        verdict.missing.len(),
        verdict.wrong.len()
    );
}
