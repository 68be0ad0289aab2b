//! Shards turned by hand, with real sockets: what one turn may do, and what a full ring does.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::checks::{CheckLimits, CheckPool, Checks};
use super::clock::Clock;
use super::command::{Command, Reconfiguration, ShardHandle};
use super::config::Config;
use super::doors::Doors;
use super::listening::Listening;
use super::shard::{READ_BYTES_MAX, Shard, ShardParts};
use super::shard_input::ACCEPTS_PER_TURN;
use crate::access::Open;
use crate::base::{ConnId, ListenerId, Millis, Refusal, ShardId};
use crate::broker::{Options, ShardCore};
use crate::mesh;
use crate::net::{Connection, ListenAddress, Listener};
use crate::storage::ShardImage;

const PATIENCE: Duration = Duration::from_secs(20);

/// Shards that move only when they are told to.
struct Shards {
    shards: Vec<Shard>,
    address: SocketAddr,
    clock: Clock,
    doors: Arc<Doors>,
    handles: Vec<ShardHandle>,
}

impl Shards {
    fn new(count: usize, ring_slots: usize) -> Self {
        Self::with_room(count, ring_slots, 1_000)
    }

    fn with_room(count: usize, ring_slots: usize, connections_max: usize) -> Self {
        Self::with(Config { shards: count, connections_max, ..Config::default() }, ring_slots)
    }

    /// Takes the room that it finds.
    fn has_room(&self) -> bool {
        self.doors.enter(self.clock.now(), ListenerId(0), None).is_ok()
    }

    fn with(config: Config, ring_slots: usize) -> Self {
        Self::beginning_with(config, ring_slots, || None)
    }

    /// With what was stored for each.
    fn beginning_with(config: Config, ring_slots: usize, image: impl Fn() -> Option<ShardImage>) -> Self {
        let config = Arc::new(Config { sys_interval_secs: 0, persistence: false, ..config });
        let count = config.shards;
        let doors = Arc::new(config.doors(7, [ListenerId(0)]));
        let clock = Clock::start();
        let any_port = ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listener = Listener::bind(&any_port).expect("a port");
        let address = listener.address().internet().expect("an internet address");
        let mut listeners = vec![Listening { listener, id: ListenerId(0), transport: Arc::default(), has_more: false }];
        let checks = Arc::new(CheckPool::start(&CheckLimits::default()).expect("threads"));
        let mut handles = Vec::new();
        let mut shards = Vec::new();
        for (index, port) in mesh::build(count, ring_slots).expect("a mesh").into_iter().enumerate() {
            let me = ShardId::new(index);
            let (commands, receiver) = channel();
            let handle = ShardHandle { commands, alarm: Arc::clone(port.alarm()) };
            handles.push(handle.clone());
            let parts = ShardParts {
                config: Arc::clone(&config),
                // Only the first one accepts; clients of others come to them through the mesh.
                listeners: std::mem::take(&mut listeners),
                port,
                doors: Arc::clone(&doors),
                commands: receiver,
                checks: Checks::new(Arc::clone(&checks), handle),
                clock,
                image: image(),
                started: channel().0,
            };
            let options = Options { shards: count, connections_max: 1_000, ..config.options() };
            let core = ShardCore::new(me, options, Box::new(Open), clock.now()).expect("valid options");
            shards.push(Shard::new(parts, core, None).expect("an epoll set"));
        }
        Self { shards, address, clock, doors, handles }
    }

    /// True: there is more to do.
    fn turn(&mut self, index: usize) -> bool {
        self.shards[index].poller.wait(Some(Duration::ZERO));
        self.turn_without_looking(index)
    }

    /// With nothing but what the poller has told before.
    fn turn_without_looking(&mut self, index: usize) -> bool {
        self.shards[index].turn(self.clock.now())
    }

    fn drain(&mut self, index: usize) {
        assert!(self.handles[index].tell(Command::Drain), "the shard is there");
    }

    fn turn_all(&mut self) {
        (0..self.shards.len()).for_each(|index| _ = self.turn(index));
    }

    /// Turns until the client has got so many bytes.
    fn read(&mut self, client: &mut TcpStream, bytes: usize) -> Vec<u8> {
        let (mut got, mut filled, began) = (vec![0; bytes], 0, Instant::now());
        while filled < bytes {
            self.turn_all();
            match client.read(&mut got[filled..]) {
                Ok(0) => panic!("the broker closed the connection"),
                Ok(more) => filled += more,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(began.elapsed() < PATIENCE, "{filled} of {bytes} bytes came");
        }
        got
    }

    fn connect(&mut self, client_id: &str) -> TcpStream {
        let mut client = self.begin_connect(client_id);
        assert_eq!(self.read(&mut client, 4), CONNACK);
        client
    }

    /// Sends CONNECT and does not wait for an answer.
    fn begin_connect(&self, client_id: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address).expect("connected");
        client.set_nonblocking(true).expect("a socket");
        let mut packet = vec![0x10, 12 + client_id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60];
        packet.extend([0, client_id.len() as u8]);
        packet.extend(client_id.as_bytes());
        client.write_all(&packet).expect("sent");
        client
    }

    /// The will is of one byte.
    fn begin_connect_with_will(&self, client_id: &str, topic: u8) -> TcpStream {
        let mut client = TcpStream::connect(self.address).expect("connected");
        client.set_nonblocking(true).expect("a socket");
        let mut packet = vec![0x10, 18 + client_id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 6, 0, 60];
        packet.extend([0, client_id.len() as u8]);
        packet.extend(client_id.as_bytes());
        packet.extend([0, 1, topic, 0, 1, b'w']);
        client.write_all(&packet).expect("sent");
        client
    }

    /// A client whose home is the shard asked for.
    fn connect_to(&mut self, shard: usize) -> TcpStream {
        self.find(shard).1
    }

    fn find(&mut self, shard: usize) -> (String, TcpStream) {
        for number in 0..100 {
            let before = self.shards[shard].connections.len();
            let client_id = format!("{shard}-{before}-{number}");
            let client = self.connect(&client_id);
            if self.shards[shard].connections.len() > before {
                return (client_id, client);
            }
        }
        panic!("no client is at home in shard {shard}");
    }

    fn subscribe(&mut self, client: &mut TcpStream, topic: u8, qos: u8) {
        client.write_all(&[0x82, 6, 0, 1, 0, 1, topic, qos]).expect("sent");
        assert_eq!(self.read(client, 5), [0x90, 3, 0, 1, qos]);
    }
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn publish(topic: u8, payload: u32) -> Vec<u8> {
    [&[0x30, 7, 0, 1, topic][..], &payload.to_be_bytes()].concat()
}

fn publish_once(topic: u8, number: u16) -> Vec<u8> {
    [&[0x32, 5, 0, 1, topic][..], &number.to_be_bytes()].concat()
}

fn turns(shards: &mut Shards, index: usize, count: usize) {
    (0..count).for_each(|_| _ = shards.turn(index));
}

fn is_silent(client: &TcpStream) -> bool {
    client.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Sends as much as the sockets on the way hold, and says how much that was.
fn flood(client: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    let deadline = Instant::now() + Duration::from_secs(1);
    while sent < bytes.len() && Instant::now() < deadline {
        match client.write(&bytes[sent..]) {
            Ok(more) => sent += more,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                std::thread::yield_now();
            }
        }
    }
    sent
}

#[test]
fn nobody_is_let_in_before_every_shard_has_what_was_stored() {
    let config = Config { shards: 2, connections_max: 1_000, ..Config::default() };
    let mut shards = Shards::beginning_with(config, 16, || Some(ShardImage::default()));
    let mut client = shards.begin_connect("early");
    for _ in 0..10 {
        shards.turn(0);
    }
    assert!(shards.shards[0].stage.is_starting(), "the second shard has said nothing yet");
    assert_eq!(shards.shards[0].connections.len(), 0);
    assert_eq!(shards.read(&mut client, 4), CONNACK);
}

#[test]
fn a_flood_is_read_in_portions_and_neighbours_are_served_in_between() {
    let mut shards = Shards::new(1, 64);
    let (mut flooding, mut neighbour) = (shards.connect("flooding"), shards.connect("neighbour"));
    let packets: Vec<u8> = (0..400_000).flat_map(|number| publish(b'n', number)).collect();
    let sent = flood(&mut flooding, &packets);
    assert!(sent > 4 * READ_BYTES_MAX, "the kernel took {sent} bytes only");
    neighbour.write_all(&[0xC0, 0]).expect("sent");
    let before = shards.shards[0].traffic.bytes_received;
    shards.turn(0);
    let read = shards.shards[0].traffic.bytes_received - before;
    assert!(read <= READ_BYTES_MAX as u64 + 2, "one turn took {read} bytes");
    let mut answer = [0; 2];
    neighbour.set_nonblocking(false).expect("a socket");
    neighbour.read_exact(&mut answer).expect("answered in the same turn");
    assert_eq!(answer, [0xD0, 0]);
    // Nothing of the flood is forgotten, though nothing more arrives to tell of it.
    let began = Instant::now();
    while (shards.shards[0].core.counters().publishes_received as usize) < sent / 9 {
        shards.turn(0);
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn a_full_ring_stops_the_reading_of_those_who_fill_it_and_of_nobody_else() {
    let mut shards = Shards::new(2, 8);
    let (mut publisher, mut subscriber) = (shards.connect_to(0), shards.connect_to(1));
    let mut local = shards.connect_to(0);
    shards.subscribe(&mut subscriber, b't', 0);
    let packets: Vec<u8> = (0..20_000).flat_map(|number| publish(b't', number)).collect();
    let sent = flood(&mut publisher, &packets);
    let count = sent / 9;
    // The second shard does not move: its ring fills, and the publisher has to wait.
    turns(&mut shards, 0, 10);
    assert!(shards.shards[0].port.is_blocked());
    let read = shards.shards[0].core.counters().publishes_received;
    assert!(read < count as u64, "all {count} were read");
    turns(&mut shards, 0, 100);
    assert_eq!(shards.shards[0].core.counters().publishes_received, read);
    // Who sends nothing to the other shard is read all the same.
    let packets_before = shards.shards[0].core.counters().packets_received;
    local.write_all(&[0xC0, 0]).expect("sent");
    let began = Instant::now();
    while shards.shards[0].core.counters().packets_received == packets_before {
        shards.turn(0);
        assert!(began.elapsed() < PATIENCE);
    }
    // With room in the ring everything arrives, in order.
    let got = shards.read(&mut subscriber, count * 9);
    for (number, packet) in got.chunks(9).enumerate() {
        assert_eq!(packet, publish(b't', number as u32));
    }
    assert_eq!(shards.read(&mut local, 2), [0xD0, 0]);
}

#[test]
fn two_shards_that_fill_each_others_rings_lose_nothing_and_do_not_lock() {
    let mut shards = Shards::new(2, 4);
    let mut pairs: Vec<_> =
        (0..2u8).map(|side| (side, shards.connect_to(side.into()), shards.connect_to(1 - usize::from(side)))).collect();
    for (side, _, subscriber) in &mut pairs {
        shards.subscribe(subscriber, b'a' + *side, 0);
    }
    let mut counts = Vec::new();
    for (side, publisher, _) in &mut pairs {
        let packets: Vec<u8> = (0..20_000).flat_map(|number| publish(b'a' + *side, number)).collect();
        counts.push(flood(publisher, &packets) / 9);
    }
    for ((side, _, subscriber), count) in pairs.iter_mut().zip(counts) {
        let got = shards.read(subscriber, count * 9);
        let in_order = got.chunks(9).enumerate().all(|(number, packet)| packet == publish(b'a' + *side, number as u32));
        assert!(in_order);
    }
    assert!(shards.shards.iter().all(|shard| shard.port.stats().overflowed > 0), "no ring was ever full");
}

/// Found by 19,000 clients that connected while shards told each other of their subscriptions: some were never answered.
#[test]
fn a_connection_that_waits_for_room_on_its_way_home_keeps_what_was_read() {
    let mut shards = Shards::new(2, 8);
    let (mut publisher, mut subscriber) = (shards.connect_to(0), shards.connect_to(1));
    let (client_id, client) = shards.find(1);
    drop(client);
    shards.turn_all();
    shards.subscribe(&mut subscriber, b't', 0);
    flood(&mut publisher, &(0..2_000).flat_map(|number| publish(b't', number)).collect::<Vec<u8>>());
    turns(&mut shards, 0, 10);
    assert!(shards.shards[0].port.is_blocked());
    let mut client = shards.begin_connect(&client_id);
    turns(&mut shards, 0, 10);
    // More comes while it waits, and makes its socket ready again.
    client.write_all(&[0xC0, 0]).expect("sent");
    turns(&mut shards, 0, 10);
    assert_eq!(shards.read(&mut client, 4), CONNACK);
    assert_eq!(shards.read(&mut client, 2), [0xD0, 0]);
}

/// A group's home relays what comes to it; here its member's shard does not move, and the relay's queue would grow without
/// end, as its own clients have no part in it.
#[test]
fn publishers_wait_for_a_shard_that_relays_more_than_goes_away() {
    let mut shards = Shards::new(3, 1_024);
    let (mut publisher, mut member) = (shards.connect_to(0), shards.connect_to(2));
    // A group whose home is the second shard.
    let mut packet_id = 0;
    while shards.shards[1].core.groups_len() == 0 {
        packet_id += 1;
        let filter = format!("$share/{packet_id:03}/t");
        let packet = [&[0x82, 17, 0, packet_id, 0, 12][..], filter.as_bytes(), &[0]].concat();
        member.write_all(&packet).expect("sent");
        shards.read(&mut member, 5);
        if shards.shards[1].core.groups_len() == 0 {
            member.write_all(&[&[0xA2, 16, 0, packet_id, 0, 12][..], filter.as_bytes()].concat()).expect("sent");
            shards.read(&mut member, 4);
        }
    }
    let packets: Vec<u8> = (0..400_000).flat_map(|number| publish(b't', number)).collect();
    let mut sent = 0;
    for _ in 0..400 {
        // Never so much at once that the publisher's own shard finds its ring full.
        sent += publisher.write(&packets[sent..sent + 500 * 9]).unwrap_or(0);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2) {
            shards.turn(0);
            shards.turn(1);
            if shards.shards[0].core.counters().publishes_received as usize == sent / 9 {
                break;
            }
        }
    }
    let waiting = shards.shards[1].port.overflow_len();
    assert!(shards.shards[0].port.is_congested(), "{waiting} wait, {sent} bytes were sent");
    assert!(waiting < 20_000, "{waiting} wait");
    let whole = sent / 9;
    let got = shards.read(&mut member, whole * 9);
    assert!(got.chunks(9).enumerate().all(|(number, packet)| packet == publish(b't', number as u32)));
    assert!(!shards.shards[0].port.is_congested());
}

#[test]
fn nobody_is_late_whose_ping_lies_unread_after_a_pause() {
    let mut shards = Shards::new(1, 64);
    let mut clients: Vec<_> = (0..700)
        .map(|number| {
            let mut client = TcpStream::connect(shards.address).expect("connected");
            client.set_nonblocking(true).expect("a socket");
            let id = [b'a' + (number / 26 % 26) as u8, b'a' + (number % 26) as u8, b'a' + (number / 676) as u8];
            let connect = [&[0x10, 15, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 1, 0, 3][..], &id].concat();
            client.write_all(&connect).expect("sent");
            assert_eq!(shards.read(&mut client, 4), CONNACK);
            client
        })
        .collect();
    // The first to be late is the last to be heard.
    for client in clients.iter_mut().rev() {
        client.write_all(&[0xC0, 0]).expect("sent");
    }
    std::thread::sleep(Duration::from_millis(1_700));
    for client in &mut clients {
        assert_eq!(shards.read(client, 2), [0xD0, 0]);
    }
}

#[test]
fn a_reader_that_is_not_slow_gets_every_will_of_many_clients_that_are_lost_at_once() {
    const WILLS: usize = 400;
    let mut shards = Shards::new(1, 64);
    let mut reader = shards.connect("reader");
    shards.subscribe(&mut reader, b'w', 0);
    let will = [b'x'; 4_096];
    let clients: Vec<_> = (0..WILLS)
        .map(|number| {
            let mut client = TcpStream::connect(shards.address).expect("connected");
            client.set_nonblocking(true).expect("a socket");
            let id = format!("{number:03}");
            let head = [0, 4, b'M', b'Q', b'T', b'T', 4, 6, 0, 60, 0, 3];
            let body = [&head[..], id.as_bytes(), &[0, 1, b'w', 0x10, 0], &will].concat();
            let length = [0x10, body.len() as u8 & 0x7F | 0x80, (body.len() >> 7) as u8];
            client.write_all(&[&length[..], &body].concat()).expect("sent");
            assert_eq!(shards.read(&mut client, 4), CONNACK);
            client
        })
        .collect();
    drop(clients);
    // By reference, so that each is 4,096 bytes behind three of topic and three of length.
    let got = shards.read(&mut reader, WILLS * (4_096 + 6));
    assert!(got.chunks(4_096 + 6).all(|packet| packet[0] == 0x30 && packet[6..] == will));
}

#[test]
fn who_was_too_slow_for_a_bound_goes_on_when_it_is_raised() {
    let mut config = Config { shards: 1, connections_max: 1_000, ..Config::default() };
    config.limits.output_bytes_max = 1_000;
    let mut shards = Shards::with(config.clone(), 64);
    let mut client = shards.connect("slow");
    let pings = [0xC0, 0].repeat(16 << 20);
    let sent = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&mut client, &pings));
        while !flooding.is_finished() {
            shards.turn(0);
        }
        flooding.join().expect("flooded")
    });
    assert!(sent < pings.len(), "all {sent} bytes went through");
    config.limits.output_bytes_max = 64 << 20;
    let transports = vec![(ListenerId(0), Arc::default())];
    let new = Reconfiguration { config: Arc::new(config), guard: None, transports, done: channel().0 };
    assert!(shards.handles[0].tell(Command::Configure(Box::new(new))), "a shard");
    let answers = shards.read(&mut client, sent / 2 * 2);
    assert_eq!(answers, [0xD0, 0].repeat(sent / 2));
}

#[test]
fn a_message_costs_one_turn() {
    let mut shards = Shards::new(1, 8);
    let mut client = shards.connect("client");
    shards.turn(0);
    client.write_all(&[0xC0, 0]).expect("sent");
    assert!(!shards.turn(0), "there is more to do");
    assert!(!is_silent(&client));
}

// The socket has no more to say of it.
#[test]
fn who_says_something_and_leaves_at_once_is_missed_by_nobody() {
    let mut shards = Shards::new(1, 8);
    let mut client = shards.connect("client");
    client.write_all(&[0xC0, 0]).expect("sent");
    drop(client);
    turns(&mut shards, 0, 3);
    assert!(shards.shards[0].connections.is_empty() && shards.shards[0].lingering.is_empty());
}

#[test]
fn a_packet_that_is_cut_where_a_read_ends_is_kept_though_nothing_follows_at_once() {
    let mut shards = Shards::new(1, 8);
    let mut client = shards.connect("client");
    let pings = (READ_BYTES_MAX - 9) / 2;
    let mut bytes = publish(b'n', 0);
    bytes.extend([0xC0, 0].repeat(pings + 1));
    assert_eq!(flood(&mut client, &bytes[..READ_BYTES_MAX]), READ_BYTES_MAX);
    assert_eq!(shards.read(&mut client, pings * 2), [0xD0, 0].repeat(pings));
    turns(&mut shards, 0, 3);
    assert!(is_silent(&client));
    client.write_all(&bytes[READ_BYTES_MAX..]).expect("sent");
    assert_eq!(shards.read(&mut client, 2), [0xD0, 0]);
}

#[test]
fn a_turn_accepts_a_portion_of_those_who_come() {
    let mut shards = Shards::new(1, 8);
    let clients: Vec<_> =
        (0..ACCEPTS_PER_TURN + 2).map(|_| TcpStream::connect(shards.address).expect("connected")).collect();
    assert!(shards.turn(0));
    assert_eq!(shards.shards[0].connections.len(), ACCEPTS_PER_TURN);
    shards.turn(0);
    assert_eq!(shards.shards[0].connections.len(), clients.len());
}

/// Fills the first shard's ring to its last slot: what is said in one turn takes one.
fn fill_ring(shards: &mut Shards, publisher: &mut TcpStream, ring_slots: usize) {
    publisher.set_nodelay(true).expect("a socket");
    for _ in 0..ring_slots {
        publisher.write_all(&publish(b't', 0)).expect("sent");
        shards.turn(0);
    }
    assert!(!shards.shards[0].port.is_blocked());
}

#[test]
fn nobody_has_an_answer_before_the_mesh_has_what_he_said() {
    let mut shards = Shards::new(2, 8);
    let (mut publisher, mut subscriber) = (shards.connect_to(0), shards.connect_to(1));
    shards.subscribe(&mut subscriber, b't', 0);
    fill_ring(&mut shards, &mut publisher, 8);
    let packets: Vec<u8> = (1..=100).flat_map(|number| publish_once(b't', number)).collect();
    publisher.write_all(&packets).expect("sent");
    turns(&mut shards, 0, 10);
    assert!(shards.shards[0].port.is_blocked());
    assert!(is_silent(&publisher));
    shards.read(&mut subscriber, 8 * 9 + 100 * 5);
    shards.read(&mut publisher, 100 * 4);
}

/// Its number is given to somebody else only when that has been thrown away.
#[test]
fn what_was_for_who_is_gone_reaches_nobody_else_though_it_had_to_wait_for_room() {
    let mut shards = Shards::new(2, 8);
    let (client_id, old) = shards.find(0);
    drop(old);
    shards.turn_all();
    let mut testator = shards.begin_connect_with_will(&client_id, b't');
    assert_eq!(shards.read(&mut testator, 4), CONNACK);
    let (mut publisher, mut near, mut far) = (shards.connect_to(0), shards.connect_to(0), shards.connect_to(1));
    shards.subscribe(&mut near, b't', 0);
    shards.subscribe(&mut far, b't', 0);
    // The ring is full to its last slot, and the will is one more than it takes.
    fill_ring(&mut shards, &mut publisher, 8);
    drop(testator);
    drop(near);
    turns(&mut shards, 0, 2);
    assert!(shards.shards[0].port.is_blocked());
    let newcomers = [(); 2].map(|()| TcpStream::connect(shards.address).expect("connected"));
    turns(&mut shards, 0, 2);
    shards.read(&mut far, 8 * 9 + 6);
    shards.turn_all();
    for newcomer in newcomers {
        newcomer.set_nonblocking(true).expect("a socket");
        assert!(is_silent(&newcomer));
    }
}

/// He has not left as far as the shard was told, but he said that he would.
#[test]
fn who_leaves_and_comes_back_is_not_taken_for_one_who_never_left() {
    let mut shards = Shards::new(2, 8);
    let (client_id, mut client) = shards.find(1);
    shards.turn_all();
    client.write_all(&[0xE0, 0]).expect("sent");
    drop(client);
    let mut client = shards.begin_connect(&client_id);
    turns(&mut shards, 0, 3);
    shards.turn_without_looking(1);
    assert_eq!(shards.read(&mut client, 4), CONNACK);
    assert_eq!(shards.shards[1].core.counters().takeovers, 0);
}

#[test]
fn last_words_are_not_lost_because_of_what_is_not_read() {
    let mut shards = Shards::new(1, 8);
    let mut client = TcpStream::connect(shards.address).expect("connected");
    client.set_nonblocking(true).expect("a socket");
    // No version that there is.
    let mut bytes = vec![0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 60, 0, 1, b'a'];
    bytes.resize(READ_BYTES_MAX * 3, 0);
    flood(&mut client, &bytes);
    let connack = shards.read(&mut client, 4);
    assert_eq!((connack[0], connack[3]), (0x20, 0x84));
    shards.read(&mut client, usize::from(connack[1]) - 2);
    turns(&mut shards, 0, 10);
    assert_eq!(client.read(&mut [0]).expect("an end, and no reset"), 0);
    assert_eq!(shards.shards[0].lingering.len(), 1);
    drop(client);
    turns(&mut shards, 0, 3);
    assert!(shards.shards[0].lingering.is_empty());
}

#[test]
fn whoever_goes_makes_room_in_whatever_way() {
    let leave = |client: TcpStream| drop(client);
    let say_goodbye = |mut client: TcpStream| client.write_all(&[0xE0, 0]).expect("sent");
    for way in [leave, say_goodbye] {
        let mut shards = Shards::with_room(1, 8, 1);
        way(shards.connect("client"));
        shards.turn(0);
        assert!(shards.has_room());
    }
    // Who is told something and then cut off has a place as long as he stays, but for a bounded time.
    for stays in [false, true] {
        let mut shards = Shards::with_room(1, 8, 1);
        let mut client = shards.connect("client");
        client.write_all(&[0xC0, 0, 0xF0, 0]).expect("sent");
        turns(&mut shards, 0, 2);
        assert!(!shards.has_room());
        let now = shards.clock.now();
        if stays {
            shards.shards[0].turn(now + Millis::from_secs(3));
        } else {
            drop(client);
            shards.turn(0);
        }
        assert!(shards.has_room());
    }
}

#[test]
fn who_is_one_too_many_is_counted() {
    let mut shards = Shards::with_room(1, 8, 1);
    let _client = shards.connect("client");
    let mut other = TcpStream::connect(shards.address).expect("connected");
    shards.turn(0);
    assert_eq!(other.read(&mut [0]).expect("the end"), 0);
    assert_eq!(shards.shards[0].stats().counters.refused(Refusal::TooManyConnections), 1);
}

#[test]
fn a_shard_sleeps_no_longer_than_to_what_is_due() {
    let mut shards = Shards::new(1, 8);
    let mut client = shards.connect("client");
    turns(&mut shards, 0, 2);
    let now = shards.clock.now();
    let sleep_ms = |shards: &Shards| shards.shards[0].sleep_time(now).map(|time| time.0);
    client.write_all(&[0xC0, 0, 0xF0, 0]).expect("sent");
    turns(&mut shards, 0, 2);
    let lingers = sleep_ms(&shards);
    assert!(lingers <= Some(2_000), "{lingers:?}");
    shards.shards[0].accept_again = Some(now + Millis(100));
    assert_eq!(sleep_ms(&shards), Some(100));
    shards.shards[0].begin_drain(now + Millis(200));
    assert_eq!(sleep_ms(&shards), Some(200));
}

// Whoever sends one rings only for a shard that sleeps.
#[test]
fn a_command_that_came_before_the_sleep_is_not_slept_over() {
    let mut shards = Shards::new(1, 8);
    while shards.turn(0) {}
    shards.drain(0);
    let began = Instant::now();
    shards.shards[0].wait(false);
    assert!(began.elapsed() < PATIENCE && shards.shards[0].stage.is_draining());
}

#[test]
fn a_shard_that_drains_listens_to_nobody() {
    let mut shards = Shards::new(2, 8);
    let mut client = shards.connect_to(0);
    let (client_id, other) = shards.find(1);
    drop(other);
    shards.turn_all();
    let late = shards.begin_connect(&client_id);
    turns(&mut shards, 0, 3);
    (0..2).for_each(|index| shards.drain(index));
    shards.turn(0);
    assert!(TcpStream::connect(shards.address).is_err());
    client.write_all(&[0xC0, 0]).expect("sent");
    turns(&mut shards, 0, 3);
    assert!(is_silent(&client));
    // Nor does one at whom a connection arrives.
    shards.turn(1);
    assert!(shards.shards[1].connections.is_empty());
    assert!(!is_silent(&late));
}

/// Nothing is told to a client of 3.x: it was closed at once, and the reset took back what its kernel had no room for yet.
#[test]
fn what_a_client_has_not_taken_is_not_lost_in_a_drain_because_it_says_something() {
    const PAYLOAD_BYTES: usize = 512 << 10;
    let mut shards = Shards::new(1, 8);
    let (mut reader, mut publisher) = (shards.connect("reader"), shards.connect("publisher"));
    let _silent = TcpStream::connect(shards.address).expect("connected");
    shards.subscribe(&mut reader, b't', 0);
    let packet = [&[0x30, 0x83, 0x80, 0x20, 0, 1, b't'][..], &[b'x'; PAYLOAD_BYTES]].concat();
    assert_eq!(flood(&mut publisher, &packet), packet.len());
    while shards.shards[0].core.counters().publishes_sent == 0 {
        shards.turn(0);
    }
    shards.turn(0);
    let unsent =
        (0..2).filter(|&conn| shards.shards[0].connections.get(ConnId(conn)).is_some_and(Connection::has_unsent));
    assert_eq!(unsent.count(), 0, "more than the kernel takes");
    reader.write_all(&[0xC0, 0]).expect("sent");
    shards.drain(0);
    turns(&mut shards, 0, 3);
    assert!(shards.read(&mut reader, packet.len()) == packet);
    reader.set_nonblocking(false).expect("a socket");
    assert_eq!(reader.read(&mut [0]).expect("an end, and no reset"), 0);
    // Who was never told anything has nothing to lose, and is not waited for.
    assert_eq!(shards.shards[0].lingering.len(), 2);
    drop((reader, publisher));
    let began = Instant::now();
    while !shards.shards[0].is_finished(shards.clock.now()) {
        shards.turn(0);
        assert!(began.elapsed() < PATIENCE);
    }
}

/// A home of a shared group passes on what came in front of the word that ends it all.
#[test]
fn what_a_shard_passes_on_goes_in_front_of_its_last_word() {
    // Some of the groups are at home in the second shard.
    for group in b'a'..=b'h' {
        let mut shards = Shards::new(3, 2);
        let (mut publisher, mut member) = (shards.connect_to(0), shards.connect_to(2));
        let filter = [b"\x82\x0f\0\x01\0\x0a$share/", &[group][..], b"/t\0"].concat();
        member.write_all(&filter).expect("sent");
        assert_eq!(shards.read(&mut member, 5), [0x90, 3, 0, 1, 0]);
        (0..5).for_each(|_| shards.turn_all());
        publisher.write_all(&publish(b't', 7)).expect("sent");
        shards.turn(0);
        // The second shard has the words of the others before it says its own, which fill its ring to the third.
        for index in [0, 2, 1, 0, 2] {
            shards.drain(index);
            shards.turn(index);
        }
        (0..5).for_each(|_| shards.turn_all());
        assert_eq!(shards.read(&mut member, 9), publish(b't', 7), "group {}", char::from(group));
    }
}
