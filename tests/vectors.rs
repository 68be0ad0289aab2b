//! Every packet of tests/vectors gives the answer that its line names, whole, cut anywhere, or in two pieces.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped is a failure")]

use std::collections::HashSet;

use thrum::mqtt::{Error, Packet, Progress, Sender, Version, decode, encode, frame};

#[path = "common/vectors.rs"]
pub mod vectors;

use vectors::{Expect, PACKET_BYTES_MAX, Vector};

#[derive(PartialEq, Debug)]
enum Answer<'a> {
    Packet(Packet<'a>, usize),
    Need(usize),
    Error(Error),
}

fn answer(input: &[u8], version: Version, sender: Sender) -> Answer<'_> {
    match frame(input, PACKET_BYTES_MAX) {
        Ok(Progress::Need(missing)) => Answer::Need(missing),
        Ok(Progress::Packet(found)) => match decode(&found, version, sender) {
            Ok(packet) => Answer::Packet(packet, found.bytes),
            Err(error) => Answer::Error(error),
        },
        Err(error) => Answer::Error(error),
    }
}

/// Runs `check` on every vector, version and sender, and names all that fail.
fn check_all(check: impl Fn(&Vector, Version, Sender) -> Result<(), String>) {
    let mut failures = Vec::new();
    for vector in vectors::load() {
        for (version, sender) in vector.sides() {
            if let Err(what) = check(&vector, version, sender) {
                failures.push(format!("{} as {version:?} from {sender:?}: {what}", vector.at));
            }
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn there_are_enough_vectors_and_each_has_its_own_name() {
    let vectors = vectors::load();
    assert!(vectors.len() >= 400, "{}", vectors.len());
    let mut names = HashSet::new();
    for vector in &vectors {
        assert!(names.insert(&vector.name), "{}: the name is taken", vector.at);
    }
}

// [MQTT-4.13.1-1] the reason code is the one of the error.
#[test]
fn the_answer_is_the_expected_one() {
    check_all(|vector, version, sender| {
        let got = answer(&vector.bytes, version, sender);
        let as_expected = match (&got, vector.expect) {
            (Answer::Packet(_, bytes), Expect::Packet) => *bytes == vector.bytes.len(),
            (Answer::Need(_), Expect::NeedMore) => true,
            (Answer::Error(error), Expect::Error(code)) => error.reason() as u8 == code,
            _ => false,
        };
        if as_expected { Ok(()) } else { Err(format!("{:x?} expected, got {got:?}", vector.expect)) }
    });
}

#[test]
fn an_accepted_packet_is_written_back_as_it_was_or_shorter() {
    check_all(|vector, version, sender| {
        let Answer::Packet(packet, _) = answer(&vector.bytes, version, sender) else { return Ok(()) };
        let mut written = Vec::new();
        encode(&packet, version, &mut written);
        match answer(&written, version, sender) {
            Answer::Packet(again, bytes) if again == packet && bytes == written.len() => {}
            other => return Err(format!("{packet:?} became {other:?}")),
        }
        // MQTT 3.1 has bits that it does not use; ours are zero.
        let same = written == vector.bytes || version == Version::V3_1 && written.len() == vector.bytes.len();
        if same || written.len() < vector.bytes.len() { Ok(()) } else { Err(format!("written as {written:x?}")) }
    });
}

// What has come decides nothing before it is whole, but an error that no further byte can mend.
#[test]
fn cut_anywhere_it_waits_or_gives_the_error_of_the_whole() {
    check_all(|vector, version, sender| {
        let whole = answer(&vector.bytes, version, sender);
        for at in 0..vector.bytes.len() {
            let (first, missing) = (answer(&vector.bytes[..at], version, sender), vector.bytes.len() - at);
            let consistent = match (&first, &whole) {
                // It never waits for more than will come.
                (Answer::Need(need), Answer::Packet(..)) => (1..=missing).contains(need),
                (Answer::Need(need), Answer::Need(_) | Answer::Error(_)) => *need >= 1,
                (Answer::Error(_), Answer::Error(_)) => first == whole,
                _ => false,
            };
            if !consistent {
                return Err(format!("cut at {at}: {first:?}, whole: {whole:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn in_two_pieces_it_gives_the_answer_of_the_whole() {
    check_all(|vector, version, sender| {
        let whole = answer(&vector.bytes, version, sender);
        for at in 0..=vector.bytes.len() {
            let (first, second) = vector.bytes.split_at(at);
            let mut buffer = first.to_vec();
            if matches!(answer(&buffer, version, sender), Answer::Need(_)) {
                buffer.extend_from_slice(second);
            }
            let got = answer(&buffer, version, sender);
            if got != whole {
                return Err(format!("cut at {at}: {got:?}, whole: {whole:?}"));
            }
        }
        Ok(())
    });
}
