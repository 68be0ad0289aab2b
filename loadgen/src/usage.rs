//! What a process costs, as the kernel counts it.

use std::fs;
use std::time::Duration;

use thrum::server::HeapBytes;

#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// In user and system mode.
    pub cpu: Duration,
    pub resident_bytes: u64,
}

impl Usage {
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { cpu: cpu(pid, 11)?, resident_bytes: HeapBytes::of(pid)?.current })
    }

    /// CPU of those that this process started and waited for.
    pub fn own_children_cpu() -> Duration {
        cpu(std::process::id(), 13).unwrap_or_default()
    }

    /// Of this process.
    pub fn own() -> Self {
        Self::of(std::process::id()).unwrap_or_default()
    }
}

/// Of a process: two fields of its statistics, behind its state.
fn cpu(pid: u32, field: usize) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may hold anything, ends with the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(field);
    Some(ticks(fields.next()?)? + ticks(fields.next()?)?)
}

fn ticks(field: &str) -> Option<Duration> {
    let ticks: u64 = field.parse().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// How long processes have run on a core, or it was given to another machine, since the machine started; without
/// interrupts, which nobody can be charged with.
pub fn core_busy(core: usize) -> Option<Duration> {
    busy_of(&fs::read_to_string("/proc/stat").ok()?, core)
}

fn busy_of(stat: &str, core: usize) -> Option<Duration> {
    let fields = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
    let fields: Vec<_> = fields.split_whitespace().map(ticks).collect();
    // user, nice, system, and steal; between them are idle, iowait, irq, softirq. (proc(5))
    [0, 1, 2, 7].into_iter().map(|field| *fields.get(field)?).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory_and_no_process_none() {
        let before = Usage::own();
        while Usage::own().cpu < before.cpu + Duration::from_millis(20) {}
        assert!(before.resident_bytes > 100_000);
        assert!(Usage::of(0).is_none());
        assert!(core_busy(0).is_some() && core_busy(usize::MAX).is_none());
    }

    #[test]
    fn a_core_is_busy_with_processes_and_other_machines() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\ncpu1 100 20 3 9999 99 99 99 4000 0 0\nintr 5\n";
        let ticks = (busy_of(stat, 1).unwrap().as_secs_f64() * rustix::param::clock_ticks_per_second() as f64).round();
        assert_eq!((ticks, busy_of(stat, 2)), (4_123.0, None));
    }
}
