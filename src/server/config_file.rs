//! A configuration from a TOML file. What is wrong with the file is told all at once, with line and key.

use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::config::Config;

/// What is wrong, one sentence each.
pub type Errors = Vec<String>;

pub fn read(path: &Path) -> Result<Config, Errors> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| vec![format!("cannot read {file}: {error}")])?;
    parse(&file, &text)
}

/// `file` is what the errors call it.
pub fn parse(file: &str, text: &str) -> Result<Config, Errors> {
    let mut faults = Faults::default();
    let config = faults.look_for(text);
    match config {
        Some(config) if faults.0.is_empty() => Ok(config),
        _ => Err(faults.in_order_of_lines(file, text)),
    }
}

/// Each with where in the text it is; `None` for what is not in it.
#[derive(Default)]
struct Faults(Vec<(Option<usize>, String)>);

impl Faults {
    fn look_for(&mut self, text: &str) -> Option<Config> {
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                self.0.push((error.span().map(|span| span.start), error.message().into()));
                return None;
            }
        };
        let mut keys = Vec::new();
        self.walk(table.get_ref(), &Config::whole_table(), "", &mut keys);
        let config: Config = match toml::from_str(text) {
            Ok(config) => config,
            Err(error) => {
                self.0.push(wrong_value(&error, &keys));
                return None;
            }
        };
        for error in config.validate().err().into_iter().flatten() {
            self.0.push((place(&keys, &error.key), error.to_string()));
        }
        Some(config)
    }

    /// Lists the table's keys and finds those that are not known.
    fn walk(&mut self, table: &DeTable<'_>, known: &Table, prefix: &str, keys: &mut Vec<Key>) {
        for (key, value) in table {
            let Some(known_value) = known.get(key.get_ref().as_ref()) else {
                self.0.push((Some(key.span().start), unknown_key(key.get_ref(), known)));
                continue;
            };
            let name = format!("{prefix}{}", key.get_ref());
            keys.push(Key { name: name.clone(), at: key.span().start, value: value.span() });
            match (value.get_ref(), known_value) {
                (DeValue::Table(inner), Value::Table(known)) => self.walk(inner, known, &format!("{name}."), keys),
                (DeValue::Array(items), Value::Array(known)) => {
                    let Some(Value::Table(known)) = known.first() else { continue };
                    for (index, item) in items.iter().enumerate() {
                        let name = format!("{name}[{index}]");
                        keys.push(Key { name: name.clone(), at: item.span().start, value: item.span() });
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.walk(inner, known, &format!("{name}."), keys);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn in_order_of_lines(mut self, file: &str, text: &str) -> Errors {
        self.0.sort_by_key(|(at, _)| *at);
        let line = |at: usize| 1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count();
        let sentence = |(at, what): &(Option<usize>, String)| match *at {
            Some(at) => format!("{file}:{}: {what}", line(at)),
            None => format!("{file}: {what}"),
        };
        self.0.iter().map(sentence).collect()
    }
}

/// Where the key is, or the innermost of those around it.
fn place(keys: &[Key], name: &str) -> Option<usize> {
    let is_around =
        |key: &&Key| name.strip_prefix(&*key.name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    keys.iter().filter(is_around).max_by_key(|key| key.name.len()).map(|key| key.at)
}

/// A known key where it stands in the text.
struct Key {
    name: String,
    at: usize,
    value: Range<usize>,
}

/// Below this a name is not meant to be the other: 1 is the same.
const LIKENESS_MIN: f64 = 0.85;

fn unknown_key(key: &str, known: &Table) -> String {
    let likeness = |name: &&String| strsim::jaro_winkler(key, name);
    let nearest = known.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|name| likeness(name) >= LIKENESS_MIN) {
        Some(name) => format!("unknown key \"{key}\"; did you mean \"{name}\"?"),
        None => format!("unknown key \"{key}\""),
    }
}

/// The fault that the reading of values ended at, with the innermost key that it is in.
fn wrong_value(error: &toml::de::Error, keys: &[Key]) -> (Option<usize>, String) {
    let Some(span) = error.span() else { return (None, error.message().into()) };
    // The last of those that begin and end alike: the first item of an array of tables spans as much as the array.
    let around = keys.iter().rev().filter(|key| key.value.contains(&span.start));
    let Some(key) = around.min_by_key(|key| key.value.len()) else {
        return (Some(span.start), error.message().into());
    };
    (Some(span.start), format!("{}: {}", key.name, in_words(error.message())))
}

/// What Rust calls its types says nothing to an operator.
fn in_words(message: &str) -> String {
    let words = [
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number from 0"),
        ("expected usize", "expected a whole number from 0"),
        ("expected a boolean", "expected true or false"),
    ];
    words.iter().fold(message.to_owned(), |message, (rust, plain)| message.replace(rust, plain))
}

#[cfg(test)]
mod tests {
    use super::super::config::{LogFormat, LogLevel};
    use super::*;
    use crate::routing::Choice;
    use crate::session::FullPolicy;

    fn errors(text: &str) -> Errors {
        parse("thrum.toml", text).unwrap_err()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("thrum.toml", ""), Ok(Config::default()));
        assert_eq!(parse("thrum.toml", "# nothing\n[log]\n[limits]\n"), Ok(Config::default()));
    }

    #[test]
    fn values_are_taken_and_the_rest_stays_as_it_is() {
        let text = "shards = 2\nlog.format = 'json'\n\n[[listeners]]\naddress = '0.0.0.0:1'\n\n[[listeners]]\n\
                    address = '[::1]:2'\n\n[limits]\nqueue_policy = 'drop-oldest'\nshare_choice = 'least-in-flight'\n";
        let config = parse("thrum.toml", text).unwrap();
        assert_eq!((config.shards, config.log.level, config.log.format), (2, LogLevel::Info, LogFormat::Json));
        let addresses: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
        assert_eq!(addresses, ["0.0.0.0:1", "[::1]:2"]);
        assert_eq!(config.limits.queue_policy, FullPolicy::DropOldest);
        assert_eq!(config.limits.share_choice, Choice::LeastInFlight);
    }

    #[test]
    fn every_policy_has_its_name() {
        for name in ["drop-newest", "drop-oldest", "last-value", "disconnect"] {
            assert!(parse("thrum.toml", &format!("limits.queue_policy = '{name}'")).is_ok(), "{name}");
        }
        for name in ["round-robin", "least-in-flight", "sticky-topic"] {
            assert!(parse("thrum.toml", &format!("limits.share_choice = '{name}'")).is_ok(), "{name}");
        }
        assert_eq!(
            errors("limits.queue_policy = 'drop'"),
            ["thrum.toml:1: limits.queue_policy: unknown variant `drop`, expected one of `drop-newest`, \
              `drop-oldest`, `last-value`, `disconnect`"]
        );
    }

    #[test]
    fn every_unknown_key_is_told_with_what_it_may_mean() {
        let text = "shard = 2\n[[listeners]]\naddress = '0.0.0.0:1'\n[[listeners]]\nadress = '0.0.0.0:2'\n\
                    address = '0.0.0.0:2'\nmore_certificates = [{ certficate = 'a' }]\n[log]\nlevle = 'info'\n[limits]\nrecieve_max = 5\nbanana = 1\n[limit]\n";
        assert_eq!(
            errors(text),
            [
                "thrum.toml:1: unknown key \"shard\"; did you mean \"shards\"?",
                "thrum.toml:5: unknown key \"adress\"; did you mean \"address\"?",
                "thrum.toml:7: listeners[1].more_certificates[0]: missing field `certificate`",
                "thrum.toml:7: unknown key \"certficate\"; did you mean \"certificate\"?",
                "thrum.toml:9: unknown key \"levle\"; did you mean \"level\"?",
                "thrum.toml:11: unknown key \"recieve_max\"; did you mean \"receive_max\"?",
                "thrum.toml:12: unknown key \"banana\"",
                "thrum.toml:13: unknown key \"limit\"; did you mean \"limits\"?",
            ]
        );
    }

    #[test]
    fn a_value_of_a_wrong_type_is_told_with_line_and_key() {
        for (text, error) in [
            ("\nshards = 'two'", "2: shards: invalid type: string \"two\", expected a whole number from 0"),
            ("shards = -1", "1: shards: invalid value: integer `-1`, expected a whole number from 0"),
            (
                "[limits]\n\nreceive_max = 65536",
                "3: limits.receive_max: invalid value: integer `65536`, expected a whole number from 0 to 65535",
            ),
            (
                "limits = { receive_max = 1.5 }",
                "1: limits.receive_max: invalid type: floating point `1.5`, expected a whole number from 0 to 65535",
            ),
            (
                "[limits]\nqueue_qos_zero = 'yes'",
                "2: limits.queue_qos_zero: invalid type: string \"yes\", expected true or false",
            ),
            (
                "log.level = 'verbose'",
                "1: log.level: unknown variant `verbose`, expected one of `error`, `warn`, `info`, `debug`, `trace`",
            ),
            (
                "[[listeners]]\naddress = '0.0.0.0:1'\n[[listeners]]\naddress = 'localhost'",
                "4: listeners[1].address: expected an address such as \"127.0.0.1:1883\", \"[::]:1883\" or \
                 \"unix:/run/thrum.sock\"",
            ),
            (
                "listeners = [{ address = 1883 }]",
                "1: listeners[0].address: invalid type: integer `1883`, expected a string",
            ),
            ("\n[[listeners]]\n", "2: listeners[0]: missing field `address`"),
            ("listeners = 5", "1: listeners: invalid type: integer `5`, expected a sequence"),
        ] {
            assert_eq!(errors(text), [format!("thrum.toml:{error}")], "{text}");
        }
    }

    #[test]
    fn a_value_out_of_range_is_told_with_line_and_key() {
        for (text, error) in [
            ("\n\nshards = 65", "3: shards = 65 is out of range: it must be from 0 to 64"),
            ("[limits]\ninflight_max = 0", "2: limits.inflight_max = 0 is out of range: it must be from 1 to 65535"),
            ("\nlisteners = []", "2: listeners is empty: a broker needs one at least"),
            (
                "[[listeners]]\naddress = '[::]:5'\n[[listeners]]\naddress = '[::]:5'",
                "4: listeners[1].address = \"[::]:5\" is the address of another listener too",
            ),
            ("[[listeners]]\naddress = '[::]:5'\n\ncertificate = 'c'", "1: listeners[0].key is missing"),
            (
                "[access]\n\n[access.jwt]\nleeway_secs = 9999",
                "4: access.jwt.leeway_secs = 9999 is out of range: it must be from 0 to 3600",
            ),
            ("[access.hook]\nurl = 'mqtt://a'", "2: access.hook.url must begin with http:// or https://"),
        ] {
            assert_eq!(errors(text), [format!("thrum.toml:{error}")], "{text}");
        }
    }

    #[test]
    fn faults_of_several_kinds_come_in_the_order_of_the_lines() {
        assert_eq!(
            errors("drain_secs = 100000\nshard = 1\nshards = 65"),
            [
                "thrum.toml:1: drain_secs = 100000 is out of range: it must be from 0 to 86400",
                "thrum.toml:2: unknown key \"shard\"; did you mean \"shards\"?",
                "thrum.toml:3: shards = 65 is out of range: it must be from 0 to 64",
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        assert_eq!(errors("shards = 1\nshards 2"), ["thrum.toml:2: key with no value, expected `=`"]);
        assert_eq!(errors("shards = 1\nshards = 2"), ["thrum.toml:2: duplicate key"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_the_reason() {
        assert_eq!(
            read(Path::new("no/such/file.toml")),
            Err(vec!["cannot read no/such/file.toml: No such file or directory (os error 2)".into()])
        );
        assert_eq!(read(Path::new("src")), Err(vec!["cannot read src: Is a directory (os error 21)".into()]));
    }
}
