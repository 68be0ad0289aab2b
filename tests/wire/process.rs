//! What Linux says of a process: memory, processor time, descriptors.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// What USER_HZ is wherever Linux runs.
const TICKS_PER_SEC: f64 = 100.0;

/// VmRSS.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kib * 1_024
}

pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// The share of one core that a process takes during the span.
pub(crate) fn processor_share(pid: u32, span: Duration) -> f64 {
    let (before, started) = (processor_secs(pid), Instant::now());
    thread::sleep(span);
    (processor_secs(pid) - before) / started.elapsed().as_secs_f64()
}

pub(crate) fn processor_secs(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // Its name, in brackets, may have spaces in it.
    let (_, after) = stat.rsplit_once(')').expect("a name in brackets");
    let mut fields = after.split_whitespace().skip(11).map(|field| field.parse::<f64>().expect("ticks"));
    let (user, system) = (fields.next().expect("utime"), fields.next().expect("stime"));
    (user + system) / TICKS_PER_SEC
}
