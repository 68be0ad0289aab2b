//! The last will: published when a connection ends otherwise than by a DISCONNECT that says so.

use std::time::{Duration, Instant};

use crate::broker::{Broker, on_shards, plain};
use crate::client::{Client, connect};
use crate::packets::{CONNACK, DISCONNECT, Login, V3_1_1, V5, VERSIONS, disconnect};

fn witness(broker: &Broker) -> Client {
    let mut witness = connect(broker, V5, "witness");
    witness.subscribe("will/#", 1);
    witness
}

fn expect_will(witness: &mut Client, topic: &str, payload: &str) {
    let got = witness.publish();
    assert_eq!((got.topic.as_str(), got.text()), (topic, payload));
    witness.acknowledge(&got);
}

// [MQTT-3.1.2-8] [MQTT3-3.1.2-8]
#[test]
fn it_comes_when_the_connection_breaks() {
    on_shards(plain, |broker| {
        let mut witness = witness(broker);
        for version in VERSIONS {
            for qos in 0..=2 {
                let id = format!("dying {version} {qos}");
                let topic = format!("will/{version}/{qos}");
                let login = || Login::new(version, &*id).will(&topic, "gone", qos);
                login().connect(broker).reset();
                expect_will(&mut witness, &topic, "gone");
                drop(login().connect(broker));
                expect_will(&mut witness, &topic, "gone");
                let mut client = login().connect(broker);
                // A packet that is none.
                client.send(&[0xf7, 0]);
                client.end_at_last();
                expect_will(&mut witness, &topic, "gone");
            }
        }
        witness.ping();
    });
}

// [MQTT-3.14.4-3] [MQTT-3.1.2-10]
#[test]
fn it_does_not_come_after_disconnect_unless_asked_for() {
    on_shards(plain, |broker| {
        let mut witness = witness(broker);
        for version in VERSIONS {
            Login::new(version, "leaving").will("will/left", "wrong", 1).connect(broker).bye();
        }
        let mut client = Login::new(V5, "leaving").will("will/left", "with will", 1).connect(broker);
        client.send(&disconnect(4));
        client.end();
        expect_will(&mut witness, "will/left", "with will");
        witness.ping();
    });
}

// [MQTT-3.1.2-22] one and a half times the keep alive.
#[test]
fn it_comes_when_the_client_falls_silent() {
    on_shards(plain, |broker| {
        let mut witness = witness(broker);
        let mut silent = Login::new(V5, "silent").keep_alive(1).will("will/silent", "silent", 1).connect(broker);
        let mut lively = Login::new(V3_1_1, "lively").keep_alive(1).will("will/lively", "wrong", 1).connect(broker);
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(2_500) {
            lively.ping();
            std::thread::sleep(Duration::from_millis(100));
        }
        expect_will(&mut witness, "will/silent", "silent");
        assert_eq!(silent.packet_of(DISCONNECT).reason(), 0x8d);
        silent.end();
        lively.bye();
        witness.ping();
    });
}

#[test]
fn it_comes_at_a_takeover_and_is_retained_if_it_says_so() {
    on_shards(plain, |broker| {
        let mut witness = witness(broker);
        let mut first = Login::new(V5, "taken").will("will/taken", "first", 1).will_retained().connect(broker);
        let second = Login::new(V5, "taken").connect(broker);
        assert_eq!(first.packet_of(DISCONNECT).reason(), 0x8e);
        expect_will(&mut witness, "will/taken", "first");
        second.bye();
        let mut late = connect(broker, V3_1_1, "late");
        late.subscribe("will/taken", 0);
        let got = late.publish();
        assert_eq!((got.text(), got.retain), ("first", true));
    });
}

// [MQTT-3.1.3-9]
#[test]
fn one_that_is_delayed_comes_later_or_not_at_all() {
    on_shards(plain, |broker| {
        let mut witness = witness(broker);
        let login = |id: &str, secs| {
            let topic = format!("will/{id}");
            Login::new(V5, id).lasting(60).will(&topic, id, 1).will_delayed(secs).connect(broker)
        };
        login("back", 2).reset();
        let gone_at = Instant::now();
        login("gone", 1).reset();
        let mut back = Login::new(V5, "back").lasting(60).connect(broker);
        expect_will(&mut witness, "will/gone", "gone");
        assert!(gone_at.elapsed() >= Duration::from_millis(900), "after {:?}", gone_at.elapsed());
        std::thread::sleep(Duration::from_millis(1_500));
        witness.ping();
        back.ping();
    });
}

// The subscriber of a will and the one who leaves it are gone in the same moment. What would have come to the subscriber
// came to whoever was given its place, before his CONNACK.
#[test]
fn a_will_for_somebody_who_is_gone_reaches_nobody_else() {
    on_shards(plain, |broker| {
        for round in 0..30 {
            let reader = |number| {
                let mut reader = connect(broker, V3_1_1, &format!("reader {round} {number}"));
                reader.subscribe("will/both", 0);
                reader
            };
            let dying = |number| {
                let id = format!("dying {round} {number}");
                Login::new(V3_1_1, id).will("will/both", "gone", 0).connect(broker)
            };
            let mut clients: Vec<_> = (0..10).flat_map(|number| [dying(number), reader(number)]).collect();
            clients.drain(..).for_each(Client::reset);
            let mut newcomers: Vec<_> =
                (0..20).map(|number| Login::new(V5, format!("new {number}")).send(broker)).collect();
            for newcomer in &mut newcomers {
                assert_eq!(newcomer.packet_of(CONNACK).reason(), 0);
                newcomer.ping();
            }
        }
    });
}
