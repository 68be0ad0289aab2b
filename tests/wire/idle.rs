//! What a connection costs while nothing happens on it. THRUM_IDLE_CONNECTIONS (2,000) and THRUM_IDLE_SECS (0: not
//! measured) make it a measurement.

use std::env;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Setup};
use crate::client::{Client, connect};
use crate::packets::V3_1_1;
use crate::process::{processor_secs, resident_bytes};

/// Of the broker's memory, for a connection and its session.
const BYTES_MAX: u64 = 2_048;

const PING_INTERVAL_SECS: u64 = 60;

fn from_environment(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} = {text} is no number")))
}

#[test]
fn an_idle_connection_is_cheap() {
    let connections = from_environment("THRUM_IDLE_CONNECTIONS", 2_000);
    for subscriptions in [0, 1] {
        let broker = Setup::new(2).start();
        // What the first ones cost is not what each costs.
        let _first: Vec<_> = (0..200).map(|number| client(&broker, "first", number, subscriptions)).collect();
        let before = resident_bytes(broker.pid());
        let mut clients: Vec<_> =
            (0..connections).map(|number| client(&broker, "idle", number, subscriptions)).collect();
        let each = resident_bytes(broker.pid()).saturating_sub(before) / connections;
        println!("{connections} idle connections, {subscriptions} subscriptions each: {each} bytes of memory each");
        assert!(each <= BYTES_MAX, "{each} bytes");
        measure_rest(&broker, &mut clients);
        clients.iter_mut().step_by(100).for_each(Client::ping);
        broker.stop();
    }
}

fn client(broker: &Broker, kind: &str, number: u64, subscriptions: u64) -> Client {
    let mut client = connect(broker, V3_1_1, &format!("{kind} {number}"));
    for index in 0..subscriptions {
        client.subscribe(&format!("{kind}/{number}/{index}"), 0);
    }
    client
}

/// The processor's share while every client pings once in a minute, one after the other.
fn measure_rest(broker: &Broker, clients: &mut [Client]) {
    let secs = from_environment("THRUM_IDLE_SECS", 0);
    if secs == 0 {
        return;
    }
    let (started, before) = (Instant::now(), processor_secs(broker.pid()));
    let pause = Duration::from_secs(PING_INTERVAL_SECS) / clients.len() as u32;
    let mut pings = 0;
    while started.elapsed() < Duration::from_secs(secs) {
        clients[pings as usize % clients.len()].ping();
        pings += 1;
        std::thread::sleep((pause * pings).saturating_sub(started.elapsed()));
    }
    let share = (processor_secs(broker.pid()) - before) / started.elapsed().as_secs_f64();
    println!("{} clients that ping every {PING_INTERVAL_SECS} s: {:.2} % of a core", clients.len(), share * 100.0);
}
