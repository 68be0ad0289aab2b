//! The log: lines of text or of JSON on stderr, and what the shards tell of clients in them.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tracing::field::display;
use tracing::{Subscriber, debug, info, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::config::{LogConfig, LogFormat, LogLevel};
use super::log_writer::LogWriter;
use crate::base::ShardId;
use crate::broker::{DisconnectCause, Event};
use crate::mqtt::{ReasonCode, Version};
use crate::net::Peer;

/// What whoever reads the log gets for its last lines. Who does not read it cannot keep the process from ending.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// The log of the process, whose level can be changed.
#[derive(Clone, Debug)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    writer: LogWriter,
}

impl Log {
    /// From here on what is logged goes to stderr. A second log of a process is none: the first one stays.
    pub fn start(config: &LogConfig) -> io::Result<Self> {
        let (subscriber, log) = build(config, io::stderr(), io::stderr().is_terminal())?;
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(log)
    }

    pub fn set_level(&self, level: LogLevel) {
        self.level.reload(filter(level)).expect("the log lives as long as the process");
    }

    /// Lines are written by a thread of their own: to be called before the process ends.
    pub fn flush(&self) {
        // Nothing is left to be done for lines that nobody takes.
        let _ = self.writer.flush(FLUSH_TIME_MAX);
    }
}

fn build<S>(config: &LogConfig, sink: S, is_terminal: bool) -> io::Result<(impl Subscriber + use<S>, Log)>
where
    S: Write + Send + 'static,
{
    let format = config.format;
    let writer = LogWriter::start(sink, move |lost| lost_line(format, lost))?;
    let (filter, level) = reload::Layer::new(filter(config.level));
    let lines = fmt::layer().with_writer(writer.clone()).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(is_terminal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    Ok((Registry::default().with(filter).with(lines), Log { level, writer }))
}

/// Written whatever the level is, past the channel that was full: so not by the layer, but as if.
fn lost_line(format: LogFormat, lost: u64) -> String {
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let message = format!("{lost} lines of the log were lost");
    match format {
        LogFormat::Text => format!("{time}  WARN {message}\n"),
        LogFormat::Json => format!("{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\"}}\n"),
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Tells what happened to a client; `peer` where its connection still has one.
pub fn log_event(event: &Event, peer: Option<Peer>, shard: ShardId) {
    let address = peer.map(display);
    let shard = shard.index();
    match event {
        Event::Connected { client_id, user, version, clean_start, session_present, keep_alive_secs, .. } => info!(
            client = foreign(client_id),
            address,
            protocol = protocol(*version),
            clean = clean_start,
            session_present,
            keep_alive = keep_alive_secs,
            user = user.as_deref().map(foreign),
            shard,
            "connected"
        ),
        Event::Refused { client_id, user_name, reason, .. } => info!(
            client = foreign(client_id),
            address,
            user = user_name.as_deref().map(foreign),
            reason = reason.to_string(),
            shard,
            "refused"
        ),
        Event::Disconnected { client_id, cause, .. } => info!(
            client = client_id.as_deref().map(foreign),
            address,
            reason = reason_of_end(*cause),
            by = author_of_end(*cause),
            shard,
            "disconnected"
        ),
        Event::SessionEnded { client_id, expired } => {
            debug!(client = foreign(client_id), expired, shard, "session ended");
        }
        Event::PublishRefused { client_id, topic, reason } => warn!(
            client = foreign(client_id),
            topic = foreign(topic),
            reason = reason.to_string(),
            shard,
            "publish refused"
        ),
        Event::SubscribeRefused { client_id, filter, reason } => warn!(
            client = foreign(client_id),
            filter = foreign(filter),
            reason = reason.to_string(),
            shard,
            "subscribe refused"
        ),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::V3_1 => "3.1",
        Version::V3_1_1 => "3.1.1",
        Version::V5 => "5.0",
    }
}

fn reason_of_end(cause: DisconnectCause) -> String {
    match cause {
        // What 0x00 is called depends on the packet it is in.
        DisconnectCause::ByClient(ReasonCode::Success) => "normal disconnection (0x00)".into(),
        DisconnectCause::ByClient(reason) | DisconnectCause::ByBroker(reason) => reason.to_string(),
        DisconnectCause::Lost => "connection lost".into(),
    }
}

fn author_of_end(cause: DisconnectCause) -> &'static str {
    match cause {
        DisconnectCause::ByClient(_) => "client",
        DisconnectCause::ByBroker(_) => "broker",
        DisconnectCause::Lost => "network",
    }
}

/// A name from a client may be 64 KiB long.
const FOREIGN_CHARS_MAX: usize = 256;

/// A text from outside, which must neither make a line endless nor, with control characters that a terminal or a
/// reader of the log obeys, look like other lines.
fn foreign(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(FOREIGN_CHARS_MAX));
    let mut rest = text.chars();
    for character in rest.by_ref().take(FOREIGN_CHARS_MAX) {
        match character {
            _ if is_obeyed(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, the separators of lines and paragraphs, and what turns the direction of writing.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::base::ConnId;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged meanwhile, without the time that each line has.
    fn logged(level: LogLevel, format: LogFormat, act: impl FnOnce(&Log)) -> Vec<String> {
        let lines = Lines::default();
        let (subscriber, log) = build(&LogConfig { level, format }, lines.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || act(&log));
        log.flush();
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(without_time).collect()
    }

    fn without_time(line: &str) -> String {
        let time = line.strip_prefix("{\"timestamp\":\"").unwrap_or(line);
        assert!(time.starts_with("20") && time.as_bytes()[10] == b'T' && time.as_bytes()[26] == b'Z', "{line}");
        let rest = &time[27..];
        rest.strip_prefix("\",").map_or(rest.trim_start().to_owned(), |rest| format!("{{{rest}"))
    }

    fn event_line(format: LogFormat, event: &Event) -> String {
        let peer = Some("192.0.2.1:5000".parse::<std::net::SocketAddr>().unwrap().into());
        let lines = logged(LogLevel::Debug, format, |_| log_event(event, peer, ShardId::new(1)));
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }

    fn connected(client_id: &str, user: Option<&str>) -> Event {
        Event::Connected {
            conn: ConnId(7),
            client_id: client_id.into(),
            user: user.map(Into::into),
            version: Version::V3_1_1,
            clean_start: true,
            session_present: false,
            keep_alive_secs: 60,
        }
    }

    fn disconnected(cause: DisconnectCause) -> Event {
        Event::Disconnected { conn: ConnId(7), client_id: Some("meter".into()), cause }
    }

    #[test]
    fn a_connection_is_told_with_the_facts_that_mosquitto_tells() {
        assert_eq!(
            event_line(LogFormat::Text, &connected("meter", Some("anna"))),
            "INFO connected client=\"meter\" address=192.0.2.1:5000 protocol=\"3.1.1\" clean=true \
             session_present=false keep_alive=60 user=\"anna\" shard=1"
        );
        assert_eq!(
            event_line(LogFormat::Json, &connected("meter", Some("anna"))),
            "{\"level\":\"INFO\",\"message\":\"connected\",\"client\":\"meter\",\"address\":\"192.0.2.1:5000\",\
             \"protocol\":\"3.1.1\",\"clean\":true,\"session_present\":false,\"keep_alive\":60,\"user\":\"anna\",\
             \"shard\":1}"
        );
        assert!(!event_line(LogFormat::Text, &connected("meter", None)).contains("user"));
    }

    #[test]
    fn an_end_is_told_with_who_ended_it_and_why() {
        let told = |cause| {
            let line = event_line(LogFormat::Text, &disconnected(cause));
            line.strip_prefix("INFO disconnected client=\"meter\" address=192.0.2.1:5000 ").unwrap().to_owned()
        };
        for (cause, words) in [
            (
                DisconnectCause::ByClient(ReasonCode::Success),
                "reason=\"normal disconnection (0x00)\" by=\"client\" shard=1",
            ),
            (
                DisconnectCause::ByClient(ReasonCode::Unspecified),
                "reason=\"unspecified error (0x80)\" by=\"client\" shard=1",
            ),
            (
                DisconnectCause::ByBroker(ReasonCode::KeepAliveTimeout),
                "reason=\"keep alive timeout (0x8D)\" by=\"broker\" shard=1",
            ),
            (DisconnectCause::Lost, "reason=\"connection lost\" by=\"network\" shard=1"),
        ] {
            assert_eq!(told(cause), words);
        }
    }

    #[test]
    fn nothing_is_said_of_a_client_that_never_had_a_name_or_a_peer_that_is_gone() {
        let cause = DisconnectCause::ByBroker(ReasonCode::ProtocolError);
        let event = Event::Disconnected { conn: ConnId(7), client_id: None, cause };
        let lines = logged(LogLevel::Info, LogFormat::Text, |_| log_event(&event, None, ShardId::new(0)));
        assert_eq!(lines, ["INFO disconnected reason=\"protocol error (0x82)\" by=\"broker\" shard=0"]);
    }

    #[test]
    fn refusals_and_ends_of_sessions_have_their_lines() {
        let (client_id, reason) = (Box::<str>::from("meter"), ReasonCode::NotAuthorized);
        let user_name = Some("ada\n".into());
        let refused = Event::Refused { conn: ConnId(7), client_id: client_id.clone(), user_name, reason };
        let publish = Event::PublishRefused { client_id: client_id.clone(), topic: "a/b".into(), reason };
        let subscribe = Event::SubscribeRefused { client_id: client_id.clone(), filter: "a/#".into(), reason };
        let ended = Event::SessionEnded { client_id, expired: true };
        for (event, line) in [
            (
                refused,
                "INFO refused client=\"meter\" address=192.0.2.1:5000 user=\"ada\\n\" reason=\"not authorized (0x87)\" \
                 shard=1",
            ),
            (publish, "WARN publish refused client=\"meter\" topic=\"a/b\" reason=\"not authorized (0x87)\" shard=1"),
            (
                subscribe,
                "WARN subscribe refused client=\"meter\" filter=\"a/#\" reason=\"not authorized (0x87)\" shard=1",
            ),
            (ended, "DEBUG session ended client=\"meter\" expired=true shard=1"),
        ] {
            assert_eq!(event_line(LogFormat::Text, &event), line);
        }
    }

    /// Newlines, a terminal's escapes, the eight-bit escape, a line separator, a change of direction, quotes.
    const FORGED: &str = "a\n2026-01-01T00:00:00Z INFO connected\r\x1b[2J\u{9b}K\x7f\u{2028}\u{202e}\" user=\"root\"";

    #[test]
    fn a_client_cannot_forge_lines_or_fields_of_the_log() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = event_line(format, &connected(FORGED, Some(FORGED)));
            assert!(!line.chars().any(is_obeyed), "{line}");
            assert!(!line.contains("\" user=\"root"), "{line}");
        }
        assert!(event_line(LogFormat::Json, &connected("a\nb\"c", None)).contains("\"client\":\"a\\\\u{a}b\\\"c\","));
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(foreign(&"ä".repeat(256)), "ä".repeat(256));
        assert_eq!(foreign(&"ä".repeat(257)), format!("{}…", "ä".repeat(256)));
        assert!(event_line(LogFormat::Text, &connected(&"\0".repeat(65_535), None)).len() < 2_500);
    }

    #[test]
    fn an_address_is_told_so_that_it_can_be_found() {
        let address: std::net::SocketAddr = "127.0.0.1:1883".parse().unwrap();
        let line = |format| logged(LogLevel::Info, format, |_| info!(%address, "listening"));
        assert_eq!(line(LogFormat::Text), ["INFO listening address=127.0.0.1:1883"]);
        assert_eq!(
            line(LogFormat::Json),
            ["{\"level\":\"INFO\",\"message\":\"listening\",\"address\":\"127.0.0.1:1883\"}"]
        );
    }

    #[test]
    fn the_level_can_be_changed() {
        let lines = logged(LogLevel::Warn, LogFormat::Text, |log| {
            info!("unheard");
            log.set_level(LogLevel::Info);
            info!("heard");
            log.set_level(LogLevel::Error);
            warn!("unheard");
        });
        assert_eq!(lines, ["INFO heard"]);
    }
    #[test]
    fn a_loss_is_told_as_any_line_is() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let layer = logged(LogLevel::Warn, format, |_| warn!("3 lines of the log were lost"));
            assert_eq!(layer, [without_time(lost_line(format, 3).trim_end())]);
        }
    }
}
