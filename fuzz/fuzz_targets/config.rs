//! Any options: refused by name, or good enough for a client's short life.

#![no_main]

#[path = "../../tests/common/net.rs"]
mod net;
#[path = "session/peer.rs"]
mod peer;
#[path = "session/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;
use thrum::base::{Millis, ShardId, Timestamp};
use thrum::broker::{Options, RefusedPublish, ShardCore};
use thrum::mqtt::{
    Ack, AckType, Connect, Delivery, Disconnect, FilterRequest, Packet, PacketId, PropertyBuffer, PropertyId, Publish,
    QoS, ReasonCode, RetainHandling, SharedFilter, Subscribe, TopicName, Version, encode,
};
use thrum::routing::Choice;
use thrum::session::{FullPolicy, QueueBounds};

use net::Net;
use peer::Peer;
use script::Script;

const FILTERS: [&str; 4] = ["a/#", "a/b", "+/+", "$share/g/a/b"];

/// Extremes, or anything.
fn number(script: &mut Script<'_>, ordinary: u64) -> u64 {
    match script.byte() % 12 {
        0..4 => ordinary,
        4 => 0,
        5 => 1,
        6 => u64::MAX,
        7 => u32::MAX.into(),
        8 => 1 << 31,
        9 => u64::from(script.byte()),
        _ => script.u64(),
    }
}

fn options(script: &mut Script<'_>) -> Options {
    let flags = script.byte();
    Options {
        // Rarely many: each costs a ring to every other.
        shards: script.pick(&[2, 1, 3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 0, 64, 65, usize::MAX]),
        seed: number(script, 0),
        secret: [script.byte(); 32],
        durable: flags & 1 != 0,
        next_record: 1,
        packet_bytes_max: number(script, 1 << 20) as u32,
        connect_timeout: Millis(number(script, 10_000)),
        keep_alive_secs_max: number(script, 0) as u16,
        session_expiry_secs_max: number(script, u32::MAX.into()) as u32,
        receive_max: number(script, 1_024) as u16,
        inflight_max: number(script, 20) as u16,
        queue: QueueBounds {
            messages_max: number(script, 1_000) as u32,
            bytes_max: number(script, 1 << 26),
            policy: script.pick(&[
                FullPolicy::DropNewest,
                FullPolicy::DropOldest,
                FullPolicy::LastValue,
                FullPolicy::Disconnect,
            ]),
        },
        queue_qos_zero: flags & 2 != 0,
        output_bytes_max: number(script, 1 << 20) as u32,
        topic_alias_max: number(script, 10) as u16,
        outbound_topic_alias_max: number(script, 10) as u16,
        subscriptions_max: number(script, 10_000) as u32,
        topic_levels_max: number(script, 64) as usize,
        connections_max: number(script, 2_000_000) as usize,
        sessions_max: number(script, 4_000_000) as usize,
        retained_messages_max: number(script, 10_000_000) as usize,
        retained_bytes_max: number(script, 4 << 30) as usize,
        share_choice: script.pick(&[Choice::RoundRobin, Choice::LeastInFlight, Choice::StickyTopic]),
        response_information: None,
        validate_payload_format: flags & 4 != 0,
        refused_publish: if flags & 8 != 0 { RefusedPublish::Disconnect } else { RefusedPublish::Drop },
        slow_reader: Millis(number(script, 60_000)),
        failure_delay: Millis(number(script, 0)),
    }
}

fn say(net: &mut Net, peer: &mut Peer, packet: &Packet<'_>) {
    let mut bytes = Vec::new();
    encode(packet, Version::V5, &mut bytes);
    peer.send(net, &bytes, 0);
    peer.check(net);
}

/// A client that may keep its session for a second.
fn connect(net: &mut Net, options: &Options, client_id: &str) -> Peer {
    let mut properties = PropertyBuffer::new();
    properties.push_four_byte(PropertyId::SessionExpiryInterval, 1);
    properties.push_two_byte(PropertyId::TopicAliasMaximum, u16::MAX);
    let connect = Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_secs: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: properties.properties(),
    };
    let mut peer = Peer::open(net, options);
    say(net, &mut peer, &Packet::Connect(connect));
    peer
}

fn subscribe(net: &mut Net, peer: &mut Peer) {
    let request = |filter: &&'static str| FilterRequest {
        filter: SharedFilter::new(filter).expect("a filter of ours"),
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let requests: Vec<_> = FILTERS.iter().map(request).collect();
    let (mut buffer, properties) = (Vec::new(), PropertyBuffer::new());
    let subscribe = Subscribe::new(PacketId::MIN, properties.properties(), &requests, &mut buffer);
    say(net, peer, &Packet::Subscribe(subscribe));
}

/// At every QoS, with an alias and without, retained and not.
fn publish(net: &mut Net, peer: &mut Peer) {
    for step in 0..12u16 {
        let id = PacketId::new(step + 1).expect("from 1");
        let mut properties = PropertyBuffer::new();
        if step >= 6 {
            properties.push_two_byte(PropertyId::TopicAlias, 1);
            properties.push_four_byte(PropertyId::MessageExpiryInterval, u32::from(step));
        }
        let delivery = [Delivery::AtMostOnce, Delivery::AtLeastOnce(id), Delivery::ExactlyOnce(id)];
        let publish = Publish {
            dup: false,
            delivery: delivery[usize::from(step % 3)],
            retain: step % 2 == 0,
            topic: Some(TopicName::trusted(if step % 4 == 0 { "a/b" } else { "a" })),
            properties: properties.properties(),
            payload: &[b'p'; 3_000][..usize::from(step) * 250],
        };
        say(net, peer, &Packet::Publish(publish));
        if step % 3 == 2 {
            acknowledge(net, peer, AckType::PubRel, id.get());
        }
    }
}

fn acknowledge(net: &mut Net, peer: &mut Peer, kind: AckType, id: u16) {
    let Some(packet_id) = PacketId::new(id) else { return };
    let properties = PropertyBuffer::new();
    let ack = Ack { packet_id, reason: ReasonCode::Success, properties: properties.properties() };
    say(net, peer, &Packet::Ack(kind, ack));
}

fn acknowledge_all(net: &mut Net, peer: &mut Peer) {
    for (id, qos) in peer.unacknowledged() {
        if qos == QoS::AtLeastOnce {
            acknowledge(net, peer, AckType::PubAck, id);
        } else {
            acknowledge(net, peer, AckType::PubRec, id);
            acknowledge(net, peer, AckType::PubComp, id);
        }
    }
}

fn live(options: &Options) {
    let mut net = Net::new(options.clone());
    let mut subscriber = connect(&mut net, options, "subscriber");
    subscribe(&mut net, &mut subscriber);
    let mut publisher = connect(&mut net, options, "publisher");
    publish(&mut net, &mut publisher);
    subscriber.check(&mut net);
    acknowledge_all(&mut net, &mut subscriber);
    net.cut(subscriber.client);
    publish(&mut net, &mut publisher);
    let mut subscriber = connect(&mut net, options, "subscriber");
    subscribe(&mut net, &mut subscriber);
    acknowledge_all(&mut net, &mut subscriber);
    let properties = PropertyBuffer::new();
    let goodbye = Disconnect { reason: ReasonCode::Success, properties: properties.properties() };
    say(&mut net, &mut publisher, &Packet::Disconnect(goodbye));
    net.cut(subscriber.client);
    net.advance(Millis::from_secs(3));
    for core in &net.cores {
        assert_eq!(core.connections_len(), 0, "connections");
        assert_eq!(core.sessions_len(), 0, "sessions");
        assert_eq!(core.timers_len(), 0, "timers");
        assert_eq!(core.subscriptions_len(), 0, "subscriptions");
        assert_eq!(core.unfinished_len(), 0, "unfinished");
    }
}

fuzz_target!(|input: &[u8]| {
    let options = options(&mut Script::new(input));
    match options.validate() {
        Ok(()) => live(&options),
        Err(error) => {
            assert!(format!("{options:?}").contains(error.option.rsplit('.').next().unwrap_or_default()), "{error}");
            assert!(error.value < error.min || error.value > error.max, "{error}");
            let core = ShardCore::new(ShardId::new(0), options, Box::new(thrum::access::Open), Timestamp(0));
            assert_eq!(core.err(), Some(error));
        }
    }
});
