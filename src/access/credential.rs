//! What a server stores of a password: a SCRAM-SHA-256 verifier (RFC 5802, RFC 7677). It proves that somebody knows the
//! password, by SCRAM or by the password itself, and is of no use to log in with.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub const SALT_BYTES: usize = 16;

/// RFC 7677 asks for at least 4,096. Every CONNECT with a password pays for it (about a millisecond), and by SCRAM a
/// microcontroller does.
pub const ITERATIONS_DEFAULT: NonZeroU32 = NonZeroU32::new(4_096).expect("4,096 is not zero");

/// So that a slip in a password file does not hold a thread for minutes.
pub const ITERATIONS_MAX: NonZeroU32 = NonZeroU32::new(10_000_000).expect("10,000,000 is not zero");

/// A SHA-256 digest, an HMAC by it, or a key as long.
pub(super) type Key = [u8; 32];

/// A password's verifier. Its text is that of PostgreSQL and RFC 5803:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) iterations: NonZeroU32,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl Credential {
    /// Slow by intent, never on a shard. The salt is fresh randomness.
    pub fn derive(password: &[u8], salt: [u8; SALT_BYTES], iterations: NonZeroU32) -> Self {
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&prepared(password), &salt, iterations.get());
        let stored_key = digest(&hmac(&salted, &[b"Client Key"]));
        Self { salt, iterations, stored_key, server_key: hmac(&salted, &[b"Server Key"]) }
    }

    /// Whether this is the password. Slow by intent, never on a shard; as slow for a wrong one as for the right one.
    pub fn verify(&self, password: &[u8]) -> bool {
        Self::derive(password, self.salt, self.iterations).stored_key.ct_eq(&self.stored_key).into()
    }
}

impl fmt::Debug for Credential {
    /// Without salt and keys, which would let a reader of logs try passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

/// Why a text is not a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialError {
    /// Not `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    Form,
    /// Not a number from 1 to [`ITERATIONS_MAX`].
    Iterations,
    /// Not [`SALT_BYTES`] bytes in base64.
    Salt,
    /// Not 32 bytes in base64.
    Key,
}

impl FromStr for Credential {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        let fields = text.strip_prefix("SCRAM-SHA-256$").ok_or(CredentialError::Form)?;
        let (work, keys) = fields.split_once('$').ok_or(CredentialError::Form)?;
        let (iterations, salt) = work.split_once(':').ok_or(CredentialError::Form)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(CredentialError::Form)?;
        let iterations = iterations.parse().map_err(|_| CredentialError::Iterations)?;
        if iterations > ITERATIONS_MAX {
            return Err(CredentialError::Iterations);
        }
        Ok(Self {
            salt: decoded(salt).ok_or(CredentialError::Salt)?,
            iterations,
            stored_key: decoded(stored_key).ok_or(CredentialError::Key)?,
            server_key: decoded(server_key).ok_or(CredentialError::Key)?,
        })
    }
}

/// Exactly `N` bytes in base64, padded and canonical.
pub(super) fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

/// The HMAC of the parts, one after the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

pub(super) fn digest(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

/// SCRAM prepares passwords by SASLprep. A password of MQTT is any bytes: those that SASLprep has no word for stand as
/// they are, which is what other servers do.
fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(match str::from_utf8(password).map(stringprep::saslprep) {
        Ok(Ok(Cow::Owned(text))) => text.into_bytes(),
        _ => password.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: NonZeroU32 = NonZeroU32::new(2).unwrap();

    #[test]
    fn a_credential_knows_its_password_and_no_other() {
        let credential = Credential::derive(b"pencil", [7; SALT_BYTES], FEW);
        assert!(credential.verify(b"pencil"));
        for wrong in [&b""[..], b"Pencil", b"pencil ", b"pencilpencil", &[0xff]] {
            assert!(!credential.verify(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn passwords_that_saslprep_makes_equal_are_equal_and_bytes_that_are_no_text_stand_as_they_are() {
        // RFC 4013, section 3: a soft hyphen maps to nothing, a Roman numeral to its letters.
        assert!(Credential::derive(b"IX", [7; SALT_BYTES], FEW).verify("I\u{ad}X".as_bytes()));
        assert!(Credential::derive(b"IX", [7; SALT_BYTES], FEW).verify("\u{2168}".as_bytes()));
        let bytes = Credential::derive(&[0xff, 0x00, 0xfe], [7; SALT_BYTES], FEW);
        assert!(bytes.verify(&[0xff, 0x00, 0xfe]) && !bytes.verify(&[0xff, 0x00]));
    }

    #[test]
    fn the_text_of_a_credential_reads_back_and_is_what_postgresql_writes() {
        // The keys that the exchange of RFC 7677, section 3, rests on.
        let salt = decoded("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = Credential::derive(b"pencil", salt, ITERATIONS_DEFAULT);
        let text = credential.to_string();
        assert_eq!(
            text,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_eq!(text.parse(), Ok(credential.clone()));
        assert_eq!(format!("{credential:?}"), "Credential { iterations: 4096, .. }");
    }

    #[test]
    fn a_text_that_is_no_credential_says_which_part_is_wrong() {
        let [salt, key] = ["W22ZaJ0SNY7soEsUEjb6gQ==", "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="];
        let cases = [
            (String::new(), CredentialError::Form),
            (format!("SCRAM-SHA-1$1:{salt}${key}:{key}"), CredentialError::Form),
            (format!("SCRAM-SHA-256$1:{salt}${key}"), CredentialError::Form),
            (format!("SCRAM-SHA-256$0:{salt}${key}:{key}"), CredentialError::Iterations),
            (format!("SCRAM-SHA-256$10000001:{salt}${key}:{key}"), CredentialError::Iterations),
            (format!("SCRAM-SHA-256$1:AAAA${key}:{key}"), CredentialError::Salt),
            (format!("SCRAM-SHA-256$1:{salt}$AAAA:{key}"), CredentialError::Key),
            (format!("SCRAM-SHA-256$1:{salt}${key}:{key}="), CredentialError::Key),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Credential>(), Err(error), "{text}");
        }
    }
}
