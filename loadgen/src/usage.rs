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
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, which may hold anything, ends with the last parenthesis.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let cpu = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        Some(Self { cpu, resident_bytes: HeapBytes::of(pid)?.current })
    }
}

/// What this process has used in user and system mode, finer than the kernel's ticks.
pub fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory_and_no_process_none() {
        let own = || Usage::of(std::process::id()).expect("this process");
        let (before, cpu) = (own(), own_cpu());
        while own().cpu < before.cpu + Duration::from_millis(20) {}
        assert!(before.resident_bytes > 100_000);
        assert!(own_cpu() > cpu + Duration::from_millis(5));
        assert!(Usage::of(0).is_none());
    }
}
