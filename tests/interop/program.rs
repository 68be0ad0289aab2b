//! Clients that are programs: where they are, how they are run, and what is said when one is missing or fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::broker::Broker;

/// A theme's checks give up one by one much earlier.
const THEME_TIMEOUT: Duration = Duration::from_secs(90);

pub(crate) fn paho(theme: &str, broker: &Broker) {
    paho_with(theme, broker, &[]);
}

/// With more in its environment.
pub(crate) fn paho_with(theme: &str, broker: &Broker, given: &[(&str, &str)]) {
    let python = installed("venv/bin/python");
    // -B: it writes no compiled files beside its sources.
    let source = source(&format!("paho/{theme}.py"));
    run_theme(Command::new(python).envs(given.iter().copied()).arg("-B").arg(source), broker);
}

pub(crate) fn mqtt_js(theme: &str, broker: &Broker) {
    mqtt_js_with(theme, broker, &[]);
}

pub(crate) fn mqtt_js_with(theme: &str, broker: &Broker, given: &[(&str, &str)]) {
    let mut node = Command::new(in_path("node"));
    node.env("NODE_PATH", installed("node/node_modules")).envs(given.iter().copied());
    run_theme(node.arg(source(&format!("mqttjs/{theme}.js"))), broker);
}

fn run_theme(command: &mut Command, broker: &Broker) {
    let path = broker.folder.join("output");
    let output = File::create(&path).unwrap();
    let command = command.arg(broker.url()).env("CA", broker.file("ca.pem")).stdin(Stdio::null());
    let mut child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let status = wait(&mut child, THEME_TIMEOUT);
    let output = fs::read_to_string(path).unwrap();
    let failed = output.matches("FAILED").count();
    match status {
        None => panic!("not done after {THEME_TIMEOUT:?}:\n{output}"),
        Some(status) => assert!(status.success(), "{failed} checks failed, {status}:\n{output}"),
    }
}

/// How the process ends; it is killed if it does not.
pub(crate) fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(path)
}

/// What tests/interop/install put into the target folder.
fn installed(path: &str) -> PathBuf {
    let found = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("interop").join(path);
    assert!(found.exists(), "{} is missing: run tests/interop/install", found.display());
    found
}

pub(crate) fn in_path(name: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run tests/interop/install"))
}
