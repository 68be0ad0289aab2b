//! Every scenario against a real broker, small and short.

mod real_broker;

use std::time::Duration;

use thrum::mqtt::{QoS, Version};
use thrum::server::Broker;
use thrum_loadgen::access::Access;
use thrum_loadgen::churn;
use thrum_loadgen::crowd::{self, Crowd};
use thrum_loadgen::ledger::Faults;
use thrum_loadgen::outcome::Outcome;
use thrum_loadgen::plan::Plan;
use thrum_loadgen::retained::{self, Collection};
use thrum_loadgen::suite::CASES;
use thrum_loadgen::summary::Summary;
use thrum_loadgen::traffic::{self, Load, Stage};

use real_broker::start;

fn load(broker: &Broker, qos: QoS) -> Load {
    Load {
        access: Access::plain(broker.addresses()[0], Version::V3_1_1),
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

fn assert_whole(outcome: &Outcome) {
    assert_eq!((&outcome.failures, outcome.messages.faults), (&Vec::new(), Faults::default()));
    assert_eq!((outcome.messages.received, outcome.messages.broken), (outcome.messages.due, 0));
    assert!(Summary::of(outcome).is_kept);
}

const EACH_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn a_crowd_is_opened_held_and_called_by_name() {
    let broker = start();
    for (filters_each, subscriptions) in [(0, 0), (1, 300), (3, 900)] {
        let load = Load { pid: Some(std::process::id()), ..load(&broker, QoS::AtLeastOnce) };
        let mut held = 0;
        let outcome = crowd::run(Crowd { clients: 300, filters_each }, &load, |stage| {
            if let Stage::Holding { ready, .. } = stage {
                held = ready;
            }
        });
        let outcome = outcome.expect("a run");
        assert_whole(&outcome);
        assert_eq!((outcome.clients, outcome.connects.count, outcome.subscriptions), (300, 300, subscriptions));
        assert_eq!((outcome.connects.latency.len(), held), (300, 300));
        assert_eq!(outcome.samples.iter().map(|sample| sample.connects).sum::<u64>(), 300);
        assert!(
            outcome.span >= load.duration && outcome.cost.broker.is_some_and(|cost| !cost.connecting_cpu.is_zero())
        );
    }
    broker.stop().expect("a drain");
}

#[test]
fn those_that_are_lost_while_they_are_held_are_failures() {
    let mut broker = Some(start());
    let load = Load { duration: Duration::from_secs(60), ..load(broker.as_ref().expect("one"), QoS::AtMostOnce) };
    let outcome = crowd::run(Crowd { clients: 20, filters_each: 0 }, &load, |stage| {
        if let Stage::Holding { .. } = stage
            && let Some(broker) = broker.take()
        {
            broker.stop().expect("a drain");
        }
    });
    let outcome = outcome.expect("a run");
    assert_eq!(outcome.failures.len(), 20, "{:?}", outcome.failures);
    assert!(!Summary::of(&outcome).is_kept);
}

#[test]
fn a_crowd_pings_to_be_kept() {
    let broker = start();
    let mut load = load(&broker, QoS::AtMostOnce);
    // A client that has been silent for 1.5 seconds is gone. [MQTT-3.1.2-24]
    (load.access.keep_alive_secs, load.duration) = (1, Duration::from_secs(3));
    assert_whole(&crowd::run(Crowd { clients: 10, filters_each: 1 }, &load, |_| {}).expect("a run"));
    broker.stop().expect("a drain");
}

#[test]
fn clients_come_and_go_and_every_one_is_counted() {
    let broker = start();
    for subscribes in [false, true] {
        let load = Load { duration: Duration::from_millis(400), ..load(&broker, QoS::AtLeastOnce) };
        let mut completed = 0;
        let outcome = churn::run(10, subscribes, &load, |stage| {
            if let Stage::Churning { completed: so_far } = stage {
                completed = so_far;
            }
        });
        let outcome = outcome.expect("a run");
        assert_whole(&outcome);
        let count = outcome.connects.count;
        assert!(count > 10 && count == outcome.connects.latency.len() && count <= completed + 10, "{count}");
        assert!(outcome.samples.iter().map(|sample| sample.connects).sum::<u64>() <= count);
    }
    broker.stop().expect("a drain");
}

#[test]
fn churn_keeps_its_pace() {
    let broker = start();
    let mut load = Load { duration: Duration::from_millis(500), ..load(&broker, QoS::AtMostOnce) };
    load.access.ramp = 100.0;
    let outcome = churn::run(10, false, &load, |_| {}).expect("a run");
    assert_whole(&outcome);
    // Those besides that were under way, or late, when the measurement began.
    let paced = load.access.ramp * (load.warm_up + outcome.span).as_secs_f64();
    assert!(outcome.connects.count as f64 <= paced + 11.0, "{} of {paced}", outcome.connects.count);
    broker.stop().expect("a drain");
}

#[test]
fn retained_messages_are_fetched_whole_and_taken_back() {
    let broker = start();
    for (qos, is_single_level) in EACH_QOS.into_iter().zip([false, true, false]) {
        let load = load(&broker, qos);
        let collection = Collection { messages: 500, subscribers: 2, is_single_level, is_kept: true };
        let outcome = retained::run(collection, &load, |_| {}).expect("a run");
        assert_whole(&outcome);
        assert!(outcome.messages.due >= 1_000 && outcome.messages.due % 500 == 0);
        assert!(!outcome.fetches.is_empty() && outcome.messages.sent == 500);
        // They were kept: half as many more are not all there is.
        let half = Collection { messages: 250, is_kept: false, ..collection };
        let outcome = retained::run(half, &load, |_| {}).expect("a run");
        assert!(outcome.messages.faults.wrong_payload > 0 && !Summary::of(&outcome).is_kept);
        let all = Collection { is_kept: false, ..collection };
        assert_whole(&retained::run(all, &load, |_| {}).expect("a run"));
        // And they were taken back.
        assert_whole(&retained::run(half, &load, |_| {}).expect("a run"));
    }
    broker.stop().expect("a drain");
}

#[test]
fn a_mixed_site_comes_through_whole_while_clients_come_and_go() {
    let broker = start();
    for qos in EACH_QOS {
        let mut plan = Plan::mixed(1);
        plan.background.as_mut().expect("a background").connects_per_sec = 200.0;
        let load = Load { rate: 2_000.0, duration: Duration::from_millis(300), ..load(&broker, qos) };
        let outcome = traffic::run(&plan, &load, |_| {}).expect("a run");
        assert_whole(&outcome);
        assert!(outcome.samples.iter().map(|sample| sample.connects).sum::<u64>() > 0);
    }
    broker.stop().expect("a drain");
}

#[test]
fn a_part_of_every_case_of_the_suite_runs() {
    let broker = start();
    for case in CASES {
        let fraction = if case.name.contains("1M") || case.name.contains("50k") { 0.000_2 } else { 0.01 };
        let mut load = load(&broker, QoS::AtMostOnce);
        load.access.ramp = 1_000.0;
        let outcome = case.part(fraction, load).expect("one that fits").run(|_| {}).expect("a run");
        assert_whole(&outcome);
        assert!(outcome.name.starts_with(&format!("omb {}, {fraction} of it: ", case.name)), "{}", outcome.name);
        assert!(outcome.connects.count as usize == outcome.clients);
    }
    broker.stop().expect("a drain");
}
