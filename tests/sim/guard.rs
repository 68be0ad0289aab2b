//! A guard that lets everybody in, some of them later.

use thrum::access::{Answer, Check, Credentials, Guard, Identity, Verdict};
use thrum::base::Timestamp;

#[derive(Clone, Copy, Debug)]
pub struct SimGuard {
    /// Of a hundred clients so many are thought about.
    pub later: usize,
}

#[derive(Debug)]
struct Thought;

impl Check for Thought {
    fn run(self: Box<Self>) -> Answer {
        Answer::Now(Verdict::Accept(Identity::ANONYMOUS))
    }
}

impl Guard for SimGuard {
    fn connect(&mut self, _: Timestamp, credentials: &Credentials<'_>) -> Answer {
        let number = credentials.client_id.bytes().fold(7usize, |sum, byte| sum * 31 % 1009 + usize::from(byte));
        if number % 100 < self.later {
            Answer::Later(Box::new(Thought))
        } else {
            Answer::Now(Verdict::Accept(Identity::ANONYMOUS))
        }
    }
}
