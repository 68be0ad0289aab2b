//! The way of a message at each QoS, over one shard and over several.

use crate::net::{Client, Net};
use thrum::broker::Options;
use thrum::mqtt::Version;

fn connect(net: &mut Net, id: &str) -> Client {
    let client = net.open(Version::V3_1_1);
    let mut bytes = vec![0x10, 12 + id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, id.len() as u8];
    bytes.extend_from_slice(id.as_bytes());
    net.send_bytes(client, &bytes);
    assert_eq!(net.take_bytes(client), [0x20, 2, 0, 0]);
    client
}

#[test]
fn a_message_arrives_at_each_qos_on_one_shard_and_on_four() {
    for shards in [1, 2, 4] {
        for durable in [false, true] {
            let mut net = Net::new(Options { shards, durable, ..Options::default() });
            let subscriber = connect(&mut net, "sub");
            net.send_bytes(subscriber, &[0x82, 8, 0, 1, 0, 3, b'a', b'/', b'+', 2]);
            assert_eq!(net.take_bytes(subscriber), [0x90, 3, 0, 1, 2]);
            for id in ["p1", "p2", "p3"] {
                let publisher = connect(&mut net, id);
                net.send_bytes(publisher, &[0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i']);
                assert_eq!(net.take_bytes(subscriber), [0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i']);
                net.send_bytes(publisher, &[0x32, 9, 0, 3, b'a', b'/', b'b', 0, 9, b'h', b'i']);
                assert_eq!(net.take_bytes(publisher), [0x40, 2, 0, 9]);
                let got = net.take_bytes(subscriber);
                assert_eq!(got[..7], [0x32, 9, 0, 3, b'a', b'/', b'b']);
                net.send_bytes(subscriber, &[0x40, 2, got[7], got[8]]);
                net.send_bytes(publisher, &[0x34, 9, 0, 3, b'a', b'/', b'b', 0, 9, b'h', b'i']);
                assert_eq!(net.take_bytes(publisher), [0x50, 2, 0, 9]);
                net.send_bytes(publisher, &[0x62, 2, 0, 9]);
                assert_eq!(net.take_bytes(publisher), [0x70, 2, 0, 9]);
                let got = net.take_bytes(subscriber);
                assert_eq!(got[..7], [0x34, 9, 0, 3, b'a', b'/', b'b']);
                net.send_bytes(subscriber, &[0x50, 2, got[7], got[8]]);
                assert_eq!(net.take_bytes(subscriber), [0x62, 2, got[7], got[8]]);
                net.send_bytes(subscriber, &[0x70, 2, got[7], got[8]]);
                assert!(net.take_bytes(subscriber).is_empty());
            }
            assert_eq!(net.cores.iter().map(|core| core.messages_held() + core.unfinished_len()).sum::<usize>(), 0);
        }
    }
}
