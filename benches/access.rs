//! What a guard's questions cost by rules: each publish asks one, and each message for who has a filtered subscription.
//!
//! `rules` is without memory, `remembered` by a shard's verdicts that were asked the same before. Aims: well under a
//! microsecond and a few tens of nanoseconds; nothing without rules.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use thrum::access::{Client, Identity, Publication, Rules, Verdicts};
use thrum::mqtt::{QoS, TopicFilter, TopicName};

const TOPIC: &str = "site/7/floor/2/tempr";

/// As people have them: a few topics for each of some users, a few patterns.
fn usual() -> Rules {
    let mut text = "topic read public/#\n".to_owned();
    for user in ["ann", "bob", "gateway", "dashboard"] {
        let _ = write!(
            text,
            "user {user}\ntopic deny site/7/vault/#\ntopic read site/#\ntopic write site/+/floor/+/tempr\n"
        );
    }
    text += "pattern readwrite users/%u/#\npattern write devices/%c/state\npattern read devices/%c/commands/#\n";
    Rules::parse_acl(&text).expect("rules")
}

/// A thousand rules that are all about whoever asks, the one that applies last.
fn thousand() -> Rules {
    let text: String = (0..999).map(|number| format!("pattern readwrite site/{number}/gate/#\n")).collect();
    Rules::parse_acl(&(text + "pattern readwrite site/+/floor/#\n")).expect("rules")
}

/// A thousand users with a rule each.
fn users() -> Rules {
    let text: String = (0..999).map(|number| format!("user u{number}\ntopic write site/{number}/#\n")).collect();
    Rules::parse_acl(&(text + "user ann\ntopic write site/7/#\n")).expect("rules")
}

fn publishing(criterion: &mut Criterion) {
    let identity = Identity::of_user("ann");
    let client = Client { identity: &identity, client_id: "sensor-0042" };
    let topic = TopicName::new(TOPIC).expect("a topic");
    let publication = Publication { topic, qos: QoS::AtLeastOnce, retain: false };
    let mut group = criterion.benchmark_group("access/publish");
    let mut free = Verdicts::new(None, 17);
    group.bench_function("no rules", |bencher| {
        bencher.iter(|| free.may_publish(black_box(&client), black_box(&publication)));
    });
    for (name, rules) in [("usual", usual()), ("1000 users", users()), ("1000 patterns", thousand())] {
        assert!(rules.may_publish(&client, &publication));
        group.bench_function(format!("rules/{name}"), |bencher| {
            bencher.iter(|| rules.may_publish(black_box(&client), black_box(&publication)));
        });
        let mut verdicts = Verdicts::new(Some(Arc::new(rules)), 17);
        group.bench_function(format!("remembered/{name}"), |bencher| {
            bencher.iter(|| verdicts.may_publish(black_box(&client), black_box(&publication)));
        });
    }
    group.finish();
}

fn subscribing(criterion: &mut Criterion) {
    let identity = Identity::of_user("ann");
    let client = Client { identity: &identity, client_id: "sensor-0042" };
    let mut group = criterion.benchmark_group("access/subscribe");
    for (name, rules) in [("usual", usual()), ("1000 patterns", thousand())] {
        for filter in ["site/7/floor/+/tempr", "site/#", "#"] {
            let filter = TopicFilter::new(filter).expect("a filter");
            group.bench_function(format!("{name}/{}", filter.as_str()), |bencher| {
                bencher.iter(|| rules.may_subscribe(black_box(&client), black_box(filter), QoS::AtMostOnce));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, publishing, subscribing);
criterion_main!(benches);
