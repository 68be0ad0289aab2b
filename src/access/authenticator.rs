//! One source of identities. Several stand in an order, and the first that knows somebody answers.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::guard::{Denial, Entrance, Lane};
use super::rules::Rules;
use crate::base::Timestamp;

/// A CONNECT's credentials, kept until they are looked at; the password is wiped afterwards.
pub struct Login {
    pub entrance: Entrance,
    pub client_id: Box<str>,
    pub user_name: Option<Box<str>>,
    pub password: Option<Zeroizing<Box<[u8]>>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entrance, client_id, user_name, .. } = self;
        f.debug_struct("Login")
            .field("entrance", entrance)
            .field("client_id", client_id)
            .field("user_name", user_name)
            .finish_non_exhaustive()
    }
}

/// Who somebody was found to be.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Proof {
    pub user: Option<Box<str>>,
    pub groups: Box<[Box<str>]>,
    pub expires_at: Option<Timestamp>,
    pub claims: Option<Arc<Rules>>,
}

/// Runs beside the shards, on as many threads as there are.
pub trait Authenticator: fmt::Debug + Send + Sync {
    fn lane(&self) -> Lane {
        Lane::Compute
    }

    /// None: he is not known here; the next one is asked.
    fn authenticate(&self, now: Timestamp, login: &Login) -> Option<Result<Proof, Denial>>;

    /// Spends on somebody unknown what a wrong password costs here; false: nothing that anybody could notice.
    fn imitate(&self, login: &Login) -> bool {
        let _ = login;
        false
    }
}
