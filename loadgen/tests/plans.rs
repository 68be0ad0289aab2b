//! Every plan against a real broker: nothing is lost, and everything is counted.

mod real_broker;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use thrum::mqtt::{QoS, Version};
use thrum::server::Broker;
use thrum_loadgen::access::Access;
use thrum_loadgen::ledger::Faults;
use thrum_loadgen::outcome::Outcome;
use thrum_loadgen::plan::Plan;
use thrum_loadgen::traffic::{Load, run};

use real_broker::start;

fn load(broker: &Broker, qos: QoS) -> Load {
    Load {
        access: Access::plain(broker.addresses()[0], Version::V5),
        qos,
        payload_bytes: 20,
        window: 32,
        batch: 4,
        rate: 0.0,
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(100),
        spins: false,
        seed: 1,
        pid: None,
    }
}

fn assert_whole(outcome: &Outcome, clients: usize) {
    let messages = &outcome.messages;
    assert_eq!((&outcome.failures, messages.faults), (&Vec::new(), Faults::default()));
    assert_eq!(messages.received, messages.due);
    assert_eq!(outcome.clients, clients);
    assert!(messages.sent > 0 && messages.due >= messages.sent && messages.received_in_span > 0);
    assert!(outcome.samples.iter().map(|sample| sample.received).sum::<u64>() == messages.received_in_span);
    assert_eq!(outcome.connects.latency.len(), clients as u64);
    assert!(messages.latency.len() <= messages.received && messages.latency.min() > 0);
}

#[test]
fn durable_subscribers_keep_their_sessions_and_acknowledgements_are_timed() {
    let broker = start();
    for (version, qos, acknowledged) in [
        (Version::V5, QoS::AtMostOnce, false),
        (Version::V5, QoS::AtLeastOnce, true),
        (Version::V3_1_1, QoS::ExactlyOnce, true),
    ] {
        let access = Access { is_durable: true, ..Access::plain(broker.addresses()[0], version) };
        let outcome = run(&Plan::pairs(3), &Load { access, ..load(&broker, qos) }, |_| {}).expect("a run");
        assert_whole(&outcome, 6);
        assert_eq!(!outcome.messages.acknowledging.is_empty(), acknowledged);
        // Subscribers come first.
        let sessions: Vec<_> = (0..6).map(|number| has_session(broker.addresses()[0], number)).collect();
        assert_eq!(sessions, [true, true, true, false, false, false]);
    }
}

/// Whether the broker has a session of the client with this number.
fn has_session(broker: SocketAddr, number: usize) -> bool {
    let client_id = format!("loadgen-{}-{number}", std::process::id());
    let mut connect = vec![0x10, 12 + client_id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0];
    connect.push(client_id.len() as u8);
    connect.extend(client_id.as_bytes());
    let mut connection = TcpStream::connect(broker).expect("a connection");
    connection.write_all(&connect).expect("sent");
    let mut answer = [0; 4];
    connection.read_exact(&mut answer).expect("CONNACK");
    assert_eq!((answer[0], answer[3]), (0x20, 0));
    answer[2] == 1
}

#[test]
fn every_plan_comes_through_whole_at_each_qos() {
    let broker = start();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let plans = [
            (Plan::pairs(5), 10),
            (Plan::fan_in(6, 2), 8),
            (Plan::fan_out(2, 7), 9),
            (Plan::shared(3, 2, 4), 11),
            (Plan::wild(2, 3, 1_000, 50), 5),
            (Plan::every_qos(9), 18),
        ];
        for (plan, clients) in plans {
            assert_whole(&run(&plan, &load(&broker, qos), |_| {}).expect("a run"), clients);
        }
    }
    broker.stop().expect("a drain");
}

/// Longer than what is read at once.
#[test]
fn long_payloads_come_through_whole() {
    let broker = start();
    for payload_bytes in [100_000, 1_000_000] {
        let load = Load { payload_bytes, window: 4, ..load(&broker, QoS::AtLeastOnce) };
        assert_whole(&run(&Plan::fan_out(2, 3), &load, |_| {}).expect("a run"), 5);
    }
    broker.stop().expect("a drain");
}

#[test]
fn clients_come_from_the_addresses_that_are_given() {
    let broker = start();
    let mut load = load(&broker, QoS::AtMostOnce);
    load.access.sources = vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    assert_whole(&run(&Plan::pairs(3), &load, |_| {}).expect("a run"), 6);
    load.access.sources = vec![Ipv4Addr::new(192, 0, 2, 1)];
    let error = run(&Plan::pairs(3), &load, |_| {}).expect_err("not an address of this machine");
    assert!(error.to_string().contains("--source"), "{error}");
    broker.stop().expect("a drain");
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let broker = start();
    let load = Load { rate: 2_000.0, duration: Duration::from_millis(500), ..load(&broker, QoS::AtLeastOnce) };
    let outcome = run(&Plan::pairs(3), &load, |_| {}).expect("a run");
    assert_whole(&outcome, 6);
    // Of warm-up and measurement together, whatever the machine is doing besides: what is due is sent.
    let sent = outcome.messages.sent;
    assert!((1_000..=1_100).contains(&sent), "{sent} were sent");
    broker.stop().expect("a drain");
}

#[test]
fn a_broker_that_is_not_there_is_an_error() {
    let broker = start();
    let load = load(&broker, QoS::AtMostOnce);
    broker.stop().expect("a drain");
    let error = run(&Plan::pairs(1), &load, |_| {}).expect_err("nobody listens");
    assert!(error.to_string().contains("refused"), "{error}");
}
