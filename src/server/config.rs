//! What an operator can choose, with its defaults; thrum.toml at the top of the repository explains each.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::access_config::{AccessConfig, HookConfig, RefusedPublish};
use super::bans_config::RateExcess;
use super::listener_config::{Address, CertificateFiles, LISTENERS_MAX, ListenerConfig};
use super::range;
use super::store_config::{Durability, StoreConfig};
use crate::base::Millis;
use crate::base::limits::SHARDS_MAX;
use crate::broker::{self, OptionError, Options};
use crate::routing::Choice;
use crate::session::{FullPolicy, QueueBounds};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Zero: one for each core that the process may use.
    pub shards: usize,
    /// How long an idle shard asks for work again and again before it sleeps.
    pub spin_us: u32,
    /// Zero: as many as the process may have descriptors for.
    pub connections_max: usize,
    /// Zero: no $SYS topics.
    pub sys_interval_secs: u32,
    /// The longest that a shutdown takes.
    pub drain_secs: u32,
    /// Whether sessions, their messages and retained messages are stored.
    pub persistence: bool,
    pub listeners: Vec<ListenerConfig>,
    pub access: AccessConfig,
    pub log: LogConfig,
    pub store: StoreConfig,
    pub limits: Limits,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// In the order of what they let through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// What a client may make the broker hold, and what it is told of that; see `broker::Options`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub packet_bytes_max: u32,
    pub connect_timeout_secs: u32,
    /// Zero: as the client likes.
    pub keep_alive_secs_max: u16,
    pub session_expiry_secs_max: u32,
    pub receive_max: u16,
    pub inflight_max: u16,
    pub queue_messages_max: u32,
    pub queue_bytes_max: u64,
    #[serde(with = "QueuePolicy")]
    pub queue_policy: FullPolicy,
    pub queue_qos_zero: bool,
    pub output_bytes_max: u32,
    pub topic_alias_max: u16,
    pub outbound_topic_alias_max: u16,
    pub subscriptions_max: u32,
    pub topic_levels_max: usize,
    pub sessions_max: usize,
    pub retained_messages_max: usize,
    pub retained_bytes_max: usize,
    #[serde(with = "ShareChoice")]
    pub share_choice: Choice,
    /// Empty: none is given.
    pub response_information: String,
    pub validate_payload_format: bool,
    /// Zero: as the client likes.
    pub slow_reader_secs: u32,
    /// Connections a second, of all, and of one address. Zero, for each: no bound.
    pub connect_rate: u32,
    pub address_connect_rate: u32,
    pub address_connections_max: u32,
    pub user_connections_max: u32,
    /// What a client may publish in a second, where its listener has no rate of its own.
    pub message_rate: u32,
    pub byte_rate: u64,
    pub rate_excess: RateExcess,
    /// How long input may wait before nobody new is let in.
    pub overload_ms: u32,
}

/// How the file calls what the session layer knows nothing of files for.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FullPolicy", rename_all = "kebab-case")]
enum QueuePolicy {
    DropNewest,
    DropOldest,
    LastValue,
    Disconnect,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Choice", rename_all = "kebab-case")]
enum ShareChoice {
    RoundRobin,
    LeastInFlight,
    StickyTopic,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 0,
            spin_us: 0,
            connections_max: 0,
            sys_interval_secs: 10,
            drain_secs: 5,
            persistence: true,
            listeners: vec![ListenerConfig::on((Ipv4Addr::LOCALHOST, 1883))],
            access: AccessConfig::default(),
            log: LogConfig::default(),
            store: StoreConfig::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let options = Options::default();
        Self {
            packet_bytes_max: options.packet_bytes_max,
            connect_timeout_secs: options.connect_timeout.secs_ceil(),
            keep_alive_secs_max: options.keep_alive_secs_max,
            session_expiry_secs_max: options.session_expiry_secs_max,
            receive_max: options.receive_max,
            inflight_max: options.inflight_max,
            queue_messages_max: options.queue.messages_max,
            queue_bytes_max: options.queue.bytes_max,
            queue_policy: options.queue.policy,
            queue_qos_zero: options.queue_qos_zero,
            output_bytes_max: options.output_bytes_max,
            topic_alias_max: options.topic_alias_max,
            outbound_topic_alias_max: options.outbound_topic_alias_max,
            subscriptions_max: options.subscriptions_max,
            topic_levels_max: options.topic_levels_max,
            sessions_max: options.sessions_max,
            retained_messages_max: options.retained_messages_max,
            retained_bytes_max: options.retained_bytes_max,
            share_choice: options.share_choice,
            response_information: options.response_information.unwrap_or_default().into(),
            validate_payload_format: options.validate_payload_format,
            slow_reader_secs: options.slow_reader.secs_ceil(),
            connect_rate: 0,
            address_connect_rate: 0,
            address_connections_max: 0,
            user_connections_max: 0,
            message_rate: 0,
            byte_rate: 0,
            rate_excess: RateExcess::Slow,
            overload_ms: 500,
        }
    }
}

impl Config {
    /// Whether there is a store.
    pub fn is_durable(&self) -> bool {
        self.persistence && self.store.durability != Durability::None
    }

    /// What the shards are told, but for what the server finds out itself: `shards`, `seed`, `secret`.
    pub fn options(&self) -> Options {
        let defaults = Options::default();
        let limits = &self.limits;
        let information = limits.response_information.as_str();
        Options {
            packet_bytes_max: limits.packet_bytes_max,
            connect_timeout: Millis::from_secs(limits.connect_timeout_secs),
            keep_alive_secs_max: limits.keep_alive_secs_max,
            session_expiry_secs_max: limits.session_expiry_secs_max,
            receive_max: limits.receive_max,
            inflight_max: limits.inflight_max,
            queue: QueueBounds {
                messages_max: limits.queue_messages_max,
                bytes_max: limits.queue_bytes_max,
                policy: limits.queue_policy,
            },
            queue_qos_zero: limits.queue_qos_zero,
            output_bytes_max: limits.output_bytes_max,
            topic_alias_max: limits.topic_alias_max,
            outbound_topic_alias_max: limits.outbound_topic_alias_max,
            subscriptions_max: limits.subscriptions_max,
            topic_levels_max: limits.topic_levels_max,
            connections_max: if self.connections_max == 0 { defaults.connections_max } else { self.connections_max },
            sessions_max: limits.sessions_max,
            retained_messages_max: limits.retained_messages_max,
            retained_bytes_max: limits.retained_bytes_max,
            share_choice: limits.share_choice,
            response_information: (!information.is_empty()).then(|| information.into()),
            validate_payload_format: limits.validate_payload_format,
            refused_publish: match self.access.refused_publish {
                RefusedPublish::Drop => broker::RefusedPublish::Drop,
                RefusedPublish::Disconnect => broker::RefusedPublish::Disconnect,
            },
            slow_reader: Millis::from_secs(limits.slow_reader_secs),
            failure_delay: Millis(self.access.bans.failure_delay_ms.into()),
            shards: defaults.shards,
            seed: defaults.seed,
            secret: defaults.secret,
            next_record: defaults.next_record,
            durable: self.is_durable(),
        }
    }
}

/// A value, or values together, that no broker can run with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// As the file calls it: `limits.receive_max`, `listeners[1].address`.
    pub key: String,
    what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.what)
    }
}

impl std::error::Error for ConfigError {}

const SPIN_US_MAX: u64 = 1_000_000;
const DAY_SECS: u64 = 24 * 60 * 60;

impl Config {
    pub fn validate(&self) -> Result<(), Vec<ConfigError>> {
        let mut errors: Vec<_> = range::out_of_range([
            ("shards", self.shards as u64, 0, SHARDS_MAX as u64),
            ("spin_us", self.spin_us.into(), 0, SPIN_US_MAX),
            ("sys_interval_secs", self.sys_interval_secs.into(), 0, DAY_SECS),
            ("drain_secs", self.drain_secs.into(), 0, DAY_SECS),
            ("limits.connect_timeout_secs", self.limits.connect_timeout_secs.into(), 1, DAY_SECS),
        ])
        .map(|(key, value, min, max)| out_of_range(key, value, min, max))
        .collect();
        let store = self.store.out_of_range().into_iter();
        errors.extend(store.map(|(key, value, min, max)| out_of_range(&format!("store.{key}"), value, min, max)));
        let access = self.access.out_of_range().into_iter();
        errors.extend(access.map(|(key, value, min, max)| out_of_range(&format!("access.{key}"), value, min, max)));
        let access = self.access.faults().into_iter();
        errors.extend(access.map(|(key, what)| ConfigError { key: format!("access.{key}"), what }));
        self.validate_listeners(&mut errors);
        // In milliseconds there, and judged here.
        let options = Options { connect_timeout: Options::default().connect_timeout, ..self.options() };
        errors.extend(options.validate().err().map(in_words_of_the_file));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn validate_listeners(&self, errors: &mut Vec<ConfigError>) {
        if self.listeners.is_empty() {
            errors.push(ConfigError { key: "listeners".into(), what: "is empty: a broker needs one at least".into() });
        }
        if self.listeners.len() > LISTENERS_MAX {
            let what = format!("has {} listeners: it must have {LISTENERS_MAX} at most", self.listeners.len());
            errors.push(ConfigError { key: "listeners".into(), what });
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            let address = &listener.address;
            let has_it = |other: &ListenerConfig| other.address == *address;
            if !address.is_chosen() && self.listeners[..index].iter().any(has_it) {
                let what = format!("= \"{address}\" is the address of another listener too");
                errors.push(ConfigError { key: format!("listeners[{index}].address"), what });
            }
            let faults = listener.faults().into_iter();
            errors.extend(faults.map(|(key, what)| ConfigError { key: format!("listeners[{index}].{key}"), what }));
        }
    }
}

fn out_of_range(key: &str, value: u64, min: u64, max: u64) -> ConfigError {
    ConfigError { key: key.into(), what: format!("= {value} is out of range: it must be from {min} to {max}") }
}

fn in_words_of_the_file(error: OptionError) -> ConfigError {
    let OptionError { option, value, min, max } = error;
    match option {
        "connections_max" => out_of_range(option, value, 0, max),
        "response_information (bytes)" => {
            let what = format!("has {value} bytes: it must have {max} at most");
            ConfigError { key: "limits.response_information".into(), what }
        }
        _ => out_of_range(&format!("limits.{}", option.replace('.', "_")), value, min, max),
    }
}

/// What is made at start, or was promised to clients that are connected.
const FIXED_AT_START: [&str; 17] = [
    "shards",
    "spin_us",
    "persistence",
    "access.hash_queue_max",
    "access.hash_threads",
    "access.hook.threads",
    "log.format",
    "store.directory",
    "store.durability",
    "store.interval_ms",
    "store.commit_delay_us",
    "store.commit_bytes_max",
    "store.segment_bytes",
    "store.segments_max",
    "limits.packet_bytes_max",
    "limits.receive_max",
    "limits.topic_alias_max",
];

impl Config {
    /// The keys whose values are others in `new`.
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let (old, new) = (self.entries(), new.entries());
        old.into_iter().zip(new).filter(|(old, new)| old != new).map(|((key, _), _)| key).collect()
    }

    /// Those of them that a running broker cannot follow.
    pub fn changes_needing_restart(&self, new: &Self) -> Vec<String> {
        let changes = self.changes(new);
        let fixed = FIXED_AT_START.into_iter().filter(|key| changes.iter().any(|change| change == key));
        let sockets = new.listeners.iter().zip(self.sockets_for(&new.listeners)).enumerate();
        let sockets = sockets.filter_map(|(index, (listener, old))| {
            let is_changed = listener.clone().with_socket_of(old?) != *listener;
            is_changed.then(|| format!("the socket of listeners[{index}], {}", listener.address))
        });
        fixed.map(str::to_owned).chain(sockets).collect()
    }

    /// For each of new listeners the one that has its address now. Those whose port the kernel chooses are told apart by
    /// their order.
    pub(super) fn sockets_for(&self, new: &[ListenerConfig]) -> Vec<Option<&ListenerConfig>> {
        let mut left: Vec<_> = self.listeners.iter().collect();
        let mut take = |address: &Address| {
            let at = left.iter().position(|old| old.address == *address)?;
            Some(left.remove(at))
        };
        new.iter().map(|listener| take(&listener.address)).collect()
    }

    /// What of a new configuration a broker can follow that runs with the old one.
    pub fn with_restart_values_of(self, old: &Self) -> Self {
        let sockets = old.sockets_for(&self.listeners);
        let listeners = self.listeners.iter().cloned().zip(sockets);
        let keep = |(listener, old): (ListenerConfig, Option<&ListenerConfig>)| match old {
            Some(old) => listener.with_socket_of(old),
            None => listener,
        };
        Self {
            shards: old.shards,
            spin_us: old.spin_us,
            persistence: old.persistence,
            store: old.store.clone(),
            listeners: listeners.map(keep).collect(),
            access: AccessConfig {
                hash_threads: old.access.hash_threads,
                hash_queue_max: old.access.hash_queue_max,
                hook: HookConfig { threads: old.access.hook.threads, ..self.access.hook },
                ..self.access
            },
            log: LogConfig { format: old.log.format, ..self.log },
            limits: Limits {
                packet_bytes_max: old.limits.packet_bytes_max,
                receive_max: old.limits.receive_max,
                topic_alias_max: old.limits.topic_alias_max,
                ..self.limits
            },
            ..self
        }
    }

    /// Every file that is named here and read at a start or a reload.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let listeners = self.listeners.iter().flat_map(ListenerConfig::files);
        listeners.chain(self.access.files().map(PathBuf::from)).collect()
    }

    /// As the file has it.
    pub(super) fn table(&self) -> Table {
        Table::try_from(self).expect("a configuration is a table of plain values")
    }

    /// As a file has it that says everything there is to say.
    pub(super) fn whole_table() -> Table {
        let mut config = Self::default();
        config.listeners.iter_mut().for_each(|listener| listener.more_certificates.push(CertificateFiles::default()));
        config.table()
    }

    /// Every key, those of inner tables as `limits.receive_max`, in an order that is always the same.
    fn entries(&self) -> Vec<(String, Value)> {
        let mut entries = Vec::new();
        list_entries("", self.table(), &mut entries);
        entries
    }
}

fn list_entries(prefix: &str, table: Table, entries: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => list_entries(&format!("{name}."), inner, entries),
            value => entries.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::access_config::{JwtAlgorithm, JwtConfig, Subscribe};
    use super::*;
    use crate::server::bans_config::BansConfig;

    fn listener(address: &str) -> ListenerConfig {
        ListenerConfig::at(address.to_owned().try_into().unwrap())
    }

    fn errors(change: impl Fn(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().iter().map(ConfigError::to_string).collect()
    }

    /// Every value is another one than the default, and than every other.
    fn unusual() -> Config {
        let limits = Limits {
            packet_bytes_max: 1_001,
            connect_timeout_secs: 2,
            keep_alive_secs_max: 3,
            session_expiry_secs_max: 4,
            receive_max: 5,
            inflight_max: 6,
            queue_messages_max: 7,
            queue_bytes_max: 8,
            queue_policy: FullPolicy::LastValue,
            queue_qos_zero: true,
            output_bytes_max: 9,
            topic_alias_max: 11,
            outbound_topic_alias_max: 12,
            subscriptions_max: 13,
            topic_levels_max: 14,
            sessions_max: 15,
            retained_messages_max: 16,
            retained_bytes_max: 17,
            share_choice: Choice::StickyTopic,
            response_information: "reply/".into(),
            validate_payload_format: true,
            slow_reader_secs: 35,
            connect_rate: 36,
            address_connect_rate: 37,
            address_connections_max: 38,
            user_connections_max: 39,
            message_rate: 40,
            byte_rate: 41,
            rate_excess: RateExcess::Disconnect,
            overload_ms: 42,
        };
        Config {
            shards: 18,
            spin_us: 19,
            connections_max: 20,
            sys_interval_secs: 21,
            drain_secs: 22,
            persistence: false,
            listeners: vec![listener("[::]:23")],
            access: unusual_access(),
            log: LogConfig { level: LogLevel::Warn, format: LogFormat::Json },
            store: StoreConfig {
                directory: "elsewhere".into(),
                durability: Durability::Interval,
                interval_ms: 24,
                commit_delay_us: 25,
                commit_bytes_max: 1 << 16,
                segment_bytes: 1 << 20,
                segments_max: 26,
            },
            limits,
        }
    }

    fn unusual_access() -> AccessConfig {
        let jwt = JwtConfig {
            secret_file: "s".into(),
            key_file: "k".into(),
            jwks_file: "j".into(),
            algorithms: vec![JwtAlgorithm::Hs256, JwtAlgorithm::Es256],
            user_claim: "u".into(),
            client_id_claim: "c".into(),
            groups_claim: "g".into(),
            acl_claim: "a".into(),
            issuer: "i".into(),
            audience: "d".into(),
            leeway_secs: 27,
        };
        let hook =
            HookConfig { url: "https://h".into(), ca_file: "c".into(), timeout_ms: 28, cache_secs: 29, threads: 30 };
        let bans = BansConfig {
            failures_max: 43,
            window_secs: 44,
            ban_secs: 45,
            ban_secs_max: 46,
            users: false,
            failure_delay_ms: 47,
        };
        AccessConfig {
            password_file: "p".into(),
            user_file: "u".into(),
            acl_file: "a".into(),
            rules_file: "r".into(),
            order: AccessConfig::default().order.into_iter().rev().collect(),
            subscribe: Subscribe::Filtered,
            refused_publish: RefusedPublish::Disconnect,
            tells_unknown_users: true,
            watch: true,
            hash_threads: 31,
            hash_queue_max: 32,
            bans,
            jwt,
            hook,
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_shards() {
        let with_store = Options { durable: true, ..Options::default() };
        assert_eq!(format!("{:?}", Config::default().options()), format!("{with_store:?}"));
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn every_limit_reaches_the_option_of_its_name() {
        let expected = Options {
            packet_bytes_max: 1_001,
            connect_timeout: Millis(2_000),
            keep_alive_secs_max: 3,
            session_expiry_secs_max: 4,
            receive_max: 5,
            inflight_max: 6,
            queue: QueueBounds { messages_max: 7, bytes_max: 8, policy: FullPolicy::LastValue },
            queue_qos_zero: true,
            output_bytes_max: 9,
            topic_alias_max: 11,
            outbound_topic_alias_max: 12,
            subscriptions_max: 13,
            topic_levels_max: 14,
            connections_max: 20,
            sessions_max: 15,
            retained_messages_max: 16,
            retained_bytes_max: 17,
            share_choice: Choice::StickyTopic,
            response_information: Some("reply/".into()),
            validate_payload_format: true,
            refused_publish: broker::RefusedPublish::Disconnect,
            slow_reader: Millis::from_secs(35),
            failure_delay: Millis(47),
            ..Options::default()
        };
        assert_eq!(format!("{:?}", unusual().options()), format!("{expected:?}"));
        assert_eq!(unusual().validate(), Ok(()));
    }

    #[test]
    fn without_persistence_or_durability_there_is_no_store() {
        let mut config = Config::default();
        assert!(config.is_durable());
        config.store.durability = Durability::Interval;
        assert!(config.is_durable());
        config.store.durability = Durability::None;
        assert!(!config.is_durable() && !config.options().durable);
        let config = Config { persistence: false, ..Config::default() };
        assert!(!config.is_durable() && !config.options().durable);
    }

    #[test]
    fn a_configuration_comes_back_from_its_table() {
        assert_eq!(unusual().table().try_into(), Ok(unusual()));
    }

    #[test]
    fn an_error_names_the_key_as_the_file_has_it() {
        let range = |key: &str, value: u64, min: u64, max: u64| {
            vec![format!("{key} = {value} is out of range: it must be from {min} to {max}")]
        };
        assert_eq!(errors(|config| config.shards = 65), range("shards", 65, 0, 64));
        assert_eq!(errors(|config| config.spin_us = 1_000_001), range("spin_us", 1_000_001, 0, 1_000_000));
        assert_eq!(errors(|config| config.sys_interval_secs = 86_401), range("sys_interval_secs", 86_401, 0, 86_400));
        assert_eq!(errors(|config| config.drain_secs = 86_401), range("drain_secs", 86_401, 0, 86_400));
        assert_eq!(
            errors(|config| config.connections_max = 1 << 31),
            range("connections_max", 1 << 31, 0, (1 << 30) - 1)
        );
        let limit = |change: fn(&mut Limits)| errors(|config| change(&mut config.limits));
        assert_eq!(
            errors(|config| config.store.segment_bytes = 1 << 31),
            range("store.segment_bytes", 1 << 31, 1 << 20, 1 << 30)
        );
        assert_eq!(limit(|limits| limits.connect_timeout_secs = 0), range("limits.connect_timeout_secs", 0, 1, 86_400));
        assert_eq!(
            limit(|limits| limits.packet_bytes_max = 255),
            range("limits.packet_bytes_max", 255, 256, 268_435_460)
        );
        assert_eq!(
            limit(|limits| limits.queue_messages_max = 0),
            range("limits.queue_messages_max", 0, 1, u32::MAX.into())
        );
        assert_eq!(limit(|limits| limits.topic_levels_max = 65), range("limits.topic_levels_max", 65, 1, 64));
        assert_eq!(
            limit(|limits| limits.response_information = "r".repeat(65_536)),
            ["limits.response_information has 65536 bytes: it must have 65535 at most"]
        );
    }

    #[test]
    fn several_errors_are_told_at_once() {
        let errors = errors(|config| (config.shards, config.drain_secs, config.limits.receive_max) = (65, 86_401, 0));
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn there_is_a_listener_and_no_address_twice() {
        assert_eq!(errors(|config| config.listeners.clear()), ["listeners is empty: a broker needs one at least"]);
        assert_eq!(
            errors(|config| config.listeners.extend([listener("[::1]:1883"), listener("127.0.0.1:1883")])),
            ["listeners[2].address = \"127.0.0.1:1883\" is the address of another listener too"]
        );
        let twice = |config: &mut Config| config.listeners.extend([listener("unix:a"), listener("unix:a")]);
        assert_eq!(errors(twice), ["listeners[2].address = \"unix:a\" is the address of another listener too"]);
        let any_ports = Config { listeners: vec![listener("127.0.0.1:0"); 2], ..Config::default() };
        assert_eq!(any_ports.validate(), Ok(()));
    }

    #[test]
    fn a_running_broker_keeps_what_was_made_or_promised_at_start_and_follows_the_rest() {
        let (old, new) = (Config::default(), unusual());
        assert_eq!(old.changes_needing_restart(&new), FIXED_AT_START);
        assert_eq!(old.changes(&new).len(), old.entries().len());

        let applied = new.clone().with_restart_values_of(&old);
        assert_eq!(old.changes_needing_restart(&applied), [""; 0]);
        assert_eq!(new.changes(&applied).len(), FIXED_AT_START.len());
        assert_eq!(old.changes(&old), [""; 0]);
    }

    #[test]
    fn listeners_come_and_go_while_it_runs_and_their_sockets_stay_as_they_are() {
        let with = |listeners: &[ListenerConfig]| Config { listeners: listeners.into(), ..Config::default() };
        let (here, there) = (listener("unix:here"), listener("unix:there"));
        let changed = ListenerConfig { unix_owner: "somebody".into(), mount_point: "m/".into(), ..here.clone() };
        let (old, new) = (with(std::slice::from_ref(&here)), with(&[there.clone(), changed.clone()]));
        assert_eq!(old.changes_needing_restart(&new), ["the socket of listeners[1], unix:here"]);
        let applied = new.with_restart_values_of(&old);
        assert_eq!(applied.listeners, [there, ListenerConfig { unix_owner: String::new(), ..changed }]);
        assert_eq!(old.changes_needing_restart(&applied), [""; 0]);
    }
}
