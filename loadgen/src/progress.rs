//! How far a run has got, on a terminal. It is drawn by a thread of its own, so that neither drawing nor a slow terminal
//! delays what is measured: the run only leaves its counts.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::traffic::Stage;
use crate::units::{count, short};

/// Seldom enough to cost nothing where the thread shares a core with the run.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Progress {
    counts: Arc<Counts>,
    display: Option<JoinHandle<()>>,
}

/// Where the run leaves how far it is; each count by itself, for they are only looked at.
#[derive(Default, Debug)]
struct Counts {
    ready: AtomicU64,
    clients: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    is_publishing: AtomicBool,
    is_over: AtomicBool,
}

/// What was last seen of publishing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    /// Since the first message.
    at: Duration,
    sent: u64,
    received: u64,
}

/// A bar and what stands beside it.
#[derive(PartialEq, Eq, Debug)]
struct Shown {
    position: u64,
    length: u64,
    words: String,
}

impl Progress {
    /// Of a run that publishes for so long. Where standard error is no terminal, nothing is shown.
    ///
    /// To be started before the run has a core to itself: threads inherit it.
    pub fn start(publishing: Duration) -> Self {
        let counts = Arc::new(Counts::default());
        let display = io::stderr().is_terminal().then(|| {
            let counts = Arc::clone(&counts);
            thread::spawn(move || display(&counts, publishing))
        });
        Self { counts, display }
    }

    /// Takes what the run says at every turn.
    pub fn watch(&self, stage: Stage) {
        let leave = |count: &AtomicU64, value| count.store(value, Ordering::Relaxed);
        let counts = &self.counts;
        match stage {
            Stage::Connecting { ready, clients } => {
                leave(&counts.ready, ready as u64);
                leave(&counts.clients, clients as u64);
            }
            Stage::Publishing { sent, received } => {
                leave(&counts.sent, sent);
                leave(&counts.received, received);
                counts.is_publishing.store(true, Ordering::Relaxed);
            }
            Stage::Holding { .. } | Stage::Churning { .. } => counts.is_publishing.store(true, Ordering::Relaxed),
        }
    }
}

/// Leaves the terminal as it was.
impl Drop for Progress {
    fn drop(&mut self) {
        self.counts.is_over.store(true, Ordering::Relaxed);
        if let Some(display) = self.display.take() {
            display.thread().unpark();
            let _ = display.join();
        }
    }
}

fn display(counts: &Counts, publishing: Duration) {
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("[{bar:30}] {msg}").expect("a template").progress_chars("=> "));
    let (mut began, mut before) = (None, Seen { at: Duration::ZERO, sent: 0, received: 0 });
    while !counts.is_over.load(Ordering::Relaxed) {
        let shown = if counts.is_publishing.load(Ordering::Relaxed) {
            let at = began.get_or_insert_with(Instant::now).elapsed();
            let now = Seen { at, sent: of(&counts.sent), received: of(&counts.received) };
            publishing_shown(std::mem::replace(&mut before, now), now, publishing)
        } else {
            connecting_shown(of(&counts.ready), of(&counts.clients))
        };
        bar.set_length(shown.length);
        bar.set_position(shown.position);
        bar.set_message(shown.words);
        thread::park_timeout(INTERVAL);
    }
    bar.finish_and_clear();
}

fn connecting_shown(ready: u64, clients: u64) -> Shown {
    Shown { position: ready, length: clients, words: format!("connecting: {} of {}", count(ready), count(clients)) }
}

fn publishing_shown(before: Seen, now: Seen, whole: Duration) -> Shown {
    let secs = (now.at - before.at).as_secs_f64().max(INTERVAL.as_secs_f64() / 2.0);
    let rate = |now: u64, before: u64| short((now.saturating_sub(before) as f64 / secs).round());
    let left = whole.saturating_sub(now.at);
    let words = match (left.is_zero(), now.sent + now.received) {
        (true, 0) => "closing".into(),
        (true, _) => format!("draining: {} sent, {} received", count(now.sent), count(now.received)),
        (false, 0) => format!("holding: {} s left", left.as_secs() + 1),
        (false, _) => format!(
            "publishing: {} s left, {}/s sent, {}/s received",
            left.as_secs() + 1,
            rate(now.sent, before.sent),
            rate(now.received, before.received)
        ),
    };
    let millis = |time: Duration| time.as_millis() as u64;
    Shown { position: millis(now.at.min(whole)), length: millis(whole), words }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = Duration::from_secs(11);

    fn seen(millis: u64, sent: u64, received: u64) -> Seen {
        Seen { at: Duration::from_millis(millis), sent, received }
    }

    #[test]
    fn connecting_shows_how_many_are_ready() {
        let words = "connecting: 1,200 of 5,000".into();
        assert_eq!(connecting_shown(1_200, 5_000), Shown { position: 1_200, length: 5_000, words });
    }

    #[test]
    fn publishing_shows_the_time_left_and_the_last_rates() {
        let shown = publishing_shown(seen(1_000, 50_000, 40_000), seen(1_500, 100_000, 89_000), WHOLE);
        let words = "publishing: 10 s left, 100 k/s sent, 98.0 k/s received".into();
        assert_eq!(shown, Shown { position: 1_500, length: 11_000, words });
    }

    #[test]
    fn holding_draining_and_closing_are_told_apart() {
        let words = |now| publishing_shown(seen(10_500, 0, 0), now, WHOLE).words;
        assert_eq!(words(seen(10_900, 0, 0)), "holding: 1 s left");
        assert_eq!(words(seen(11_500, 0, 0)), "closing");
        assert_eq!(words(seen(11_500, 5_000, 4_000)), "draining: 5,000 sent, 4,000 received");
    }

    #[test]
    fn without_a_terminal_there_is_no_display() {
        let progress = Progress { counts: Arc::default(), display: None };
        progress.watch(Stage::Publishing { sent: 3, received: 2 });
        assert_eq!(progress.counts.sent.load(Ordering::Relaxed), 3);
    }
}
