//! A guard that lets everybody in, some of them later.

use thrum::access::{Answer, Check, Credentials, Exchange, Guard, Identity, Verdict};
use thrum::mqtt::{TopicFilter, TopicName};

#[derive(Clone, Copy, Debug)]
pub struct SimGuard {
    /// Of a hundred clients so many are thought about.
    pub later: usize,
}

#[derive(Debug)]
struct Thought;

impl Check for Thought {
    fn run(self: Box<Self>) -> Verdict {
        Verdict::Accept(Identity::ANONYMOUS)
    }
}

impl Guard for SimGuard {
    fn connect(&mut self, credentials: &Credentials<'_>) -> Answer {
        let number = credentials.client_id.bytes().fold(7usize, |sum, byte| sum * 31 % 1009 + usize::from(byte));
        if number % 100 < self.later {
            Answer::Later(Box::new(Thought))
        } else {
            Answer::Now(Verdict::Accept(Identity::ANONYMOUS))
        }
    }

    fn exchange(&mut self, _: &str, _: &str, _: [u8; 24]) -> Option<Box<dyn Exchange>> {
        None
    }

    fn may_publish(&mut self, _: &Identity, _: &str, _: TopicName<'_>) -> bool {
        true
    }

    fn may_subscribe(&mut self, _: &Identity, _: &str, _: TopicFilter<'_>) -> bool {
        true
    }
}
