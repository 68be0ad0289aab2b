//! Logins beside messages: passwords are hashed beside the shards, so that the messages of others take no longer for it.
//! THRUM_LOGINS_SECS (1) makes it a measurement: of each way to come in, and of what argon2id adds to the others' p99.

use std::collections::VecDeque;
use std::env;
use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use crate::broker::{Broker, Setup, binary};
use crate::client::connect;
use crate::packets::{Login, V3_1_1, publish};

/// Messages come and logins go by this pace.
const EVERY: Duration = Duration::from_millis(1);

/// At so many clients is looked then, whether they have their answer.
const LOOKS: usize = 20;

/// More than so many that wait for their answer are not opened: the queue is bounded, and refuses the others at once.
const WAITING_MAX: usize = 4_000;

/// What comes of logins.
#[derive(Default)]
struct Tally {
    begun: u32,
    accepted: u32,
    busy: u32,
    other: u32,
    unanswered: usize,
}

/// How long messages took from when they were due to when they came.
struct Latency(Vec<Duration>);

impl Latency {
    fn of_hundred(&self, part: usize) -> Duration {
        self.0[(self.0.len() * part).div_ceil(100).clamp(1, self.0.len()) - 1]
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, most, all] = [50, 99, 100].map(|part| self.of_hundred(part));
        write!(f, "p50 {median:?}, p99 {most:?}, longest {all:?} of {} messages", self.0.len())
    }
}

/// One client's messages to another, at their pace, for so long.
fn messages(broker: &Broker, span: Duration) -> Latency {
    let mut subscriber = connect(broker, V3_1_1, "subscriber");
    subscriber.subscribe("latency", 0);
    let mut publisher = connect(broker, V3_1_1, "publisher");
    let began = Instant::now();
    let count = span.as_nanos().div_ceil(EVERY.as_nanos()) as u32;
    let mut taken: Vec<Duration> = thread::scope(|scope| {
        let received = scope.spawn(move || {
            let taken = |_| {
                let message = subscriber.publish();
                let now = began.elapsed();
                now - EVERY * u32::from_le_bytes(message.payload.try_into().unwrap())
            };
            (0..count).map(taken).collect()
        });
        for number in 0..count {
            thread::sleep((EVERY * number).saturating_sub(began.elapsed()));
            publisher.send(&publish(V3_1_1, "latency", &number.to_le_bytes(), 0, 0));
        }
        received.join().unwrap()
    });
    taken.sort_unstable();
    Latency(taken)
}

/// Clients that come by their pace until told to stop, each with this login, and go when they have their answer.
fn logins(broker: &Broker, login: &Login, is_over: &AtomicBool) -> Tally {
    let (connect, began) = (login.bytes(), Instant::now());
    let mut tally = Tally::default();
    let mut waiting: VecDeque<TcpStream> = VecDeque::new();
    while !is_over.load(Ordering::Relaxed) {
        while began.elapsed() > EVERY * tally.begun && waiting.len() < WAITING_MAX {
            let mut stream = TcpStream::connect(broker.address).expect("the broker accepts");
            // Without a minute in which each port is taken.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            stream.write_all(&connect).unwrap();
            stream.set_nonblocking(true).unwrap();
            waiting.push_back(stream);
            tally.begun += 1;
        }
        // Not at all of them: a thousand looks at once would be what holds up the others.
        for _ in 0..LOOKS.min(waiting.len()) {
            let Some(mut stream) = waiting.pop_front() else { break };
            if still_waits(&mut stream, &mut tally) {
                waiting.push_back(stream);
            }
        }
        thread::sleep(EVERY);
    }
    tally.unanswered = waiting.len();
    tally
}

fn still_waits(stream: &mut TcpStream, tally: &mut Tally) -> bool {
    let mut answer = [0; 4];
    match stream.read(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
        Ok(4) if answer == [0x20, 2, 0, 0] => tally.accepted += 1,
        // What a client of 3.1.1 is told where one of 5.0 hears that the server is busy.
        Ok(4) if answer == [0x20, 2, 0, 3] => tally.busy += 1,
        _ => tally.other += 1,
    }
    false
}

fn messages_beside(broker: &Broker, login: &Login, span: Duration) -> (Latency, Tally) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let logins = scope.spawn(|| logins(broker, login, &is_over));
        let latency = messages(broker, span);
        is_over.store(true, Ordering::Relaxed);
        (latency, logins.join().unwrap())
    })
}

/// What it costs others that a core is never idle, whoever keeps it busy and however willingly he gives way.
fn beside_a_loop<T>(run: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
            set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let result = run();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// By the command itself, as an operator would.
fn password_file(folder: &std::path::Path) -> String {
    let path = folder.join("users");
    let mut passwd = Command::new(binary());
    passwd.args(["passwd", "--create", "--stdin"]).arg(&path).arg("ada").stdin(Stdio::piped());
    let mut passwd = passwd.spawn().unwrap();
    passwd.stdin.take().unwrap().write_all(b"engine\n").unwrap();
    assert!(passwd.wait().unwrap().success());
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_thousand_logins_a_second_do_not_hold_up_the_messages_of_others() {
    let measured = env::var("THRUM_LOGINS_SECS").ok();
    let span = Duration::from_secs(measured.as_ref().map_or(1, |secs| secs.parse().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let access = format!("[access]\npassword_file = \"{}\"\n", password_file(folder.path()));
    let broker = Setup::new(1).listener("anonymous = true\n").tables(&access).start();
    // Once for what happens once.
    messages(&broker, Duration::from_millis(200));
    println!("alone: {}", messages(&broker, span));
    let nobody = Login::new(V3_1_1, "");
    let (before, tally) = messages_beside(&broker, &nobody, span);
    println!("beside {} anonymous connects, {} of them accepted: {before}", tally.begun, tally.accepted);
    assert!(tally.other == 0 && tally.accepted > 0);
    if measured.is_some() {
        let (busy, _) = beside_a_loop(|| messages_beside(&broker, &nobody, span));
        println!("the same beside a loop that runs when nothing else does, in the place of argon2id: {busy}");
    }
    let ada = nobody.user("ada", "engine");
    let (beside, tally) = messages_beside(&broker, &ada, span);
    let Tally { begun, accepted, busy, unanswered, .. } = tally;
    println!(
        "beside {begun} logins with argon2id, {accepted} accepted, {busy} told that the broker is busy, {unanswered} in \
         line: {beside}"
    );
    assert_eq!(tally.other, 0, "a right password is right, or there is no time to look at it");
    assert!(measured.is_none() || accepted > 0, "nobody came in");
    // Who is inside is served while others stand in line.
    connect(&broker, V3_1_1, "later").ping();
    broker.stop();
}
