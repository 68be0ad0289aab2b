//! One topic of a rule: a filter in which `%u` and `%c`, alone in a level, stand for a client's user name and identifier.
//!
//! Clients choose their identifiers, and some their user names. So in what permits something a placeholder is exactly one
//! level, as `+` is, and never the `$` of a first one; in what denies something it is the name as text, which with a `/` in
//! it is several levels. Neither way does a name give anybody more. `+` and `#` in a name are in no topic, and match none.

use super::asker::Asker;
use crate::base::limits::TOPIC_LEVELS_MAX;
use crate::mqtt::{TopicError, TopicFilter};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern {
    text: Box<str>,
    /// Bytes before the first level that is not to be found as it stands.
    literal: u32,
    has_placeholders: bool,
}

/// One level of a pattern, for a certain client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level<'a> {
    Text(&'a str),
    /// `+`
    Any,
    /// `#`
    Rest,
}

impl Pattern {
    /// As it stands: `%u` and `%c` are characters like others.
    pub(super) fn plain(text: &str) -> Result<Self, String> {
        TopicFilter::new(text).map_err(|error| fault(text, error))?;
        let levels = text.split('/').count();
        if levels > TOPIC_LEVELS_MAX {
            return Err(format!(
                "a topic filter of {levels} levels, more than the {TOPIC_LEVELS_MAX} a topic may have"
            ));
        }
        let literal = literal_bytes(text, |level| matches!(level, "+" | "#"));
        Ok(Self { text: text.into(), literal, has_placeholders: false })
    }

    pub(super) fn with_placeholders(text: &str) -> Result<Self, String> {
        let plain = Self::plain(text)?;
        let holds = |level: &str| level.contains("%u") || level.contains("%c");
        if let Some(level) = text.split('/').find(|level| holds(level) && level.len() > 2) {
            return Err(format!("\"{level}\" in \"{text}\": %u and %c stand alone in their level"));
        }
        let literal = literal_bytes(text, |level| matches!(level, "+" | "#" | "%u" | "%c"));
        Ok(Self { literal, has_placeholders: text.split('/').any(holds), ..plain })
    }

    /// Whether the topic, which is valid, is one of these for `asker`.
    pub(super) fn matches(&self, topic: &str, asker: &Asker<'_>, effect: Effect) -> bool {
        let (head, tail) = self.text.split_at(self.literal as usize);
        let Some(rest) = topic.strip_prefix(head) else {
            // `sport/#` is `sport` too.
            return tail == "#" && head.strip_suffix('/') == Some(topic);
        };
        if tail.is_empty() {
            return rest.is_empty();
        }
        // [MQTT-4.7.2-1], and placeholders like wildcards.
        if head.is_empty() && topic.starts_with('$') && (effect == Effect::Allow || tail.starts_with(['+', '#'])) {
            return false;
        }
        self.tail_matches(tail, rest, asker, effect)
    }

    fn tail_matches(&self, tail: &str, rest: &str, asker: &Asker<'_>, effect: Effect) -> bool {
        // None: the topic has no more levels.
        let mut rest = Some(rest);
        for level in tail.split('/') {
            let text = match self.level(level, asker) {
                Some(Level::Rest) => return true,
                Some(level) => level,
                None => return false,
            };
            let Some(here) = rest else { return false };
            rest = match text {
                Level::Text(text) if effect == Effect::Allow && text.contains('/') => return false,
                Level::Text(text) => match here.strip_prefix(text) {
                    Some("") => None,
                    Some(after) if after.starts_with('/') => Some(&after[1..]),
                    _ => return false,
                },
                Level::Any | Level::Rest => here.split_once('/').map(|(_, after)| after),
            };
        }
        rest.is_none()
    }

    /// None: what the level stands for is not there.
    fn level<'a>(&self, level: &'a str, asker: &Asker<'a>) -> Option<Level<'a>> {
        Some(match level {
            "+" => Level::Any,
            "#" => Level::Rest,
            "%u" if self.has_placeholders => Level::Text(asker.user?),
            "%c" if self.has_placeholders => Level::Text(asker.client_id),
            text => Level::Text(text),
        })
    }

    /// The levels of the topics that `matches`; `None`: there are none.
    pub(super) fn levels<'a>(&'a self, asker: &Asker<'a>, effect: Effect) -> Option<Vec<Level<'a>>> {
        let mut levels = Vec::new();
        for (depth, level) in self.text.split('/').enumerate() {
            match self.level(level, asker)? {
                Level::Text(name) if matches!(level, "%u" | "%c") && self.has_placeholders => {
                    let is_unfit = name.contains('/') || depth == 0 && name.starts_with('$');
                    if name.contains(['+', '#']) || is_unfit && effect == Effect::Allow {
                        return None;
                    }
                    levels.extend(name.split('/').map(Level::Text));
                }
                level => levels.push(level),
            }
        }
        Some(levels)
    }

    /// Whether one look tells that no topic is both one of these and one of `filter`.
    pub(super) fn is_apart_from(&self, filter: TopicFilter<'_>) -> bool {
        let filter = filter.as_str();
        let literal = literal_bytes(filter, |level| matches!(level, "+" | "#")) as usize;
        let both = literal.min(self.literal as usize);
        self.text.as_bytes()[..both] != filter.as_bytes()[..both]
    }
}

fn literal_bytes(text: &str, is_special: impl Fn(&str) -> bool) -> u32 {
    let mut at = 0;
    for level in text.split('/') {
        if is_special(level) {
            return at;
        }
        at += level.len() as u32 + 1;
    }
    text.len() as u32
}

fn fault(text: &str, error: TopicError) -> String {
    match error {
        TopicError::Empty => "an empty topic".into(),
        TopicError::Nul => "a topic with a NUL in it".into(),
        _ => format!("\"{text}\" is no topic filter: + stands alone in its level, # too, and last"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Asker<'_> = Asker { user: Some("ann"), client_id: "c1", groups: &[] };

    fn matches(pattern: &str, topic: &str, asker: &Asker<'_>, effect: Effect) -> bool {
        let pattern = Pattern::with_placeholders(pattern).unwrap();
        let found = pattern.matches(topic, asker, effect);
        let levels = pattern.levels(asker, effect);
        let by_levels = levels.is_some_and(|levels| {
            let text = levels.iter().map(|level| match level {
                Level::Text(text) => text,
                Level::Any => "+",
                Level::Rest => "#",
            });
            let text = text.collect::<Vec<_>>().join("/");
            text == topic
                || TopicFilter::new(&text)
                    .is_ok_and(|filter| filter.matches(crate::mqtt::TopicName::new(topic).unwrap()))
        });
        assert_eq!(found, by_levels, "{pattern:?} {topic} {asker:?} {effect:?}");
        found
    }

    #[test]
    fn without_placeholders_it_is_a_filter() {
        for pattern in ["a/b", "a/#", "#", "+", "+/b", "a/+", "a/+/#", "$x/#", "/", "/+", "a/", "a//b", "+/#", "a/+/c"]
        {
            for topic in ["a", "a/b", "a/b/c", "a/", "/", "a//b", "$x", "$x/a", "b", "/b", "ab", "a/bc", "a/b/"] {
                let expected = TopicFilter::trusted(pattern).matches(crate::mqtt::TopicName::trusted(topic));
                for effect in [Effect::Allow, Effect::Deny] {
                    assert_eq!(matches(pattern, topic, &ASKER, effect), expected, "{pattern} {topic}");
                }
            }
        }
    }

    #[test]
    fn placeholders_are_the_names_of_who_asks() {
        for (pattern, topic, expected) in [
            ("x/%u", "x/ann", true),
            ("x/%u", "x/anna", false),
            ("x/%u/#", "x/ann", true),
            ("x/%c/+/y", "x/c1/z/y", true),
            ("%u/%c", "ann/c1", true),
            ("%u/%c", "ann/c2", false),
        ] {
            assert_eq!(matches(pattern, topic, &ASKER, Effect::Allow), expected, "{pattern} {topic}");
            assert_eq!(matches(pattern, topic, &ASKER, Effect::Deny), expected, "{pattern} {topic}");
        }
        let anonymous = Asker { user: None, ..ASKER };
        assert!(!matches("x/%u", "x/", &anonymous, Effect::Allow));
        assert!(!Pattern::plain("x/%u").unwrap().matches("x/ann", &ASKER, Effect::Allow));
    }

    #[test]
    fn a_name_permits_nothing_outside_its_level_and_escapes_no_denial() {
        let slash = Asker { user: Some("a/b"), ..ASKER };
        assert!(!matches("x/%u", "x/a/b", &slash, Effect::Allow));
        assert!(!matches("x/%u/#", "x/a/b/c", &slash, Effect::Allow));
        assert!(matches("x/%u/#", "x/a/b/c", &slash, Effect::Deny));
        assert!(!matches("x/%u", "x/a", &slash, Effect::Deny));
        let dollar = Asker { user: Some("$SYS"), ..ASKER };
        assert!(!matches("%u/x", "$SYS/x", &dollar, Effect::Allow));
        assert!(matches("%u/x", "$SYS/x", &dollar, Effect::Deny));
        for name in ["+", "#", "a+", "x/#"] {
            let wild = Asker { user: Some(name), ..ASKER };
            for topic in ["x/a", "x", "x/a/b"] {
                assert!(!matches("x/%u", topic, &wild, Effect::Allow), "{name}");
                assert!(!matches("x/%u", topic, &wild, Effect::Deny), "{name}");
            }
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_reason() {
        assert!(Pattern::plain("a/#/b").unwrap_err().contains("no topic filter"));
        assert!(Pattern::plain("").unwrap_err().contains("empty"));
        assert!(Pattern::plain(&"/".repeat(64)).unwrap_err().contains("65 levels"));
        assert!(Pattern::with_placeholders("a/x%u").unwrap_err().contains("alone"));
        assert!(Pattern::plain("a/x%u").is_ok());
    }
}
