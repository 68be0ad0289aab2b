//! Slow verdicts, found out on threads beside the shards: few of the lowest priority for what computes, some for what
//! waits for others. The way to them is bounded, and nobody stands in line longer than he would be waited for.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tracing::warn;

use super::command::{Command, ShardHandle};
use crate::access::{Answer, Check, Denial, Lane, Verdict, release_hash_memory};
use crate::broker::CheckId;

/// Under more logins than can be checked each would otherwise wait until its client has given up, and nobody came in.
/// Half of what a client has for its CONNECT.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// After so long without a question a thread gives back the memory that hashing needs.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// What is left over by the shards is what hashes get (SCHED_IDLE).
const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CheckLimits {
    pub(super) hash_threads: usize,
    pub(super) hash_queue_max: usize,
    pub(super) wait_threads: usize,
    pub(super) wait_queue_max: usize,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self { hash_threads: 1, hash_queue_max: 1_024, wait_threads: 4, wait_queue_max: 1_024 }
    }
}

/// The threads of all shards. When it is dropped they end with what they are at, and nobody waits for that: a check may
/// take longer than a drain.
#[derive(Debug)]
pub(super) struct CheckPool {
    lines: Arc<Lines>,
}

impl CheckPool {
    /// Takes whatever cores the caller's thread may have: a shard's own is not to be one that stands still meanwhile.
    pub(super) fn start(limits: &CheckLimits) -> io::Result<Self> {
        let CheckLimits { hash_threads, hash_queue_max, wait_threads, wait_queue_max } = *limits;
        let lines = Lines { compute: Line::new(hash_queue_max), wait: Line::new(wait_queue_max) };
        let pool = Self { lines: Arc::new(lines) };
        for (lane, name, threads) in [(Lane::Compute, "hash", hash_threads), (Lane::Wait, "ask", wait_threads)] {
            for index in 0..threads {
                let lines = Arc::clone(&pool.lines);
                thread::Builder::new().name(format!("{name}-{index}")).spawn(move || answer_all(&lines, lane))?;
            }
        }
        Ok(pool)
    }
}

impl Drop for CheckPool {
    fn drop(&mut self) {
        self.lines.compute.close();
        self.lines.wait.close();
    }
}

/// A shard's end.
#[derive(Debug)]
pub(super) struct Checks {
    pool: Arc<CheckPool>,
    to: ShardHandle,
}

impl Checks {
    pub(super) fn new(pool: Arc<CheckPool>, to: ShardHandle) -> Self {
        Self { pool, to }
    }

    /// The verdict comes as a command, sooner or later.
    pub(super) fn ask(&self, check: CheckId, question: Box<dyn Check>) {
        let to = self.to.clone();
        self.pool.lines.put(Question { check, question, to, asked: Instant::now() });
    }
}

#[derive(Debug)]
struct Question {
    check: CheckId,
    question: Box<dyn Check>,
    to: ShardHandle,
    asked: Instant,
}

impl Question {
    fn answer(self, lines: &Lines) {
        let Self { check, question, to, asked } = self;
        if asked.elapsed() > WAIT_MAX {
            return tell(&to, check, Verdict::Refuse(Denial::ServerBusy));
        }
        match question.run() {
            Answer::Now(verdict) => tell(&to, check, verdict),
            Answer::Later(question) => lines.put(Self { check, question, to, asked }),
        }
    }
}

/// Where the shard has ended nobody waits for it.
fn tell(to: &ShardHandle, check: CheckId, verdict: Verdict) {
    to.tell(Command::Verdict { check, verdict });
}

#[derive(Debug)]
struct Lines {
    compute: Line,
    wait: Line,
}

impl Lines {
    fn of(&self, lane: Lane) -> &Line {
        match lane {
            Lane::Compute => &self.compute,
            Lane::Wait => &self.wait,
        }
    }

    fn put(&self, question: Question) {
        if let Err(Question { check, to, .. }) = self.of(question.question.lane()).put(question) {
            tell(&to, check, Verdict::Refuse(Denial::ServerBusy));
        }
    }
}

/// Questions of one lane, in the order in which they came. The lock is held for a push or a pop, never while a question
/// is answered.
#[derive(Debug)]
struct Line {
    questions_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default, Debug)]
struct State {
    questions: VecDeque<Question>,
    is_closed: bool,
}

impl Line {
    fn new(questions_max: usize) -> Self {
        Self { questions_max, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the process; while it does, others may go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, question: Question) -> Result<(), Question> {
        let mut state = self.lock();
        if state.questions.len() >= self.questions_max {
            return Err(question);
        }
        state.questions.push_back(question);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// None: there will be none any more.
    fn take(&self) -> Option<Question> {
        let mut state = self.lock();
        let mut has_memory = true;
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(question) = state.questions.pop_front() {
                return Some(question);
            }
            if has_memory {
                let (locked, waited) =
                    self.changed.wait_timeout(state, IDLE_TIME).unwrap_or_else(PoisonError::into_inner);
                state = locked;
                if waited.timed_out() && state.questions.is_empty() {
                    drop(state);
                    release_hash_memory();
                    has_memory = false;
                    state = self.lock();
                }
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        // They hold passwords.
        state.questions = VecDeque::new();
        drop(state);
        self.changed.notify_all();
    }
}

fn answer_all(lines: &Lines, lane: Lane) {
    // The lowest priority of the usual policy (nice 19) gives way when its slice is over, this policy at once.
    if lane == Lane::Compute
        && let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE)
    {
        warn!("password hashes have the priority of shards: {error}");
    }
    while let Some(question) = lines.of(lane).take() {
        question.answer(lines);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use thread_priority::unix::thread_schedule_policy;

    use super::*;
    use crate::access::Identity;
    use crate::base::ConnId;
    use crate::mesh;
    use crate::server::parcel::Parcel;

    /// Waits until told to go on, on its lane, and then on the next.
    #[derive(Debug)]
    struct Held {
        lane: Lane,
        go_on: Receiver<()>,
        then: Option<Box<dyn Check>>,
    }

    impl Check for Held {
        fn lane(&self) -> Lane {
            self.lane
        }

        fn run(self: Box<Self>) -> Answer {
            self.go_on.recv().unwrap();
            match self.then {
                Some(next) => Answer::Later(next),
                None => Answer::Now(Verdict::Accept(Identity::of_user(thread::current().name().unwrap()))),
            }
        }
    }

    fn held(lane: Lane, then: Option<Box<dyn Check>>) -> (Sender<()>, Box<dyn Check>) {
        let (sender, go_on) = channel();
        (sender, Box::new(Held { lane, go_on, then }))
    }

    struct Shard {
        checks: Checks,
        commands: Receiver<Command>,
        asked: u32,
    }

    impl Shard {
        fn new(limits: &CheckLimits) -> Self {
            let ports = mesh::build::<Parcel>(1, 1).unwrap();
            let (sender, commands) = channel();
            let handle = ShardHandle { commands: sender, alarm: Arc::clone(ports[0].alarm()) };
            Self { checks: Checks::new(Arc::new(CheckPool::start(limits).unwrap()), handle), commands, asked: 0 }
        }

        fn ask(&mut self, question: Box<dyn Check>) -> CheckId {
            let check = CheckId { conn: ConnId(self.asked), serial: self.asked.into() };
            self.asked += 1;
            self.checks.ask(check, question);
            check
        }

        fn verdict(&self) -> (CheckId, Verdict) {
            match self.commands.recv_timeout(Duration::from_secs(60)) {
                Ok(Command::Verdict { check, verdict }) => (check, verdict),
                other => panic!("no verdict: {other:?}"),
            }
        }
    }

    const SMALL: CheckLimits = CheckLimits { hash_threads: 1, hash_queue_max: 2, wait_threads: 2, wait_queue_max: 2 };

    fn by(thread: &str) -> Verdict {
        Verdict::Accept(Identity::of_user(thread))
    }

    #[test]
    fn a_line_that_is_full_says_so_at_once_and_moves_on_later() {
        let mut shard = Shard::new(&SMALL);
        let (first, check) = held(Lane::Compute, None);
        let running = shard.ask(check);
        while !shard.checks.pool.lines.compute.lock().questions.is_empty() {
            thread::yield_now();
        }
        let waiting = [held(Lane::Compute, None), held(Lane::Compute, None)];
        let waiting = waiting.map(|(go_on, check)| (go_on, shard.ask(check)));
        let refused = shard.ask(held(Lane::Compute, None).1);
        assert_eq!(shard.verdict(), (refused, Verdict::Refuse(Denial::ServerBusy)));
        first.send(()).unwrap();
        assert_eq!(shard.verdict(), (running, by("hash-0")));
        for (go_on, check) in waiting {
            go_on.send(()).unwrap();
            assert_eq!(shard.verdict(), (check, by("hash-0")));
        }
    }

    #[test]
    fn who_waits_for_others_holds_up_no_hash_and_goes_on_in_its_line() {
        let mut shard = Shard::new(&SMALL);
        let (hash, computing) = held(Lane::Compute, None);
        let (answer, asking) = held(Lane::Wait, Some(computing));
        let both = shard.ask(asking);
        let (quick, computing) = held(Lane::Compute, None);
        quick.send(()).unwrap();
        let alone = shard.ask(computing);
        assert_eq!(shard.verdict(), (alone, by("hash-0")));
        answer.send(()).unwrap();
        hash.send(()).unwrap();
        assert_eq!(shard.verdict(), (both, by("hash-0")));
    }

    #[test]
    fn who_stood_in_line_too_long_is_not_checked_any_more() {
        let shard = Shard::new(&SMALL);
        let (_go_on, question) = held(Lane::Compute, None);
        let check = CheckId { conn: ConnId(0), serial: 0 };
        let asked = Instant::now().checked_sub(WAIT_MAX + Duration::from_secs(1)).unwrap();
        shard.checks.pool.lines.put(Question { check, question, to: shard.checks.to.clone(), asked });
        assert_eq!(shard.verdict(), (check, Verdict::Refuse(Denial::ServerBusy)));
    }

    #[test]
    fn hashes_have_the_lowest_priority_and_questions_to_others_the_usual_one() {
        #[derive(Debug)]
        struct Policy(Lane);

        impl Check for Policy {
            fn lane(&self) -> Lane {
                self.0
            }

            fn run(self: Box<Self>) -> Answer {
                Answer::Now(Verdict::Accept(Identity::of_user(&format!("{:?}", thread_schedule_policy().unwrap()))))
            }
        }

        let usual = thread_schedule_policy().unwrap();
        for (lane, wanted) in [(Lane::Compute, IDLE), (Lane::Wait, usual)] {
            let mut shard = Shard::new(&SMALL);
            let check = shard.ask(Box::new(Policy(lane)));
            assert_eq!(shard.verdict(), (check, by(&format!("{wanted:?}"))));
        }
    }

    #[test]
    fn without_its_shards_the_threads_end_and_what_waits_is_forgotten() {
        let mut shard = Shard::new(&CheckLimits { hash_threads: 0, ..SMALL });
        let (go_on, check) = held(Lane::Compute, None);
        shard.ask(check);
        let lines = Arc::clone(&shard.checks.pool.lines);
        drop(shard);
        assert!(go_on.send(()).is_err(), "the check is gone");
        while Arc::strong_count(&lines) > 1 {
            thread::yield_now();
        }
    }
}
