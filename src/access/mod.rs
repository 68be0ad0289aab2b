//! L2: who may come in, and what he may do. Verdicts only: what goes over the wire is the broker's.

mod credential;
mod guard;
mod open;
mod scram;
#[cfg(test)]
#[path = "../../tests/common/scram_client.rs"]
mod scram_client;
mod users;

pub use credential::{Credential, CredentialError, ITERATIONS_DEFAULT, ITERATIONS_MAX, SALT_BYTES};
pub use guard::{Answer, Check, Credentials, Denial, Exchange, Guard, Identity, Step, Verdict};
pub use open::Open;
pub use users::{SCRAM_SHA_256, Users};
