//! How much memory a process has, as the kernel counts it.

/// Bytes that are resident: what `$SYS/broker/heap` tells.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HeapBytes {
    pub current: u64,
    /// The most there ever was.
    pub maximum: u64,
}

impl HeapBytes {
    /// None where the process, or `/proc`, is not there.
    pub fn of(pid: u32) -> Option<Self> {
        std::fs::read_to_string(format!("/proc/{pid}/status")).ok().map(|status| Self::read(&status))
    }

    /// Of this process; zero where there is no `/proc` to read it from.
    pub(super) fn own() -> Self {
        Self::of(std::process::id()).unwrap_or_default()
    }

    fn read(status: &str) -> Self {
        let bytes = |field| kilobytes(status, field).unwrap_or(0) * 1024;
        Self { current: bytes("VmRSS:"), maximum: bytes("VmHWM:") }
    }
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let status = "Name:\tthrum\nVmPeak:\t  900 kB\nVmHWM:\t   34 kB\nVmRSS:\t   12 kB\nThreads:\t4\n";
        assert_eq!(HeapBytes::read(status), HeapBytes { current: 12 * 1024, maximum: 34 * 1024 });
        assert_eq!(HeapBytes::read("VmRSS:\t1 pages\n"), HeapBytes::default());
        let now = HeapBytes::own();
        assert!(now.current > 0 && now.maximum >= now.current, "{now:?}");
    }
}
