//! The packets of tests/vectors, read from their files: `<version> <sender> <name> <expect> <hex bytes>` per line.

use std::fs;
use std::path::Path;

use thrum::mqtt::{Sender, Version};

/// The limit that the vectors of frame.txt are written for.
pub const PACKET_BYTES_MAX: u32 = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    Packet,
    NeedMore,
    /// An error with this reason code.
    Error(u8),
}

#[derive(Clone, Debug)]
pub struct Vector {
    /// `file:line name`
    pub at: String,
    pub name: String,
    pub versions: Vec<Version>,
    pub senders: Vec<Sender>,
    pub expect: Expect,
    pub bytes: Vec<u8>,
}

impl Vector {
    fn parse(line: &str, place: &str) -> Self {
        let mut fields = line.splitn(5, ' ');
        let mut field = |what| fields.next().unwrap_or_else(|| panic!("{place}: no {what}"));
        let (versions, senders, name, expect) = (field("version"), field("sender"), field("name"), field("outcome"));
        Self {
            at: format!("{place} {name}"),
            name: name.to_owned(),
            versions: versions.chars().map(|digit| version(digit, place)).collect(),
            senders: match senders {
                "client" => vec![Sender::Client],
                "server" => vec![Sender::Server],
                "any" => vec![Sender::Client, Sender::Server],
                other => panic!("{place}: sender {other}"),
            },
            expect: match expect {
                "ok" => Expect::Packet,
                "need" => Expect::NeedMore,
                code => Expect::Error(
                    code.strip_prefix("0x").and_then(from_hex).unwrap_or_else(|| panic!("{place}: {code}")),
                ),
            },
            bytes: bytes(field("bytes"), place),
        }
    }

    /// Each version and sender that the vector holds for.
    pub fn sides(&self) -> impl Iterator<Item = (Version, Sender)> + '_ {
        self.versions.iter().flat_map(|&version| self.senders.iter().map(move |&sender| (version, sender)))
    }
}

fn version(digit: char, place: &str) -> Version {
    match digit {
        '3' => Version::V3_1,
        '4' => Version::V3_1_1,
        '5' => Version::V5,
        other => panic!("{place}: version {other}"),
    }
}

fn bytes(hex: &str, place: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| str::from_utf8(pair).ok().and_then(from_hex).unwrap_or_else(|| panic!("{place}: {hex}"))).collect()
}

fn from_hex(digits: &str) -> Option<u8> {
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// All vectors, in the order of their files' names.
pub fn load() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut vectors = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "txt")) {
        let name = file.file_name().unwrap().to_string_lossy();
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        vectors.extend(lines.map(|(index, line)| Vector::parse(line, &format!("{name}:{}", index + 1))));
    }
    vectors
}
