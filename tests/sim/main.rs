//! A deterministic simulation of the whole broker: several shards, a network that delays and cuts, clients that come,
//! go and take over, and a model that judges what they get. One seed decides everything.
//!
//! `THRUM_SIM_SEEDS=50000 cargo test --test sim` plays more seeds, `THRUM_SIM_SEED=7 cargo test --test sim -- --nocapture`
//! that one alone, with its whole trace.

#![allow(unreachable_pub, clippy::print_stdout, reason = "a test crate, which tells how to replay what failed")]

mod client;
mod deliveries;
mod end;
mod guard;
mod hostile;
mod model;
#[path = "../common/net.rs"]
mod net;
mod packets;
mod profile;
mod rng;
mod steps;
mod stories;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use world::World;

/// Few enough for every test run.
const SEEDS: u64 = 20_000;
const TRACE_LINES: usize = 120;

struct Outcome {
    hash: u64,
    violation: Option<String>,
    trace: Vec<String>,
}

fn play(seed: u64, traced: bool) -> Outcome {
    let mut world = World::new(seed, traced);
    let run = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..world.profile.steps {
            world.step();
            world.check_bounds();
            if world.model.violation.is_some() {
                return;
            }
        }
        end::finish(&mut world);
    }));
    if let Err(panic) = run {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.model.violation = Some(format!("panic: {}", text.unwrap_or_default()));
    }
    let World { hash, model, trace, .. } = world;
    Outcome { hash, violation: model.violation, trace: trace.unwrap_or_default() }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays a failed seed again, and tells all about it.
fn tell(seed: u64, violation: &str) -> String {
    let again = play(seed, true);
    let trace = &again.trace;
    let last = trace.len().saturating_sub(TRACE_LINES);
    let profile = trace.first().cloned().unwrap_or_default();
    let tail = trace[last..].join("\n");
    let same = if again.violation.as_deref() == Some(violation) { "" } else { "\nIT DID NOT REPLAY EXACTLY" };
    format!(
        "{profile}\n...\n{tail}\n\nseed {seed}: {violation}{same}\nreplay: THRUM_SIM_SEED={seed} cargo test --test sim -- --nocapture\n"
    )
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number("THRUM_SIM_SEED") {
        let outcome = play(seed, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let (first, count) = (number("THRUM_SIM_FIRST").unwrap_or(0), number("THRUM_SIM_SEEDS").unwrap_or(SEEDS));
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(4));
    let keep_going = number("THRUM_SIM_ALL").is_some();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || !keep_going && failed.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Some(violation) = play(seed, false).violation
                        && (!failed.swap(true, Ordering::Relaxed) || keep_going)
                    {
                        if keep_going {
                            println!("seed {seed}: {violation}");
                        } else {
                            println!("{}", tell(seed, &violation));
                        }
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::Relaxed), "a seed failed; see above");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in (0..2_000).step_by(50) {
        assert_eq!(play(seed, false).hash, play(seed, true).hash, "seed {seed}");
    }
}
