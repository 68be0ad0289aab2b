//! Brokers side by side: each is started for each scenario and each round, pinned to one core, measured by this
//! program on another core, and stopped; in each round and scenario each has its turn, in alternating order.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::broker_process::BrokerProcess;
use crate::comparison::{Comparison, Entry, Turn};
use crate::disk::SyncTimes;
use crate::output::Destinations;
use crate::peers::{self, Peer, Reach};
use crate::scenarios::{DURABLE, MORE, Scenario, Subject, TABLE, WRAPPED};
use crate::summary::Summary;
use crate::usage::{Usage, core_busy};

/// What a run may take besides its duration: connecting, and what comes late.
const EXTRA_TIME_MAX: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Set {
    /// A few scenarios that take a short time
    Quick,
    /// The speed table
    Table,
    /// What it costs to keep things on the disk: durable sessions, with the brokers that do, and Thrum without a store.
    /// The disk is that of the folder for temporary files (TMPDIR)
    Durable,
    /// What TLS costs: some of the speed table by TLS, with a certificate made for it (ECDSA, P-256)
    Tls,
    /// The same by WebSocket
    Ws,
    /// The same by WebSocket over TLS
    Wss,
}

impl Set {
    const fn reach(self) -> Reach {
        match self {
            Self::Quick | Self::Table | Self::Durable => Reach::Plain,
            Self::Tls => Reach::Tls,
            Self::Ws => Reach::WebSocket,
            Self::Wss => Reach::SecureWebSocket,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Scenarios to run, by name
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// Scenarios to run where none is named
    #[arg(long, value_enum, default_value = "quick")]
    pub set: Set,
    /// List all scenarios and brokers, and run nothing
    #[arg(long)]
    pub list: bool,
    /// Brokers to compare, by name; without it mosquitto and thrum, and those of the file of peers (in the set durable:
    /// mosquitto-durable, thrum-durable and thrum)
    #[arg(long = "broker", short = 'b', value_name = "NAME")]
    pub brokers: Vec<String>,
    /// File of start commands of other brokers, such as loadgen/peers.toml
    #[arg(long, value_name = "FILE")]
    pub peers: Option<PathBuf>,
    /// Program of Thrum; without it the one beside this program
    #[arg(long, value_name = "FILE")]
    pub thrum: Option<PathBuf>,
    /// Program of Mosquitto
    #[arg(long, value_name = "FILE", default_value = "mosquitto")]
    pub mosquitto: PathBuf,
    /// The broker that the others are measured by; where there is none of this name, the first
    #[arg(long, default_value = "mosquitto")]
    pub base: String,
    /// Turns of each broker in each scenario
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Core of the broker
    #[arg(long, default_value_t = 0)]
    pub broker_core: usize,
    /// Core of the generator
    #[arg(long, default_value_t = 1)]
    pub core: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    pub duration: f64,
    /// Seconds before it that do not count
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Write the tables in Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

/// Says whether all went well.
pub fn run(options: &Options, to: &Destinations) -> Result<bool, String> {
    if to.html.is_some() {
        return Err("a comparison has no page: --html is for one run".into());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let peers = known_peers(options, &own)?;
    if options.list {
        list(&peers).map_err(|error| error.to_string())?;
        return Ok(true);
    }
    let peers = chosen_peers(options, peers)?;
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_over)).map_err(|error| error.to_string())?;
    }
    let (known, skipped) = known_scenarios(options, &own)?;
    let base = peers.iter().find(|peer| peer.name == options.base).unwrap_or(&peers[0]).name.clone();
    let mut bench = Bench { options, own, peers, is_over, entries: Vec::new() };
    bench.prepare(&known);
    let ended = bench.take_all_turns(known.len());
    let comparison = Comparison { base, entries: bench.entries, skipped };
    if comparison.rounds() > 0 || ended.is_ok() {
        write(options, to, &comparison).map_err(|error| format!("the results cannot be written: {error}"))?;
    }
    ended.map(|()| comparison.is_clean())
}

fn known_peers(options: &Options, own: &Path) -> Result<Vec<Peer>, String> {
    let thrum = options.thrum.clone().unwrap_or_else(|| own.with_file_name("thrum"));
    let mut peers = Peer::built_in(&thrum, &options.mosquitto, own);
    if let Some(path) = &options.peers {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read {file}: {error}"))?;
        peers.extend(peers::parse(&file, &text)?);
    }
    Ok(peers)
}

fn chosen_peers(options: &Options, mut peers: Vec<Peer>) -> Result<Vec<Peer>, String> {
    if options.brokers.is_empty() {
        peers.retain(|peer| match options.set {
            Set::Durable => peer.without_store().is_some() || peer.name == "thrum",
            _ => {
                let is_of_set = peer.reach == options.set.reach() && peer.without_store().is_none();
                is_of_set && !peer.name.starts_with("relay")
            }
        });
        // The others are measured by the first.
        peers.sort_by_key(|peer| options.set == Set::Durable && peer.without_store().is_none());
        return Ok(peers);
    }
    let find = |name: &String| {
        let found = peers.iter().find(|peer| peer.name == *name).cloned();
        found.ok_or_else(|| format!("there is no broker {name}: see --list, and --peers"))
    };
    options.brokers.iter().map(find).collect()
}

type Skipped = Vec<(&'static Scenario, String)>;

/// Those that this generator can run, and those that it cannot.
fn known_scenarios(options: &Options, own: &Path) -> Result<(Vec<&'static Scenario>, Skipped), String> {
    let find = |name: &String| {
        Scenario::named(name).ok_or_else(|| format!("there is no scenario {name}: --list tells which there are"))
    };
    let wanted: Vec<&Scenario> = match options.set {
        _ if !options.scenarios.is_empty() => options.scenarios.iter().map(find).collect::<Result<_, _>>()?,
        Set::Quick => TABLE.iter().filter(|scenario| scenario.is_quick).collect(),
        Set::Table => TABLE.iter().collect(),
        Set::Durable => DURABLE.iter().collect(),
        Set::Tls | Set::Ws | Set::Wss => WRAPPED.iter().filter_map(|&name| Scenario::named(name)).collect(),
    };
    let (mut known, mut skipped) = (Vec::new(), Vec::new());
    for scenario in wanted {
        match refusal(scenario, own).map_err(|error| error.to_string())? {
            None => known.push(scenario),
            Some(why) => skipped.push((scenario, why)),
        }
    }
    Ok((known, skipped))
}

/// Why the generator does not understand what a scenario asks for, if it does not: it is asked to explain just that.
fn refusal(scenario: &Scenario, own: &Path) -> io::Result<Option<String>> {
    let output = Command::new(own).args(scenario.arguments.split_whitespace()).arg("--help").output()?;
    let words = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
    Ok((!output.status.success()).then(|| format!("this generator cannot run it yet ({words})")))
}

fn list(peers: &[Peer]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "scenarios (t: in the set table, q: in the set quick, d: in the set durable):")?;
    for scenario in TABLE.iter().chain(DURABLE).chain(MORE) {
        let sets = match scenario {
            _ if scenario.is_quick => "tq",
            _ if TABLE.contains(scenario) => "t",
            _ if DURABLE.contains(scenario) => "d",
            _ => "",
        };
        writeln!(out, "  {:2} {:16} {}", sets, scenario.name, scenario.words)?;
    }
    writeln!(out, "brokers:")?;
    peers.iter().try_for_each(|peer| writeln!(out, "  {:16} {}", peer.name, peer.command.join(" ")))
}

/// A comparison under way.
struct Bench<'a> {
    options: &'a Options,
    own: PathBuf,
    peers: Vec<Peer>,
    is_over: Arc<AtomicBool>,
    /// Scenario by scenario, the peers of each in their order.
    entries: Vec<Entry>,
}

impl Bench<'_> {
    fn prepare(&mut self, scenarios: &[&'static Scenario]) {
        for scenario in scenarios {
            for peer in &self.peers {
                self.entries.push(Entry { scenario, broker: peer.name.clone(), turns: Vec::new() });
            }
        }
    }

    /// What was measured before an error stays.
    fn take_all_turns(&mut self, scenarios: usize) -> Result<(), String> {
        for round in 0..self.options.rounds {
            for scenario in 0..scenarios {
                self.take_turns(round, scenario)?;
            }
        }
        Ok(())
    }

    /// Who was first is last the next time.
    fn take_turns(&mut self, round: usize, scenario: usize) -> Result<(), String> {
        let count = self.peers.len();
        for turn in 0..count {
            let index = if (round + scenario).is_multiple_of(2) { turn } else { count - 1 - turn };
            let entry = scenario * count + index;
            let scenario = self.entries[entry].scenario;
            let turn = self.turn(&self.peers[index], scenario)?;
            if io::stderr().is_terminal() {
                let name = &self.peers[index].name;
                eprintln!(
                    "round {} of {}, {}, {name}: {}",
                    round + 1,
                    self.options.rounds,
                    scenario.name,
                    turn.words()
                );
            }
            self.entries[entry].turns.push(turn);
        }
        Ok(())
    }

    /// An error ends the comparison; what is the broker's own failure is part of the result, but not that it never starts.
    fn turn(&self, peer: &Peer, scenario: &Scenario) -> Result<Turn, String> {
        let mut broker = match BrokerProcess::start(peer, self.options.broker_core, &self.is_over) {
            Ok(broker) => broker,
            Err(error) if self.has_started(peer) && !self.is_over.load(Ordering::Relaxed) => {
                return Ok(Turn::failed(error));
            }
            Err(error) => return Err(error),
        };
        let syncs = (scenario.subject == Subject::DurableMessages)
            .then(|| SyncTimes::measure(broker.folder(), scenario.pause()));
        let syncs = syncs.transpose().map_err(|error| format!("a sync cannot be measured: {error}"))?;
        let before = self.cores_used(&broker);
        let summary = self.measure(peer, &broker, scenario)?;
        let after = self.cores_used(&broker);
        if let Some(how) = broker.how_it_ended() {
            return Ok(Turn::failed(format!("it {how}: {}", broker.output())));
        }
        Ok(match summary {
            Ok(summary) => Turn::of(&summary, scenario.subject, before.foreign_share(&after)).with_syncs(syncs),
            Err(error) => Turn::failed(error),
        })
    }

    fn has_started(&self, peer: &Peer) -> bool {
        self.entries.iter().any(|entry| entry.broker == peer.name && !entry.turns.is_empty())
    }

    fn cores_used(&self, broker: &BrokerProcess) -> CoresUsed {
        let mut cores = vec![self.options.broker_core, self.options.core];
        cores.dedup();
        CoresUsed {
            at: Instant::now(),
            cores: cores.len() as u32,
            busy: cores.into_iter().filter_map(core_busy).sum(),
            ours: Usage::of(broker.pid).unwrap_or_default().cpu + Usage::own_children_cpu(),
        }
    }

    /// Runs this program. The inner error is about this one measurement.
    fn measure(
        &self,
        peer: &Peer,
        broker: &BrokerProcess,
        scenario: &Scenario,
    ) -> Result<Result<Summary, String>, String> {
        let failed = |error: io::Error| format!("cannot run {}: {error}", self.own.display());
        let (mut output, mut errors) = (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
        let mut command = Command::new(&self.own);
        command.args(scenario.arguments.split_whitespace()).args(["--json", "-"]);
        command.args(["--broker", &broker.address.to_string(), "--pid", &broker.pid.to_string()]);
        command.args(["--core", &self.options.core.to_string()]).args(peer.reach.arguments());
        if !scenario.is_counted {
            let Options { duration, warm_up, .. } = self.options;
            command.args(["--duration", &duration.to_string(), "--warm-up", &warm_up.to_string()]);
        }
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().map_err(failed)?).stderr(errors.try_clone().map_err(failed)?);
        let in_time = self.wait(command.spawn().map_err(failed)?).map_err(failed)?;
        if self.is_over.load(Ordering::Relaxed) {
            return Err("ended before all was measured".into());
        }
        let (output, errors) = (text(&mut output).map_err(failed)?, text(&mut errors).map_err(failed)?);
        let summary = output.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        Ok(summary.ok_or_else(|| match errors.trim() {
            _ if !in_time => "the generator did not come to an end in time".into(),
            "" => "the generator gave no figures".into(),
            errors => errors.replace('\n', "; "),
        }))
    }

    /// Until it ends, or has to. True: by itself.
    fn wait(&self, mut child: Child) -> io::Result<bool> {
        let end =
            Instant::now() + Duration::from_secs_f64(self.options.duration + self.options.warm_up) + EXTRA_TIME_MAX;
        while child.try_wait()?.is_none() {
            if self.is_over.load(Ordering::Relaxed) || Instant::now() > end {
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(true)
    }
}

/// All that was written to a file.
fn text(file: &mut File) -> io::Result<String> {
    io::Seek::rewind(file)?;
    io::read_to_string(file)
}

/// What the cores of broker and generator had done at a time.
struct CoresUsed {
    at: Instant,
    cores: u32,
    busy: Duration,
    ours: Duration,
}

impl CoresUsed {
    fn foreign_share(&self, later: &Self) -> f64 {
        let foreign = (later.busy - self.busy).saturating_sub(later.ours - self.ours);
        foreign.as_secs_f64() / ((later.at - self.at) * self.cores).as_secs_f64()
    }
}

fn write(options: &Options, to: &Destinations, comparison: &Comparison) -> io::Result<()> {
    let tables = comparison.to_string();
    if let Some(path) = &options.markdown {
        fs::write(path, &tables)?;
    }
    match &to.json {
        Some(path) if path.as_os_str() == "-" => {
            io::stderr().write_all(tables.as_bytes())?;
            return io::stdout().write_all(comparison.json_lines().as_bytes());
        }
        Some(path) => {
            File::options().create(true).append(true).open(path)?.write_all(comparison.json_lines().as_bytes())?
        }
        None => {}
    }
    io::stdout().write_all(tables.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_brokers_nor_generators_is_others() {
        let secs = Duration::from_secs;
        let before = CoresUsed { at: Instant::now(), cores: 2, busy: secs(10), ours: secs(5) };
        let after = CoresUsed { at: before.at + secs(10), busy: secs(28), ours: secs(21), ..before };
        assert_eq!(before.foreign_share(&after), 0.1);
        let after = CoresUsed { ours: secs(30), ..after };
        assert_eq!(before.foreign_share(&after), 0.0);
    }
}
