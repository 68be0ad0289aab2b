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
}

/// What the generator has taken of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spent {
    /// Of this process, in user and system mode.
    pub cpu: Duration,
    /// How long this thread could have run and had no core.
    pub waited: Duration,
}

impl Spent {
    pub fn now() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        // Nanoseconds on a core, nanoseconds waiting for one, and how often it had one.
        let waited = fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|times| times.split_whitespace().nth(1)?.parse().ok());
        Self {
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            waited: Duration::from_nanos(waited.unwrap_or_default()),
        }
    }

    /// Since this was what it had taken.
    pub fn elapsed(&self) -> Self {
        let now = Self::now();
        Self { cpu: now.cpu.saturating_sub(self.cpu), waited: now.waited.saturating_sub(self.waited) }
    }

    /// Without what it spent on asking in vain.
    pub fn without_idle(self, idle_nanos: u64) -> Self {
        Self { cpu: self.cpu.saturating_sub(Duration::from_nanos(idle_nanos)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn this_process_uses_time_and_memory_and_no_process_none() {
        let own = || Usage::of(std::process::id()).expect("this process");
        let (before, cpu) = (own(), Spent::now().cpu);
        while own().cpu < before.cpu + Duration::from_millis(20) {}
        assert!(before.resident_bytes > 100_000);
        assert!(Spent::now().cpu > cpu + Duration::from_millis(5));
        assert!(Usage::of(0).is_none() && Usage::of(u32::MAX).is_none());
    }

    #[test]
    fn a_thread_waits_for_a_core_that_another_one_has() {
        let core = core_affinity::get_core_ids().expect("cores")[0];
        let has_no_core = || {
            core_affinity::set_for_current(core);
            let before = Spent::now();
            let until = Instant::now() + Duration::from_millis(200);
            while Instant::now() < until {}
            before.elapsed().waited
        };
        let waits = thread::scope(|scope| {
            [scope.spawn(has_no_core), scope.spawn(has_no_core)].map(|thread| thread.join().expect("no panic"))
        });
        assert!(waits.iter().sum::<Duration>() > Duration::from_millis(100), "{waits:?}");
    }
}
