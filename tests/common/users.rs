//! A guard with a table of users, who have verifiers of SCRAM, for tests.
//! A test crate takes it in with `#[path = "common/users.rs"] mod users;`.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::net::LISTENER;
use thrum::access::{Authenticator, ListenerPolicy, Password, Policy, PolicyGuard, SALT_BYTES, Users, Work};

/// Lets in these users with these passwords and, where `anonymous`, who brings none; all of them to do everything.
pub(crate) fn guard(users: &[(&str, &str)], iterations: NonZeroU32, anonymous: bool) -> PolicyGuard {
    let mut table = Users::new([7; 32]);
    for (name, password) in users {
        let stored = Password::derive(Work::Scram { iterations }, password.as_bytes(), [9; SALT_BYTES]);
        assert!(table.insert(name, stored.into()));
    }
    let table = Arc::new(table);
    let policy = Policy {
        listeners: vec![(LISTENER, ListenerPolicy { anonymous, ..ListenerPolicy::default() })],
        authenticators: vec![Arc::clone(&table) as Arc<dyn Authenticator>],
        scram: vec![table],
        ..Policy::default()
    };
    PolicyGuard::new(Arc::new(policy), 1)
}
