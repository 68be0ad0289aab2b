//! The guard of a broker that is configured: one per shard, all of one policy.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::authenticator::{Login, Proof};
use super::guard::{Answer, Client, Credentials, Denial, Exchange, Grant, Guard, Identity, Publication, Verdict};
use super::login_check::LoginCheck;
use super::policy::Policy;
use super::scram_login::{SCRAM_SHA_256, ScramLogin};
use crate::base::Timestamp;
use crate::mqtt::{QoS, TopicFilter, TopicName};

#[derive(Debug)]
pub struct PolicyGuard {
    policy: Arc<Policy>,
}

impl PolicyGuard {
    /// The seed is secret randomness: what verdicts are remembered by.
    pub fn new(policy: Arc<Policy>, seed: u64) -> Self {
        let _ = seed;
        Self { policy }
    }
}

impl Guard for PolicyGuard {
    fn connect(&mut self, now: Timestamp, credentials: &Credentials<'_>) -> Answer {
        let Credentials { entrance, client_id, user_name, password } = *credentials;
        if self.policy.has_banned(now, entrance, user_name) {
            return refused(Denial::Banned);
        }
        let Some(listener) = self.policy.listener(entrance) else { return refused(Denial::NotAuthorized) };
        if let Some(name) = entrance.certificate.as_ref().filter(|_| listener.certificate_is_user) {
            let proof = Proof { user: Some(name.clone()), ..Proof::default() };
            return Answer::Now(Verdict::Accept(listener.identity(proof)));
        }
        let brings_nothing = user_name.is_none() && password.is_none();
        if brings_nothing || self.policy.authenticators.is_empty() {
            return match listener.anonymous {
                true => Answer::Now(Verdict::Accept(listener.identity(Proof::default()))),
                false if brings_nothing => refused(Denial::NotAuthorized),
                false => refused(Denial::BadUserNameOrPassword),
            };
        }
        let login = Login {
            entrance: entrance.clone(),
            client_id: client_id.into(),
            user_name: user_name.map(Into::into),
            password: password.map(|password| Zeroizing::new(password.into())),
        };
        Answer::Later(Box::new(LoginCheck::new(Arc::clone(&self.policy), login, now)))
    }

    fn exchange(
        &mut self,
        now: Timestamp,
        method: &str,
        credentials: &Credentials<'_>,
        seed: [u8; 24],
    ) -> Option<Box<dyn Exchange>> {
        let login =
            (method == SCRAM_SHA_256).then(|| ScramLogin::new(&self.policy, now, credentials.entrance, seed))??;
        Some(Box::new(login))
    }

    fn may_publish(&mut self, client: &Client<'_>, publication: &Publication<'_>) -> bool {
        let _ = (client, publication);
        true
    }

    fn may_subscribe(&mut self, client: &Client<'_>, filter: TopicFilter<'_>, qos: QoS) -> Grant {
        let _ = (client, filter, qos);
        Grant::Whole
    }

    fn may_receive(&mut self, client: &Client<'_>, topic: TopicName<'_>) -> bool {
        let _ = (client, topic);
        true
    }

    fn enter(&mut self, who: &Identity) -> Result<(), Denial> {
        let (Some(seats), Some(user)) = (&self.policy.seats, who.user()) else { return Ok(()) };
        if seats.enter_user(user) { Ok(()) } else { Err(Denial::TooManyConnections) }
    }

    fn leave(&mut self, who: &Identity) {
        if let (Some(seats), Some(user)) = (&self.policy.seats, who.user()) {
            seats.leave_user(user);
        }
    }
}

fn refused(denial: Denial) -> Answer {
    Answer::Now(Verdict::Refuse(denial))
}
