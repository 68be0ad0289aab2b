//! Sessions: kept, resumed, expired.

use crate::client::{
    Got, Login, Message, all, disconnect, expect_cut, expect_nothing, on_shards, subscribe, take_message,
};
use crate::net::{Client, Net};
use thrum::base::Millis;
use thrum::mqtt::{Disconnect, Packet, PropertyBuffer, PropertyId, QoS, ReasonCode};

fn present(net: &mut Net, id: &str) -> bool {
    let (client, present) = Login::v5(id).resuming().present(net);
    disconnect(net, client);
    present
}

fn disconnect_expiring(net: &mut Net, client: Client, secs: u32) {
    let mut properties = PropertyBuffer::new();
    properties.push_four_byte(PropertyId::SessionExpiryInterval, secs);
    let packet = Disconnect { reason: ReasonCode::Success, properties: properties.properties() };
    net.send(client, &Packet::Disconnect(packet));
}

// [MQTT-3.1.2-23]
#[test]
fn a_session_outlives_its_connection_by_its_expiry_interval() {
    on_shards(|mut net| {
        for cut in [false, true] {
            for (id, secs, after, is_there) in [
                ("zero", 0, 0, false),
                ("in time", 10, 9_500, true),
                ("too late", 10, 10_500, false),
                ("never", u32::MAX, 1_000_000, true),
            ] {
                let client = Login::v5(id).expiry(secs).connect(&mut net);
                if cut {
                    net.cut(client)
                } else {
                    disconnect(&mut net, client)
                }
                net.advance(Millis(after));
                assert_eq!(present(&mut net, id), is_there, "{id}");
            }
        }
    });
}

// [MQTT3-3.1.2-4]
#[test]
fn before_5_a_session_that_is_not_clean_is_kept_for_good() {
    on_shards(|mut net| {
        let client = Login::v3("c").resuming().connect(&mut net);
        net.cut(client);
        net.advance(Millis(10_000_000));
        assert!(Login::v3("c").resuming().present(&mut net).1);
    });
}

// [MQTT3-3.1.2-6]
#[test]
fn before_5_a_clean_session_ends_with_its_connection() {
    on_shards(|mut net| {
        let client = Login::v3("c").connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtLeastOnce);
        net.cut(client);
        assert_eq!(net.cores.iter().map(|core| core.sessions_len()).sum::<usize>(), 0);
        let client = Login::v3("c").connect(&mut net);
        // Nor does a takeover save it.
        let (_, present) = Login::v3("c").resuming().present(&mut net);
        assert!(!present && net.is_closed(client));
    });
}

// [MQTT3-3.1.2-5]
#[test]
fn messages_of_qos_1_and_2_wait_for_a_client_that_is_away() {
    on_shards(|mut net| {
        let client = Login::v3("c").resuming().connect(&mut net);
        subscribe(&mut net, client, "a/#", QoS::ExactlyOnce);
        net.cut(client);
        let publisher = Login::v5("p").connect(&mut net);
        Message::new("a/0", "0").publish(&mut net, publisher);
        Message::new("a/1", "1").at_least_once(1).publish(&mut net, publisher);
        Message::new("a/2", "2").exactly_once(2).publish(&mut net, publisher);
        let (client, present) = Login::v3("c").resuming().present(&mut net);
        assert!(present);
        let got: Vec<Message> = all(&mut net, client).into_iter().map(Got::message).collect();
        let mut topics: Vec<(&str, QoS)> = got.iter().map(|message| (&*message.topic, message.qos)).collect();
        topics.sort_by_key(|(topic, _)| topic.to_string());
        assert_eq!(topics, [("a/1", QoS::AtLeastOnce), ("a/2", QoS::ExactlyOnce)]);
    });
}

// [MQTT3-3.1.2-7]
#[test]
fn retained_messages_stay_when_the_session_of_their_publisher_ends() {
    on_shards(|mut net| {
        let publisher = Login::v3("p").connect(&mut net);
        Message::new("a", "kept").retained().publish(&mut net, publisher);
        disconnect(&mut net, publisher);
        let client = Login::v3("p").connect(&mut net);
        subscribe(&mut net, client, "a", QoS::AtMostOnce);
        assert_eq!(take_message(&mut net, client), Message::new("a", "kept").retained());
    });
}

#[test]
fn disconnect_changes_the_expiry_interval() {
    on_shards(|mut net| {
        for (before, new, after, is_there) in
            [(10, 100, 50_000, true), (10, 0, 0, false), (u32::MAX, 5, 6_000, false), (10, u32::MAX, 50_000, true)]
        {
            let client = Login::v5("c").expiry(before).connect(&mut net);
            disconnect_expiring(&mut net, client, new);
            net.advance(Millis(after));
            assert_eq!(present(&mut net, "c"), is_there, "{before} {new}");
            let clean = Login::v5("c").connect(&mut net);
            disconnect(&mut net, clean);
        }
    });
}

#[test]
fn disconnect_cannot_make_a_session_last_that_was_not_to() {
    let mut net = crate::client::net_of(1);
    let client = Login::v5("c").connect(&mut net);
    disconnect_expiring(&mut net, client, 10);
    expect_cut(&mut net, client, ReasonCode::ProtocolError);
    let client = Login::v5("c").connect(&mut net);
    disconnect_expiring(&mut net, client, 0);
    assert!(net.is_closed(client) && all(&mut net, client).is_empty());
    assert_eq!(net.cores[0].sessions_len(), 0);
}

#[test]
fn the_expiry_interval_is_that_of_the_last_connect() {
    on_shards(|mut net| {
        let client = Login::v5("c").expiry(1_000).connect(&mut net);
        disconnect(&mut net, client);
        let client = Login::v5("c").resuming().expiry(5).connect(&mut net);
        net.advance(Millis(8_000));
        expect_nothing(&mut net, client);
        disconnect(&mut net, client);
        net.advance(Millis(6_000));
        assert!(!present(&mut net, "c"));
    });
}
