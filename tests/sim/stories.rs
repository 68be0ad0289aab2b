//! Bugs that the simulation found, each told again in a few packets.

use thrum::broker::Options;
use thrum::mqtt::Version;
use thrum::session::{FullPolicy, QueueBounds};

use crate::net::{Client, Net};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn connect(net: &mut Net, id: &str, clean: bool) -> Client {
    let client = net.open(Version::V3_1_1);
    let flags = if clean { 2 } else { 0 };
    let mut bytes = vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60, 0, id.len() as u8];
    bytes.extend_from_slice(id.as_bytes());
    net.send_bytes(client, &bytes);
    assert_eq!(net.take_bytes(client), CONNACK);
    client
}

fn subscribe(net: &mut Net, client: Client, filters: &[(&str, u8)]) {
    let mut body = vec![0, 1];
    for (filter, qos) in filters {
        body.extend_from_slice(&[0, filter.len() as u8]);
        body.extend_from_slice(filter.as_bytes());
        body.push(*qos);
    }
    let mut bytes = vec![0x82, body.len() as u8];
    bytes.append(&mut body);
    net.send_bytes(client, &bytes);
}

/// With QoS 1 and RETAIN where `first` says so.
fn publish(net: &mut Net, client: Client, first: u8, topic: &str, payload: &[u8]) {
    let mut bytes = vec![first, (4 + topic.len() + payload.len()) as u8, 0, topic.len() as u8];
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&[0, 7]);
    bytes.extend_from_slice(payload);
    net.send_bytes(client, &bytes);
}

/// Nothing was retained, so there is nothing to record, and no commit to come.
#[test]
fn clearing_what_was_never_retained_is_acknowledged_without_a_commit() {
    let mut net = Net::new(Options { durable: true, ..Options::default() });
    net.commits = false;
    let client = connect(&mut net, "c", true);
    publish(&mut net, client, 0x33, "a", b"");
    assert_eq!(net.take_bytes(client), [0x40, 2, 0, 7]);
}

/// Its own publish filled the queue of a session that ends with its connection: the shard acknowledged into the void.
#[test]
fn a_client_whose_own_publish_fills_its_queue_is_cut_off() {
    let queue = QueueBounds { messages_max: 1, bytes_max: 1 << 20, policy: FullPolicy::Disconnect };
    let mut net = Net::new(Options { queue, inflight_max: 1, ..Options::default() });
    let client = connect(&mut net, "c", true);
    subscribe(&mut net, client, &[("a", 1)]);
    for _ in 0..3 {
        publish(&mut net, client, 0x32, "a", b"x");
    }
    assert!(net.is_closed(client));
    assert_eq!(net.cores[0].sessions_len(), 0);
}

/// A message under way to a member that had left came back to a group that was dissolved, and whose place in the table
/// had gone to another one.
#[test]
fn a_message_of_a_dissolved_group_does_not_go_to_a_later_group() {
    let mut net = Net::new(Options::default());
    let (member, other, publisher) =
        (connect(&mut net, "member", true), connect(&mut net, "other", true), connect(&mut net, "publisher", true));
    subscribe(&mut net, member, &[("$share/g/a", 1)]);
    publish(&mut net, publisher, 0x32, "a", b"x");
    let unsubscribe = [&[0xa2, 14, 0, 2, 0, 10], &b"$share/g/a"[..]].concat();
    net.send_bytes(member, &unsubscribe);
    subscribe(&mut net, other, &[("$share/h/b", 1)]);
    net.take_bytes(other);
    net.send_bytes(member, &[0xe0, 0]);
    assert!(net.take_bytes(other).is_empty());
}

/// The first filter's retained messages wait for the window; when it is unsubscribed, the second one's come.
#[test]
fn an_unsubscribe_does_not_hold_up_the_retained_messages_of_other_filters() {
    let mut net = Net::new(Options { inflight_max: 1, ..Options::default() });
    let (subscriber, publisher) = (connect(&mut net, "subscriber", true), connect(&mut net, "publisher", true));
    for topic in ["x/1", "x/2", "y"] {
        publish(&mut net, publisher, 0x33, topic, b"r");
    }
    subscribe(&mut net, subscriber, &[("x/#", 1), ("y", 0)]);
    net.take_bytes(subscriber);
    net.send_bytes(subscriber, &[0xa2, 7, 0, 2, 0, 3, b'x', b'/', b'#']);
    assert_eq!(net.take_bytes(subscriber), [0xb0, 2, 0, 2, 0x31, 4, 0, 1, b'y', b'r']);
}
