//! SCRAM against the tables of a policy: who it lets in is who a password would make of him.

use std::fmt;
use std::sync::Arc;

use subtle::Choice;

use super::authenticator::Proof;
use super::credential::Credential;
use super::guard::{Denial, Entrance, Exchange, Step};
use super::policy::Policy;
use super::scram::{Directory, Scram};
use super::users::User;
use crate::base::Timestamp;

/// The Authentication Method of SCRAM with SHA-256, as registered with IANA.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// Ends with the policy that it began with.
pub(super) struct ScramLogin {
    scram: Scram<Tables>,
    policy: Arc<Policy>,
    entrance: Entrance,
    began: Timestamp,
    /// Who it claims to be, once it has said so.
    user: Option<Box<str>>,
}

impl ScramLogin {
    /// None: nobody can prove himself by SCRAM.
    pub(super) fn new(policy: &Arc<Policy>, now: Timestamp, entrance: &Entrance, seed: [u8; 24]) -> Option<Self> {
        let is_offered = policy.scram.iter().any(|users| users.has_scram());
        is_offered.then(|| Self {
            scram: Scram::new(Tables(Arc::clone(policy)), seed),
            policy: Arc::clone(policy),
            entrance: entrance.clone(),
            began: now,
            user: None,
        })
    }

    fn conclude(&self, step: Step) -> Step {
        let Step::Accept { identity, data } = step else { return step };
        let Some(listener) = self.policy.listener(&self.entrance) else { return Step::Refuse(Denial::NotAuthorized) };
        let user = identity.user().unwrap_or_default();
        let groups = find(&self.policy, user).map(|user| user.groups.clone()).unwrap_or_default();
        let proof = Proof { user: Some(user.into()), groups, ..Proof::default() };
        Step::Accept { identity: listener.identity(proof), data }
    }
}

impl Exchange for ScramLogin {
    fn next(&mut self, data: &[u8]) -> Step {
        let step = self.scram.next(data);
        if self.user.is_none() {
            self.user = self.scram.user().map(Into::into);
        }
        if self.policy.has_banned(self.began, &self.entrance, self.user.as_deref()) {
            return Step::Refuse(Denial::Banned);
        }
        if step == Step::Refuse(Denial::BadUserNameOrPassword) {
            self.policy.count_failure(self.began, &self.entrance, self.user.as_deref());
        }
        self.conclude(step)
    }
}

impl fmt::Debug for ScramLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scram, entrance, .. } = self;
        f.debug_struct("ScramLogin").field("scram", scram).field("entrance", entrance).finish_non_exhaustive()
    }
}

fn find<'a>(policy: &'a Policy, name: &str) -> Option<&'a User> {
    policy.scram.iter().find_map(|users| users.get(name))
}

struct Tables(Arc<Policy>);

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tables")
    }
}

impl Directory for Tables {
    fn credential(&self, user: &str) -> (Credential, Choice) {
        let tables = &self.0.scram;
        // Made up for known users as well, so that it takes the same time; an exchange begins only where there is a
        // table that can.
        let made_up = tables.iter().find_map(|users| users.made_up(user));
        let made_up = made_up.expect("some table has users of SCRAM");
        let known = find(&self.0, user).and_then(|user| user.password.scram());
        known.map_or((made_up, Choice::from(0)), |credential| (credential.clone(), Choice::from(1)))
    }
}
