//! Runs as one HTML page that needs nothing else: their figures, and plots of latency and of what happened over time.

use std::fmt::{self, Write};

use crate::plot::{Axis, Escaped, Plot, SERIES_MAX, Scale, Series};
use crate::report::{Remark, circumstances, latencies, remarks, rows};
use crate::summary::{Percentiles, Point, Summary};
use crate::units::{count, digits, micros, percent, short};

const STYLE: &str = include_str!("page.css");

/// A page of runs: side by side where there are several, and then each by itself.
pub fn page(summaries: &[Summary]) -> String {
    let mut html = String::new();
    write_page(&mut html, summaries).expect("a string takes everything");
    html
}

fn write_page(html: &mut String, summaries: &[Summary]) -> fmt::Result {
    let title = match summaries {
        [summary] => summary.scenario.as_str(),
        _ => "MQTT broker runs",
    };
    let title = Escaped(title);
    writeln!(html, r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>"#)?;
    writeln!(html, r#"<meta name="viewport" content="width=device-width,initial-scale=1">"#)?;
    writeln!(html, r#"<meta name="color-scheme" content="light dark"><style>{STYLE}</style></head><body><main>"#)?;
    if summaries.len() != 1 {
        writeln!(html, "<section><h1>{title}</h1><p>{} runs</p>", summaries.len())?;
        write_overview(html, summaries)?;
        writeln!(html, "</section>")?;
    }
    for (number, summary) in summaries.iter().enumerate() {
        write_run(html, number, summary)?;
    }
    writeln!(html, "<footer>thrum-loadgen {}</footer></main></body></html>", env!("CARGO_PKG_VERSION"))
}

/// Every run in a line, and their latencies in one plot, or in as many as there are colours for.
fn write_overview(html: &mut String, summaries: &[Summary]) -> fmt::Result {
    let heads =
        ["run", "messages/s", "p50", "p99", "p99.9", "max", "CPU/message", "CPU/connect", "bytes/connection", "lost"];
    write!(html, r#"<div class="scroll"><table><thead><tr>"#)?;
    heads.iter().try_for_each(|head| write!(html, "<th>{head}</th>"))?;
    writeln!(html, "</tr></thead><tbody>")?;
    for (number, summary) in summaries.iter().enumerate() {
        let name = name(summary);
        write!(html, r##"<tr><th><a href="#run{number}">{}</a> {}</th>"##, Escaped(&name), verdict(summary))?;
        cells(summary).iter().try_for_each(|cell| write!(html, "<td>{}</td>", Escaped(cell)))?;
        writeln!(html, "</tr>")?;
    }
    writeln!(html, "</tbody></table></div>")?;
    let curves = summaries.iter().filter(|summary| !summary.latency_curve.is_empty());
    let curves: Vec<_> = curves.map(|summary| (name(summary), tail(summary))).collect();
    write!(html, r#"<div class="plots">"#)?;
    for part in curves.chunks(SERIES_MAX) {
        let series = part.iter().map(|(name, points)| Series { name, points: points.clone() });
        write_plot(html, &latency_plot(series.collect()))?;
    }
    writeln!(html, "</div>")
}

/// What tells a run from its neighbours.
fn name(summary: &Summary) -> String {
    match summary.has_messages() {
        true => format!("{}, QoS {}", summary.scenario, summary.qos),
        false => summary.scenario.clone(),
    }
}

/// What the overview's columns say of a run; nothing where there is nothing to say.
fn cells(summary: &Summary) -> [String; 9] {
    let messages = |words: String| if summary.has_messages() { words } else { String::new() };
    let latency = |of: fn(&Percentiles) -> f64| summary.latency_micros.map_or(String::new(), |it| micros(of(&it)));
    let broker = summary.broker;
    let cpu = |micros: Option<f64>| micros.map_or(String::new(), |micros| format!("{} us", digits(micros)));
    let bytes = broker.and_then(|broker| broker.bytes_per_connection);
    [
        messages(short(summary.messages_per_sec)),
        latency(|it| it.p50),
        latency(|it| it.p99),
        latency(|it| it.p999),
        latency(|it| it.max),
        cpu(broker.and_then(|broker| broker.micros_per_message)),
        cpu(broker.and_then(|broker| broker.micros_per_connect)),
        bytes.map_or(String::new(), |bytes| count(bytes.round() as u64)),
        messages(count(summary.lost)),
    ]
}

fn write_run(html: &mut String, number: usize, summary: &Summary) -> fmt::Result {
    let (name, about) = (Escaped(&summary.scenario), circumstances(summary));
    writeln!(html, r#"<section id="run{number}"><h2>{name} {}</h2><p>{}</p>"#, verdict(summary), Escaped(&about))?;
    for (remark, words) in remarks(summary) {
        let class = if remark == Remark::Note { "note" } else { "bad" };
        writeln!(html, r#"<p class="remark {class}"><b>{remark}</b> {}</p>"#, Escaped(&words))?;
    }
    write_tiles(html, summary)?;
    write!(html, r#"<div class="plots">"#)?;
    if !summary.latency_curve.is_empty() {
        write_plot(html, &latency_plot(vec![Series { name: "latency", points: tail(summary) }]))?;
    }
    plots_over_time(&summary.samples).iter().try_for_each(|plot| write_plot(html, plot))?;
    write_tables(html, summary)?;
    writeln!(html, "</div></section>")
}

/// In a word and a colour.
fn verdict(summary: &Summary) -> &'static str {
    match (summary.is_kept, summary.broken == 0) {
        (true, _) => r#"<span class="verdict good">QoS kept</span>"#,
        (false, false) => r#"<span class="verdict bad">QoS broken</span>"#,
        (false, true) => r#"<span class="verdict bad">failed</span>"#,
    }
}

/// The figures that are looked for first.
fn write_tiles(html: &mut String, summary: &Summary) -> fmt::Result {
    let Summary { messages_per_sec, connects_per_sec, latency_micros, broker, lost, due, .. } = summary;
    let tiles = [
        summary.has_messages().then(|| ("messages/s", short(*messages_per_sec))),
        (!summary.has_messages()).then(|| ("connects/s", short(*connects_per_sec))),
        latency_micros.map(|latency| ("p50 latency", micros(latency.p50))),
        latency_micros.map(|latency| ("p99 latency", micros(latency.p99))),
        broker.and_then(|broker| Some(("broker CPU a message", format!("{} us", digits(broker.micros_per_message?))))),
        broker.and_then(|broker| Some(("bytes a connection", count(broker.bytes_per_connection?.round() as u64)))),
        (*lost > 0).then(|| ("lost", percent(*lost, *due))),
    ];
    write!(html, r#"<dl class="tiles">"#)?;
    for (what, figure) in tiles.into_iter().flatten() {
        write!(html, "<div><dt>{what}</dt><dd>{}</dd></div>", Escaped(&figure))?;
    }
    writeln!(html, "</dl>")
}

fn write_tables(html: &mut String, summary: &Summary) -> fmt::Result {
    write!(html, r#"<div><div class="scroll"><table><tbody>"#)?;
    for (what, words) in rows(summary) {
        write!(html, r#"<tr><th>{what}</th><td class="words">{}</td></tr>"#, Escaped(&words))?;
    }
    writeln!(html, "</tbody></table></div>")?;
    let latencies = latencies(summary);
    if latencies.is_empty() {
        return writeln!(html, "</div>");
    }
    write!(html, r#"<div class="scroll"><table><thead><tr><th></th><th>p50</th><th>p90</th><th>p99</th>"#)?;
    write!(html, "<th>p99.9</th><th>max</th></tr></thead><tbody>")?;
    for (what, Percentiles { p50, p90, p99, p999, max }) in latencies {
        write!(html, "<tr><th>{what}</th>")?;
        [p50, p90, p99, p999, max].iter().try_for_each(|it| write!(html, "<td>{}</td>", micros(*it)))?;
        write!(html, "</tr>")?;
    }
    writeln!(html, "</tbody></table></div></div>")
}

/// With its title, and what its lines are where they are several.
fn write_plot(html: &mut String, plot: &Plot<'_>) -> fmt::Result {
    write!(html, "<figure><figcaption><b>{}</b>", Escaped(plot.title))?;
    if plot.series.len() > 1 {
        for (number, line) in plot.series.iter().enumerate() {
            write!(html, r#" <span class="key"><i class="s{number}"></i>{}</span>"#, Escaped(line.name))?;
        }
    }
    writeln!(html, "</figcaption>{plot}</figure>")
}

/// A latency curve by how rare a message is: one of so many.
fn tail(summary: &Summary) -> Vec<(f64, f64)> {
    let curve = &summary.latency_curve;
    let mut points: Vec<_> = curve.iter().map(|&(share, micros)| (1.0 / (1.0 - share), micros)).collect();
    // The worst message is one of all of them.
    if let Some(last) = points.last_mut() {
        last.0 = summary.latency_count.max(1) as f64;
    }
    points
}

fn latency_plot(series: Vec<Series<'_>>) -> Plot<'_> {
    Plot {
        title: "Latency by percentile",
        x: Axis { name: "percentile of messages", scale: Scale::Log, words: |rarity| percentile(rarity) },
        y: Axis { name: "latency", scale: Scale::Log, words: |time| trimmed(micros(time)) },
        series,
    }
}

/// Of one message in `rarity`.
fn percentile(rarity: f64) -> String {
    let share = 100.0 - 100.0 / rarity;
    // As many nines as there are, and not what the last digits of a float make of them.
    let decimals = (rarity.log10() - 2.0).ceil().clamp(0.0, 12.0) as usize;
    format!("{share:.decimals$} %")
}

/// A figure on an axis, which is round.
fn trimmed(words: String) -> String {
    match words.split_once(' ') {
        Some((figure, unit)) if figure.contains('.') => {
            format!("{} {unit}", figure.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => words,
    }
}

fn plots_over_time(samples: &[Point]) -> Vec<Plot<'_>> {
    let x = Axis {
        name: "seconds of the measurement",
        scale: Scale::Linear,
        words: |secs| ((secs * 1e3).round() / 1e3).to_string(),
    };
    let line =
        |name, of: fn(&Point) -> f64| Series { name, points: samples.iter().map(|it| (it.at_secs, of(it))).collect() };
    let rate = |name| Axis { name, scale: Scale::Linear, words: |rate| trimmed(short(rate)) };
    let messages = Plot {
        title: "Messages over time",
        x,
        y: rate("messages a second"),
        series: vec![line("received", |it| it.received_per_sec), line("sent", |it| it.sent_per_sec)],
    };
    let latency = Plot {
        title: "Latency over time",
        x,
        y: Axis { name: "latency", scale: Scale::Log, words: |time| trimmed(micros(time)) },
        series: vec![line("p50", |it| it.p50_micros), line("p99", |it| it.p99_micros), line("max", |it| it.max_micros)],
    };
    let connects = Plot {
        title: "Connects over time",
        x,
        y: rate("connects a second"),
        series: vec![line("connects", |it| it.connects_per_sec)],
    };
    let is_worth_it = |plot: &Plot<'_>| plot.series.iter().flat_map(|line| &line.points).any(|point| point.1 > 0.0);
    [messages, latency, connects].into_iter().filter(is_worth_it).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Faults;

    fn assert_self_contained(html: &str) {
        for outside in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf "), "{html}");
    }

    #[test]
    fn one_run_has_its_figures_and_plots() {
        let html = page(&[Summary::example(|_| {})]);
        assert_self_contained(&html);
        assert_eq!(html.matches("<svg").count(), 3);
        for words in ["<title>p2p, 500 pairs</title>", "90.0 k", "QoS kept", "99.9 %", "seconds of the measurement"] {
            assert!(html.contains(words), "{words}");
        }
        assert!(!html.contains("Connects over time"));
    }

    #[test]
    fn several_runs_are_side_by_side_first() {
        let broken = Summary::example(|outcome| {
            (outcome.messages.faults, outcome.messages.broken) = (Faults { lost: 3, ..Faults::default() }, 3);
        });
        let runs = vec![Summary::example(|_| {}), broken];
        let html = page(&runs);
        assert_self_contained(&html);
        assert_eq!((html.matches("<section").count(), html.matches("<svg").count()), (3, 7));
        assert!(html.contains(r##"<a href="#run1">"##) && html.contains(r#"<section id="run1">"#));
        assert!(html.contains("QoS broken") && html.contains("3 of the faults break what QoS 1 promises"));
        // No more lines in a plot than there are colours.
        assert_eq!(page(&vec![runs[0].clone(); 9]).matches("<svg").count(), 2 + 9 * 3);
    }

    #[test]
    fn a_run_of_nothing_is_a_page_too() {
        let nothing = Summary::example(|outcome| {
            outcome.messages.latency.reset();
            outcome.connects.latency.reset();
            (outcome.messages.sent, outcome.messages.received, outcome.messages.due) = (0, 0, 0);
            outcome.samples.clear();
        });
        let html = page(&[nothing]);
        assert_self_contained(&html);
        assert!(!html.contains("<svg") && html.contains("connects/s"));
        assert_self_contained(&page(&[]));
    }

    #[test]
    fn names_and_words_are_text_wherever_they_stand() {
        let bad = r#"</title><script>alert("1")</script>'&"#;
        let hostile = Summary::example(|outcome| (outcome.name, outcome.failures) = (bad.into(), vec![bad.into()]));
        for html in [page(std::slice::from_ref(&hostile)), page(&[hostile.clone(), hostile])] {
            assert_self_contained(&html);
            assert!(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;"));
        }
    }

    #[test]
    fn figures_on_an_axis_have_no_digits_that_say_nothing() {
        let cases = [("10.0 ms", "10 ms"), ("5.00 us", "5 us"), ("100 k", "100 k"), ("2.50 k", "2.5 k"), ("0", "0")];
        cases.iter().for_each(|&(words, expected)| assert_eq!(trimmed(words.into()), expected));
    }

    #[test]
    fn percentiles_have_as_many_nines_as_they_need() {
        let cases = [(1.0, "0 %"), (2.0, "50 %"), (10.0, "90 %"), (1_000.0, "99.9 %"), (1e7, "99.99999 %")];
        cases.iter().for_each(|&(rarity, words)| assert_eq!(percentile(rarity), words));
    }
}
