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
            self.see(&ended);
        }
        if filter_is_over && !is_rest {
            return;
        }
        alive.retain(|&rule| self.level(rule, depth).is_some());
        if alive.is_empty() {
            // Whatever follows, it is as it stands; and something can.
            self.see(&settled);
        } else {
            self.choose(depth, &alive, &settled);
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

    /// A topic for which these decide.
    fn see(&mut self, settled: &Settled) {
        let opinion = settled.iter().flatten().fold(Opinion::Silent, |opinion, &rule| {
            opinion.and(match self.rules[rule as usize].1.effect {
                Effect::Allow => Opinion::Allowed,
                Effect::Deny => Opinion::Denied,
            })
        });
        if opinion == Opinion::Allowed {
            self.gives = true;
        } else {
            self.withholds = true;
        }
    }
}
