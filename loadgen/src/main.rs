//! Measures MQTT brokers.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use glommio::{LocalExecutorBuilder, Placement};
use thrum_loadgen::command_line::{CommandLine, Scenario};
use thrum_loadgen::output::Output;
use thrum_loadgen::progress::Progress;
use thrum_loadgen::suite;
use thrum_loadgen::summary::Summary;
use thrum_loadgen::usage::Usage;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Clap exits with 2.
const NOT_KEPT: u8 = 1;
const NOT_RUN: u8 = 3;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    if let Scenario::Omb { list: true, .. } = command_line.scenario {
        return match write!(io::stdout(), "{}", suite::list()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(NOT_RUN),
        };
    }
    match measure(&command_line) {
        Ok(summary) if summary.is_kept => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(NOT_KEPT),
        Err(error) => {
            eprintln!("thrum-loadgen: the run could not be made: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn measure(command_line: &CommandLine) -> io::Result<Summary> {
    let CommandLine { scenario, to } = command_line;
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
