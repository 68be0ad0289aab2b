//! UNSUBSCRIBE and UNSUBACK (3.10, 3.11).

use thrum::broker::{Options, ShardCore};
use thrum::mqtt::{AckType, QoS, Version};

use crate::client::{
    Ask, Got, Login, Message, acknowledge, assert_at_rest, expect_nothing, next, on_1_2_4, send_ack, send_v5,
    subscribe, subscribe_bytes, subscribe_to, sum, take_message, take_payloads, unsubscribe, unsubscribe_bytes,
};
use crate::net::Net;

const EXISTED: u8 = 0;
const DID_NOT: u8 = 0x11;

// [MQTT-3.10.4-1] [MQTT-3.10.4-2]
#[test]
fn only_the_filter_of_the_very_same_characters_goes() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").connect(&mut net);
        let publisher = Login::v5("p").connect(&mut net);
        for filter in ["a/+", "a/b", "$share/g/a/b"] {
            subscribe_to(&mut net, client, None, &[Ask::new(filter, QoS::AtMostOnce)]);
        }
        for other in ["a/#", "A/b", "a/b/", "/a/b", "$share/h/a/b", "$share/g/a/+"] {
            assert_eq!(unsubscribe(&mut net, client, other), [DID_NOT], "{other}");
        }
        Message::new("a/b", "1").publish(&mut net, publisher);
        assert_eq!(take_payloads(&mut net, client).len(), 2, "one for the plain filters, one for the group");
        for (filter, left) in [("a/+", 2), ("a/b", 1), ("$share/g/a/b", 0)] {
            assert_eq!(unsubscribe(&mut net, client, filter), [EXISTED]);
            Message::new("a/b", "2").publish(&mut net, publisher);
            assert_eq!(take_payloads(&mut net, client).len(), left, "after {filter}");
            assert_eq!(unsubscribe(&mut net, client, filter), [DID_NOT]);
        }
        assert_eq!(sum(&net, ShardCore::subscriptions_len), 0);
        let before = net.mesh_messages;
        Message::new("a/b", "3").publish(&mut net, publisher);
        assert_eq!(net.mesh_messages, before, "every shard forgot the interest");
    });
}

// [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6]
#[test]
fn one_unsuback_with_the_identifier_answers_all_filters_in_their_order() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").connect(&mut net);
        for filter in ["a", "b"] {
            subscribe(&mut net, client, filter, QoS::AtMostOnce);
        }
        send_v5(&mut net, client, &unsubscribe_bytes(0x1234, &["b", "x", "a", "b"]));
        let Got::UnsubAck { id, reasons, .. } = next(&mut net, client) else { panic!("no UNSUBACK") };
        assert_eq!((id, reasons), (0x1234, vec![EXISTED, DID_NOT, EXISTED, DID_NOT]));
        expect_nothing(&mut net, client);
    });
}

// [MQTT-3.10.4-4] [MQTT3-3.10.4-4] [MQTT-3.10.4-5]
#[test]
fn before_5_unsuback_has_an_identifier_and_nothing_else() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut net = Net::new(Options::default());
        let client = Login::new(version, "c").connect(&mut net);
        net.send_bytes(client, &[0xa2, 5, 0x12, 0x34, 0, 1, b'a']);
        assert_eq!(net.take_bytes(client), [0xb0, 2, 0x12, 0x34]);
    }
}

// [MQTT-3.10.4-3]
#[test]
fn what_was_begun_to_send_is_completed() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").receive_max(2).expiry(60).connect(&mut net);
        let publisher = Login::v5("p").connect(&mut net);
        subscribe(&mut net, client, "a", QoS::ExactlyOnce);
        Message::new("a", "1").at_least_once(1).publish(&mut net, publisher);
        Message::new("a", "2").exactly_once(2).publish(&mut net, publisher);
        assert_eq!(unsubscribe_in_between(&mut net, client), ["1", "2"]);
        net.cut(client);
        let client = Login::v5("c").resuming().expiry(60).connect(&mut net);
        let (first, second) = (next(&mut net, client).message(), next(&mut net, client).message());
        assert_eq!((first.payload_text(), first.dup), ("1", true));
        assert_eq!((second.payload_text(), second.dup), ("2", true));
        acknowledge(&mut net, client, &first);
        send_ack(&mut net, client, AckType::PubRec, second.id);
        assert!(matches!(next(&mut net, client), Got::Ack { ack: AckType::PubRel, .. }));
        send_ack(&mut net, client, AckType::PubComp, second.id);
        expect_nothing(&mut net, client);
        assert_at_rest(&net);
    });
}

fn unsubscribe_in_between(net: &mut Net, client: crate::net::Client) -> Vec<String> {
    let got = [next(net, client).message(), next(net, client).message()];
    assert_eq!(unsubscribe(net, client, "a"), [EXISTED]);
    got.map(|message| message.payload_text().to_owned()).into()
}

#[test]
fn a_filter_that_comes_and_goes_in_one_breath_ends_as_the_last_word_says() {
    on_1_2_4(&Options::default(), |mut net| {
        let client = Login::v5("c").connect(&mut net);
        let publisher = Login::v5("p").connect(&mut net);
        let ask = [Ask::new("a/+", QoS::AtMostOnce)];
        let (there, gone) = (subscribe_bytes(1, None, &ask), unsubscribe_bytes(2, &["a/+"]));
        for (packets, is_there) in [
            ([&there, &gone, &there].map(Vec::as_slice).concat(), true),
            ([&gone, &there, &gone].map(Vec::as_slice).concat(), false),
        ] {
            net.send_bytes(client, &packets);
            assert_eq!(crate::client::all(&mut net, client).len(), 3);
            Message::new("a/b", "x").publish(&mut net, publisher);
            if is_there {
                take_message(&mut net, client);
            }
            expect_nothing(&mut net, client);
            assert_at_rest(&net);
        }
    });
}
