//! Between shards: a publish goes where somebody wants it and nowhere else, and a full ring makes publishers wait instead of
//! losing anything.

use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Setup};
use crate::client::{Client, connect};
use crate::packets::{V3_1_1, V5, publish};
use crate::status::Status;

const SENT: &str = "$SYS/broker/thrum/mesh/publishes/sent";

/// What else may cross the mesh while we look: the $SYS topics that the test itself reads.
const NOISE: u64 = 60;

#[test]
fn a_publish_goes_only_to_shards_that_want_it() {
    let broker = Setup::new(2).option("sys_interval_secs", 1).start();
    let mut status = Status::watch(&broker);
    let mut publisher = connect(&broker, V3_1_1, "publisher");
    let (near, far) = by_side(&broker, &mut status, &mut publisher);

    let mut before = status.number(SENT);
    let mut crossed = || {
        let now = status.number(SENT);
        now - std::mem::replace(&mut before, now)
    };
    publish_many(&mut publisher, "nobody", 1_000);
    let to_nobody = crossed();
    assert!(to_nobody < NOISE, "{to_nobody} for 1,000 that nobody wants");

    near.into_iter().for_each(|mut client| client.subscribe("near", 0));
    publish_many(&mut publisher, "near", 1_000);
    let to_near = crossed();
    assert!(to_near < NOISE, "{to_near} for 1,000 that nobody else wants");

    // One message to the other shard, however many want it there.
    let mut far = far;
    far.iter_mut().for_each(|client| client.subscribe("far/+", 0));
    publish_many(&mut publisher, "far/1", 1_000);
    let to_far = crossed();
    println!("of 1,000 publishes {to_nobody}, {to_near} and {to_far} crossed");
    assert!((1_000..1_000 + NOISE).contains(&to_far), "{to_far} for 1,000 that the other shard wants");
    for client in &mut far {
        (0..1_000).for_each(|number| assert_eq!(client.publish().number(), number));
    }

    // And none after the last one is gone.
    far.iter_mut().for_each(|client| client.unsubscribe("far/+"));
    publish_many(&mut publisher, "far/1", 1_000);
    let to_gone = crossed();
    assert!(to_gone < NOISE, "{to_gone} for 1,000 that nobody wants any more");
    broker.stop();
}

fn publish_many(publisher: &mut Client, topic: &str, count: u64) {
    let packets = (0..count).flat_map(|number| publish(V3_1_1, topic, number.to_string().as_bytes(), 0, 0));
    publisher.send(&packets.collect::<Vec<u8>>());
    publisher.ping();
}

/// Clients on the publisher's own shard, and clients on the other one: at least one here, two there. Which are which, the
/// count of what crosses tells, as each gets another power of two.
fn by_side(broker: &Broker, status: &mut Status, publisher: &mut Client) -> (Vec<Client>, Vec<Client>) {
    const CLIENTS: usize = 6;
    for attempt in 0.. {
        assert!(attempt < 20, "all clients are on one shard");
        let mut clients: Vec<_> =
            (0..CLIENTS).map(|number| connect(broker, V5, &format!("candidate {attempt} {number}"))).collect();
        let topic = |number| format!("candidate/{attempt}/{number}");
        clients.iter_mut().enumerate().for_each(|(number, client)| client.subscribe(&topic(number), 0));
        let before = status.number(SENT);
        for (number, client) in clients.iter_mut().enumerate() {
            let count = (NOISE + 4) << number;
            publish_many(publisher, &topic(number), count);
            (0..count).for_each(|expected| assert_eq!(client.publish().number(), expected));
            client.unsubscribe(&topic(number));
        }
        let crossed = (status.number(SENT) - before) / (NOISE + 4);
        let is_far = |number: usize| crossed >> number & 1 == 1;
        let (far, near): (Vec<_>, Vec<_>) = clients.into_iter().enumerate().partition(|(number, _)| is_far(*number));
        if near.is_empty() || far.len() < 2 {
            continue;
        }
        let only = |side: Vec<(usize, Client)>| side.into_iter().map(|(_, client)| client).collect();
        return (only(near), only(far));
    }
    unreachable!("there is always another attempt")
}

// Every shard floods every other one: a ring that is full must never make two shards wait for each other.
#[test]
fn floods_in_all_directions_lose_nothing_and_end() {
    const PUBLISHERS: u64 = 4;
    const MESSAGES: u64 = 4_000;
    for shards in [2, 4] {
        let broker = Setup::new(shards).limit("queue_messages_max", 100_000).start();
        let mut subscribers: Vec<_> = (0..4).map(|number| connect(&broker, V5, &format!("s {number}"))).collect();
        subscribers.iter_mut().for_each(|client| client.subscribe("flood/#", 1));
        let started = Instant::now();
        thread::scope(|scope| {
            for number in 0..PUBLISHERS {
                let broker = &broker;
                scope.spawn(move || {
                    let message =
                        |index| (format!("flood/{number}"), format!("{index} {}", "x".repeat(200)).into_bytes(), 1);
                    let mut client = connect(broker, V3_1_1, &format!("p {number}"));
                    client.publish_all((0..MESSAGES).map(message), 1_000);
                });
            }
            for client in &mut subscribers {
                scope.spawn(move || {
                    let mut next = [0; PUBLISHERS as usize];
                    for _ in 0..PUBLISHERS * MESSAGES {
                        let got = client.take().expect("the broker stays");
                        let publisher: usize = got.topic["flood/".len()..].parse().unwrap();
                        assert_eq!(got.number(), next[publisher], "{}", got.topic);
                        next[publisher] += 1;
                    }
                });
            }
        });
        let took = started.elapsed();
        println!("{shards} shards: {} deliveries in {took:?}", PUBLISHERS * MESSAGES * 4);
        assert!(took < Duration::from_secs(30), "{took:?}");
        broker.stop();
    }
}
