//! The broker's binary: its allocator, its command line, and the process.

use std::ffi::c_int;
use std::process::ExitCode;

use clap::Parser;
use thrum::server::{CommandLine, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3; its crate has no name for it.
const PURGE_DELAY: c_int = 15;

fn main() -> ExitCode {
    give_memory_back_at_once();
    run(&CommandLine::parse())
}

/// A shard's tables move when they grow. What they leave is given back only when more is allocated, so that a shard that
/// has just filled would keep half as much again as it needs.
fn give_memory_back_at_once() {
    #[expect(unsafe_code, reason = "mimalloc has no other way to be told")]
    // SAFETY: setting an option only stores a number, and no other thread runs yet.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, 0);
    }
}
