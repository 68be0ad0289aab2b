//! JSON Web Tokens (RFC 7519) as passwords. Which keys and algorithms there are is configured; of what a token's header
//! says, only `alg` and `kid` are looked at, and they choose among those. What is in a token is looked at once its
//! signature is known to be good.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::authenticator::{Authenticator, Login, Proof};
use super::claims::{AclClaim, numeric_date};
use super::guard::Denial;
use super::jwks::{JwtAlgorithm, JwtKeys};
use super::rules::Rules;
use crate::base::{Millis, Timestamp};

/// Tokens with groups and filters have a few thousand. What is longer costs nothing but the search for its dots.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What tokens have to be and to say. Of the claims' names an empty one is none, of issuer and audience as well.
#[derive(Clone, Default, Debug)]
pub struct JwtSettings {
    pub keys: JwtKeys,
    pub algorithms: Vec<JwtAlgorithm>,
    pub user_claim: Box<str>,
    pub client_id_claim: Box<str>,
    pub groups_claim: Box<str>,
    /// Where it is named, a token without it permits nothing.
    pub acl_claim: Box<str>,
    pub issuer: Box<str>,
    /// Where there is none, a token with an audience is for somebody else (RFC 7519, section 4.1.3).
    pub audience: Box<str>,
    pub leeway_secs: u32,
}

/// Why no token could ever be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JwtSettingsError {
    NoUserClaim,
    NoKey,
}

impl fmt::Display for JwtSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUserClaim => "user_claim is empty: name the claim that has the user's name, as in \"sub\"",
            Self::NoKey => "no key for any of the algorithms: name a secret_file for HS256, a key_file or jwks_file",
        })
    }
}

/// Takes tokens. Those of others, and what is no token at all, are left to the next authenticator.
#[derive(Clone, Debug)]
pub struct Jwt {
    settings: JwtSettings,
}

/// What is wrong with a token. Nobody outside is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flaw {
    Header,
    Algorithm,
    /// It has extensions that must be understood (RFC 7515, section 4.1.11).
    Critical,
    Signature,
    Payload,
    Expiry,
    Expired,
    NotBefore,
    NotYet,
    Issuer,
    Audience,
    User,
    ClientId,
    Groups,
    Acl,
}

impl Jwt {
    pub fn new(settings: JwtSettings) -> Result<Self, JwtSettingsError> {
        if settings.user_claim.is_empty() {
            return Err(JwtSettingsError::NoUserClaim);
        }
        if !settings.algorithms.iter().any(|algorithm| settings.keys.has(*algorithm)) {
            return Err(JwtSettingsError::NoKey);
        }
        Ok(Self { settings })
    }

    fn check(&self, now: Timestamp, login: &Login) -> Option<Result<Proof, Flaw>> {
        let token = Parts::of(login.password.as_deref()?)?;
        Some(self.proof(now, login, &token))
    }

    fn proof(&self, now: Timestamp, login: &Login, token: &Parts<'_>) -> Result<Proof, Flaw> {
        self.verify(token)?;
        let payload = decoded(token.payload).ok_or(Flaw::Payload)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| Flaw::Payload)?;
        let expires_at = self.time(now, &claims)?;
        self.parties(&claims)?;
        Ok(Proof {
            user: Some(self.name(login, &claims)?.into()),
            groups: self.groups(&claims)?,
            expires_at: Some(expires_at),
            claims: self.acl(&claims)?.map(Arc::new),
        })
    }

    fn verify(&self, token: &Parts<'_>) -> Result<(), Flaw> {
        let header: Header = serde_json::from_slice(&token.header).map_err(|_| Flaw::Header)?;
        let algorithm = header.alg.parse().map_err(|()| Flaw::Algorithm)?;
        if !self.settings.algorithms.contains(&algorithm) {
            return Err(Flaw::Algorithm);
        }
        if !header.crit.is_null() {
            return Err(Flaw::Critical);
        }
        let signature = decoded(token.signature).ok_or(Flaw::Signature)?;
        let is_genuine = self.settings.keys.verify(algorithm, header.kid.as_deref(), token.signed, &signature);
        is_genuine.then_some(()).ok_or(Flaw::Signature)
    }

    /// Until when it is good, if it is now.
    fn time(&self, now: Timestamp, claims: &Claims) -> Result<Timestamp, Flaw> {
        let leeway = Millis::from_secs(self.settings.leeway_secs);
        let Some(Value::Number(expiry)) = claims.get("exp") else { return Err(Flaw::Expiry) };
        let expires_at = numeric_date(expiry).ok_or(Flaw::Expiry)? + leeway;
        if now >= expires_at {
            return Err(Flaw::Expired);
        }
        match claims.get("nbf") {
            None => Ok(expires_at),
            Some(Value::Number(begin)) if now + leeway >= numeric_date(begin).ok_or(Flaw::NotBefore)? => Ok(expires_at),
            Some(Value::Number(_)) => Err(Flaw::NotYet),
            Some(_) => Err(Flaw::NotBefore),
        }
    }

    /// From whom it is, and for whom.
    fn parties(&self, claims: &Claims) -> Result<(), Flaw> {
        let JwtSettings { issuer, audience, .. } = &self.settings;
        if !issuer.is_empty() && claims.text("iss") != Some(issuer) {
            return Err(Flaw::Issuer);
        }
        let is_for_us = match claims.get("aud") {
            None => audience.is_empty(),
            Some(_) if audience.is_empty() => false,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
            Some(one) => one.as_str() == Some(audience),
        };
        is_for_us.then_some(()).ok_or(Flaw::Audience)
    }

    fn name<'a>(&self, login: &Login, claims: &'a Claims) -> Result<&'a str, Flaw> {
        let JwtSettings { user_claim, client_id_claim, .. } = &self.settings;
        let user = claims.text(user_claim).ok_or(Flaw::User)?;
        let given = login.user_name.as_deref().unwrap_or_default();
        if user.is_empty() || user.contains(char::is_control) || !given.is_empty() && given != user {
            return Err(Flaw::User);
        }
        if !client_id_claim.is_empty() && claims.text(client_id_claim) != Some(&login.client_id) {
            return Err(Flaw::ClientId);
        }
        Ok(user)
    }

    fn groups(&self, claims: &Claims) -> Result<Box<[Box<str>]>, Flaw> {
        let name = |value: &Value| Ok(value.as_str().ok_or(Flaw::Groups)?.into());
        match claims.get(&self.settings.groups_claim) {
            _ if self.settings.groups_claim.is_empty() => Ok(Box::default()),
            None => Ok(Box::default()),
            Some(Value::Array(groups)) => groups.iter().map(name).collect(),
            Some(group) => Ok(Box::new([name(group)?])),
        }
    }

    fn acl(&self, claims: &Claims) -> Result<Option<Rules>, Flaw> {
        if self.settings.acl_claim.is_empty() {
            return Ok(None);
        }
        let acl = match claims.get(&self.settings.acl_claim) {
            None => AclClaim::default(),
            Some(acl) => AclClaim::deserialize(acl).map_err(|_| Flaw::Acl)?,
        };
        acl.rules().map(Some).ok_or(Flaw::Acl)
    }
}

impl Authenticator for Jwt {
    fn authenticate(&self, now: Timestamp, login: &Login) -> Option<Result<Proof, Denial>> {
        Some(self.check(now, login)?.map_err(|_| Denial::BadUserNameOrPassword))
    }
}

/// A token that is one by its shape: three parts, the first of them an object in JSON in base64url.
struct Parts<'a> {
    header: Vec<u8>,
    payload: &'a [u8],
    signature: &'a [u8],
    /// Header and payload, with the dot between them.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(token: &'a [u8]) -> Option<Self> {
        let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (first, second) = (dots.next()?, dots.next()?);
        if dots.next().is_some() || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = decoded(&token[..first])?;
        let is_object = header.trim_ascii_start().starts_with(b"{");
        is_object.then_some(Self {
            header,
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
            signed: &token[..second],
        })
    }
}

/// Without padding, and in the one way in which these bytes are written (RFC 7515, section 2).
fn decoded(part: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// All that is looked at of a header. Keys that it brings (`jwk`, `jku`, `x5c`, `x5u`) are those of whoever wrote it.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(default)]
    crit: Value,
}

/// A token's payload. None of its members is there twice: another reader might have seen the other one.
struct Claims(BTreeMap<String, Value>);

impl Claims {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
        let mut claims = BTreeMap::new();
        while let Some((name, value)) = members.next_entry()? {
            if claims.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(Claims(claims))
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::rsa::KeyPairComponents;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    };
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::super::guard::Entrance;
    use super::*;

    /// RFC 7515, appendix A: a secret, an RSA key, a P-256 key.
    const RFC_KEYS: &str = include_str!("rfc7515_keys.json");
    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const EXP: u64 = 1_700_000_060;
    const USER: &str = r#"{"sub":"ann","exp":1700000060}"#;

    /// A member of one of those keys.
    fn member(key: usize, name: &str) -> Vec<u8> {
        let keys: Value = serde_json::from_str(RFC_KEYS).unwrap();
        URL_SAFE_NO_PAD.decode(keys["keys"][key][name].as_str().unwrap()).unwrap()
    }

    fn sign_hs256(secret: &[u8], message: &str) -> Vec<u8> {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        ring::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
    }

    fn sign(algorithm: &str, message: &str) -> Vec<u8> {
        match algorithm {
            "HS256" => sign_hs256(&member(0, "k"), message),
            "RS256" => {
                let [n, e, d, p, q, dp, dq, qi] =
                    ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(|name| member(1, name));
                let public_key = RsaPublicKeyComponents { n, e };
                let parts = KeyPairComponents { public_key, d, p, q, dP: dp, dQ: dq, qInv: qi };
                let pair = RsaKeyPair::from_components(&parts).unwrap();
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
            "ES256" => {
                let point = [vec![4], member(2, "x"), member(2, "y")].concat();
                let (random, signing) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
                let private = member(2, "d");
                let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &private, &point, &random).unwrap();
                pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec()
            }
            _ => unreachable!(),
        }
    }

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Signed by what key the algorithm says, whatever header and payload are.
    fn token(algorithm: &str, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(payload));
        let signature = encoded(sign(algorithm, &signed));
        format!("{signed}.{signature}")
    }

    fn hs256(payload: impl fmt::Display) -> String {
        token("HS256", r#"{"alg":"HS256"}"#, &payload.to_string())
    }

    fn rfc_keys() -> JwtKeys {
        let mut keys = JwtKeys::default();
        keys.add_jwks(RFC_KEYS.as_bytes()).unwrap();
        keys
    }

    fn settings() -> JwtSettings {
        JwtSettings {
            keys: rfc_keys(),
            algorithms: JwtAlgorithm::ALL.into(),
            user_claim: "sub".into(),
            ..JwtSettings::default()
        }
    }

    fn login(token: impl AsRef<[u8]>) -> Login {
        Login {
            entrance: Entrance::default(),
            client_id: "sensor".into(),
            user_name: None,
            password: Some(Zeroizing::new(token.as_ref().into())),
        }
    }

    fn check(settings: JwtSettings, token: &str) -> Option<Result<Proof, Flaw>> {
        Jwt::new(settings).unwrap().check(NOW, &login(token))
    }

    fn flaw(settings: JwtSettings, token: &str) -> Flaw {
        check(settings, token).expect("a token").expect_err("a bad one")
    }

    fn proof(settings: JwtSettings, token: &str) -> Proof {
        check(settings, token).expect("a token").expect("a good one")
    }

    #[test]
    fn the_examples_of_rfc_7515_are_signed_and_expired() {
        let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let examples = [
            ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            (
                "eyJhbGciOiJSUzI1NiJ9",
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb\
                 F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
                 LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy\
                 wlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            ),
            (
                "eyJhbGciOiJFUzI1NiJ9",
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            ),
        ];
        let jwt = Jwt::new(JwtSettings { user_claim: "iss".into(), ..settings() }).unwrap();
        for (header, signature) in examples {
            let login = login(format!("{header}.{payload}.{signature}"));
            assert_eq!(jwt.check(NOW, &login), Some(Err(Flaw::Expired)), "{header}");
            let proof = jwt.check(Timestamp(1_300_819_379_999), &login).unwrap().unwrap();
            assert_eq!((proof.user.as_deref(), proof.expires_at), (Some("joe"), Some(Timestamp(1_300_819_380_000))));
        }
    }

    #[test]
    fn a_good_token_says_who_somebody_is_by_each_algorithm() {
        for algorithm in ["HS256", "RS256", "ES256"] {
            let proof = proof(settings(), &token(algorithm, &json!({ "alg": algorithm }).to_string(), USER));
            let expected =
                Proof { user: Some("ann".into()), expires_at: Some(Timestamp(EXP * 1_000)), ..Proof::default() };
            assert_eq!(proof, expected, "{algorithm}");
        }
    }

    #[test]
    fn what_is_no_token_is_left_to_the_next_authenticator() {
        let good = hs256(USER);
        let jwe = format!("{good}.AAAA.AAAA");
        let long = format!("{good}{}", "A".repeat(TOKEN_BYTES_MAX));
        let padded = good.replacen('.', "=.", 1);
        let array = format!("{}.{}.{}", encoded("[]"), encoded(USER), encoded("x"));
        for text in ["", "pencil", ".", "..", "...", "a.b.c", "eyJ", "www.example.com", &jwe, &long, &padded, &array] {
            assert_eq!(check(settings(), text), None, "{text}");
        }
        let jwt = Jwt::new(settings()).unwrap();
        assert_eq!(jwt.check(NOW, &login([0xff, b'.', 0xff, b'.', 0xff])), None);
        assert_eq!(jwt.check(NOW, &Login { password: None, ..login("") }), None);
    }

    #[test]
    fn a_header_chooses_no_algorithm_and_no_key_that_is_not_configured() {
        let forged = |header: &str, secret: &[u8]| {
            let signed = format!("{}.{}", encoded(header), encoded(USER));
            let signature = encoded(sign_hs256(secret, &signed));
            format!("{signed}.{signature}")
        };
        let none = |alg: &str| format!("{}.{}.", encoded(json!({ "alg": alg }).to_string()), encoded(USER));
        let modulus = member(1, "n");
        let own_secret = [b's'; 32];
        let jwk = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": encoded(own_secret)}}).to_string();
        let jku = r#"{"alg":"HS256","jku":"https://evil.example/jwks","x5u":"https://evil.example/x"}"#;
        let rsa_id = r#"{"alg":"HS256","kid":"2010-12-29"}"#;
        let cases = [
            (none("none"), Flaw::Algorithm),
            (none("None"), Flaw::Algorithm),
            (none("NONE"), Flaw::Algorithm),
            (none(""), Flaw::Algorithm),
            (none("HS256"), Flaw::Signature),
            (none("RS256"), Flaw::Signature),
            (none("ES256"), Flaw::Signature),
            (none("hs256"), Flaw::Algorithm),
            (none("HS512"), Flaw::Algorithm),
            (forged(r#"{"alg":"HS256"}"#, &modulus), Flaw::Signature),
            (forged(rsa_id, &modulus), Flaw::Signature),
            (forged(r#"{"alg":"HS256"}"#, b""), Flaw::Signature),
            (forged(&jwk, &own_secret), Flaw::Signature),
            (forged(jku, &own_secret), Flaw::Signature),
            // The right key, named by another one's identifier, or by nobody's.
            (token("HS256", rsa_id, USER), Flaw::Signature),
            (token("HS256", r#"{"alg":"HS256","kid":"../../dev/null"}"#, USER), Flaw::Signature),
            (token("RS256", r#"{"alg":"RS256","kid":"hmac"}"#, USER), Flaw::Signature),
            // Of one algorithm, called another one.
            (token("RS256", r#"{"alg":"HS256"}"#, USER), Flaw::Signature),
            (token("RS256", r#"{"alg":"ES256"}"#, USER), Flaw::Signature),
            (token("HS256", r#"{"alg":"RS256"}"#, USER), Flaw::Signature),
            (token("HS256", r#"{"alg":["HS256"]}"#, USER), Flaw::Header),
            (token("HS256", r#"{"alg":"none","alg":"HS256"}"#, USER), Flaw::Header),
            (token("HS256", r#"{"alg":"HS256","kid":7}"#, USER), Flaw::Header),
            (token("HS256", r#"{"typ":"JWT"}"#, USER), Flaw::Header),
            (token("HS256", r#"{"alg":"HS256"} {"alg":"HS256"}"#, USER), Flaw::Header),
            (token("HS256", r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, USER), Flaw::Critical),
        ];
        for (token, expected) in cases {
            assert_eq!(flaw(settings(), &token), expected, "{token}");
        }
        // What the forged ones are like, genuine.
        for header in [r#"{"alg":"HS256","kid":"hmac"}"#, r#"{"alg":"HS256","kid":null}"#, jku] {
            assert_eq!(proof(settings(), &token("HS256", header, USER)).user.as_deref(), Some("ann"));
        }
    }

    #[test]
    fn a_public_key_s_own_text_is_no_secret() {
        let mut keys = JwtKeys::default();
        let pem = public_pem();
        keys.add_pem(pem.as_bytes()).unwrap();
        let signed = format!("{}.{}", encoded(r#"{"alg":"HS256"}"#), encoded(USER));
        for secret in [pem.as_str(), pem.trim_end()] {
            let token = format!("{signed}.{}", encoded(sign_hs256(secret.as_bytes(), &signed)));
            assert_eq!(flaw(JwtSettings { keys: keys.clone(), ..settings() }, &token), Flaw::Signature);
        }
    }

    /// A public key of P-256.
    fn public_pem() -> String {
        rcgen::KeyPair::generate().unwrap().public_key_pem()
    }

    #[test]
    fn an_algorithm_that_is_not_configured_is_not_taken_though_there_is_a_key() {
        let only = |algorithm| JwtSettings { algorithms: vec![algorithm], ..settings() };
        assert_eq!(flaw(only(JwtAlgorithm::Rs256), &hs256(USER)), Flaw::Algorithm);
        assert!(proof(only(JwtAlgorithm::Hs256), &hs256(USER)).user.is_some());
    }

    #[test]
    fn a_token_that_was_touched_is_refused() {
        for algorithm in ["HS256", "RS256", "ES256"] {
            let good = token(algorithm, &json!({ "alg": algorithm }).to_string(), USER);
            let jwt = Jwt::new(settings()).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone().into_bytes();
                bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
                assert!(!matches!(jwt.check(NOW, &login(&bad)), Some(Ok(_))), "{algorithm}, byte {at}");
            }
            for length in 0..good.len() {
                assert!(!matches!(jwt.check(NOW, &login(&good[..length])), Some(Ok(_))), "{algorithm}, {length} bytes");
            }
        }
    }

    #[test]
    fn base64_is_taken_in_one_way_only() {
        let good = hs256(USER);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let last = signature.as_bytes()[signature.len() - 1];
        // The last character of 32 bytes has two bits that say nothing.
        let twin = URL_SAFE_NO_PAD.decode(signature).map(|_| char::from(last + 1)).unwrap();
        let loose = format!("{signed}.{}{twin}", &signature[..signature.len() - 1]);
        for bad in [loose, format!("{good}="), format!("{good}\n"), format!("{good} "), good.replace('_', "/")] {
            if bad != good {
                assert_eq!(flaw(settings(), &bad), Flaw::Signature, "{bad}");
            }
        }
        let (header, rest) = signed.split_once('.').unwrap();
        assert_eq!(flaw(settings(), &format!("{header}.{rest}=.{signature}")), Flaw::Signature);
    }

    #[test]
    fn times_are_what_they_should_be_or_the_token_is_refused() {
        let cases: &[(&str, Result<u64, Flaw>)] = &[
            (r#""exp":1700000060"#, Ok(EXP * 1_000)),
            (r#""exp":1700000000.5"#, Ok(1_700_000_000_500)),
            (r#""exp":1.7000001e9"#, Ok(1_700_000_100_000)),
            (r#""exp":253402300799"#, Ok(253_402_300_799_000)),
            (r#""exp":1700000000"#, Err(Flaw::Expired)),
            (r#""exp":1699999999"#, Err(Flaw::Expired)),
            (r#""exp":0"#, Err(Flaw::Expired)),
            (r#""iat":1700000000"#, Err(Flaw::Expiry)),
            (r#""exp":null"#, Err(Flaw::Expiry)),
            (r#""exp":"1700000060""#, Err(Flaw::Expiry)),
            (r#""exp":[1700000060]"#, Err(Flaw::Expiry)),
            (r#""exp":true"#, Err(Flaw::Expiry)),
            (r#""exp":-1"#, Err(Flaw::Expiry)),
            (r#""exp":-1e300"#, Err(Flaw::Expiry)),
            // Milliseconds by mistake, and worse.
            (r#""exp":1700000060000"#, Err(Flaw::Expiry)),
            (r#""exp":18446744073709551615"#, Err(Flaw::Expiry)),
            (r#""exp":18446744073709551616"#, Err(Flaw::Expiry)),
            (r#""exp":1e300"#, Err(Flaw::Expiry)),
            (r#""exp":1e999"#, Err(Flaw::Payload)),
            (r#""exp":NaN"#, Err(Flaw::Payload)),
            (r#""exp":1700000060,"nbf":1700000000"#, Ok(EXP * 1_000)),
            (r#""exp":1700000060,"nbf":0"#, Ok(EXP * 1_000)),
            (r#""exp":1700000060,"nbf":1700000001"#, Err(Flaw::NotYet)),
            (r#""exp":1700000060,"nbf":"0""#, Err(Flaw::NotBefore)),
            (r#""exp":1700000060,"nbf":null"#, Err(Flaw::NotBefore)),
            (r#""exp":1700000060,"nbf":1e300"#, Err(Flaw::NotBefore)),
            (r#""exp":1,"exp":1700000060"#, Err(Flaw::Payload)),
            (r#""exp":1700000060,"exp":1"#, Err(Flaw::Payload)),
        ];
        for (claims, expected) in cases {
            let token = hs256(format_args!(r#"{{"sub":"ann",{claims}}}"#));
            let found = check(settings(), &token).unwrap().map(|proof| proof.expires_at.unwrap().0);
            assert_eq!(found, *expected, "{claims}");
        }
    }

    #[test]
    fn leeway_is_given_at_both_ends() {
        let jwt = Jwt::new(JwtSettings { leeway_secs: 10, ..settings() }).unwrap();
        let login = login(hs256(json!({"sub": "ann", "nbf": EXP - 30, "exp": EXP})));
        let at = |secs: u64| jwt.check(Timestamp(secs * 1_000), &login).unwrap().map(|proof| proof.expires_at);
        assert_eq!(at(EXP - 41), Err(Flaw::NotYet));
        assert_eq!(at(EXP - 40), Ok(Some(Timestamp((EXP + 10) * 1_000))));
        assert!(at(EXP + 9).is_ok());
        assert_eq!(at(EXP + 10), Err(Flaw::Expired));
    }

    #[test]
    fn a_payload_is_one_object_whose_members_are_there_once() {
        for payload in [
            "",
            "null",
            "[]",
            "{",
            "7",
            r#""text""#,
            "{}{}",
            &USER.repeat(2),
            r#"{"sub":"ann","sub":"bob","exp":1700000060}"#,
            r#"{"sub":"ann","exp":1700000060,"other":1,"other":2}"#,
            "{\"sub\":\"\u{0}\"}",
            &"[".repeat(9_000),
        ] {
            assert_eq!(flaw(settings(), &hs256(payload)), Flaw::Payload, "{payload}");
        }
        let signed = format!("{}.{}", encoded(r#"{"alg":"HS256"}"#), encoded([b'"', 0xff, b'"']));
        let bytes = format!("{signed}.{}", encoded(sign("HS256", &signed)));
        assert_eq!(flaw(settings(), &bytes), Flaw::Payload);
    }

    #[test]
    fn user_names_and_client_identifiers_have_to_agree_with_the_token() {
        let cases: &[(Option<&str>, Value, &str, Option<Flaw>)] = &[
            (None, json!({"sub": "ann"}), "", None),
            (Some(""), json!({"sub": "ann"}), "", None),
            (Some("ann"), json!({"sub": "ann"}), "", None),
            (Some("bob"), json!({"sub": "ann"}), "", Some(Flaw::User)),
            (Some("Ann"), json!({"sub": "ann"}), "", Some(Flaw::User)),
            (Some("ann"), json!({}), "", Some(Flaw::User)),
            (None, json!({"sub": ""}), "", Some(Flaw::User)),
            (None, json!({"sub": 7}), "", Some(Flaw::User)),
            (None, json!({"sub": ["ann"]}), "", Some(Flaw::User)),
            (None, json!({"sub": null}), "", Some(Flaw::User)),
            (None, json!({"sub": "a\nb"}), "", Some(Flaw::User)),
            (None, json!({"sub": "ann", "cid": "sensor"}), "cid", None),
            (None, json!({"sub": "sensor"}), "sub", None),
            (None, json!({"sub": "ann", "cid": "other"}), "cid", Some(Flaw::ClientId)),
            (None, json!({"sub": "ann", "cid": ""}), "cid", Some(Flaw::ClientId)),
            (None, json!({"sub": "ann"}), "cid", Some(Flaw::ClientId)),
        ];
        for (user_name, claims, client_id_claim, expected) in cases {
            let mut claims = claims.clone();
            claims["exp"] = EXP.into();
            let jwt = Jwt::new(JwtSettings { client_id_claim: (*client_id_claim).into(), ..settings() }).unwrap();
            let login = Login { user_name: user_name.map(Into::into), ..login(hs256(&claims)) };
            assert_eq!(jwt.check(NOW, &login).unwrap().err(), *expected, "{user_name:?} {claims}");
        }
    }

    #[test]
    fn issuer_and_audience_are_the_configured_ones() {
        let cases: &[(&str, &str, Value, Option<Flaw>)] = &[
            ("", "", json!({"iss": "anybody"}), None),
            ("us", "", json!({"iss": "us"}), None),
            ("us", "", json!({"iss": "them"}), Some(Flaw::Issuer)),
            ("us", "", json!({"iss": ["us"]}), Some(Flaw::Issuer)),
            ("us", "", json!({}), Some(Flaw::Issuer)),
            ("", "mqtt", json!({"aud": "mqtt"}), None),
            ("", "mqtt", json!({"aud": ["web", "mqtt"]}), None),
            ("", "mqtt", json!({"aud": ["web", 7]}), Some(Flaw::Audience)),
            ("", "mqtt", json!({"aud": "mqtt2"}), Some(Flaw::Audience)),
            ("", "mqtt", json!({"aud": []}), Some(Flaw::Audience)),
            ("", "mqtt", json!({}), Some(Flaw::Audience)),
            // Somebody else's token, by the same issuer.
            ("", "", json!({"aud": "web"}), Some(Flaw::Audience)),
        ];
        for (issuer, audience, claims, expected) in cases {
            let mut claims = claims.clone();
            (claims["sub"], claims["exp"]) = ("ann".into(), EXP.into());
            let settings = JwtSettings { issuer: (*issuer).into(), audience: (*audience).into(), ..settings() };
            assert_eq!(check(settings, &hs256(&claims)).unwrap().err(), *expected, "{issuer} {audience} {claims}");
        }
    }

    #[test]
    fn groups_are_names_where_they_are_looked_for() {
        let named = JwtSettings { groups_claim: "roles".into(), ..settings() };
        let groups = |claims: &str| {
            let token = hs256(format_args!(r#"{{"sub":"ann","exp":{EXP}{claims}}}"#));
            check(named.clone(), &token).unwrap().map(|proof| proof.groups.join(","))
        };
        assert_eq!(groups(""), Ok(String::new()));
        assert_eq!(groups(r#","roles":["a","b c"]"#), Ok("a,b c".into()));
        assert_eq!(groups(r#","roles":"a b""#), Ok("a b".into()));
        for bad in [r#","roles":[1]"#, r#","roles":null"#, r#","roles":{"a":true}"#, r#","roles":["a",["b"]]"#] {
            assert_eq!(groups(bad), Err(Flaw::Groups), "{bad}");
        }
        let unnamed = hs256(json!({"sub": "ann", "exp": EXP, "": ["a"], "roles": ["a"]}));
        assert_eq!(proof(settings(), &unnamed).groups, Box::default());
    }

    #[test]
    fn an_acl_claim_is_rules_and_without_it_nothing_is_permitted() {
        let named = JwtSettings { acl_claim: "acl".into(), ..settings() };
        let acl = |claims: &str| {
            let token = hs256(format_args!(r#"{{"sub":"ann","exp":{EXP}{claims}}}"#));
            check(named.clone(), &token).unwrap().map(|proof| proof.claims)
        };
        let rules =
            |publish: &[&str], subscribe: &[&str]| Ok(Some(Arc::new(Rules::of_claims(publish, subscribe).unwrap())));
        assert_eq!(acl(""), rules(&[], &[]));
        assert_eq!(acl(r#","acl":{}"#), rules(&[], &[]));
        let both = r#","acl":{"publish":["a/%c"],"subscribe":["b/#"],"all":["c"]}"#;
        assert_eq!(acl(both), rules(&["a/%c", "c"], &["b/#", "c"]));
        for bad in [
            r#","acl":null"#,
            r#","acl":["a"]"#,
            r#","acl":"a""#,
            r#","acl":{"publish":"a"}"#,
            r#","acl":{"publish":[7]}"#,
            r#","acl":{"all":["a/#/b"]}"#,
            r#","acl":{"all":[""]}"#,
            r#","acl":{"pub":["a"]}"#,
            r#","acl":{"deny":["a"],"all":["+"]}"#,
        ] {
            assert_eq!(acl(bad), Err(Flaw::Acl), "{bad}");
        }
        let unnamed = hs256(json!({"sub": "ann", "exp": EXP, "acl": {"all": ["#"]}}));
        assert_eq!(proof(settings(), &unnamed).claims, None);
    }

    #[test]
    fn settings_by_which_no_token_could_be_taken_are_refused() {
        let error = |settings| Jwt::new(settings).unwrap_err();
        assert_eq!(error(JwtSettings { user_claim: "".into(), ..settings() }), JwtSettingsError::NoUserClaim);
        assert_eq!(error(JwtSettings { keys: JwtKeys::default(), ..settings() }), JwtSettingsError::NoKey);
        let mut keys = JwtKeys::default();
        keys.add_secret(&[b's'; 32]).unwrap();
        let settings = JwtSettings { keys, algorithms: vec![JwtAlgorithm::Rs256], ..settings() };
        assert_eq!(error(settings), JwtSettingsError::NoKey);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut keys = JwtKeys::default();
        keys.add_secret(b"secretsecretsecretsecretsecretsecret").unwrap();
        let shown = format!("{:?}", Jwt::new(JwtSettings { keys, ..settings() }).unwrap());
        assert!(!shown.contains("secretsecret") && shown.contains("HS256"), "{shown}");
    }
}
