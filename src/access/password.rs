//! What a server stores of a password, in the forms that this one and Mosquitto write:
//!
//! | text                                                          | what                                 |
//! |---------------------------------------------------------------|--------------------------------------|
//! | `$argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>`   | argon2id, as the PHC writes it       |
//! | `$7$<iterations>$<salt>$<hash>`                               | PBKDF2 of HMAC-SHA-512               |
//! | `$6$<salt>$<hash>`                                            | SHA-512 of password and salt: weak   |
//! | `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`   | what SCRAM needs, see [`Credential`] |

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD as BASE64_BARE};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use super::credential::{Credential, CredentialError, ITERATIONS_MAX, SALT_BYTES};

/// So that a slip in a password file takes neither a machine's memory nor a thread for minutes: about four seconds.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// Mosquitto's salts have 12 bytes, and 64 from its version 2.1 on; argon2 takes no fewer than 8.
const SALT_LENGTHS: std::ops::RangeInclusive<usize> = 8..=64;
const ARGON2_HASH_LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;
const SHA512_BYTES: usize = 64;
const ARGON2_HASH_BYTES: usize = 32;

/// The salt of `$7$` and `$6$` that every version of Mosquitto reads.
const MOSQUITTO_SALT_BYTES: usize = 12;

/// How a password is hashed, and so how long that takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Work {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32 },
    Pbkdf2Sha512 { iterations: NonZeroU32 },
    Sha512,
    Scram { iterations: NonZeroU32 },
}

impl Work {
    /// What OWASP recommends at least: 19 MiB, some 15 ms.
    pub const ARGON2ID: Self = Self::Argon2id { memory_kib: 19_456, passes: 2, lanes: 1 };
    /// What OWASP recommends at least. Mosquitto itself makes do with 101.
    pub const PBKDF2_SHA512: Self =
        Self::Pbkdf2Sha512 { iterations: NonZeroU32::new(210_000).expect("210,000 is not zero") };

    fn is_bounded(self) -> bool {
        match self {
            Self::Argon2id { memory_kib, passes, lanes } => {
                (1..=LANES_MAX).contains(&lanes)
                    && (8 * lanes..=MEMORY_KIB_MAX).contains(&memory_kib)
                    && (1..=PASSES_MAX).contains(&passes)
            }
            Self::Pbkdf2Sha512 { iterations } | Self::Scram { iterations } => iterations <= ITERATIONS_MAX,
            Self::Sha512 => true,
        }
    }
}

/// A stored password.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Hash { work: Work, salt: Box<[u8]>, hash: Box<[u8]> },
    Scram(Credential),
}

impl Password {
    /// Slow by intent, never on a shard. The salt is fresh randomness.
    pub fn derive(work: Work, password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        let (salt, length) = match work {
            Work::Scram { iterations } => return Self(Form::Scram(Credential::derive(password, salt, iterations))),
            Work::Argon2id { .. } => (&salt[..], ARGON2_HASH_BYTES),
            Work::Pbkdf2Sha512 { .. } | Work::Sha512 => (&salt[..MOSQUITTO_SALT_BYTES], SHA512_BYTES),
        };
        let mut computed = vec![0; length].into_boxed_slice();
        hash(work, password, salt, &mut computed);
        Self(Form::Hash { work, salt: salt.into(), hash: computed })
    }

    /// Costs what a password of such work costs, and has none: nothing hashes to its zeros but by a chance that no
    /// attacker has either.
    pub(super) fn of_nobody(work: Work) -> Self {
        let zeros = |length| vec![0; length].into_boxed_slice();
        Self(match work {
            Work::Scram { iterations } => {
                let (salt, stored_key, server_key) = ([0; SALT_BYTES], [0; 32], [0; 32]);
                Form::Scram(Credential { salt, iterations, stored_key, server_key })
            }
            Work::Argon2id { .. } => Form::Hash { work, salt: zeros(SALT_BYTES), hash: zeros(ARGON2_HASH_BYTES) },
            _ => Form::Hash { work, salt: zeros(MOSQUITTO_SALT_BYTES), hash: zeros(SHA512_BYTES) },
        })
    }

    /// Whether this is the password. Slow by intent, never on a shard; as slow for a wrong one as for the right one.
    pub fn verify(&self, password: &[u8]) -> bool {
        #[cfg(test)]
        tests::WORK_DONE.with_borrow_mut(|done| done.push(self.work()));
        match &self.0 {
            Form::Scram(credential) => credential.verify(password),
            Form::Hash { work, salt, hash: stored } => {
                let mut computed = [0; SHA512_BYTES];
                let computed = &mut computed[..stored.len()];
                hash(*work, password, salt, computed);
                computed.ct_eq(stored).into()
            }
        }
    }

    pub fn work(&self) -> Work {
        match &self.0 {
            Form::Hash { work, .. } => *work,
            Form::Scram(credential) => Work::Scram { iterations: credential.iterations },
        }
    }

    /// What SCRAM needs, where it is stored.
    pub(super) fn scram(&self) -> Option<&Credential> {
        match &self.0 {
            Form::Scram(credential) => Some(credential),
            Form::Hash { .. } => None,
        }
    }
}

/// One hash. Of the work's kinds SCRAM has its own.
fn hash(work: Work, password: &[u8], salt: &[u8], out: &mut [u8]) {
    match work {
        Work::Argon2id { memory_kib, passes, lanes } => {
            let params = Params::new(memory_kib, passes, lanes, Some(out.len())).expect("parameters within bounds");
            argon2id(params, password, salt, out);
        }
        Work::Pbkdf2Sha512 { iterations } => {
            pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations.get(), out);
        }
        Work::Sha512 => out.copy_from_slice(&Sha512::new().chain_update(password).chain_update(salt).finalize()),
        Work::Scram { .. } => unreachable!("a credential of SCRAM hashes by itself"),
    }
}

thread_local! {
    /// Megabytes, which to map anew for each hash would cost a tenth of its time, and all other threads some of theirs.
    static ARGON2_MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

fn argon2id(params: Params, password: &[u8], salt: &[u8], out: &mut [u8]) {
    ARGON2_MEMORY.with_borrow_mut(|memory| {
        if memory.len() < params.block_count() {
            memory.resize(params.block_count(), Block::default());
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(password, salt, out, memory).expect("lengths within bounds");
    });
}

/// Gives back what hashing left this thread for its next hash.
pub fn release_hash_memory() {
    ARGON2_MEMORY.with_borrow_mut(|memory| *memory = Vec::new());
}

impl From<Credential> for Password {
    fn from(credential: Credential) -> Self {
        Self(Form::Scram(credential))
    }
}

impl fmt::Debug for Password {
    /// Without salt and hash, which would let a reader of logs try passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").field("work", &self.work()).finish_non_exhaustive()
    }
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, salt, hash) = match &self.0 {
            Form::Scram(credential) => return credential.fmt(f),
            Form::Hash { work, salt, hash } => (work, salt, hash),
        };
        match work {
            Work::Argon2id { memory_kib, passes, lanes } => {
                let [salt, hash] = [salt, hash].map(|bytes| BASE64_BARE.encode(bytes));
                write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
            }
            Work::Pbkdf2Sha512 { iterations } => {
                write!(f, "$7${iterations}${}${}", BASE64.encode(salt), BASE64.encode(hash))
            }
            _ => write!(f, "$6${}${}", BASE64.encode(salt), BASE64.encode(hash)),
        }
    }
}

/// Why a text is not a stored password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasswordError {
    /// It begins like none.
    Unknown,
    /// Its parts are not those of its kind.
    Form,
    /// Its memory, passes, lanes or iterations are none, or more than this server would do.
    Work,
    Salt,
    Hash,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "not a stored password (they begin with $argon2id$, $7$, $6$ or SCRAM-SHA-256$): \
                 `thrum passwd -U FILE` hashes a file of plain ones",
            ),
            Self::Form => f.write_str("not all parts of a stored password: it was cut off or changed, set it anew"),
            Self::Work => write!(
                f,
                "a password that takes too much or nothing to verify: at most {MEMORY_KIB_MAX} KiB, {PASSES_MAX} \
                 passes and {LANES_MAX} lanes of argon2id, {ITERATIONS_MAX} iterations of others"
            ),
            Self::Salt => f.write_str("a password whose salt is no base64 of the right length: set it anew"),
            Self::Hash => f.write_str("a password whose hash is no base64 of the right length: set it anew"),
        }
    }
}

impl From<CredentialError> for PasswordError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Form => Self::Form,
            CredentialError::Iterations => Self::Work,
            CredentialError::Salt => Self::Salt,
            CredentialError::Key => Self::Hash,
        }
    }
}

impl FromStr for Password {
    type Err = PasswordError;

    fn from_str(text: &str) -> Result<Self, PasswordError> {
        let parts: Vec<&str> = text.splitn(7, '$').collect();
        let (work, salt, hash) = match parts[..] {
            ["SCRAM-SHA-256", ..] => return Ok(text.parse::<Credential>()?.into()),
            ["", "argon2id", "v=19", costs, salt, hash] => {
                let hash = bytes(BASE64_BARE.decode(hash).ok(), ARGON2_HASH_LENGTHS).ok_or(PasswordError::Hash)?;
                (argon2_work(costs)?, BASE64_BARE.decode(salt).ok(), hash)
            }
            ["", "7", iterations, salt, hash] => {
                let iterations = iterations.parse().map_err(|_| PasswordError::Work)?;
                (Work::Pbkdf2Sha512 { iterations }, BASE64.decode(salt).ok(), sha512(hash)?)
            }
            ["", "6", salt, hash] => (Work::Sha512, BASE64.decode(salt).ok(), sha512(hash)?),
            ["", "argon2id" | "7" | "6", ..] => return Err(PasswordError::Form),
            _ => return Err(PasswordError::Unknown),
        };
        if !work.is_bounded() {
            return Err(PasswordError::Work);
        }
        let salt = bytes(salt, SALT_LENGTHS).ok_or(PasswordError::Salt)?;
        Ok(Self(Form::Hash { work, salt, hash }))
    }
}

/// `m=<KiB>,t=<passes>,p=<lanes>`, in this order and no other.
fn argon2_work(costs: &str) -> Result<Work, PasswordError> {
    let mut costs = costs.split(',');
    let mut cost = |name: &str| {
        let number = costs.next()?.strip_prefix(name)?.strip_prefix('=')?;
        number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        // What is no number of 32 bits is out of bounds.
        Some(number.parse().unwrap_or(u32::MAX))
    };
    let (memory_kib, passes, lanes) = (cost("m"), cost("t"), cost("p"));
    let work = |memory_kib, passes, lanes| Work::Argon2id { memory_kib, passes, lanes };
    match (memory_kib, passes, lanes, costs.next()) {
        (Some(memory_kib), Some(passes), Some(lanes), None) => Ok(work(memory_kib, passes, lanes)),
        _ => Err(PasswordError::Form),
    }
}

fn sha512(text: &str) -> Result<Box<[u8]>, PasswordError> {
    bytes(BASE64.decode(text).ok(), SHA512_BYTES..=SHA512_BYTES).ok_or(PasswordError::Hash)
}

fn bytes(decoded: Option<Vec<u8>>, lengths: std::ops::RangeInclusive<usize>) -> Option<Box<[u8]>> {
    decoded.filter(|bytes| lengths.contains(&bytes.len())).map(Vec::into_boxed_slice)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    thread_local! {
        /// Each hash that was compared on this thread: what an attacker with a clock could tell from.
        pub(in super::super) static WORK_DONE: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
    }

    const FEW: NonZeroU32 = NonZeroU32::new(2).unwrap();

    /// Passwords and what mosquitto_passwd 2.0.11, the `argon2` of its authors, which Mosquitto 2.1 is linked with, and
    /// OpenSSL made of them.
    const FROM_OTHERS: [(&str, &str); 8] = [
        // mosquitto_passwd -H sha512
        (
            "engine",
            "$6$tJzfdI3HEXubMJB3$Hs3xPSpx3gUEtGIvu4mrSL3tEcwaKrZXVxgia/STe19XSVpCwOATYjTIEIvw8a6JSneo9cnWtyBeeHb7SEA6pA==",
        ),
        // mosquitto_passwd
        (
            "engine",
            "$7$101$AUgQoy1cBNT0ZBD3$vdNpu3EwIugC8YomM2RiromYAHoisFBesF8y2EB874xan4hyTrjCTshRUAYo9FzT0mHqja1nWSJor6MF7X/yZA==",
        ),
        (
            "",
            "$7$101$d8HV3Gv1hkeAy+w/$u0XuPWlyIH/HOuIdfw98uC9V0OVAefeXLDyybAir9JQqFejpQMGquGdUYiBJ9yZl9ANl5SOmyEFxSLATROCcrQ==",
        ),
        // A salt of 64 bytes, as Mosquitto 2.1 has them, by OpenSSL's PBKDF2.
        (
            "engine",
            "$7$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$7htjUXFZXH8NJsxOb2ocx/PcteRpDbKbxgL1uyAue6rGyAd/cleLf2p95Z7yZPt2Taf43fcWLxS7Wou28KeaHA==",
        ),
        // argon2 -id, with the default of this server, with that of Mosquitto 2.1 (a hash of 64 bytes), with lanes
        ("engine", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$8/FE1hfLy0Yhu4aZL5wKiXNXBJr87VIB57WMFli4quk"),
        (
            "engine",
            "$argon2id$v=19$m=47104,t=1,p=1$c2FsdHNhbHRzYWx0$gF8o+Ck4mq2UfEMWvkeyHqkhJY3/GyaFU+dYZSA7EadNmJ2Si1TJFgTGCSb6vZa5rTGfZZzarKVDQTvWcaDutg",
        ),
        ("engine", "$argon2id$v=19$m=64,t=3,p=4$c29tZXNhbHQ$BlsH1CcyZIKqTSVIgfjxCw"),
        // RFC 7677
        (
            "pencil",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        ),
    ];

    #[test]
    fn what_others_stored_is_read_written_as_it_was_and_knows_its_password_and_no_other() {
        for (password, text) in FROM_OTHERS {
            let stored: Password = text.parse().unwrap();
            assert_eq!(stored.to_string(), text);
            assert!(stored.verify(password.as_bytes()), "{text}");
            for wrong in ["Engine", "engine ", "engineengine", "\u{1}", text] {
                assert!(!stored.verify(wrong.as_bytes()), "{wrong} for {text}");
            }
        }
    }

    #[test]
    fn what_this_server_stores_reads_back_and_knows_its_password() {
        let small = Work::Argon2id { memory_kib: 8, passes: 1, lanes: 1 };
        for work in [small, Work::Pbkdf2Sha512 { iterations: FEW }, Work::Sha512, Work::Scram { iterations: FEW }] {
            let stored = Password::derive(work, b"engine", [7; SALT_BYTES]);
            assert_eq!(stored.work(), work);
            assert_eq!(stored.to_string().parse(), Ok(stored.clone()));
            assert!(stored.verify(b"engine") && !stored.verify(b"engines"));
            assert_eq!(stored.scram().is_some(), matches!(work, Work::Scram { .. }));
        }
    }

    #[test]
    fn nobody_has_no_password_and_costs_what_somebody_does() {
        for (_, text) in FROM_OTHERS {
            let work = text.parse::<Password>().unwrap().work();
            let nobody = Password::of_nobody(work);
            assert_eq!(nobody.work(), work);
            assert!(!nobody.verify(b"") && !nobody.verify(&[0; 32]) && !nobody.verify(&[0; 64]));
        }
    }

    #[test]
    fn memory_that_another_hash_left_changes_nothing() {
        let hashed = |memory_kib, password: &str| {
            let work = Work::Argon2id { memory_kib, passes: 2, lanes: 2 };
            Password::derive(work, password.as_bytes(), [7; SALT_BYTES])
        };
        let small = hashed(16, "a");
        let large = hashed(1_024, "b");
        assert_eq!((hashed(16, "a"), hashed(1_024, "b")), (small, large.clone()));
        release_hash_memory();
        assert_eq!(hashed(1_024, "b"), large);
    }

    #[test]
    fn a_text_that_is_no_stored_password_says_which_part_is_wrong() {
        let [salt, hash] = ["c2FsdHNhbHRzYWx0c2FsdA", "8/FE1hfLy0Yhu4aZL5wKiXNXBJr87VIB57WMFli4quk"];
        let argon2 = |costs: &str| format!("$argon2id$v=19${costs}${salt}${hash}");
        let sha512 = BASE64.encode([1; SHA512_BYTES]);
        let cases = [
            (
                PasswordError::Unknown,
                vec![String::new(), "engine".into(), "$".into(), "$5$a$b".into(), "$2b$12$x".into()],
            ),
            (PasswordError::Unknown, vec![argon2("m=64,t=1,p=1").replace("2id", "2i"), "argon2id$v=19".into()]),
            (PasswordError::Form, vec![argon2("m=64,t=1"), argon2("t=1,m=64,p=1"), argon2("m=64,t=1,p=1,keyid=x")]),
            (
                PasswordError::Form,
                vec![argon2("m=+64,t=1,p=1"), argon2("m=64,t=1,p=1") + "$", "$6$a".into(), "$7$1$a".into()],
            ),
            (PasswordError::Form, vec![argon2("m=64,t=1,p=1").replace("v=19", "v=16"), "SCRAM-SHA-256$1".into()]),
            (PasswordError::Work, vec![argon2("m=7,t=1,p=1"), argon2("m=15,t=1,p=2"), argon2("m=262145,t=1,p=1")]),
            (PasswordError::Work, vec![argon2("m=64,t=0,p=1"), argon2("m=64,t=17,p=1"), argon2("m=64,t=1,p=0")]),
            (
                PasswordError::Work,
                vec![argon2("m=64000,t=1,p=17"), argon2("m=99999999999,t=1,p=1"), argon2("m=,t=1,p=1")],
            ),
            (PasswordError::Work, ["0", "-1", "10000001", "x", ""].map(|n| format!("$7${n}${salt}==${sha512}")).into()),
            (PasswordError::Salt, vec![format!("$6$AAAA${sha512}"), format!("$6$${sha512}"), format!("$6$!${sha512}")]),
            (PasswordError::Salt, vec![argon2("m=64,t=1,p=1").replace(salt, "AAAA")]),
            (PasswordError::Hash, vec![format!("$6${salt}==${hash}="), format!("$6${salt}==${sha512}=")]),
            (PasswordError::Hash, vec![argon2("m=64,t=1,p=1") + "=", argon2("m=64,t=1,p=1").replace(hash, "AAAA")]),
        ];
        for (error, texts) in cases {
            for text in texts {
                assert_eq!(text.parse::<Password>(), Err(error), "{text}");
            }
        }
    }

    #[test]
    fn nothing_printed_of_a_stored_password_helps_to_guess_it() {
        let stored: Password = FROM_OTHERS[4].1.parse().unwrap();
        let printed = format!("{stored:?}");
        assert_eq!(printed, "Password { work: Argon2id { memory_kib: 19456, passes: 2, lanes: 1 }, .. }");
    }

    proptest! {
        #[test]
        fn a_mutated_text_is_refused_or_written_as_it_was(
            which in 0..FROM_OTHERS.len(),
            at: prop::sample::Index,
            put in "[$=,:+/0-9A-Za-z]{0,3}",
        ) {
            let mut text = FROM_OTHERS[which].1.to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &put);
            if let Ok(stored) = text.parse::<Password>() {
                prop_assert!(stored.work().is_bounded());
                prop_assert_eq!(stored.to_string().parse(), Ok(stored));
            }
        }
    }
}
