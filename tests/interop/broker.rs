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
use crate::program::wait;

/// What the themes expect of the broker, beside the defaults.
const CONFIG: &str = r#"
sys_interval_secs = 1
persistence = false

[[listeners]]
address = "127.0.0.1:0"

[log]
format = "json"
level = "info"

[limits]
packet_bytes_max = 16777216
"#;

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    /// For what a test writes.
    pub(crate) folder: PathBuf,
    process: Child,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
}

impl Broker {
    pub(crate) fn start(shards: usize) -> Self {
        let folder = fresh_folder();
        let config = folder.join("thrum.toml");
        fs::write(&config, format!("shards = {shards}\n{CONFIG}")).unwrap();
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
                        let _ = listens.send(address);
                    }
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        // Made first, so that the process does not outlive a failure.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut broker = Self { address: nowhere, folder, process, log, log_reader: Some(log_reader) };
        broker.address = listening.recv_timeout(TIMEOUT).expect("the broker says where it listens");
        broker
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
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

    fn log(&self) -> String {
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
