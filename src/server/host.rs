//! What this machine permits: cores, descriptors, locked memory, io_uring. What is too little is told with its remedy.

use std::fmt;
use std::{fs, panic, thread};

use core_affinity::CoreId;
use glommio::{GlommioError, LocalExecutorBuilder, ReactorErrorKind};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::config::Config;
use crate::base::limits::SHARDS_MAX;

/// Descriptors that are not connections': of the process, and of each shard for its rings, its listeners and its mesh.
const DESCRIPTORS_OF_PROCESS: u64 = 64;
const DESCRIPTORS_OF_SHARD: u64 = 16;

/// With less glommio makes no executor.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostLimits {
    /// Those that the process may run on.
    pub cores: Vec<CoreId>,
    /// `u64::MAX`: no limit.
    pub descriptors: u64,
    pub memlock_bytes: u64,
}

/// Lets the process have as many descriptors as it may give itself.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is not permitted, the limit stays, and the warnings tell of it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

impl HostLimits {
    pub fn read() -> Self {
        let limit = |resource| getrlimit(resource).current.unwrap_or(u64::MAX);
        Self {
            cores: core_affinity::get_core_ids().unwrap_or_default(),
            descriptors: limit(Resource::Nofile),
            memlock_bytes: limit(Resource::Memlock),
        }
    }

    /// How many shards there are with this configuration.
    fn shards(&self, config: &Config) -> usize {
        if config.shards == 0 { self.cores.len().clamp(1, SHARDS_MAX) } else { config.shards }
    }

    /// How many connections there are descriptors for.
    fn connections_fitting(&self, config: &Config) -> u64 {
        let of_shard = DESCRIPTORS_OF_SHARD + config.listeners.len() as u64;
        self.descriptors.saturating_sub(DESCRIPTORS_OF_PROCESS + of_shard * self.shards(config) as u64)
    }

    /// The configuration, with the numbers of this machine for what it leaves to the machine.
    pub fn fit(&self, mut config: Config) -> Config {
        config.shards = self.shards(&config);
        if config.connections_max == 0 {
            let most = config.options().connections_max;
            let fitting = usize::try_from(self.connections_fitting(&config)).unwrap_or(most);
            config.connections_max = fitting.clamp(1, most);
        }
        config
    }

    /// What will not be as the configuration wants it.
    pub fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = Vec::new();
        let fitting = self.connections_fitting(config);
        if fitting < (config.connections_max as u64).max(1) {
            warnings.push(format!(
                "the descriptor limit of {} leaves room for {fitting} connections, connections_max is {}: raise it with \
                 LimitNOFILE= in the systemd unit or ulimit -n in the shell",
                self.descriptors, config.connections_max,
            ));
        }
        let (shards, cores) = (self.shards(config), self.cores.len());
        if shards > cores {
            warnings
                .push(format!("{shards} shards share {cores} cores: more shards than cores make the broker slower"));
        }
        warnings
    }

    /// Whether a broker can run here at all.
    pub fn check(&self) -> Result<(), HostError> {
        if self.memlock_bytes < MEMLOCK_BYTES_MIN {
            return Err(HostError::Memlock { found: self.memlock_bytes, needed: MEMLOCK_BYTES_MIN });
        }
        match probe() {
            Ok(Ok(())) => Ok(()),
            failed => {
                let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
                Err(cause(failed.ok().and_then(Result::err).as_ref(), setting.trim()))
            }
        }
    }
}

/// Makes an executor on a thread of its own, as executors stay with their thread. glommio panics where there is no
/// io_uring, which is to be told in our words alone.
fn probe() -> thread::Result<Result<(), GlommioError<()>>> {
    const NAME: &str = "io_uring probe";
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() != Some(NAME) {
            hook(info);
        }
    }));
    let probe = thread::Builder::new()
        .name(NAME.into())
        .spawn(|| LocalExecutorBuilder::default().io_memory(0).make().map(drop));
    probe.map_or_else(|error| Ok(Err(error.into())), thread::JoinHandle::join)
}

/// Why no broker can run on this machine as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostError {
    Memlock {
        found: u64,
        needed: u64,
    },
    /// By this value of kernel.io_uring_disabled.
    IoUringDisabled {
        setting: String,
    },
    IoUringUnavailable,
    Descriptors,
    Memory,
    Executor(String),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memlock { found, needed } => write!(
                f,
                "the limit of locked memory is {} KiB and io_uring needs {} KiB: raise it with LimitMEMLOCK= in the systemd \
                 unit, ulimit -l in the shell or --ulimit memlock= of the container",
                found / 1024,
                needed / 1024
            ),
            Self::IoUringDisabled { setting } => write!(
                f,
                "io_uring is switched off, as kernel.io_uring_disabled is {setting}: sysctl kernel.io_uring_disabled=0 \
                 switches it on"
            ),
            Self::IoUringUnavailable => f.write_str(
                "io_uring is not available to this process: a container's seccomp profile may forbid it and has to allow \
                 io_uring_setup, io_uring_enter and io_uring_register, or the kernel is older than Linux 5.8",
            ),
            Self::Descriptors => f.write_str(
                "there are no descriptors left to start with: raise their limit with LimitNOFILE= in the systemd unit or \
                 ulimit -n in the shell",
            ),
            Self::Memory => f.write_str(
                "there is no memory for io_uring: free some, or raise the limit of locked memory with LimitMEMLOCK= in the \
                 systemd unit or ulimit -l in the shell",
            ),
            Self::Executor(why) => write!(f, "io_uring does not work here: {why}"),
        }
    }
}

impl std::error::Error for HostError {}

/// Why there was no executor; no error is a panic, and `setting` is what kernel.io_uring_disabled says.
fn cause(error: Option<&GlommioError<()>>, setting: &str) -> HostError {
    let is_switched_off = !matches!(setting, "" | "0");
    match (error, error.and_then(GlommioError::raw_os_error).map(Errno::from_raw_os_error)) {
        (None, _) | (_, Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS)) if is_switched_off => {
            HostError::IoUringDisabled { setting: setting.into() }
        }
        (None, _) | (_, Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS)) => HostError::IoUringUnavailable,
        (Some(&GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(found, needed))), _) => {
            HostError::Memlock { found, needed }
        }
        (_, Some(Errno::MFILE | Errno::NFILE)) => HostError::Descriptors,
        (_, Some(Errno::NOMEM)) => HostError::Memory,
        (Some(error), _) => HostError::Executor(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn host(descriptors: u64) -> HostLimits {
        HostLimits { cores: vec![CoreId { id: 0 }, CoreId { id: 3 }], descriptors, memlock_bytes: u64::MAX }
    }

    #[test]
    fn this_machine_has_cores_and_descriptors_and_runs_an_executor() {
        let host = HostLimits::read();
        assert!(!host.cores.is_empty() && host.descriptors > 0);
        assert_eq!(host.check(), Ok(()));
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
        raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn there_is_a_shard_for_each_core_unless_the_configuration_says_otherwise() {
        assert_eq!(host(1_000).shards(&Config::default()), 2);
        assert_eq!(host(1_000).shards(&Config { shards: 5, ..Config::default() }), 5);
        let many = HostLimits { cores: vec![CoreId { id: 0 }; 100], ..host(1_000) };
        assert_eq!(many.fit(Config::default()).shards, 64);
    }

    #[test]
    fn without_a_number_as_many_connections_are_let_in_as_there_are_descriptors_for() {
        assert_eq!(host(1_000).fit(Config::default()).connections_max, 1_000 - 64 - 2 * 17);
        assert_eq!(host(10).fit(Config::default()).connections_max, 1);
        assert_eq!(host(u64::MAX).fit(Config::default()).connections_max, 2_000_000);
        let chosen = Config { shards: 2, connections_max: 5_000, ..Config::default() };
        assert_eq!(host(1_000).fit(chosen.clone()), chosen);
    }

    #[test]
    fn too_few_descriptors_are_told_with_the_remedy() {
        let wanted = |connections_max| Config { connections_max, ..Config::default() };
        assert_eq!(host(1_000).warnings(&wanted(902)), [""; 0]);
        assert_eq!(
            host(1_000).warnings(&wanted(903)),
            ["the descriptor limit of 1000 leaves room for 902 connections, connections_max is 903: raise it with \
              LimitNOFILE= in the systemd unit or ulimit -n in the shell"]
        );
        assert_eq!(host(1_000).warnings(&Config::default()), [""; 0]);
        assert_eq!(host(99).warnings(&host(99).fit(Config::default())), [""; 0]);
        assert_eq!(host(98).warnings(&host(98).fit(Config::default())).len(), 1);
    }

    #[test]
    fn more_shards_than_cores_are_told() {
        let config = Config { shards: 3, ..Config::default() };
        assert_eq!(
            host(1_000).warnings(&config),
            ["3 shards share 2 cores: more shards than cores make the broker slower"]
        );
    }

    #[test]
    fn too_little_locked_memory_is_told_with_the_remedy() {
        let host = HostLimits { memlock_bytes: 64 * 1024, ..host(1_000) };
        assert_eq!(
            host.check().unwrap_err().to_string(),
            "the limit of locked memory is 64 KiB and io_uring needs 512 KiB: raise it with LimitMEMLOCK= in the systemd \
             unit, ulimit -l in the shell or --ulimit memlock= of the container"
        );
    }

    #[test]
    fn what_keeps_an_executor_from_starting_is_told_apart() {
        let os = |errno: Errno| GlommioError::IoError(io::Error::from_raw_os_error(errno.raw_os_error()));
        let disabled = HostError::IoUringDisabled { setting: "2".into() };
        assert_eq!(cause(None, "2"), disabled);
        assert_eq!(cause(Some(&os(Errno::PERM)), "2"), disabled);
        for setting in ["0", ""] {
            assert_eq!(cause(None, setting), HostError::IoUringUnavailable);
            assert_eq!(cause(Some(&os(Errno::PERM)), setting), HostError::IoUringUnavailable);
        }
        assert_eq!(cause(Some(&os(Errno::MFILE)), "2"), HostError::Descriptors);
        assert_eq!(cause(Some(&os(Errno::NOMEM)), "0"), HostError::Memory);
        let memlock = GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(65_536, 524_288));
        assert_eq!(cause(Some(&memlock), "0"), HostError::Memlock { found: 65_536, needed: 524_288 });
        assert!(matches!(cause(Some(&os(Errno::IO)), "0"), HostError::Executor(_)));
    }

    #[test]
    fn what_forbids_io_uring_is_told_with_the_remedy() {
        assert_eq!(
            HostError::IoUringDisabled { setting: "2".into() }.to_string(),
            "io_uring is switched off, as kernel.io_uring_disabled is 2: sysctl kernel.io_uring_disabled=0 switches it on"
        );
        assert!(HostError::IoUringUnavailable.to_string().contains("a container's seccomp profile may forbid it"));
    }
}
