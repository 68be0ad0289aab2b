//! The thread that writes the log, so that no shard ever waits for whoever reads it. Lines come through a bounded
//! channel; those that find it full are lost, counted, and told of as soon as the reader goes on.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// What may wait for a reader that pauses: the lines of 4,000 clients that come and go. Under 2 MB at the usual 200
/// bytes a line; at most 60 MB, when all are of clients that have the longest names that the log shows.
const LINES_MAX: usize = 8_192;

/// A write has no more than this and its last line. It is what a pipe holds.
const BATCH_BYTES: usize = 64 * 1024;

/// How long lines gather after a write: who writes many wakes nobody for each, and pays for one write for all of them.
const GATHER_PAUSE: Duration = Duration::from_millis(2);

/// Between two looks at what is not ready and does not say when it is.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Where lines go to be written. All copies lead to the same thread.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    messages: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Box<[u8]>),
    /// The count of lost lines has grown.
    Lost,
    /// To be answered when all that came before is written.
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// `tell_lost` makes the line that says how many were lost.
    pub(super) fn start<S, T>(sink: S, tell_lost: T) -> io::Result<Self>
    where
        S: Write + Send + 'static,
        T: Fn(u64) -> String + Send + 'static,
    {
        let (sender, messages) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let mut thread =
            Thread { messages, lost: Arc::clone(&lost), sink, tell_lost, batch: Vec::new(), flushes: Vec::new() };
        thread::Builder::new().name("log".into()).spawn(move || thread.run())?;
        Ok(Self { messages: sender, lost })
    }

    fn send(&self, line: &[u8]) {
        if self.messages.try_send(Message::Line(line.into())).is_err() {
            self.lose();
        }
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
        // If this finds no room, the thread has not looked at the count since, and will.
        let _ = self.messages.try_send(Message::Lost);
    }

    /// True: all that was sent before is written, or told to be lost.
    pub(super) fn flush(&self, time_max: Duration) -> bool {
        let deadline = Instant::now() + time_max;
        let (done, is_done) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(refused)) = self.messages.try_send(message) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(RETRY_PAUSE);
            message = refused;
        }
        is_done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> &'w Self {
        self
    }
}

/// Takes whole lines, and never fails: what is lost is told.
impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Thread<S, T> {
    messages: Receiver<Message>,
    lost: Arc<AtomicU64>,
    sink: S,
    tell_lost: T,
    batch: Vec<u8>,
    flushes: Vec<SyncSender<()>>,
}

impl<S: Write, T: Fn(u64) -> String> Thread<S, T> {
    fn run(&mut self) {
        while let Ok(first) = self.messages.recv() {
            self.take(first);
            while self.batch.len() < BATCH_BYTES
                && let Ok(next) = self.messages.try_recv()
            {
                self.take(next);
            }
            self.write_batch();
            self.write_lost();
            for done in self.flushes.drain(..) {
                let _ = done.send(());
            }
            thread::sleep(GATHER_PAUSE);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => self.batch.extend_from_slice(&line),
            Message::Lost => {}
            Message::Flush(done) => self.flushes.push(done),
        }
    }

    fn write_batch(&mut self) {
        let written = write(&mut self.sink, &self.batch);
        let lost = self.batch[written..].iter().filter(|&&byte| byte == b'\n').count();
        self.lost.fetch_add(lost as u64, Ordering::SeqCst);
        self.batch.clear();
    }

    fn write_lost(&mut self) {
        let lost = self.lost.swap(0, Ordering::SeqCst);
        if lost == 0 {
            return;
        }
        let line = (self.tell_lost)(lost);
        if write(&mut self.sink, line.as_bytes()) < line.len() {
            self.lost.fetch_add(lost, Ordering::SeqCst);
        }
    }
}

/// How much was written: all, unless the sink fails.
fn write(sink: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match sink.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Programs that share a terminal or a pipe can make it non-blocking for all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    const TIME_MAX: Duration = Duration::from_secs(10);

    /// Keeps what is written, while it is open; a closed one blocks, a broken one fails.
    #[derive(Clone, Default)]
    struct Sink(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        writes: Vec<String>,
        is_closed: bool,
        is_broken: bool,
        /// Somebody waits until it is opened.
        is_waited_for: bool,
    }

    impl Sink {
        fn change(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn wait_until_blocked(&self) {
            drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |state| !state.is_waited_for).unwrap());
        }

        fn writes(&self) -> Vec<String> {
            self.0.0.lock().unwrap().writes.clone()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock().unwrap();
            state.is_waited_for = state.is_closed;
            self.0.1.notify_all();
            let mut state = self.0.1.wait_while(state, |state| state.is_closed).unwrap();
            if state.is_broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.writes.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (LogWriter, Sink) {
        let sink = Sink::default();
        (LogWriter::start(sink.clone(), |lost| format!("lost {lost}\n")).unwrap(), sink)
    }

    /// As above, with a thread that hangs in the write of the line `0`.
    fn start_blocked() -> (LogWriter, Sink) {
        let (writer, sink) = start();
        sink.change(|state| state.is_closed = true);
        send(&writer, 0..1);
        sink.wait_until_blocked();
        (writer, sink)
    }

    fn send(writer: &LogWriter, lines: std::ops::Range<usize>) {
        lines.for_each(|line| writer.send(format!("{line}\n").as_bytes()));
    }

    fn lines(range: std::ops::Range<usize>) -> String {
        range.map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let (writer, sink) = start();
        for start in (0..20_000).step_by(1_000) {
            send(&writer, start..start + 1_000);
            assert!(writer.flush(TIME_MAX));
            assert_eq!(sink.writes().concat(), lines(0..start + 1_000));
        }
    }

    #[test]
    fn what_has_come_meanwhile_is_one_write() {
        let (writer, sink) = start_blocked();
        send(&writer, 1..1_000);
        sink.change(|state| state.is_closed = false);
        assert!(writer.flush(TIME_MAX));
        assert_eq!(sink.writes(), [lines(0..1), lines(1..1_000)]);
    }

    #[test]
    fn a_write_is_bounded() {
        let (writer, sink) = start_blocked();
        let line = "a".repeat(1_023) + "\n";
        (0..100).for_each(|_| writer.send(line.as_bytes()));
        sink.change(|state| state.is_closed = false);
        assert!(writer.flush(TIME_MAX));
        assert_eq!(sink.writes().iter().map(String::len).collect::<Vec<_>>(), [2, 64 * 1_024, 36 * 1_024]);
    }

    #[test]
    fn a_reader_that_pauses_holds_nobody_up_and_each_line_it_misses_is_counted() {
        let (writer, sink) = start_blocked();
        let others: Vec<_> = (0..4)
            .map(|_| {
                let writer = writer.clone();
                thread::spawn(move || send(&writer, 0..LINES_MAX))
            })
            .collect();
        others.into_iter().for_each(|thread| thread.join().unwrap());
        sink.change(|state| state.is_closed = false);
        assert!(writer.flush(TIME_MAX));

        let text = sink.writes().concat();
        let told: Vec<_> = text.lines().filter(|line| line.starts_with("lost")).collect();
        assert_eq!(told, [format!("lost {}", 3 * LINES_MAX)]);
        assert_eq!(text.lines().count(), 1 + LINES_MAX + told.len());
    }

    /// The channel may be empty by the time that the line which found it full is counted.
    #[test]
    fn a_loss_is_told_though_no_line_follows() {
        let (writer, sink) = start();
        writer.lose();
        let is_told = |state: &mut State| state.writes.iter().any(|text| text == "lost 1\n");
        let unfinished = sink.0.1.wait_timeout_while(sink.0.0.lock().unwrap(), TIME_MAX, |state| !is_told(state));
        assert!(!unfinished.unwrap().1.timed_out());
    }

    #[test]
    fn what_a_broken_sink_did_not_take_is_told_when_it_takes_more() {
        let (writer, sink) = start();
        sink.change(|state| state.is_broken = true);
        send(&writer, 0..10);
        assert!(writer.flush(TIME_MAX));
        sink.change(|state| state.is_broken = false);
        send(&writer, 10..11);
        assert!(writer.flush(TIME_MAX));
        assert_eq!(sink.writes(), ["10\n", "lost 10\n"]);
    }

    #[test]
    fn a_flush_ends_in_time_whether_there_is_room_for_it_or_not() {
        for waiting in [0, LINES_MAX] {
            let (writer, sink) = start_blocked();
            send(&writer, 1..waiting + 1);
            assert!(!writer.flush(Duration::from_millis(20)), "{waiting}");
            sink.change(|state| state.is_closed = false);
            assert!(writer.flush(TIME_MAX), "{waiting}");
        }
    }

    #[test]
    fn a_sink_that_cannot_wait_is_asked_again() {
        struct Hasty(Sink, bool);
        impl Write for Hasty {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.write(&bytes[..1]) }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let sink = Sink::default();
        assert_eq!(write(&mut Hasty(sink.clone(), false), b"line\n"), 5);
        assert_eq!(sink.writes().concat(), "line\n");
    }
}
