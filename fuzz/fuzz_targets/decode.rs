//! Any bytes, read as any version from either side: no panic, and no cut changes the answer of the whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thrum::mqtt::{Error, Packet, Progress, Sender, Version, decode, frame};

const PACKET_BYTES_MAX: u32 = 1_000_000;

fn answer(input: &[u8], version: Version, sender: Sender) -> Result<Option<Packet<'_>>, Error> {
    match frame(input, PACKET_BYTES_MAX)? {
        Progress::Need(missing) => {
            assert!(missing > 0);
            Ok(None)
        }
        Progress::Packet(found) => decode(&found, version, sender).map(Some),
    }
}

fuzz_target!(|input: &[u8]| {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        for sender in [Sender::Client, Sender::Server] {
            let whole = answer(input, version, sender);
            for at in 0..input.len() {
                let cut = answer(&input[..at], version, sender);
                // What is decided stays decided; what waits may become anything.
                assert!(matches!(cut, Ok(None)) || cut == whole, "cut at {at}: {cut:?}, whole: {whole:?}");
            }
        }
    }
});
