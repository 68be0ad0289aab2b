//! The process from start to end: limits, log, broker, signals, drain.

use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use std::{panic, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use tracing::{error, info, warn};

use super::bans_command::run_bans;
use super::boot::Broker;
use super::command_line::{CommandLine, Task};
use super::config::Config;
use super::config_file::Errors;
use super::host::{HostLimits, raise_descriptor_limit};
use super::log::Log;
use super::passwd_command::run_passwd;
use super::prepared::check;
use super::store_command::run_store;
use super::watch::{Stamps, Watch};
use crate::net::ListenAddress;

/// A panic's backtrace goes to stderr past the log, which whoever should read it may not do.
const BACKTRACE_TIME_MAX: Duration = Duration::from_secs(1);

/// How often a start that takes long looks for a signal.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// What `thrum` does, as its command line says.
pub fn run(command_line: &CommandLine) -> ExitCode {
    if let Some(Task::Passwd(command)) = &command_line.task {
        return run_passwd(command);
    }
    let mut stamps = Stamps::default();
    command_line.config.iter().for_each(|path| stamps.look_at(path));
    let config = match command_line.read_config() {
        Ok(config) => config,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    if let Some(Task::Store { directory, command }) = &command_line.task {
        return run_store(command, directory.as_ref().unwrap_or(&config.store.directory));
    }
    if let Some(Task::Bans { directory, command }) = &command_line.task {
        return run_bans(command, directory.as_ref().unwrap_or(&config.store.directory));
    }
    raise_descriptor_limit();
    let host = HostLimits::read();
    let config = host.fit(config);
    if command_line.check {
        return tell_valid(&host, &config);
    }
    let log = match Log::start(&config.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("cannot start the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    config.files().iter().for_each(|path| stamps.look_at(path));
    let result = serve(command_line, config, stamps, &host, &log);
    if let Err(what) = &result {
        error!("{what}");
    }
    log.flush();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The machine may be another one than the broker's: its limits are told, and judged only at start.
fn tell_valid(host: &HostLimits, config: &Config) -> ExitCode {
    let warnings = match check(config) {
        Ok(warnings) => warnings,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    let error = host.check().err().map(|error| error.to_string());
    for warning in host.warnings(config).into_iter().chain(error).chain(warnings) {
        eprintln!("warning: {warning}");
    }
    match writeln!(io::stdout(), "the configuration is valid") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(
    command_line: &CommandLine,
    config: Config,
    stamps: Stamps,
    host: &HostLimits,
    log: &Log,
) -> Result<(), String> {
    announce(command_line, &config, host);
    host.check().map_err(|error| error.to_string())?;
    die_with_any_thread(log.clone());
    // Before there is anything to stop, so that no signal is lost.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])
        .map_err(|error| format!("cannot take signals: {error}"))?;
    let broker = start_unless_stopped(&mut signals, &config, host)?;
    for address in broker.listen_addresses() {
        info!(%address, "listening");
    }
    let watch = Watch::start(signal_change).map_err(|error| format!("cannot watch files: {error}"))?;
    if config.access.watch {
        watch.follow(stamps.clone());
    }
    info!("ready");
    let mut running = Running { command_line, config, stamps, host, log, broker, watch };
    running.reload_until_stopped(&mut signals);
    let broker = running.broker;
    let log = log.clone();
    thread::spawn(move || leave_when_asked_again(signals, &log));
    info!("stopping");
    broker.stop().map_err(|error| format!("cannot stop in order: {error}"))?;
    info!("stopped");
    Ok(())
}

/// A store may take long to open, and who wants no broker any more is not to wait for it.
fn start_unless_stopped(signals: &mut Signals, config: &Config, host: &HostLimits) -> Result<Broker, String> {
    let (done, started) = channel();
    let (config, cores) = (config.clone(), host.cores.clone());
    thread::Builder::new()
        .name("boot".into())
        .spawn(move || _ = done.send(Broker::start_guarded(&config, &cores)))
        .map_err(|error| format!("cannot start: {error}"))?;
    loop {
        match started.recv_timeout(SIGNAL_INTERVAL) {
            Ok(result) => return result.map_err(|error| format!("cannot start: {error}")),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("cannot start: the start was broken off".into()),
        }
        // The others have nothing to do yet.
        if signals.pending().any(|signal| matches!(signal, SIGTERM | SIGINT)) {
            return Err("stopped before it was ready".into());
        }
    }
}

/// A shard that fell over has left its clients: better that the whole broker ends and is started anew.
fn die_with_any_thread(log: Log) {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        error!("{info}: this is a bug of the broker, which ends here");
        log.flush();
        thread::spawn(|| {
            thread::sleep(BACKTRACE_TIME_MAX);
            process::abort();
        });
        tell(info);
        process::abort();
    }));
}

fn announce(command_line: &CommandLine, config: &Config, host: &HostLimits) {
    let file = command_line.config.as_ref().map(|path| path.display().to_string());
    info!(
        config = file.as_deref().unwrap_or("built-in defaults"),
        cores = host.cores.len(),
        shards = config.shards,
        connections_max = config.connections_max,
        descriptors = %limit(host.descriptors),
        memlock = %limit(host.memlock_bytes),
        "thrum {} starting",
        env!("CARGO_PKG_VERSION")
    );
    host.warnings(config).iter().for_each(|warning| warn!("{warning}"));
}

fn limit(value: u64) -> String {
    if value == u64::MAX { "unlimited".into() } else { value.to_string() }
}

/// As if an operator had said that files changed: he can do so himself at the same time.
fn signal_change() {
    info!("files have changed");
    // Fails only for what is no signal.
    let _ = low_level::raise(SIGHUP);
}

/// A broker that runs, and what it was started with.
struct Running<'a> {
    command_line: &'a CommandLine,
    config: Config,
    /// The files that were read, as they were then.
    stamps: Stamps,
    host: &'a HostLimits,
    log: &'a Log,
    broker: Broker,
    watch: Watch,
}

impl Running<'_> {
    /// Comes back when a signal says that the broker is to stop.
    fn reload_until_stopped(&mut self, signals: &mut Signals) {
        for signal in signals.forever() {
            match signal {
                SIGHUP if self.command_line.config.is_none() => info!("no configuration file to read again"),
                SIGHUP => {
                    if let Err(errors) = self.reload() {
                        errors.iter().for_each(|error| error!("{error}"));
                        error!("the configuration stays as it was");
                    }
                }
                SIGUSR1 if self.broker.is_durable() => {
                    self.broker.commit_now();
                    info!("USR1: what is not on the disk yet is written there now");
                }
                SIGUSR1 => info!("USR1 has nothing to do: there is no store, all is in memory"),
                SIGUSR2 => info!("USR2 has nothing to do: $SYS tells of subscriptions"),
                _ => return,
            }
        }
    }

    /// Goes on as the configuration says now, and tells what it changes.
    fn reload(&mut self) -> Result<(), Errors> {
        let mut stamps = Stamps::default();
        self.command_line.config.iter().for_each(|path| stamps.look_at(path));
        let new = self.host.fit(self.command_line.read_config()?);
        new.files().iter().for_each(|path| stamps.look_at(path));
        let fixed = self.config.changes_needing_restart(&new);
        let new = new.with_restart_values_of(&self.config);
        let before: Vec<_> = self.broker.listen_addresses().cloned().collect();
        if let Err(errors) = self.broker.reload(&new) {
            if self.config.access.watch {
                // What has to be put right may be a file that was not named before.
                self.watch.follow(stamps.or(&self.stamps));
            }
            return Err(errors);
        }
        fixed.iter().for_each(|key| warn!(key, "changes at the next start only"));
        for key in self.config.changes(&new) {
            info!(key, "changed");
        }
        tell_listeners(&before, &self.broker);
        self.host.warnings(&new).iter().for_each(|warning| warn!("{warning}"));
        self.watch.follow(if new.access.watch { stamps.clone() } else { Stamps::default() });
        info!("configuration read again");
        self.log.set_level(new.log.level);
        (self.config, self.stamps) = (new, stamps);
        Ok(())
    }
}

fn tell_listeners(before: &[ListenAddress], broker: &Broker) {
    let now: Vec<_> = broker.listen_addresses().collect();
    for address in before.iter().filter(|address| !now.contains(address)) {
        info!(%address, "no longer listening");
    }
    for address in now.into_iter().filter(|address| !before.contains(address)) {
        info!(%address, "listening");
    }
}

/// Who cannot wait for the drain says so with a second signal.
fn leave_when_asked_again(mut signals: Signals, log: &Log) {
    if signals.forever().any(|signal| matches!(signal, SIGTERM | SIGINT)) {
        warn!("stopped before the clients were told");
        log.flush();
        low_level::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use signal_hook::consts::SIGABRT;

    use super::*;
    use crate::server::LogConfig;

    /// Set in the process that is to fall over.
    const FALL: &str = "THRUM_TEST_FALL";

    /// This test in a process of its own, which ends.
    fn fall_over(stderr: impl Into<Stdio>) -> Child {
        let mut process = Command::new(env::current_exe().unwrap());
        process.args(["--exact", "server::run::tests::a_panic_is_logged_and_ends_the_process", "--nocapture"]);
        process.env(FALL, "").env("RUST_BACKTRACE", "0").stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
    }

    #[test]
    fn a_panic_is_logged_and_ends_the_process() {
        if env::var_os(FALL).is_some() {
            die_with_any_thread(Log::start(&LogConfig::default()).unwrap());
            (0..5_000).for_each(|line| info!(line, "still to be written when it falls"));
            panic!("stumbled");
        }
        let output = fall_over(Stdio::piped()).wait_with_output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.signal(), Some(SIGABRT), "{log}");
        let (line, rest) = log.split_once(": this is a bug of the broker, which ends here\n").expect(&log);
        assert!(line.contains("ERROR panicked at src/server/run.rs:") && line.ends_with("stumbled"), "{log}");
        assert!(rest.contains("panicked at"), "the standard words follow: {log}");
    }

    #[test]
    fn a_panic_that_nobody_reads_of_ends_the_process_too() {
        let (mut full, _reader) = UnixStream::pair().unwrap();
        full.set_nonblocking(true).unwrap();
        while full.write(&[0; 1_024]).is_ok() {}
        full.set_nonblocking(false).unwrap();
        let started = Instant::now();
        let status = fall_over(OwnedFd::from(full)).wait().unwrap();
        assert_eq!(status.signal(), Some(SIGABRT));
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
