//! An authentication server that is asked by HTTP: one POST a login that nobody before it knew. Whatever is not its clear
//! answer lets nobody in.

use core::net::IpAddr;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use tracing::warn;
use ureq::Agent;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

use crate::access::{AclClaim, Authenticator, Denial, Lane, Login, Proof, numeric_date};
use crate::base::{ListenerId, Millis, Timestamp};

/// An answer with groups and filters has a few thousand.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Who was let in lately. The one that was let in first goes first.
const CACHED_MAX: usize = 10_000;

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
    cache: Cache,
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
            cache: Cache::new(Millis::from_secs(settings.cache_secs))?,
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
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX as u64).read_to_vec()?;
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
        let is_name = |name: &Box<str>| !name.is_empty() && !name.contains(char::is_control);
        if self.user.as_ref().is_some_and(|name| !is_name(name)) {
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

type CacheKey = [u8; 32];

/// Who was let in, by everything he was let in for. What he said is not to be found out from it.
#[derive(Debug)]
struct Cache {
    secret: hmac::Key,
    kept_for: Millis,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    proofs: HashMap<CacheKey, (Timestamp, Proof)>,
    /// As they came; each proof is in here at least once.
    order: VecDeque<CacheKey>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("proofs", &self.proofs.len()).finish_non_exhaustive()
    }
}

impl Cache {
    fn new(kept_for: Millis) -> Result<Self, HookError> {
        let secret =
            hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| HookError::Randomness)?;
        Ok(Self { secret, kept_for, kept: Mutex::default() })
    }

    /// None: nothing is remembered.
    fn key(&self, login: &Login) -> Option<CacheKey> {
        if self.kept_for == Millis(0) {
            return None;
        }
        let address = login.entrance.address.map(|address| address.to_string());
        let parts = [
            Some(login.client_id.as_bytes()),
            login.user_name.as_deref().map(str::as_bytes),
            login.password.as_ref().map(|password| &password[..]),
            address.as_deref().map(str::as_bytes),
            login.entrance.certificate.as_deref().map(str::as_bytes),
        ];
        let mut tag = hmac::Context::with_key(&self.secret);
        tag.update(&login.entrance.listener.0.to_le_bytes());
        for part in parts {
            // Each with its length, so that no two logins are written alike.
            tag.update(&part.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            tag.update(part.unwrap_or_default());
        }
        tag.sign().as_ref().try_into().ok()
    }

    fn get(&self, now: Timestamp, key: &CacheKey) -> Option<Proof> {
        self.lock().proofs.get(key).filter(|(until, _)| now < *until).map(|(_, proof)| proof.clone())
    }

    fn put(&self, now: Timestamp, key: CacheKey, proof: Proof) {
        let until = (now + self.kept_for).min(proof.expires_at.unwrap_or(Timestamp::NEVER));
        let mut kept = self.lock();
        while kept.order.len() >= CACHED_MAX {
            if let Some(first) = kept.order.pop_front() {
                kept.proofs.remove(&first);
            }
        }
        kept.order.push_back(key);
        kept.proofs.insert(key, (until, proof));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
