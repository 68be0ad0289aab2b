//! The keys that tokens are signed with: a secret, a PEM file's public keys, or a JSON Web Key Set (RFC 7517). A key knows
//! the one algorithm it is good for, so no token can choose another one for it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_EC_P256;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::text_error::TextError;

/// Each key without an identifier costs every token of its algorithm a try, some 20 µs for RSA.
pub const KEYS_MAX: usize = 64;

/// A shorter secret can be guessed from one token (RFC 7518, section 3.2, asks for as many bytes as the hash has).
pub const SECRET_BYTES_MIN: usize = 32;

/// What RFC 7518, section 3.3, asks for, and what is not too slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

const COORDINATE_BYTES: usize = 32;

/// How a token may be signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JwtAlgorithm {
    Hs256,
    Rs256,
    Es256,
}

impl JwtAlgorithm {
    pub const ALL: [Self; 3] = [Self::Hs256, Self::Rs256, Self::Es256];

    /// As tokens write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

impl FromStr for JwtAlgorithm {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(())
    }
}

/// From as many sources as there are.
#[derive(Clone, Default, Debug)]
pub struct JwtKeys(Vec<Key>);

impl JwtKeys {
    /// A secret for HS256: a file's bytes without the line break at their end, for which editors are to blame.
    pub fn add_secret(&mut self, text: &[u8]) -> Result<(), TextError> {
        let secret = text.strip_suffix(b"\n").unwrap_or(text);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        let material = Material::secret(secret).map_err(|what| TextError { line: 1, what })?;
        self.add([Key { id: None, material }])
    }

    /// Each `PUBLIC KEY` and `CERTIFICATE` of a PEM file, whatever else it has.
    pub fn add_pem(&mut self, text: &[u8]) -> Result<(), TextError> {
        let sections: Result<Vec<_>, _> = <(SectionKind, Vec<u8>)>::pem_slice_iter(text).collect();
        let sections = sections.map_err(|_| first_line("not PEM: a BEGIN line, base64, an END line".into()))?;
        let materials: Result<Vec<_>, _> = sections.iter().filter_map(Material::of_section).collect();
        let keys: Vec<_> =
            materials.map_err(first_line)?.into_iter().map(|material| Key { id: None, material }).collect();
        if keys.is_empty() {
            return Err(first_line("no key in it: a PUBLIC KEY or a CERTIFICATE in PEM is expected".into()));
        }
        self.add(keys)
    }

    /// A JSON Web Key Set. Keys for other uses and of other kinds are passed over (RFC 7517, section 5).
    pub fn add_jwks(&mut self, text: &[u8]) -> Result<(), TextError> {
        let set: KeySet = serde_json::from_slice(text).map_err(|error| located(&error))?;
        let of_any_kind = set.keys.len();
        let keys: Vec<_> = set.keys.into_iter().filter_map(|jwk| jwk.0).collect();
        if keys.is_empty() {
            let what = format!("none of its {of_any_kind} keys is one for HS256, RS256 or ES256 signatures");
            return Err(first_line(what));
        }
        self.add(keys)
    }

    fn add(&mut self, keys: impl IntoIterator<Item = Key>) -> Result<(), TextError> {
        self.0.extend(keys);
        if self.0.len() <= KEYS_MAX {
            return Ok(());
        }
        Err(first_line(format!("{} keys with those of the other sources, {KEYS_MAX} are the most", self.0.len())))
    }

    /// Whether a token by this algorithm could be genuine.
    pub(super) fn has(&self, algorithm: JwtAlgorithm) -> bool {
        self.0.iter().any(|key| key.material.algorithm() == algorithm)
    }

    /// Whether one of the keys signed the message. A key that has an identifier is not tried for a token with another
    /// one.
    pub(super) fn verify(&self, algorithm: JwtAlgorithm, id: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        let is_meant = |key: &&Key| match (&key.id, id) {
            (Some(own), Some(id)) => **own == *id,
            _ => true,
        };
        let keys = self.0.iter().filter(|key| key.material.algorithm() == algorithm).filter(is_meant);
        keys.into_iter().any(|key| key.material.verify(message, signature))
    }
}

#[derive(Clone, Debug)]
struct Key {
    id: Option<Box<str>>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Secret(hmac::Key),
    /// Big endian, without zeros in front.
    Rsa {
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
    /// An uncompressed point.
    P256([u8; 1 + 2 * COORDINATE_BYTES]),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm().name())
    }
}

impl Material {
    fn secret(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "a secret of {} bytes could be guessed from a token: {SECRET_BYTES_MIN} random bytes are the least",
                bytes.len()
            ));
        }
        Ok(Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let [modulus, exponent] = [modulus, exponent].map(without_zeros);
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(format!("an RSA key of {bits} bits: {} to {} are taken", RSA_BITS.start(), RSA_BITS.end()));
        }
        // What ring takes: 3 to 2^33 - 1, odd.
        let is_small = exponent.len() < 5 || exponent.len() == 5 && exponent[0] < 2;
        if !is_small || exponent <= &[1][..] || exponent[exponent.len() - 1].is_multiple_of(2) {
            return Err("an RSA key with an exponent that is none (65537 is the usual one)".into());
        }
        Ok(Self::Rsa { modulus: modulus.into(), exponent: exponent.into() })
    }

    fn p256(x: &[u8], y: &[u8]) -> Result<Self, String> {
        if [x.len(), y.len()] != [COORDINATE_BYTES; 2] {
            return Err(format!("a P-256 key whose coordinates are not of {COORDINATE_BYTES} bytes each"));
        }
        let mut point = [4; 1 + 2 * COORDINATE_BYTES];
        point[1..=COORDINATE_BYTES].copy_from_slice(x);
        point[1 + COORDINATE_BYTES..].copy_from_slice(y);
        Ok(Self::P256(point))
    }

    /// None: nothing that says a key.
    fn of_section((kind, der): &(SectionKind, Vec<u8>)) -> Option<Result<Self, String>> {
        match kind {
            SectionKind::PublicKey => Some(match SubjectPublicKeyInfo::from_der(der) {
                Ok((_, info)) => Self::of_info(&info),
                Err(_) => Err("a PUBLIC KEY that is none".into()),
            }),
            SectionKind::Certificate => Some(match X509Certificate::from_der(der) {
                Ok((_, certificate)) => Self::of_info(certificate.public_key()),
                Err(_) => Err("a CERTIFICATE that is none".into()),
            }),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                Some(Err("a private key: who checks tokens needs its PUBLIC KEY only".into()))
            }
            _ => None,
        }
    }

    fn of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, String> {
        match info.parsed() {
            Ok(PublicKey::RSA(key)) => Self::rsa(key.modulus, key.exponent),
            Ok(PublicKey::EC(point)) => {
                let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
                match (curve, point.data()) {
                    (Some(curve), [4, rest @ ..]) if curve == OID_EC_P256 && rest.len() == 2 * COORDINATE_BYTES => {
                        Self::p256(&rest[..COORDINATE_BYTES], &rest[COORDINATE_BYTES..])
                    }
                    _ => Err("an elliptic curve's key that is not of P-256, or compressed".into()),
                }
            }
            _ => Err("a key that is neither of RSA nor of P-256".into()),
        }
    }

    fn algorithm(&self) -> JwtAlgorithm {
        match self {
            Self::Secret(_) => JwtAlgorithm::Hs256,
            Self::Rsa { .. } => JwtAlgorithm::Rs256,
            Self::P256(_) => JwtAlgorithm::Es256,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature),
            Self::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
        }
        .is_ok()
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

/// None: of a kind or for a use that is not ours.
#[derive(Deserialize)]
#[serde(try_from = "JwkMembers")]
struct Jwk(Option<Key>);

/// As they come: of any type, so that no error repeats what stands there.
#[derive(Deserialize)]
struct JwkMembers {
    kty: Value,
    #[serde(default)]
    kid: Value,
    #[serde(default)]
    alg: Value,
    #[serde(default, rename = "use")]
    usage: Value,
    #[serde(default)]
    key_ops: Value,
    #[serde(default)]
    crv: Value,
    #[serde(default)]
    k: Value,
    #[serde(default)]
    n: Value,
    #[serde(default)]
    e: Value,
    #[serde(default)]
    x: Value,
    #[serde(default)]
    y: Value,
}

impl TryFrom<JwkMembers> for Jwk {
    type Error = String;

    fn try_from(jwk: JwkMembers) -> Result<Self, String> {
        let kind = jwk.kty.as_str().ok_or("a key whose kty is no text")?;
        let id = match &jwk.kid {
            Value::Null => None,
            Value::String(id) => Some(id.as_str().into()),
            _ => return Err("a key whose kid is no text".into()),
        };
        if !jwk.is_for_signatures() {
            return Ok(Self(None));
        }
        let material = match (kind, jwk.crv.as_str()) {
            ("oct", _) => Material::secret(&bytes("k", &jwk.k)?)?,
            ("RSA", _) => Material::rsa(&bytes("n", &jwk.n)?, &bytes("e", &jwk.e)?)?,
            ("EC", Some("P-256")) => Material::p256(&bytes("x", &jwk.x)?, &bytes("y", &jwk.y)?)?,
            _ => return Ok(Self(None)),
        };
        let is_ours = jwk.alg.is_null() || jwk.alg == material.algorithm().name();
        Ok(Self(is_ours.then_some(Key { id, material })))
    }
}

impl JwkMembers {
    fn is_for_signatures(&self) -> bool {
        let may_verify = match &self.key_ops {
            Value::Null => true,
            // Who may sign with a secret may verify with it.
            operations => {
                operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify" || one == "sign"))
            }
        };
        may_verify && (self.usage.is_null() || self.usage == "sig")
    }
}

fn bytes(member: &str, value: &Value) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = value.as_str().ok_or_else(|| format!("a key whose {member} is missing or no text"))?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("a key whose {member} is not base64url"))?;
    Ok(Zeroizing::new(bytes))
}

fn first_line(what: String) -> TextError {
    TextError { line: 1, what }
}

/// With the line, and without what stands there: it may be a secret.
fn located(error: &serde_json::Error) -> TextError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&place).unwrap_or(&text);
    let is_foreign = error.classify() == Category::Data && what.starts_with("invalid ");
    let what =
        if is_foreign { "an object with a list of keys is expected: {\"keys\": [{\"kty\": ...}]}" } else { what };
    TextError { line: error.line().max(1), what: what.into() }
}
