//! The binary as it is called: where its figures go, and what its exit status says.

mod real_broker;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, id};
use std::thread;

use thrum_loadgen::summary::Summary;

use real_broker::start;

/// A short run of one pair.
fn run(broker: SocketAddr, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thrum-loadgen"))
        .args(["p2p", "--pairs", "1", "--duration", "0.1", "--warm-up", "0.02", "--broker", &broker.to_string()])
        .args(more)
        .output()
        .expect("the binary")
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("thrum-loadgen-{}-{name}", id()))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// Acknowledges whatever comes, and delivers nothing of it. Its client's packets are all short.
fn lose(mut client: TcpStream) -> std::io::Result<()> {
    let (mut head, mut body) = ([0; 2], [0; 127]);
    loop {
        client.read_exact(&mut head)?;
        let body = &mut body[..usize::from(head[1])];
        client.read_exact(body)?;
        match head[0] >> 4 {
            1 => client.write_all(&[0x20, 2, 0, 0])?,
            3 if head[0] & 6 == 2 => {
                let id = 2 + usize::from(body[1]);
                client.write_all(&[0x40, 2, body[id], body[id + 1]])?;
            }
            // The QoS that is asked for comes last.
            8 => client.write_all(&[0x90, 3, body[0], body[1], body[body.len() - 1]])?,
            _ => {}
        }
    }
}

/// The address of a broker that loses everything.
fn start_loser() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || listener.incoming().flatten().for_each(|client| drop(thread::spawn(|| lose(client)))));
    address
}

#[test]
fn a_run_without_fault_is_a_success_with_a_table_and_no_progress() {
    let broker = start();
    let Output { status, stdout, stderr } = run(broker.addresses()[0], &["--qos", "1", "--pid", &id().to_string()]);
    assert_eq!((status.code(), text(&stderr)), (Some(0), ""));
    let table = text(&stdout);
    assert!(table.starts_with("p2p, 1 pairs: MQTT 3.1.1, QoS 1, 16 bytes, 2 clients"), "{table}");
    for row in ["throughput", "faults        lost 0, duplicated 0", "broker CPU", "p99.9", "latency"] {
        assert!(table.contains(row), "{row} in {table}");
    }
    broker.stop().expect("a drain");
}

#[test]
fn figures_are_appended_as_json_and_the_page_is_made_anew() {
    let broker = start();
    let (json, html) = (path("figures.jsonl"), path("page.html"));
    let to = ["--json", json.to_str().expect("text"), "--html", html.to_str().expect("text")];
    for qos in ["0", "2"] {
        assert_eq!(run(broker.addresses()[0], &[&to[..], &["--qos", qos]].concat()).status.code(), Some(0));
    }
    let lines = fs::read_to_string(&json).expect("the lines");
    let summaries: Vec<Summary> = lines.lines().map(|line| serde_json::from_str(line).expect("a summary")).collect();
    assert_eq!(summaries.iter().map(|summary| summary.qos).collect::<Vec<_>>(), [0, 2]);
    for summary in &summaries {
        assert!(summary.is_kept && summary.messages_per_sec > 0.0 && summary.latency_curve.len() > 5);
        assert_eq!((summary.received, summary.lost), (summary.due, 0));
    }
    let page = fs::read_to_string(&html).expect("the page");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n") && page.matches("QoS 2").count() == 1);
    [json, html].iter().for_each(|path| fs::remove_file(path).expect("it was there"));
    broker.stop().expect("a drain");
}

#[test]
fn json_on_standard_output_is_alone_there() {
    let broker = start();
    let Output { status, stdout, stderr } = run(broker.addresses()[0], &["--json", "-"]);
    assert_eq!(status.code(), Some(0));
    assert!(serde_json::from_slice::<Summary>(&stdout).is_ok_and(|summary| summary.clients == 2));
    assert!(text(&stderr).contains("throughput"));
    broker.stop().expect("a drain");
}

#[test]
fn what_is_lost_is_a_failure_where_the_qos_allows_no_loss() {
    let loser = start_loser();
    let Output { status, stdout, stderr } = run(loser, &["--qos", "1", "--window", "64"]);
    let table = text(&stdout);
    assert_eq!((status.code(), text(&stderr)), (Some(1), ""), "{table}");
    assert!(table.contains("64 sent, 0 received of 64 due") && table.contains("lost 64 (100 %)"), "{table}");
    assert!(table.contains("BROKEN: 64 of the faults break what QoS 1 promises"), "{table}");
    let allowed = run(loser, &["--qos", "0", "--window", "64"]);
    let table = text(&allowed.stdout);
    assert_eq!(allowed.status.code(), Some(0), "{table}");
    assert!(table.contains("NOTE: 100 % of the deliveries were lost, as QoS 0 allows"), "{table}");
}

#[test]
fn a_run_that_cannot_be_made_says_why_and_is_neither_a_loss_nor_a_wrong_command_line() {
    let broker = start();
    let address = broker.addresses()[0];
    let unwritable = run(address, &["--html", "/nowhere/page.html"]);
    let no_process = run(address, &["--pid", "4194305"]);
    let wrong = run(address, &["--qos", "3"]);
    broker.stop().expect("a drain");
    let no_broker = run(address, &[]);
    let runs = [
        (unwritable, 3, "could not be made: /nowhere/page.html: No such file"),
        (no_process, 3, "could not be made: there is no process 4194305"),
        (no_broker, 3, "could not be made: no connection to the broker: Connection refused"),
        (wrong, 2, "invalid value '3' for '--qos"),
    ];
    for (Output { status, stdout, stderr }, code, words) in runs {
        assert_eq!((status.code(), text(&stdout)), (Some(code), ""));
        assert!(text(&stderr).contains(words), "{}", text(&stderr));
    }
}
