//! The broker as a process of its own: started on a free port, its log read line by line, stopped by a signal.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};

use crate::log_line::LogLine;

/// For whatever should happen at once; long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// So many brokers run at the same time at most, however many tests do.
const BROKERS_MAX: u32 = 4;

/// How a broker is to be configured. Quiet $SYS, short drain, no store, everything else by default.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    shards: usize,
    options: Vec<(String, String)>,
    limits: Vec<(String, String)>,
    /// None: without persistence.
    store: Option<StoreSetup>,
    log_level: String,
    log_format: String,
    /// What a shell does before it becomes the broker.
    before: String,
    address: SocketAddr,
    /// More lines of the listener, and whole tables, as the file has them.
    listener: String,
    tables: String,
}

#[derive(Clone, Debug)]
struct StoreSetup {
    folder: PathBuf,
    options: Vec<(String, String)>,
}

impl Setup {
    pub(crate) fn new(shards: usize) -> Self {
        let mut setup = Self {
            shards,
            options: Vec::new(),
            limits: Vec::new(),
            store: None,
            log_level: "info".into(),
            log_format: "json".into(),
            before: String::new(),
            address: ([127, 0, 0, 1], 0).into(),
            listener: String::new(),
            tables: String::new(),
        };
        for (key, value) in [("spin_us", 0), ("sys_interval_secs", 0), ("drain_secs", 5), ("connections_max", 20_000)] {
            setup = setup.option(key, value);
        }
        setup
    }

    /// A key at the top of the file.
    pub(crate) fn option(mut self, key: &str, value: u64) -> Self {
        self.options.retain(|(present, _)| present != key);
        self.options.push((key.into(), value.to_string()));
        self
    }

    /// A key of `[limits]`.
    pub(crate) fn limit(mut self, key: &str, value: u64) -> Self {
        self.limits.retain(|(present, _)| present != key);
        self.limits.push((key.into(), value.to_string()));
        self
    }

    /// The same, its value as the file has it.
    pub(crate) fn limit_text(mut self, key: &str, value: &str) -> Self {
        self.limits.push((key.into(), value.into()));
        self
    }

    /// With a store in this folder.
    pub(crate) fn store(mut self, folder: &Path) -> Self {
        self.store = Some(StoreSetup { folder: folder.into(), options: Vec::new() });
        self
    }

    /// A key of `[store]`, its value as the file has it.
    pub(crate) fn store_option(mut self, key: &str, value: &str) -> Self {
        self.store.as_mut().expect("there is a store").options.push((key.into(), value.into()));
        self
    }

    pub(crate) fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.into();
        self
    }

    pub(crate) fn log_format(mut self, format: &str) -> Self {
        self.log_format = format.into();
        self
    }

    /// What `ulimit -n` is for the broker.
    pub(crate) fn descriptors_max(self, max: u32) -> Self {
        self.before(&format!("ulimit -n {max}"))
    }

    /// A command of the shell that then becomes the broker.
    pub(crate) fn before(mut self, command: &str) -> Self {
        self.before = command.into();
        self
    }

    /// Where it listens; a free port of 127.0.0.1 without it.
    pub(crate) fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// More lines of the listener.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        self.listener = lines.into();
        self
    }

    /// More tables at the end of the file.
    pub(crate) fn tables(mut self, text: &str) -> Self {
        self.tables = text.into();
        self
    }

    pub(crate) fn start(self) -> Broker {
        Broker::start(self)
    }

    /// Does not wait until it listens.
    pub(crate) fn launch(self) -> Broker {
        Broker::launch(self)
    }

    /// For a broker that cannot start: its exit code and its log.
    pub(crate) fn fail_to_start(self) -> (Option<i32>, String) {
        let _permit = Permit::take();
        let config = fresh_config(&self);
        let output = self.command(&config).stdin(Stdio::null()).output().expect("the broker starts");
        let _ = fs::remove_file(config);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn text(&self, address: SocketAddr) -> String {
        let mut text = format!("shards = {}\npersistence = {}\n", self.shards, self.store.is_some());
        for (key, value) in &self.options {
            let _ = writeln!(text, "{key} = {value}");
        }
        let _ = write!(text, "\n[[listeners]]\naddress = \"{address}\"\n{}", self.listener);
        let _ = write!(text, "\n[log]\nformat = \"{}\"\nlevel = \"{}\"\n\n[limits]\n", self.log_format, self.log_level);
        for (key, value) in &self.limits {
            let _ = writeln!(text, "{key} = {value}");
        }
        if let Some(store) = &self.store {
            let _ = writeln!(text, "\n[store]\ndirectory = \"{}\"", store.folder.display());
            store.options.iter().for_each(|(key, value)| _ = writeln!(text, "{key} = {value}"));
        }
        text.push('\n');
        text.push_str(&self.tables);
        text
    }

    fn command(&self, config: &PathBuf) -> Command {
        let binary = binary();
        let mut command = match self.before.as_str() {
            "" => Command::new(binary),
            before => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(binary);
                shell
            }
        };
        command.arg("-c").arg(config);
        command
    }
}

/// Runs a test with brokers of 1, 2 and 4 shards; each has to stop as it should afterwards.
pub(crate) fn on_shards(setup: impl Fn(Setup) -> Setup + Sync, test: impl Fn(&Broker) + Sync) {
    thread::scope(|scope| {
        for shards in [1, 2, 4] {
            let (setup, test) = (&setup, &test);
            scope.spawn(move || {
                let broker = setup(Setup::new(shards)).start();
                test(&broker);
                broker.stop();
            });
        }
    });
}

/// A setup with nothing special about it.
pub(crate) fn plain(setup: Setup) -> Setup {
    setup
}

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) shards: usize,
    child: Child,
    config: PathBuf,
    log: Arc<Log>,
    _permit: Permit,
}

impl Broker {
    fn start(setup: Setup) -> Self {
        let mut broker = Self::launch(setup);
        let listening = broker.line("it listens", |line| line.text().contains("listening"));
        broker.address = listening.address().unwrap_or_else(|| panic!("no address in {listening:?}"));
        broker
    }

    fn launch(setup: Setup) -> Self {
        let permit = Permit::take();
        let config = fresh_config(&setup);
        let mut command = setup.command(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker starts");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("it is piped");
        thread::spawn({
            let log = Arc::clone(&log);
            move || log.follow(stderr)
        });
        Self { address: setup.address, shards: setup.shards, child, config, log, _permit: permit }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line of the log, from the start, that is as wanted; waits for it.
    pub(crate) fn line(&self, what: &str, wanted: impl Fn(&LogLine) -> bool) -> LogLine {
        self.log.wait(what, wanted)
    }

    /// What the log says of so far.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.log.state().lines.clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().expect("a process identifier")).expect("it is not 0");
        kill_process(pid, signal).expect("the broker runs");
    }

    /// Another configuration for the same listener, not yet read.
    pub(crate) fn rewrite(&self, setup: &Setup) {
        fs::write(&self.config, setup.text(self.address)).expect("the file is ours");
    }

    /// Another configuration with its own listener.
    pub(crate) fn rewrite_elsewhere(&self, setup: &Setup) {
        fs::write(&self.config, setup.text(setup.address)).expect("the file is ours");
    }

    /// The configuration's file with something that is none.
    pub(crate) fn rewrite_raw(&self, text: &str) {
        fs::write(&self.config, text).expect("the file is ours");
    }

    /// Ends it where it is, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Asks it to stop, and checks that it does so as it should.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        assert!(self.wait(PATIENCE).success(), "stopped by SIGTERM");
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(self) {
        self.signal(Signal::KILL);
        assert!(!self.wait(PATIENCE).success(), "nothing is in order about a crash");
    }

    /// Its end, which must come within the time.
    pub(crate) fn wait(mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the broker still runs after {within:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
        if thread::panicking() {
            let lines = self.lines();
            println!("The last lines of the broker's log ({} shards):", self.shards);
            lines[lines.len().saturating_sub(30)..].iter().for_each(|line| println!("{}", line.text()));
        }
    }
}

fn fresh_config(setup: &Setup) -> PathBuf {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let config = env::temp_dir().join(format!("thrum-wire-{}-{number}.toml", std::process::id()));
    fs::write(&config, setup.text(setup.address)).expect("a file in the temporary folder");
    config
}

/// The binary under test.
pub(crate) fn binary() -> OsString {
    // Another build of the broker, an optimized one for instance.
    env::var_os("THRUM_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_thrum").into())
}

#[derive(Default, Debug)]
struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Default, Debug)]
struct LogState {
    lines: Vec<LogLine>,
    is_over: bool,
}

impl Log {
    /// A test that failed while it looked leaves the log as it is.
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            self.state().lines.push(LogLine::new(&String::from_utf8_lossy(&line)));
            self.grown.notify_all();
        }
        self.state().is_over = true;
        self.grown.notify_all();
    }

    fn wait(&self, what: &str, wanted: impl Fn(&LogLine) -> bool) -> LogLine {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!state.is_over, "the log ended and did not say that {what}");
            assert!(!left.is_zero(), "the log does not say that {what}");
            state = self.grown.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The right to run a broker.
#[derive(Debug)]
struct Permit;

static PERMITS: (Mutex<u32>, Condvar) = (Mutex::new(BROKERS_MAX), Condvar::new());

impl Permit {
    fn take() -> Self {
        let (free, given_back) = &PERMITS;
        let mut free = given_back.wait_while(free.lock().unwrap(), |free| *free == 0).unwrap();
        *free -= 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (free, given_back) = &PERMITS;
        *free.lock().unwrap() += 1;
        given_back.notify_one();
    }
}
