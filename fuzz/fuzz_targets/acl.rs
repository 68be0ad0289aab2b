//! Any text as rules: refused with the number of a line that is there, or rules that answer alike, however they are asked.
//!
//! The first byte chooses: ACL or TOML, and who asks; a first line says the topics or filters, one a word; the rest is the
//! text.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use thrum::access::{Client, Grant, Identity, Publication, Rules, Verdicts};
use thrum::mqtt::{QoS, TopicFilter, TopicName};

const USERS: [Option<&str>; 6] = [None, Some("ann"), Some("a/b"), Some("+"), Some("$SYS"), Some("")];

fn ask(rules: &Rules, client: &Client<'_>, topics: &[&str]) {
    let mut verdicts = Verdicts::new(Some(Arc::new(rules.clone())), 17);
    for topic in topics.iter().filter_map(|topic| TopicName::new(topic).ok()) {
        for (qos, retain) in [(QoS::AtMostOnce, false), (QoS::ExactlyOnce, true)] {
            let publication = Publication { topic, qos, retain };
            let expected = rules.may_publish(client, &publication);
            assert_eq!(verdicts.may_publish(client, &publication), expected);
            assert_eq!(verdicts.may_publish(client, &publication), expected);
        }
    }
    for filter in topics.iter().filter_map(|topic| TopicFilter::new(topic).ok()) {
        let grants =
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| rules.may_subscribe(client, filter, qos));
        for topic in topics.iter().filter_map(|topic| TopicName::new(topic).ok()) {
            if !filter.matches(topic) {
                continue;
            }
            // Where QoS matters, it is received if a subscription of any QoS could bring it.
            let is_received = rules.may_receive(client, topic);
            assert!(is_received || !grants.contains(&Grant::Whole), "{filter:?} {topic:?} {grants:?}");
            assert!(!is_received || grants.iter().any(|grant| *grant != Grant::Denied), "{filter:?} {topic:?}");
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (topics, text) = text.split_once('\n').unwrap_or((text, ""));
    let rules = if choice & 1 == 0 { Rules::parse_acl(text) } else { Rules::parse_toml(text) };
    match rules {
        Ok(rules) => {
            let user = USERS[usize::from(choice >> 1) % USERS.len()];
            let identity = user.map_or(Identity::ANONYMOUS, Identity::of_user);
            let client_id = if choice & 128 == 0 { "c" } else { "c/d" };
            let topics: Vec<_> = topics.split(' ').take(8).collect();
            ask(&rules, &Client { identity: &identity, client_id }, &topics);
        }
        Err(errors) => {
            let lines = text.split('\n').count();
            assert!(errors.iter().all(|error| (1..=lines).contains(&error.line)), "{errors:?}");
            assert!(!errors.is_empty());
        }
    }
});
