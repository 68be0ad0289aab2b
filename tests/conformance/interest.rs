//! What shards tell each other of a subscription, step by step, without the net that brings everything to its end.

use thrum::access::Open;
use thrum::base::{ConnId, ShardId, Timestamp};
use thrum::broker::{Effects, Input, MeshMessage, Options, ShardCore};
use thrum::mqtt::QoS;

use crate::client::{Ask, Login, subscribe_bytes};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn take_output(fx: &mut Effects) -> Vec<u8> {
    let mut bytes = Vec::new();
    fx.output.drain(|_, buffer| buffer.chunks().for_each(|chunk| bytes.extend_from_slice(chunk)));
    bytes
}

/// Hands a message to a shard, and its answers out.
fn hand_over(core: &mut ShardCore, from: usize, message: MeshMessage) -> (Vec<MeshMessage>, Vec<u8>) {
    let mut fx = Effects::new();
    core.handle(NOW, Input::Mesh { from: ShardId::new(from), message }, &mut fx);
    let output = take_output(&mut fx);
    (fx.mesh.drain().map(|(_, message)| message).collect(), output)
}

// [MQTT-3.8.4-1]
#[test]
fn suback_comes_only_when_every_other_shard_has_the_interest_in_whatever_order_they_answer() {
    let options = Options { shards: 4, ..Options::default() };
    let mut cores: Vec<ShardCore> = (0..4)
        .map(|shard| ShardCore::new(ShardId::new(shard), options.clone(), Box::new(Open), NOW).unwrap())
        .collect();
    let conn = ConnId(0);
    // A client identifier that is at home on the first shard.
    let mut fx = Effects::new();
    for number in 0.. {
        cores[0].handle(NOW, Input::Opened { conn }, &mut fx);
        let bytes = Login::v5(&format!("c{number}")).bytes();
        cores[0].handle(NOW, Input::Bytes { conn, bytes: &bytes }, &mut fx);
        if fx.moves.is_empty() {
            break;
        }
        fx = Effects::new();
    }
    assert_eq!(take_output(&mut fx)[..1], [0x20]);
    let bytes = subscribe_bytes(7, None, &[Ask::new("a/+", QoS::AtMostOnce).retain_handling(2)]);
    cores[0].handle(NOW, Input::Bytes { conn, bytes: &bytes }, &mut fx);
    assert!(take_output(&mut fx).is_empty());
    let announcements: Vec<_> = fx.mesh.drain().collect();
    assert_eq!(announcements.len(), 3);
    // A second one for the same filter waits for the same shards.
    let again = subscribe_bytes(8, None, &[Ask::new("a/+", QoS::AtMostOnce).retain_handling(2)]);
    cores[0].handle(NOW, Input::Bytes { conn, bytes: &again }, &mut fx);
    assert!(fx.mesh.is_empty() && take_output(&mut fx).is_empty());
    let mut output = Vec::new();
    for (shard, announcement) in announcements.into_iter().rev() {
        assert!(output.is_empty(), "before every shard has it");
        assert!(matches!(&announcement, MeshMessage::Interest { filter, wanted: true, .. } if &**filter == "a/+"));
        let (answers, _) = hand_over(&mut cores[shard.index()], 0, announcement);
        for answer in answers {
            output.extend(hand_over(&mut cores[0], shard.index(), answer).1);
        }
    }
    assert_eq!(output, [0x90, 4, 0, 7, 0, 0, 0x90, 4, 0, 8, 0, 0]);
    assert_eq!(cores[0].unfinished_len(), 0);
}
