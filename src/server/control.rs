//! The control socket of a running broker, in the store's directory: what `thrum store` and `thrum bans` ask for comes as one line, and
//! is answered by lines, the first of which is `ok` or `error` and why. Served one after the other by a thread.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use tracing::{info, warn};

use super::bans_answer;
use super::clock::Clock;
use super::command::{Command, ShardHandle};
use crate::access::Bans;
use crate::storage::StoreHandle;

/// In the directory of the store.
pub(super) const SOCKET_FILE: &str = "control.sock";

/// A path has 4,096 bytes at most.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// Who asks has so long to say what.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);

/// For all shards to end their segments, and for these to be settled.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    thread: JoinHandle<()>,
    path: PathBuf,
}

impl Control {
    /// The directory is this process's: a socket that is there already is left from one that is gone.
    pub(super) fn start(directory: &Path, asked: Asked) -> io::Result<Self> {
        let path = directory.join(SOCKET_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // The directory is its owner's alone, so that nobody else came in before.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let served = listener.try_clone()?;
        let server = Server { asked };
        let thread = thread::Builder::new().name("control".into()).spawn(move || server.serve(&served))?;
        Ok(Self { listener, thread, path })
    }

    /// Whoever is being served is served to the end.
    pub(super) fn stop(self) {
        let _ = shutdown(&self.listener, Shutdown::Both);
        let _ = self.thread.join();
        let _ = fs::remove_file(&self.path);
    }
}

/// What can be asked.
pub(super) struct Asked {
    pub(super) shards: Vec<ShardHandle>,
    pub(super) store: StoreHandle,
    pub(super) bans: Arc<Bans>,
    pub(super) clock: Clock,
}

struct Server {
    asked: Asked,
}

impl Server {
    /// Ends when the listener is shut down.
    fn serve(&self, listener: &UnixListener) {
        while let Ok((client, _)) = listener.accept() {
            // One that is gone before its answer wants none.
            let _ = self.answer(client);
        }
    }

    fn answer(&self, mut client: UnixStream) -> io::Result<()> {
        client.set_read_timeout(Some(ASK_TIME_MAX))?;
        client.set_write_timeout(Some(ASK_TIME_MAX))?;
        let mut line = String::new();
        BufReader::new((&client).take(LINE_BYTES_MAX)).read_line(&mut line)?;
        let answer = match line.strip_suffix('\n').map(|line| line.split_once(' ').unwrap_or((line, ""))) {
            Some(("backup", into)) => self.back_up(into),
            Some(("stats", "")) => self.stats(),
            Some(("bans", "")) => Ok(bans_answer::list(&self.asked.bans, self.asked.clock.now())),
            Some(("lift", who)) => self.lift(who),
            _ => Err("unknown command; there are `backup DIRECTORY`, `stats`, `bans` and `lift WHO`".to_owned()),
        };
        match answer {
            Ok(text) => write!(client, "ok\n{text}"),
            Err(what) => writeln!(client, "error {}", what.replace('\n', " ")),
        }
    }

    fn lift(&self, who: &str) -> Result<String, String> {
        let who = bans_answer::lift(&self.asked.bans, self.asked.clock.now(), who)?;
        info!(%who, "no longer banned");
        Ok(String::new())
    }

    fn back_up(&self, into: &str) -> Result<String, String> {
        let into = PathBuf::from(into);
        if !into.is_absolute() {
            return Err("the directory of a backup is to be an absolute path".into());
        }
        let began = Instant::now();
        self.settle_all()?;
        let told = self.asked.store.backup(into.clone()).recv().map_err(|_| "the store has stopped".to_owned())?;
        match told {
            Ok(report) => {
                let ms = began.elapsed().as_millis() as u64;
                info!(directory = %into.display(), rows = report.rows, bytes = report.bytes, ms, "backup made");
                Ok(format!("rows {}\nbytes {}\n", report.rows, report.bytes))
            }
            Err(error) => {
                warn!("no backup was made: {error}");
                Err(error.to_string())
            }
        }
    }

    /// Everything that was recorded before this is in the settled store when it returns.
    fn settle_all(&self) -> Result<(), String> {
        let (done, settled) = channel();
        for shard in &self.asked.shards {
            shard.tell(Command::Rotate(done.clone()));
        }
        drop(done);
        let deadline = Instant::now() + SETTLE_TIME_MAX;
        for _ in &self.asked.shards {
            let left = deadline.saturating_duration_since(Instant::now());
            settled.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => "what is stored is not settled yet; see the broker's log".to_owned(),
                RecvTimeoutError::Disconnected => "the broker is stopping".to_owned(),
            })?;
        }
        Ok(())
    }

    /// With what the shards had recorded until now.
    fn stats(&self) -> Result<String, String> {
        self.settle_all()?;
        let stats = self.asked.store.stats().map_err(|error| error.to_string())?;
        Ok([
            ("sessions", stats.sessions),
            ("subscriptions", stats.subscriptions),
            ("queued messages", stats.items),
            ("retained messages", stats.retained),
            ("messages between shards", stats.spooled),
            ("bytes", stats.file_bytes),
            ("segments settled", stats.segments_settled),
            ("records settled", stats.records_settled),
            ("fetches", stats.fetches),
            ("changes of sessions that are not there", stats.orphans),
        ]
        .map(|(name, value)| format!("{name}: {value}\n"))
        .concat())
    }
}

/// Asks the broker that runs on this directory; `None`: there is none.
pub(super) fn ask(directory: &Path, line: &str) -> Option<Result<String, String>> {
    let client = UnixStream::connect(directory.join(SOCKET_FILE)).ok()?;
    Some(ask_on(client, line).unwrap_or_else(|error| Err(format!("the broker did not answer: {error}"))))
}

fn ask_on(mut client: UnixStream, line: &str) -> io::Result<Result<String, String>> {
    writeln!(client, "{line}")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(match answer.split_once('\n') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some((first, _)) => Err(first.strip_prefix("error ").unwrap_or(first).to_owned()),
        None => Err("the broker ended before it answered".to_owned()),
    })
}
