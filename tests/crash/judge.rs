//! What the history of a run says against the broker: what was acknowledged and never came, came twice, came where nobody
//! had asked for it, or came in the wrong order.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::history::{History, MessageId, Nanos, Sent, Session};

/// An acknowledged message is with everybody who gets it after this time, if the broker is not killed meanwhile.
const SETTLE: Nanos = 1_000_000_000;

#[derive(Default, Debug)]
pub(crate) struct Verdict {
    /// What may still come.
    pub(crate) missing: Vec<String>,
    /// What nothing can mend.
    pub(crate) wrong: Vec<String>,
}

/// What a session has to do with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Claim {
    Due,
    /// It was subscribing or unsubscribing meanwhile, or the message was never acknowledged.
    Open,
    Unwanted,
}

/// How often each message came to a session, or to the members of a group together.
type Counts = HashMap<MessageId, u32>;

pub(crate) fn judge(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let mut groups: BTreeMap<&str, Vec<&Session>> = BTreeMap::new();
    for session in &history.sessions {
        match &session.group {
            Some(group) => groups.entry(group).or_default().push(session),
            None => {
                of_receiver(history, &session.client_id, &[session], &mut verdict);
                of_order(history, session, &mut verdict);
            }
        }
    }
    groups.into_iter().for_each(|(name, members)| of_receiver(history, name, &members, &mut verdict));
    verdict
}

/// One session, or a group that is to get each message once in all.
fn of_receiver(history: &History, name: &str, members: &[&Session], verdict: &mut Verdict) {
    let mut counts = Counts::new();
    let arrivals = members.iter().flat_map(|session| &session.arrivals);
    arrivals.for_each(|&id| *counts.entry(id).or_default() += 1);
    let all = history.sent.iter().enumerate();
    let all = all.flat_map(|(publisher, sent)| {
        sent.iter().enumerate().map(move |(number, sent)| (MessageId { publisher, number }, sent))
    });
    for (id, sent) in all.filter(|(_, sent)| !sent.is_clear) {
        let count = counts.remove(&id).unwrap_or(0);
        let claims: Vec<Claim> = members.iter().map(|session| claim(history, session, sent)).collect();
        let told = || format!("{name}: {id:?} of {sent:?}");
        if claims.contains(&Claim::Due) && count == 0 {
            verdict.missing.push(format!("{} never came", told()));
        }
        if claims.iter().all(|&claim| claim == Claim::Unwanted) && count > 0 {
            verdict.wrong.push(format!("{} came and was not asked for", told()));
        }
        if sent.qos == 2 && members[0].qos == 2 && count > 1 {
            verdict.wrong.push(format!("{} came {count} times", told()));
        }
    }
    counts.into_keys().for_each(|id| verdict.wrong.push(format!("{name}: {id:?} came and was never sent")));
}

fn claim(history: &History, session: &Session, sent: &Sent) -> Claim {
    let is_settled =
        |from: Nanos, to: Nanos| to > from + SETTLE && !history.kills.iter().any(|&kill| (from..to).contains(&kill));
    let mut claim = Claim::Unwanted;
    for subscription in session.subscriptions.iter().filter(|own| matches(&own.filter, &sent.topic)) {
        let is_over = subscription.gone_at.is_some_and(|gone_at| gone_at < sent.sent_at);
        let is_later = sent.acknowledged_at.is_some_and(|at| is_settled(at, subscription.asked_at));
        let begins_before = subscription.granted_at.is_some_and(|granted_at| granted_at < sent.sent_at);
        let ends_after = sent.acknowledged_at.is_some_and(|acknowledged_at| {
            subscription.left_at.is_none_or(|left_at| is_settled(acknowledged_at, left_at))
        });
        match () {
            () if is_over || is_later => {}
            () if begins_before && ends_after => return Claim::Due,
            () => claim = Claim::Open,
        }
    }
    claim
}

/// First arrivals of what one publisher sent to one topic with one QoS come in the order in which it was sent.
fn of_order(history: &History, session: &Session, verdict: &mut Verdict) {
    let mut seen = HashSet::new();
    let mut last: HashMap<(usize, &str, u8), usize> = HashMap::new();
    for &id in session.arrivals.iter().filter(|&&id| seen.insert(id)) {
        let Some(sent) = history.sent.get(id.publisher).and_then(|sent| sent.get(id.number)) else { continue };
        let last = last.entry((id.publisher, &sent.topic, sent.qos)).or_insert(id.number);
        if id.number < *last {
            verdict.wrong.push(format!("{}: {id:?} of {sent:?} came after {last}", session.client_id));
        }
        *last = id.number.max(*last);
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Subscription;

    /// Three messages of publisher 0, of QoS 2 to one topic, sent at 10, 20 and 30 s and acknowledged a second later; one
    /// session that was subscribed all the time and got each.
    fn history() -> History {
        let sent = [10, 20, 30].map(|at| Sent {
            topic: "a/b".into(),
            qos: 2,
            is_clear: false,
            sent_at: at * SETTLE,
            acknowledged_at: Some((at + 1) * SETTLE),
        });
        History { sent: vec![sent.to_vec()], sessions: vec![session("s", &[0, 1, 2])], kills: Vec::new() }
    }

    fn session(client_id: &str, arrivals: &[usize]) -> Session {
        let arrivals = arrivals.iter().map(|&number| MessageId { publisher: 0, number }).collect();
        Session { client_id: client_id.into(), qos: 2, group: None, subscriptions: vec![subscription(1)], arrivals }
    }

    fn subscription(at: Nanos) -> Subscription {
        let filter = "a/+".into();
        let (asked_at, granted_at) = (at * SETTLE, Some(at * SETTLE + 1));
        Subscription { filter, asked_at, granted_at, left_at: None, gone_at: None }
    }

    fn counts(history: &History) -> (usize, usize) {
        let Verdict { missing, wrong } = judge(history);
        (missing.len(), wrong.len())
    }

    fn with_arrivals(arrivals: &[usize]) -> History {
        History { sessions: vec![session("s", arrivals)], ..history() }
    }

    #[test]
    fn what_is_as_it_should_be_is_not_complained_of() {
        assert_eq!(counts(&history()), (0, 0));
    }

    #[test]
    fn lost_doubled_disordered_and_invented_messages_are_found() {
        assert_eq!(counts(&with_arrivals(&[0, 2])), (1, 0));
        assert_eq!(counts(&with_arrivals(&[0, 1, 1, 2])), (0, 1));
        assert_eq!(counts(&with_arrivals(&[0, 2, 1])), (0, 1));
        assert_eq!(counts(&with_arrivals(&[0, 1, 2, 7])), (0, 1));
    }

    #[test]
    fn what_was_never_acknowledged_may_come_or_not() {
        let mut history = with_arrivals(&[0, 2]);
        history.sent[0][1].acknowledged_at = None;
        assert_eq!(counts(&history), (0, 0));
        history.sessions[0].arrivals = session("s", &[0, 1, 2]).arrivals;
        assert_eq!(counts(&history), (0, 0));
    }

    #[test]
    fn qos_1_may_come_again_but_not_first_in_the_wrong_order() {
        let mut history = with_arrivals(&[0, 1, 0, 1, 2]);
        history.sent[0].iter_mut().for_each(|sent| sent.qos = 1);
        assert_eq!(counts(&history), (0, 0));
        history.sessions[0].arrivals = session("s", &[1, 0, 2]).arrivals;
        assert_eq!(counts(&history), (0, 1));
    }

    #[test]
    fn a_subscription_counts_from_its_suback_to_its_unsubscribe() {
        let mut history = with_arrivals(&[2]);
        // Granted while the second message was under way: this one may come or not.
        history.sessions[0].subscriptions[0].granted_at = Some(20 * SETTLE + 1);
        assert_eq!(counts(&history), (0, 0));
        let mut history = with_arrivals(&[0]);
        let subscription = &mut history.sessions[0].subscriptions[0];
        (subscription.left_at, subscription.gone_at) = (Some(15 * SETTLE), Some(16 * SETTLE));
        assert_eq!(counts(&history), (0, 0));
        history.sessions[0].arrivals = session("s", &[1]).arrivals;
        assert_eq!(counts(&history), (1, 1));
        // Killed between PUBACK and UNSUBSCRIBE: the message may have been on its way.
        history.kills.push(12 * SETTLE);
        assert_eq!(counts(&history), (0, 1));
    }

    #[test]
    fn who_subscribes_when_all_is_over_gets_nothing() {
        let mut history = with_arrivals(&[0]);
        history.sessions[0].subscriptions = vec![subscription(15)];
        assert_eq!(counts(&history), (2, 1));
    }

    #[test]
    fn a_group_gets_each_message_once_in_all() {
        let group = |first: &[usize], second: &[usize]| {
            let mut sessions = vec![session("a", first), session("b", second)];
            sessions.iter_mut().for_each(|session| session.group = Some("g".into()));
            History { sessions, ..history() }
        };
        assert_eq!(counts(&group(&[0], &[2, 1])), (0, 0));
        assert_eq!(counts(&group(&[0], &[2])), (1, 0));
        assert_eq!(counts(&group(&[0, 1], &[2, 1])), (0, 1));
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, is_match) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("+/b", "a/b", true),
            ("a/+", "a/c", true),
            ("#", "a/c", true),
            ("a/#", "a", true),
            ("b/#", "a", false),
        ] {
            assert_eq!(matches(filter, topic), is_match, "{filter} {topic}");
        }
    }
}
