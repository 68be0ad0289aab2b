//! Measures MQTT brokers.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use glommio::{LocalExecutorBuilder, Placement};
use thrum_loadgen::command_line::{Command, CommandLine, Scenario};
use thrum_loadgen::report::Table;
use thrum_loadgen::summary::Summary;
use thrum_loadgen::{compare, engine, relay};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let scenario = match CommandLine::parse().command {
        Command::Measure(scenario) => scenario,
        Command::Compare(options) => return ended(compare::run(&options)),
        Command::Relay(options) => return ended(relay::run(&options).map(|()| true)),
    };
    let placement = scenario.options().core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = match LocalExecutorBuilder::new(placement).io_memory(0).make() {
        Ok(executor) => executor,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match executor.run(async move { measure(&scenario) }) {
        Ok(summary) if summary.is_kept => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ended(result: Result<bool, impl Display>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(scenario: &Scenario) -> io::Result<Summary> {
    let summary = Summary::of(&engine::run(&scenario.plan(), &scenario.options().load(), |_| {})?);
    match &scenario.options().json {
        Some(path) if path.as_os_str() == "-" => writeln!(io::stdout(), "{}", serde_json::to_string(&summary)?)?,
        Some(path) => std::fs::write(path, serde_json::to_string(&summary)? + "\n")?,
        None => write!(io::stdout(), "{}", Table(&summary))?,
    }
    Ok(summary)
}
