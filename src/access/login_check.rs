//! A CONNECT's credentials on their way along the authenticators, off the shard.

use std::sync::Arc;

use super::authenticator::{Login, Proof};
use super::guard::{Answer, Check, Denial, Lane, Verdict};
use super::policy::Policy;
use crate::base::Timestamp;

/// Asks one authenticator after the other; where the next one is of another lane, it is the next check.
#[derive(Debug)]
pub(super) struct LoginCheck {
    policy: Arc<Policy>,
    login: Login,
    now: Timestamp,
    /// Whom to ask next; behind the last one stands the imitation.
    at: usize,
}

impl LoginCheck {
    pub(super) fn new(policy: Arc<Policy>, login: Login, now: Timestamp) -> Self {
        Self { policy, login, now, at: 0 }
    }

    /// One hash of a wrong password, for who is not known: neither the answer nor its time tells him from who is.
    fn imitate(&self) -> Denial {
        if self.policy.tells_unknown_users {
            return Denial::NotAuthorized;
        }
        // One of them is enough, as one answers for who is known.
        self.policy.authenticators.iter().any(|authenticator| authenticator.imitate(&self.login));
        Denial::BadUserNameOrPassword
    }

    fn conclude(&self, result: Result<Proof, Denial>) -> Answer {
        if matches!(result, Err(Denial::BadUserNameOrPassword | Denial::NotAuthorized)) {
            self.policy.count_failure(self.now, &self.login.entrance, self.login.user_name.as_deref());
        }
        let listener = self.policy.listener(&self.login.entrance).ok_or(Denial::NotAuthorized);
        let identity = result.and_then(|proof| Ok(listener?.identity(proof)));
        Answer::Now(identity.map_or_else(Verdict::Refuse, Verdict::Accept))
    }
}

impl Check for LoginCheck {
    fn lane(&self) -> Lane {
        self.policy.authenticators.get(self.at).map_or(Lane::Compute, |authenticator| authenticator.lane())
    }

    fn run(mut self: Box<Self>) -> Answer {
        let lane = self.lane();
        while let Some(authenticator) = self.policy.authenticators.get(self.at) {
            if let Some(result) = authenticator.authenticate(self.now, &self.login) {
                return self.conclude(result);
            }
            self.at += 1;
            if self.lane() != lane {
                return Answer::Later(self);
            }
        }
        let denial = self.imitate();
        self.conclude(Err(denial))
    }
}
