//! Every packet of tests/vectors that a client can send, over a socket: in one piece and in two, where it belongs in a
//! connection's life. It is accepted, refused with the reason that its line names, or waited for.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use thrum::mqtt::{Sender, Version};

use crate::broker::{Broker, PATIENCE, Setup, on_shards};
use crate::client::{Came, Client};
use crate::packets::{
    CONNACK, DISCONNECT, Login, PING, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Packet, SUBACK, UNSUBACK,
    V3_1, V3_1_1, V5,
};
use crate::wrapping::Reach;
use vector_files::{Expect, Vector};

#[path = "../common/vectors.rs"]
#[allow(unreachable_pub, reason = "a module of several test crates")]
mod vector_files;

const CONNECTIONS_AT_ONCE: usize = 16;

/// One vector on one connection.
struct Trial<'a> {
    vector: &'a Vector,
    version: u8,
    /// Where the bytes are cut in two; 0 sends them in one piece.
    cut: usize,
}

// [MQTT-4.13.1-1] [MQTT3-4.8.0-1] an error costs its connection, and no other one.
#[test]
fn each_is_answered_as_its_line_says() {
    let vectors = vector_files::load();
    on_shards(setup, |broker| run_all(broker, trials(vectors.iter(), few_cuts)));
}

// By TLS and by WebSocket it is the same; and so it is wherever a packet is cut, for some of them. [MQTT-6.0.0-2]
#[test]
fn each_is_answered_as_its_line_says_whatever_is_around_it_and_wherever_it_is_cut() {
    let vectors = vector_files::load();
    for reach in Reach::ALL {
        let broker = setup(Setup::new(2)).reach(reach).start();
        if reach != Reach::Tcp {
            run_all(&broker, trials(vectors.iter(), few_cuts));
        }
        run_all(&broker, trials(vectors.iter().step_by(SAMPLED), every_cut));
        broker.stop();
    }
}

fn setup(setup: Setup) -> Setup {
    setup.limit("packet_bytes_max", vector_files::PACKET_BYTES_MAX.into())
}

/// Of so many vectors one is cut everywhere.
const SAMPLED: usize = 17;

/// Long ones are not cut behind this.
const CUT_MAX: usize = 200;

fn run_all(broker: &Broker, trials: VecDeque<Trial<'_>>) {
    let trials = Mutex::new(trials);
    let (failures, connects) = (Mutex::new(Vec::new()), Mutex::new(()));
    thread::scope(|scope| {
        for number in 0..CONNECTIONS_AT_ONCE {
            let (trials, failures, connects) = (&trials, &failures, &connects);
            scope.spawn(move || {
                let mut neighbour = Login::new(V5, format!("neighbour {number}")).connect(broker);
                loop {
                    let Some(trial) = trials.lock().unwrap().pop_front() else { break };
                    if let Err(what) = trial.run(broker, &mut neighbour, number, connects) {
                        failures.lock().unwrap().push(trial.failure(&what));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

/// Whole; after the first byte; somewhere in the middle.
fn few_cuts(len: usize) -> Vec<usize> {
    let mut cuts = vec![0, 1, len / 2];
    cuts.retain(|&cut| cut < len);
    cuts.dedup();
    cuts
}

fn every_cut(len: usize) -> Vec<usize> {
    (0..len.min(CUT_MAX)).collect()
}

fn trials<'a>(vectors: impl Iterator<Item = &'a Vector>, cuts: fn(usize) -> Vec<usize>) -> VecDeque<Trial<'a>> {
    let mut trials = VecDeque::new();
    for vector in vectors {
        for (version, _) in vector.sides().filter(|&(_, sender)| sender == Sender::Client) {
            let version = match version {
                Version::V3_1 => V3_1,
                Version::V3_1_1 => V3_1_1,
                Version::V5 => V5,
            };
            trials.extend(cuts(vector.bytes.len()).into_iter().map(|cut| Trial { vector, version, cut }));
        }
    }
    trials
}

impl Trial<'_> {
    fn failure(&self, what: &str) -> String {
        format!("{} in MQTT {}, cut at {}: {what}", self.vector.at, self.version, self.cut)
    }

    fn is_connect(&self) -> bool {
        self.vector.bytes.first().is_some_and(|first| first >> 4 == 1)
    }

    fn run(&self, broker: &Broker, neighbour: &mut Client, number: usize, connects: &Mutex<()>) -> Result<(), String> {
        // Many of them have the same client identifier.
        let _alone = self.is_connect().then(|| connects.lock().unwrap());
        let mut client = if self.is_connect() {
            Client::open(broker, self.version)
        } else {
            // With a session that a DISCONNECT may give another expiry. [MQTT-3.14.2-2]
            Login::new(self.version, format!("vector {number}")).expiring(60).connect(broker)
        };
        let (first, second) = self.vector.bytes.split_at(self.cut);
        if self.cut > 0 {
            client.send(first);
            // By its answer the broker has seen to whatever came before.
            neighbour.ping();
        }
        // A first piece that is an error already may have ended the connection.
        client.send_if_open(second);
        let result = match self.vector.expect {
            Expect::Packet => self.is_accepted(&mut client),
            Expect::NeedMore => self.is_waited_for(&mut client, neighbour),
            Expect::Error(code) => self.is_refused(&mut client, code),
        };
        neighbour.ping();
        result
    }

    fn is_refused(&self, client: &mut Client, code: u8) -> Result<(), String> {
        let came = client.come(PATIENCE);
        let told = match &came {
            Came::Packet(packet) => packet,
            // Before 5.0 only some faults of a CONNECT have a code; a CONNECT too large is not even read.
            Came::End if self.version != V5 || self.is_connect() && !self.is_told_in_connack(code) => return Ok(()),
            other => return Err(format!("0x{code:02x} expected, {other:?} came")),
        };
        let expected = match (self.is_connect(), told.version) {
            (true, V5) => told.kind() == CONNACK && told.reason() == code,
            // A CONNACK in the form before 5.0.
            (true, _) => told.kind() == CONNACK && told.body.len() == 2 && return_code(code) == Some(told.reason()),
            (false, V5) => told.kind() == DISCONNECT && told.reason() == code,
            (false, _) => false,
        };
        if !expected && !self.is_answered_in_older_form(told, code) {
            return Err(format!("0x{code:02x} expected, {told:?} came"));
        }
        match client.come(PATIENCE) {
            Came::End => Ok(()),
            other => Err(format!("after the refusal {other:?}")),
        }
    }

    /// A CONNECT that is so wrong that its version is unknown is answered in the form that the broker supposes.
    fn is_answered_in_older_form(&self, told: &Packet, code: u8) -> bool {
        let is_older = self.is_connect() && told.kind() == CONNACK && told.body.len() == 2;
        is_older && return_code(code) == Some(told.reason())
    }

    /// [MQTT-3.1.4-1] a CONNACK may be sent; it is, where the packet is whole and says that it is of 5.0.
    fn is_told_in_connack(&self, code: u8) -> bool {
        let connect = Packet::read(V5, &self.vector.bytes);
        code != 0x95 && connect.is_some_and(|(connect, _)| connect.body.starts_with(b"\0\x04MQTT\x05"))
    }

    fn is_waited_for(&self, client: &mut Client, neighbour: &mut Client) -> Result<(), String> {
        neighbour.ping();
        // Nothing comes but the end that we ask for.
        client.half_close();
        match client.come(PATIENCE) {
            Came::End => Ok(()),
            other => Err(format!("to be waited for, but {other:?} came")),
        }
    }

    fn is_accepted(&self, client: &mut Client) -> Result<(), String> {
        if self.vector.bytes[0] >> 4 == DISCONNECT {
            return match client.come(PATIENCE) {
                Came::End => Ok(()),
                other => Err(format!("the end expected, {other:?} came")),
            };
        }
        client.send_if_open(&PING);
        let expected = self.answers();
        let mut answers = Vec::new();
        // SUBACK may come after PINGRESP: it waits for the other shards.
        while answers.iter().filter(|packet: &&Packet| packet.kind() != PUBLISH).count() < expected.len() {
            match client.come(PATIENCE) {
                Came::Packet(packet) if packet.kind() == DISCONNECT => return self.is_refused_by_its_state(&[packet]),
                Came::Packet(packet) => answers.push(packet),
                Came::End => return self.is_refused_by_its_state(&answers),
                Came::Nothing => return Err(format!("no more than {answers:?}")),
            }
        }
        // What was retained by other vectors may come to a subscription.
        let mut kinds: Vec<u8> = answers.iter().map(Packet::kind).filter(|&kind| kind != PUBLISH).collect();
        kinds.sort_by_key(|&kind| kind == PINGRESP);
        if kinds == expected { Ok(()) } else { Err(format!("answered by {answers:?}")) }
    }

    /// The types of the packets that answer it, and then those of a PINGREQ.
    fn answers(&self) -> Vec<u8> {
        let first_byte = self.vector.bytes[0];
        let answer = match first_byte >> 4 {
            1 => Some(CONNACK),
            3 if first_byte & 6 == 2 => Some(PUBACK),
            3 if first_byte & 6 == 4 => Some(PUBREC),
            // Acknowledges nothing that the broker knows; in 5.0 PUBREC with an error ends the exchange.
            5 if !self.is_error_pubrec() => Some(PUBREL),
            6 => Some(PUBCOMP),
            8 => Some(SUBACK),
            10 => Some(UNSUBACK),
            12 => Some(PINGRESP),
            _ => None,
        };
        answer.into_iter().chain([PINGRESP]).collect()
    }

    fn is_error_pubrec(&self) -> bool {
        self.version == V5 && self.vector.bytes[1] > 2 && self.vector.bytes[4] >= 0x80
    }

    /// What is a packet, but not one that may come on this connection now.
    fn is_refused_by_its_state(&self, answers: &[Packet]) -> Result<(), String> {
        let name = self.vector.name.as_str();
        // [MQTT-3.1.2-24] there is no CONNACK that its client would take.
        if answers.is_empty() && name == "prop_maximum_packet_size_1_in_connect" {
            return Ok(());
        }
        let reason = match answers {
            [refusal] if matches!(refusal.kind(), CONNACK | DISCONNECT) => refusal.reason(),
            _ => return Err(format!("ended after {answers:?}")),
        };
        let is_known = match (self.vector.bytes[0] >> 4, reason) {
            // [MQTT-4.12.0-1] no such Authentication Method
            (1, 0x8c) => true,
            // [MQTT-4.12.0-7] AUTH of who did not begin with a method
            (15, 0x82) => true,
            // [MQTT-3.3.2-8] [MQTT-3.3.2-9] an alias that was not set, or over the Topic Alias Maximum
            (3, 0x82 | 0x94) => name.contains("alias"),
            _ => false,
        };
        if is_known { Ok(()) } else { Err(format!("refused with 0x{reason:02x}")) }
    }
}

/// The return code of a CONNACK before 5.0 that says what the reason code says.
fn return_code(reason: u8) -> Option<u8> {
    match reason {
        0x84 => Some(1),
        0x85 => Some(2),
        0x86 => Some(4),
        0x87 => Some(5),
        0x88 => Some(3),
        _ => None,
    }
}
