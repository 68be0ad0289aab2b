//! Access control lists in Mosquitto's syntax: `user`, `topic` and `pattern` lines.
//!
//! Topics before the first `user` line are for anonymous clients, those behind one for that user, patterns for everybody.
//! Of somebody's topics those that deny come first, whatever the order of the lines, then those that permit; then the
//! patterns, again those that deny first.

use super::pattern::{Effect, Pattern};
use super::rule_list::{Actions, Conditions, Rule, RuleList, Whom};
use super::text_error::TextError;

pub(super) fn parse(text: &str) -> Result<RuleList, Vec<TextError>> {
    let mut reader = Reader::default();
    let mut faults = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        if let Err(what) = reader.line(line) {
            faults.push(TextError { line: number + 1, what });
        }
    }
    if faults.is_empty() { Ok(reader.in_order()) } else { Err(faults) }
}

struct Reader {
    whom: Whom,
    topics: Vec<(Whom, Rule)>,
    patterns: Vec<(Whom, Rule)>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { whom: Whom::Anonymous, topics: Vec::new(), patterns: Vec::new() }
    }
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.starts_with('#') {
            return Ok(());
        }
        let line = line.trim_end();
        // The words are separated by spaces; a tab is part of a word.
        let (word, rest) = next_word(line);
        match word {
            "" => {}
            "user" if rest.is_empty() => return Err("user: the name is missing".into()),
            "user" => self.whom = Whom::User(rest.into()),
            "topic" => {
                let rule = rule(word, rest, Pattern::plain)?;
                self.topics.push((self.whom.clone(), rule));
            }
            "pattern" => {
                let rule = rule(word, rest, Pattern::with_placeholders)?;
                let is_guarded = rule.effect == Effect::Allow;
                self.patterns.push((Whom::Everybody, Rule { is_guarded, ..rule }));
            }
            _ => return Err(format!("\"{word}\" begins no line: it is user, topic, pattern or #")),
        }
        Ok(())
    }

    fn in_order(self) -> RuleList {
        let mut list = RuleList::default();
        for mut rules in [self.topics, self.patterns] {
            // Stable: those that deny first, else as they stand.
            rules.sort_by_key(|(_, rule)| rule.effect == Effect::Allow);
            for (whom, rule) in rules {
                list.push(&[whom], rule);
            }
        }
        list
    }
}

fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(' ');
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim())
}

/// Of `[read|write|readwrite|deny] <topic>`.
fn rule(word: &str, text: &str, pattern: impl Fn(&str) -> Result<Pattern, String>) -> Result<Rule, String> {
    let (access, rest) = next_word(text);
    if access.is_empty() {
        return Err(format!("{word}: the topic is missing"));
    }
    let (effect, actions, topic) = match access {
        // Only a topic, even if it is called so.
        _ if rest.is_empty() => (Effect::Allow, Actions::ALL, access),
        "read" => (Effect::Allow, Actions::RECEIVE, rest),
        "write" => (Effect::Allow, Actions::PUBLISH, rest),
        "readwrite" => (Effect::Allow, Actions::ALL, rest),
        "deny" => (Effect::Deny, Actions::ALL, rest),
        _ => {
            return Err(format!(
                "\"{access}\" is no access: it is read, write, readwrite or deny, and has to be there if the topic has a space"
            ));
        }
    };
    let pattern = pattern(topic)?;
    Ok(Rule { effect, actions, conditions: Conditions::NONE, is_guarded: false, clients: None, pattern })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_line_is_told_with_its_number() {
        let text =
            "topic read a/#\nbanana x\nuser\n\ntopic\ntopic reed a b\ntopic a/#/b\npattern x%u/a\n\ttopic a\n # x\n";
        let faults = parse(text).unwrap_err();
        let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 5, 6, 7, 8, 9, 10]);
        let expected = ["banana", "name is missing", "topic is missing", "reed", "no topic filter", "stand alone"];
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.what.contains(expected), "{fault}");
        }
    }

    #[test]
    fn lines_are_read_as_mosquitto_reads_them() {
        // An indented line, a tab in a topic, spaces at the end, no end of the last line, and that of another system.
        for text in
            ["  topic   read   a  ", "topic read\ta", "user  ann b \r\ntopic a\r\n", "   \n\n#x", "", "topic deny"]
        {
            assert!(parse(text).is_ok(), "{text:?}");
        }
        assert_eq!(parse("topic a\ntopic a\nuser b\ntopic deny c").map(|list| list.len()), Ok(3));
    }
}
