//! What becomes of who publishes more than he may, and of who reads less than he has to.

use std::num::{NonZeroU32, NonZeroU64};

use thrum::access::{Answer, Credentials, Excess, Guard, Identity, Rates, Verdict, Who};
use thrum::base::{Millis, Refusal, Timestamp};
use thrum::broker::Options;
use thrum::mqtt::{QoS, ReasonCode, Version};

use crate::client::{
    ALL_VERSIONS, Got, Login, Message, all, assert_at_rest, disconnect, expect_closed, expect_cut, expect_nothing,
    next, subscribe, sum, take_payloads,
};
use crate::net::{Client, Net};

/// Lets everybody in; who is called `reader` is bounded in nothing.
#[derive(Clone, Copy, Debug)]
struct Bounded(Rates);

impl Guard for Bounded {
    fn connect(&mut self, _: Timestamp, credentials: &Credentials<'_>) -> Answer {
        let rates = Some(self.0).filter(|_| credentials.client_id != "reader");
        Answer::Now(Verdict::Accept(Identity::new(Who { rates, ..Who::default() })))
    }
}

const SLOW_10: Rates = Rates { messages_per_sec: NonZeroU32::new(10), bytes_per_sec: None, on_excess: Excess::Slow };
const SLOW_1000_BYTES: Rates =
    Rates { messages_per_sec: None, bytes_per_sec: NonZeroU64::new(1_000), on_excess: Excess::Slow };

fn net_of(shards: usize, rates: Rates) -> Net {
    Net::guarded(Options { shards, ..Options::default() }, || Box::new(Bounded(rates)))
}

/// A reader of everything, and a publisher.
fn two(net: &mut Net, version: Version) -> (Client, Client) {
    let reader = Login::v5("reader").connect(net);
    subscribe(net, reader, "#", QoS::AtMostOnce);
    (reader, Login::new(version, "publisher").connect(net))
}

fn publish(net: &mut Net, client: Client, count: usize) {
    (0..count).for_each(|number| Message::new("t", &number.to_string()).send(net, client));
}

fn refused(net: &Net, refusal: Refusal) -> u64 {
    sum(net, |core| core.counters().refused(refusal))
}

#[test]
fn who_publishes_too_fast_is_not_read_and_loses_nothing() {
    for (shards, version) in [(1, Version::V3_1_1), (1, Version::V5), (3, Version::V5)] {
        let mut net = net_of(shards, SLOW_10);
        let (reader, publisher) = two(&mut net, version);
        publish(&mut net, publisher, 45);
        let mut got = take_payloads(&mut net, reader);
        assert_eq!(got.len(), 10, "a second's worth");
        for second in 1..=3 {
            net.advance(Millis::from_secs(1));
            got.extend(take_payloads(&mut net, reader));
            assert!((10 * second + 9..=10 * second + 11).contains(&got.len()), "{second}: {}", got.len());
        }
        net.advance(Millis::from_secs(1));
        got.extend(take_payloads(&mut net, reader));
        assert!(got.iter().enumerate().all(|(number, payload)| *payload == number.to_string()), "{got:?}");
        assert_eq!(got.len(), 45);
        // Each packet is counted once, however often it was looked at.
        assert_eq!(sum(&net, |core| core.counters().publishes_received), 45);
        assert_eq!(sum(&net, |core| core.counters().packets_received), 45 + 3);
        assert!(sum(&net, |core| core.counters().throttled) > 0);
        assert_at_rest(&net);
    }
}

#[test]
fn bytes_are_counted_with_their_packets() {
    let mut net = net_of(1, SLOW_1000_BYTES);
    let (reader, publisher) = two(&mut net, Version::V5);
    let payload = "x".repeat(994);
    // 1,000 bytes in all, and then 3,000 at once, which are waited for afterwards.
    for payload in [&*payload, &payload.repeat(3), "late"] {
        Message::new("t", payload).send(&mut net, publisher);
    }
    assert_eq!(take_payloads(&mut net, reader).len(), 1);
    net.advance(Millis(500));
    assert_eq!(take_payloads(&mut net, reader).len(), 1);
    net.advance(Millis(1_500));
    assert_eq!(take_payloads(&mut net, reader).len(), 0);
    net.advance(Millis(1_500));
    assert_eq!(take_payloads(&mut net, reader), ["late"]);
}

#[test]
fn who_may_not_publish_more_is_told_or_cut_off() {
    for version in ALL_VERSIONS {
        for (rates, reason, refusal) in [
            (SLOW_10, ReasonCode::MessageRateTooHigh, Refusal::MessageRate),
            (SLOW_1000_BYTES, ReasonCode::QuotaExceeded, Refusal::ByteRate),
        ] {
            let mut net = net_of(1, Rates { on_excess: Excess::Disconnect, ..rates });
            let (reader, publisher) = two(&mut net, version);
            for _ in 0..10 {
                Message::new("t", &"x".repeat(100)).send(&mut net, publisher);
            }
            assert!(!net.is_closed(publisher));
            Message::new("t", "one too many").send(&mut net, publisher);
            if version == Version::V5 {
                expect_cut(&mut net, publisher, reason);
            } else {
                expect_closed(&mut net, publisher);
            }
            assert_eq!(take_payloads(&mut net, reader).len(), 10);
            assert_eq!(refused(&net, refusal), 1);
        }
    }
}

// It sends nothing that is read, and that is not its fault.
#[test]
fn a_throttled_client_does_not_run_out_of_its_keep_alive() {
    let mut net = net_of(1, SLOW_1000_BYTES);
    let (reader, _) = two(&mut net, Version::V5);
    let slow = Login::v5("slow").keep_alive(1).connect(&mut net);
    Message::new("t", &"x".repeat(20_000)).send(&mut net, slow);
    Message::new("t", "later").send(&mut net, slow);
    net.advance(Millis::from_secs(10));
    assert_eq!(take_payloads(&mut net, reader).len(), 1);
    net.advance(Millis::from_secs(10));
    assert_eq!(take_payloads(&mut net, reader), ["later"]);
    assert!(!net.is_closed(slow));
    net.advance(Millis::from_secs(3));
    expect_cut(&mut net, slow, ReasonCode::KeepAliveTimeout);
}

#[test]
fn a_throttled_client_that_goes_leaves_no_timer() {
    let mut net = net_of(1, SLOW_10);
    let (reader, publisher) = two(&mut net, Version::V5);
    publish(&mut net, publisher, 20);
    let timers = net.cores[0].timers_len();
    net.cut(publisher);
    assert_eq!(net.cores[0].timers_len(), timers - 2, "its keep alive, and its turn");
    net.advance(Millis::from_secs(2));
    assert_eq!(take_payloads(&mut net, reader).len(), 10);
    expect_nothing(&mut net, reader);
}

// Only a publish is bounded: who asks for a sign of life gets it, in its order.
#[test]
fn everything_but_publishes_goes_on_until_one_waits() {
    let mut net = net_of(1, SLOW_10);
    let (_, publisher) = two(&mut net, Version::V5);
    publish(&mut net, publisher, 10);
    net.send(publisher, &thrum::mqtt::Packet::PingReq);
    assert_eq!(next(&mut net, publisher), Got::PingResp);
    publish(&mut net, publisher, 1);
    net.send(publisher, &thrum::mqtt::Packet::PingReq);
    assert_eq!(all(&mut net, publisher), []);
    net.advance(Millis(500));
    assert_eq!(next(&mut net, publisher), Got::PingResp);
}

fn narrow(secs: u32) -> Net {
    Net::new(Options { output_bytes_max: 1_000, slow_reader: Millis::from_secs(secs), ..Options::default() })
}

fn fill(net: &mut Net, publisher: Client) {
    for _ in 0..3 {
        Message::new("t", &"x".repeat(900)).send(net, publisher);
    }
}

#[test]
fn who_reads_nothing_while_its_output_is_full_is_cut_off() {
    let mut net = narrow(5);
    let (reader, publisher) = two(&mut net, Version::V5);
    net.block(reader);
    fill(&mut net, publisher);
    net.advance(Millis(4_500));
    assert!(!net.is_closed(reader));
    net.advance(Millis::from_secs(1));
    assert!(net.is_closed(reader));
    assert_eq!(refused(&net, Refusal::SlowReader), 1);
}

#[test]
fn who_reads_slowly_stays() {
    let mut net = narrow(5);
    let (reader, publisher) = two(&mut net, Version::V5);
    net.block(reader);
    for _ in 0..10 {
        fill(&mut net, publisher);
        net.advance(Millis::from_secs(4));
        net.take_some(reader, 10);
    }
    assert!(!net.is_closed(reader));
    let timers = net.cores[0].timers_len();
    net.unblock(reader);
    assert_eq!(net.cores[0].timers_len(), timers - 1);
    net.advance(Millis::from_secs(20));
    assert!(!net.is_closed(reader));
    disconnect(&mut net, publisher);
}

#[test]
fn by_option_nobody_has_to_read() {
    let mut net = narrow(0);
    let (reader, publisher) = two(&mut net, Version::V5);
    net.block(reader);
    fill(&mut net, publisher);
    net.advance(Millis::from_secs(50));
    assert!(!net.is_closed(reader));
}
