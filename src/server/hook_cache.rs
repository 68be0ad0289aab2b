//! Whom the authentication server let in lately. By a keyed hash of all that was said for it, so that nothing of that can
//! be read from here.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::error::Unspecified;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::access::{Login, Proof};
use crate::base::{Millis, Timestamp};

/// The one that was let in first goes first.
const CACHED_MAX: usize = 10_000;

pub(super) type CacheKey = [u8; 32];

/// Remembers for so long, or not at all.
#[derive(Debug)]
pub(super) struct HookCache {
    secret: hmac::Key,
    kept_for: Millis,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    proofs: HashMap<CacheKey, (Timestamp, Proof)>,
    /// As they came; each proof is in here at least once.
    order: VecDeque<CacheKey>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("proofs", &self.proofs.len()).finish_non_exhaustive()
    }
}

impl HookCache {
    pub(super) fn new(kept_for: Millis) -> Result<Self, Unspecified> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { secret, kept_for, kept: Mutex::default() })
    }

    /// None: nothing is remembered.
    pub(super) fn key(&self, login: &Login) -> Option<CacheKey> {
        if self.kept_for == Millis(0) {
            return None;
        }
        let address = login.entrance.address.map(|address| address.to_string());
        let parts = [
            Some(login.client_id.as_bytes()),
            login.user_name.as_deref().map(str::as_bytes),
            login.password.as_ref().map(|password| &password[..]),
            address.as_deref().map(str::as_bytes),
            login.entrance.certificate.as_deref().map(str::as_bytes),
        ];
        let mut tag = hmac::Context::with_key(&self.secret);
        tag.update(&login.entrance.listener.0.to_le_bytes());
        for part in parts {
            // Each with its length, so that no two logins are written alike.
            tag.update(&part.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            tag.update(part.unwrap_or_default());
        }
        tag.sign().as_ref().try_into().ok()
    }

    pub(super) fn get(&self, now: Timestamp, key: &CacheKey) -> Option<Proof> {
        self.lock().proofs.get(key).filter(|(until, _)| now < *until).map(|(_, proof)| proof.clone())
    }

    pub(super) fn put(&self, now: Timestamp, key: CacheKey, proof: Proof) {
        let until = (now + self.kept_for).min(proof.expires_at.unwrap_or(Timestamp::NEVER));
        let mut kept = self.lock();
        while kept.order.len() >= CACHED_MAX {
            if let Some(first) = kept.order.pop_front() {
                kept.proofs.remove(&first);
            }
        }
        kept.order.push_back(key);
        kept.proofs.insert(key, (until, proof));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn the_cache_is_bounded_and_forgets_the_first() {
        let cache = HookCache::new(Millis(1_000)).unwrap();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        for number in 0..=CACHED_MAX {
            cache.put(NOW, key(number), Proof::default());
        }
        for _ in 0..2 * CACHED_MAX {
            cache.put(NOW, key(CACHED_MAX), Proof::default());
        }
        let kept = cache.lock();
        assert!(kept.proofs.len() <= CACHED_MAX && kept.order.len() <= CACHED_MAX);
        drop(kept);
        assert!(cache.get(NOW, &key(0)).is_none() && cache.get(NOW, &key(CACHED_MAX)).is_some());
    }
}
