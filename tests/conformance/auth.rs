//! Enhanced authentication and re-authentication (3.15, 4.12).

use std::num::NonZeroU32;

use thrum::base::Millis;
use thrum::base::limits::AUTH_ROUNDS_MAX;
use thrum::broker::{Event, Options};
use thrum::mqtt::{Auth, Packet, PropertyBuffer, PropertyId, QoS, ReasonCode, Version};

use crate::client::{
    Got, Login, Message, all, expect_closed, expect_cut, expect_nothing, next, packet, subscribe, take_payloads,
};
use crate::net::{Client, Net};
use crate::scram_client::ScramClient;
use crate::users::guard;

const METHOD: &str = "SCRAM-SHA-256";

fn net(shards: usize) -> Net {
    Net::guarded(Options { shards, ..Options::default() }, || {
        Box::new(guard(&[("user", "pencil"), ("other", "pencil")], NonZeroU32::new(2).unwrap(), true))
    })
}

fn login(id: &str, data: Option<&[u8]>) -> Login {
    Login::v5(id).with(|properties| {
        properties.push_text(PropertyId::AuthenticationMethod, METHOD);
        data.into_iter().for_each(|data| properties.push_binary(PropertyId::AuthenticationData, data));
    })
}

fn send_auth(net: &mut Net, client: Client, reason: ReasonCode, method: &str, data: &[u8]) {
    let mut properties = PropertyBuffer::new();
    properties.push_text(PropertyId::AuthenticationMethod, method);
    properties.push_binary(PropertyId::AuthenticationData, data);
    net.send(client, &Packet::Auth(Auth { reason, properties: properties.properties() }));
}

/// Expects AUTH with Continue Authentication, and answers it.
fn go_on(net: &mut Net, client: Client, scram: &mut ScramClient) {
    let got = next(net, client);
    assert!(matches!(got, Got::Auth { reason: ReasonCode::ContinueAuthentication, .. }), "{got:?}");
    assert_eq!(got.properties().text(PropertyId::AuthenticationMethod), Some(METHOD));
    let challenge = got.properties().binary(PropertyId::AuthenticationData).unwrap();
    let answer = scram.answer(challenge).unwrap();
    send_auth(net, client, ReasonCode::ContinueAuthentication, METHOD, &answer);
}

fn let_in(net: &mut Net, id: &str, user: &str) -> Client {
    let mut scram = ScramClient::new(user, "pencil", "nonce");
    let client = login(id, Some(&scram.first())).send(net);
    go_on(net, client, &mut scram);
    let got = next(net, client);
    assert!(matches!(got, Got::ConnAck { reason: ReasonCode::Success, .. }), "{got:?}");
    assert_eq!(got.properties().text(PropertyId::AuthenticationMethod), Some(METHOD));
    assert!(scram.verify(got.properties().binary(PropertyId::AuthenticationData).unwrap()));
    client
}

// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.15.2-1] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
#[test]
fn an_exchange_lets_a_client_in_and_names_its_method_in_each_packet() {
    for shards in [1, 2, 4] {
        let mut net = net(shards);
        let_in(&mut net, "c", "user");
        let user = net.events.iter().find_map(|event| match event {
            Event::Connected { user, .. } => user.clone(),
            _ => None,
        });
        assert_eq!(user.as_deref(), Some("user"));
    }
}

// [MQTT-4.12.0-1]
#[test]
fn a_method_that_the_server_does_not_know_is_refused() {
    let unknown = Login::v5("c").with(|properties| properties.push_text(PropertyId::AuthenticationMethod, "GS2"));
    assert_eq!(unknown.refused(&mut net(1)), ReasonCode::BadAuthenticationMethod);
}

// [MQTT-4.12.0-4]
#[test]
fn a_wrong_proof_is_refused_before_connack_says_yes() {
    for (user, password) in [("user", "pen"), ("nobody", "pencil")] {
        let mut net = net(1);
        let mut scram = ScramClient::new(user, password, "nonce");
        let client = login("c", Some(&scram.first())).send(&mut net);
        go_on(&mut net, client, &mut scram);
        let got = all(&mut net, client);
        assert!(
            matches!(&got[..], [Got::ConnAck { reason: ReasonCode::BadUserNameOrPassword, properties, .. }]
                if properties.0.is_empty()),
            "{got:?}"
        );
        assert!(net.is_closed(client));
    }
}

// [MQTT-4.12.0-3]
#[test]
fn before_connack_auth_only_continues() {
    for reason in [ReasonCode::ReAuthenticate, ReasonCode::Success] {
        let mut net = net(1);
        let client = login("c", None).send(&mut net);
        assert!(matches!(next(&mut net, client), Got::Auth { .. }));
        send_auth(&mut net, client, reason, METHOD, b"n,,n=user,r=x");
        expect_closed(&mut net, client);
    }
}

// [MQTT-4.12.0-6]
#[test]
fn without_a_method_there_is_no_auth_and_no_method_in_connack() {
    for login in [Login::v5("c"), Login::v5("c").user("user", "pencil")] {
        let mut net = net(1);
        let (client, got) = login.answer(&mut net);
        assert!(matches!(got, Got::ConnAck { reason: ReasonCode::Success, .. }));
        assert!(!got.properties().has(PropertyId::AuthenticationMethod));
        assert!(!got.properties().has(PropertyId::AuthenticationData));
        expect_nothing(&mut net, client);
    }
}

// [MQTT-4.12.0-7]
#[test]
fn a_client_that_named_no_method_may_not_send_auth() {
    for (version, reason) in [(Version::V5, Some(ReasonCode::ProtocolError)), (Version::V3_1_1, None)] {
        let mut net = net(1);
        let client = Login::new(version, "c").connect(&mut net);
        let mut body = vec![0x19, 16, 0x15];
        crate::client::put_text(&mut body, METHOD);
        net.send_bytes(client, &packet(0xf0, &body));
        match reason {
            Some(reason) => expect_cut(&mut net, client, reason),
            None => expect_closed(&mut net, client),
        }
    }
}

#[test]
fn an_exchange_without_an_end_is_given_up() {
    let mut net = net(1);
    let client = login("c", None).send(&mut net);
    // An empty answer to an empty challenge asks for the next one.
    for _ in 1..AUTH_ROUNDS_MAX {
        assert!(matches!(next(&mut net, client), Got::Auth { .. }));
        send_auth(&mut net, client, ReasonCode::ContinueAuthentication, METHOD, b"");
    }
    assert!(matches!(next(&mut net, client), Got::Auth { .. }));
    send_auth(&mut net, client, ReasonCode::ContinueAuthentication, METHOD, b"");
    assert!(matches!(next(&mut net, client), Got::ConnAck { reason: ReasonCode::NotAuthorized, .. }));
    expect_closed(&mut net, client);
    let client = login("c", None).send(&mut net);
    all(&mut net, client);
    net.advance(Millis::from_secs(11));
    expect_closed(&mut net, client);
}

// [MQTT-4.12.1-1]
#[test]
fn a_client_may_authenticate_again_while_messages_go_on() {
    for shards in [1, 2, 4] {
        let mut net = net(shards);
        let client = let_in(&mut net, "c", "user");
        let publisher = Login::v5("p").connect(&mut net);
        subscribe(&mut net, client, "t", QoS::AtLeastOnce);
        for round in ["1", "2"] {
            let mut scram = ScramClient::new("user", "pencil", round);
            send_auth(&mut net, client, ReasonCode::ReAuthenticate, METHOD, &scram.first());
            let challenge = next(&mut net, client);
            Message::new("t", round).at_least_once(1).publish(&mut net, publisher);
            assert_eq!(take_payloads(&mut net, client), [round]);
            Message::new("nobody", "x").at_least_once(2).publish(&mut net, client);
            let challenge = challenge.properties().binary(PropertyId::AuthenticationData).unwrap();
            let answer = scram.answer(challenge).unwrap();
            send_auth(&mut net, client, ReasonCode::ContinueAuthentication, METHOD, &answer);
            let got = next(&mut net, client);
            assert!(matches!(got, Got::Auth { reason: ReasonCode::Success, .. }), "{got:?}");
            assert_eq!(got.properties().text(PropertyId::AuthenticationMethod), Some(METHOD));
            assert!(scram.verify(got.properties().binary(PropertyId::AuthenticationData).unwrap()));
        }
        expect_nothing(&mut net, client);
    }
}

// [MQTT-4.12.1-1] [MQTT-4.12.0-5]
#[test]
fn authenticating_again_takes_the_method_of_connect_and_begins_at_the_beginning() {
    for (reason, method) in [
        (ReasonCode::ReAuthenticate, "SCRAM-SHA-512"),
        (ReasonCode::ContinueAuthentication, METHOD),
        (ReasonCode::Success, METHOD),
    ] {
        let mut net = net(1);
        let client = let_in(&mut net, "c", "user");
        let first = ScramClient::new("user", "pencil", "again").first();
        send_auth(&mut net, client, reason, method, &first);
        expect_cut(&mut net, client, ReasonCode::ProtocolError);
    }
}

// [MQTT-4.12.1-2]
#[test]
fn authenticating_again_with_a_wrong_proof_ends_the_connection() {
    for shards in [1, 2, 4] {
        let mut net = net(shards);
        let client = let_in(&mut net, "c", "user");
        let mut scram = ScramClient::new("user", "pen", "again");
        send_auth(&mut net, client, ReasonCode::ReAuthenticate, METHOD, &scram.first());
        go_on(&mut net, client, &mut scram);
        expect_cut(&mut net, client, ReasonCode::NotAuthorized);
    }
}

#[test]
fn authenticating_again_as_somebody_else_ends_the_connection() {
    let mut net = net(1);
    let client = let_in(&mut net, "c", "user");
    let mut scram = ScramClient::new("other", "pencil", "again");
    send_auth(&mut net, client, ReasonCode::ReAuthenticate, METHOD, &scram.first());
    go_on(&mut net, client, &mut scram);
    expect_cut(&mut net, client, ReasonCode::NotAuthorized);
}

// A connection that moved to its home shard was counted on both.
#[test]
fn a_connection_that_moves_is_counted_once() {
    let mut net = net(4);
    for id in ["a", "b", "c", "d", "e", "f"] {
        Login::v5(id).connect(&mut net);
    }
    let sum = |of: fn(&thrum::base::Counters) -> u64| net.cores.iter().map(|core| of(core.counters())).sum::<u64>();
    assert_eq!((sum(|counters| counters.connections_opened), sum(|counters| counters.packets_received)), (6, 6));
    assert_eq!(sum(|counters| counters.connects_received), 6);
}

// A re-authentication that its client never finished stayed open for as long as the connection.
#[test]
fn authenticating_again_has_to_end_in_time() {
    for keep_alive_secs in [0, 1_000] {
        let mut net = net(1);
        let mut scram = ScramClient::new("user", "pencil", "nonce");
        let client = login("c", Some(&scram.first())).keep_alive(keep_alive_secs).send(&mut net);
        go_on(&mut net, client, &mut scram);
        all(&mut net, client);
        net.advance(Millis::from_secs(30));
        let mut again = ScramClient::new("user", "pencil", "again");
        send_auth(&mut net, client, ReasonCode::ReAuthenticate, METHOD, &again.first());
        go_on(&mut net, client, &mut again);
        assert!(matches!(next(&mut net, client), Got::Auth { reason: ReasonCode::Success, .. }));
        net.advance(Millis::from_secs(30));
        expect_nothing(&mut net, client);
        send_auth(&mut net, client, ReasonCode::ReAuthenticate, METHOD, &again.first());
        all(&mut net, client);
        net.advance(Millis::from_secs(11));
        expect_cut(&mut net, client, ReasonCode::NotAuthorized);
    }
}
