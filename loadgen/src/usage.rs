//! What a process costs, as the kernel counts it.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory_and_no_process_none() {
        let before = Usage::own();
        while Usage::own().cpu < before.cpu + Duration::from_millis(20) {}
        assert!(before.resident_bytes > 100_000);
        assert!(Usage::of(0).is_none() && Usage::of(u32::MAX).is_none());
    }
}
