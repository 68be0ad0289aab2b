//! The broker's binary as a test runs it: on a free port, in a folder of its own, stopped as systemd stops it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::TIMEOUT;
use crate::certificates;
use crate::program::wait;

/// What the themes expect of the broker, beside the defaults.
const CONFIG: &str = r#"
sys_interval_secs = 1
persistence = false

[[listeners]]
address = "127.0.0.1:0"

[[listeners]]
address = "127.0.0.1:0"
certificate = "server.pem"
key = "server.key"
more_certificates = [{ certificate = "other.pem", key = "other.key" }]

[[listeners]]
address = "127.0.0.1:0"
websocket = true

[[listeners]]
address = "127.0.0.1:0"
websocket = true
certificate = "server.pem"
key = "server.key"

[[listeners]]
address = "unix:socket"

[log]
format = "json"
level = "info"

[limits]
packet_bytes_max = 16777216
"#;

/// How clients come to the broker; in the order of its listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
    Unix,
}

/// Where a Unix socket is, in the broker's folder.
pub(crate) const SOCKET: &str = "socket";

#[derive(Debug)]
pub(crate) struct Broker {
    /// By which the theme's clients come.
    pub(crate) reach: Reach,
    /// Of its listeners on the network, in their order.
    addresses: Vec<SocketAddr>,
    /// For what a test writes.
    pub(crate) folder: PathBuf,
    process: Child,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
}

impl Broker {
    /// With a listener for each way that there is.
    pub(crate) fn start(shards: usize, reach: Reach) -> Self {
        Self::start_with(&format!("shards = {shards}\n{CONFIG}"), reach, certificates::write)
    }

    /// With a configuration, and what else is to lie in its folder.
    pub(crate) fn start_with(text: &str, reach: Reach, prepare: impl FnOnce(&Path)) -> Self {
        let folder = fresh_folder();
        prepare(&folder);
        let config = folder.join("thrum.toml");
        fs::write(&config, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_thrum"))
            .arg("-c")
            .arg(config)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (listens, listening) = mpsc::channel();
        let log_reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    if let Some(address) = listening_address(&line) {
                        let _ = listens.send(Some(address));
                    } else if line.contains("\"ready\"") {
                        let _ = listens.send(None);
                    }
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        // Made first, so that the process does not outlive a failure.
        let mut broker = Self { reach, addresses: Vec::new(), folder, process, log, log_reader: Some(log_reader) };
        while let Some(address) = listening.recv_timeout(TIMEOUT).expect("the broker says where it listens") {
            broker.addresses.push(address);
        }
        broker
    }

    /// Where clients come to that do not come by a Unix socket.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[self.reach as usize]
    }

    pub(crate) fn port(&self) -> String {
        self.address().port().to_string()
    }

    /// As clients call where they connect to.
    pub(crate) fn url(&self) -> String {
        let port = self.port();
        match self.reach {
            Reach::Tcp => format!("mqtt://127.0.0.1:{port}"),
            Reach::Tls => format!("mqtts://localhost:{port}"),
            Reach::WebSocket => format!("ws://127.0.0.1:{port}/mqtt"),
            Reach::SecureWebSocket => format!("wss://localhost:{port}/mqtt"),
            Reach::Unix => format!("unix:{}", self.folder.join(SOCKET).display()),
        }
    }

    /// A file in its folder.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Stops it as an operator does, and looks at how it ends.
    pub(crate) fn stop(mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).expect("the broker still runs");
        let status = wait(&mut self.process, TIMEOUT).expect("the broker ends after SIGTERM");
        assert!(status.success(), "the broker ended with {status}");
        self.log_reader.take().unwrap().join().unwrap();
        assert!(!self.log().contains("panicked"), "a thread of the broker panicked");
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            if let Some(reader) = self.log_reader.take() {
                let _ = reader.join();
            }
            eprintln!("The broker's log:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Of the line `{..., "message": "listening", "address": "127.0.0.1:PORT", ...}`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    if !line.contains("\"listening\"") {
        return None;
    }
    let (_, rest) = line.split_once("\"address\":")?;
    rest.trim_start().strip_prefix('"')?.split('"').next()?.parse().ok()
}

fn fresh_folder() -> PathBuf {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let name = format!("interop-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}
