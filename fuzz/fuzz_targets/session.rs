//! Clients that do anything, on one to three shards: no panic, every limit of a client kept, and nothing left when all
//! are gone for longer than any of their sessions may last.

#![no_main]

#[path = "session/doorman.rs"]
mod doorman;
#[path = "../../tests/common/net.rs"]
mod net;
#[path = "session/packets.rs"]
mod packets;
#[path = "session/peer.rs"]
mod peer;
#[path = "session/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;
use thrum::base::Millis;
use thrum::broker::Options;
use thrum::mqtt::{AckType, QoS, ReasonCode};
use thrum::routing::Choice;
use thrum::session::{FullPolicy, QueueBounds};

use doorman::Doorman;
use net::Net;
use peer::Peer;
use script::Script;

/// What the doorman knows: the topic that nobody may use, and the method of enhanced authentication.
const FORBIDDEN: &str = "forbidden";
const METHOD: &str = "method";

const PEERS: usize = 6;
/// A longer script says nothing that a shorter one does not, and takes its time.
const STEPS_MAX: usize = 300;
const EXPIRY_SECS_MAX: u32 = 60;

fn options(script: &mut Script<'_>) -> Options {
    let flags = script.byte();
    Options {
        shards: 1 + script.below(3),
        durable: flags & 1 != 0,
        queue_qos_zero: flags & 2 != 0,
        validate_payload_format: flags & 4 != 0,
        keep_alive_secs_max: if flags & 8 != 0 { 20 } else { 0 },
        session_expiry_secs_max: EXPIRY_SECS_MAX,
        connect_timeout: Millis::from_secs(10),
        receive_max: script.pick(&[1_024, 1, 2, 3]),
        inflight_max: script.pick(&[20, 1, 2, 3]),
        queue: QueueBounds {
            messages_max: script.pick(&[1_000, 1, 2, 3]),
            bytes_max: script.pick(&[1 << 20, 1, 400, 4_000]),
            policy: script.pick(&[
                FullPolicy::DropNewest,
                FullPolicy::DropOldest,
                FullPolicy::LastValue,
                FullPolicy::Disconnect,
            ]),
        },
        output_bytes_max: script.pick(&[1 << 20, 1, 50, 1_000]),
        topic_alias_max: script.pick(&[10, 0, 2]),
        outbound_topic_alias_max: script.pick(&[10, 0, 1, 2]),
        subscriptions_max: script.pick(&[100, 1, 3]),
        topic_levels_max: script.pick(&[64, 1, 3]),
        connections_max: script.pick(&[100, 2]),
        sessions_max: script.pick(&[100, 1, 2]),
        retained_messages_max: script.pick(&[100, 0, 1]),
        retained_bytes_max: script.pick(&[1 << 20, 500]),
        share_choice: script.pick(&[Choice::RoundRobin, Choice::LeastInFlight, Choice::StickyTopic]),
        ..Options::default()
    }
}

struct Play<'a> {
    script: Script<'a>,
    options: Options,
    net: Net,
    peers: Vec<Option<Peer>>,
    /// Bytes of the next packet that stay behind until the one after it.
    kept: usize,
}

impl<'a> Play<'a> {
    fn new(input: &'a [u8]) -> Self {
        let mut script = Script::new(input);
        let options = options(&mut script);
        let net = Net::guarded(options.clone(), || Box::new(Doorman));
        Self { script, options, net, peers: (0..PEERS).map(|_| None).collect(), kept: 0 }
    }

    fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.script.is_over() {
                break;
            }
            self.step();
            self.check();
        }
        self.end();
    }

    fn step(&mut self) {
        match self.script.byte() % 24 {
            0 | 1 => self.connect(),
            2 => {
                self.open();
            }
            3..6 => self.say(packets::subscribe),
            6 => self.say(packets::unsubscribe),
            7..11 => self.say(packets::publish),
            11 => self.say(packets::any_ack),
            12..14 => self.acknowledge(),
            14 => self.say(packets::disconnect),
            15 => self.say(|script, _| packets::auth(script)),
            16 => {
                let len = self.script.byte().into();
                self.say(|script, _| script.take(len).to_vec());
            }
            17 => self.kept = self.script.byte().into(),
            18 => self.close(),
            19 => self.slow_down(),
            20 => self.net.advance(Millis(self.script.pick(&[1, 500, 1_000, 5_000, 31_000, 61_000]))),
            21 => {
                self.net.commits = self.script.bit();
                self.net.commit();
            }
            22 => {
                self.net.holds_mesh = self.script.bit();
                self.net.settle();
            }
            _ => {
                let shard = self.script.below(self.options.shards);
                let messages_max = self.script.below(4);
                self.net.drain_mesh(shard, messages_max);
            }
        }
    }

    fn open(&mut self) -> usize {
        let at = self.script.below(PEERS);
        if let Some(old) = &self.peers[at] {
            self.net.cut(old.client);
            self.check();
        }
        self.peers[at] = Some(Peer::open(&mut self.net, &self.options));
        at
    }

    fn connect(&mut self) {
        let at = self.open();
        let bytes = packets::connect(&mut self.script);
        let kept = std::mem::take(&mut self.kept);
        if let Some(peer) = &mut self.peers[at] {
            peer.send(&mut self.net, &bytes, kept);
        }
    }

    fn say(&mut self, packet: impl FnOnce(&mut Script<'_>, thrum::mqtt::Version) -> Vec<u8>) {
        let at = self.script.below(PEERS);
        let Some(peer) = &mut self.peers[at] else { return };
        let bytes = packet(&mut self.script, peer.version());
        peer.send(&mut self.net, &bytes, std::mem::take(&mut self.kept));
    }

    /// The client answers what it was sent, as it should: all, or the first of it.
    fn acknowledge(&mut self) {
        let at = self.script.below(PEERS);
        let Some(peer) = &mut self.peers[at] else { return };
        let (version, mut owed) = (peer.version(), peer.unacknowledged());
        if self.script.bit() {
            owed.truncate(1);
        }
        let kinds: &[AckType] = self.script.pick(&[&[AckType::PubRec, AckType::PubComp][..], &[AckType::PubRec]]);
        for (id, qos) in owed {
            for &kind in if qos == QoS::AtLeastOnce { &[AckType::PubAck][..] } else { kinds } {
                peer.send(&mut self.net, &packets::ack(kind, id, ReasonCode::Success, version), 0);
                peer.check(&mut self.net);
            }
        }
    }

    fn close(&mut self) {
        let at = self.script.below(PEERS);
        if let Some(peer) = &self.peers[at] {
            self.net.cut(peer.client);
        }
    }

    fn slow_down(&mut self) {
        let at = self.script.below(PEERS);
        let Some(peer) = &self.peers[at] else { return };
        match self.script.byte() % 4 {
            0 | 1 => self.net.block(peer.client),
            2 => self.net.unblock(peer.client),
            _ => self.net.take_some(peer.client, self.script.byte().into()),
        }
    }

    fn check(&mut self) {
        for peer in self.peers.iter_mut().flatten() {
            peer.check(&mut self.net);
        }
    }

    /// All clients go, and no session outlives the longest expiry.
    fn end(&mut self) {
        self.net.holds_mesh = false;
        self.net.commits = true;
        self.net.settle();
        self.check();
        for peer in self.peers.iter().flatten() {
            self.net.cut(peer.client);
        }
        // One late tick finds them all, and wills that ended sessions publish find nobody.
        self.net.now = self.net.now + Millis::from_secs(EXPIRY_SECS_MAX);
        self.net.advance(Millis::from_secs(2));
        for core in &self.net.cores {
            assert_eq!(core.connections_len(), 0, "connections");
            assert_eq!(core.sessions_len(), 0, "sessions");
            assert_eq!(core.timers_len(), 0, "timers");
            assert_eq!(core.subscriptions_len(), 0, "subscriptions");
            assert_eq!(core.messages_held(), 0, "messages");
            assert_eq!(core.unfinished_len(), 0, "unfinished");
            assert_eq!(core.groups_len(), 0, "groups");
            assert!(core.interest_is_empty(), "interest");
        }
    }
}

fuzz_target!(|input: &[u8]| Play::new(input).run());
