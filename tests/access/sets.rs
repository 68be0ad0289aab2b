//! Reads the sets of rules and their cases; `acl.txt` says how they are written.

use std::fmt;

use thrum::access::Rules;
use thrum::mqtt::QoS;

#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: String,
    /// Of all sources but claims; `None`: there are none.
    pub(crate) rules: Option<Rules>,
    pub(crate) claims: Option<Rules>,
    /// The text, where it is all there is and Mosquitto can read it.
    pub(crate) acl: Option<String>,
    pub(crate) cases: Vec<Case>,
}

#[derive(Debug)]
pub(crate) struct Case {
    line: usize,
    /// None: anonymous.
    pub(crate) user: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) action: Action,
    pub(crate) topic: String,
    pub(crate) verdict: Verdict,
    /// What Mosquitto says instead, and why.
    pub(crate) difference: Option<(Verdict, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Publish { qos: QoS, retain: bool },
    Receive,
    Subscribe { qos: QoS },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Yes,
    No,
    Whole,
    Filtered,
    Denied,
    /// Of Mosquitto, which grants every subscription.
    Granted,
}

impl Case {
    pub(crate) fn of_mosquitto(&self) -> Verdict {
        match (&self.difference, self.action) {
            (Some((verdict, _)), _) => *verdict,
            (None, Action::Subscribe { .. }) => Verdict::Granted,
            (None, _) => self.verdict,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, user, client_id, action, topic, verdict, .. } = self;
        write!(f, "line {line}: {user:?} {client_id:?} {action:?} {topic:?} {verdict:?}")
    }
}

/// One source of a set, while it is read.
struct Part {
    format: String,
    text: String,
}

pub(crate) fn sets(text: &str) -> Vec<Set> {
    let mut found: Vec<Set> = Vec::new();
    let mut parts: Vec<Part> = Vec::new();
    let mut name = String::new();
    let mut in_cases = true;
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("== ") {
            let (format, title) = title.split_once(": ").unwrap_or((title, ""));
            if !title.is_empty() {
                name = title.into();
            }
            let format = format.trim_start_matches("and ").into();
            parts.push(Part { format, text: String::new() });
            in_cases = false;
        } else if line == "--" {
            found.push(set(&name, std::mem::take(&mut parts)));
            in_cases = true;
        } else if !in_cases {
            let part = parts.last_mut().unwrap();
            part.text.push_str(line);
            part.text.push('\n');
        } else if !line.is_empty() && !line.starts_with('#') {
            found.last_mut().unwrap().cases.push(case(number + 1, line));
        }
    }
    found
}

fn set(name: &str, parts: Vec<Part>) -> Set {
    let mut set = Set { name: name.into(), rules: None, claims: None, acl: None, cases: Vec::new() };
    let mut sources = Vec::new();
    for part in &parts {
        match part.format.as_str() {
            "acl" => sources.push(Rules::parse_acl(&part.text).unwrap()),
            "toml" => sources.push(Rules::parse_toml(&part.text).unwrap()),
            "claims" => set.claims = Some(claims(&part.text)),
            other => panic!("{name}: {other} is no format"),
        }
    }
    set.rules = (!sources.is_empty()).then(|| Rules::combined(sources));
    if let [Part { format, text }] = &parts[..]
        && format == "acl"
    {
        set.acl = Some(text.clone());
    }
    set
}

fn claims(text: &str) -> Rules {
    let of =
        |kind: &str| -> Vec<_> { text.lines().filter_map(|line| line.strip_prefix(kind)).map(str::trim).collect() };
    Rules::of_claims(&of("publish "), &of("subscribe ")).unwrap()
}

fn case(line: usize, text: &str) -> Case {
    let (text, difference) = match text.split_once(" ! ") {
        Some((text, said)) => {
            let (said, reason) = said.trim().split_once(": ").expect("a verdict and its reason");
            (text, Some((verdict(said), reason.into())))
        }
        None => (text, None),
    };
    let words = words(text);
    let [who, client_id, action_name, topic, said] = &words[..] else { panic!("line {line}: five words: {words:?}") };
    let (user, groups) = who.split_once('@').unwrap_or((who, ""));
    Case {
        line,
        user: (user != "-").then(|| user.into()),
        groups: groups.split(',').filter(|group| !group.is_empty()).map(Into::into).collect(),
        client_id: client_id.clone(),
        action: action(action_name),
        topic: topic.clone(),
        verdict: verdict(said),
        difference,
    }
}

fn action(text: &str) -> Action {
    let (name, conditions) = text.split_once('/').unwrap_or((text, "0"));
    let qos = QoS::from_u8(conditions.as_bytes()[0] - b'0').unwrap();
    match name {
        "publish" => Action::Publish { qos, retain: conditions.ends_with('r') },
        "receive" => Action::Receive,
        "subscribe" => Action::Subscribe { qos },
        _ => panic!("{text} is no action"),
    }
}

fn verdict(text: &str) -> Verdict {
    match text {
        "yes" => Verdict::Yes,
        "no" => Verdict::No,
        "whole" => Verdict::Whole,
        "filtered" => Verdict::Filtered,
        "denied" => Verdict::Denied,
        _ => panic!("{text} is no verdict"),
    }
}

/// Separated by spaces, but for what is in quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("the quote ends"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}
