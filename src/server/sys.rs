//! What the broker tells of itself on `$SYS/broker/...`: the names and meanings of Mosquitto, and a few of our own below
//! `thrum/`. One table of topics, each with the way to read it from the sum of all shards.

use super::memory::HeapBytes;
use crate::base::{DropReason, Refusal, Timestamp};
use crate::broker::ShardStats;
use crate::mqtt::TopicName;

/// What the numbers are read from.
#[derive(Clone, Copy)]
struct Seen<'a> {
    total: &'a ShardStats,
    memory: HeapBytes,
    uptime_secs: u64,
    /// Sessions, at the most that any update has seen.
    clients_maximum: u64,
}

type Number = fn(&Seen<'_>) -> u64;
type Count = fn(&ShardStats) -> u64;

/// A message counts as stored for each session that holds it, and once more where it is retained; its bytes are those
/// that the bounds on queues and retained messages count.
const NUMBERS: [(&str, Number); 43] = [
    ("clients/total", |seen| seen.total.sessions),
    ("clients/maximum", |seen| seen.clients_maximum),
    ("clients/connected", |seen| seen.total.sessions_connected),
    ("clients/active", |seen| seen.total.sessions_connected),
    ("clients/disconnected", clients_disconnected),
    ("clients/inactive", clients_disconnected),
    ("clients/expired", |seen| seen.total.counters.sessions_expired),
    ("messages/stored", messages_stored),
    ("messages/received", |seen| seen.total.counters.packets_received),
    ("messages/sent", |seen| seen.total.counters.packets_sent),
    ("store/messages/count", messages_stored),
    ("store/messages/bytes", |seen| seen.total.held.bytes + seen.total.retained.bytes),
    ("subscriptions/count", |seen| seen.total.subscriptions),
    ("shared_subscriptions/count", |seen| seen.total.shared_subscriptions),
    ("retained messages/count", |seen| seen.total.retained.messages),
    ("heap/current", |seen| seen.memory.current),
    ("heap/maximum", |seen| seen.memory.maximum),
    ("bytes/received", |seen| seen.total.bytes_received),
    ("bytes/sent", |seen| seen.total.bytes_sent),
    ("publish/bytes/received", |seen| seen.total.counters.publish_bytes_received),
    ("publish/bytes/sent", |seen| seen.total.counters.publish_bytes_sent),
    ("publish/messages/dropped", |seen| publishes_dropped(seen.total)),
    ("publish/messages/received", |seen| seen.total.counters.publishes_received),
    ("publish/messages/sent", |seen| seen.total.counters.publishes_sent),
    ("packet/out/count", |seen| packets_waiting(seen.total)),
    ("packet/out/bytes", |seen| seen.total.output_bytes_waiting),
    ("connections/socket/count", |seen| seen.total.sockets_opened),
    ("thrum/connections/socket/open", |seen| seen.total.sockets_open),
    ("thrum/mesh/publishes/sent", |seen| seen.total.counters.mesh_publishes_sent),
    ("thrum/retained messages/bytes", |seen| seen.total.retained.bytes),
    ("thrum/dropped", |seen| seen.total.counters.dropped_in_all()),
    ("thrum/shards", |seen| seen.total.shards),
    ("thrum/throttled", |seen| seen.total.counters.throttled),
    ("thrum/load/delay_ms", |seen| seen.total.load.delay_ms),
    ("thrum/load/delay_ms_max", |seen| seen.total.load.delay_ms_max),
    ("thrum/load/shards_overloaded", |seen| seen.total.load.overloaded),
    ("thrum/store/commits", |seen| seen.total.journal.commits),
    ("thrum/store/records", |seen| seen.total.journal.records),
    ("thrum/store/bytes", |seen| seen.total.journal.bytes),
    ("thrum/store/bytes_waiting", |seen| seen.total.journal.bytes_waiting),
    ("thrum/store/segments", |seen| seen.total.journal.segments),
    ("thrum/store/sync_us_max", |seen| seen.total.journal.sync_us_max),
    ("thrum/store/failing", |seen| seen.total.journal.failing),
];

/// What there is a load of: how much of it a minute brings.
const LOADS: [(&str, Count); 9] = [
    ("messages/received", |total| total.counters.packets_received),
    ("messages/sent", |total| total.counters.packets_sent),
    ("publish/dropped", publishes_dropped),
    ("publish/received", |total| total.counters.publishes_received),
    ("publish/sent", |total| total.counters.publishes_sent),
    ("bytes/received", |total| total.bytes_received),
    ("bytes/sent", |total| total.bytes_sent),
    ("sockets", |total| total.sockets_opened),
    ("connections", |total| total.counters.connects_received),
];

const LOAD_MINUTES: [u32; 3] = [1, 5, 15];

fn clients_disconnected(seen: &Seen<'_>) -> u64 {
    seen.total.sessions - seen.total.sessions_connected
}

fn messages_stored(seen: &Seen<'_>) -> u64 {
    seen.total.held.messages + seen.total.retained.messages
}

/// As Mosquitto means it: because a queue or a socket was full. `thrum/dropped` has all.
fn publishes_dropped(total: &ShardStats) -> u64 {
    DropReason::NO_ROOM.into_iter().map(|reason| total.counters.dropped(reason)).sum()
}

/// An estimate: output is bytes, in which nobody counts packets, so it is taken to be of packets of the usual size.
fn packets_waiting(total: &ShardStats) -> u64 {
    let all = u128::from(total.counters.packets_sent) * u128::from(total.output_bytes_waiting);
    all.div_ceil(u128::from(total.counters.output_bytes.max(1))) as u64
}

/// The topics, and what was said last on each.
#[derive(Debug)]
pub(super) struct SysTopics {
    topics: Vec<SysTopic>,
    started: Timestamp,
    updated: Timestamp,
    clients_maximum: u64,
}

#[derive(Debug)]
struct SysTopic {
    name: String,
    source: Source,
    /// Empty before the first time.
    said: String,
}

/// Where a topic's text comes from.
#[derive(Debug)]
enum Source {
    Version(String),
    UptimeSecs,
    Number(Number),
    Dropped(DropReason),
    Refused(Refusal),
    Load { count: Count, load: Load },
}

impl SysTopics {
    /// `now` is when the broker started.
    pub(super) fn new(version: &str, now: Timestamp) -> Self {
        let own = [("version", Source::Version(format!("thrum version {version}"))), ("uptime", Source::UptimeSecs)];
        let own = own.map(|(name, source)| SysTopic::new(name, source));
        let numbers = NUMBERS.map(|(name, number)| SysTopic::new(name, Source::Number(number)));
        let dropped = DropReason::NAMES
            .map(|(reason, name)| SysTopic::new(&format!("thrum/dropped/{name}"), Source::Dropped(reason)));
        let refused = Refusal::NAMES
            .map(|(refusal, name)| SysTopic::new(&format!("thrum/refused/{name}"), Source::Refused(refusal)));
        let loads = LOADS.into_iter().flat_map(|(name, count)| {
            LOAD_MINUTES.map(|minutes| {
                let load = Load { minutes, ..Load::default() };
                SysTopic::new(&format!("load/{name}/{minutes}min"), Source::Load { count, load })
            })
        });
        let topics = own.into_iter().chain(numbers).chain(dropped).chain(refused).chain(loads).collect();
        Self { topics, started: now, updated: now, clients_maximum: 0 }
    }

    /// Publishes what has changed: the first time everything.
    pub(super) fn update(
        &mut self,
        now: Timestamp,
        total: &ShardStats,
        memory: HeapBytes,
        mut publish: impl FnMut(TopicName<'_>, &[u8]),
    ) {
        let elapsed_secs = (now - self.updated).0 as f64 / 1000.0;
        self.updated = now;
        self.clients_maximum = self.clients_maximum.max(total.sessions);
        let (uptime_secs, clients_maximum) = ((now - self.started).0 / 1000, self.clients_maximum);
        let seen = Seen { total, memory, uptime_secs, clients_maximum };
        for topic in &mut self.topics {
            let text = topic.source.text(&seen, elapsed_secs);
            if text != topic.said {
                publish(TopicName::trusted(&topic.name), text.as_bytes());
                topic.said = text;
            }
        }
    }
}

impl SysTopic {
    fn new(name: &str, source: Source) -> Self {
        Self { name: format!("$SYS/broker/{name}"), source, said: String::new() }
    }
}

impl Source {
    fn text(&mut self, seen: &Seen<'_>, elapsed_secs: f64) -> String {
        match self {
            Self::Version(version) => version.clone(),
            Self::UptimeSecs => format!("{} seconds", seen.uptime_secs),
            Self::Number(number) => number(seen).to_string(),
            Self::Dropped(reason) => seen.total.counters.dropped(*reason).to_string(),
            Self::Refused(refusal) => seen.total.counters.refused(*refusal).to_string(),
            Self::Load { count, load } => format!("{:.2}", load.update(count(seen.total), elapsed_secs)),
        }
    }
}

/// How much of something a minute brings, averaged over some minutes: what was before fades as e^(-time / minutes), and
/// what came since takes its place, so that a steady rate is told as it is, however often the average is updated.
#[derive(Default, Debug)]
struct Load {
    minutes: u32,
    count: u64,
    per_minute: f64,
}

impl Load {
    fn update(&mut self, count: u64, elapsed_secs: f64) -> f64 {
        if elapsed_secs > 0.0 {
            let rate = count.saturating_sub(self.count) as f64 * 60.0 / elapsed_secs;
            let kept = (-elapsed_secs / (60.0 * f64::from(self.minutes))).exp();
            self.per_minute = rate + kept * (self.per_minute - rate);
            self.count = count;
        }
        self.per_minute
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::{Counters, Millis};
    use crate::broker::{Held, JournalStats, LoadStats};

    const START: Timestamp = Timestamp(1_700_000_000_000);
    const MEMORY: HeapBytes = HeapBytes { current: 5, maximum: 6 };

    /// What Mosquitto's users look for.
    const EXPECTED: &str = "version, uptime, clients/{total,maximum,connected,disconnected,expired,active,inactive},
        messages/{stored,received,sent}, store/messages/{count,bytes}, subscriptions/count, shared_subscriptions/count,
        retained messages/count, heap/{current,maximum}, bytes/{received,sent}, publish/bytes/{received,sent},
        publish/messages/{dropped,received,sent}, packet/out/{count,bytes}, connections/socket/count,
        load/{messages/received,messages/sent,publish/dropped,publish/received,publish/sent}/{1,5,15}min,
        load/{bytes/received,bytes/sent,sockets,connections}/{1,5,15}min";

    fn without_braces(text: &str) -> Vec<String> {
        let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
        let (choices, after) = rest.split_once('}').unwrap();
        choices.split(',').flat_map(|choice| without_braces(&format!("{before}{choice}{after}"))).collect()
    }

    fn expected() -> Vec<String> {
        let lines = EXPECTED.split(",\n").flat_map(|line| line.split(", "));
        lines.flat_map(|text| without_braces(text.trim())).map(|name| format!("$SYS/broker/{name}")).collect()
    }

    fn said(sys: &mut SysTopics, after_secs: u32, total: &ShardStats) -> BTreeMap<String, String> {
        let mut said = BTreeMap::new();
        sys.update(START + Millis::from_secs(after_secs), total, MEMORY, |topic, payload| {
            let text = String::from_utf8(payload.to_vec()).unwrap();
            assert_eq!(said.insert(topic.as_str().to_owned(), text), None, "{topic:?} is there twice");
        });
        said
    }

    #[test]
    fn the_first_time_says_every_name_of_mosquitto_and_else_only_our_own() {
        let said = said(&mut SysTopics::new("0.1.0", START), 0, &ShardStats::default());
        let expected = expected();
        assert_eq!(expected.len(), 56);
        for name in &expected {
            assert!(said.contains_key(name), "{name}");
        }
        let own = said.keys().filter(|name| !expected.contains(name));
        assert_eq!(own.clone().count(), 16 + DropReason::COUNT + Refusal::COUNT);
        own.for_each(|name| assert!(name.starts_with("$SYS/broker/thrum/"), "{name}"));
        assert!(said.keys().all(|name| TopicName::new(name).is_ok()));
        assert!(said.contains_key("$SYS/broker/thrum/dropped/queue_full_oldest"));
        assert!(said.contains_key("$SYS/broker/thrum/refused/reserved_topic"));
    }

    #[test]
    fn the_shards_are_summed_and_each_number_has_its_topic() {
        let mut counters = Counters::default();
        (counters.packets_received, counters.packets_sent, counters.publishes_received) = (1, 2, 3);
        (counters.publishes_sent, counters.publish_bytes_received, counters.publish_bytes_sent) = (4, 5, 6);
        (counters.mesh_publishes_sent, counters.sessions_expired, counters.output_bytes) = (7, 8, 40);
        for reason in [DropReason::QueueFullNewest, DropReason::QosZeroSlow, DropReason::Expired] {
            counters.drop_message(reason);
        }
        counters.refuse(Refusal::BadPacket);
        let shard = ShardStats {
            counters,
            shards: 1,
            sessions: 10,
            sessions_connected: 7,
            subscriptions: 11,
            shared_subscriptions: 12,
            held: Held { messages: 13, bytes: 1_300 },
            retained: Held { messages: 14, bytes: 1_400 },
            output_bytes_waiting: 21,
            bytes_received: 15,
            bytes_sent: 16,
            sockets_open: 17,
            sockets_opened: 18,
            journal: JournalStats {
                commits: 22,
                records: 23,
                bytes: 24,
                bytes_waiting: 25,
                segments: 26,
                sync_us_max: 27,
                failing: 1,
            },
            load: LoadStats { delay_ms: 28, delay_ms_max: 29, overloaded: 1 },
        };
        let mut total = ShardStats::default();
        total.add(&shard);
        total.add(&shard);
        let said = said(&mut SysTopics::new("0.1.0", START), 123, &total);
        for (name, text) in [
            ("version", "thrum version 0.1.0"),
            ("uptime", "123 seconds"),
            ("clients/total", "20"),
            ("clients/maximum", "20"),
            ("clients/connected", "14"),
            ("clients/active", "14"),
            ("clients/disconnected", "6"),
            ("clients/inactive", "6"),
            ("clients/expired", "16"),
            ("messages/stored", "54"),
            ("messages/received", "2"),
            ("messages/sent", "4"),
            ("store/messages/count", "54"),
            ("store/messages/bytes", "5400"),
            ("subscriptions/count", "22"),
            ("shared_subscriptions/count", "24"),
            ("retained messages/count", "28"),
            ("heap/current", "5"),
            ("heap/maximum", "6"),
            ("bytes/received", "30"),
            ("bytes/sent", "32"),
            ("publish/bytes/received", "10"),
            ("publish/bytes/sent", "12"),
            ("publish/messages/dropped", "4"),
            ("publish/messages/received", "6"),
            ("publish/messages/sent", "8"),
            // 42 bytes, where a packet has 20 on average.
            ("packet/out/count", "3"),
            ("packet/out/bytes", "42"),
            ("connections/socket/count", "36"),
            ("thrum/connections/socket/open", "34"),
            ("thrum/mesh/publishes/sent", "14"),
            ("thrum/retained messages/bytes", "2800"),
            ("thrum/dropped", "6"),
            ("thrum/dropped/expired", "2"),
            ("thrum/refused/bad_packet", "2"),
            ("thrum/shards", "2"),
            ("thrum/store/commits", "44"),
            ("thrum/store/records", "46"),
            ("thrum/store/bytes", "48"),
            ("thrum/store/bytes_waiting", "50"),
            ("thrum/store/segments", "52"),
            ("thrum/store/sync_us_max", "27"),
            ("thrum/store/failing", "2"),
            ("thrum/throttled", "0"),
            ("thrum/load/delay_ms", "28"),
            ("thrum/load/delay_ms_max", "29"),
            ("thrum/load/shards_overloaded", "2"),
        ] {
            assert_eq!(said[&format!("$SYS/broker/{name}")], text, "{name}");
        }
    }

    #[test]
    fn afterwards_only_what_has_changed_is_said() {
        let mut sys = SysTopics::new("0.1.0", START);
        let mut total = ShardStats { sessions: 5, ..ShardStats::default() };
        said(&mut sys, 0, &total);
        assert_eq!(said(&mut sys, 0, &total), BTreeMap::new());
        total.sessions = 3;
        let changed = said(&mut sys, 10, &total);
        let names: Vec<&str> = changed.keys().map(|name| name.trim_start_matches("$SYS/broker/")).collect();
        assert_eq!(names, ["clients/disconnected", "clients/inactive", "clients/total", "uptime"], "not the maximum");
        total.sessions = 6;
        assert_eq!(said(&mut sys, 20, &total)["$SYS/broker/clients/maximum"], "6");
    }

    // By hand: 100 in 10 seconds are 600 a minute; 600 * (1 - e^(-1/6)) = 92.11, with e^(-1/30) 19.67, with e^(-1/90)
    // 6.63. Then nothing for 60 seconds: 92.11 / e = 33.89, 19.67 * e^(-1/5) = 16.10, 6.63 * e^(-1/15) = 6.20.
    #[test]
    fn loads_rise_and_fade_as_computed_by_hand() {
        let mut sys = SysTopics::new("0.1.0", START);
        let total = ShardStats { bytes_sent: 100, ..ShardStats::default() };
        let loads = |said: BTreeMap<String, String>| {
            LOAD_MINUTES.map(|minutes| said[&format!("$SYS/broker/load/bytes/sent/{minutes}min")].clone())
        };
        assert_eq!(loads(said(&mut sys, 10, &total)), ["92.11", "19.67", "6.63"]);
        assert_eq!(loads(said(&mut sys, 70, &total)), ["33.89", "16.10", "6.20"]);
    }

    #[test]
    fn a_steady_rate_is_told_as_it_is_however_often_one_looks() {
        for interval_secs in [1, 10, 100] {
            let mut load = Load { minutes: 5, ..Load::default() };
            let updates = 7_200 / interval_secs;
            let loads: Vec<f64> =
                (1..=updates).map(|number| load.update(number * 3 * interval_secs, interval_secs as f64)).collect();
            assert!(loads.is_sorted(), "from below");
            assert!((loads[loads.len() - 1] - 180.0).abs() < 0.01, "{loads:?}");
        }
    }
}
