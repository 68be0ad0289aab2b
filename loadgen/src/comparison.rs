//! What the rounds of a comparison came to, broker beside broker.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::disk::SyncTimes;
use crate::scenarios::{DURABLE_LATENCY, Scenario, Subject};
use crate::spread::Spread;
use crate::summary::Summary;

/// Others' share of the two cores from which on a measurement is called disturbed.
const DISTURBED_SHARE: f64 = 0.05;

/// A figure of a summary.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    words: &'static str,
    more_is_better: bool,
    /// Whether the table says how many times better it is.
    has_times: bool,
    of: fn(&Summary) -> Option<f64>,
}

const fn figure(name: &'static str, words: &'static str, of: fn(&Summary) -> Option<f64>) -> Figure {
    Figure { name, words, more_is_better: false, has_times: true, of }
}

const MESSAGES: [Figure; 4] = [
    Figure {
        more_is_better: true,
        ..figure("messages_per_sec", "messages/s", |summary| positive(summary.messages_per_sec))
    },
    figure("micros_per_message", "us of CPU/message", |summary| summary.broker?.micros_per_message),
    figure(LATENCY, "p50 us", |summary| Some(summary.latency_micros?.p50)),
    Figure { has_times: false, ..figure("p99_micros", "p99 us", |summary| Some(summary.latency_micros?.p99)) },
];

const DURABLE_MESSAGES: [Figure; 8] = [
    MESSAGES[0],
    MESSAGES[1],
    MESSAGES[2],
    MESSAGES[3],
    figure(ACKNOWLEDGING, "acknowledged p50 us", |summary| Some(summary.acknowledging_micros?.p50)),
    Figure {
        has_times: false,
        ..figure("acknowledging_p99_micros", "p99 us", |summary| Some(summary.acknowledging_micros?.p99))
    },
    // These are the disk's.
    Figure { has_times: false, ..figure(SYNC, "fdatasync p50 us", |_| None) },
    Figure { has_times: false, ..figure("sync_p99_micros", "p99 us", |_| None) },
];

const ACKNOWLEDGING: &str = "acknowledging_p50_micros";
const LATENCY: &str = "p50_micros";
const SYNC: &str = "sync_p50_micros";

const CONNECTS: [Figure; 2] = [
    Figure {
        more_is_better: true,
        ..figure("connects_per_sec", "connects/s", |summary| positive(summary.connects_per_sec))
    },
    figure("micros_per_connect", "us of CPU/connect", |summary| summary.broker?.micros_per_connect),
];

const CONNECTIONS: [Figure; 1] =
    [figure("bytes_per_connection", "bytes/connection", |summary| summary.broker?.bytes_per_connection)];

const SUBSCRIPTIONS: [Figure; 1] =
    [figure("bytes_per_subscription", "bytes/subscription", |summary| summary.broker?.bytes_per_subscription)];

const RETAINED: [Figure; 1] =
    [figure("bytes_per_retained", "bytes/retained message", |summary| summary.broker?.bytes_per_retained)];

fn positive(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

const fn figures(subject: Subject) -> &'static [Figure] {
    match subject {
        Subject::Messages => &MESSAGES,
        Subject::DurableMessages => &DURABLE_MESSAGES,
        Subject::Connects => &CONNECTS,
        Subject::ConnectionMemory => &CONNECTIONS,
        Subject::SubscriptionMemory => &SUBSCRIPTIONS,
        Subject::RetainedMemory => &RETAINED,
    }
}

/// What came of one turn of one broker.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Turn {
    /// By name.
    values: BTreeMap<&'static str, f64>,
    generator_was_limit: bool,
    /// In words.
    faults: Vec<String>,
    /// What neither the broker nor the generator used of their cores, but others did.
    foreign_share: f64,
}

impl Turn {
    pub fn of(summary: &Summary, subject: Subject, foreign_share: f64) -> Self {
        let values = figures(subject).iter().filter_map(|figure| Some((figure.name, (figure.of)(summary)?)));
        let Summary { due, lost, duplicated, out_of_order, wrong_payload, .. } = summary;
        let mut faults: Vec<String> = summary.failures.first().cloned().into_iter().collect();
        if lost + duplicated + out_of_order + wrong_payload > 0 {
            faults.push(format!(
                "of {due} lost {lost}, duplicated {duplicated}, out of order {out_of_order}, wrong payload {wrong_payload}"
            ));
        }
        Self { values: values.collect(), generator_was_limit: summary.own_limit.is_some(), faults, foreign_share }
    }

    /// With what the disk took meanwhile.
    pub fn with_syncs(mut self, times: Option<SyncTimes>) -> Self {
        if let Some(SyncTimes { p50, p99 }) = times {
            self.values.extend([(SYNC, p50), ("sync_p99_micros", p99)]);
        }
        self
    }

    pub fn failed(error: String) -> Self {
        Self { faults: vec![error], ..Self::default() }
    }

    /// In short, for who watches.
    pub fn words(&self) -> String {
        let values = self.values.iter().map(|(name, &value)| format!("{name} {}", short_number(value)));
        values.chain(self.faults.iter().cloned()).collect::<Vec<_>>().join(", ")
    }
}

/// One broker in one scenario, with a turn for each round.
#[derive(Clone, Debug)]
pub struct Entry {
    pub scenario: &'static Scenario,
    pub broker: String,
    pub turns: Vec<Turn>,
}

#[derive(Clone, Debug)]
pub struct Comparison {
    /// The broker that the others are measured by.
    pub base: String,
    /// Scenario by scenario.
    pub entries: Vec<Entry>,
    /// Scenarios that were not run, and why.
    pub skipped: Vec<(&'static Scenario, String)>,
}

/// What a line of JSON says.
#[derive(Serialize, Debug)]
struct Line<'a> {
    scenario: &'a str,
    broker: &'a str,
    rounds: usize,
    figures: BTreeMap<&'a str, Spread>,
    /// How many times better than the base.
    base: &'a str,
    times_better: BTreeMap<&'a str, Spread>,
    generator_was_limit: bool,
    disturbed_share: f64,
    faults: Vec<String>,
}

impl Entry {
    fn values(&self, figure: &Figure) -> Vec<Option<f64>> {
        self.turns.iter().map(|turn| turn.values.get(figure.name).copied()).collect()
    }

    fn spread(&self, figure: &Figure) -> Option<Spread> {
        Spread::of(&self.values(figure).into_iter().flatten().collect::<Vec<_>>())
    }

    fn times_better(&self, figure: &Figure, base: &Self) -> Option<Spread> {
        let (own, base) = (self.values(figure), base.values(figure));
        if figure.more_is_better { Spread::of_ratios(&own, &base) } else { Spread::of_ratios(&base, &own) }
    }

    fn generator_was_limit(&self) -> bool {
        self.turns.iter().any(|turn| turn.generator_was_limit)
    }

    fn foreign_share(&self) -> f64 {
        self.turns.iter().map(|turn| turn.foreign_share).fold(0.0, f64::max)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.turns.iter().flat_map(|turn| turn.faults.clone()).collect();
        faults.dedup();
        faults
    }

    fn marks(&self) -> String {
        let marks = [
            (self.generator_was_limit(), '*'),
            (!self.faults().is_empty(), '!'),
            (self.foreign_share() > DISTURBED_SHARE, '?'),
        ];
        marks.into_iter().filter_map(|(is_so, mark)| is_so.then_some(mark)).collect()
    }
}

impl Comparison {
    /// No measurement failed, and no message went wrong.
    pub fn is_clean(&self) -> bool {
        self.entries.iter().all(|entry| entry.faults().is_empty())
    }

    /// Those that were begun.
    pub fn rounds(&self) -> usize {
        self.entries.iter().map(|entry| entry.turns.len()).max().unwrap_or(0)
    }

    fn base_of(&self, entry: &Entry) -> Option<&Entry> {
        self.entries.iter().find(|other| other.scenario == entry.scenario && other.broker == self.base)
    }

    /// One line for each scenario and broker.
    pub fn json_lines(&self) -> String {
        let lines = self.entries.iter().map(|entry| {
            let of = figures(entry.scenario.subject);
            let line = Line {
                scenario: entry.scenario.name,
                broker: &entry.broker,
                rounds: entry.turns.iter().filter(|turn| !turn.values.is_empty()).count(),
                figures: of.iter().filter_map(|figure| Some((figure.name, entry.spread(figure)?))).collect(),
                base: &self.base,
                times_better: of
                    .iter()
                    .filter_map(|figure| Some((figure.name, entry.times_better(figure, self.base_of(entry)?)?)))
                    .collect(),
                generator_was_limit: entry.generator_was_limit(),
                disturbed_share: entry.foreign_share(),
                faults: entry.faults(),
            };
            serde_json::to_string(&line).expect("figures are numbers") + "\n"
        });
        lines.collect()
    }

    /// What a store adds to the latency at low load, in syncs of the disk.
    fn added_latencies(&self) -> Vec<String> {
        let of = |broker: &str| {
            let is_this = |entry: &&Entry| entry.scenario.name == DURABLE_LATENCY && entry.broker == broker;
            self.entries.iter().find(is_this)
        };
        let (Some(with), Some(without)) = (of("thrum-durable"), of("thrum")) else { return Vec::new() };
        let median = |entry: &Entry, name: &str| {
            let values: Vec<_> = entry.turns.iter().filter_map(|turn| turn.values.get(name).copied()).collect();
            Spread::of(&values).map(|spread| spread.median)
        };
        let added = |(name, words): (&str, &str)| {
            let micros = median(with, name)? - median(without, name)?;
            let syncs = micros / median(with, SYNC)?;
            let micros = short_number(micros);
            Some(format!("{DURABLE_LATENCY}: the store adds {micros} us until {words} (p50): {syncs:.2} fdatasyncs."))
        };
        [(LATENCY, "it comes"), (ACKNOWLEDGING, "it is acknowledged")].into_iter().filter_map(added).collect()
    }

    fn table(&self, subject: Subject) -> Option<Grid> {
        let mut head = vec!["scenario".into(), "broker".into()];
        for figure in figures(subject) {
            head.push(figure.words.into());
            head.extend(figure.has_times.then(|| "times better".into()));
        }
        let mut grid = Grid(vec![head]);
        let mut last = "";
        for entry in self.entries.iter().filter(|entry| entry.scenario.subject == subject) {
            let name = if entry.scenario.name == last { "" } else { entry.scenario.name };
            last = entry.scenario.name;
            let mut line = vec![name.into(), entry.broker.clone()];
            for (index, figure) in figures(subject).iter().enumerate() {
                let mark = if index == 0 { entry.marks() } else { String::new() };
                line.push(entry.spread(figure).map_or("-".into(), short) + &mark);
                if figure.has_times {
                    let times = self.base_of(entry).and_then(|base| entry.times_better(figure, base));
                    line.push(times.map_or("-".into(), short));
                }
            }
            grid.0.push(line);
        }
        (grid.0.len() > 1).then_some(grid)
    }
}

/// Tables in Markdown, with what has to be known to read them.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for subject in Subject::ALL {
            if let Some(grid) = self.table(subject) {
                writeln!(f, "{grid}")?;
            }
        }
        writeln!(
            f,
            "Medians of {} rounds (lowest..highest). Times better: than {} in the same round; more a second, or less of \
             the rest.",
            self.rounds(),
            self.base
        )?;
        self.added_latencies().iter().try_for_each(|line| writeln!(f, "\n{line}"))?;
        if self.entries.iter().any(Entry::generator_was_limit) {
            writeln!(
                f,
                "\\* The generator was the limit: the broker can do more than this, and its CPU per message is what \
                 counts."
            )?;
        }
        for entry in &self.entries {
            let (scenario, broker) = (entry.scenario.name, &entry.broker);
            entry.faults().iter().try_for_each(|fault| writeln!(f, "! {scenario}, {broker}: {fault}"))?;
        }
        let most = self.entries.iter().map(Entry::foreign_share).fold(0.0, f64::max);
        if most > DISTURBED_SHARE {
            writeln!(f, "? Disturbed: others used the two cores, {:.0} % of them at most.", most * 100.0)?;
        }
        self.skipped.iter().try_for_each(|(scenario, why)| writeln!(f, "- {} was skipped: {why}", scenario.name))
    }
}

fn short(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if min == max {
        short_number(median)
    } else {
        format!("{} ({}..{})", short_number(median), short_number(min), short_number(max))
    }
}

/// Three digits that count.
fn short_number(value: f64) -> String {
    let (value, unit) = match value {
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value {
        99.5.. => 0,
        9.95.. => 1,
        0.995.. => 2,
        _ => 3,
    };
    format!("{value:.digits$}{unit}")
}

/// Lines of cells, the first of them the head.
struct Grid(Vec<Vec<String>>);

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.0.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.0[0].len()).map(width).collect();
        for (index, line) in self.0.iter().enumerate() {
            for (cell, &width) in line.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                widths.iter().try_for_each(|&width| write!(f, "|-{:-<width$}-", ""))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(values: &[(&'static str, f64)]) -> Turn {
        Turn { values: values.iter().copied().collect(), ..Turn::default() }
    }

    fn entry(broker: &str, turns: Vec<Turn>) -> Entry {
        Entry { scenario: Scenario::named("p2p-qos1").unwrap(), broker: broker.into(), turns }
    }

    fn rate(per_sec: f64, micros: f64) -> Turn {
        turn(&[("messages_per_sec", per_sec), ("micros_per_message", micros)])
    }

    fn comparison() -> Comparison {
        let thrum = vec![rate(2e6, 0.5), Turn::failed("it fell over".into()), rate(1.8e6, 0.4)];
        let base = vec![rate(1e5, 10.0), rate(5e4, 12.0), rate(9e4, 9.0)];
        let skipped = vec![(Scenario::named("churn").unwrap(), "not there".into())];
        let entries = vec![entry("mosquitto", base), entry("thrum", thrum)];
        Comparison { base: "mosquitto".into(), entries, skipped }
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let numbers = [0.04567, 0.3333, 1.0, 9.999, 99.97, 123.4, 9_999.0, 12_345.0, 999_499.0, 2_345_678.0, 0.0];
        let shown = ["0.046", "0.333", "1.00", "10.0", "100", "123", "9999", "12.3k", "999k", "2.35M", "0.000"];
        assert_eq!(numbers.map(short_number), shown);
    }

    #[test]
    fn every_broker_stands_beside_the_base_with_what_went_wrong() {
        let mut comparison = comparison();
        assert!(!comparison.is_clean());
        comparison.entries[1].turns[0].generator_was_limit = true;
        comparison.entries[0].turns[2].foreign_share = 0.25;
        let told = comparison.to_string();
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let line = |broker| cells(told.lines().find(|line| line.contains(broker)).unwrap());
        let mosquitto = ["", "p2p-qos1", "mosquitto", "90.0k (50.0k..100k)?", "1.00", "10.0 (9.00..12.0)", "1.00"];
        assert_eq!(line("| mosquitto")[..7], mosquitto);
        let thrum =
            ["", "", "thrum", "1.90M (1.80M..2.00M)*!", "20.0", "0.450 (0.400..0.500)", "21.2 (20.0..22.5)", "-"];
        assert_eq!(line("| thrum")[..8], thrum);
        for words in [
            "\\* The generator was the limit",
            "! p2p-qos1, thrum: it fell over\n",
            "? Disturbed: others used the two cores, 25 % of them at most.",
            "- churn was skipped: not there\n",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn the_added_latency_is_told_in_syncs() {
        let entry = |broker: &str, latency, acknowledging| Entry {
            scenario: Scenario::named(DURABLE_LATENCY).unwrap(),
            broker: broker.into(),
            turns: vec![turn(&[(LATENCY, latency), (ACKNOWLEDGING, acknowledging), (SYNC, 400.0)])],
        };
        let entries = vec![entry("thrum-durable", 660.0, 880.0), entry("thrum", 60.0, 80.0)];
        let told = Comparison { base: "thrum".into(), entries, skipped: Vec::new() }.to_string();
        assert!(told.contains("the store adds 600 us until it comes (p50): 1.50 fdatasyncs."), "{told}");
        assert!(told.contains("the store adds 800 us until it is acknowledged (p50): 2.00 fdatasyncs."), "{told}");
        assert!(!comparison().to_string().contains("fdatasyncs."));
    }

    #[test]
    fn a_line_of_json_has_every_figure_with_its_spread() {
        let lines = comparison().json_lines();
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), &lines[0]["base"]), (2, &"mosquitto".into()));
        let thrum = &lines[1];
        assert_eq!((&thrum["broker"], &thrum["rounds"]), (&"thrum".into(), &2.into()));
        assert_eq!(thrum["figures"]["messages_per_sec"]["max"], 2e6);
        assert_eq!(
            thrum["times_better"]["micros_per_message"],
            serde_json::json!({"median": 21.25, "min": 20.0, "max": 22.5})
        );
        assert_eq!(thrum["faults"][0], "it fell over");
    }
}
