//! thrum.toml, the sample: complete, true, and nothing but the defaults.

use std::collections::BTreeSet;

use thrum::server::{Config, config_file};
use toml::{Table, Value};

const SAMPLE: &str = include_str!("../thrum.toml");

/// The text with every option switched on, and only the explanations left out.
fn uncommented() -> String {
    let is_option = |line: &&str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.starts_with("[[") || line.contains(" = ") && name.chars().all(|c| c == '_' || c.is_ascii_lowercase())
    };
    let lines = SAMPLE.lines().map(|line| line.strip_prefix("# ").filter(is_option).unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

fn names(prefix: &str, table: &Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let tables: Vec<_> = match value {
            Value::Table(inner) => vec![inner],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            _ => Vec::new(),
        };
        tables.iter().for_each(|inner| found.extend(names(&format!("{name}."), inner)));
        if tables.is_empty() {
            found.insert(name);
        }
    }
    found
}

#[test]
fn the_sample_as_it_is_changes_nothing() {
    assert_eq!(config_file::parse("thrum.toml", SAMPLE), Ok(Config::default()));
}

#[test]
fn the_sample_names_every_option_with_its_default_and_no_other() {
    let text = uncommented();
    assert_eq!(config_file::parse("thrum.toml", &text), Ok(Config::default()));
    let defaults = Table::try_from(Config::default()).unwrap();
    assert_eq!(names("", &text.parse().unwrap()), names("", &defaults));
}

#[test]
fn every_option_of_the_sample_is_explained_and_is_a_comment() {
    let lines: Vec<&str> = SAMPLE.lines().collect();
    let options = uncommented();
    for (at, option) in options.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && line.contains(" = ")) {
        assert_eq!(lines[at], format!("# {option}"));
        assert!(lines[at - 1].starts_with("# "), "{option} has no explanation");
    }
}
