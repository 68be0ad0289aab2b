//! Measures MQTT brokers.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use glommio::{LocalExecutorBuilder, Placement};
use thrum_loadgen::command_line::{CommandLine, Scenario};
use thrum_loadgen::report::Table;
use thrum_loadgen::summary::Summary;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let placement = command_line.scenario.options().load.core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = match LocalExecutorBuilder::new(placement).io_memory(0).make() {
        Ok(executor) => executor,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match executor.run(async move { measure(&command_line.scenario) }) {
        Ok(summary) if summary.is_kept => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(scenario: &Scenario) -> io::Result<Summary> {
    let summary = Summary::of(&scenario.run(&scenario.load()?, |_| {})?);
    write!(io::stdout(), "{}", Table(&summary))?;
    Ok(summary)
}
