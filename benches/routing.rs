//! What it costs to find who wants a message, among a million filters: time per look-up, bytes per filter.
//! Topics come at random over all filters, so that the figures are those of cold caches.

mod allocator;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use thrum::base::ShardId;
use thrum::mqtt::{QoS, TopicFilter, TopicName};
use thrum::routing::{
    Choice, FilterIndex, InterestIndex, Matches, RetainedCursor, RetainedIndex, SharedGroups, Subscriber,
    SubscriptionOptions, TopicHasher,
};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const FILTERS: u32 = 1_000_000;

const OPTIONS: SubscriptionOptions =
    SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };

fn exact_text(site: u32) -> String {
    format!("plant/{:03}/device/{site:07}/temperature", site % 1000)
}

/// Texts in one piece, in the order they are used: reading the next one is no cache miss of the bench's own.
struct Topics {
    text: String,
    ends: Vec<usize>,
    at: usize,
}

impl Topics {
    fn shuffled(text_of: impl Fn(u32) -> String) -> Self {
        let mut order: Vec<u32> = (0..FILTERS).collect();
        let mut state = 1u64;
        for at in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
        let (mut text, mut ends) = (String::new(), vec![0]);
        for site in order {
            text.push_str(&text_of(site));
            ends.push(text.len());
        }
        Self { text, ends, at: 0 }
    }

    fn next(&mut self) -> TopicName<'_> {
        self.at = if self.at + 2 == self.ends.len() { 0 } else { self.at + 1 };
        TopicName::trusted(&self.text[self.ends[self.at]..self.ends[self.at + 1]])
    }
}

fn report(what: &str, live_before: usize, allocations_before: usize) {
    let bytes = (allocator::live_bytes() - live_before) as f64 / f64::from(FILTERS);
    let allocations = (allocator::allocations() - allocations_before) as f64 / f64::from(FILTERS);
    eprintln!("{what}: {bytes:.1} bytes, {allocations:.3} allocations each");
}

fn subscribed(what: &str, text_of: impl Fn(u32) -> String) -> FilterIndex {
    // The texts' own allocations are made before, so that only the index's are counted.
    let texts: Vec<String> = (0..FILTERS).map(text_of).collect();
    let (live, allocations) = (allocator::live_bytes(), allocator::allocations());
    let mut index = FilterIndex::new(1);
    let started = std::time::Instant::now();
    for (slot, text) in (0..).zip(&texts) {
        index.subscribe(TopicFilter::trusted(text), Subscriber::session(slot), OPTIONS);
    }
    let each = started.elapsed() / FILTERS;
    report(what, live, allocations);
    eprintln!("{what}: subscribed in {each:?} each");
    index
}

/// As a shard looks for subscribers, the hash of the topic included.
fn find(index: &FilterIndex, topic: TopicName<'_>, matches: &mut Matches) {
    index.matches(topic, index.hash(topic), None, matches);
}

fn exact(criterion: &mut Criterion) {
    let mut index = subscribed("exact filter", exact_text);
    let mut topics = Topics::shuffled(exact_text);
    let mut matches = Matches::new();
    criterion.bench_function("match/exact in 1M", |bencher| {
        bencher.iter(|| {
            find(&index, topics.next(), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
    let mut missed = Topics::shuffled(|site| exact_text(site).replace("temp", "humi"));
    criterion.bench_function("match/nobody in 1M exact", |bencher| {
        bencher.iter(|| {
            find(&index, missed.next(), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
    for text in ["#", "plant/+/device/#", "+/+/+/+/temperature"] {
        index.subscribe(TopicFilter::trusted(text), Subscriber::session(FILTERS), OPTIONS);
    }
    criterion.bench_function("match/exact in 1M and 3 wildcards", |bencher| {
        bencher.iter(|| {
            find(&index, topics.next(), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
}

fn wildcard(criterion: &mut Criterion) {
    let mut index = subscribed("wildcard filter site/{i}/+/temp", |site| format!("site/{site}/+/temp"));
    let mut topics = Topics::shuffled(|site| format!("site/{site}/device-17/temp"));
    let mut matches = Matches::new();
    criterion.bench_function("match/wildcard in 1M", |bencher| {
        bencher.iter(|| {
            find(&index, topics.next(), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
    for text in ["#", "site/#", "+/+/+/temp"] {
        index.subscribe(TopicFilter::trusted(text), Subscriber::session(FILTERS), OPTIONS);
    }
    criterion.bench_function("match/wildcard in 1M and 3 for all", |bencher| {
        bencher.iter(|| {
            find(&index, topics.next(), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
}

/// Each site has two filters, so that every leaf is split: the trie without its shortcut.
fn wildcard_forked(criterion: &mut Criterion) {
    let kinds = ["temp", "hum"];
    let index = subscribed("wildcard filter, 500k of site/{i}/+/{temp,hum}", |site| {
        format!("site/{}/+/{}", site / 2, kinds[site as usize % 2])
    });
    let mut topics = Topics::shuffled(|site| format!("site/{}/device-17/{}", site / 2, kinds[site as usize % 2]));
    let mut matches = Matches::new();
    criterion.bench_function("match/wildcard in 1M, forked", |bencher| {
        bencher.iter(|| {
            find(&index, topics.next(), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
}

fn fan_out(criterion: &mut Criterion) {
    let mut index = FilterIndex::new(1);
    for slot in 0..1000 {
        index.subscribe(TopicFilter::trusted("news"), Subscriber::session(slot), OPTIONS);
    }
    let mut matches = Matches::new();
    let mut group = criterion.benchmark_group("match/fan-out");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1,000 subscribers of a filter", |bencher| {
        bencher.iter(|| {
            find(&index, TopicName::trusted("news"), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
    index.subscribe(TopicFilter::trusted("#"), Subscriber::session(3), OPTIONS);
    group.bench_function("and one of #", |bencher| {
        bencher.iter(|| {
            find(&index, TopicName::trusted("news"), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
    for slot in 500..1500 {
        index.subscribe(TopicFilter::trusted("+"), Subscriber::session(slot), OPTIONS);
    }
    group.throughput(Throughput::Elements(2000));
    group.bench_function("and 1,000 of +, half the same", |bencher| {
        bencher.iter(|| {
            find(&index, TopicName::trusted("news"), &mut matches);
            black_box(matches.deliveries().len())
        });
    });
}

fn interest(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..FILTERS).map(exact_text).collect();
    let (live, allocations) = (allocator::live_bytes(), allocator::allocations());
    let (mut index, hasher) = (InterestIndex::new(1), TopicHasher::new(1));
    for (site, text) in texts.iter().enumerate() {
        index.add(TopicFilter::trusted(text), ShardId::new(site % 8));
    }
    report("interest in an exact filter", live, allocations);
    index.add(TopicFilter::trusted("plant/+/alarm/#"), ShardId::new(3));
    let mut topics = Topics::shuffled(exact_text);
    criterion.bench_function("interest/exact in 1M and a wildcard", |bencher| {
        bencher.iter(|| {
            let topic = topics.next();
            index.shards(topic, hasher.hash(topic.as_str()))
        });
    });
}

fn retained(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..FILTERS).map(exact_text).collect();
    let (live, allocations) = (allocator::live_bytes(), allocator::allocations());
    let mut index = RetainedIndex::new();
    for (value, text) in (0u32..).zip(&texts) {
        index.put(TopicName::trusted(text), value);
    }
    report("retained topic (of a u32)", live, allocations);
    let mut group = criterion.benchmark_group("retained");
    group.throughput(Throughput::Elements(64));
    for (name, filter) in [("page of 64 of plant/#", "plant/#"), ("page of 64 of +/+/+/+/+", "+/+/+/+/+")] {
        let mut cursor = RetainedCursor::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut sum = 0;
                index.page(TopicFilter::trusted(filter), &mut cursor, 64, 1024, |_, value| sum += value);
                if cursor.done {
                    cursor = RetainedCursor::new();
                }
                sum
            });
        });
    }
    let mut cursor = RetainedCursor::new();
    group.bench_function("page that seeks: plant/+/device/0000500/temperature", |bencher| {
        bencher.iter(|| {
            let filter = TopicFilter::trusted("plant/+/device/0000500/temperature");
            index.page(filter, &mut cursor, 64, 64, |_, value| {
                black_box(value);
            });
            if cursor.done {
                cursor = RetainedCursor::new();
            }
        });
    });
}

fn shared(criterion: &mut Criterion) {
    let mut groups = SharedGroups::new(1);
    let filter = TopicFilter::trusted("jobs/+");
    let session = |slot| thrum::base::SessionRef { shard: ShardId::new(0), slot, generation: 1 };
    for slot in 0..10_000 {
        groups.join("workers", filter, session(slot), OPTIONS, slot % 100 == 0);
    }
    let group = groups.find("workers", filter).expect("the group that was joined");
    for (name, choice) in
        [("round robin", Choice::RoundRobin), ("least", Choice::LeastInFlight), ("sticky", Choice::StickyTopic)]
    {
        let mut hash = 0u64;
        criterion.bench_function(&format!("shared/pick of 10,000, 1% online, {name}"), |bencher| {
            bencher.iter(|| {
                hash = hash.wrapping_add(0x9E37_79B9_7F4A_7C15);
                groups.pick(group, choice, hash, None).map(|member| member.session)
            });
        });
    }
}

/// The yardstick: one read that depends on the one before, anywhere in as much memory as a million filters take. What a
/// cold look-up costs is so many of these.
fn dependent_read(criterion: &mut Criterion) {
    const LINES: usize = 77_000_000 / 64;
    let mut order: Vec<u32> = (0..LINES as u32).collect();
    let mut state = 7u64;
    for at in (1..LINES).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
    // One round through all lines, each holding the place of the next.
    let mut lines = vec![[0u32; 16]; LINES];
    for pair in order.windows(2) {
        lines[pair[0] as usize][0] = pair[1];
    }
    lines[order[LINES - 1] as usize][0] = order[0];
    let mut at = 0;
    criterion.bench_function("yardstick/dependent read in 77 MB", |bencher| {
        bencher.iter(|| {
            at = lines[at as usize][0];
            at
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = dependent_read, exact, wildcard, wildcard_forked, fan_out, interest, retained, shared
}
criterion_main!(benches);
