//! A verdict that takes long is found out beside the shard: others are served meanwhile, and who waited comes in.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use thrum::access::{Answer, Check, Credentials, Guard, Identity, Verdict};
use thrum::base::Timestamp;
use thrum::server::{Broker, Config, ListenerConfig};

/// Lets in at once who has no user name; of the others each waits until the test says so.
#[derive(Clone, Debug)]
struct Slow(Arc<Mutex<Receiver<()>>>);

impl Check for Slow {
    fn run(self: Box<Self>) -> Answer {
        let released = self.0.lock().expect("nobody panicked").recv_timeout(Duration::from_secs(20));
        released.expect("the test releases who waits");
        Answer::Now(Verdict::Accept(Identity::ANONYMOUS))
    }
}

impl Guard for Slow {
    fn connect(&mut self, _: Timestamp, credentials: &Credentials<'_>) -> Answer {
        match credentials.user_name {
            Some(_) => Answer::Later(Box::new(self.clone())),
            None => Answer::Now(Verdict::Accept(Identity::ANONYMOUS)),
        }
    }
}

fn start(shards: usize) -> (Broker, SocketAddr, Sender<()>) {
    let (release, waiting) = channel();
    let guard = Slow(Arc::new(Mutex::new(waiting)));
    let listeners = vec![ListenerConfig::on((Ipv4Addr::LOCALHOST, 0))];
    let config = Config { shards, listeners, connections_max: 100, persistence: false, ..Config::default() };
    let cores = core_affinity::get_core_ids().expect("cores");
    let broker = Broker::start(&config, &cores, || Box::new(guard.clone())).expect("a broker");
    let address = broker.addresses()[0];
    (broker, address, release)
}

fn connect(address: SocketAddr, client_id: char, user: Option<char>) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("connected");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut packet = vec![0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, client_id as u8];
    if let Some(user) = user {
        packet.extend([0, 1, user as u8]);
        packet[1] += 3;
        packet[9] |= 0x80;
    }
    // More than a CONNECT: it waits with it.
    packet.extend([0xC0, 0]);
    client.write_all(&packet).expect("sent");
    client
}

fn expect(client: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    client.read_exact(&mut got).expect("an answer");
    assert_eq!(got, bytes);
}

const CONNACK_AND_PINGRESP: [u8; 6] = [0x20, 2, 0, 0, 0xD0, 0];

#[test]
fn others_are_served_while_a_verdict_is_found_out() {
    for shards in [1, 2] {
        let (broker, address, release) = start(shards);
        let mut waiting: Vec<_> = ('a'..='f').map(|id| connect(address, id, Some('u'))).collect();
        for id in 'g'..='z' {
            let mut other = connect(address, id, None);
            expect(&mut other, &CONNACK_AND_PINGRESP);
        }
        for client in &waiting {
            client.set_nonblocking(true).expect("a socket");
            let peeked = client.peek(&mut [0]).map_err(|error| error.kind());
            assert_eq!(peeked, Err(std::io::ErrorKind::WouldBlock), "it is not let in before its verdict");
            client.set_nonblocking(false).expect("a socket");
        }
        waiting.iter().for_each(|_| release.send(()).expect("somebody waits"));
        for client in &mut waiting {
            expect(client, &CONNACK_AND_PINGRESP);
        }
        broker.stop().expect("a drain");
    }
}

#[test]
fn a_verdict_is_heard_beside_a_flood() {
    let (broker, address, release) = start(1);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for id in ['x', 'y'] {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut client = connect(address, id, None);
                let block = [0x30, 3, 0, 1, b't'].repeat(50_000);
                while !is_over.load(Ordering::Relaxed) {
                    client.write_all(&block).expect("sent");
                }
            });
        }
        thread::sleep(Duration::from_millis(200));
        let mut waiting = connect(address, 'a', Some('u'));
        release.send(()).expect("somebody waits");
        let mut got = [0; CONNACK_AND_PINGRESP.len()];
        let result = waiting.read_exact(&mut got);
        is_over.store(true, Ordering::Relaxed);
        result.expect("an answer");
        assert_eq!(got, CONNACK_AND_PINGRESP);
    });
    broker.stop().expect("a drain");
}

// A drain waits for its clients, and not for what somebody thinks about them: that may take longer than it may last.
#[test]
fn a_drain_does_not_wait_for_a_verdict() {
    let (broker, address, release) = start(1);
    let mut waiting = ['a', 'b'].map(|id| connect(address, id, Some('u')));
    // Behind them: so their questions have been asked.
    expect(&mut connect(address, 'c', None), &CONNACK_AND_PINGRESP);
    let began = Instant::now();
    broker.stop().expect("a drain");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for client in &mut waiting {
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(!rest.starts_with(&CONNACK_AND_PINGRESP), "let in without a verdict");
    }
    // Who thought about the first one has nothing to do any more when it is out, though the second was asked too.
    release.send(()).expect("the question is still open");
    while release.send(()).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "the questions outlive their shard");
        thread::sleep(Duration::from_millis(5));
    }
}
