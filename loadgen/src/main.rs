//! Measures MQTT brokers.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use glommio::{LocalExecutorBuilder, Placement};
use thrum_loadgen::command_line::{Command, CommandLine, Scenario};
use thrum_loadgen::output::{Destinations, Output};
use thrum_loadgen::progress::Progress;
use thrum_loadgen::suite;
use thrum_loadgen::summary::Summary;
use thrum_loadgen::usage::Usage;
use thrum_loadgen::{compare, relay};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Clap exits with 2.
const NOT_KEPT: u8 = 1;
const NOT_RUN: u8 = 3;

fn main() -> ExitCode {
    let CommandLine { command, to } = CommandLine::parse();
    let is_kept = match &command {
        Command::Measure(Scenario::Omb { list: true, .. }) => write!(io::stdout(), "{}", suite::list()).map(|()| true),
        Command::Measure(scenario) => measure(scenario, &to).map(|summary| summary.is_kept),
        Command::Compare(options) => compare::run(options, &to).map_err(io::Error::other),
        Command::Relay(options) => relay::run(options).map(|()| true),
    };
    match is_kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_KEPT),
        Err(error) => {
            eprintln!("thrum-loadgen: the run could not be made: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn measure(scenario: &Scenario, to: &Destinations) -> io::Result<Summary> {
    let task = scenario.task()?;
    let load = &task.load;
    if let Some(pid) = load.pid.filter(|&pid| Usage::of(pid).is_none()) {
        return Err(io::Error::other(format!("there is no process {pid} whose CPU and memory can be read")));
    }
    let output = Output::open(to)?;
    let progress = Progress::start(load.warm_up + load.duration);
    let placement = scenario.run_options().core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement).io_memory(0).make()?;
    let outcome = executor.run(async { task.run(|stage| progress.watch(stage)) })?;
    drop(progress);
    let summary = Summary::of(&outcome);
    output.write(std::slice::from_ref(&summary))?;
    Ok(summary)
}
