//! What to do with a retained topic that a filter's scan comes upon: take it, step on, or seek past topics that cannot
//! match. Topics are ordered by bytes, where `!` and its like come before the separator: `a!b` lies between `a` and
//! `a/b`. So no subtree is passed over unless every topic in between provably begins with the same levels.

use crate::mqtt::{TopicFilter, TopicName};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Match,
    /// Not this one; the next may be.
    Step,
    /// Nothing before the text that was written to the target.
    Seek,
    /// Nothing from here on.
    End,
}

/// The first topic that `filter` could match: its levels before the first wildcard.
pub(super) fn start(filter: TopicFilter<'_>, target: &mut String) {
    let text = filter.as_str();
    let run = run_of(text);
    let separator = if run.then == Then::Level && !text.starts_with('+') { "/" } else { "" };
    seek_run("", run.text, separator, target);
}

/// What follows a run of literal levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Nothing,
    /// `+`: one more level at least.
    Level,
    /// `#`: nothing, or levels.
    Anything,
}

#[derive(Clone, Copy, Debug)]
struct Run<'a> {
    text: &'a str,
    then: Then,
    /// What the filter says after the run and the separator.
    rest: &'a str,
}

/// The literal levels at the front. A wildcard stands alone in its level, so the first one found ends the run.
fn run_of(levels: &str) -> Run<'_> {
    match levels.find(['+', '#']) {
        None => Run { text: levels, then: Then::Nothing, rest: "" },
        Some(at) => {
            let then = if levels.as_bytes()[at] == b'+' { Then::Level } else { Then::Anything };
            Run { text: levels[..at].strip_suffix('/').unwrap_or(""), then, rest: &levels[at..] }
        }
    }
}

pub(super) fn judge(filter: TopicFilter<'_>, topic: &str, target: &mut String) -> Verdict {
    if filter.matches(TopicName::trusted(topic)) {
        return Verdict::Match;
    }
    let mut wanted = filter.as_str();
    // Topics that start with `$` come before all that start with `%`. [MQTT-4.7.2-1]
    if topic.starts_with('$') && wanted.starts_with(['+', '#']) {
        return seek("%", "", target);
    }
    let mut at = 0;
    loop {
        // Here topic[..at] matches the filter's levels before `wanted`, and is empty or ends with a separator.
        if wanted.starts_with('+') {
            let level_end = topic[at..].find('/').map(|len| at + len);
            match (level_end, wanted.strip_prefix("+/")) {
                // The topic is too short; the ones under it may match, but so may those in between.
                (None, _) => return Verdict::Step,
                // The filter ends here and the topic goes on: so do all that begin with these levels.
                (Some(end), None) => return pass(&topic[..end], target),
                (Some(end), Some(below)) => {
                    at = end + 1;
                    wanted = below;
                }
            }
            continue;
        }
        let run = run_of(wanted);
        let rest = &topic[at..];
        let Some(after) = rest.strip_prefix(run.text).filter(|after| after.is_empty() || after.starts_with('/')) else {
            return off_the_run(run, &topic[..at], rest, target);
        };
        match run.then {
            Then::Nothing => return pass_parent(&topic[..at], target),
            // `#` would have matched.
            Then::Anything => return Verdict::Step,
            Then::Level if after.is_empty() => return seek_run(&topic[..at], run.text, "/", target),
            Then::Level => {
                at = topic.len() - after.len() + 1;
                wanted = run.rest;
            }
        }
    }
}

/// `topic` is `above` and `rest`, and `rest` does not begin with the levels of the run. A match that begins with
/// `above` begins with `above` and the run, and everything between two topics that begin with `above` does, too.
fn off_the_run(run: Run<'_>, above: &str, rest: &str, target: &mut String) -> Verdict {
    let separator = if run.then == Then::Level { "/" } else { "" };
    if rest < run.text {
        return seek_run(above, run.text, separator, target);
    }
    match rest.as_bytes().get(run.text.len()) {
        // Before the separator, as in `run!`: the levels under the run are still to come.
        Some(&byte) if rest.starts_with(run.text) && byte < b'/' && run.then != Then::Nothing => {
            seek_run(above, run.text, "/", target)
        }
        _ => pass_parent(above, target),
    }
}

fn seek_run(above: &str, run: &str, separator: &str, target: &mut String) -> Verdict {
    seek(above, run, target);
    target.push_str(separator);
    Verdict::Seek
}

fn seek(first: &str, second: &str, target: &mut String) -> Verdict {
    target.clear();
    target.push_str(first);
    target.push_str(second);
    Verdict::Seek
}

/// Past everything that begins with `levels` and a separator: `0` is the character after it.
fn pass(levels: &str, target: &mut String) -> Verdict {
    seek(levels, "0", target)
}

fn pass_parent(above: &str, target: &mut String) -> Verdict {
    match above.strip_suffix('/') {
        Some(levels) => pass(levels, target),
        None => Verdict::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(filter: &str, topic: &str) -> (Verdict, String) {
        let mut target = String::new();
        (judge(TopicFilter::new(filter).unwrap(), topic, &mut target), target)
    }

    #[test]
    fn topics_that_cannot_match_are_passed_over() {
        let seeks = [
            ("site/+/temp", "site/5/hum", "site/5/temp"),
            ("site/+/temp", "site/5/wind", "site/50"),
            ("site/+/temp", "site/5/temp/x", "site/50"),
            ("site/+/temp/#", "site/5/temp!", "site/5/temp/"),
            ("site/+/temp/+", "site/5/hum", "site/5/temp/"),
            ("site/+", "site/5/hum", "site/50"),
            ("a/+/t/+", "a/x/t", "a/x/t/"),
            ("a/#", "a!b", "a/"),
            ("+/x", "$SYS/x", "%"),
            ("#", "$SYS/x", "%"),
        ];
        for (filter, topic, target) in seeks {
            assert_eq!(judged(filter, topic), (Verdict::Seek, target.to_owned()), "{filter} {topic}");
        }
    }

    #[test]
    fn a_scan_starts_at_the_literal_levels() {
        let mut target = String::new();
        for (filter, begin) in [("a/b/+", "a/b/"), ("a/b/#", "a/b"), ("+/a", ""), ("#", ""), ("/+", "/"), ("/#", "")] {
            start(TopicFilter::new(filter).unwrap(), &mut target);
            assert_eq!(target, begin, "{filter}");
        }
    }

    #[test]
    fn what_may_lie_in_between_is_not_passed_over() {
        // `a/x!/t` lies between `a/x` and `a/x/t`.
        assert_eq!(judged("a/+/t", "a/x").0, Verdict::Step);
        assert_eq!(judged("a/+/+/t", "a/x/y").0, Verdict::Step);
        assert_eq!(judged("a/+", "a0").0, Verdict::End);
    }
}
