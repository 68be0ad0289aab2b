//! What a process costs, as the kernel counts it.

use std::fs;
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use thrum::server::HeapBytes;

#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// In user and system mode.
    pub cpu: Duration,
    pub resident_bytes: u64,
}

impl Usage {
    pub fn of(pid: u32) -> Option<Self> {
        // To the nanosecond, where /proc/PID/stat has ticks of 10 ms: more than what connecting a hundred clients costs.
        let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into().ok()?)).ok()?;
        let cpu = clock.now().ok()?.into();
        Some(Self { cpu, resident_bytes: HeapBytes::of(pid)?.current })
    }

    /// Of this process.
    pub fn own() -> Self {
        Self::of(std::process::id()).unwrap_or_default()
    }
}

/// How long this thread could have run and had no core.
pub fn own_wait() -> Duration {
    // Nanoseconds on a core, nanoseconds waiting for one, and how often it had one.
    let wait = fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|times| times.split_whitespace().nth(1)?.parse().ok());
    Duration::from_nanos(wait.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn this_process_uses_time_and_memory_and_no_process_none() {
        let before = Usage::own();
        while Usage::own().cpu < before.cpu + Duration::from_millis(20) {}
        assert!(before.resident_bytes > 100_000);
        assert!(Usage::of(0).is_none() && Usage::of(u32::MAX).is_none());
    }

    #[test]
    fn a_thread_waits_for_a_core_that_another_one_has() {
        let core = core_affinity::get_core_ids().expect("cores")[0];
        let has_no_core = || {
            core_affinity::set_for_current(core);
            let before = own_wait();
            let until = Instant::now() + Duration::from_millis(200);
            while Instant::now() < until {}
            own_wait() - before
        };
        let waits = thread::scope(|scope| {
            [scope.spawn(has_no_core), scope.spawn(has_no_core)].map(|thread| thread.join().expect("no panic"))
        });
        assert!(waits.iter().sum::<Duration>() > Duration::from_millis(100), "{waits:?}");
    }
}
