//! What a session costs in heap: not a timing, but bytes by a counting allocator, printed.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

mod allocator;

use thrum::access::Open;
use thrum::base::{ConnId, ShardId, Timestamp};
use thrum::broker::{Effects, Input, Options, ShardCore};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Connected sessions of a shard, keep alive 60 s, and their bytes of heap each, in all: connection, session, timer,
/// client identifier, and with a subscription the filter index and the filter's text.
fn session_bytes(sessions: u32, with_subscription: bool) -> f64 {
    let before = allocator::live_bytes();
    let mut core =
        ShardCore::new(ShardId::new(0), Options::default(), Box::new(Open), NOW).expect("the options are valid");
    let mut effects = Effects::new();
    for session in 0..sessions {
        let conn = ConnId(session);
        core.handle(NOW, Input::Opened { conn }, &mut effects);
        let connect = format!("\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\x0eclient-{session:07}");
        core.handle(NOW, Input::Bytes { conn, bytes: connect.as_bytes() }, &mut effects);
        if with_subscription {
            let subscribe = format!("\u{2}\x1c\0\x01\0\x17device/{session:07}/commands\x01");
            let mut subscribe = subscribe.into_bytes();
            subscribe[0] = 0x82;
            core.handle(NOW, Input::Bytes { conn, bytes: &subscribe }, &mut effects);
        }
        let mut output = std::mem::take(&mut effects.output);
        output.drain(|conn, buffer| {
            let bytes = buffer.chunks().map(<[u8]>::len).sum();
            core.handle(NOW, Input::Sent { conn, bytes }, &mut effects);
        });
        effects.output = output;
        core.handle(NOW, Input::MeshDrained, &mut effects);
        effects.events.clear();
    }
    assert_eq!(core.sessions_len(), sessions as usize);
    assert_eq!(core.subscriptions_len(), if with_subscription { sessions as usize } else { 0 });
    (allocator::live_bytes() - before) as f64 / f64::from(sessions)
}

fn main() {
    for sessions in [10_000, 100_000, 1_000_000] {
        let (without, with) = (session_bytes(sessions, false), session_bytes(sessions, true));
        println!("{sessions:>9} connected sessions: {without:.0} bytes of heap each, {with:.0} with a subscription");
    }
}
