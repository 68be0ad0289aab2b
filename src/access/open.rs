//! No guard at all: for a broker on loopback, for tests and for benchmarks.

use super::{Answer, Credentials, Exchange, Guard, Identity, Verdict};
use crate::mqtt::{TopicFilter, TopicName};

/// Lets everybody in as nobody in particular, to do everything. User names and passwords are not looked at.
#[derive(Clone, Copy, Default, Debug)]
pub struct Open;

impl Guard for Open {
    fn connect(&mut self, _: &Credentials<'_>) -> Answer {
        Answer::Now(Verdict::Accept(Identity::ANONYMOUS))
    }

    fn exchange(&mut self, _method: &str, _client_id: &str, _seed: [u8; 24]) -> Option<Box<dyn Exchange>> {
        None
    }

    fn may_publish(&mut self, _: &Identity, _client_id: &str, _: TopicName<'_>) -> bool {
        true
    }

    fn may_subscribe(&mut self, _: &Identity, _client_id: &str, _: TopicFilter<'_>) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_comes_in_anonymous_and_may_do_everything() {
        let credentials = Credentials { client_id: "c", user_name: Some("somebody"), password: Some(b"something") };
        let answer = Open.connect(&credentials);
        assert!(matches!(answer, Answer::Now(Verdict::Accept(identity)) if identity == Identity::ANONYMOUS));
        assert!(Open.exchange("SCRAM-SHA-256", "c", [0; 24]).is_none());
        assert!(Open.may_publish(&Identity::ANONYMOUS, "c", TopicName::trusted("a")));
        assert!(Open.may_subscribe(&Identity::ANONYMOUS, "c", TopicFilter::trusted("#")));
        assert!(!format!("{credentials:?}").contains("something"));
    }
}
