//! Flow control (4.9): how many QoS 1 and 2 messages may be on their way, in each direction.

use thrum::base::Refusal;
use thrum::broker::{Options, ShardCore};
use thrum::mqtt::{AckType, Packet, QoS, ReasonCode};

use crate::client::{
    Got, Login, Message, all, ask_for, assert_at_rest, expect_ack, expect_cut, next, on_1_2_4, send_ack, send_ack_with,
    subscribe, sum, take_payloads, unsubscribe,
};
use crate::net::{Client, Net};

/// A client with a window of `max`, and `waiting` messages more than it takes.
fn filled(net: &mut Net, max: u16, waiting: u16, qos: QoS) -> (Client, Vec<Message>) {
    let subscriber = Login::v5("s").receive_max(max).expiry(1_000).connect(net);
    subscribe(net, subscriber, "t", qos);
    let publisher = Login::v5("p").connect(net);
    for number in 0..max + waiting {
        Message::new("t", &number.to_string()).exactly_once(1).publish(net, publisher);
    }
    let sent: Vec<Message> = all(net, subscriber).into_iter().map(Got::message).collect();
    assert_eq!(sent.len(), usize::from(max));
    (subscriber, sent)
}

// [MQTT-4.9.0-1] [MQTT-4.9.0-2]
#[test]
fn a_message_more_goes_out_for_each_exchange_that_is_over() {
    on_1_2_4(&Options::default(), |mut net| {
        for refuse in [false, true] {
            let (subscriber, sent) = filled(&mut net, 3, 10, QoS::ExactlyOnce);
            if refuse {
                send_ack_with(&mut net, subscriber, AckType::PubRec, sent[1].id, ReasonCode::Unspecified);
            } else {
                send_ack(&mut net, subscriber, AckType::PubRec, sent[1].id);
                expect_ack(&mut net, subscriber, AckType::PubRel, sent[1].id);
                assert_eq!(all(&mut net, subscriber), [], "PUBREC alone makes no room");
                send_ack(&mut net, subscriber, AckType::PubComp, sent[1].id);
            }
            assert_eq!(next(&mut net, subscriber).message().payload_text(), "3");
            assert_eq!(all(&mut net, subscriber), []);
            crate::client::disconnect(&mut net, subscriber);
            crate::client::disconnect(&mut net, Client(subscriber.0 + 1));
            let subscriber = Login::v5("s").connect(&mut net);
            crate::client::disconnect(&mut net, subscriber);
        }
    });
}

// [MQTT-4.9.0-1]
#[test]
fn a_new_connection_starts_with_its_own_quota() {
    on_1_2_4(&Options::default(), |mut net| {
        let (subscriber, sent) = filled(&mut net, 3, 10, QoS::AtLeastOnce);
        net.cut(subscriber);
        let subscriber = Login::v5("s").receive_max(2).expiry(1_000).resuming().connect(&mut net);
        let again: Vec<Message> = all(&mut net, subscriber).into_iter().map(Got::message).collect();
        assert_eq!(again, sent[..2].iter().map(|message| message.clone().dup()).collect::<Vec<_>>());
        net.cut(subscriber);
        let subscriber = Login::v5("s").receive_max(5).expiry(1_000).resuming().connect(&mut net);
        let again: Vec<Message> = all(&mut net, subscriber).into_iter().map(Got::message).collect();
        assert_eq!(again.iter().map(|message| message.dup).collect::<Vec<_>>(), [true, true, true, false, false]);
    });
}

// [MQTT-4.9.0-3]
#[test]
fn with_no_quota_left_every_other_packet_goes_on() {
    on_1_2_4(&Options::default(), |mut net| {
        let (client, sent) = filled(&mut net, 2, 5, QoS::ExactlyOnce);
        net.send(client, &Packet::PingReq);
        assert_eq!(next(&mut net, client), Got::PingResp);
        subscribe(&mut net, client, "x", QoS::AtMostOnce);
        Message::new("x", "own").exactly_once(1).send(&mut net, client);
        assert_eq!(next(&mut net, client).message().payload_text(), "own", "QoS 0 needs no quota");
        expect_ack(&mut net, client, AckType::PubRec, 1);
        send_ack(&mut net, client, AckType::PubRel, 1);
        expect_ack(&mut net, client, AckType::PubComp, 1);
        Message::new("nobody", "own").at_least_once(2).publish(&mut net, client);
        assert_eq!(unsubscribe(&mut net, client, "x"), [0]);
        send_ack(&mut net, client, AckType::PubRec, sent[0].id);
        expect_ack(&mut net, client, AckType::PubRel, sent[0].id);
        send_ack(&mut net, client, AckType::PubComp, sent[0].id);
        assert_eq!(next(&mut net, client).message().payload_text(), "2");
    });
}

// The last of the publishes that were allowed was one too many, if it was of QoS 2; and it was remembered all the same,
// so that its repetition was a duplicate, and the message lost.
// [MQTT-3.3.4-7] [MQTT-3.3.4-8]
#[test]
fn a_client_may_have_as_many_publishes_open_as_its_quota_says_and_not_one_more() {
    for qos_two_of in [1, 3] {
        let options = Options { receive_max: 3, ..Options::default() };
        on_1_2_4(&options, |mut net| {
            let subscriber = Login::v5("s").connect(&mut net);
            subscribe(&mut net, subscriber, "t", QoS::AtMostOnce);
            let login = Login::v5("p").expiry(1_000);
            let publisher = login.connect(&mut net);
            for id in 1..=3 {
                Message::new("t", &id.to_string()).exactly_once(id).send(&mut net, publisher);
                expect_ack(&mut net, publisher, AckType::PubRec, id);
            }
            // The same again is no other one.
            Message::new("t", "1").exactly_once(1).dup().send(&mut net, publisher);
            expect_ack(&mut net, publisher, AckType::PubRec, 1);
            let last = Message::new("t", "4");
            let last = if qos_two_of == 1 { last.at_least_once(4) } else { last.exactly_once(4) };
            last.send(&mut net, publisher);
            expect_cut(&mut net, publisher, ReasonCode::ReceiveMaximumExceeded);
            assert_eq!(sum(&net, |core| core.counters().refused(Refusal::ReceiveMaximumExceeded)), 1);
            let publisher = login.clone().resuming().connect(&mut net);
            last.dup().publish(&mut net, publisher);
            assert_eq!(take_payloads(&mut net, subscriber), ["1", "2", "3", "4"]);
        });
    }
}

#[test]
fn before_5_a_client_has_no_quota() {
    let mut net = Net::new(Options { receive_max: 1, ..Options::default() });
    let publisher = Login::v3("p").connect(&mut net);
    for id in 1..=100 {
        Message::new("t", "x").exactly_once(id).send(&mut net, publisher);
        expect_ack(&mut net, publisher, AckType::PubRec, id);
    }
}

#[test]
fn the_brokers_own_window_holds_where_the_client_allows_more() {
    on_1_2_4(&Options { inflight_max: 4, ..Options::default() }, |mut net| {
        let subscriber = Login::v3("s").connect(&mut net);
        assert_eq!(ask_for(&mut net, subscriber, None, &[crate::client::Ask::new("t", QoS::AtLeastOnce)]), [1]);
        let publisher = Login::v5("p").connect(&mut net);
        for _ in 0..10 {
            Message::new("t", "x").at_least_once(1).publish(&mut net, publisher);
        }
        assert_eq!(sum(&net, ShardCore::messages_held), 10);
        let sent = all(&mut net, subscriber);
        assert_eq!(sent.len(), 4);
        for got in sent {
            crate::client::acknowledge(&mut net, subscriber, &got.message());
        }
        assert_eq!(take_payloads(&mut net, subscriber).len(), 6);
        assert_at_rest(&net);
    });
}
