//! L2: who may come in, and what he may do. Verdicts only: what goes over the wire is the broker's.

mod acl_file;
mod asker;
mod authenticator;
mod bans;
mod claims;
mod credential;
mod guard;
mod judge;
mod jwks;
mod jwt;
mod login_check;
mod open;
mod pace;
mod password;
mod pattern;
mod policy;
mod policy_guard;
mod rates;
mod reach;
mod rule_list;
mod rules;
mod rules_toml;
mod scram;
#[cfg(test)]
#[path = "../../tests/common/scram_client.rs"]
mod scram_client;
mod scram_login;
mod seats;
mod text_error;
mod user_file;
mod users;
mod verdicts;

pub use authenticator::{Authenticator, Login, Proof};
pub use bans::{Ban, BanRules, Bans, Offender, OnBan, network};
pub use claims::{AclClaim, numeric_date};
pub use credential::{Credential, CredentialError, ITERATIONS_DEFAULT, ITERATIONS_MAX, SALT_BYTES};
pub use guard::{
    Answer, Check, Client, Credentials, Denial, Entrance, Exchange, Grant, Guard, Identity, Lane, Publication, Step,
    Verdict, Who,
};
pub use jwks::{JwtAlgorithm, JwtKeys, KEYS_MAX, SECRET_BYTES_MIN};
pub use jwt::{Jwt, JwtSettings, JwtSettingsError, TOKEN_BYTES_MAX};
pub use open::Open;
pub use pace::Pace;
pub use password::{Password, PasswordError, Work, release_hash_memory};
pub use policy::{ListenerPolicy, Policy, SubscribeMode};
pub use policy_guard::PolicyGuard;
pub use rates::{Excess, Rates};
pub use rules::{CLAIMS_MAX, Rules};
pub use scram_login::SCRAM_SHA_256;
pub use seats::{Seat, SeatRules, Seats};
pub use text_error::TextError;
pub use users::{User, Users};
pub use verdicts::Verdicts;
