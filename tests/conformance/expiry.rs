//! Who comes with a token goes when it expires, unless he brings another one; and what becomes of a refused publish.

use thrum::base::{Millis, Refusal};
use thrum::broker::{Options, RefusedPublish};
use thrum::mqtt::{Auth, Packet, PropertyBuffer, PropertyId, QoS, ReasonCode, Version};

use crate::client::{
    Got, LastWill, Login, Message, disconnect, expect_closed, expect_cut, expect_nothing, next, subscribe, sum,
    take_payloads,
};
use crate::house::House;
use crate::net::{Client, Net};

fn until(net: &Net, secs: u32) -> String {
    (net.now + Millis::from_secs(secs)).0.to_string()
}

fn wait(net: &mut Net, secs: u32) {
    net.advance(Millis::from_secs(secs));
}

#[test]
fn a_client_whose_token_expires_is_told_and_closed_and_its_will_published() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        for keep_alive in [0, 10] {
            House::on_shards(|_, mut net| {
                let watcher = Login::v5("watcher").keep_alive(0).connect(&mut net);
                subscribe(&mut net, watcher, "gone", QoS::AtMostOnce);
                let login = Login::new(version, "c").user("ada", &until(&net, 30)).keep_alive(keep_alive);
                let client = login.will(LastWill::new("gone", "it")).connect(&mut net);
                for _ in 0..29 {
                    wait(&mut net, 1);
                    net.send(client, &Packet::PingReq);
                    assert_eq!(next(&mut net, client), Got::PingResp);
                }
                expect_nothing(&mut net, watcher);
                wait(&mut net, 2);
                if version == Version::V5 {
                    let got = next(&mut net, client);
                    assert!(matches!(got, Got::Disconnect { reason: ReasonCode::NotAuthorized, .. }), "{got:?}");
                    assert_eq!(got.properties().text(PropertyId::ReasonString), Some("the token has expired"));
                }
                expect_closed(&mut net, client);
                assert_eq!(take_payloads(&mut net, watcher), ["it"]);
            });
        }
    }
}

#[test]
fn a_token_that_has_expired_already_lasts_for_no_more_than_a_moment() {
    House::on_shards(|_, mut net| {
        let client = Login::v5("c").user("ada", "1").connect(&mut net);
        wait(&mut net, 1);
        expect_cut(&mut net, client, ReasonCode::NotAuthorized);
    });
}

#[test]
fn a_session_outlives_its_clients_token_and_the_next_one_counts() {
    House::on_shards(|_, mut net| {
        let login =
            |net: &Net, secs| Login::v5("c").user("ada", &until(net, secs)).expiry(1_000).resuming().keep_alive(0);
        let client = login(&net, 10).connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        wait(&mut net, 11);
        expect_cut(&mut net, client, ReasonCode::NotAuthorized);
        let sender = Login::v5("sender").connect(&mut net);
        Message::new("a", "waits").at_least_once(1).publish(&mut net, sender);
        let (client, present) = login(&net, 20).present(&mut net);
        assert!(present && take_payloads(&mut net, client) == ["waits"]);
        wait(&mut net, 19);
        expect_nothing(&mut net, client);
        wait(&mut net, 2);
        expect_cut(&mut net, client, ReasonCode::NotAuthorized);
    });
}

fn auth(net: &mut Net, client: Client, data: &str) {
    let mut properties = PropertyBuffer::new();
    properties.push_text(PropertyId::AuthenticationMethod, "TOKEN");
    properties.push_binary(PropertyId::AuthenticationData, data.as_bytes());
    let auth = Auth { reason: ReasonCode::ReAuthenticate, properties: properties.properties() };
    net.send(client, &Packet::Auth(auth));
}

fn by_token(net: &mut Net, data: &str) -> Client {
    let data = data.as_bytes().to_vec();
    let login = Login::v5("c").keep_alive(0).with(|properties| {
        properties.push_text(PropertyId::AuthenticationMethod, "TOKEN");
        properties.push_binary(PropertyId::AuthenticationData, &data);
    });
    login.connect(net)
}

fn accepted(net: &mut Net, client: Client) -> bool {
    matches!(next(net, client), Got::Auth { reason: ReasonCode::Success, .. })
}

// (MQTT 5.0, 4.12.1)
#[test]
fn a_reauthentication_brings_another_time_and_keeps_user_and_mount_point() {
    House::on_shards(|_, mut net| {
        let first = format!("ada@tenant/ {}", until(&net, 10));
        let client = by_token(&mut net, &first);
        subscribe(&mut net, client, "a", QoS::AtMostOnce);
        wait(&mut net, 5);
        // Later, and then sooner.
        for secs in [60, 20] {
            let data = format!("ada@tenant/ {}", until(&net, secs));
            auth(&mut net, client, &data);
            assert!(accepted(&mut net, client));
        }
        wait(&mut net, 19);
        Message::new("a", "still here").publish(&mut net, client);
        assert_eq!(take_payloads(&mut net, client), ["still here"]);
        wait(&mut net, 2);
        expect_cut(&mut net, client, ReasonCode::NotAuthorized);
    });
    for other in ["ada", "ada@other/", "bob@tenant/", ""] {
        House::on_shards(|_, mut net| {
            let client = by_token(&mut net, "ada@tenant/");
            auth(&mut net, client, other);
            expect_cut(&mut net, client, ReasonCode::NotAuthorized);
        });
    }
}

fn refusals(net: &Net) -> u64 {
    sum(net, |core| core.counters().refused(Refusal::PublishNotAuthorized))
}

// [MQTT3-3.3.5-2]
#[test]
fn a_refused_publish_is_told_in_5_and_before_it_dropped_or_the_end_by_choice() {
    for (refused_publish, shards) in [(RefusedPublish::Drop, 1), (RefusedPublish::Disconnect, 3)] {
        for (version, qos) in [Version::V3_1, Version::V3_1_1, Version::V5]
            .into_iter()
            .flat_map(|version| [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| (version, qos)))
        {
            let house = House::default();
            house.rules().no_publish.push("no".into());
            let mut net = house.net(Options { shards, refused_publish, ..Options::default() });
            let watcher = Login::v5("watcher").connect(&mut net);
            subscribe(&mut net, watcher, "#", QoS::AtMostOnce);
            let client = Login::new(version, "c").connect(&mut net);
            let message = match qos {
                QoS::AtMostOnce => Message::new("no", ""),
                QoS::AtLeastOnce => Message::new("no", "").at_least_once(1),
                QoS::ExactlyOnce => Message::new("no", "").exactly_once(1),
            };
            if version != Version::V5 && refused_publish == RefusedPublish::Disconnect {
                message.send(&mut net, client);
                expect_closed(&mut net, client);
            } else {
                let told = version == Version::V5 && qos != QoS::AtMostOnce;
                let wanted = if told { ReasonCode::NotAuthorized } else { ReasonCode::Success };
                assert_eq!(message.publish(&mut net, client), wanted, "{version:?} {qos:?}");
                expect_nothing(&mut net, client);
                disconnect(&mut net, client);
            }
            assert_eq!(refusals(&net), 1);
            expect_nothing(&mut net, watcher);
        }
    }
}
