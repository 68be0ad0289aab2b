//! Sessions: kept while their client is away, taken over by who connects again, one at a time wherever it comes in.

use std::thread;

use crate::broker::{PATIENCE, on_shards, plain};
use crate::client::{Came, Client, connect};
use crate::packets::{CONNACK, DISCONNECT, Login, PING, PINGRESP, V3_1, V3_1_1, V5, VERSIONS};

#[test]
fn what_comes_while_the_client_is_away_waits_for_it() {
    on_shards(plain, |broker| {
        for version in VERSIONS {
            let login = Login::new(version, format!("away {version}"));
            let login = if version == V5 { login.lasting(60) } else { login.lasting(0) };
            let topic = format!("waits/{version}");
            let (mut reader, is_present) = login.present(broker);
            assert!(!is_present);
            reader.subscribe(&topic, 1);
            reader.bye();
            let mut publisher = connect(broker, V3_1_1, "publisher");
            for number in 0..100 {
                publisher.publish_to(&topic, number.to_string().as_bytes(), 1 + number % 2);
            }
            let (mut reader, is_present) = login.present(broker);
            // A CONNACK of 3.1 does not say.
            assert!(is_present || version == V3_1);
            for number in 0..100 {
                let got = reader.publish();
                assert_eq!((got.number(), got.qos), (number, 1));
                reader.acknowledge(&got);
            }
            reader.ping();
        }
    });
}

// [MQTT-3.1.4-4] [MQTT3-3.1.2-6]
#[test]
fn a_clean_start_finds_nothing() {
    on_shards(plain, |broker| {
        let mut reader = Login::new(V5, "clean").lasting(60).connect(broker);
        reader.subscribe("clean/topic", 1);
        reader.bye();
        let (mut reader, is_present) = Login::new(V5, "clean").expiring(60).present(broker);
        assert!(!is_present);
        connect(broker, V5, "publisher").publish_to("clean/topic", b"to nobody", 1);
        reader.ping();
    });
}

// [MQTT-3.1.2-23]
#[test]
fn a_session_ends_when_its_time_is_over() {
    on_shards(plain, |broker| {
        let login = Login::new(V5, "expiring").lasting(1);
        login.connect(broker).bye();
        let mut other = Login::new(V5, "other").lasting(1).connect(broker);
        thread::sleep(std::time::Duration::from_millis(2_500));
        assert!(!login.present(broker).1, "it lasted for more than a second");
        // One that is connected has all the time of the world.
        other.ping();
        other.reset();
        assert!(Login::new(V5, "other").lasting(1).present(broker).1);
    });
}

// [MQTT-3.1.4-3] the one before is told, and its end is its own.
#[test]
fn who_connects_again_takes_over() {
    on_shards(plain, |broker| {
        for version in VERSIONS {
            let id = format!("twice {version}");
            let mut first = connect(broker, version, &id);
            first.subscribe("topic/of/the/first", 0);
            let mut second = connect(broker, V5, &id);
            if version == V5 {
                assert_eq!(first.packet_of(DISCONNECT).reason(), 0x8e);
            }
            first.end();
            second.ping();
        }
    });
}

#[test]
fn a_takeover_keeps_the_session() {
    on_shards(plain, |broker| {
        let login = Login::new(V5, "kept").lasting(60);
        let mut first = login.connect(broker);
        first.subscribe("kept/topic", 1);
        let mut publisher = connect(broker, V5, "publisher");
        for number in 0..50_u64 {
            publisher.publish_to("kept/topic", number.to_string().as_bytes(), 1);
            // The one before has it unacknowledged.
            let (mut next, is_present) = login.present(broker);
            assert!(is_present);
            let got = next.publish();
            assert_eq!(got.number(), number);
            next.acknowledge(&got);
            // Whoever takes over comes after the acknowledgement.
            next.ping();
            first = next;
        }
        first.ping();
    });
}

// A client identifier is in one place, however many come with it at the same time, and from whatever shard.
#[test]
fn of_many_that_come_at_once_exactly_one_remains() {
    const CLIENTS: usize = 64;
    on_shards(plain, |broker| {
        for version in [V3_1_1, V5] {
            for is_lasting in [false, true] {
                let id = format!("contended {version} {is_lasting}");
                let login = Login::new(version, id);
                let login = if is_lasting { login.lasting(60) } else { login };
                let mut clients: Vec<Client> = thread::scope(|scope| {
                    let threads: Vec<_> = (0..8)
                        .map(|_| {
                            let login = &login;
                            scope.spawn(move || (0..CLIENTS / 8).map(|_| login.send(broker)).collect::<Vec<_>>())
                        })
                        .collect();
                    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
                });
                // Who has a CONNACK has taken over from whoever was there.
                clients.iter_mut().for_each(|client| assert_eq!(client.packet_of(CONNACK).reason(), 0));
                assert_eq!(clients.iter_mut().map(survives).filter(|&survives| survives).count(), 1);
            }
        }
    });
}

fn survives(client: &mut Client) -> bool {
    client.send_if_open(&PING);
    match client.come(PATIENCE) {
        Came::Packet(packet) if packet.kind() == PINGRESP => return true,
        Came::Packet(packet) => {
            assert_eq!((client.version, packet.kind(), packet.reason()), (V5, DISCONNECT, 0x8e));
            client.end();
        }
        Came::End => assert_eq!(client.version, V3_1_1, "not told that it was taken over"),
        Came::Nothing => panic!("neither alive nor ended"),
    }
    false
}
