//! One connection that never stops talking does not silence its neighbours, nor they it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Setup};
use crate::client::{Client, connect};
use crate::packets::{PINGRESP, PUBACK, V3_1_1, V5, publish};

#[test]
fn a_flood_of_publishes_leaves_the_others_their_turn() {
    for shards in [1, 2, 4] {
        let broker = Setup::new(shards).start();
        let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| flood(&broker, &is_over, &written));
            while written.load(Ordering::Relaxed) < 1 << 20 {
                thread::sleep(Duration::from_millis(1));
            }
            let (started, before) = (Instant::now(), written.load(Ordering::Relaxed));
            let mut neighbours: Vec<_> = (0..4).map(|number| connect(&broker, V5, &format!("n {number}"))).collect();
            for _ in 0..50 {
                neighbours.iter_mut().for_each(Client::ping);
            }
            let mut newcomer = connect(&broker, V3_1_1, "newcomer");
            newcomer.subscribe("wanted", 1);
            neighbours[0].send(&publish(V5, "wanted", b"heard", 1, 1));
            neighbours[0].packet_of(PUBACK);
            assert_eq!(newcomer.publish().text(), "heard");
            let took = started.elapsed();
            let flooded = written.load(Ordering::Relaxed) - before;
            is_over.store(true, Ordering::Relaxed);
            println!("{shards} shards: 200 pings in {took:?} beside {} KiB of flood", flooded >> 10);
            assert!(took < Duration::from_secs(20), "{took:?}");
            assert!(flooded > 1 << 20, "the flood stood still: {flooded} bytes in {took:?}");
        });
        broker.stop();
    }
}

fn flood(broker: &Broker, is_over: &AtomicBool, written: &AtomicU64) {
    let mut client = connect(broker, V3_1_1, "flood");
    let block = publish(V3_1_1, "nobody/wants/this", &[b'x'; 100], 0, 0).repeat(500);
    while !is_over.load(Ordering::Relaxed) {
        client.send(&block);
        written.fetch_add(block.len() as u64, Ordering::Relaxed);
    }
    client.send(&crate::packets::PING);
    client.packet_of(PINGRESP);
}
