//! An authentication server that is asked by HTTP: one POST a login that nobody before it knew. Whatever is not its clear
//! answer lets nobody in.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use tracing::warn;
use ureq::Agent;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

use super::hook_cache::HookCache;
use crate::access::{AclClaim, Authenticator, Denial, Lane, Login, Proof, numeric_date};
use crate::base::{ListenerId, Millis, Timestamp};

/// An answer with groups and filters has a few thousand.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A server that is away is told of this often, not once a login.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whom to ask, and how long to wait and to remember.
#[derive(Clone, Default, Debug)]
pub struct HookSettings {
    pub url: String,
    /// From the question to the last byte of the answer.
    pub timeout_ms: u32,
    /// None is remembered: 0. Denials never are.
    pub cache_secs: u32,
    /// As many connections are kept.
    pub threads: usize,
    /// In PEM; without it the system's.
    pub certificate_authorities: Option<Vec<u8>>,
    /// What the server is told of where somebody came in.
    pub listeners: Vec<(ListenerId, Box<str>)>,
}

/// What is wrong with the settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookError {
    Url,
    UserInfo,
    Timeout,
    CertificateAuthorities,
    Randomness,
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url => "url is not of the form http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH",
            Self::UserInfo => "url has a user name or a password in it, which are not sent: take them out",
            Self::Timeout => "timeout_ms is 0: no server is that fast",
            Self::CertificateAuthorities => "ca_file has no CERTIFICATE in PEM, or one that is damaged",
            Self::Randomness => "the system has no random numbers",
        })
    }
}

/// Asks, and remembers whom it was told to let in.
#[derive(Debug)]
pub struct Hook {
    agent: Agent,
    url: Uri,
    listeners: Vec<(ListenerId, Box<str>)>,
    cache: HookCache,
    complaints: Mutex<Complaints>,
}

impl Hook {
    pub fn new(settings: HookSettings) -> Result<Self, HookError> {
        let url = Uri::from_str(&settings.url).map_err(|_| HookError::Url)?;
        let has_scheme = matches!(url.scheme_str(), Some("http" | "https"));
        let authority = url.authority().filter(|authority| has_scheme && !authority.host().is_empty());
        if authority.ok_or(HookError::Url)?.as_str().contains('@') {
            return Err(HookError::UserInfo);
        }
        if settings.timeout_ms == 0 {
            return Err(HookError::Timeout);
        }
        Ok(Self {
            agent: agent(&settings)?,
            url,
            listeners: settings.listeners,
            cache: HookCache::new(Millis::from_secs(settings.cache_secs)).map_err(|_| HookError::Randomness)?,
            complaints: Mutex::default(),
        })
    }

    fn ask(&self, now: Timestamp, login: &Login) -> Result<Option<Result<Proof, Denial>>, Failure> {
        let question = self.question(login);
        let mut response = self
            .agent
            .post(&self.url)
            .content_type("application/json")
            .header("Accept", "application/json")
            .send(&question[..])?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX as u64 + 1).read_to_vec()?;
        let answer: Reply = serde_json::from_slice(&answer).map_err(|_| Failure::Answer)?;
        match answer.result {
            Outcome::Ignore => Ok(None),
            Outcome::Deny => Ok(Some(Err(Denial::BadUserNameOrPassword))),
            Outcome::Allow => {
                let proof = answer.proof(login).ok_or(Failure::Answer)?;
                let is_over = proof.expires_at.is_some_and(|end| end <= now);
                Ok(Some(if is_over { Err(Denial::BadUserNameOrPassword) } else { Ok(proof) }))
            }
        }
    }

    /// In a buffer that does not grow: one that did would leave a copy of the password behind.
    fn question(&self, login: &Login) -> Zeroizing<Vec<u8>> {
        let password = login.password.as_deref().map(|password| str::from_utf8(password).map_err(|_| password));
        let bytes = password.and_then(Result::err).map(|password| Zeroizing::new(STANDARD.encode(password)));
        let listener = self.listeners.iter().find(|(id, _)| *id == login.entrance.listener);
        let question = Question {
            client_id: &login.client_id,
            user_name: login.user_name.as_deref(),
            password: password.and_then(Result::ok),
            password_base64: bytes.as_ref().map(|text| text.as_str()),
            address: login.entrance.address,
            listener: listener.map(|(_, name)| &**name),
            certificate: login.entrance.certificate.as_deref(),
        };
        let mut json = Zeroizing::new(Vec::with_capacity(question.json_bytes_max()));
        serde_json::to_writer(&mut *json, &question).expect("texts are written to memory");
        json
    }

    fn complain(&self, failure: &Failure) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.refused += 1;
        if complaints.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return;
        }
        let refused = std::mem::take(&mut complaints.refused);
        complaints.told = Some(Instant::now());
        drop(complaints);
        let server = self.url.authority().map_or("", |authority| authority.as_str());
        warn!(server, why = %failure, refused, "no answer of the authentication server: its clients are refused");
    }
}

impl Authenticator for Hook {
    fn lane(&self) -> Lane {
        Lane::Wait
    }

    fn authenticate(&self, now: Timestamp, login: &Login) -> Option<Result<Proof, Denial>> {
        let key = self.cache.key(login);
        if let Some(proof) = key.as_ref().and_then(|key| self.cache.get(now, key)) {
            return Some(Ok(proof));
        }
        match self.ask(now, login) {
            Ok(answer) => {
                if let (Some(key), Some(Ok(proof))) = (key, &answer) {
                    self.cache.put(now, key, proof.clone());
                }
                answer
            }
            Err(failure) => {
                self.complain(&failure);
                Some(Err(Denial::ServerUnavailable))
            }
        }
    }
}

/// One that goes to that server only: neither where it is redirected to, nor by a proxy of the environment.
fn agent(settings: &HookSettings) -> Result<Agent, HookError> {
    let roots = match &settings.certificate_authorities {
        None => RootCerts::PlatformVerifier,
        Some(pem) => {
            let items: Result<Vec<_>, _> = parse_pem(pem).collect();
            let items = items.map_err(|_| HookError::CertificateAuthorities)?;
            let certificates = items.into_iter().filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<_> = certificates.collect();
            if certificates.is_empty() {
                return Err(HookError::CertificateAuthorities);
            }
            certificates.into()
        }
    };
    let config = Agent::config_builder()
        .timeout_global(Some(Duration::from_millis(settings.timeout_ms.into())))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("thrum/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .max_idle_connections(settings.threads)
        .max_idle_connections_per_host(settings.threads)
        .max_response_header_size(ANSWER_BYTES_MAX)
        .input_buffer_size(ANSWER_BYTES_MAX)
        .output_buffer_size(ANSWER_BYTES_MAX);
    Ok(config.build().new_agent())
}

#[derive(Serialize)]
struct Question<'a> {
    client_id: &'a str,
    user_name: Option<&'a str>,
    password: Option<&'a str>,
    /// A password that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<&'a str>,
    address: Option<IpAddr>,
    listener: Option<&'a str>,
    certificate: Option<&'a str>,
}

impl Question<'_> {
    /// A character takes six bytes at most.
    fn json_bytes_max(&self) -> usize {
        let Self { client_id, user_name, password, password_base64, address: _, listener, certificate } = self;
        let texts = [Some(*client_id), *user_name, *password, *password_base64, *listener, *certificate];
        256 + 6 * texts.into_iter().flatten().map(str::len).sum::<usize>()
    }
}

#[derive(Deserialize)]
struct Reply {
    result: Outcome,
    /// Who it is, where that is not the user name.
    user: Option<Box<str>>,
    groups: Option<Box<[Box<str>]>>,
    expires_at: Option<Number>,
    acl: Option<AclClaim>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Allow,
    Deny,
    /// Not one of its users.
    Ignore,
}

impl Reply {
    fn proof(self, login: &Login) -> Option<Proof> {
        if self.user.as_deref().is_some_and(|name| name.is_empty() || name.contains(char::is_control)) {
            return None;
        }
        Some(Proof {
            user: self.user.or_else(|| login.user_name.clone()),
            groups: self.groups.unwrap_or_default(),
            expires_at: self.expires_at.map(|secs| numeric_date(&secs).ok_or(())).transpose().ok()?,
            claims: self.acl.map(|acl| acl.rules().map(Arc::new).ok_or(())).transpose().ok()?,
        })
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    Status(u16),
    Answer,
    Http(ureq::Error),
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        Self::Http(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "status {code} instead of 200"),
            Self::Answer => f.write_str("not an answer in JSON: {\"result\": \"allow\"}, \"deny\" or \"ignore\""),
            Self::Http(error) => error.fmt(f),
        }
    }
}

#[derive(Default, Debug)]
struct Complaints {
    told: Option<Instant>,
    /// Since then.
    refused: u64,
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use serde_json::{Value, json};

    use super::*;
    use crate::access::{Entrance, Rules};

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const ALLOW: &str = r#"{"result":"allow"}"#;
    const LISTENER: ListenerId = ListenerId(3);

    /// Answers each connection's requests by a function of their bodies, for as long as the process lives.
    struct Server {
        url: String,
        asked: Arc<AtomicUsize>,
    }

    impl Server {
        fn start(answer: impl Fn(&Value, &mut dyn Write) + Send + Sync + 'static) -> Self {
            Self::wrapped("http", |stream| stream, answer)
        }

        fn wrapped<S: Read + Write>(
            scheme: &str,
            wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
            answer: impl Fn(&Value, &mut dyn Write) + Send + Sync + 'static,
        ) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("{scheme}://localhost:{}/login?realm=mqtt", listener.local_addr().unwrap().port());
            let asked = Arc::new(AtomicUsize::new(0));
            let (counted, shared) = (asked.clone(), Arc::new((wrap, answer)));
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (counted, shared) = (counted.clone(), shared.clone());
                    thread::spawn(move || {
                        let mut stream = (shared.0)(stream.unwrap());
                        while let Some(question) = request(&mut stream) {
                            counted.fetch_add(1, Ordering::Relaxed);
                            (shared.1)(&question, &mut stream);
                        }
                    });
                }
            });
            Self { url, asked }
        }

        fn replying(status: &'static str, body: &'static str) -> Self {
            Self::start(move |_, stream| reply(stream, status, body))
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        fn settings(&self) -> HookSettings {
            let listeners = vec![(LISTENER, "[::]:1883".into())];
            HookSettings { url: self.url.clone(), timeout_ms: 5_000, threads: 2, listeners, ..HookSettings::default() }
        }

        fn hook(&self) -> Hook {
            Hook::new(self.settings()).unwrap()
        }
    }

    fn request(stream: &mut impl Read) -> Option<Value> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("post /login?realm=mqtt http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        Some(serde_json::from_slice(&body).unwrap())
    }

    /// The client may have gone.
    fn reply(stream: &mut dyn Write, status: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body.as_bytes());
    }

    fn login(user_name: Option<&str>, password: Option<&[u8]>) -> Login {
        let address = Some("192.0.2.7".parse().unwrap());
        Login {
            entrance: Entrance { listener: LISTENER, address, certificate: None },
            client_id: "sensor".into(),
            user_name: user_name.map(Into::into),
            password: password.map(|password| Zeroizing::new(password.into())),
        }
    }

    fn ann() -> Login {
        login(Some("ann"), Some(b"pencil"))
    }

    fn ask(hook: &Hook) -> Option<Result<Proof, Denial>> {
        hook.authenticate(NOW, &ann())
    }

    const UNAVAILABLE: Option<Result<Proof, Denial>> = Some(Err(Denial::ServerUnavailable));
    const DENIED: Option<Result<Proof, Denial>> = Some(Err(Denial::BadUserNameOrPassword));

    fn proof_of(user: &str) -> Proof {
        Proof { user: Some(user.into()), ..Proof::default() }
    }

    #[test]
    fn allow_deny_and_ignore_are_what_they_say() {
        let server = Server::start(|question, stream| {
            let result = json!({ "result": question["user_name"], "more": 1 });
            reply(stream, "200 OK", &result.to_string());
        });
        let hook = server.hook();
        let answer = |user_name| hook.authenticate(NOW, &login(Some(user_name), None));
        assert_eq!(answer("allow"), Some(Ok(proof_of("allow"))));
        assert_eq!(answer("deny"), DENIED);
        assert_eq!(answer("ignore"), None);
        for wrong in ["Allow", "", "allow ", "true"] {
            assert_eq!(answer(wrong), UNAVAILABLE, "{wrong}");
        }
        assert_eq!(hook.lane(), Lane::Wait);
    }

    #[test]
    fn the_server_is_told_all_that_is_known() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let questions = seen.clone();
        let server = Server::start(move |question, stream| {
            questions.lock().unwrap().push(question.clone());
            reply(stream, "200 OK", ALLOW);
        });
        let hook = server.hook();
        assert_eq!(ask(&hook), Some(Ok(proof_of("ann"))));
        let entrance = Entrance { certificate: Some("device-7".into()), ..Entrance::default() };
        let other = Login { entrance, ..login(None, Some(&[0xff, 0])) };
        assert_eq!(hook.authenticate(NOW, &other), Some(Ok(Proof::default())));
        let awkward = "\u{1}\"\\".repeat(10_000);
        assert!(hook.authenticate(NOW, &login(Some(&awkward), Some(awkward.as_bytes()))).unwrap().is_ok());
        let seen = seen.lock().unwrap();
        assert_eq!(
            seen[0],
            json!({"client_id": "sensor", "user_name": "ann", "password": "pencil", "address": "192.0.2.7",
                "listener": "[::]:1883", "certificate": null})
        );
        assert_eq!(
            seen[1],
            json!({"client_id": "sensor", "user_name": null, "password": null, "password_base64": "/wA=",
                "address": null, "listener": null, "certificate": "device-7"})
        );
        assert_eq!((&seen[2]["user_name"], &seen[2]["password"]), (&json!(awkward), &json!(awkward)));
    }

    #[test]
    fn a_question_does_not_grow_in_its_buffer() {
        let hook = Hook::new(HookSettings { url: "http://localhost/".into(), timeout_ms: 1, ..Default::default() });
        let hook = hook.unwrap();
        let full = "\u{1}".repeat(65_535);
        for login in [login(Some(&full), Some(full.as_bytes())), login(Some(&full), Some(&[0xff; 65_535])), ann()] {
            let texts = [login.user_name.as_deref().unwrap().len(), login.password.as_ref().unwrap().len(), 100];
            let json = hook.question(&login);
            assert!(json.capacity() <= 256 + 8 * texts.iter().sum::<usize>() && json.len() < json.capacity());
        }
    }

    #[test]
    fn an_answer_may_say_who_somebody_is_and_what_he_may() {
        let server = Server::replying(
            "200 OK",
            r#"{"result":"allow","user":"bob","groups":["a","b"],"expires_at":1700000060,"acl":{"all":["x/#"]}}"#,
        );
        let rules = Rules::of_claims(&["x/#"], &["x/#"]).unwrap();
        let expected = Proof {
            user: Some("bob".into()),
            groups: Box::new(["a".into(), "b".into()]),
            expires_at: Some(Timestamp(1_700_000_060_000)),
            claims: Some(Arc::new(rules)),
        };
        assert_eq!(ask(&server.hook()), Some(Ok(expected)));
        assert_eq!(server.hook().authenticate(Timestamp(1_700_000_060_000), &ann()), DENIED);
    }

    #[test]
    fn whatever_is_no_clear_answer_lets_nobody_in() {
        for (status, body) in [
            ("500 Internal Server Error", ALLOW),
            ("401 Unauthorized", ALLOW),
            ("201 Created", ALLOW),
            ("204 No Content", ""),
            ("200 OK", ""),
            ("200 OK", "allow"),
            ("200 OK", "{}"),
            ("200 OK", "\"allow\""),
            ("200 OK", "<html>allow</html>"),
            ("200 OK", r#"{"result":true}"#),
            ("200 OK", r#"{"result":"allow""#),
            ("200 OK", r#"{"result":"allow"}{"result":"deny"}"#),
            ("200 OK", r#"{"result":"deny","result":"allow"}"#),
            ("200 OK", r#"{"result":"allow","user":""}"#),
            ("200 OK", r#"{"result":"allow","user":"a\nb"}"#),
            ("200 OK", r#"{"result":"allow","user":7}"#),
            ("200 OK", r#"{"result":"allow","groups":"a"}"#),
            ("200 OK", r#"{"result":"allow","expires_at":"tomorrow"}"#),
            ("200 OK", r#"{"result":"allow","expires_at":1700000060000}"#),
            ("200 OK", r#"{"result":"allow","expires_at":-1}"#),
            ("200 OK", r#"{"result":"allow","acl":["a"]}"#),
            ("200 OK", r#"{"result":"allow","acl":{"publish":["a/#/b"]}}"#),
        ] {
            assert_eq!(ask(&Server::replying(status, body).hook()), UNAVAILABLE, "{status} {body}");
        }
    }

    #[test]
    fn what_is_not_http_lets_nobody_in() {
        for bytes in [&b""[..], b"\0\0\0\0", b"allow", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n"] {
            let server = Server::start(|_, _| ());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4_096]);
                let _ = stream.write_all(bytes);
            });
            let hook = Hook::new(HookSettings { url, ..server.settings() }).unwrap();
            assert_eq!(ask(&hook), UNAVAILABLE, "{bytes:?}");
        }
    }

    #[test]
    fn nobody_there_lets_nobody_in() {
        let url = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let hook = Hook::new(HookSettings { url, timeout_ms: 5_000, threads: 1, ..Default::default() }).unwrap();
        assert_eq!(ask(&hook), UNAVAILABLE);
    }

    #[test]
    fn a_redirection_is_not_followed() {
        for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
            let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
            elsewhere.set_nonblocking(true).unwrap();
            let url = format!("http://{}/", elsewhere.local_addr().unwrap());
            let server = Server::start(move |_, stream| {
                let _ = write!(stream, "HTTP/1.1 {status}\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n");
            });
            let hook = Hook::new(HookSettings { timeout_ms: 500, ..server.settings() }).unwrap();
            assert_eq!(ask(&hook), UNAVAILABLE, "{status}");
            assert!(elsewhere.accept().is_err(), "{status}: somebody came");
        }
    }

    /// The time-out covers silence, and bytes that trickle in before the answer and within it.
    #[test]
    fn a_slow_server_is_not_waited_for() {
        type Slow = fn(&mut dyn Write);
        let silent: Slow = |_| thread::sleep(Duration::from_secs(60));
        let trickled_head: Slow = |stream| {
            for byte in b"HTTP/1.1 200 OK\r\nA: ".iter().chain(std::iter::repeat(&b'a')) {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        };
        let trickled_body: Slow = |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        };
        for slow in [silent, trickled_head, trickled_body] {
            let server = Server::start(move |_, stream| slow(stream));
            let hook = Hook::new(HookSettings { timeout_ms: 300, ..server.settings() }).unwrap();
            let began = Instant::now();
            assert_eq!(ask(&hook), UNAVAILABLE);
            let took = began.elapsed();
            assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(20), "{took:?}");
        }
    }

    #[test]
    fn an_answer_without_an_end_is_read_no_further_than_its_bound() {
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"] {
            let server = Server::start(move |_, stream| {
                let _ = stream.write_all(head.as_bytes());
                while stream.write_all(&[b' '; 4_096]).is_ok() {}
            });
            let began = Instant::now();
            assert_eq!(ask(&server.hook()), UNAVAILABLE);
            assert!(began.elapsed() < Duration::from_millis(4_500), "it was the time-out that ended it");
        }
        let long = format!("{}{ALLOW}", " ".repeat(ANSWER_BYTES_MAX - ALLOW.len()));
        let server = Server::start(move |_, stream| reply(stream, "200 OK", &long));
        assert_eq!(ask(&server.hook()), Some(Ok(proof_of("ann"))));
    }

    #[test]
    fn who_was_let_in_is_remembered_for_a_while_and_who_was_not_is_asked_about_again() {
        let server = Server::replying("200 OK", ALLOW);
        let hook = Hook::new(HookSettings { cache_secs: 10, ..server.settings() }).unwrap();
        let at = |secs: u64| Timestamp(NOW.0 + secs * 1_000);
        for (secs, asked) in [(0, 1), (9, 1), (10, 2), (19, 2), (20, 3)] {
            assert_eq!(hook.authenticate(at(secs), &ann()), Some(Ok(proof_of("ann"))));
            assert_eq!(server.asked(), asked, "after {secs} s");
        }
        for body in [r#"{"result":"deny"}"#, r#"{"result":"ignore"}"#, "?"] {
            let server = Server::replying("200 OK", body);
            let hook = Hook::new(HookSettings { cache_secs: 10, ..server.settings() }).unwrap();
            assert_eq!([ask(&hook), ask(&hook)].iter().flatten().filter(|answer| answer.is_ok()).count(), 0);
            assert_eq!(server.asked(), 2, "{body}");
        }
        let forgetful = server.hook();
        let before = server.asked();
        assert!(ask(&forgetful).is_some() && ask(&forgetful).is_some());
        assert_eq!(server.asked(), before + 2);
    }

    #[test]
    fn a_remembered_answer_ends_when_it_says_so() {
        let server = Server::replying("200 OK", r#"{"result":"allow","expires_at":1700000005}"#);
        let hook = Hook::new(HookSettings { cache_secs: 10, ..server.settings() }).unwrap();
        assert!(hook.authenticate(NOW, &ann()).unwrap().is_ok());
        assert!(hook.authenticate(Timestamp(1_700_000_004_999), &ann()).unwrap().is_ok());
        assert_eq!(server.asked(), 1);
        assert_eq!(hook.authenticate(Timestamp(1_700_000_005_000), &ann()), DENIED);
    }

    #[test]
    fn only_the_very_same_login_is_remembered() {
        let entrance = ann().entrance;
        let of = |entrance: &Entrance, client_id: &str| Login {
            entrance: entrance.clone(),
            client_id: client_id.into(),
            ..ann()
        };
        let logins = [
            ann(),
            login(Some("ann"), Some(b"pencil ")),
            login(Some("ann"), None),
            login(Some("ann"), Some(b"")),
            login(None, Some(b"pencil")),
            login(Some(""), Some(b"pencil")),
            // The same bytes, cut elsewhere.
            login(Some("annp"), Some(b"encil")),
            of(&entrance, "senso"),
            of(&Entrance { listener: ListenerId(4), ..entrance.clone() }, "sensor"),
            of(&Entrance { address: None, ..entrance.clone() }, "sensor"),
            of(&Entrance { certificate: Some("ann".into()), ..entrance.clone() }, "sensor"),
        ];
        let server = Server::replying("200 OK", ALLOW);
        let hook = Hook::new(HookSettings { cache_secs: 10, ..server.settings() }).unwrap();
        for round in 0..2 {
            for (place, login) in logins.iter().enumerate() {
                assert!(hook.authenticate(NOW, login).unwrap().is_ok());
                let expected = if round == 0 { place + 1 } else { logins.len() };
                assert_eq!(server.asked(), expected, "{login:?}");
            }
        }
    }

    #[test]
    fn a_server_with_tls_is_believed_by_its_authority_only() {
        let own = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".into()]).unwrap().self_signed(&own).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let server = Server::wrapped(
            "https",
            move |stream| StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream),
            |_, stream| reply(stream, "200 OK", ALLOW),
        );
        let asking = |authorities: Option<String>| {
            let certificate_authorities = authorities.map(String::into_bytes);
            ask(&Hook::new(HookSettings { certificate_authorities, ..server.settings() }).unwrap())
        };
        assert_eq!(asking(Some(certificate.pem())), Some(Ok(proof_of("ann"))));
        assert_eq!(asking(Some(self_signed_by_another())), UNAVAILABLE);
        assert_eq!(asking(None), UNAVAILABLE);
    }

    fn self_signed_by_another() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(["localhost".into()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let error = |settings: HookSettings| Hook::new(settings).unwrap_err();
        let good = || HookSettings { url: "http://localhost:1/".into(), timeout_ms: 1, ..HookSettings::default() };
        for url in ["", "localhost", "localhost:80", "/path", "ftp://localhost/", "file:///etc", "http://", "http:///x"]
        {
            assert_eq!(error(HookSettings { url: url.into(), ..good() }), HookError::Url, "{url}");
        }
        let url = "https://user:secret@localhost/".into();
        assert_eq!(error(HookSettings { url, ..good() }), HookError::UserInfo);
        assert_eq!(error(HookSettings { timeout_ms: 0, ..good() }), HookError::Timeout);
        for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"] {
            let certificate_authorities = Some(pem.into());
            let settings = HookSettings { certificate_authorities, ..good() };
            assert_eq!(error(settings), HookError::CertificateAuthorities, "{pem}");
        }
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem().into_bytes();
        let settings = HookSettings { certificate_authorities: Some(key), ..good() };
        assert_eq!(error(settings), HookError::CertificateAuthorities);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let server = Server::replying("200 OK", ALLOW);
        let hook = Hook::new(HookSettings { cache_secs: 10, ..server.settings() }).unwrap();
        assert!(ask(&hook).is_some());
        let shown = format!("{hook:?} {:?}", ann());
        assert!(!shown.contains("pencil"), "{shown}");
    }
}
