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
use serde_json::value::RawValue;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_EC_P256;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::text_error::TextError;

/// Each key costs a token that names none a try.
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
        let text = str::from_utf8(text).map_err(|_| first_line("not UTF-8".into()))?;
        let set: KeySet<'_> = serde_json::from_str(text).map_err(|error| located(1, &error))?;
        let of_any_kind = set.keys.len();
        let keys: Result<Vec<_>, _> = set.keys.into_iter().map(|jwk| Key::of_jwk(line_of(text, jwk), jwk)).collect();
        let keys: Vec<_> = keys?.into_iter().flatten().collect();
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
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The line in which a part of a text begins, counted from one.
fn line_of(text: &str, part: &RawValue) -> usize {
    let start = part.get().as_ptr().addr() - text.as_ptr().addr();
    1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count()
}

impl Key {
    /// None: of a kind or for a use that is not ours.
    fn of_jwk(line: usize, jwk: &RawValue) -> Result<Option<Self>, TextError> {
        let members: JwkMembers = serde_json::from_str(jwk.get()).map_err(|error| located(line, &error))?;
        members.key().map_err(|what| TextError { line, what })
    }
}

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

impl JwkMembers {
    fn key(&self) -> Result<Option<Key>, String> {
        let kind = self.kty.as_str().ok_or("a key whose kty is no text")?;
        let id = match &self.kid {
            Value::Null => None,
            Value::String(id) => Some(id.as_str().into()),
            _ => return Err("a key whose kid is no text".into()),
        };
        let algorithm = match (kind, self.crv.as_str()) {
            ("oct", _) => JwtAlgorithm::Hs256,
            ("RSA", _) => JwtAlgorithm::Rs256,
            ("EC", Some("P-256")) => JwtAlgorithm::Es256,
            _ => return Ok(None),
        };
        if !self.is_for_signatures() || !self.alg.is_null() && self.alg != algorithm.name() {
            return Ok(None);
        }
        let material = match algorithm {
            JwtAlgorithm::Hs256 => Material::secret(&bytes("k", &self.k)?)?,
            JwtAlgorithm::Rs256 => Material::rsa(&bytes("n", &self.n)?, &bytes("e", &self.e)?)?,
            JwtAlgorithm::Es256 => Material::p256(&bytes("x", &self.x)?, &bytes("y", &self.y)?)?,
        };
        Ok(Some(Key { id, material }))
    }

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

/// With the line, of a text that begins in the first one, and without what stands there: it may be a secret.
fn located(first: usize, error: &serde_json::Error) -> TextError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&place).unwrap_or(&text);
    let is_foreign = error.classify() == Category::Data && what.starts_with("invalid ");
    let what =
        if is_foreign { "an object with a list of keys is expected: {\"keys\": [{\"kty\": ...}]}" } else { what };
    TextError { line: first + error.line().max(1) - 1, what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_KEYS: &str = include_str!("rfc7515_keys.json");

    /// A public key of 1,024 bits, and one of P-384.
    const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC1vS+3A01tZ12vfg5H52X810eK
GTfwk7fSiWt9UskUWXAZ4y4M9cXVZdqKYJkei+CdgQr242/2EjGrSMTgE48mfLjh
SgkJ25Z5q/J+d3ZLXC0VdEAZ7CoyDXgXuJsFYq9m0xQCPSsTJ1FY7k6hOu1m2zWT
Z6pT8eX3g+UTbyuCdwIDAQAB
-----END PUBLIC KEY-----
";
    const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEuatlDAMG9jp7WDPzN+M8YmOc6O5kNo4J
DLJ+R9m/5dBk6R/kgPJAy+azuwwxiLk5r2YdgE+1MBl+ZZWlVZwVM8rbvO/JuvJh
nb17F89mrnKKQ/qfO8rTQZ2NvPTAqKm0
-----END PUBLIC KEY-----
";
    /// Of as many bytes as a P-256 key, on another curve.
    const SECP256K1: &str = "-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE3F6JWB11zGnm4n5ifiAtqIn4S9mzBzex
hKqBDvYkvSh8R8hg3SwlGdxl7UaTZWy6lCtgkHHy8GBtZHi3F/RI5Q==
-----END PUBLIC KEY-----
";
    /// The RSA key of RFC 7515.
    const RSA_2048: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj
NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz
P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo
9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB
EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX
FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp
oQIDAQAB
-----END PUBLIC KEY-----
";

    fn jwks(text: impl AsRef<str>) -> Result<JwtKeys, TextError> {
        let mut keys = JwtKeys::default();
        keys.add_jwks(text.as_ref().as_bytes()).map(|()| keys)
    }

    fn pem(text: impl AsRef<[u8]>) -> Result<JwtKeys, TextError> {
        let mut keys = JwtKeys::default();
        keys.add_pem(text.as_ref()).map(|()| keys)
    }

    fn algorithms(keys: &JwtKeys) -> Vec<JwtAlgorithm> {
        keys.0.iter().map(|key| key.material.algorithm()).collect()
    }

    #[test]
    fn a_set_has_the_keys_that_are_for_our_signatures_and_no_others() {
        assert_eq!(algorithms(&jwks(RFC_KEYS).unwrap()), JwtAlgorithm::ALL);
        let ours = r#"{"kty":"oct","kid":"a","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0","alg":"HS256","more":[1]}"#;
        for other in [
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#,
            r#"{"kty":"EC"}"#,
            r#"{"kty":"new","use":7}"#,
            &ours.replace("HS256", "HS512"),
            &ours.replace("HS256", "none"),
            &ours.replace("\"more\"", "\"use\":\"enc\",\"more\""),
            &ours.replace("\"more\"", "\"key_ops\":[\"encrypt\"],\"more\""),
            &ours.replace("\"more\"", "\"key_ops\":7,\"more\""),
        ] {
            let keys = jwks(format!(r#"{{"keys":[{other},{ours}]}}"#)).unwrap();
            assert_eq!(algorithms(&keys), [JwtAlgorithm::Hs256], "{other}");
            let error = jwks(format!(r#"{{"keys":[{other}]}}"#)).unwrap_err();
            assert_eq!(error.what, "none of its 1 keys is one for HS256, RS256 or ES256 signatures");
        }
    }

    #[test]
    fn a_bad_set_says_where_and_what_and_nothing_secret() {
        let set = |members: &str| format!("{{\n\"keys\": [\n{{\"kty\":\"oct\",\n{members}}}\n]}}");
        let cases = [
            ("".into(), 1, "EOF while parsing a value"),
            ("{\n\n".into(), 3, "EOF while parsing an object"),
            ("{}".into(), 1, "missing field `keys`"),
            (r#"{"keys":"topsecret"}"#.into(), 1, "an object with a list of keys is expected"),
            (r#"["topsecret"]"#.into(), 1, "an object with a list of keys is expected"),
            (r#"{"keys":["topsecret"]}"#.into(), 1, "an object with a list of keys is expected"),
            (set("\"k\":\"dG9wc2VjcmV0\""), 3, "a secret of 9 bytes could be guessed from a token"),
            (set("\"k\":\"topsecret!\""), 3, "a key whose k is not base64url"),
            (set("\"k\":7"), 3, "a key whose k is missing or no text"),
            (set("\"kid\":7,\"k\":\"dG9wc2VjcmV0\""), 3, "a key whose kid is no text"),
            (set("\"k\":\"topsecret\",\"k\":\"topsecret\""), 4, "duplicate field `k`"),
            (set("\"k\":\"topsecret").replace("}\n", ""), 4, "EOF while parsing a string"),
            (set("\"kty\":\"oct\",\"k\":\"topsecret\""), 4, "duplicate field `kty`"),
        ];
        for (text, line, what) in cases {
            let error = jwks(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.what.starts_with(what), "{text}: {error}");
            assert!(!error.what.contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn a_weak_or_broken_public_key_of_a_set_is_refused() {
        let rsa = |n: &[u8], e: &str| {
            format!(r#"{{"keys":[{{"kty":"RSA","n":"{}","e":"{e}"}}]}}"#, URL_SAFE_NO_PAD.encode(n))
        };
        assert!(jwks(rsa(&[0xff; 256], "AQAB")).is_ok());
        // A zero in front is no bit.
        let error = jwks(rsa(&[&[0, 0x7f][..], &[0xff; 255]].concat(), "AQAB")).unwrap_err();
        assert_eq!(error.what, "an RSA key of 2047 bits: 2048 to 8192 are taken");
        assert!(jwks(rsa(&[0xff; 1_025], "AQAB")).is_err());
        assert!(jwks(rsa(&[], "AQAB")).is_err());
        for exponent in ["", "AA", "AQ", "Ag", "AQAA", "AgAAAAE", "AQAAAAAB"] {
            assert!(jwks(rsa(&[0xff; 256], exponent)).unwrap_err().what.contains("exponent"), "{exponent}");
        }
        for (x, y) in [(31, 32), (32, 33), (0, 64)] {
            let [x, y] = [x, y].map(|length| URL_SAFE_NO_PAD.encode(vec![1; length]));
            let key = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}]}}"#);
            assert!(jwks(key).unwrap_err().what.contains("coordinates"));
        }
    }

    #[test]
    fn pem_has_public_keys_of_rsa_and_of_p_256() {
        let own = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["a".into()]).unwrap().self_signed(&own).unwrap();
        let both = format!("A comment.\n{}{}{RSA_2048}", own.public_key_pem(), certificate.pem());
        let keys = pem(both).unwrap();
        assert_eq!(algorithms(&keys), [JwtAlgorithm::Es256, JwtAlgorithm::Es256, JwtAlgorithm::Rs256]);
        let of_set = jwks(RFC_KEYS).unwrap();
        let [Material::Rsa { modulus: one, exponent: e }, Material::Rsa { modulus: other, exponent: f }] =
            [&keys.0[2].material, &of_set.0[1].material]
        else {
            panic!("RSA keys")
        };
        assert_eq!((one, e), (other, f));
        let damaged = RSA_2048.replacen("MII", "MIJ", 1);
        for (text, what) in [
            ("", "no key in it"),
            ("secretsecretsecret", "no key in it"),
            (&own.serialize_pem(), "a private key"),
            (RSA_1024, "an RSA key of 1024 bits"),
            (P384, "an elliptic curve's key that is not of P-256"),
            (SECP256K1, "an elliptic curve's key that is not of P-256"),
            (&damaged, "a PUBLIC KEY that is none"),
            (&RSA_2048[..200], "not PEM"),
            (&RSA_2048.replacen("MII", "M*I", 1), "not PEM"),
        ] {
            let error = pem(text).unwrap_err();
            assert!(error.what.starts_with(what), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_is_a_file_without_its_last_line_break_and_not_a_short_one() {
        let secret = [b's'; SECRET_BYTES_MIN];
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), b"message");
        for end in ["", "\n", "\r\n"] {
            let mut keys = JwtKeys::default();
            keys.add_secret(&[&secret[..], end.as_bytes()].concat()).unwrap();
            assert!(keys.verify(JwtAlgorithm::Hs256, None, b"message", tag.as_ref()), "{end:?}");
        }
        let error = JwtKeys::default().add_secret(&[&secret[1..], b"\n"].concat()).unwrap_err();
        assert!(error.what.starts_with("a secret of 31 bytes") && !error.what.contains("sss"), "{error}");
    }

    #[test]
    fn there_are_no_more_keys_than_a_token_may_cost() {
        let mut keys = JwtKeys::default();
        for _ in 0..KEYS_MAX {
            keys.add_secret(&[b's'; 32]).unwrap();
        }
        assert!(keys.add_secret(&[b's'; 32]).unwrap_err().what.starts_with("65 keys"));
    }
}
