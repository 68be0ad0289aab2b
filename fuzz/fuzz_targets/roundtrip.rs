//! Whatever is accepted is written back no longer than it was, and read again as the same packet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thrum::mqtt::{Packet, Progress, Sender, Version, decode, encode, frame};

const PACKET_BYTES_MAX: u32 = 1_000_000;

fn read(input: &[u8], version: Version, sender: Sender) -> Option<(Packet<'_>, usize)> {
    match frame(input, PACKET_BYTES_MAX) {
        Ok(Progress::Packet(found)) => Some((decode(&found, version, sender).ok()?, found.bytes)),
        _ => None,
    }
}

fuzz_target!(|input: &[u8]| {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        for sender in [Sender::Client, Sender::Server] {
            let Some((packet, bytes)) = read(input, version, sender) else { continue };
            let mut written = Vec::new();
            encode(&packet, version, &mut written);
            assert!(written.len() <= bytes, "{packet:?} is written as {written:02x?}");
            assert_eq!(read(&written, version, sender), Some((packet, written.len())));
        }
    }
});
