//! Any token, any payload with a good signature, any file of keys: nobody comes in who should not, and nothing panics.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use thrum::access::{Authenticator, Entrance, Jwt, JwtAlgorithm, JwtKeys, JwtSettings, Login};
use thrum::base::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const SECRET: &[u8] = b"a secret that the fuzzer does not know";
const HEADER: &str = r#"{"alg":"HS256"}"#;

static JWT: LazyLock<Jwt> = LazyLock::new(|| {
    let mut keys = JwtKeys::default();
    keys.add_secret(SECRET).expect("long enough");
    let claims = ["sub", "cid", "groups", "acl"].map(Into::into);
    let [user_claim, client_id_claim, groups_claim, acl_claim] = claims;
    let algorithms = JwtAlgorithm::ALL.into();
    let settings =
        JwtSettings { keys, algorithms, user_claim, client_id_claim, groups_claim, acl_claim, ..Default::default() };
    Jwt::new(settings).expect("settings of ours")
});

fn login(token: &[u8]) -> Login {
    Login {
        entrance: Entrance::default(),
        client_id: "sensor".into(),
        user_name: Some("".into()),
        password: Some(Box::<[u8]>::from(token).into()),
    }
}

fn signed(header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// With a good signature: whoever comes in is somebody, for a while.
fn claims(header: &[u8], payload: &[u8]) {
    if let Some(Ok(proof)) = JWT.authenticate(NOW, &login(signed(header, payload).as_bytes())) {
        assert!(proof.user.is_some_and(|user| !user.is_empty()));
        assert!(proof.expires_at.is_some_and(|end| end > NOW && end < Timestamp::NEVER));
        assert!(proof.claims.is_some());
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, input)) = input.split_first() else { return };
    match mode % 5 {
        0 => assert!(!matches!(JWT.authenticate(NOW, &login(input)), Some(Ok(_)))),
        1 => claims(HEADER.as_bytes(), input),
        2 => claims(input, br#"{"sub":"ann","cid":"sensor","exp":1700000060}"#),
        3 => drop(JwtKeys::default().add_jwks(input)),
        _ => drop(JwtKeys::default().add_pem(input)),
    }
});
