//! A broker that was started to be measured: pinned to a core, in a folder of its own, and gone when it is dropped.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::peers::{CERTIFICATE, KEY, Measured, Peer};

const START_TIME_MAX: Duration = Duration::from_secs(20);
/// What Thrum gives its clients is shorter.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Of the output of a broker that failed.
const OUTPUT_LINES_TOLD: usize = 20;

#[derive(Debug)]
pub struct BrokerProcess {
    child: Child,
    dir: TempDir,
    pub address: SocketAddr,
    /// Of the process that is measured.
    pub pid: u32,
}

impl BrokerProcess {
    /// Starts a broker on a core and waits until it accepts connections, or `is_over`.
    pub fn start(peer: &Peer, core: usize, is_over: &AtomicBool) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{} cannot be started: {error}", peer.name);
        let dir = TempDir::with_prefix("thrum-compare-").map_err(failed)?;
        let address = free_address().map_err(failed)?;
        let child = spawn(peer, core, dir.path(), address.port()).map_err(failed)?;
        let pid = child.id();
        let mut broker = Self { child, dir, address, pid };
        broker.await_start(is_over).map_err(|error| {
            let output = broker.output();
            format!("{} {error}{}{output}", peer.name, if output.is_empty() { "" } else { "; it said:\n" })
        })?;
        if peer.pid == Measured::Child {
            broker.pid =
                only_child(pid).ok_or_else(|| format!("{} has not one child but none or several", peer.name))?;
        }
        Ok(broker)
    }

    fn await_start(&mut self, is_over: &AtomicBool) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < START_TIME_MAX {
            if is_over.load(Ordering::Relaxed) {
                return Err("was starting when the comparison ended".into());
            }
            if let Some(how) = self.how_it_ended() {
                return Err(how);
            }
            if TcpStream::connect_timeout(&self.address, POLL_INTERVAL).is_ok() {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Err(format!("did not accept connections on {} in {} s", self.address, START_TIME_MAX.as_secs()))
    }

    /// The folder that it has to itself.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// None while it runs.
    pub fn how_it_ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("ended by itself ({status})")),
            Err(error) => Some(format!("cannot be waited for: {error}")),
        }
    }

    /// The end of what it wrote.
    pub fn output(&self) -> String {
        let all = fs::read(self.dir.path().join(OUTPUT)).unwrap_or_default();
        let all = String::from_utf8_lossy(&all);
        let lines: Vec<_> = all.lines().collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES_TOLD)..].join("\n")
    }

    /// Its own and no other's: it leads a process group, and is not waited for before.
    fn stop(&mut self) -> io::Result<()> {
        let group = Pid::from_raw(self.child.id() as i32);
        let started = Instant::now();
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        killpg(group, Signal::SIGTERM)?;
        while started.elapsed() < STOP_TIME_MAX {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
        killpg(group, Signal::SIGKILL)?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("process {} cannot be stopped: {error}", self.child.id());
        }
    }
}

const OUTPUT: &str = "output";

fn spawn(peer: &Peer, core: usize, dir: &Path, port: u16) -> io::Result<Child> {
    let config = dir.join(&peer.config_name);
    let fill = |text: &str| {
        let text = text.replace("{port}", &port.to_string()).replace("{dir}", &dir.to_string_lossy());
        text.replace("{config}", &config.to_string_lossy())
    };
    if !peer.config.is_empty() {
        fs::write(&config, fill(&peer.config))?;
    }
    if peer.reach.has_tls() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let own = own.map_err(io::Error::other)?;
        fs::write(dir.join(CERTIFICATE), own.cert.pem())?;
        fs::write(dir.join(KEY), own.signing_key.serialize_pem())?;
    }
    let output = File::create(dir.join(OUTPUT))?;
    let mut command = Command::new(fill(&peer.command[0]));
    command.args(peer.command[1..].iter().map(|part| fill(part)));
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    // Ctrl-C is for the comparison, which then ends what it has started.
    command.process_group(0);
    on_core(core, || command.spawn())?
}

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Runs `what` on one core only; processes that it starts stay there.
fn on_core<T>(core: usize, what: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(THIS_THREAD)?;
    if !before.is_set(core).unwrap_or(false) {
        return Err(io::Error::other(format!("there is no core {core} that this process may use")));
    }
    let mut only = CpuSet::new();
    only.set(core)?;
    sched_setaffinity(THIS_THREAD, &only)?;
    let result = what();
    sched_setaffinity(THIS_THREAD, &before)?;
    Ok(result)
}

/// One that nobody has just now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let mut children = children.split_whitespace();
    let child = children.next()?.parse().ok()?;
    children.next().is_none().then_some(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that a thread may use.
    fn cores_of(thread: Pid) -> Vec<usize> {
        let cores = sched_getaffinity(thread).unwrap();
        (0..CpuSet::count()).filter(|&core| cores.is_set(core).unwrap()).collect()
    }

    fn core() -> usize {
        cores_of(THIS_THREAD)[0]
    }

    fn peer(script: &str) -> Peer {
        let text =
            format!("[[brokers]]\nname = 'p'\ncommand = ['sh', '-c', '{script}', '{{port}}']\nconfig = 'x{{dir}}'");
        crate::peers::parse("test", &text).unwrap().remove(0)
    }

    #[test]
    fn a_broker_that_fails_is_told_with_what_it_said() {
        let error = BrokerProcess::start(&peer("echo no luck; exit 3"), core(), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error, "p ended by itself (exit status: 3); it said:\nno luck");
        let absent = Peer { command: vec!["/no/such/broker".into()], ..peer("") };
        let error = BrokerProcess::start(&absent, core(), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error, "p cannot be started: No such file or directory (os error 2)");
    }

    #[test]
    fn one_that_is_not_wanted_any_more_is_stopped() {
        let error = BrokerProcess::start(&peer("sleep 1000"), core(), &AtomicBool::new(true)).unwrap_err();
        assert!(error.starts_with("p was starting"), "{error}");
    }

    #[test]
    fn it_runs_on_its_core_alone_and_this_process_where_it_did_before() {
        let before = cores_of(THIS_THREAD);
        let dir = TempDir::new().unwrap();
        let mut child = spawn(&peer("sleep 1000"), core(), dir.path(), 1).unwrap();
        let of_child = cores_of(Pid::from_raw(child.id() as i32));
        child.kill().and_then(|()| child.wait()).unwrap();
        assert_eq!(of_child, [core()]);
        assert_eq!(cores_of(THIS_THREAD), before);
        assert_eq!(fs::read_to_string(dir.path().join("config")).unwrap(), format!("x{}", dir.path().display()));
        assert!(on_core(CpuSet::count(), || ()).is_err());
    }
}
