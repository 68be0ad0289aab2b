//! Shared subscriptions (4.8): one member gets each message, wherever the members and the group are.

use std::collections::BTreeMap;

use thrum::base::DropReason;
use thrum::broker::{Options, ShardCore};
use thrum::mqtt::{AckType, QoS, ReasonCode};
use thrum::routing::Choice;

use crate::client::{
    Ask, Got, Login, Message, acknowledge, assert_at_rest, disconnect, expect_cut, expect_nothing, next, on_1_2_4,
    send_ack, send_ack_with, send_v5, subscribe, subscribe_bytes, subscribe_to, sum, take_message, take_messages,
    take_payloads, unsubscribe,
};
use crate::net::{Client, Net};

const CHOICES: [Choice; 3] = [Choice::RoundRobin, Choice::LeastInFlight, Choice::StickyTopic];

fn member(net: &mut Net, id: &str, qos: QoS) -> Client {
    let client = Login::v5(id).expiry(1_000).connect(net);
    subscribe(net, client, "$share/g/t/#", qos);
    client
}

fn back(net: &mut Net, id: &str) -> Client {
    Login::v5(id).expiry(1_000).resuming().connect(net)
}

/// Who of them got which payload; all are acknowledged.
fn split(net: &mut Net, members: &[Client]) -> BTreeMap<String, usize> {
    let mut got = BTreeMap::new();
    for (index, &member) in members.iter().enumerate() {
        for payload in take_payloads(net, member) {
            assert_eq!(got.insert(payload.clone(), index), None, "{payload} came to two");
        }
    }
    got
}

fn publish(net: &mut Net, publisher: Client, numbers: std::ops::Range<u16>, qos: QoS) {
    for number in numbers {
        let message = Message::new(&format!("t/{number}"), &number.to_string());
        match qos {
            QoS::AtMostOnce => message.publish(net, publisher),
            QoS::AtLeastOnce => message.at_least_once(1).publish(net, publisher),
            QoS::ExactlyOnce => message.exactly_once(1).publish(net, publisher),
        };
    }
}

fn on_all(test: impl Fn(Net)) {
    for share_choice in CHOICES {
        for durable in [false, true] {
            on_1_2_4(&Options { share_choice, durable, ..Options::default() }, &test);
        }
    }
}

#[test]
fn each_message_comes_to_one_member_and_all_members_get_some() {
    on_all(|mut net| {
        let members: Vec<_> = (0..5).map(|number| member(&mut net, &format!("m{number}"), QoS::ExactlyOnce)).collect();
        let publisher = Login::v5("p").connect(&mut net);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            publish(&mut net, publisher, 0..100, qos);
            let got = split(&mut net, &members);
            assert_eq!(got.len(), 100);
            let shares = got.values().fold([0; 5], |mut shares, &member| {
                shares[member] += 1;
                shares
            });
            assert!(shares.iter().all(|&share| share >= 5), "{shares:?}");
        }
        assert_at_rest(&net);
    });
}

#[test]
fn groups_share_apart_from_each_other_and_from_plain_subscriptions() {
    on_all(|mut net| {
        let client = Login::v5("c").connect(&mut net);
        for filter in ["t/#", "$share/g/t/#", "$share/h/t/#", "$share/g/t/+"] {
            subscribe(&mut net, client, filter, QoS::AtMostOnce);
        }
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("t/1", "x").publish(&mut net, publisher);
        assert_eq!(take_payloads(&mut net, client).len(), 4);
    });
}

// [MQTT-4.8.2-3]
#[test]
fn a_member_gets_the_qos_and_the_identifier_of_its_own_subscription() {
    on_all(|mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        let members: Vec<_> = (0u32..3)
            .zip([QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
            .map(|(number, qos)| {
                let client = Login::v5(&format!("m{number}")).connect(&mut net);
                subscribe_to(&mut net, client, Some(number + 1), &[Ask::new("$share/g/t/#", qos)]);
                (client, qos, number + 1)
            })
            .collect();
        publish(&mut net, publisher, 0..60, QoS::ExactlyOnce);
        for (client, granted, id) in members {
            for message in take_messages(&mut net, client) {
                assert_eq!((message.qos, message.properties.subscription_ids()), (granted, vec![id]));
            }
        }
        assert_at_rest(&net);
    });
}

#[test]
fn nothing_goes_to_an_offline_member_while_one_is_online() {
    on_all(|mut net| {
        let members: Vec<_> = (0..4).map(|number| member(&mut net, &format!("m{number}"), QoS::AtLeastOnce)).collect();
        let publisher = Login::v5("p").connect(&mut net);
        members[1..].iter().for_each(|&member| net.cut(member));
        publish(&mut net, publisher, 0..50, QoS::AtLeastOnce);
        assert_eq!(take_payloads(&mut net, members[0]).len(), 50);
        let m1 = back(&mut net, "m1");
        expect_nothing(&mut net, m1);
        publish(&mut net, publisher, 0..50, QoS::AtLeastOnce);
        let got = split(&mut net, &[members[0], m1]);
        assert_eq!(got.len(), 50);
        assert!((0..2).all(|member| got.values().any(|&found| found == member)));
    });
}

#[test]
fn while_all_are_offline_the_group_keeps_what_comes() {
    on_all(|mut net| {
        let members: Vec<_> = (0..2).map(|number| member(&mut net, &format!("m{number}"), QoS::AtLeastOnce)).collect();
        let publisher = Login::v5("p").connect(&mut net);
        members.iter().for_each(|&member| net.cut(member));
        publish(&mut net, publisher, 0..40, QoS::AtLeastOnce);
        let members = [back(&mut net, "m0"), back(&mut net, "m1")];
        assert_eq!(split(&mut net, &members).len(), 40);
        assert_at_rest(&net);
    });
}

// [MQTT-4.8.2-4]
#[test]
fn a_qos_2_message_that_was_begun_waits_for_its_member_while_another_is_online() {
    on_all(|mut net| {
        let first = member(&mut net, "m0", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        publish(&mut net, publisher, 0..3, QoS::ExactlyOnce);
        let sent: Vec<_> = (0..3).map(|_| next(&mut net, first).message()).collect();
        // Of three, one got no answer, one its PUBREC, one its PUBREC and PUBREL.
        send_ack(&mut net, first, AckType::PubRec, sent[1].id);
        net.cut(first);
        let second = member(&mut net, "m1", QoS::ExactlyOnce);
        expect_nothing(&mut net, second);
        let first = back(&mut net, "m0");
        let again = crate::client::all(&mut net, first);
        assert!(matches!(again[0], Got::Ack { ack: AckType::PubRel, id, .. } if id == sent[1].id), "{again:?}");
        let payloads: Vec<_> = again[1..].iter().map(|got| got.clone().message().payload).collect();
        assert_eq!(payloads, [b"0", b"2"]);
        send_ack(&mut net, first, AckType::PubComp, sent[1].id);
        for got in &again[1..] {
            acknowledge(&mut net, first, &got.clone().message());
        }
        expect_nothing(&mut net, second);
        assert_at_rest(&net);
    });
}

// [MQTT-4.8.2-5]
#[test]
fn when_a_members_session_ends_the_others_get_its_backlog_but_no_qos_2_that_was_begun() {
    on_all(|mut net| {
        let login = Login::v5("m0").expiry(1_000).receive_max(4);
        let first = login.connect(&mut net);
        subscribe(&mut net, first, "$share/g/t/#", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        publish(&mut net, publisher, 0..2, QoS::AtLeastOnce);
        publish(&mut net, publisher, 2..4, QoS::ExactlyOnce);
        // The window is full: these wait.
        publish(&mut net, publisher, 4..10, QoS::AtLeastOnce);
        publish(&mut net, publisher, 10..14, QoS::ExactlyOnce);
        assert_eq!(crate::client::all(&mut net, first).len(), 4);
        let others = [member(&mut net, "m1", QoS::ExactlyOnce), member(&mut net, "m2", QoS::AtLeastOnce)];
        net.cut(first);
        others.iter().for_each(|&other| expect_nothing(&mut net, other));
        disconnect_for_good(&mut net, "m0");
        let got = split(&mut net, &others);
        let mut numbers: Vec<u16> = got.keys().map(|payload| payload.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], "2 and 3 were begun with QoS 2");
        assert_eq!(sum(&net, |core| core.counters().dropped(DropReason::SessionEnded)), 2);
        assert_at_rest(&net);
    });
}

/// Takes the session over with a Clean Start, and leaves.
fn disconnect_for_good(net: &mut Net, id: &str) {
    let client = Login::v5(id).connect(net);
    disconnect(net, client);
}

// [MQTT-4.8.2-6]
#[test]
fn a_message_that_its_member_refuses_goes_to_nobody_else() {
    on_all(|mut net| {
        let first = member(&mut net, "m0", QoS::ExactlyOnce);
        let publisher = Login::v5("p").connect(&mut net);
        publish(&mut net, publisher, 0..1, QoS::AtLeastOnce);
        publish(&mut net, publisher, 1..2, QoS::ExactlyOnce);
        let second = member(&mut net, "m1", QoS::ExactlyOnce);
        for ack in [AckType::PubAck, AckType::PubRec] {
            let message = next(&mut net, first).message();
            send_ack_with(&mut net, first, ack, message.id, ReasonCode::QuotaExceeded);
        }
        expect_nothing(&mut net, first);
        expect_nothing(&mut net, second);
        assert_eq!(sum(&net, |core| core.counters().dropped(DropReason::RefusedByClient)), 2);
        assert_at_rest(&net);
    });
}

// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn a_malformed_shared_filter_ends_the_connection() {
    for filter in ["$share", "$share/", "$share/g", "$share/g/", "$share//t", "$share/g+/t", "$share/#/t"] {
        let mut net = Net::new(Options::default());
        let client = Login::v5("c").connect(&mut net);
        net.send_bytes(client, &subscribe_bytes(1, None, &[Ask::new(filter, QoS::AtMostOnce)]));
        expect_cut(&mut net, client, ReasonCode::MalformedPacket);
    }
}

#[test]
fn a_shared_subscription_gets_no_retained_messages_when_it_is_made() {
    on_all(|mut net| {
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("t/1", "x").retained().publish(&mut net, publisher);
        let client = member(&mut net, "m", QoS::AtLeastOnce);
        expect_nothing(&mut net, client);
        subscribe_to(&mut net, client, None, &[Ask::new("$share/h/t/#", QoS::AtMostOnce).retain_as_published()]);
        Message::new("t/1", "y").retained().publish(&mut net, publisher);
        let mut retain: Vec<_> = (0..2).map(|_| take_message(&mut net, client).retain).collect();
        retain.sort_unstable();
        assert_eq!(retain, [false, true], "RETAIN as each group's member asked");
    });
}

// Groups are known by the index of their place, which the next group takes: what a member of the old group still held
// went to the members of the new one, whatever they had subscribed to.
#[test]
fn the_backlog_of_a_group_that_is_gone_goes_to_no_other_group() {
    on_all(|mut net| {
        let first = member(&mut net, "m0", QoS::AtLeastOnce);
        let publisher = Login::v5("p").connect(&mut net);
        net.cut(first);
        publish(&mut net, publisher, 0..5, QoS::AtLeastOnce);
        let first = Login::v5("m0").expiry(1_000).resuming().receive_max(1).connect(&mut net);
        assert_eq!(next(&mut net, first).message().payload_text(), "0");
        assert_eq!(unsubscribe(&mut net, first, "$share/g/t/#"), [0]);
        let others: Vec<_> = (0..8)
            .map(|number| {
                let other = Login::v5(&format!("o{number}")).connect(&mut net);
                subscribe(&mut net, other, &format!("$share/g{number}/other/{number}"), QoS::AtLeastOnce);
                other
            })
            .collect();
        disconnect_for_good(&mut net, "m0");
        others.iter().for_each(|&other| expect_nothing(&mut net, other));
        assert_eq!(sum(&net, |core| core.counters().dropped_in_all()), 5);
    });
}

#[test]
fn joining_leaving_and_joining_again_in_one_breath_ends_joined_once() {
    on_all(|mut net| {
        let client = Login::v5("c").connect(&mut net);
        let ask = [Ask::new("$share/g/t/#", QoS::AtLeastOnce)];
        let mut bytes = subscribe_bytes(1, None, &ask);
        bytes.extend(crate::client::unsubscribe_bytes(2, &["$share/g/t/#"]));
        bytes.extend(subscribe_bytes(3, None, &ask));
        bytes.extend(subscribe_bytes(4, None, &ask));
        net.send_bytes(client, &bytes);
        assert_eq!(crate::client::all(&mut net, client).len(), 4);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("t/1", "x").at_least_once(1).publish(&mut net, publisher);
        assert_eq!(take_payloads(&mut net, client), ["x"]);
        assert_at_rest(&net);
    });
}

#[test]
fn when_the_last_member_leaves_every_shard_forgets_the_group() {
    on_all(|mut net| {
        let members = [member(&mut net, "m0", QoS::AtLeastOnce), member(&mut net, "m1", QoS::AtLeastOnce)];
        assert_eq!(unsubscribe(&mut net, members[0], "$share/g/t/#"), [0]);
        disconnect_for_good(&mut net, "m1");
        let publisher = Login::v5("p").connect(&mut net);
        let before = net.mesh_messages;
        Message::new("t/1", "x").publish(&mut net, publisher);
        assert_eq!(net.mesh_messages, before);
        assert_eq!(sum(&net, ShardCore::subscriptions_len), 0);
        send_v5(&mut net, members[0], &subscribe_bytes(1, None, &[Ask::new("t/#", QoS::AtMostOnce)]));
    });
}
