//! A table of users and their stored passwords, who come in by password or by SCRAM-SHA-256.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use super::authenticator::{Authenticator, Login, Proof};
use super::credential::{Credential, Key, SALT_BYTES, hmac};
use super::guard::Denial;
use super::password::{Password, Work};
use crate::base::Timestamp;

/// Shared by all shards, and by each running exchange, which ends with the table it began with.
pub struct Users {
    users: BTreeMap<Box<str>, User>,
    secret: [u8; 32],
    /// How many passwords there are of each work, so that users who do not exist can have the same share of each.
    works: Shares<Work>,
    iterations: Shares<NonZeroU32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub password: Password,
    pub groups: Box<[Box<str>]>,
}

impl From<Password> for User {
    fn from(password: Password) -> Self {
        Self { password, groups: Box::default() }
    }
}

impl Users {
    /// No users yet. The secret makes up what users that do not exist seem to have; it must be random, and should
    /// outlive the table, or the users that change their salt with the next one are those that do not exist.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { users: BTreeMap::new(), secret, works: Shares::default(), iterations: Shares::default() }
    }

    /// False: there is one of this name already, who stays.
    pub fn insert(&mut self, name: &str, user: User) -> bool {
        if self.users.contains_key(name) {
            return false;
        }
        self.works.add(user.password.work());
        if let Some(credential) = user.password.scram() {
            self.iterations.add(credential.iterations);
        }
        self.users.insert(name.into(), user);
        true
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Whether anybody can prove himself by SCRAM.
    pub(super) fn has_scram(&self) -> bool {
        self.iterations.sum > 0
    }

    /// What a user that does not exist seems to have; None where nobody has such a thing. His salt is the same each time
    /// he is asked for, as a real one is; without the secret nobody can tell it from a real one.
    pub(super) fn made_up(&self, name: &str) -> Option<Credential> {
        let (number, digest) = self.digest(name);
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&digest[..SALT_BYTES]);
        let iterations = self.iterations.pick(number)?;
        Some(Credential { salt, iterations, stored_key: [0; 32], server_key: [0; 32] })
    }

    /// What of a name is made up: a number, and bytes that tell nothing about it.
    fn digest(&self, name: &str) -> (u64, Key) {
        let digest = hmac(&self.secret, &[name.as_bytes()]);
        let (_, number) = digest.split_last_chunk().expect("32 bytes are more than 8");
        (u64::from_le_bytes(*number), digest)
    }
}

impl Authenticator for Users {
    fn authenticate(&self, _now: Timestamp, login: &Login) -> Option<Result<Proof, Denial>> {
        let name = login.user_name.as_deref()?;
        let user = self.users.get(name)?;
        let is_right = login.password.as_ref().is_some_and(|password| user.password.verify(password));
        Some(if is_right {
            Ok(Proof { user: Some(name.into()), groups: user.groups.clone(), ..Proof::default() })
        } else {
            Err(Denial::BadUserNameOrPassword)
        })
    }

    /// As many names as there are users of some work cost that, always the same ones.
    fn imitate(&self, login: &Login) -> bool {
        let (Some(name), Some(password)) = (&login.user_name, &login.password) else { return false };
        let (number, _) = self.digest(name);
        let Some(work) = self.works.pick(number) else { return false };
        std::hint::black_box(Password::of_nobody(work).verify(password));
        true
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// How often there is what.
struct Shares<T> {
    counts: BTreeMap<T, u64>,
    sum: u64,
}

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), sum: 0 }
    }
}

impl<T: Ord + Copy> Shares<T> {
    fn add(&mut self, what: T) {
        *self.counts.entry(what).or_default() += 1;
        self.sum += 1;
    }

    /// Of random numbers each gets its share; None: there is nothing.
    fn pick(&self, number: u64) -> Option<T> {
        let mut left = number.checked_rem(self.sum)?;
        let mut counts = self.counts.iter();
        counts.find_map(|(what, count)| match left.checked_sub(*count) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(*what),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: NonZeroU32 = NonZeroU32::new(2).unwrap();
    const MORE: NonZeroU32 = NonZeroU32::new(3).unwrap();

    fn stored(work: Work) -> User {
        Password::derive(work, b"engine", [3; SALT_BYTES]).into()
    }

    #[test]
    fn a_name_is_there_once() {
        let mut users = Users::new([1; 32]);
        assert!(users.is_empty() && !users.has_scram());
        assert!(users.insert("ada", stored(Work::Sha512)));
        assert!(!users.insert("ada", stored(Work::Scram { iterations: FEW })));
        assert_eq!(users.get("ada").unwrap().password.work(), Work::Sha512);
        assert!(users.len() == 1 && !users.has_scram());
    }

    #[test]
    fn users_that_do_not_exist_cost_what_those_that_do_cost_each_in_its_share() {
        let mut users = Users::new([1; 32]);
        users.insert("a", stored(Work::Sha512));
        for name in ["b", "c", "d"] {
            users.insert(name, stored(Work::Pbkdf2Sha512 { iterations: FEW }));
        }
        let picked = |name: &str| users.works.pick(users.digest(name).0).unwrap();
        let cheap = (0..4_000).filter(|n| picked(&n.to_string()) == Work::Sha512).count();
        assert!((900..1_100).contains(&cheap), "{cheap} of 4,000, not a quarter");
        assert_eq!(picked("nobody"), picked("nobody"));
    }

    #[test]
    fn a_made_up_credential_has_no_password_and_a_salt_that_stays() {
        let mut users = Users::new([1; 32]);
        assert_eq!(users.made_up("nobody"), None);
        users.insert("a", stored(Work::Scram { iterations: FEW }));
        users.insert("b", stored(Work::Sha512));
        // An empty proof against keys of zeros must not be a way in.
        let nobody = users.made_up("nobody").unwrap();
        assert!(!nobody.verify(b"") && !nobody.verify(&[0; 32]));
        assert_eq!(nobody.iterations, FEW);
        // A salt that changes is a made-up one, and so is one that many users share.
        assert_eq!(users.made_up("nobody"), Some(nobody.clone()));
        assert_ne!(users.made_up("nemo").unwrap().salt, nobody.salt);
        users.insert("c", stored(Work::Scram { iterations: MORE }));
        assert_eq!(users.made_up("nobody").unwrap().salt, nobody.salt);
        let seen = ["1", "2", "3", "4", "5", "6", "7", "8"].map(|name| users.made_up(name).unwrap().iterations);
        assert!(seen.contains(&FEW) && seen.contains(&MORE));
        // With another secret other salts, so that they cannot be computed from outside.
        let mut others = Users::new([2; 32]);
        others.insert("a", stored(Work::Scram { iterations: FEW }));
        assert_ne!(others.made_up("nobody").unwrap().salt, nobody.salt);
    }

    #[test]
    fn nothing_printed_of_a_table_helps_to_guess_a_password() {
        let mut users = Users::new([1; 32]);
        users.insert("ada", stored(Work::Sha512));
        assert_eq!(format!("{users:?}"), "Users { users: 1, .. }");
    }
}
