//! Rules as TOML: groups of users, and rules of which the first that applies decides.
//!
//! ```toml
//! [groups]
//! operators = ["ann", "bob"]
//!
//! [[rules]]
//! deny = "all"                       # or allow; "publish", "subscribe" or "all"
//! topics = ["site/+/secret/#"]       # %u: the client's user name, %c: its identifier, alone in a level
//! users = ["mallory"]                # whom it is about: these, those in these groups (of this file, or named by a
//! groups = ["guests"]                # token), and with `anonymous` who has no name; everybody if none of the three is
//! anonymous = true                   # there, and who has a name if only `anonymous = false` is
//! clients = ["sensor-1"]             # and only with one of these client identifiers
//! qos = [1, 2]                       # and only with these QoS: of the message, or of what is subscribed to
//! retain = true                      # and only of messages with RETAIN, or false: without; for "publish"
//! ```
//!
//! Where no rule applies, nothing is permitted.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::pattern::{Effect, Pattern};
use super::rule_list::{Actions, Conditions, Rule, RuleList, Whom};
use super::text_error::TextError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    groups: BTreeMap<Box<str>, Vec<Box<str>>>,
    #[serde(default)]
    rules: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    allow: Option<About>,
    deny: Option<About>,
    topics: Spanned<Vec<Spanned<String>>>,
    users: Option<Vec<Box<str>>>,
    groups: Option<Vec<Box<str>>>,
    anonymous: Option<bool>,
    clients: Option<Vec<Box<str>>>,
    qos: Option<Spanned<Vec<u8>>>,
    retain: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum About {
    Publish,
    Subscribe,
    All,
}

pub(super) fn parse(text: &str) -> Result<RuleList, Vec<TextError>> {
    let mut faults = Faults { text, found: Vec::new() };
    let file = match toml::from_str::<File>(text) {
        Ok(file) => file,
        Err(error) => {
            faults.tell(error.span().unwrap_or(0..0), error.message().into());
            return Err(faults.found);
        }
    };
    let members = members(&file.groups);
    let mut list = RuleList::default();
    for entry in &file.rules {
        add(&mut list, entry, &members, &mut faults);
    }
    faults.found.sort_by_key(|fault| fault.line);
    if faults.found.is_empty() { Ok(list) } else { Err(faults.found) }
}

struct Faults<'a> {
    text: &'a str,
    found: Vec<TextError>,
}

impl Faults<'_> {
    fn tell(&mut self, at: Range<usize>, what: String) {
        let line = 1 + self.text.bytes().take(at.start).filter(|&byte| byte == b'\n').count();
        self.found.push(TextError { line, what });
    }
}

/// Of each group, those that the file puts in it.
type Members<'a> = BTreeMap<&'a str, &'a [Box<str>]>;

fn members(groups: &BTreeMap<Box<str>, Vec<Box<str>>>) -> Members<'_> {
    groups.iter().map(|(name, users)| (&**name, &users[..])).collect()
}

fn add(list: &mut RuleList, entry: &Spanned<Entry>, members: &Members<'_>, faults: &mut Faults<'_>) {
    let before = faults.found.len();
    let (span, entry) = (entry.span(), entry.get_ref());
    let (effect, about) = match (entry.allow, entry.deny) {
        (Some(about), None) => (Effect::Allow, about),
        (None, Some(about)) => (Effect::Deny, about),
        _ => return faults.tell(span, "a rule has either \"allow\" or \"deny\"".into()),
    };
    let conditions = conditions(entry, about, faults);
    let patterns: Vec<_> = entry.topics.get_ref().iter().filter_map(|topic| pattern(topic, faults)).collect();
    if entry.topics.get_ref().is_empty() {
        faults.tell(entry.topics.span(), "topics is empty: \"#\" stands for all".into());
    }
    if faults.found.len() > before {
        return;
    }
    let actions = match about {
        About::Publish => Actions::PUBLISH,
        About::Subscribe => Actions::RECEIVE,
        About::All => Actions::ALL,
    };
    let clients = entry.clients.clone().map(|mut clients| {
        clients.sort_unstable();
        clients.into_boxed_slice()
    });
    let whom = whom(entry, members);
    for pattern in patterns {
        let clients = clients.clone();
        list.push(&whom, Rule { effect, actions, conditions, is_guarded: false, clients, pattern });
    }
}

fn pattern(topic: &Spanned<String>, faults: &mut Faults<'_>) -> Option<Pattern> {
    let pattern = Pattern::with_placeholders(topic.get_ref());
    pattern.map_err(|what| faults.tell(topic.span(), what)).ok()
}

fn conditions(entry: &Entry, about: About, faults: &mut Faults<'_>) -> Conditions {
    let mut conditions = Conditions::NONE;
    if let Some(qos) = &entry.qos {
        if qos.get_ref().is_empty() || qos.get_ref().iter().any(|&qos| qos > 2) {
            faults.tell(qos.span(), "qos is a list of 0, 1 and 2".into());
        } else {
            conditions.qos = qos.get_ref().iter().fold(0, |bits, &qos| bits | 1 << qos);
        }
    }
    if let Some(retain) = &entry.retain {
        if about != About::Publish {
            faults.tell(retain.span(), "retain is a condition of \"publish\" only".into());
        }
        conditions.retain = Some(*retain.get_ref());
    }
    conditions
}

fn whom(entry: &Entry, members: &Members<'_>) -> Vec<Whom> {
    if entry.users.is_none() && entry.groups.is_none() {
        return vec![match entry.anonymous {
            None => Whom::Everybody,
            Some(true) => Whom::Anonymous,
            Some(false) => Whom::Named,
        }];
    }
    let mut whom = Vec::new();
    whom.extend(entry.users.iter().flatten().cloned().map(Whom::User));
    for group in entry.groups.iter().flatten() {
        whom.extend(members.get(&**group).into_iter().copied().flatten().cloned().map(Whom::User));
        whom.push(Whom::Group(group.clone()));
    }
    if entry.anonymous == Some(true) {
        whom.push(Whom::Anonymous);
    }
    whom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_rule_is_told_with_its_line() {
        let text = "[[rules]]\nallow = 'all'\ntopics = ['a/#/b',\n 'x%u']\n\n[[rules]]\ntopics = ['a']\n\n[[rules]]\n\
                    allow = 'all'\ndeny = 'all'\ntopics = ['a']\n\n[[rules]]\ndeny = 'subscribe'\ntopics = []\n\
                    qos = [3]\nretain = true\n";
        let faults = parse(text).unwrap_err();
        let found: Vec<_> = faults.iter().map(|fault| (fault.line, fault.what.as_str())).collect();
        assert_eq!(
            found,
            [
                (3, "\"a/#/b\" is no topic filter: + stands alone in its level, # too, and last"),
                (4, "\"x%u\" in \"x%u\": %u and %c stand alone in their level"),
                (6, "a rule has either \"allow\" or \"deny\""),
                (9, "a rule has either \"allow\" or \"deny\""),
                (16, "topics is empty: \"#\" stands for all"),
                (17, "qos is a list of 0, 1 and 2"),
                (18, "retain is a condition of \"publish\" only"),
            ]
        );
    }

    #[test]
    fn what_is_no_rule_at_all_is_told_with_its_line() {
        for (text, line, what) in [
            ("a b", 1, "expected `=`"),
            ("\n[[rules]]\nallow = 'all'\ntopic = ['a']\n", 4, "unknown field `topic`"),
            ("\n[[rules]]\nallow = 'read'\ntopics = ['a']\n", 3, "unknown variant `read`"),
            ("[[rules]]\nallow = 'all'\n", 1, "missing field `topics`"),
            ("[groups]\nx = 'ann'\n", 2, "invalid type"),
            ("rule = 1\n", 1, "unknown field `rule`"),
        ] {
            let faults = parse(text).unwrap_err();
            assert_eq!(faults.len(), 1, "{text}");
            assert!(faults[0].what.contains(what), "{text}: {}", faults[0]);
            assert_eq!(faults[0].line, line, "{text}: {}", faults[0]);
        }
        assert!(parse("").is_ok());
    }
}
