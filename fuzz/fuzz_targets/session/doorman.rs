//! Who is let in: at once, later, or after an exchange, as the client's CONNECT and AUTH ask for it.

use thrum::access::{
    Answer, Check, Client, Credentials, Denial, Exchange, Grant, Guard, Identity, Publication, Step, Verdict,
};
use thrum::base::Timestamp;
use thrum::mqtt::{QoS, TopicFilter};

#[derive(Debug)]
pub(crate) struct Doorman;

impl Guard for Doorman {
    fn connect(&mut self, _: Timestamp, credentials: &Credentials<'_>) -> Answer {
        match credentials.user_name {
            Some("denied") => Answer::Now(Verdict::Refuse(Denial::NotAuthorized)),
            Some("denied later") => Answer::Later(Box::new(Later(Verdict::Refuse(Denial::BadUserNameOrPassword)))),
            Some("later") => Answer::Later(Box::new(Later(Verdict::Accept(Identity::of_user("later"))))),
            _ => Answer::Now(Verdict::Accept(Identity::ANONYMOUS)),
        }
    }

    fn exchange(
        &mut self,
        _: Timestamp,
        method: &str,
        _: &Credentials<'_>,
        _seed: [u8; 24],
    ) -> Option<Box<dyn Exchange>> {
        (method == crate::METHOD).then(|| Box::new(Password) as Box<dyn Exchange>)
    }

    fn may_publish(&mut self, _: &Client<'_>, publication: &Publication<'_>) -> bool {
        publication.topic.as_str() != crate::FORBIDDEN
    }

    fn may_subscribe(&mut self, _: &Client<'_>, filter: TopicFilter<'_>, _: QoS) -> Grant {
        if filter.as_str() == crate::FORBIDDEN { Grant::Denied } else { Grant::Whole }
    }
}

#[derive(Debug)]
struct Later(Verdict);

impl Check for Later {
    fn run(self: Box<Self>) -> Answer {
        Answer::Now(self.0)
    }
}

#[derive(Debug)]
struct Password;

impl Exchange for Password {
    fn next(&mut self, data: &[u8]) -> Step {
        match data {
            b"yes" => Step::Accept { identity: Identity::of_user("password"), data: Some(b"welcome".to_vec()) },
            b"no" => Step::Refuse(Denial::NotAuthorized),
            _ => Step::Challenge(b"who goes there".to_vec()),
        }
    }
}
