//! The broker's binary: its allocator, its command line, and the process.

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

use clap::Parser;
use thrum::server::{CommandLine, run, set_give_back};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3; its crate has no name for it.
const PURGE_DELAY: c_int = 15;

/// How long mimalloc keeps what was freed, in milliseconds. Messages come and go all the time; where memory is to go back
/// sooner, it is told.
const KEPT_MILLIS: c_long = 1_000;

fn main() -> ExitCode {
    keep_memory_for_a_while();
    set_give_back(give_memory_back);
    run(&CommandLine::parse())
}

fn keep_memory_for_a_while() {
    #[expect(unsafe_code, reason = "mimalloc has no other way to be told")]
    // SAFETY: setting an option only stores a number, and no other thread runs yet.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MILLIS);
    }
}

fn give_memory_back() {
    #[expect(unsafe_code, reason = "mimalloc has no other way to be told")]
    // SAFETY: it takes no pointer, and only frees what is free.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
