//! Clients that break the protocol. They must be cut off, and disturb nobody.

use thrum::mqtt::Version;

use crate::packets::{ConnectUp, Up};
use crate::world::World;

/// What nobody may go on after, once connected.
const FATAL: [&[u8]; 9] = [
    &[0x00, 0],
    &[0xf1, 0],
    &[0x36, 5, 0, 1, b'a', 0, 1],
    &[0x32, 5, 0, 1, b'a', 0, 0],
    &[0x30, 3, 0, 1, b'#'],
    &[0x80, 5, 0, 1, 0, 1, b'a'],
    &[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x20, 2, 0, 0],
    &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0],
];

pub fn act(world: &mut World) {
    let version = world.version_of_hostile();
    let wire = world.open(None, version);
    if world.rng.percent(30) {
        // No CONNECT at all: noise that no version reads as one.
        let noise: Vec<u8> = (0..world.rng.between(2, 30)).map(|_| (world.rng.next() % 256) as u8 & 0xef).collect();
        world.note(|| format!("wire {wire} <- {noise:?}"));
        return world.send_bytes(wire, Up::Garbage(false), &noise);
    }
    let id = format!("evil-{}", world.rng.below(3));
    let connect = ConnectUp {
        id,
        version,
        clean: true,
        keep_alive_secs: 0,
        expiry_secs: 0,
        receive_max: u16::MAX,
        alias_max: 0,
        packet_max: None,
        will: None,
    };
    world.send(wire, Up::Connect(Box::new(connect)));
    if world.rng.percent(20) {
        for _ in 0..world.rng.between(1, 40) {
            world.send(wire, Up::Ping);
        }
    }
    let bytes = world.rng.pick(&FATAL);
    let is_fatal = version == Version::V5 || bytes[0] != 0x10;
    world.note(|| format!("wire {wire} <- {bytes:?}"));
    world.send_bytes(wire, Up::Garbage(is_fatal), bytes);
}
