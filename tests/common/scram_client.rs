//! SCRAM-SHA-256, the client's side, for tests. It shares no code with the server's side, so that a mistake in one shows.
//! A test crate takes it in with `#[path = "common/scram_client.rs"] mod scram_client;`.

#![allow(dead_code, reason = "each test crate uses its part")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

#[derive(Debug)]
pub(crate) struct ScramClient {
    password: String,
    nonce: String,
    bare: String,
    /// `n,,` unless a test says otherwise before the first message.
    pub(crate) header: String,
    /// What the server must sign with, and over what, once it was answered.
    expected: Option<[u8; 32]>,
}

impl ScramClient {
    pub(crate) fn new(user: &str, password: &str, nonce: &str) -> Self {
        let escaped = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            password: password.to_owned(),
            nonce: nonce.to_owned(),
            bare: format!("n={escaped},r={nonce}"),
            header: "n,,".to_owned(),
            expected: None,
        }
    }

    /// The data of CONNECT.
    pub(crate) fn first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.bare).into_bytes()
    }

    /// The data of AUTH, in answer to the server's; `None` where that is not a server-first-message to this client.
    pub(crate) fn answer(&mut self, server_first: &[u8]) -> Option<Vec<u8>> {
        let server_first = str::from_utf8(server_first).ok()?;
        let mut attributes = server_first.split(',');
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let salt = BASE64.decode(attributes.next()?.strip_prefix("s=")?).ok()?;
        let iterations = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
        if !nonce.starts_with(&self.nonce) || nonce == self.nonce || attributes.next().is_some() {
            return None;
        }
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(self.password.as_bytes(), &salt, iterations);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(&self.header));
        let message = format!("{},{server_first},{without_proof}", self.bare);
        let client_key = mac(&salted, "Client Key");
        let signature = mac(&Sha256::digest(client_key), &message);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        self.expected = Some(mac(&mac(&salted, "Server Key"), &message));
        Some(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Whether the server's last data proves that it knows the user's credential.
    pub(crate) fn verify(&self, server_final: &[u8]) -> bool {
        self.expected.is_some_and(|expected| server_final == format!("v={}", BASE64.encode(expected)).as_bytes())
    }
}

fn mac(key: &[u8], message: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}
