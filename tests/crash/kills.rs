//! `kill -9` at random moments, and what has to be there afterwards.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::broker::PATIENCE;
use crate::world::{Run, run};

/// Of what is wrong.
const FAULTS_TOLD: usize = 20;

const LAST_LIFE: Duration = Duration::from_millis(1_500);

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = number("THRUM_CRASH_SEED", clock);
    println!("THRUM_CRASH_SEED={seed}");
    let kills = number("THRUM_CRASH_KILLS", 20);
    let faults = run(Run { seed, kills, has_store: true, last_life: LAST_LIFE, quiet: PATIENCE });
    let (count, told) = (faults.len(), &faults[..faults.len().min(FAULTS_TOLD)]);
    assert!(faults.is_empty(), "THRUM_CRASH_SEED={seed}: {count} faults, {told:#?}");
}

/// The run itself is tried on a broker that keeps nothing: each kind of loss has to show.
#[test]
fn a_broker_that_forgets_is_found_out() {
    let faults = run(Run { seed: 1, kills: 2, has_store: false, last_life: LAST_LIFE, quiet: Duration::from_secs(2) });
    for kind in ["the session of publisher", "the session of all is gone", "never came", "retained, and not one of"] {
        assert!(faults.iter().any(|fault| fault.contains(kind)), "{kind}: {faults:#?}");
    }
}

#[test]
fn a_broker_that_is_left_alone_is_not_blamed() {
    let faults = run(Run { seed: 2, kills: 0, has_store: false, last_life: 4 * LAST_LIFE, quiet: PATIENCE });
    assert!(faults.is_empty(), "{faults:#?}");
}
