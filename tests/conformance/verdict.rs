//! Verdicts that take long, and come when they come.

use std::num::NonZeroU32;

use thrum::access::{Entrance, Verdict};
use thrum::base::{ConnId, ShardId, Timestamp};
use thrum::broker::{Effects, Input, Options, ShardCore};

use crate::net::LISTENER;
use crate::users::guard;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A CONNECT of 3.1.1 with a user's name and password.
fn connect(id: &str, user: &str, password: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c".to_vec();
    for text in [id, user, password] {
        body.extend_from_slice(&[0, text.len() as u8]);
        body.extend_from_slice(text.as_bytes());
    }
    let mut packet = vec![0x10, body.len() as u8];
    packet.extend_from_slice(&body);
    packet
}

fn sent(effects: &mut Effects) -> Vec<u8> {
    let mut sent = Vec::new();
    effects.output.drain(|_, buffer| buffer.chunks().for_each(|chunk| sent.extend_from_slice(chunk)));
    sent
}

// A connection's identifier is used again when it is closed. A verdict that was asked for before must not let in who
// has it then.
#[test]
fn a_late_verdict_lets_nobody_else_in() {
    let users = guard(&[("user", "right")], NonZeroU32::new(2).unwrap(), false);
    let mut core = ShardCore::new(ShardId::new(0), Options::default(), Box::new(users), NOW).unwrap();
    let mut fx = Effects::new();
    let conn = ConnId(0);
    let mut checks = Vec::new();
    for password in ["right", "wrong"] {
        core.handle(NOW, Input::Opened { conn }, &mut fx);
        let entrance = Entrance { listener: LISTENER, ..Entrance::default() };
        core.handle(NOW, Input::Entered { conn, entrance }, &mut fx);
        core.handle(NOW, Input::Bytes { conn, bytes: &connect("c", "user", password) }, &mut fx);
        checks.append(&mut fx.checks);
        if password == "right" {
            core.handle(NOW, Input::Closed { conn }, &mut fx);
        }
    }
    assert_eq!(checks.len(), 2);
    let mut verdicts = checks.into_iter().map(|(check, run)| (check, run.run().verdict()));
    let (check, verdict) = verdicts.next().unwrap();
    assert!(matches!(verdict, Verdict::Accept(_)));
    core.handle(NOW, Input::Verdict { check, verdict }, &mut fx);
    assert_eq!((sent(&mut fx), core.sessions_len()), (vec![], 0));
    let (check, verdict) = verdicts.next().unwrap();
    core.handle(NOW, Input::Verdict { check, verdict }, &mut fx);
    assert_eq!((sent(&mut fx), core.sessions_len()), (vec![0x20, 2, 0, 4], 0));
}
