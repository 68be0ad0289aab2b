//! What an operator can choose of who comes in and what he may do; thrum.toml at the top of the repository explains each.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bans_config::BansConfig;
use super::range::{Ranged, out_of_range};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessConfig {
    /// Empty: none, as of every file here.
    pub password_file: PathBuf,
    pub user_file: PathBuf,
    pub acl_file: PathBuf,
    pub rules_file: PathBuf,
    /// Who is asked first who somebody is.
    pub order: Vec<IdentitySource>,
    pub subscribe: Subscribe,
    pub refused_publish: RefusedPublish,
    pub tells_unknown_users: bool,
    /// Whether changed files are read again without a signal.
    pub watch: bool,
    pub hash_threads: u32,
    pub hash_queue_max: u32,
    pub bans: BansConfig,
    pub jwt: JwtConfig,
    pub hook: HookConfig,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct JwtConfig {
    pub secret_file: PathBuf,
    pub key_file: PathBuf,
    pub jwks_file: PathBuf,
    pub algorithms: Vec<JwtAlgorithm>,
    pub user_claim: String,
    /// Empty: none is looked at, as of the others.
    pub client_id_claim: String,
    pub groups_claim: String,
    pub acl_claim: String,
    pub issuer: String,
    pub audience: String,
    pub leeway_secs: u32,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct HookConfig {
    /// Empty: there is none.
    pub url: String,
    /// Empty: the system's.
    pub ca_file: PathBuf,
    pub timeout_ms: u32,
    pub cache_secs: u32,
    pub threads: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentitySource {
    Password,
    Users,
    Jwt,
    Hook,
}

/// What becomes of a filter that matches something that its subscriber may not receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subscribe {
    /// It is refused.
    Whole,
    /// It brings the rest.
    Filtered,
}

/// What becomes of clients before 5.0, which cannot be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusedPublish {
    Drop,
    Disconnect,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
}

impl Default for AccessConfig {
    fn default() -> Self {
        use IdentitySource::{Hook, Jwt, Password, Users};
        Self {
            password_file: PathBuf::new(),
            user_file: PathBuf::new(),
            acl_file: PathBuf::new(),
            rules_file: PathBuf::new(),
            order: vec![Password, Users, Jwt, Hook],
            subscribe: Subscribe::Whole,
            refused_publish: RefusedPublish::Drop,
            tells_unknown_users: false,
            watch: false,
            hash_threads: 1,
            hash_queue_max: 1_024,
            bans: BansConfig::default(),
            jwt: JwtConfig::default(),
            hook: HookConfig::default(),
        }
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            secret_file: PathBuf::new(),
            key_file: PathBuf::new(),
            jwks_file: PathBuf::new(),
            algorithms: vec![JwtAlgorithm::Hs256, JwtAlgorithm::Rs256, JwtAlgorithm::Es256],
            user_claim: "sub".into(),
            client_id_claim: String::new(),
            groups_claim: String::new(),
            acl_claim: String::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway_secs: 0,
        }
    }
}

impl Default for HookConfig {
    fn default() -> Self {
        Self { url: String::new(), ca_file: PathBuf::new(), timeout_ms: 2_000, cache_secs: 0, threads: 4 }
    }
}

/// A hash takes a core: more threads than any machine has are a mistake.
const HASH_THREADS_MAX: u64 = 1_024;
/// Each waits with its CONNECT, longer than clients do.
const HASH_QUEUE_MAX: u64 = 1_000_000;
const HOOK_THREADS_MAX: u64 = 1_024;
const HOOK_TIMEOUT_MS_MAX: u64 = 60_000;
const HOOK_CACHE_SECS_MAX: u64 = 24 * 60 * 60;
/// Clocks of machines that have none together are no further apart.
const LEEWAY_SECS_MAX: u64 = 60 * 60;

impl AccessConfig {
    /// Whether there is any way to be somebody.
    pub fn has_identities(&self) -> bool {
        use IdentitySource::{Hook, Jwt, Password, Users};
        [Password, Users, Jwt, Hook].into_iter().any(|source| self.has(source))
    }

    pub(super) fn has(&self, source: IdentitySource) -> bool {
        match source {
            IdentitySource::Password => !is_empty(&self.password_file),
            IdentitySource::Users => !is_empty(&self.user_file),
            IdentitySource::Jwt => self.jwt.has_keys(),
            IdentitySource::Hook => !self.hook.url.is_empty(),
        }
    }

    /// Those that there are, in the order in which they are asked.
    pub(super) fn sources(&self) -> impl Iterator<Item = IdentitySource> {
        self.order.iter().copied().filter(|&source| self.has(source))
    }

    /// Each value that is out of range.
    pub(super) fn out_of_range(&self) -> Vec<Ranged> {
        out_of_range([
            ("hash_threads", self.hash_threads.into(), 1, HASH_THREADS_MAX),
            ("hash_queue_max", self.hash_queue_max.into(), 1, HASH_QUEUE_MAX),
            ("jwt.leeway_secs", self.jwt.leeway_secs.into(), 0, LEEWAY_SECS_MAX),
            ("hook.timeout_ms", self.hook.timeout_ms.into(), 1, HOOK_TIMEOUT_MS_MAX),
            ("hook.cache_secs", self.hook.cache_secs.into(), 0, HOOK_CACHE_SECS_MAX),
            ("hook.threads", self.hook.threads.into(), 1, HOOK_THREADS_MAX),
        ])
        .chain(self.bans.out_of_range())
        .collect()
    }

    /// What else is wrong with it, with the key.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        use IdentitySource::{Hook, Jwt, Password, Users};
        let mut faults = Vec::new();
        let times = |source| self.order.iter().filter(|&&other| other == source).count();
        for (source, name) in [(Password, "password"), (Users, "users"), (Jwt, "jwt"), (Hook, "hook")] {
            if times(source) > 1 {
                faults.push(("order", format!("has \"{name}\" more than once")));
            }
            if times(source) == 0 && self.has(source) {
                faults.push(("order", format!("leaves \"{name}\" out, which is configured: it would never be asked")));
            }
        }
        faults.extend(self.jwt.faults());
        if !is_empty(&self.hook.ca_file) && !self.hook.url.starts_with("https://") {
            faults.push(("hook.ca_file", "needs a url that begins with https://".into()));
        }
        let url = &self.hook.url;
        if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
            faults.push(("hook.url", "must begin with http:// or https://".into()));
        }
        faults
    }

    /// Every file that is named here.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [
            &self.password_file,
            &self.user_file,
            &self.acl_file,
            &self.rules_file,
            &self.jwt.secret_file,
            &self.jwt.key_file,
            &self.jwt.jwks_file,
            &self.hook.ca_file,
        ]
        .into_iter()
        .map(PathBuf::as_path)
        .filter(|path| !is_empty(path))
    }
}

impl JwtConfig {
    fn has_keys(&self) -> bool {
        [&self.secret_file, &self.key_file, &self.jwks_file].into_iter().any(|file| !is_empty(file))
    }

    fn faults(&self) -> Vec<(&'static str, String)> {
        let allows = |algorithm| self.algorithms.contains(&algorithm);
        let allows_public = allows(JwtAlgorithm::Rs256) || allows(JwtAlgorithm::Es256);
        let mut faults = Vec::new();
        if self.has_keys() && self.user_claim.is_empty() {
            faults.push(("jwt.user_claim", "is empty: a token has to say whose it is".into()));
        }
        if !is_empty(&self.secret_file) && !allows(JwtAlgorithm::Hs256) {
            faults.push(("jwt.secret_file", "is of no use: algorithms has no \"HS256\"".into()));
        }
        for (key, file) in [("jwt.key_file", &self.key_file), ("jwt.jwks_file", &self.jwks_file)] {
            // A set of keys may have secrets in it.
            if !is_empty(file) && !allows_public && (key == "jwt.key_file" || self.algorithms.is_empty()) {
                faults.push((key, "is of no use: algorithms has neither \"RS256\" nor \"ES256\"".into()));
            }
        }
        faults
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let config: AccessConfig = toml::from_str(text).unwrap();
        let ranges = config.out_of_range().into_iter().map(|(key, ..)| format!("{key} is out of range"));
        config.faults().into_iter().map(|(key, what)| format!("{key} {what}")).chain(ranges).collect()
    }

    #[test]
    fn without_a_word_there_is_nobody_to_be() {
        let config = AccessConfig::default();
        assert!(!config.has_identities());
        assert_eq!((config.sources().count(), config.files().count()), (0, 0));
        assert_eq!(faults(""), [""; 0]);
    }

    #[test]
    fn those_who_are_there_are_asked_in_order() {
        let text = "order = ['hook', 'jwt', 'password', 'users']\npassword_file = 'p'\nacl_file = 'a'\n\
                    jwt.jwks_file = 'j'\nhook.url = 'http://a'";
        let config: AccessConfig = toml::from_str(text).unwrap();
        let sources: Vec<_> = config.sources().collect();
        assert_eq!(sources, [IdentitySource::Hook, IdentitySource::Jwt, IdentitySource::Password]);
        assert!(config.has_identities());
        assert_eq!(config.files().collect::<Vec<_>>(), ["p", "a", "j"].map(Path::new));
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_the_key() {
        for (text, fault) in [
            ("order = ['users', 'users']", "order has \"users\" more than once"),
            (
                "order = ['users']\npassword_file = 'p'",
                "order leaves \"password\" out, which is configured: it would never be asked",
            ),
            ("hook.url = 'ftp://a'", "hook.url must begin with http:// or https://"),
            ("hook = { url = 'http://a', ca_file = 'c' }", "hook.ca_file needs a url that begins with https://"),
            (
                "jwt = { secret_file = 's', algorithms = ['RS256'] }",
                "jwt.secret_file is of no use: algorithms has no \"HS256\"",
            ),
            (
                "jwt = { key_file = 'k', algorithms = ['HS256'] }",
                "jwt.key_file is of no use: algorithms has neither \"RS256\" nor \"ES256\"",
            ),
            ("jwt = { secret_file = 's', user_claim = '' }", "jwt.user_claim is empty: a token has to say whose it is"),
            ("hash_threads = 0", "hash_threads is out of range"),
            ("hash_queue_max = 0", "hash_queue_max is out of range"),
            ("jwt.leeway_secs = 3601", "jwt.leeway_secs is out of range"),
            ("hook.timeout_ms = 0", "hook.timeout_ms is out of range"),
            ("hook.cache_secs = 86401", "hook.cache_secs is out of range"),
            ("hook.threads = 0", "hook.threads is out of range"),
        ] {
            assert_eq!(faults(text), [fault], "{text}");
        }
    }
}
