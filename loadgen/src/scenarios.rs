//! What `compare` can measure, by name: each is a run of this generator, and the figures of it that say something.

use std::time::Duration;

/// What a scenario is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    Messages,
    /// With durable sessions, beside what the disk takes to sync.
    DurableMessages,
    Connects,
    ConnectionMemory,
    SubscriptionMemory,
    RetainedMemory,
}

impl Subject {
    pub const ALL: [Self; 6] = [
        Self::Messages,
        Self::DurableMessages,
        Self::Connects,
        Self::ConnectionMemory,
        Self::SubscriptionMemory,
        Self::RetainedMemory,
    ];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub words: &'static str,
    /// What the generator is asked for.
    pub arguments: &'static str,
    pub subject: Subject,
    /// Whether it takes as long as it takes, so that a duration means nothing to it.
    pub is_counted: bool,
    pub is_quick: bool,
}

impl Scenario {
    const fn new(name: &'static str, words: &'static str, arguments: &'static str) -> Self {
        Self { name, words, arguments, subject: Subject::Messages, is_counted: false, is_quick: false }
    }

    const fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    const fn counted(self) -> Self {
        Self { is_counted: true, ..self }
    }

    const fn quick(self) -> Self {
        Self { is_quick: true, ..self }
    }

    /// Between its messages, where they come at a rate.
    pub fn pause(&self) -> Duration {
        let mut arguments = self.arguments.split(' ').skip_while(|&argument| argument != "--rate");
        let rate = arguments.nth(1).and_then(|rate| rate.parse().ok());
        rate.map_or(Duration::ZERO, |rate: u32| Duration::from_secs(1) / rate)
    }

    pub fn named(name: &str) -> Option<&'static Self> {
        TABLE.iter().chain(DURABLE).chain(MORE).find(|scenario| scenario.name == name)
    }
}

/// The speed table, row by row.
pub const TABLE: &[Scenario] = &[
    Scenario::new(
        "p2p-qos0",
        "50 pairs, 16 B, window 64, 16 a write, QoS 0",
        "p2p --pairs 50 --window 64 --batch 16 -q 0",
    )
    .quick(),
    Scenario::new("p2p-qos1", "the same, QoS 1", "p2p --pairs 50 --window 64 --batch 16 -q 1").quick(),
    Scenario::new("p2p-qos2", "the same, QoS 2", "p2p --pairs 50 --window 64 --batch 16 -q 2").quick(),
    Scenario::new(
        "p2p-wide-qos0",
        "50 pairs, 16 B, window 512, 64 a write, QoS 0",
        "p2p --pairs 50 --window 512 --batch 64 -q 0",
    ),
    Scenario::new("p2p-wide-qos1", "the same, QoS 1", "p2p --pairs 50 --window 512 --batch 64 -q 1"),
    Scenario::new("p2p-wide-qos2", "the same, QoS 2", "p2p --pairs 50 --window 512 --batch 64 -q 2"),
    Scenario::new(
        "p2p-single-qos0",
        "50 pairs, 16 B, window 64, one message a write, QoS 0",
        "p2p --pairs 50 --window 64 --batch 1 -q 0",
    )
    .quick(),
    Scenario::new("p2p-single-qos1", "the same, QoS 1", "p2p --pairs 50 --window 64 --batch 1 -q 1"),
    Scenario::new("p2p-single-qos2", "the same, QoS 2", "p2p --pairs 50 --window 64 --batch 1 -q 2"),
    Scenario::new(
        "fan-in-qos0",
        "100 to 1, 16 B, window 64, 16 a write, QoS 0",
        "fanin --publishers 100 --subscribers 1 --window 64 --batch 16 -q 0",
    )
    .quick(),
    Scenario::new(
        "fan-in-qos1",
        "the same, QoS 1",
        "fanin --publishers 100 --subscribers 1 --window 64 --batch 16 -q 1",
    ),
    Scenario::new(
        "fan-out-qos0",
        "1 to 1,000, 16 B, window 64, 16 a write, QoS 0",
        "fanout --publishers 1 --subscribers 1000 --window 64 --batch 16 -q 0",
    )
    .quick(),
    Scenario::new(
        "fan-out-qos1",
        "the same, QoS 1",
        "fanout --publishers 1 --subscribers 1000 --window 64 --batch 16 -q 1",
    ),
    Scenario::new(
        "fan-out-one-qos0",
        "1 to 1,000, 16 B, one message outstanding, QoS 0",
        "fanout --publishers 1 --subscribers 1000 --window 1 --batch 1 -q 0",
    ),
    Scenario::new(
        "wild-qos0",
        "10 to 100,000 filters with wildcards of 100 subscribers, QoS 0",
        "wild --publishers 10 --subscribers 100 --filters 100000 --window 64 --batch 16 -q 0",
    ),
    Scenario::new("retained-qos0", "fetch 20,000 retained messages, QoS 0", "retained --messages 20000 -q 0").counted(),
    Scenario::new("retained-qos1", "the same, QoS 1", "retained --messages 20000 -q 1").counted(),
    Scenario::new("churn", "connect and disconnect", "churn").about(Subject::Connects),
    Scenario::new("idle", "10,000 idle connections", "conn --clients 10000").about(Subject::ConnectionMemory).counted(),
    Scenario::new("idle-subscribed", "the same, each with a subscription", "conn --clients 10000 --subscribe")
        .about(Subject::ConnectionMemory)
        .counted(),
    Scenario::new(
        "subscriptions",
        "100 connections with 1,000 subscriptions each",
        "conn --clients 100 --filters 1000",
    )
    .about(Subject::SubscriptionMemory)
    .counted(),
    Scenario::new("retained", "100,000 retained messages, 16 B", "retained --messages 100000")
        .about(Subject::RetainedMemory)
        .counted(),
    Scenario::new("latency", "one pair, 16 B, 5,000 messages a second, QoS 0", "p2p --pairs 1 --rate 5000 -q 0")
        .quick(),
];

/// The name of what the added latency is taken from.
pub const DURABLE_LATENCY: &str = "durable-latency";

/// Those of the speed table that tell what TLS and WebSocket cost.
pub const WRAPPED: [&str; 6] = ["p2p-qos0", "p2p-qos1", "p2p-single-qos0", "churn", "idle", "latency"];

/// What it costs to keep on the disk what is acknowledged.
pub const DURABLE: &[Scenario] = &[
    Scenario::new(
        "durable-qos1",
        "durable QoS 1, window 64: 50 pairs, 16 B, 16 a write",
        "p2p --pairs 50 --window 64 --batch 16 -q 1 --durable",
    )
    .about(Subject::DurableMessages),
    Scenario::new("durable-qos2", "the same, QoS 2", "p2p --pairs 50 --window 64 --batch 16 -q 2 --durable")
        .about(Subject::DurableMessages),
    Scenario::new(
        "durable-one-qos1",
        "one pair, 16 B, window 64, 16 a write, QoS 1",
        "p2p --pairs 1 --window 64 --batch 16 -q 1 --durable",
    )
    .about(Subject::DurableMessages),
    Scenario::new(
        DURABLE_LATENCY,
        "one pair, 16 B, 100 messages a second, QoS 1",
        "p2p --pairs 1 --rate 100 -q 1 --durable",
    )
    .about(Subject::DurableMessages),
];

/// Others that are of use.
pub const MORE: &[Scenario] = &[
    Scenario::new(
        "ping-pong",
        "50 pairs, 16 B, one message outstanding each, QoS 0",
        "p2p --pairs 50 --window 1 --batch 1 -q 0",
    ),
    Scenario::new(
        "ping-pong-one",
        "one pair, 16 B, one message outstanding",
        "p2p --pairs 1 --window 1 --batch 1 -q 0",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_found() {
        let all: Vec<_> = TABLE.iter().chain(DURABLE).chain(MORE).collect();
        assert_eq!(all.iter().map(|scenario| scenario.name).collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().all(|scenario| Scenario::named(scenario.name) == Some(scenario)));
        assert_eq!(Scenario::named("p2p"), None);
        assert!(WRAPPED.iter().all(|&name| Scenario::named(name).is_some()));
    }
}
