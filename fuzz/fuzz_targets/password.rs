//! Any bytes as a stored password and as both files of users: refused with a line of the file and without anything secret,
//! or within bounds and written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thrum::access::{Password, TextError, Users, Work};

/// What no reader may let in: it would take a thread for minutes, or the memory of the machine.
fn is_bounded(work: Work) -> bool {
    match work {
        Work::Argon2id { memory_kib, passes, lanes } => memory_kib <= 1 << 18 && passes <= 16 && lanes <= 16,
        Work::Pbkdf2Sha512 { iterations } | Work::Scram { iterations } => iterations.get() <= 10_000_000,
        Work::Sha512 => true,
    }
}

/// Cheap enough to be hashed for each input.
fn is_cheap(work: Work) -> bool {
    match work {
        Work::Argon2id { memory_kib, passes, lanes } => memory_kib <= 256 && passes <= 2 && lanes <= 16,
        Work::Pbkdf2Sha512 { iterations } | Work::Scram { iterations } => iterations.get() <= 16,
        Work::Sha512 => true,
    }
}

fn expect_sound(result: Result<Users, Vec<TextError>>, text: &str) {
    let errors = match result {
        Ok(users) => return assert!(users.len() <= text.len()),
        Err(errors) => errors,
    };
    assert!(!errors.is_empty() && errors.len() <= 20);
    for error in errors {
        assert!(error.line <= text.split('\n').count(), "{error}");
    }
}

fuzz_target!(|text: &str| {
    if let Ok(stored) = text.parse::<Password>() {
        assert!(is_bounded(stored.work()));
        assert_eq!(stored.to_string().parse().as_ref(), Ok(&stored));
        if is_cheap(stored.work()) {
            assert!(!stored.verify(b"nobody has this one"));
        }
    }
    expect_sound(Users::parse_password_file(text, [0; 32]), text);
    expect_sound(Users::parse_user_file(text, [0; 32]), text);
});
