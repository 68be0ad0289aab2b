//! Unpredictable bytes from a secret that the driver gave: HMAC-SHA-256 of a counter. The same secret gives the same
//! bytes, which is what a simulation needs.

use hmac::{Hmac, Mac};
use sha2::Sha256;

#[derive(Clone)]
pub(super) struct Entropy {
    secret: [u8; 32],
    counter: u64,
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}

impl Entropy {
    pub(super) const fn new(secret: [u8; 32]) -> Self {
        Self { secret, counter: 0 }
    }

    /// Fresh bytes, never given out twice.
    pub(super) fn next<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32) };
        self.counter += 1;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.update(&self.counter.to_le_bytes());
        let block = mac.finalize().into_bytes();
        let mut bytes = [0; N];
        bytes.copy_from_slice(&block[..N]);
        bytes
    }
}
