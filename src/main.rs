//! The broker's binary.

use std::process::ExitCode;

use clap::Parser;
use thrum::server::{CommandLine, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(&CommandLine::parse())
}
