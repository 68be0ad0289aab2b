//! Credentials do not stay in memory: the core says when input held some, and keeps none itself.

use std::num::NonZeroU32;

use thrum::access::{Open, Verdict};
use thrum::base::{ConnId, ShardId, Timestamp};
use thrum::broker::{Consumed, Effects, Homes, Input, Options, ShardCore};
use thrum::mqtt::{Auth, Packet, PropertyBuffer, PropertyId, ReasonCode, Version};

use crate::client::{LastWill, Login, bytes_of};
use crate::users::guard;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const CONN: ConnId = ConnId(0);

fn core(shards: usize) -> (ShardCore, Effects) {
    let options = Options { shards, ..Options::default() };
    let mut core = ShardCore::new(ShardId::new(0), options, Box::new(Open), NOW).unwrap();
    let mut fx = Effects::new();
    core.handle(NOW, Input::Opened { conn: CONN }, &mut fx);
    (core, fx)
}

fn consumed(core: &mut ShardCore, bytes: &[u8], fx: &mut Effects) -> Consumed {
    core.handle(NOW, Input::Bytes { conn: CONN, bytes }, fx)
}

#[test]
fn input_before_connack_is_told_to_hold_secrets_however_it_is_cut() {
    let connect = Login::v5("c").user("ada", "engine").bytes();
    for cut in 1..connect.len() {
        let (mut core, mut fx) = core(1);
        let first = consumed(&mut core, &connect[..cut], &mut fx);
        assert!(first.had_secret && first.bytes == 0, "{cut}: {first:?}");
        let whole = consumed(&mut core, &connect, &mut fx);
        assert!(whole.had_secret && whole.bytes == connect.len(), "{whole:?}");
    }
    // Also where it is no CONNECT at all, or none that can be taken: it was meant to be one.
    for garbage in [&[0x10, 0xff, 0xff, 0xff, 0xff, 1][..], b"\x10\x04abcd", b"GET / HTTP/1.1\r\n"] {
        let (mut core, mut fx) = core(1);
        assert!(consumed(&mut core, garbage, &mut fx).had_secret);
    }
}

#[test]
fn a_connect_that_goes_on_to_its_home_shard_held_secrets_though_none_of_it_was_consumed() {
    let homes = Homes::new(Options::default().seed, 3);
    let id = (0..).map(|number: u32| number.to_string()).find(|id| homes.of_client(id) != ShardId::new(0)).unwrap();
    let (mut core, mut fx) = core(3);
    let moved = consumed(&mut core, &Login::v5(&id).user("ada", "engine").bytes(), &mut fx);
    assert_eq!(moved, Consumed { had_secret: true, ..Consumed::default() });
    assert_eq!(fx.moves.len(), 1);
}

#[test]
fn who_is_in_sends_no_secrets_but_by_auth() {
    let (mut core, mut fx) = core(1);
    consumed(&mut core, &Login::v5("c").bytes(), &mut fx);
    let publish = [0x30, 5, 0, 1, b'a', 0, b'1'];
    let after = consumed(&mut core, &publish, &mut fx);
    assert!(!after.had_secret && after.bytes == publish.len());
    let mut properties = PropertyBuffer::new();
    properties.push_text(PropertyId::AuthenticationMethod, "SCRAM-SHA-256");
    properties.push_binary(PropertyId::AuthenticationData, b"secret");
    let auth = Auth { reason: ReasonCode::ReAuthenticate, properties: properties.properties() };
    let auth = bytes_of(&Packet::Auth(auth), Version::V5);
    // A part of it, behind something else; then all of it.
    let both = [&publish[..], &auth[..auth.len() - 1]].concat();
    assert!(consumed(&mut core, &both, &mut fx).had_secret);
    assert!(consumed(&mut core, &auth, &mut fx).had_secret);
}

#[test]
fn a_connect_that_waits_for_its_verdict_is_acted_on_without_its_password() {
    let few = NonZeroU32::new(2).unwrap();
    let users = guard(&[("ada", "engine")], few, false);
    let mut core = ShardCore::new(ShardId::new(0), Options::default(), Box::new(users), NOW).unwrap();
    let mut fx = Effects::new();
    core.handle(NOW, Input::Opened { conn: CONN }, &mut fx);
    let will = LastWill::new("gone", "it was ada");
    consumed(&mut core, &Login::v5("c").user("ada", "engine").expiry(60).will(will).bytes(), &mut fx);
    assert!(!format!("{core:?} {fx:?}").contains("engine"));
    let (check, run) = fx.checks.pop().unwrap();
    let verdict = run.run().verdict();
    assert!(matches!(verdict, Verdict::Accept(_)));
    core.handle(NOW, Input::Verdict { check, verdict }, &mut fx);
    assert_eq!(core.sessions_len(), 1);
}
