//! The Open MQTT Benchmark Suite's cases, by its names for them: all clients connect and subscribe, then messages of 16
//! bytes are published at QoS 1 at a rate.

use clap::ValueEnum;
use thrum::mqtt::QoS;

use crate::connecting::Crowd;
use crate::plan::Plan;
use crate::traffic::Load;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Case {
    /// 10,000 clients, 100 a second
    #[value(name = "conn-tcp-10k-100")]
    ConnTcp10k100,
    /// A million clients, 5,000 a second
    #[value(name = "conn-tcp-1M-5k")]
    ConnTcp1M5k,
    /// One publisher, 1,000 subscribers, 1,000 deliveries a second
    #[value(name = "fanout-1-1k-1-1k")]
    Fanout1_1k,
    /// 5 publishers, 1,000 subscribers to all of them, 250,000 deliveries a second
    #[value(name = "fanout-5-1000-5-250k")]
    Fanout5_1000,
    /// 1,000 pairs, 1,000 messages a second
    #[value(name = "p2p-1k")]
    P2p1k,
    /// 50,000 pairs, 50,000 messages a second
    #[value(name = "p2p-50k")]
    P2p50k,
    /// 1,000 publishers, 5 subscribers that share 1,000 messages a second
    #[value(name = "sharedsub-1k-5")]
    Sharedsub1k5,
    /// 50,000 publishers, 500 subscribers that share 50,000 messages a second
    #[value(name = "sharedsub-50k-500")]
    Sharedsub50k500,
}

/// What a case does once its options are set.
#[derive(Clone, Debug)]
pub enum Work {
    Connect(Crowd),
    Publish(Plan),
}

impl Case {
    pub fn work(self) -> Work {
        let crowd = |clients| Work::Connect(Crowd { clients, filters: 0 });
        match self {
            Self::ConnTcp10k100 => crowd(10_000),
            Self::ConnTcp1M5k => crowd(1_000_000),
            Self::Fanout1_1k => Work::Publish(Plan::fan_out(1, 1_000)),
            Self::Fanout5_1000 => Work::Publish(Plan::fan_out(5, 1_000)),
            Self::P2p1k => Work::Publish(Plan::pairs(1_000)),
            Self::P2p50k => Work::Publish(Plan::pairs(50_000)),
            Self::Sharedsub1k5 => Work::Publish(Plan::shared(1_000, 1, 5)),
            Self::Sharedsub50k500 => Work::Publish(Plan::shared(50_000, 1, 500)),
        }
    }

    /// Sets what the suite prescribes, of which a ramp is the user's where it names none.
    pub fn prescribe(self, load: &mut Load) {
        (load.qos, load.payload_bytes, load.access.keep_alive_secs) = (QoS::AtLeastOnce, 16, 300);
        match self {
            Self::ConnTcp10k100 => load.access.ramp = 100.0,
            Self::ConnTcp1M5k => load.access.ramp = 5_000.0,
            Self::Fanout1_1k => load.rate = 1.0,
            Self::Fanout5_1000 => load.rate = 250.0,
            Self::P2p1k | Self::Sharedsub1k5 => load.rate = 1_000.0,
            Self::P2p50k | Self::Sharedsub50k500 => load.rate = 50_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_delivers_as_many_messages_as_its_name_says() {
        let plan = |case: Case| match case.work() {
            Work::Publish(plan) => plan,
            Work::Connect(_) => panic!("{case:?} publishes nothing"),
        };
        let sizes = |case| {
            let plan = plan(case);
            (plan.publishers.len(), plan.subscribers.len(), plan.streams[0].audiences.len())
        };
        assert_eq!(sizes(Case::Fanout1_1k), (1, 1_000, 1_000));
        assert_eq!(sizes(Case::Fanout5_1000), (5, 1_000, 1_000));
        assert_eq!(sizes(Case::P2p1k), (1_000, 1_000, 1));
        assert_eq!(sizes(Case::Sharedsub50k500), (50_000, 500, 1));
    }
}
