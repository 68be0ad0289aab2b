//! Enhanced authentication by SCRAM-SHA-256: coming in, and proving it again later.

use std::num::NonZeroU32;

use crate::client::{
    Got, Login, Message, all, bytes_of, expect_closed, expect_cut, expect_nothing, next, subscribe, take_message,
};
use crate::net::{Client, Net};
use crate::scram_client::ScramClient;
use crate::users::guard;
use thrum::access::SCRAM_SHA_256;
use thrum::base::Millis;
use thrum::broker::{Event, Options};
use thrum::mqtt::{Auth, Packet, Properties, PropertyBuffer, PropertyId, QoS, ReasonCode, Version};

const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).unwrap();

fn net(shards: usize) -> Net {
    let users = [("alice", "alice's"), ("bob", "bob's")];
    Net::guarded(Options { shards, ..Options::default() }, || Box::new(guard(&users, ITERATIONS, true)))
}

fn login(method: &str, data: &[u8]) -> Login {
    Login::v5("c").with(|properties| {
        properties.push_text(PropertyId::AuthenticationMethod, method);
        properties.push_binary(PropertyId::AuthenticationData, data);
    })
}

fn send_auth(net: &mut Net, client: Client, reason: ReasonCode, method: &str, data: &[u8]) {
    let mut properties = PropertyBuffer::new();
    properties.push_text(PropertyId::AuthenticationMethod, method);
    properties.push_binary(PropertyId::AuthenticationData, data);
    net.send(client, &Packet::Auth(Auth { reason, properties: properties.properties() }));
}

/// Expects an AUTH of the broker, and yields its data.
fn expect_auth(net: &mut Net, client: Client, wanted: ReasonCode) -> Vec<u8> {
    match next(net, client) {
        Got::Auth { reason, properties } if reason == wanted => {
            assert_eq!(properties.text(PropertyId::AuthenticationMethod), Some(SCRAM_SHA_256));
            properties.binary(PropertyId::AuthenticationData).unwrap_or_default().to_vec()
        }
        got => panic!("no AUTH with {wanted:?}: {got:?}"),
    }
}

/// Sends CONNECT, and answers the challenge that comes.
fn answered(net: &mut Net, user: &str, password: &str) -> (Client, ScramClient) {
    let mut scram = ScramClient::new(user, password, "nonce");
    let client = login(SCRAM_SHA_256, &scram.first()).send(net);
    let challenge = expect_auth(net, client, ReasonCode::ContinueAuthentication);
    let answer = scram.answer(&challenge).expect("a challenge to this client");
    send_auth(net, client, ReasonCode::ContinueAuthentication, SCRAM_SHA_256, &answer);
    (client, scram)
}

fn connected(net: &mut Net, user: &str) -> Client {
    let (client, scram) = answered(net, user, &format!("{user}'s"));
    let got = next(net, client);
    assert!(matches!(got, Got::ConnAck { reason: ReasonCode::Success, .. }), "{got:?}");
    assert_eq!(got.properties().text(PropertyId::AuthenticationMethod), Some(SCRAM_SHA_256));
    assert!(scram.verify(got.properties().binary(PropertyId::AuthenticationData).expect("the proof of the server")));
    client
}

/// Re-authenticates as far as the answer to the challenge.
fn answered_again(net: &mut Net, client: Client, user: &str, password: &str) -> ScramClient {
    let mut scram = ScramClient::new(user, password, "again");
    send_auth(net, client, ReasonCode::ReAuthenticate, SCRAM_SHA_256, &scram.first());
    let challenge = expect_auth(net, client, ReasonCode::ContinueAuthentication);
    let answer = scram.answer(&challenge).expect("a challenge to this client");
    send_auth(net, client, ReasonCode::ContinueAuthentication, SCRAM_SHA_256, &answer);
    scram
}

// [MQTT-3.2.0-1] [MQTT-4.12.0-2] [MQTT-4.12.0-5]
#[test]
fn who_proves_his_password_comes_in_and_the_server_proves_that_it_knows_him() {
    for shards in [1, 3] {
        let mut net = net(shards);
        let client = connected(&mut net, "alice");
        let is_alice = |event: &Event| matches!(event, Event::Connected { user: Some(user), .. } if **user == *"alice");
        assert!(net.events.iter().any(is_alice));
        subscribe(&mut net, client, "a", QoS::AtMostOnce);
        Message::new("a", "1").publish(&mut net, client);
        take_message(&mut net, client);
    }
}

// [MQTT-4.12.0-4]
#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    for (user, password) in [("alice", "wrong"), ("nobody", "wrong")] {
        let mut net = net(1);
        let (client, _) = answered(&mut net, user, password);
        assert!(matches!(
            all(&mut net, client)[..],
            [Got::ConnAck { reason: ReasonCode::BadUserNameOrPassword, session_present: false, .. }]
        ));
        assert!(net.is_closed(client));
    }
}

// [MQTT-4.12.0-1]
#[test]
fn a_method_that_the_broker_does_not_have_is_refused() {
    let mut net = net(1);
    assert_eq!(login("GS2-KRB5", b"").refused(&mut net), ReasonCode::BadAuthenticationMethod);
}

// [MQTT-3.1.2-30]
#[test]
fn nothing_but_auth_and_disconnect_comes_before_the_connack() {
    let publish = crate::client::packet(0x30, &[0, 1, b'a', 0]);
    for bytes in [&publish[..], &[0xc0, 0], &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0], &Login::v5("c").bytes()] {
        let mut net = net(1);
        let client = login(SCRAM_SHA_256, &ScramClient::new("alice", "alice's", "n").first()).send(&mut net);
        expect_auth(&mut net, client, ReasonCode::ContinueAuthentication);
        net.send_bytes(client, bytes);
        expect_closed(&mut net, client);
        assert_eq!(net.cores[0].sessions_len(), 0);
    }
    let mut net = net(1);
    let client = login(SCRAM_SHA_256, &ScramClient::new("alice", "alice's", "n").first()).send(&mut net);
    expect_auth(&mut net, client, ReasonCode::ContinueAuthentication);
    net.send_bytes(client, &[0xe0, 0]);
    expect_closed(&mut net, client);
}

#[test]
fn an_exchange_that_is_not_finished_in_time_is_cut_off() {
    let mut net = net(1);
    let client = login(SCRAM_SHA_256, &ScramClient::new("alice", "alice's", "n").first()).send(&mut net);
    expect_auth(&mut net, client, ReasonCode::ContinueAuthentication);
    net.advance(Millis(11_000));
    expect_closed(&mut net, client);
}

#[test]
fn an_answer_by_another_method_is_refused() {
    let mut net = net(1);
    let mut scram = ScramClient::new("alice", "alice's", "n");
    let client = login(SCRAM_SHA_256, &scram.first()).send(&mut net);
    let challenge = expect_auth(&mut net, client, ReasonCode::ContinueAuthentication);
    let answer = scram.answer(&challenge).unwrap();
    send_auth(&mut net, client, ReasonCode::ContinueAuthentication, "SCRAM-SHA-1", &answer);
    expect_closed(&mut net, client);
}

// [MQTT-4.12.1-1]
#[test]
fn a_client_proves_itself_again_while_its_messages_go_on() {
    for shards in [1, 3] {
        let mut net = net(shards);
        let client = connected(&mut net, "alice");
        subscribe(&mut net, client, "a", QoS::AtMostOnce);
        for _ in 0..2 {
            let mut scram = ScramClient::new("alice", "alice's", "again");
            send_auth(&mut net, client, ReasonCode::ReAuthenticate, SCRAM_SHA_256, &scram.first());
            let challenge = expect_auth(&mut net, client, ReasonCode::ContinueAuthentication);
            Message::new("a", "between").publish(&mut net, client);
            take_message(&mut net, client);
            let answer = scram.answer(&challenge).unwrap();
            send_auth(&mut net, client, ReasonCode::ContinueAuthentication, SCRAM_SHA_256, &answer);
            assert!(scram.verify(&expect_auth(&mut net, client, ReasonCode::Success)));
            expect_nothing(&mut net, client);
        }
    }
}

// [MQTT-4.12.1-2]
#[test]
fn who_fails_to_prove_himself_again_is_cut_off() {
    let mut net = net(1);
    let client = connected(&mut net, "alice");
    answered_again(&mut net, client, "alice", "wrong");
    expect_cut(&mut net, client, ReasonCode::NotAuthorized);
}

// [MQTT-4.12.0-3] [MQTT-4.12.0-7] [MQTT-4.12.1-1]
#[test]
fn an_auth_that_does_not_fit_ends_the_connection() {
    // Continue without an exchange; another method; AUTH of who came in without one.
    let mut net = net(1);
    let client = connected(&mut net, "alice");
    send_auth(&mut net, client, ReasonCode::ContinueAuthentication, SCRAM_SHA_256, b"");
    expect_cut(&mut net, client, ReasonCode::ProtocolError);
    let client = connected(&mut net, "alice");
    send_auth(&mut net, client, ReasonCode::ReAuthenticate, "SCRAM-SHA-1", b"");
    expect_cut(&mut net, client, ReasonCode::ProtocolError);
    let client = Login::v5("c").connect(&mut net);
    send_auth(&mut net, client, ReasonCode::ReAuthenticate, SCRAM_SHA_256, b"");
    expect_cut(&mut net, client, ReasonCode::ProtocolError);
    let old = Login::v3("c").connect(&mut net);
    let auth = Auth { reason: ReasonCode::ReAuthenticate, properties: Properties::EMPTY };
    net.send_bytes(old, &bytes_of(&Packet::Auth(auth), Version::V5));
    expect_closed(&mut net, old);
}

#[test]
fn a_user_with_a_password_in_connect_comes_in_or_hears_why_not() {
    for login in [Login::v5("c"), Login::v3("c"), Login::new(Version::V3_1, "c")] {
        let mut net = net(3);
        login.clone().user("alice", "alice's").connect(&mut net);
        assert_eq!(login.clone().user("alice", "wrong").refused(&mut net), ReasonCode::BadUserNameOrPassword);
        assert_eq!(login.clone().user("nobody", "").refused(&mut net), ReasonCode::BadUserNameOrPassword);
        assert_eq!(login.user_name("alice").refused(&mut net), ReasonCode::BadUserNameOrPassword);
    }
}

#[test]
fn what_comes_behind_a_connect_waits_for_the_verdict() {
    let mut net = net(1);
    let client = net.open(Version::V5);
    let mut bytes = Login::v5("c").user("alice", "alice's").bytes();
    bytes.extend_from_slice(&[0xc0, 0]);
    net.send_bytes(client, &bytes);
    assert!(matches!(all(&mut net, client)[..], [Got::ConnAck { reason: ReasonCode::Success, .. }, Got::PingResp]));
}
