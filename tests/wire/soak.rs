//! A long day, made short: clients come, go, break, take over, subscribe and publish at random. In the end the broker is what
//! it was. THRUM_SOAK_SECS (30) makes it longer, THRUM_SOAK_SEED repeats one.

use std::env;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::broker::{Broker, PATIENCE, Setup};
use crate::client::{Came, Client, connect};
use crate::packets::{
    BYE, CONNACK, Login, PING, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, V3_1_1, V5, VERSIONS, ack, disconnect,
    publish, publish_retained, subscribe, unsubscribe,
};
use crate::process::{descriptors, resident_bytes};
use crate::random::Random;
use crate::status::Status;

const WORKERS: u64 = 6;

/// Different client identifiers: few, so that many are taken over.
const CLIENT_IDS: u64 = 60;

const TOPICS: u64 = 40;

/// What an allocator may keep of what is free again.
const MEMORY_ALLOWANCE: u64 = 12 << 20;

#[derive(Default)]
struct Tally {
    connects: AtomicU64,
    packets_sent: AtomicU64,
    messages_received: AtomicU64,
    resets: AtomicU64,
}

#[test]
fn in_the_end_the_broker_is_what_it_was() {
    let secs = env::var("THRUM_SOAK_SECS").map_or(30, |text| text.parse().unwrap());
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = env::var("THRUM_SOAK_SEED").map_or(clock, |text| text.parse().unwrap());
    println!("THRUM_SOAK_SEED={seed}");
    let broker = Setup::new(2).option("sys_interval_secs", 1).start();
    let mut status = Status::watch(&broker);
    let tally = Tally::default();
    // What is allocated once and for all has to be there before it is measured.
    run(&broker, seed, Duration::from_secs(secs) / 3, &tally);
    clean_up(&broker, &mut status);
    let (memory, open) = (resident_bytes(broker.pid()), descriptors(broker.pid()));
    run(&broker, seed + 1_000, Duration::from_secs(secs) * 2 / 3, &tally);
    clean_up(&broker, &mut status);
    let after = resident_bytes(broker.pid());
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} connects, {} resets, {} packets sent, {} messages received in {secs} s; memory {} KiB, then {} KiB",
        count(&tally.connects),
        count(&tally.resets),
        count(&tally.packets_sent),
        count(&tally.messages_received),
        memory >> 10,
        after >> 10,
    );
    assert!(after < memory + MEMORY_ALLOWANCE, "{} KiB more than after the warm-up", (after - memory) >> 10);
    let deadline = Instant::now() + PATIENCE;
    // Some may still have been on their way out when they were counted first.
    while descriptors(broker.pid()) > open {
        assert!(Instant::now() < deadline, "{open} descriptors, then {}", descriptors(broker.pid()));
        thread::sleep(Duration::from_millis(20));
    }
    broker.stop();
}

fn run(broker: &Broker, seed: u64, span: Duration, tally: &Tally) {
    let deadline = Instant::now() + span;
    thread::scope(|scope| {
        for number in 0..WORKERS {
            scope.spawn(move || {
                let random = Random::new(seed + number);
                Worker { broker, random, clients: Vec::new(), tally }.run(deadline);
            });
        }
    });
}

/// Every session is ended and every retained message removed; then the broker must say that nothing is left.
fn clean_up(broker: &Broker, status: &mut Status) {
    let mut cleaner = connect(broker, V5, "cleaner");
    for topic in 0..TOPICS {
        cleaner.retain(&topic_name(topic), b"");
        cleaner.retain(&format!("gone/{topic}"), b"");
    }
    for id in 0..CLIENT_IDS {
        connect(broker, V3_1_1, &client_id(id)).bye();
    }
    cleaner.bye();
    let deadline = Instant::now() + PATIENCE;
    let names = [
        "$SYS/broker/clients/total",
        "$SYS/broker/clients/connected",
        "$SYS/broker/subscriptions/count",
        "$SYS/broker/shared_subscriptions/count",
    ];
    loop {
        let numbers = status.numbers(names);
        // Only the one who watches is left, with what it is subscribed to while it looks.
        if numbers[..2] == [1, 1] && numbers[2] <= 2 && numbers[3] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{names:?} are {numbers:?}");
    }
}

fn topic_name(topic: u64) -> String {
    format!("soak/{}/{topic}", topic % 4)
}

fn client_id(id: u64) -> String {
    format!("soak {id}")
}

struct Worker<'a> {
    broker: &'a Broker,
    random: Random,
    clients: Vec<Client>,
    tally: &'a Tally,
}

impl Worker<'_> {
    fn run(mut self, deadline: Instant) {
        while Instant::now() < deadline {
            if self.clients.len() < 2 || self.clients.len() < 12 && self.random.below(4) == 0 {
                self.connect();
                continue;
            }
            let index = self.random.below(self.clients.len() as u64) as usize;
            let is_alive = self.act(index) && self.read(index);
            if !is_alive {
                self.clients.swap_remove(index);
            } else if self.random.below(20) == 0 {
                let client = self.clients.swap_remove(index);
                self.part(client);
            }
        }
    }

    fn connect(&mut self) {
        let version = VERSIONS[self.random.below(3) as usize];
        let mut login = Login::new(version, client_id(self.random.below(CLIENT_IDS)));
        match self.random.below(4) {
            0 if version == V5 => login = login.lasting(1),
            1 if version == V5 => login = login.lasting(1_000),
            2 => login = login.lasting(0),
            _ => {}
        }
        if self.random.below(3) == 0 {
            let topic = format!("gone/{}", self.random.below(TOPICS));
            login = login.will(&topic, "gone", self.random.below(3) as u8);
            if version == V5 && self.random.below(2) == 0 {
                login = login.will_delayed(1);
            }
        }
        self.tally.connects.fetch_add(1, Ordering::Relaxed);
        let bytes = login.bytes();
        let stream = TcpStream::connect(self.broker.address).expect("the broker accepts");
        let mut client = Client::over(stream, version);
        if self.random.below(10) == 0 {
            // It breaks before it has said everything.
            client.send_if_open(&bytes[..self.random.below(bytes.len() as u64) as usize]);
            return self.part(client);
        }
        client.send(&bytes);
        // Who is taken over at once has no more than that.
        match client.come(PATIENCE) {
            Came::Packet(packet) if packet.kind() == CONNACK => self.clients.push(client),
            Came::End => {}
            other => panic!("{other:?} instead of a CONNACK"),
        }
    }

    /// False: the connection is over.
    fn act(&mut self, index: usize) -> bool {
        let random = &mut self.random;
        let client = &mut self.clients[index];
        let version = client.version;
        let topic = topic_name(random.below(TOPICS));
        let qos = random.below(3) as u8;
        let packet_id = 1 + random.below(60_000) as u16;
        let size = if random.below(50) == 0 { 100_000 } else { random.below(500) };
        let payload = vec![b'x'; size as usize];
        let group = format!("$share/group/soak/{}/#", random.below(4));
        let bytes = match random.below(16) {
            0 => subscribe(version, packet_id, &[(&topic, qos), ("soak/+/1", qos)]),
            1 => subscribe(version, packet_id, &[(&format!("soak/{}/#", random.below(4)), qos), ("gone/#", 1)]),
            2 => subscribe(version, packet_id, &[(&group, qos)]),
            3 => unsubscribe(version, packet_id, &[&topic, "soak/+/1", &group]),
            4 => publish_retained(version, &topic, &payload, qos, packet_id),
            5 => PING.to_vec(),
            6 if random.below(10) == 0 => vec![0xff; 5],
            _ => publish(version, &topic, &payload, qos, packet_id),
        };
        self.tally.packets_sent.fetch_add(1, Ordering::Relaxed);
        client.send_if_open(&bytes)
    }

    /// Takes what came. False: the connection is over.
    fn read(&mut self, index: usize) -> bool {
        // Some read seldom.
        if self.random.below(3) == 0 {
            return true;
        }
        let client = &mut self.clients[index];
        loop {
            let packet = match client.come_now() {
                Came::Packet(packet) => packet,
                Came::Nothing => return true,
                Came::End => return false,
            };
            let answer = match packet.kind() {
                PUBREC if packet.reason() < 0x80 => ack(PUBREL, packet.packet_id()),
                PUBREL => ack(PUBCOMP, packet.packet_id()),
                PUBLISH => {
                    self.tally.messages_received.fetch_add(1, Ordering::Relaxed);
                    let publish = packet.publish();
                    match publish.qos {
                        1 => ack(PUBACK, publish.packet_id),
                        2 => ack(PUBREC, publish.packet_id),
                        _ => continue,
                    }
                }
                _ => continue,
            };
            if !client.send_if_open(&answer) {
                return false;
            }
        }
    }

    fn part(&mut self, mut client: Client) {
        match self.random.below(5) {
            0 => {
                client.send_if_open(&BYE);
            }
            1 if client.version == V5 => {
                client.send_if_open(&disconnect(4));
            }
            2 | 3 => {
                self.tally.resets.fetch_add(1, Ordering::Relaxed);
                client.reset();
            }
            _ => client.half_close(),
        }
    }
}
