//! Crashes and power losses, simulated: the cores, their logs and the store's own recovery on a disk that loses, tears and
//! fails what it may, under clients that keep to the protocol and a judge of what they were told. One seed decides
//! everything.
//!
//! `THRUM_POWER_SEEDS=50000 cargo test --test power` plays more seeds, `THRUM_POWER_SEED=7 cargo test --test power --
//! --nocapture` that one alone, with its whole trace.

#![allow(unreachable_pub, clippy::print_stdout, reason = "a test crate, which tells how to replay what failed")]

mod broker;
mod client;
mod disk;
mod judge;
mod lives;
#[path = "../sim/packets.rs"]
#[allow(dead_code, reason = "of another simulation, which has more of them")]
mod packets;
mod profile;
#[path = "../sim/rng.rs"]
#[allow(dead_code, reason = "of another simulation, which asks it for more")]
mod rng;
mod store;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use world::World;

/// Few enough for every test run.
const SEEDS: u64 = 5_000;
const TRACE_LINES: usize = 150;

struct Outcome {
    hash: u64,
    fault: Option<String>,
    trace: Vec<String>,
}

fn play(seed: u64, is_traced: bool) -> Outcome {
    let mut world = World::new(seed, is_traced);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.play())) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fault.get_or_insert(format!("panic: {}", text.unwrap_or_default()));
    }
    let World { hash, fault, trace, .. } = world;
    Outcome { hash, fault, trace: trace.unwrap_or_default() }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays a failed seed again, and tells all about it.
fn tell(seed: u64, fault: &str) -> String {
    let again = play(seed, true);
    let last = again.trace.len().saturating_sub(TRACE_LINES);
    let tail = again.trace[last..].join("\n");
    let same = if again.fault.as_deref() == Some(fault) { "" } else { "\nIT DID NOT REPLAY EXACTLY" };
    format!(
        "...\n{tail}\n\nseed {seed}: {fault}{same}\nreplay: THRUM_POWER_SEED={seed} cargo test --test power -- --nocapture\n"
    )
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    if let Some(seed) = number("THRUM_POWER_SEED") {
        let outcome = play(seed, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(outcome.fault, None, "seed {seed}");
        return;
    }
    let (first, count) = (number("THRUM_POWER_FIRST").unwrap_or(0), number("THRUM_POWER_SEEDS").unwrap_or(SEEDS));
    let keep_going = number("THRUM_POWER_ALL").is_some();
    let (next, failed, began) = (AtomicU64::new(first), AtomicBool::new(false), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || !keep_going && failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let Some(fault) = play(seed, false).fault else { continue };
                    let is_first = !failed.swap(true, Ordering::Relaxed);
                    if keep_going {
                        println!("seed {seed}: {fault}");
                    } else if is_first {
                        println!("{}", tell(seed, &fault));
                    }
                }
            });
        }
    });
    println!("{count} seeds in {:?}", began.elapsed());
    assert!(!failed.load(Ordering::Relaxed), "a seed failed; see above");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in (0..400).step_by(20) {
        assert_eq!(play(seed, false).hash, play(seed, true).hash, "seed {seed}");
    }
}
