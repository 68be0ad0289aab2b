//! CONNECT: its format, who is let in, client identifiers, keep alive, takeover.

use crate::client::{
    ALL_VERSIONS, Got, LastWill, Login, Message, all, disconnect, expect_closed, expect_cut, expect_nothing, net_of,
    next, next_if_any, on_shards, packet, put_text, subscribe, take_message,
};
use crate::net::{Client, Net};
use thrum::access::{self, Answer, Credentials, Denial, Grant, Guard, Identity, Publication, Verdict};
use thrum::base::{Millis, Timestamp};
use thrum::broker::{Event, Options};
use thrum::mqtt::{PropertyId, QoS, ReasonCode, TopicFilter, Version};

/// A CONNECT of raw fields, of 3.1.1 and 5.0.
fn connect(level: u8, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
    if level == 5 {
        body.push(0);
    }
    for field in payload {
        body.extend_from_slice(&(field.len() as u16).to_be_bytes());
        body.extend_from_slice(field);
    }
    packet(0x10, &body)
}

fn sent(net: &mut Net, version: Version, bytes: &[u8]) -> Client {
    let client = net.open(version);
    net.send_bytes(client, bytes);
    client
}

/// Malformed for both versions: 5.0 is told, 3.1.1 is not.
fn refuses(bytes: impl Fn(u8) -> Vec<u8>) {
    let mut net = net_of(1);
    let client = sent(&mut net, Version::V5, &bytes(5));
    assert!(matches!(next(&mut net, client), Got::ConnAck { reason: ReasonCode::MalformedPacket, .. }));
    expect_closed(&mut net, client);
    let client = sent(&mut net, Version::V3_1_1, &bytes(4));
    expect_closed(&mut net, client);
}

fn accepts(bytes: &[u8], version: Version) {
    let mut net = net_of(1);
    let client = sent(&mut net, version, bytes);
    assert!(matches!(next(&mut net, client), Got::ConnAck { reason: ReasonCode::Success, .. }));
    expect_nothing(&mut net, client);
}

// [MQTT-3.1.0-1]
#[test]
fn the_first_packet_is_connect() {
    // The first could be taken for a CONNECT by its body.
    let packets: [&[u8]; 6] = [
        b"\x30\x07\0\x04MQTT\x05",
        &[0x30, 4, 0, 1, b'a', 0],
        &[0xc0, 0],
        &[0xe0, 0],
        &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0],
        &[0xf0, 0],
    ];
    for bytes in packets {
        let mut net = net_of(1);
        let client = sent(&mut net, Version::V5, bytes);
        expect_closed(&mut net, client);
    }
}

// [MQTT-3.1.0-2] One of a version that we do not know was answered by a DISCONNECT with the reason of a CONNACK.
#[test]
fn a_second_connect_ends_the_connection_for_being_the_second() {
    for version in ALL_VERSIONS {
        let mut net = net_of(1);
        let client = Login::new(version, "c").connect(&mut net);
        net.send_bytes(client, &connect(9, 0x02, &[b"c"]));
        if version == Version::V5 {
            expect_cut(&mut net, client, ReasonCode::ProtocolError);
        } else {
            expect_closed(&mut net, client);
        }
    }
}

// [MQTT-3.1.0-2]
#[test]
fn a_second_connect_ends_the_connection() {
    let mut net = net_of(1);
    let client = Login::v5("c").connect(&mut net);
    net.send_bytes(client, &Login::v5("c").bytes());
    expect_cut(&mut net, client, ReasonCode::ProtocolError);
    let client = Login::v3("c").connect(&mut net);
    net.send_bytes(client, &Login::v3("c").bytes());
    expect_closed(&mut net, client);
}

// [MQTT-3.1.2-1] [MQTT3-3.1.2-1]
#[test]
fn another_protocol_name_is_not_let_in() {
    for name in ["mqtt", "MQTX", "HTTP", ""] {
        let mut net = net_of(1);
        let mut body = Vec::new();
        put_text(&mut body, name);
        body.extend_from_slice(&[4, 2, 0, 60, 0, 1, b'c']);
        let client = sent(&mut net, Version::V3_1_1, &packet(0x10, &body));
        assert!(net.is_closed(client));
        assert_eq!(net.take_bytes(client), [0x20, 2, 0, 1]);
        assert_eq!(net.cores[0].sessions_len(), 0);
    }
}

// [MQTT-3.1.2-2] [MQTT3-3.1.2-2]
#[test]
fn a_level_that_is_not_known_is_answered_with_what_its_sender_can_read() {
    let mut net = net_of(1);
    let client = sent(&mut net, Version::V5, &connect(6, 2, &[b"c"]));
    assert!(matches!(next(&mut net, client), Got::ConnAck { reason: ReasonCode::UnsupportedProtocolVersion, .. }));
    expect_closed(&mut net, client);
    for level in [0, 2, 3, 0x84] {
        let client = sent(&mut net, Version::V3_1_1, &connect(level, 2, &[b"c"]));
        assert_eq!(net.take_bytes(client), [0x20, 2, 0, 1]);
        assert!(net.is_closed(client));
    }
}

// [MQTT-3.1.2-3] [MQTT-3.1.4-1] [MQTT3-3.1.4-1]
#[test]
fn the_reserved_flag_ends_the_connection() {
    refuses(|level| connect(level, 0x03, &[b"c"]));
}

// [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT3-3.1.2-11]
#[test]
fn will_flags_without_a_will_and_a_will_of_qos_3_end_the_connection() {
    for flags in [0x02 | 0x08, 0x02 | 0x10, 0x02 | 0x20] {
        refuses(|level| connect(level, flags, &[b"c"]));
    }
    refuses(|level| connect(level, 0x02 | 0x04 | 0x18, &[b"c", b"t", b"m"]));
    // A Will Topic and Will Message without the flag are bytes too many.
    refuses(|level| connect(level, 0x02, &[b"c", b"t", b"m"]));
}

// [MQTT-3.1.2-9]
#[test]
fn a_will_flag_without_the_fields_of_a_will_ends_the_connection() {
    refuses(|level| connect(level, 0x06, &[b"c"]));
    accepts(&connect(4, 0x06, &[b"c", b"t", b"m"]), Version::V3_1_1);
}

// [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19]
#[test]
fn user_name_and_password_are_there_as_their_flags_say() {
    refuses(|level| connect(level, 0x02, &[b"c", b"user"]));
    refuses(|level| connect(level, 0x82, &[b"c"]));
    refuses(|level| connect(level, 0x82, &[b"c", b"user", b"password"]));
    refuses(|level| connect(level, 0xc2, &[b"c", b"user"]));
    for (level, version) in [(4, Version::V3_1_1), (5, Version::V5)] {
        accepts(&connect(level, 0x82, &[b"c", b"user"]), version);
        accepts(&connect(level, 0xc2, &[b"c", b"user", b"password"]), version);
    }
}

// [MQTT3-3.1.2-22]
#[test]
fn a_password_without_a_user_name_is_for_5_only() {
    accepts(&connect(5, 0x42, &[b"c", b"password"]), Version::V5);
    let mut net = net_of(1);
    let client = sent(&mut net, Version::V3_1_1, &connect(4, 0x42, &[b"c", b"password"]));
    expect_closed(&mut net, client);
}

// [MQTT-3.1.3-1]
#[test]
fn the_fields_are_read_in_their_order() {
    let guard = || Box::new(Doorkeeper) as Box<dyn Guard>;
    let mut net = Net::guarded(Options::default(), guard);
    let watcher = Login::v3("watcher").connect(&mut net);
    subscribe(&mut net, watcher, "#", QoS::AtMostOnce);
    let client = sent(&mut net, Version::V3_1_1, &connect(4, 0xc6, &[b"id", b"topic", b"will", b"alice", b"secret"]));
    assert_eq!(net.take_bytes(client), [0x20, 2, 0, 0]);
    let connected = net.events.iter().any(|event| {
        matches!(event, Event::Connected { client_id, user: Some(user), .. } if **client_id == *"id" && **user == *"alice")
    });
    assert!(connected);
    net.cut(client);
    assert_eq!(take_message(&mut net, watcher), Message::new("topic", "will"));
}

// [MQTT-3.1.3-3]
#[test]
fn a_connect_without_a_client_identifier_field_ends_the_connection() {
    refuses(|level| connect(level, 0x02, &[]));
}

// [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12]
#[test]
fn client_identifier_will_topic_and_user_name_are_utf8() {
    refuses(|level| connect(level, 0x02, &[b"c\xff"]));
    refuses(|level| connect(level, 0x02, &[b"c\0"]));
    refuses(|level| connect(level, 0x82, &[b"c", b"\xed\xa0\x80"]));
    let mut net = net_of(1);
    let client = sent(&mut net, Version::V3_1_1, &connect(4, 0x06, &[b"c", b"t\xff", b"m"]));
    expect_closed(&mut net, client);
    // With the length of its properties before the topic.
    let mut bytes = connect(5, 0x06, &[b"c"]);
    bytes.extend_from_slice(&[0, 0, 2, b't', 0xff, 0, 1, b'm']);
    bytes[1] += 8;
    let client = sent(&mut net, Version::V5, &bytes);
    assert!(matches!(next(&mut net, client), Got::ConnAck { reason: ReasonCode::MalformedPacket, .. }));
}

// [MQTT-3.1.3-5]
#[test]
fn client_identifiers_of_1_to_23_letters_and_digits_are_taken_and_longer_ones_too() {
    on_shards(|mut net| {
        for version in ALL_VERSIONS {
            for id in
                ["0", "abcdefghijklmnopqrstuvw", "ABCDEFGHIJKLMNOPQRSTUVW", "xyzXYZ0123456789", &"long".repeat(100)]
            {
                Login::new(version, id).connect(&mut net);
            }
        }
    });
}

// [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
#[test]
fn who_brings_no_client_identifier_gets_one_of_his_own() {
    on_shards(|mut net| {
        let mut ids = Vec::new();
        for _ in 0..20 {
            let (_, got) = Login::v5("").answer(&mut net);
            ids.push(got.properties().text(PropertyId::AssignedClientIdentifier).unwrap().to_owned());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20);
        // It is an identifier like any other: with it the session can be taken up again.
        let (client, got) = Login::v5("").expiry(100).answer(&mut net);
        let id = got.properties().text(PropertyId::AssignedClientIdentifier).unwrap().to_owned();
        disconnect(&mut net, client);
        assert!(Login::v5(&id).resuming().present(&mut net).1);
        let (_, got) = Login::v5("named").answer(&mut net);
        assert!(!got.properties().has(PropertyId::AssignedClientIdentifier));
    });
}

// [MQTT3-3.1.3-6]
#[test]
fn before_5_too_who_brings_no_identifier_is_somebody_of_his_own() {
    on_shards(|mut net| {
        let clients: Vec<Client> = (0..5).map(|_| Login::v3("").connect(&mut net)).collect();
        assert_eq!(net.cores.iter().map(|core| core.sessions_len()).sum::<usize>(), 5);
        for client in clients {
            expect_nothing(&mut net, client);
        }
    });
}

// [MQTT3-3.1.3-7] [MQTT3-3.1.3-8] [MQTT3-3.1.3-9] [MQTT-3.1.3-8]
#[test]
fn an_empty_identifier_for_a_session_to_keep_is_rejected() {
    let mut net = net_of(1);
    assert_eq!(Login::v3("").resuming().refused(&mut net), ReasonCode::ClientIdentifierNotValid);
    // MQTT 3.1 has no empty identifiers at all.
    assert_eq!(Login::new(Version::V3_1, "").refused(&mut net), ReasonCode::ClientIdentifierNotValid);
    Login::v5("").resuming().connect(&mut net);
}

/// Lets in by user name, and says no with each reason there is.
#[derive(Debug)]
pub(crate) struct Doorkeeper;

impl Guard for Doorkeeper {
    fn connect(&mut self, _: Timestamp, credentials: &Credentials<'_>) -> Answer {
        Answer::Now(match credentials.user_name {
            None | Some("alice") => Verdict::Accept(credentials.user_name.map(Identity::of_user).unwrap_or_default()),
            Some("mallory") => Verdict::Refuse(Denial::NotAuthorized),
            Some("banned") => Verdict::Refuse(Denial::Banned),
            Some("busy") => Verdict::Refuse(Denial::ServerBusy),
            Some("away") => Verdict::Refuse(Denial::ServerUnavailable),
            Some(_) => Verdict::Refuse(Denial::BadUserNameOrPassword),
        })
    }

    fn may_publish(&mut self, _: &access::Client<'_>, publication: &Publication<'_>) -> bool {
        !publication.topic.as_str().starts_with("secret")
    }

    fn may_subscribe(&mut self, _: &access::Client<'_>, filter: TopicFilter<'_>, _: QoS) -> Grant {
        if filter.as_str().starts_with("secret") { Grant::Denied } else { Grant::Whole }
    }
}

// [MQTT-3.1.4-2] [MQTT-3.2.2-7]
#[test]
fn who_is_refused_hears_why_and_is_cut_off() {
    let mut net = Net::guarded(Options::default(), || Box::new(Doorkeeper));
    let cases = [
        ("bob", ReasonCode::BadUserNameOrPassword, ReasonCode::BadUserNameOrPassword),
        ("mallory", ReasonCode::NotAuthorized, ReasonCode::NotAuthorized),
        ("banned", ReasonCode::Banned, ReasonCode::NotAuthorized),
        ("busy", ReasonCode::ServerBusy, ReasonCode::ServerUnavailable),
        ("away", ReasonCode::ServerUnavailable, ReasonCode::ServerUnavailable),
    ];
    for (user, in_5, before) in cases {
        assert_eq!(Login::v5("c").user(user, "").refused(&mut net), in_5);
        assert_eq!(Login::v3("c").user(user, "").refused(&mut net), before);
        assert_eq!(Login::new(Version::V3_1, "c").user(user, "").refused(&mut net), before);
    }
    assert_eq!(net.cores[0].sessions_len(), 0);
    Login::v5("c").user("alice", "").connect(&mut net);
}

// [MQTT-3.1.4-6]
#[test]
fn what_comes_behind_a_connect_that_is_refused_is_not_looked_at() {
    let mut net = Net::guarded(Options::default(), || Box::new(Doorkeeper));
    let watcher = Login::v5("watcher").connect(&mut net);
    subscribe(&mut net, watcher, "#", QoS::AtMostOnce);
    let client = net.open(Version::V5);
    let mut bytes = Login::v5("c").user("bob", "").bytes();
    bytes.extend_from_slice(&[0x30, 4, 0, 1, b'a', 0]);
    net.send_bytes(client, &bytes);
    assert!(matches!(all(&mut net, client)[..], [Got::ConnAck { reason: ReasonCode::BadUserNameOrPassword, .. }]));
    assert!(net.is_closed(client));
    expect_nothing(&mut net, watcher);
}

// [MQTT3-3.2.2-6]
#[test]
fn a_refusal_that_3_1_1_has_no_code_for_is_not_told() {
    let mut net = Net::guarded(Options::default(), || Box::new(Doorkeeper));
    let will = || LastWill::new("$SYS/x", "will");
    assert_eq!(Login::v5("c").will(will()).refused(&mut net), ReasonCode::TopicNameInvalid);
    let client = Login::v3("c").will(will()).send(&mut net);
    expect_closed(&mut net, client);
    let will = || LastWill::new("secret", "will");
    assert_eq!(Login::v5("c").will(will()).refused(&mut net), ReasonCode::NotAuthorized);
    assert_eq!(Login::v3("c").will(will()).refused(&mut net), ReasonCode::NotAuthorized);
}

// [MQTT-3.1.2-22]
#[test]
fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_cut_off() {
    for version in ALL_VERSIONS {
        let mut net = net_of(1);
        let watcher = Login::v5("watcher").keep_alive(0).connect(&mut net);
        subscribe(&mut net, watcher, "w", QoS::AtMostOnce);
        let client = Login::new(version, "c").keep_alive(10).will(LastWill::new("w", "gone")).connect(&mut net);
        net.advance(Millis(14_500));
        net.send_bytes(client, &[0xc0, 0]);
        assert_eq!(next(&mut net, client), Got::PingResp);
        net.advance(Millis(14_500));
        expect_nothing(&mut net, client);
        expect_nothing(&mut net, watcher);
        net.advance(Millis(1_000));
        match version {
            Version::V5 => expect_cut(&mut net, client, ReasonCode::KeepAliveTimeout),
            _ => expect_closed(&mut net, client),
        }
        assert_eq!(take_message(&mut net, watcher).payload_text(), "gone");
    }
}

#[test]
fn a_keep_alive_of_zero_never_ends() {
    let mut net = net_of(1);
    let client = Login::v5("c").keep_alive(0).connect(&mut net);
    net.advance(Millis(300_000_000));
    expect_nothing(&mut net, client);
}

// [MQTT-3.2.2-22]
#[test]
fn without_a_server_keep_alive_the_clients_counts() {
    let mut net = Net::new(Options { keep_alive_secs_max: 60, ..Options::default() });
    let (client, got) = Login::v5("a").keep_alive(20).answer(&mut net);
    assert_eq!(got.properties().number(PropertyId::ServerKeepAlive), None);
    // Before 5.0 there is no way to tell another one.
    let old = Login::v3("b").keep_alive(100).connect(&mut net);
    let endless = Login::v3("c").keep_alive(0).connect(&mut net);
    net.advance(Millis(31_000));
    expect_cut(&mut net, client, ReasonCode::KeepAliveTimeout);
    net.advance(Millis(115_000));
    expect_nothing(&mut net, old);
    net.advance(Millis(10_000));
    expect_closed(&mut net, old);
    expect_nothing(&mut net, endless);
}

#[test]
fn a_server_keep_alive_takes_the_place_of_a_longer_one_and_of_none() {
    for asked in [0, 61, u16::MAX] {
        let mut net = Net::new(Options { keep_alive_secs_max: 60, ..Options::default() });
        let (client, got) = Login::v5("a").keep_alive(asked).answer(&mut net);
        assert_eq!(got.properties().number(PropertyId::ServerKeepAlive), Some(60));
        net.advance(Millis(91_000));
        expect_cut(&mut net, client, ReasonCode::KeepAliveTimeout);
    }
}

#[test]
fn who_says_nothing_is_cut_off_after_the_connect_timeout() {
    let mut net = net_of(1);
    let client = net.open(Version::V5);
    net.send_bytes(client, &[0x10]);
    net.advance(Millis(9_500));
    assert!(!net.is_closed(client));
    net.advance(Millis(1_000));
    assert!(net.is_closed(client));
}

// [MQTT-3.1.4-3]
#[test]
fn a_client_that_connects_again_takes_over() {
    on_shards(|mut net| {
        for (old, new) in ALL_VERSIONS.into_iter().flat_map(|old| ALL_VERSIONS.map(|new| (old, new))) {
            let first = Login::new(old, "same").connect(&mut net);
            let second = Login::new(new, "same").connect(&mut net);
            match old {
                Version::V5 => expect_cut(&mut net, first, ReasonCode::SessionTakenOver),
                _ => expect_closed(&mut net, first),
            }
            expect_nothing(&mut net, second);
            disconnect(&mut net, second);
        }
    });
}

// [MQTT-3.1.3-2]
#[test]
fn the_session_is_found_by_the_client_identifier_and_by_nothing_else() {
    on_shards(|mut net| {
        let one = Login::v5("one").user_name("same").expiry(100).connect(&mut net);
        subscribe(&mut net, one, "a", QoS::AtLeastOnce);
        disconnect(&mut net, one);
        let (other, present) = Login::v5("One").user_name("same").expiry(100).resuming().present(&mut net);
        assert!(!present);
        Message::new("a", "1").at_least_once(1).publish(&mut net, other);
        expect_nothing(&mut net, other);
        let (one, present) = Login::v5("one").user_name("another").resuming().present(&mut net);
        assert!(present);
        assert_eq!(take_message(&mut net, one).payload_text(), "1");
    });
}

// [MQTT-3.1.2-28]
#[test]
fn response_information_is_for_who_asks_where_there_is_some() {
    for information in [None, Some("replies/")] {
        let mut net = Net::new(Options { response_information: information.map(Into::into), ..Options::default() });
        for wanted in [false, true] {
            let login =
                Login::v5("c").with(|properties| properties.push_flag(PropertyId::RequestResponseInformation, wanted));
            let got = login.answer(&mut net).1;
            let expected = information.filter(|_| wanted);
            assert_eq!(got.properties().text(PropertyId::ResponseInformation), expected);
        }
    }
}

#[test]
fn a_connect_in_pieces_is_read_when_it_is_whole() {
    let mut net = net_of(3);
    let bytes = Login::v5("pieces").bytes();
    let client = net.open(Version::V5);
    for byte in &bytes {
        assert_eq!(next_if_any(&mut net, client), None);
        net.send_bytes(client, &[*byte]);
    }
    assert!(matches!(next(&mut net, client), Got::ConnAck { reason: ReasonCode::Success, .. }));
}

#[test]
fn too_many_sessions_are_refused() {
    let mut net = Net::new(Options { sessions_max: 1, ..Options::default() });
    Login::v5("a").connect(&mut net);
    assert_eq!(Login::v5("b").refused(&mut net), ReasonCode::QuotaExceeded);
    assert_eq!(Login::v3("b").refused(&mut net), ReasonCode::ServerUnavailable);
    Login::v5("a").connect(&mut net);
}
