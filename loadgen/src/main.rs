//! Measures MQTT brokers.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use glommio::{LocalExecutorBuilder, Placement};
use thrum_loadgen::command_line::{CommandLine, Scenario};
use thrum_loadgen::engine::{self, Stage};
use thrum_loadgen::report::Report;
use thrum_loadgen::usage::{processor_secs, resident_bytes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let placement = command_line.scenario.options().core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = match LocalExecutorBuilder::new(placement).io_memory(0).make() {
        Ok(executor) => executor,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match executor.run(async move { measure(&command_line.scenario) }) {
        Ok(report) if report.is_kept() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(scenario: &Scenario) -> io::Result<Report> {
    let (plan, options) = (scenario.plan(), scenario.options());
    let load = options.load();
    let own = std::process::id();
    let memory_before = options.pid.and_then(resident_bytes);
    let mut marks: Option<(f64, Option<f64>, Option<u64>)> = None;
    let outcome = engine::run(&plan, &load, |stage| {
        if marks.is_none() && matches!(stage, Stage::Publishing { .. }) {
            marks = Some((
                processor_secs(own).unwrap_or_default(),
                options.pid.and_then(processor_secs),
                options.pid.and_then(resident_bytes),
            ));
        }
    })?;
    let (own_before, broker_before, memory_connected) = marks.unwrap_or_default();
    let report = Report {
        name: plan.name,
        qos: load.qos,
        generator_cpu: processor_secs(own).unwrap_or_default() - own_before,
        broker_cpu: options.pid.and_then(processor_secs).zip(broker_before).map(|(after, before)| after - before),
        broker_bytes: memory_connected.zip(memory_before).map(|(after, before)| after.saturating_sub(before)),
        is_paced: load.rate > 0.0,
        outcome,
    };
    write!(io::stdout(), "{report}")?;
    Ok(report)
}
