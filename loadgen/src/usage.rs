//! What a process costs, as the kernel counts it.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::{Pid, SysconfVar, sysconf};
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

    /// CPU of the processes that this one started and waited for.
    pub fn own_children_cpu() -> Duration {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Duration::ZERO };
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(micros.unsigned_abs())
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

/// How long processes have run on a core, or it was given to another machine, since the machine started; without
/// interrupts, which nobody can be charged with.
pub fn core_busy(core: usize) -> Option<Duration> {
    let ticks_per_sec = sysconf(SysconfVar::CLK_TCK).ok()??;
    let ticks = busy_ticks(&fs::read_to_string("/proc/stat").ok()?, core)?;
    Some(Duration::from_secs_f64(ticks as f64 / ticks_per_sec as f64))
}

fn busy_ticks(stat: &str, core: usize) -> Option<u64> {
    let fields = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
    let fields: Vec<u64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, and steal; between them are idle, iowait, irq, softirq. (proc(5))
    [0, 1, 2, 7].into_iter().map(|field| fields.get(field)).sum()
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
        assert!(core_busy(0).is_some() && core_busy(usize::MAX).is_none());
    }

    #[test]
    fn a_core_is_busy_with_processes_and_other_machines() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\ncpu1 100 20 3 9999 99 99 99 4000 0 0\nintr 5\n";
        assert_eq!((busy_ticks(stat, 1), busy_ticks(stat, 2)), (Some(4_123), None));
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
