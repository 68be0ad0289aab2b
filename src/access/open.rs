//! No guard at all: for a broker on loopback, for tests and for benchmarks.

use super::{Answer, Credentials, Guard, Identity, Verdict};
use crate::base::Timestamp;

/// Lets everybody in as nobody in particular, to do everything. User names and passwords are not looked at.
#[derive(Clone, Copy, Default, Debug)]
pub struct Open;

impl Guard for Open {
    fn connect(&mut self, _now: Timestamp, _: &Credentials<'_>) -> Answer {
        Answer::Now(Verdict::Accept(Identity::ANONYMOUS))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Client, Entrance, Grant, Publication};
    use super::*;
    use crate::mqtt::{QoS, TopicFilter, TopicName};

    #[test]
    fn everybody_comes_in_anonymous_and_may_do_everything() {
        let (client_id, user_name, password) = ("c", Some("somebody"), Some(&b"something"[..]));
        let credentials = Credentials { entrance: Entrance::UNKNOWN, client_id, user_name, password };
        let now = Timestamp(1);
        let answer = Open.connect(now, &credentials);
        assert!(matches!(answer, Answer::Now(Verdict::Accept(identity)) if identity == Identity::ANONYMOUS));
        assert!(Open.exchange(now, "SCRAM-SHA-256", &credentials, [0; 24]).is_none());
        let client = Client { identity: &Identity::ANONYMOUS, client_id };
        let topic = TopicName::trusted("a");
        assert!(Open.may_publish(&client, &Publication { topic, qos: QoS::AtMostOnce, retain: true }));
        assert_eq!(Open.may_subscribe(&client, TopicFilter::trusted("#"), QoS::AtMostOnce), Grant::Whole);
        assert!(!format!("{credentials:?}").contains("something"));
    }
}
