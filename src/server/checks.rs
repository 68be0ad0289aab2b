//! Slow verdicts, found out one after the other on a thread beside the shard. They come to it as commands do: neither
//! that a check begins nor that its verdict is heard depends on how busy the shard is.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::command::{Command, ShardHandle};
use crate::access::Check;
use crate::base::ShardId;
use crate::broker::CheckId;

type Question = (CheckId, Box<dyn Check>);

/// The shard's end. Without it the thread ends too, and nobody waits for that: a check may take longer than a drain.
#[derive(Debug)]
pub(super) struct Checks {
    questions: Sender<Question>,
}

impl Checks {
    /// Takes whatever cores the caller's thread may have: a shard's own is not to be one that stands still meanwhile.
    pub(super) fn start(shard: ShardId, to: ShardHandle) -> io::Result<Self> {
        let (questions, asked) = channel();
        thread::Builder::new().name(format!("checks-{}", shard.index())).spawn(move || answer(&asked, &to))?;
        Ok(Self { questions })
    }

    pub(super) fn ask(&self, check: CheckId, question: Box<dyn Check>) {
        // The thread is there as long as this is; where a check panicked, the process ends.
        let _ = self.questions.send((check, question));
    }
}

fn answer(asked: &Receiver<Question>, to: &ShardHandle) {
    for (check, question) in asked {
        if !to.tell(Command::Verdict { check, verdict: question.run().verdict() }) {
            return;
        }
    }
}
