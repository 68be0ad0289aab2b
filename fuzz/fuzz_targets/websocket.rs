//! Any bytes from a client of a WebSocket, cut anywhere: no panic, never more out than came in, and the cut changes
//! nothing of what is in it. The first byte says where the cut is, the second whether the request is one that can be accepted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thrum::net::{Filling, WebSocket, WebSocketRules};

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// What is in it, and whether it was understood.
fn content(parts: &[&[u8]]) -> (Vec<u8>, bool) {
    let rules = WebSocketRules { path: "/mqtt".into(), origins: Vec::new() };
    let (mut websocket, mut all, mut understood) = (WebSocket::default(), Vec::new(), true);
    for part in parts {
        let mut into = vec![0; part.len()];
        let (mut filling, mut answer) = (Filling::new(&mut into), Vec::new());
        understood &= websocket.take_in(&rules, part, &mut filling, &mut answer).is_ok();
        let filled = filling.len();
        all.extend_from_slice(&into[..filled]);
    }
    (all, understood)
}

fuzz_target!(|input: &[u8]| {
    let [cut, begin, bytes @ ..] = input else { return };
    let begin = if begin % 8 == 0 { b"" } else { REQUEST };
    let bytes = [begin, bytes].concat();
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    assert_eq!(content(&[first, second]), content(&[&bytes]));
});
