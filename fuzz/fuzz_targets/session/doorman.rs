//! Who is let in: at once, later, or after an exchange, as the client's CONNECT and AUTH ask for it.

use thrum::access::{Answer, Check, Credentials, Denial, Exchange, Guard, Identity, Step, Verdict};
use thrum::mqtt::{TopicFilter, TopicName};

#[derive(Debug)]
pub(crate) struct Doorman;

impl Guard for Doorman {
    fn connect(&mut self, credentials: &Credentials<'_>) -> Answer {
        match credentials.user_name {
            Some("denied") => Answer::Now(Verdict::Refuse(Denial::NotAuthorized)),
            Some("denied later") => Answer::Later(Box::new(Later(Verdict::Refuse(Denial::BadUserNameOrPassword)))),
            Some("later") => Answer::Later(Box::new(Later(Verdict::Accept(Identity::of_user("later"))))),
            _ => Answer::Now(Verdict::Accept(Identity::ANONYMOUS)),
        }
    }

    fn exchange(&mut self, method: &str, _client_id: &str, _seed: [u8; 24]) -> Option<Box<dyn Exchange>> {
        (method == crate::METHOD).then(|| Box::new(Password) as Box<dyn Exchange>)
    }

    fn may_publish(&mut self, _: &Identity, _client_id: &str, topic: TopicName<'_>) -> bool {
        topic.as_str() != crate::FORBIDDEN
    }

    fn may_subscribe(&mut self, _: &Identity, _client_id: &str, filter: TopicFilter<'_>) -> bool {
        filter.as_str() != crate::FORBIDDEN
    }
}

#[derive(Debug)]
struct Later(Verdict);

impl Check for Later {
    fn run(self: Box<Self>) -> Verdict {
        self.0
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
