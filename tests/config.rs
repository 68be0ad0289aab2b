//! The binary as an operator meets it: options, configurations, checks, signals, exit codes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const THRUM: &str = env!("CARGO_BIN_EXE_thrum");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Far more than an answer takes on a machine that is busy, far less than a broker takes that hangs.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Their lines are more than a pipe and the broker together hold of a log that is not read.
const CLIENTS: usize = 3_500;
const LINES_OF_A_CLIENT: usize = 3;

fn thrum(arguments: &[&str]) -> Output {
    Command::new(THRUM).args(arguments).output().expect("it runs")
}

/// Within limits that a shell sets first: `ulimit -l 64`.
fn thrum_within(limits: &str, arguments: &str) -> Output {
    Command::new("sh").args(["-c", &format!("{limits}; exec \"$0\" {arguments}"), THRUM]).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("UTF-8")
}

/// A file of its own for each test.
fn file(name: &str, content: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    fs::write(&path, content).expect("the directory is there");
    path
}

/// A broker that runs, and its log.
struct Broker {
    folder: PathBuf,
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Broker {
    fn start(arguments: &[&str]) -> Self {
        let folder = fresh_folder();
        let mut command = Command::new(THRUM);
        let mut process = command.args(arguments).current_dir(&folder).stderr(Stdio::piped()).spawn().expect("it runs");
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        Self { folder, process, log }
    }

    fn ready(arguments: &[&str]) -> Self {
        let mut broker = Self::start(arguments);
        broker.until("ready");
        broker
    }

    /// The lines up to the first that has this in it.
    fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).expect("a line"), 0, "no {wanted} in {lines:#?}");
            lines.push(line.trim_end().into());
            if line.contains(wanted) {
                return lines;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
    }

    /// The exit code, and the rest of the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("the log");
        (self.process.wait().expect("it ends").code(), rest)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where a broker has its store, by default in the folder it was started in.
fn fresh_folder() -> PathBuf {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let name = format!("config-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("the directory is there");
    folder
}

/// Where a broker listens, from its line that says so.
fn address(listening: &str) -> &str {
    listening.rsplit('=').next().expect("it ends with the address")
}

/// A client that was let in.
fn connect(address: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a time that is not zero");
    client.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c").expect("it reads");
    let mut connack = [0; 4];
    client.read_exact(&mut connack).expect("a CONNACK in time");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    client
}

/// A broker that so many clients came to and left, and where it listens. Its log was not read since it was ready.
fn with_unread_log(name: &str, clients: usize, settings: &str) -> (Broker, String) {
    let listeners = "listeners = [{ address = '127.0.0.1:0' }]";
    let path = file(name, &format!("{listeners}\n{settings}\nlog.level = 'debug'\n"));
    let mut broker = Broker::start(&["-c", path.to_str().expect("UTF-8")]);
    let listening = broker.until("listening").pop().expect("that line");
    broker.until("ready");
    (0..clients).for_each(|_| drop(connect(address(&listening))));
    (broker, address(&listening).into())
}

#[test]
fn help_and_version_are_told_on_stdout() {
    for option in ["-h", "--help"] {
        let help = thrum(&[option]);
        assert_eq!(help.status.code(), Some(0));
        for name in ["--config", "--port", "--verbose", "--shards", "--check", "--test-config", "--help", "--version"] {
            assert!(text(&help.stdout).contains(name), "{name} is not in {}", text(&help.stdout));
        }
    }
    for option in ["-V", "--version"] {
        let version = thrum(&[option]);
        assert_eq!((version.status.code(), text(&version.stdout)), (Some(0), &*format!("thrum {VERSION}\n")));
    }
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_right() {
    let output = thrum(&["--confg", "a.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--config"), "{}", text(&output.stderr));
    for wrong in [["-p", "70000"], ["--shards", "65"]] {
        assert_eq!(thrum(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_good_configuration_is_called_valid() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/thrum.toml");
    for arguments in [&["--check"][..], &["--test-config"], &["--check", "-c", sample], &["--check", "-p", "0"]] {
        let output = thrum(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "the configuration is valid\n");
    }
}

#[test]
fn a_bad_configuration_is_refused_with_all_that_is_wrong_by_the_check_and_by_the_start() {
    let path = file("bad", "shard = 1\n\n[limits]\nreceive_max = 0\n");
    let path = path.to_str().unwrap();
    let told = format!(
        "{path}:1: unknown key \"shard\"; did you mean \"shards\"?\n\
         {path}:4: limits.receive_max = 0 is out of range: it must be from 1 to 65535\n"
    );
    for output in [thrum(&["-c", path, "--check"]), thrum(&["-c", path])] {
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), &*told));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_check_reads_the_files_that_the_configuration_names() {
    let users = file("users", "# nobody yet\nsomebody\n");
    let users = users.to_str().unwrap();
    let path = file(
        "names-files",
        &format!(
            "[access]\npassword_file = '{users}'\n[[listeners]]\naddress = '127.0.0.1:0'\ncertificate = 'no.pem'\n\
             key = 'no.key'\n"
        ),
    );
    let path = path.to_str().unwrap();
    let output = thrum(&["--check", "-c", path]);
    let told = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{told}");
    assert!(told.contains("listeners[0], 127.0.0.1:0: cannot read no.pem: No such file"), "{told}");
    assert!(told.contains(&format!("{users}:2: ")), "{told}");
    let start = thrum(&["-c", path]);
    assert_eq!(start.status.code(), Some(1));
    assert!(text(&start.stderr).contains("ERROR cannot start: listeners[0], 127.0.0.1:0: cannot read no.pem"));
}

#[test]
fn a_configuration_that_is_not_there_is_told_with_its_name() {
    let output = thrum(&["-c", "missing.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "cannot read missing.toml: No such file or directory (os error 2)\n");
}

#[test]
fn a_port_that_another_listener_has_is_refused() {
    let path = file("twice", "[[listeners]]\naddress = '[::1]:1'\n[[listeners]]\naddress = '[::1]:2'\n");
    let output = thrum(&["--check", "-p", "2", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "listeners[1].address = \"[::1]:2\" is the address of another listener too\n");
}

#[test]
fn too_little_locked_memory_ends_the_start_and_only_warns_in_a_check() {
    let remedy = "the limit of locked memory is 64 KiB and io_uring needs 512 KiB: raise it with LimitMEMLOCK=";
    let start = thrum_within("ulimit -l 64", "-p 0");
    assert_eq!(start.status.code(), Some(1));
    assert!(text(&start.stderr).contains(remedy), "{}", text(&start.stderr));
    let check = thrum_within("ulimit -l 64", "--check");
    assert_eq!((check.status.code(), text(&check.stdout)), (Some(0), "the configuration is valid\n"));
    assert!(text(&check.stderr).starts_with(&format!("warning: {remedy}")), "{}", text(&check.stderr));
}

#[test]
fn too_few_descriptors_are_warned_of_unless_the_soft_limit_can_be_raised() {
    let path = file("descriptors", "shards = 1\nconnections_max = 300\n");
    let check = |limits| thrum_within(limits, &format!("--check -c '{}'", path.display()));
    let hard = check("ulimit -n 200");
    assert!(
        text(&hard.stderr).starts_with("warning: the descriptor limit of 200 leaves room for 119 connections"),
        "{}",
        text(&hard.stderr)
    );
    let soft = check("ulimit -Sn 200; ulimit -Hn 400");
    assert_eq!((soft.status.code(), text(&soft.stderr)), (Some(0), ""));
}

#[test]
fn a_start_tells_what_runs_where_and_a_signal_ends_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut broker = Broker::start(&["-p", "0", "--shards", "1"]);
        let lines = broker.until("ready");
        assert!(lines[0].contains(&format!("INFO thrum {VERSION} starting config=\"built-in defaults\" cores=")));
        for field in ["shards=1", "descriptors=", "memlock="] {
            assert!(lines[0].contains(field), "{field} is not in {}", lines[0]);
        }
        assert!(lines.iter().any(|line| line.contains("INFO listening address=127.0.0.1:")), "{lines:#?}");
        broker.signal(signal);
        let (code, rest) = broker.end();
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("INFO stopping") && rest.contains("INFO stopped"), "{rest}");
    }
}

#[test]
fn a_second_signal_ends_the_drain_at_once() {
    // Lines wait to be written when the process ends.
    let (broker, address) = with_unread_log("drain", 1_500, "drain_secs = 3600");
    // A client of 5.0, which is told of the end, and waited for until it closes its side.
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
    client.write_all(b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01d").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    broker.signal(Signal::TERM);
    let mut told = Vec::new();
    client.read_to_end(&mut told).unwrap();
    assert!(told.ends_with(b"\xe0\x01\x8b"), "{told:x?}");
    broker.signal(Signal::TERM);
    let (code, rest) = broker.end();
    assert_eq!(code, Some(1), "{rest}");
    assert!(rest.contains("WARN stopped before the clients were told"), "{rest}");
}

/// A pipe that nobody reads was once written to by the shard itself, which stopped with all its clients.
#[test]
fn a_log_that_nobody_reads_holds_up_neither_the_clients_nor_the_end() {
    let (mut broker, _) = with_unread_log("unread", CLIENTS, "");
    broker.signal(Signal::TERM);
    let asked = Instant::now();
    let code = loop {
        if let Some(status) = broker.process.try_wait().unwrap() {
            break status.code();
        }
        assert!(asked.elapsed() < ANSWER_TIME_MAX, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(code, Some(0));
}

#[test]
fn each_line_of_the_log_is_read_or_told_to_be_lost() {
    let (broker, _) = with_unread_log("late", CLIENTS, "");
    broker.signal(Signal::TERM);
    let (code, log) = broker.end();
    assert_eq!(code, Some(0));
    let (told, read): (Vec<&str>, Vec<&str>) =
        log.lines().partition(|line| line.ends_with(" lines of the log were lost"));
    let lost: usize = told
        .iter()
        .map(|line| line.split("WARN ").nth(1).unwrap().split(' ').next().unwrap())
        .map(|lost| lost.parse::<usize>().unwrap())
        .sum();
    assert!(lost > 0);
    assert_eq!(read.len() + lost, CLIENTS * LINES_OF_A_CLIENT + ["stopping", "stopped"].len());
}

#[test]
fn the_log_can_be_json() {
    let path = file("json", "listeners = [{ address = '127.0.0.1:0' }]\nlog.format = 'json'\n");
    let mut broker = Broker::start(&["-c", path.to_str().unwrap()]);
    let lines = broker.until("\"message\":\"ready\"");
    let is_object = |line: &String| line.starts_with("{\"timestamp\":\"") && line.ends_with('}');
    assert!(lines.iter().all(is_object), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("\"message\":\"listening\",\"address\":\"127.0.0.1:")), "{lines:#?}");
}

#[test]
fn a_reload_says_what_changes_now_and_what_at_the_next_start() {
    let path = file("reload", "listeners = [{ address = '127.0.0.1:0' }]\n");
    let mut broker = Broker::ready(&["-c", path.to_str().unwrap()]);

    let changed = "shards = 64\nlisteners = [{ address = '127.0.0.1:0' }]\ndrain_secs = 1\n";
    file("reload", &format!("{changed}log.level = 'debug'\n"));
    broker.signal(Signal::HUP);
    let lines = broker.until("configuration read again");
    let tells = |wanted: &str| lines.iter().any(|line| line.ends_with(wanted));
    assert!(tells("WARN changes at the next start only key=\"shards\""), "{lines:#?}");
    assert!(tells("INFO changed key=\"drain_secs\"") && tells("INFO changed key=\"log.level\""), "{lines:#?}");

    // The same again: the shards still wait for a start, the rest is as it was.
    broker.signal(Signal::HUP);
    let lines = broker.until("configuration read again");
    assert_eq!(lines.len(), 2, "{lines:#?}");

    // The level holds from the moment of the reload.
    file("reload", &format!("{changed}log.level = 'error'\n"));
    broker.signal(Signal::HUP);
    broker.until("key=\"log.level\"");
    broker.signal(Signal::TERM);
    let (code, rest) = broker.end();
    assert_eq!(code, Some(0));
    assert!(!rest.contains("stopping"), "{rest}");
}

#[test]
fn a_reload_of_a_bad_file_changes_nothing() {
    let path = file("reload-bad", "listeners = [{ address = '127.0.0.1:0' }]\n");
    let mut broker = Broker::ready(&["-c", path.to_str().unwrap()]);
    file("reload-bad", "drain_secs = -1\n");
    broker.signal(Signal::HUP);
    let lines = broker.until("the configuration stays as it was");
    assert!(lines[0].contains(":1: drain_secs: invalid value: integer `-1`, expected a whole number"), "{lines:#?}");
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().0, Some(0));
}

#[test]
fn without_a_file_a_reload_finds_nothing_to_read() {
    let mut broker = Broker::ready(&["-p", "0"]);
    broker.signal(Signal::HUP);
    broker.until("no configuration file to read again");
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().0, Some(0));
}
