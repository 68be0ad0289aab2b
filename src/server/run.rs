//! The process from start to end: limits, log, broker, signals, drain.

use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::{panic, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use tracing::{error, info, warn};

use super::boot::Broker;
use super::command_line::CommandLine;
use super::config::Config;
use super::host::{HostLimits, raise_descriptor_limit};
use super::log::Log;
use crate::access::Open;

/// What `thrum` does, as its command line says.
pub fn run(command_line: &CommandLine) -> ExitCode {
    let config = match command_line.read_config() {
        Ok(config) => config,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    raise_descriptor_limit();
    let host = HostLimits::read();
    let config = host.fit(config);
    if command_line.check {
        return tell_valid(&host, &config);
    }
    let log = Log::start(&config.log);
    match serve(command_line, config, &host, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            error!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// The machine may be another one than the broker's: its limits are told, and judged only at start.
fn tell_valid(host: &HostLimits, config: &Config) -> ExitCode {
    let error = host.check().err().map(|error| error.to_string());
    for warning in host.warnings(config).into_iter().chain(error) {
        eprintln!("warning: {warning}");
    }
    match writeln!(io::stdout(), "the configuration is valid") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(command_line: &CommandLine, config: Config, host: &HostLimits, log: &Log) -> Result<(), String> {
    announce(command_line, &config, host);
    host.check().map_err(|error| error.to_string())?;
    die_with_any_thread();
    // Before there is anything to stop, so that no signal is lost.
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| format!("cannot take signals: {error}"))?;
    let broker =
        Broker::start(&config, &host.cores, || Box::new(Open)).map_err(|error| format!("cannot start: {error}"))?;
    for address in broker.addresses() {
        info!(%address, "listening");
    }
    info!("ready");
    reload_until_stopped(&mut signals, command_line, config, host, log, &broker);
    thread::spawn(move || leave_when_asked_again(signals));
    info!("stopping");
    broker.stop().map_err(|error| format!("cannot stop in order: {error}"))?;
    info!("stopped");
    Ok(())
}

/// A shard that fell over has left its clients: better that the whole broker ends and is started anew.
fn die_with_any_thread() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        error!("{info}: this is a bug of the broker, which ends here");
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

/// Comes back when a signal says that the broker is to stop.
fn reload_until_stopped(
    signals: &mut Signals,
    command_line: &CommandLine,
    mut config: Config,
    host: &HostLimits,
    log: &Log,
    broker: &Broker,
) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            return;
        }
        if let Some(new) = reread(command_line, &config, host) {
            log.set_level(new.log.level);
            broker.reload(&new);
            config = new;
        }
    }
}

/// The configuration to go on with, told with what it changes; `None`: as before.
fn reread(command_line: &CommandLine, old: &Config, host: &HostLimits) -> Option<Config> {
    if command_line.config.is_none() {
        info!("no configuration file to read again");
        return None;
    }
    let new = match command_line.read_config() {
        Ok(new) => host.fit(new),
        Err(errors) => {
            errors.iter().for_each(|error| error!("{error}"));
            error!("the configuration stays as it was");
            return None;
        }
    };
    for key in old.changes_needing_restart(&new) {
        warn!(key, "changes at the next start only");
    }
    let new = new.with_restart_values_of(old);
    for key in old.changes(&new) {
        info!(key, "changed");
    }
    host.warnings(&new).iter().for_each(|warning| warn!("{warning}"));
    info!("configuration read again");
    Some(new)
}

/// Who cannot wait for the drain says so with a second signal.
fn leave_when_asked_again(mut signals: Signals) {
    if signals.forever().any(|signal| signal != SIGHUP) {
        warn!("stopped before the clients were told");
        low_level::exit(1);
    }
}
