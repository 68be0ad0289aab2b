//! L2: who may come in, and what he may do. Verdicts only: what goes over the wire is the broker's.

mod acl_file;
mod asker;
mod authenticator;
mod claims;
mod credential;
mod guard;
mod judge;
mod jwks;
mod jwt;
mod open;
mod pattern;
mod rates;
mod reach;
mod rule_list;
mod rules;
mod rules_toml;
mod scram;
#[cfg(test)]
#[path = "../../tests/common/scram_client.rs"]
mod scram_client;
mod text_error;
mod users;
mod verdicts;

pub use authenticator::{Authenticator, Login, Proof};
pub use claims::{AclClaim, numeric_date};
pub use credential::{Credential, CredentialError, ITERATIONS_DEFAULT, ITERATIONS_MAX, SALT_BYTES};
pub use guard::{
    Answer, Check, Client, Credentials, Denial, Entrance, Exchange, Grant, Guard, Identity, Lane, Publication, Step,
    Verdict, Who,
};
pub use jwks::{JwtAlgorithm, JwtKeys, KEYS_MAX, SECRET_BYTES_MIN};
pub use jwt::{Jwt, JwtSettings, JwtSettingsError, TOKEN_BYTES_MAX};
pub use open::Open;
pub use rates::{Excess, Rates};
pub use rules::{CLAIMS_MAX, Rules};
pub use text_error::TextError;
pub use users::{SCRAM_SHA_256, Users};
pub use verdicts::Verdicts;
