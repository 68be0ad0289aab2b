//! A table of users, who come in by password or by SCRAM-SHA-256, and then may do everything.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use subtle::Choice;

use super::credential::{Credential, ITERATIONS_DEFAULT, Key, SALT_BYTES, hmac};
use super::scram::{Directory, Scram};
use super::{Answer, Check, Credentials, Denial, Exchange, Guard, Identity, Verdict};
use crate::base::Timestamp;

/// The Authentication Method of SCRAM with SHA-256, as registered with IANA.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// Lets in the users of a table. A clone shares the table: one for each shard, and one for each running exchange, which
/// ends with the table it began with.
#[derive(Clone, Debug)]
pub struct Users {
    table: Arc<Table>,
    anonymous: bool,
}

impl Users {
    /// No users yet, and nobody anonymous. The secret makes up what users that do not exist seem to have; it must be
    /// random, the same on all shards, and should outlive a restart, or the users that change their salt then are those
    /// that do not exist.
    pub fn new(secret: [u8; 32]) -> Self {
        let table = Table { users: BTreeMap::new(), secret, iterations: ITERATIONS_DEFAULT };
        Self { table: Arc::new(table), anonymous: false }
    }

    /// Whether a CONNECT without a user name comes in, as anonymous.
    pub fn allow_anonymous(mut self, anonymous: bool) -> Self {
        self.anonymous = anonymous;
        self
    }

    /// The iterations that users who do not exist seem to have: set it to what the table's users have.
    pub fn with_iterations(mut self, iterations: NonZeroU32) -> Self {
        Arc::make_mut(&mut self.table).iterations = iterations;
        self
    }

    /// Adds a user, or replaces his credential.
    pub fn insert(&mut self, name: &str, credential: Credential) {
        Arc::make_mut(&mut self.table).users.insert(name.into(), credential);
    }

    /// Whether there was such a user.
    pub fn remove(&mut self, name: &str) -> bool {
        Arc::make_mut(&mut self.table).users.remove(name).is_some()
    }
}

impl Guard for Users {
    fn connect(&mut self, _now: Timestamp, credentials: &Credentials<'_>) -> Answer {
        match (credentials.user_name, credentials.password) {
            (None, _) if self.anonymous => Answer::Now(Verdict::Accept(Identity::ANONYMOUS)),
            (None, _) => Answer::Now(Verdict::Refuse(Denial::NotAuthorized)),
            // Nothing to check, whether the user exists or not.
            (Some(_), None) => Answer::Now(Verdict::Refuse(Denial::BadUserNameOrPassword)),
            (Some(user), Some(password)) => {
                let (credential, known) = self.table.credential(user);
                let (user, password) = (Identity::of_user(user), password.into());
                Answer::Later(Box::new(PasswordCheck { user, password, credential, known }))
            }
        }
    }

    fn exchange(
        &mut self,
        _now: Timestamp,
        method: &str,
        _: &Credentials<'_>,
        seed: [u8; 24],
    ) -> Option<Box<dyn Exchange>> {
        (method == SCRAM_SHA_256).then(|| Box::new(Scram::new(Arc::clone(&self.table), seed)) as Box<dyn Exchange>)
    }
}

/// A password against a credential: [`ITERATIONS_DEFAULT`] hashes or more.
struct PasswordCheck {
    user: Identity,
    password: Box<[u8]>,
    credential: Credential,
    known: Choice,
}

impl Check for PasswordCheck {
    fn run(self: Box<Self>) -> Answer {
        Answer::Now(if bool::from(self.credential.holds(&self.password) & self.known) {
            Verdict::Accept(self.user)
        } else {
            Verdict::Refuse(Denial::BadUserNameOrPassword)
        })
    }
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck").field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Table {
    users: BTreeMap<Box<str>, Credential>,
    secret: [u8; 32],
    iterations: NonZeroU32,
}

impl Table {
    /// What a user that does not exist seems to have. His salt is the same each time he is asked for, as a real one is;
    /// without the secret nobody can tell it from a real one.
    fn made_up(&self, user: &str) -> Credential {
        let digest: Key = hmac(&self.secret, &[user.as_bytes()]);
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&digest[..SALT_BYTES]);
        Credential { salt, iterations: self.iterations, stored_key: [0; 32], server_key: [0; 32] }
    }
}

impl Directory for Arc<Table> {
    fn credential(&self, user: &str) -> (Credential, Choice) {
        // Made up for known users as well, so that it takes the same time.
        let made_up = self.made_up(user);
        match self.users.get(user) {
            Some(credential) => (credential.clone(), Choice::from(1)),
            None => (made_up, Choice::from(0)),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scram_client::ScramClient;
    use super::super::{Entrance, Step};
    use super::*;

    const NOW: Timestamp = Timestamp(1);
    const FEW: NonZeroU32 = NonZeroU32::new(2).unwrap();

    fn users() -> Users {
        let mut users = Users::new([1; 32]).with_iterations(FEW);
        users.insert("ada", Credential::derive(b"engine", [3; SALT_BYTES], FEW));
        users
    }

    fn credentials<'a>(user_name: Option<&'a str>, password: Option<&'a [u8]>) -> Credentials<'a> {
        Credentials { entrance: Entrance::UNKNOWN, client_id: "c", user_name, password }
    }

    fn begin(users: &mut Users, method: &str) -> Option<Box<dyn Exchange>> {
        users.exchange(NOW, method, &credentials(None, None), [9; 24])
    }

    fn verdict(users: &mut Users, user_name: Option<&str>, password: Option<&[u8]>) -> Verdict {
        users.connect(NOW, &credentials(user_name, password)).verdict()
    }

    /// What an exchange sends first, and what comes of it.
    fn by_scram(users: &mut Users, user: &str, password: &str) -> (Vec<u8>, Step) {
        let mut exchange = begin(users, SCRAM_SHA_256).unwrap();
        let mut client = ScramClient::new(user, password, "abc");
        let Step::Challenge(server_first) = exchange.next(&client.first()) else { panic!("no challenge") };
        let client_final = client.answer(&server_first).unwrap();
        let step = exchange.next(&client_final);
        if let Step::Accept { data, .. } = &step {
            assert!(client.verify(data.as_ref().unwrap()));
        }
        (server_first, step)
    }

    #[test]
    fn a_user_comes_in_with_his_password_by_either_way() {
        let mut users = users();
        let ada = Identity::of_user("ada");
        assert_eq!(verdict(&mut users, Some("ada"), Some(b"engine")), Verdict::Accept(ada.clone()));
        assert!(matches!(by_scram(&mut users, "ada", "engine").1, Step::Accept { identity, .. } if identity == ada));
    }

    #[test]
    fn a_password_is_never_checked_on_the_shard() {
        for user_name in [Some("ada"), Some("nobody")] {
            let Answer::Later(check) = users().connect(NOW, &credentials(user_name, Some(b"engine"))) else {
                panic!("answered at once")
            };
            assert!(!format!("{check:?}").contains("engine"));
        }
    }

    #[test]
    fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
        let mut users = users();
        let refused = Denial::BadUserNameOrPassword;
        for (user, password) in [("ada", "wrong"), ("nobody", "engine"), ("", "")] {
            assert_eq!(verdict(&mut users, Some(user), Some(password.as_bytes())), Verdict::Refuse(refused));
            assert_eq!(verdict(&mut users, Some(user), None), Verdict::Refuse(refused));
        }
        for (user, password) in [("ada", "wrong"), ("nobody", "engine")] {
            assert_eq!(by_scram(&mut users, user, password).1, Step::Refuse(refused));
        }
    }

    #[test]
    fn scram_does_not_tell_which_users_exist() {
        let mut users = users();
        let [ada, nobody, nobody_again, nemo] =
            ["ada", "nobody", "nobody", "nemo"].map(|user| by_scram(&mut users, user, "x").0);
        assert_eq!(nobody, nobody_again, "a salt that changes is a made-up one");
        assert_ne!(nobody, nemo, "so is one that many users share");
        assert_eq!(ada.len(), nobody.len());
        // With another secret other salts, so that they cannot be computed from outside.
        let mut others = Users::new([2; 32]).with_iterations(FEW);
        assert_ne!(by_scram(&mut others, "nobody", "x").0, nobody);
        // A user that goes must not come back as one that never was, nor the other way round.
        assert!(users.remove("ada") && !users.remove("ada"));
        assert_eq!(by_scram(&mut users, "ada", "engine").1, Step::Refuse(Denial::BadUserNameOrPassword));
    }

    #[test]
    fn a_made_up_credential_has_no_password() {
        // An empty proof against keys of zeros must not be a way in.
        let users = users();
        let (credential, known) = users.table.credential("nobody");
        assert!(!bool::from(known));
        assert!(!credential.verify(b"") && !credential.verify(&[0; 32]));
    }

    #[test]
    fn nobody_comes_in_anonymous_unless_allowed() {
        assert_eq!(verdict(&mut users(), None, None), Verdict::Refuse(Denial::NotAuthorized));
        let mut relaxed = users().allow_anonymous(true);
        assert_eq!(verdict(&mut relaxed, None, None), Verdict::Accept(Identity::ANONYMOUS));
        // MQTT 5.0 has passwords without user names. No table knows them; as with Mosquitto they change nothing.
        assert_eq!(verdict(&mut relaxed, None, Some(b"token")), Verdict::Accept(Identity::ANONYMOUS));
        assert!(matches!(verdict(&mut relaxed, Some("nobody"), Some(b"")), Verdict::Refuse(_)));
    }

    #[test]
    fn an_exchange_ends_with_the_table_it_began_with() {
        let mut users = users();
        let mut exchange = begin(&mut users, SCRAM_SHA_256).unwrap();
        users.insert("ada", Credential::derive(b"difference", [4; SALT_BYTES], FEW));
        let mut client = ScramClient::new("ada", "engine", "abc");
        let Step::Challenge(server_first) = exchange.next(&client.first()) else { panic!("no challenge") };
        assert!(matches!(exchange.next(&client.answer(&server_first).unwrap()), Step::Accept { .. }));
        assert!(matches!(by_scram(&mut users, "ada", "difference").1, Step::Accept { .. }));
    }

    #[test]
    fn other_methods_are_not_known() {
        for method in ["", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "PLAIN"] {
            assert!(begin(&mut users(), method).is_none(), "{method}");
        }
    }
}
