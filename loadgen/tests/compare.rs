//! `compare` as it is called: brokers are started, measured and gone again.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LOADGEN: &str = env!("CARGO_BIN_EXE_thrum-loadgen");

/// What an error begins with.
const NOT_MADE: &str = "thrum-loadgen: the run could not be made: ";

/// Runs it on the first core that there is.
fn compare(duration: &str, arguments: &str) -> Command {
    let core = core_affinity::get_core_ids().expect("cores")[0].id.to_string();
    let mut command = Command::new(LOADGEN);
    command.args(["compare", "--broker-core", &core, "--core", &core, "--duration", duration, "--warm-up", "0.1"]);
    command.args(arguments.split_whitespace());
    command.stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// Whether a process has these words among its arguments.
fn is_running(words: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|arguments| String::from_utf8_lossy(&arguments).contains(words))
}

#[test]
fn the_relay_and_thrum_are_measured_side_by_side() {
    let thrum = Path::new(LOADGEN).with_file_name("thrum");
    // It is there where the whole workspace was built.
    let thrum = if thrum.exists() { "--broker thrum" } else { "--broker relay-doorbell" };
    let output =
        compare("0.1", &format!("--broker relay {thrum} --base relay --rounds 2 --json - --scenario p2p-qos1"));
    let output = { output }.args(["--scenario", "latency"]).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let names: Vec<_> = lines.iter().map(|line| (line["scenario"].as_str(), line["broker"].as_str())).collect();
    let other = thrum.strip_prefix("--broker ");
    let [p2p, latency] = ["p2p-qos1", "latency"].map(Some);
    assert_eq!(names, [(p2p, Some("relay")), (p2p, other), (latency, Some("relay")), (latency, other)]);
    for line in &lines {
        assert!(line["figures"]["messages_per_sec"]["median"].as_f64() > Some(1_000.0), "{line}");
        assert_eq!(line["rounds"], 2);
    }
    assert_eq!(lines[0]["times_better"]["messages_per_sec"]["median"], 1.0);
}

#[test]
fn every_driver_of_the_relay_runs_each_plan_whole() {
    let scenarios =
        ["p2p-qos0", "p2p-qos2", "fan-in-qos1", "fan-out-one-qos0"].map(|name| format!("--scenario {name}"));
    let brokers = "--broker relay --broker relay-doorbell --broker relay-glommio";
    let output = compare("0.1", &format!("{brokers} --rounds 1 {}", scenarios.join(" "))).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).matches("| relay-glommio ").count(), 4);
}

#[test]
fn what_cannot_be_run_is_said_and_what_fails_is_not_hidden() {
    let told = |arguments: &str| {
        let output = compare("0.1", arguments).output().expect("it runs");
        (output.status.success(), text(&output))
    };
    assert_eq!(
        told("--broker nobody"),
        (false, format!("{NOT_MADE}there is no broker nobody: see --list, and --peers\n"))
    );
    let (is_well, words) = told("--broker thrum --thrum /bin/false --scenario latency");
    assert_eq!((is_well, words), (false, format!("{NOT_MADE}thrum ended by itself (exit status: 1)\n")));
    let (is_well, words) = told("--broker relay --rounds 1 --scenario wild-qos0");
    assert!(!is_well && words.contains("! wild-qos0, relay: a subscription was refused"), "{words}");
}

#[test]
fn whoever_stops_it_leaves_no_broker_behind() {
    let mut command = compare("100", "--broker late --scenario p2p-qos0 --peers");
    let dir = tempfile::tempdir().expect("a folder");
    let (peers, name) = (dir.path().join("peers.toml"), format!("late-{}", std::process::id()));
    let script = format!("exec -a {name} {LOADGEN} relay --listen 127.0.0.1:{{port}}");
    fs::write(&peers, format!("[[brokers]]\nname = 'late'\ncommand = ['bash', '-c', '{script}']\n")).expect("written");
    let mut process = command.arg(&peers).stdout(Stdio::null()).spawn().expect("it runs");
    let started = Instant::now();
    while !is_running(&format!("{name}\0relay")) {
        assert!(started.elapsed() < Duration::from_secs(20), "the broker was not started");
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(200));
    kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM).expect("stopped");
    assert!(!process.wait().expect("it ends").success());
    assert!(!is_running(&format!("{name}\0relay")), "the broker is still there");
}
