//! What of a filter's topics somebody is permitted: all, some or none, decided for all topics there are.
//!
//! Filters are read level by level, so what matters of a topic's level is only whether it is one that some rule names, or
//! any other. The search walks the tree of these choices, in which a node is the rules that still can match, and ends when
//! it has seen a topic that is permitted and one that is not. Where rules with `+` in many places make the tree too large,
//! it gives up and says `Filtered`, which is right for any rules: each message is asked about.

use super::guard::Grant;
use super::pattern::{Effect, Level};
use super::rule_list::{Opinion, Reach};
use crate::mqtt::TopicFilter;

/// Rules looked at in all nodes together: half a millisecond, say.
const STEPS_MAX: usize = 50_000;

/// Levels that are walked; a rule that denies is deeper only with a name full of slashes.
const DEPTH_MAX: usize = 128;

/// `sources`: the rules of each, in their order.
pub(super) fn grant(filter: TopicFilter<'_>, sources: &[Vec<Reach<'_>>]) -> Grant {
    let levels = filter.levels().map(|level| match level {
        "+" => Level::Any,
        "#" => Level::Rest,
        text => Level::Text(text),
    });
    let rules: Vec<_> =
        sources.iter().enumerate().flat_map(|(source, rules)| rules.iter().map(move |rule| (source, rule))).collect();
    let mut search =
        Search { filter: levels.collect(), rules, steps: 0, gave_up: false, gives: false, withholds: false };
    let all: Vec<_> = (0..search.rules.len() as u32).collect();
    search.choose(0, &all, &vec![None; sources.len()]);
    match (search.gave_up, search.gives, search.withholds) {
        (false, true, false) => Grant::Whole,
        (false, false, true) => Grant::Denied,
        _ => Grant::Filtered,
    }
}

struct Search<'a> {
    filter: Vec<Level<'a>>,
    /// Each with its source; those of a source in their order.
    rules: Vec<(usize, &'a Reach<'a>)>,
    steps: usize,
    gave_up: bool,
    /// A topic was seen that is permitted, and one that is not.
    gives: bool,
    withholds: bool,
}

/// Of each source the first rule that matches whatever follows.
type Settled = Vec<Option<u32>>;

impl<'a> Search<'a> {
    /// Behind `depth` levels, of which a topic may consist. `alive`: the rules that match them, and not yet all that may
    /// follow.
    fn visit(&mut self, depth: usize, may_end: bool, mut alive: Vec<u32>, mut settled: Settled) {
        self.steps += alive.len() + 1;
        if self.steps > STEPS_MAX || depth > DEPTH_MAX {
            self.gave_up = true;
        }
        if self.gave_up || self.gives && self.withholds {
            return;
        }
        // `sport/#` is `sport` too, so that it is settled one level earlier.
        alive.retain(|&rule| {
            let is_rest = self.level(rule, depth) == Some(Level::Rest);
            if is_rest {
                self.settle(&mut settled, rule);
            }
            !is_rest
        });
        alive.retain(|&rule| settled[self.rules[rule as usize].0].is_none_or(|first| rule < first));
        let at = self.filter.get(depth.min(self.filter.len() - 1)).copied();
        let filter_is_over = depth >= self.filter.len();
        let is_rest = at == Some(Level::Rest);
        if may_end && (filter_is_over || is_rest) {
            let mut ended = settled.clone();
            for &rule in alive.iter().filter(|&&rule| self.level(rule, depth).is_none()) {
                self.settle(&mut ended, rule);
            }
            // A topic for which these decide.
            if self.opinion(&ended) == Opinion::Allowed {
                self.gives = true;
            } else {
                self.withholds = true;
            }
        }
        if filter_is_over && !is_rest {
            return;
        }
        alive.retain(|&rule| self.level(rule, depth).is_some());
        // Where it is the same for whatever follows (and something can), one look is enough.
        let can = |effect| alive.iter().any(|&rule| self.rules[rule as usize].1.effect == effect);
        match self.opinion(&settled) {
            Opinion::Allowed if !can(Effect::Deny) => self.gives = true,
            Opinion::Silent | Opinion::Denied if !can(Effect::Allow) => self.withholds = true,
            _ => self.choose(depth, &alive, &settled),
        }
    }

    /// Each level that makes a difference, where `depth` stand before it.
    fn choose(&mut self, depth: usize, alive: &[u32], settled: &Settled) {
        if let Level::Text(text) = self.filter[depth.min(self.filter.len() - 1)] {
            let same =
                alive.iter().copied().filter(|&rule| self.level(rule, depth) == Some(Level::Text(text))).collect();
            return self.descend(depth, Some(text), same, alive, settled);
        }
        // A level that no rule names.
        self.descend(depth, None, Vec::new(), alive, settled);
        let mut named: Vec<(&str, u32)> = Vec::new();
        for &rule in alive {
            if let Some(Level::Text(text)) = self.level(rule, depth) {
                named.push((text, rule));
            }
        }
        named.sort_unstable();
        for same in named.chunk_by(|one, other| one.0 == other.0) {
            let text = same[0].0;
            // [MQTT-4.7.2-1]
            if depth == 0 && text.starts_with('$') {
                continue;
            }
            let same = same.iter().map(|(_, rule)| *rule).collect();
            self.descend(depth, Some(text), same, alive, settled);
            if self.gave_up || self.gives && self.withholds {
                return;
            }
        }
    }

    /// One level further: `named` are the rules that have its text, and those with wildcards match it too.
    fn descend(&mut self, depth: usize, text: Option<&str>, named: Vec<u32>, alive: &[u32], settled: &Settled) {
        let mut next = named;
        let mut settled = settled.clone();
        // [MQTT-4.7.2-1]
        if depth > 0 || !text.is_some_and(|text| text.starts_with('$')) {
            for &rule in alive {
                match self.level(rule, depth) {
                    Some(Level::Any) => next.push(rule),
                    Some(Level::Rest) => self.settle(&mut settled, rule),
                    _ => {}
                }
            }
        }
        next.sort_unstable();
        // A topic has one character at least. [MQTT-4.7.3-1]
        let may_end = depth > 0 || text != Some("");
        self.visit(depth + 1, may_end, next, settled);
    }

    fn level(&self, rule: u32, depth: usize) -> Option<Level<'a>> {
        self.rules[rule as usize].1.levels.get(depth).copied()
    }

    fn settle(&self, settled: &mut Settled, rule: u32) {
        let first = &mut settled[self.rules[rule as usize].0];
        *first = Some(first.map_or(rule, |first| first.min(rule)));
    }

    fn opinion(&self, settled: &Settled) -> Opinion {
        settled.iter().flatten().fold(Opinion::Silent, |opinion, &rule| {
            opinion.and(match self.rules[rule as usize].1.effect {
                Effect::Allow => Opinion::Allowed,
                Effect::Deny => Opinion::Denied,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::asker::Asker;
    use super::super::pattern::Pattern;
    use super::super::rule_list::{Actions, Conditions, Rule, RuleList, Whom, Wish};
    use super::*;
    use crate::mqtt::{QoS, TopicName};

    const QOS: QoS = QoS::AtMostOnce;

    fn list(rules: &[(Effect, String)]) -> RuleList {
        let mut list = RuleList::default();
        for (effect, topic) in rules {
            let rule = Rule {
                effect: *effect,
                actions: Actions::ALL,
                conditions: Conditions::NONE,
                is_guarded: false,
                clients: None,
                pattern: Pattern::with_placeholders(topic).unwrap(),
            };
            list.push(&[Whom::Everybody], rule);
        }
        list
    }

    fn decided(lists: &[RuleList], asker: &Asker<'_>, filter: &str) -> Grant {
        let filter = TopicFilter::new(filter).unwrap();
        let sources: Vec<_> = lists.iter().map(|list| list.reaches(asker, filter, QOS)).collect();
        grant(filter, &sources)
    }

    /// By asking about each topic of these levels; `o` is in no rule.
    fn enumerated(lists: &[RuleList], asker: &Asker<'_>, filter: &str) -> Grant {
        let filter = TopicFilter::new(filter).unwrap();
        let (mut gives, mut withholds) = (false, false);
        let mut topics: Vec<String> = Vec::new();
        let levels = ["a", "b", "c", "", "$x", "o"];
        topics.extend(levels.map(String::from));
        let mut at = 0;
        while at < topics.len() {
            let topic = topics[at].clone();
            at += 1;
            if topic.split('/').count() < 5 {
                topics.extend(levels.iter().map(|level| format!("{topic}/{level}")));
            }
            let Ok(name) = TopicName::new(&topic) else { continue };
            if filter.matches(name) {
                let wish = Wish { topic: &topic, action: Actions::RECEIVE, qos: QOS, retain: None };
                let opinion = lists.iter().fold(Opinion::Silent, |sum, list| sum.and(list.opinion(asker, &wish)));
                if opinion == Opinion::Allowed { gives = true } else { withholds = true }
            }
        }
        match (gives, withholds) {
            (true, false) => Grant::Whole,
            (false, _) => Grant::Denied,
            (true, true) => Grant::Filtered,
        }
    }

    fn texts(levels: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
        let level = prop::sample::select(levels);
        (prop::collection::vec(level, 1..=most), any::<bool>()).prop_map(|(mut levels, is_open)| {
            if is_open {
                levels.push("#");
            }
            let text = levels.join("/");
            if text.is_empty() { "#".into() } else { text }
        })
    }

    fn rules() -> impl Strategy<Value = Vec<(Effect, String)>> {
        let effect = prop_oneof![3 => Just(Effect::Allow), 2 => Just(Effect::Deny)];
        let text = prop_oneof![texts(&["a", "b", "", "+", "+", "$x", "%u", "%c"], 2), Just("#".to_owned())];
        prop::collection::vec((effect, text), 0..7)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// The search agrees with a look at every topic, for one source and for several.
        #[test]
        fn a_grant_is_what_a_look_at_every_topic_says(
            lists in prop::collection::vec(rules(), 1..3),
            filter in prop_oneof![texts(&["a", "b", "", "+", "+", "$x"], 3), Just("#".to_owned())],
            user in prop::sample::select(&[None, Some("a"), Some("c"), Some(""), Some("a/b"), Some("$x"), Some("+")]),
            client_id in prop::sample::select(&["b", "c", "b/", "#"]),
        ) {
            let lists: Vec<_> = lists.iter().map(|rules| list(rules)).collect();
            let asker = Asker { user, client_id, groups: &[] };
            prop_assert_eq!(decided(&lists, &asker, &filter), enumerated(&lists, &asker, &filter));
        }
    }

    fn simply(rules: &[(Effect, &str)], filter: &str) -> Grant {
        let rules: Vec<_> = rules.iter().map(|(effect, topic)| (*effect, (*topic).to_owned())).collect();
        decided(&[list(&rules)], &Asker { user: Some("ann"), client_id: "c", groups: &[] }, filter)
    }

    #[test]
    fn rules_that_only_together_cover_a_filter_grant_it() {
        use Effect::{Allow, Deny};
        // What is longer than `a` is `a/+` or `a/+/#` or longer.
        assert_eq!(simply(&[(Allow, "a"), (Allow, "a/+"), (Allow, "a/+/+/#")], "a/#"), Grant::Whole);
        assert_eq!(simply(&[(Allow, "a/+"), (Allow, "a/+/+/#")], "a/#"), Grant::Filtered);
        assert_eq!(simply(&[(Deny, "a/+"), (Deny, "a/+/+/#"), (Allow, "#")], "a/#"), Grant::Filtered);
        assert_eq!(simply(&[(Deny, "a/#"), (Allow, "#")], "a/+"), Grant::Denied);
        assert_eq!(simply(&[(Allow, "a/b"), (Deny, "a/+"), (Allow, "#")], "a/+"), Grant::Filtered);
        assert_eq!(simply(&[(Allow, "a/+"), (Deny, "a/b"), (Allow, "#")], "a/+"), Grant::Whole);
        assert_eq!(simply(&[(Allow, "#")], "$SYS/#"), Grant::Denied);
        assert_eq!(simply(&[(Deny, "$SYS/#"), (Allow, "#")], "#"), Grant::Whole);
        assert_eq!(simply(&[], "a"), Grant::Denied);
    }

    #[test]
    fn rules_whose_choices_are_too_many_are_asked_about_each_message() {
        let topic = |texts: &[(usize, &'static str)]| {
            let mut levels = vec!["+"; 20];
            texts.iter().for_each(|(level, text)| levels[*level] = text);
            levels.join("/")
        };
        // Nothing is permitted that is not denied before, which shows only behind the last level.
        let mut rules: Vec<_> = (0..20).map(|level| (Effect::Deny, topic(&[(level, "a")]))).collect();
        rules.extend((0..19).map(|level| (Effect::Allow, topic(&[(level, "a"), (level + 1, "b")]))));
        let asker = Asker { user: None, client_id: "c", groups: &[] };
        let begun = std::time::Instant::now();
        assert_eq!(decided(&[list(&rules)], &asker, &topic(&[])), Grant::Filtered);
        assert!(begun.elapsed().as_millis() < 1_000, "bounded, whatever the rules");
    }
}
