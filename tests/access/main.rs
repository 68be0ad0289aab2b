//! Who may do what by which rules: cases as data (`acl.txt`, `toml.txt`), put to the rules, to a shard's verdicts that
//! remember, and those in Mosquitto's syntax to a real Mosquitto 2.0.11.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped is a failure")]

use std::fmt::Write as _;
use std::sync::Arc;

use thrum::access::{Client, Grant, Identity, Publication, Rules, Verdicts, Who};
use thrum::mqtt::{TopicFilter, TopicName};

use sets::{Action, Case, Set, Verdict, sets};

mod mosquitto;
mod sets;

const CASES_MIN: usize = 150;

fn all_sets() -> Vec<Set> {
    let mut all = sets(include_str!("acl.txt"));
    all.extend(sets(include_str!("toml.txt")));
    all
}

fn identity(case: &Case, set: &Set) -> Identity {
    Identity::new(Who {
        user: case.user.as_deref().map(Into::into),
        groups: case.groups.iter().map(|group| group.as_str().into()).collect(),
        claims: set.claims.clone().map(Arc::new),
        ..Who::default()
    })
}

fn publication<'a>(case: &'a Case, qos: thrum::mqtt::QoS, retain: bool) -> Publication<'a> {
    Publication { topic: TopicName::new(&case.topic).unwrap(), qos, retain }
}

fn of_grant(grant: Grant) -> Verdict {
    match grant {
        Grant::Whole => Verdict::Whole,
        Grant::Filtered => Verdict::Filtered,
        Grant::Denied => Verdict::Denied,
    }
}

fn of_bool(is_permitted: bool) -> Verdict {
    if is_permitted { Verdict::Yes } else { Verdict::No }
}

fn judge(case: &Case, set: &Set, verdicts: &mut Verdicts) -> Verdict {
    let identity = identity(case, set);
    let client = Client { identity: &identity, client_id: &case.client_id };
    match case.action {
        Action::Publish { qos, retain } => of_bool(verdicts.may_publish(&client, &publication(case, qos, retain))),
        Action::Receive => of_bool(verdicts.may_receive(&client, TopicName::new(&case.topic).unwrap())),
        Action::Subscribe { qos } => {
            of_grant(verdicts.may_subscribe(&client, TopicFilter::new(&case.topic).unwrap(), qos))
        }
    }
}

fn judge_by_rules(case: &Case, set: &Set, rules: &Rules) -> Verdict {
    let identity = identity(case, set);
    let client = Client { identity: &identity, client_id: &case.client_id };
    match case.action {
        Action::Publish { qos, retain } => of_bool(rules.may_publish(&client, &publication(case, qos, retain))),
        Action::Receive => of_bool(rules.may_receive(&client, TopicName::new(&case.topic).unwrap())),
        Action::Subscribe { qos } => {
            of_grant(rules.may_subscribe(&client, TopicFilter::new(&case.topic).unwrap(), qos))
        }
    }
}

#[test]
fn every_case_has_its_verdict() {
    let (mut report, mut count) = (String::new(), 0);
    for set in all_sets() {
        let mut verdicts = Verdicts::new(set.rules.clone().map(Arc::new), 17);
        for case in &set.cases {
            count += 1;
            let found = judge(case, &set, &mut verdicts);
            if found != case.verdict {
                let _ = writeln!(report, "{}: {case}: {found:?}", set.name);
            }
            let plain = set.rules.as_ref().map(|rules| judge_by_rules(case, &set, rules));
            if plain.is_some_and(|plain| plain != case.verdict) {
                let _ = writeln!(report, "{}: {case}: {plain:?}, by the rules themselves", set.name);
            }
        }
        // Once more, as they are remembered.
        for case in set.cases.iter().rev() {
            assert_eq!(judge(case, &set, &mut verdicts), case.verdict, "remembered: {case}");
        }
    }
    assert!(report.is_empty(), "\n{report}");
    assert!(count >= CASES_MIN, "only {count} cases");
    println!("{count} cases");
}

/// A grant and what is received by it are one: whoever gets all of a filter gets each topic of it, and who is denied it
/// gets none.
#[test]
fn what_is_received_agrees_with_what_was_granted() {
    for set in all_sets() {
        let mut verdicts = Verdicts::new(set.rules.clone().map(Arc::new), 17);
        let topics: Vec<_> = set.cases.iter().filter_map(|case| TopicName::new(&case.topic).ok()).collect();
        for case in &set.cases {
            let Action::Subscribe { qos } = case.action else { continue };
            let has_conditions = set.name == "conditions";
            let identity = identity(case, &set);
            let client = Client { identity: &identity, client_id: &case.client_id };
            let filter = TopicFilter::new(&case.topic).unwrap();
            let grant = verdicts.may_subscribe(&client, filter, qos);
            for topic in topics.iter().filter(|topic| filter.matches(**topic)) {
                let is_received = verdicts.may_receive(&client, *topic);
                assert!(grant != Grant::Whole || is_received, "{case}: {topic:?}");
                assert!(grant != Grant::Denied || !is_received || has_conditions, "{case}: {topic:?}");
            }
        }
    }
}

#[test]
fn mosquitto_says_the_same() {
    let sets: Vec<_> = all_sets().into_iter().filter(|set| set.acl.is_some()).collect();
    let broker = match mosquitto::Broker::start(&sets) {
        Ok(broker) => broker,
        Err(reason) => {
            println!("NOT RUN: {reason}");
            return;
        }
    };
    let (mut report, mut count, mut differences) = (String::new(), 0, Vec::new());
    for (number, set) in sets.iter().enumerate() {
        for case in &set.cases {
            let found = broker.verdict(number, case);
            count += 1;
            let expected = case.of_mosquitto();
            if found != expected {
                let _ = writeln!(report, "{}: {case}: Mosquitto says {found:?}, not {expected:?}", set.name);
            }
            if let Some((_, reason)) = &case.difference {
                differences.push(format!("{}: {case}: {reason}", set.name));
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
    println!("{count} cases, {} of them with a difference:\n{}", differences.len(), differences.join("\n"));
}
