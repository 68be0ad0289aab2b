//! What a scenario is made of: who publishes what, who subscribes to what, and who is due which message.

use std::ops::Range;
use std::rc::Rc;

use thrum::mqtt::QoS;

/// A publisher's messages to one topic.
#[derive(Clone, Debug)]
pub struct Stream {
    pub topic: Box<str>,
    /// Who is due each of its messages: indices of [`Plan::audiences`].
    pub audiences: Range<u32>,
}

/// Who is due a message once: a subscriber, or a shared group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Audience {
    pub is_shared: bool,
    /// Of its subscriptions; none: that of the run.
    pub qos: Option<QoS>,
}

#[derive(Clone, Debug)]
pub struct Subscriber {
    pub filters: Rc<[Box<str>]>,
    pub audience: u32,
}

#[derive(Clone, Debug)]
pub struct Publisher {
    /// Indices of [`Plan::streams`]. Each has as many audiences as the others.
    pub streams: Range<u32>,
    /// None: that of the run.
    pub qos: Option<QoS>,
    /// The broker is to retain what it sends.
    pub retain: bool,
}

/// Clients that come and go meanwhile.
#[derive(Clone, Debug)]
pub struct Background {
    /// At a time.
    pub clients: usize,
    /// Of all of them together.
    pub connects_per_sec: f64,
    pub filters: Rc<[Box<str>]>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub publishers: Vec<Publisher>,
    pub streams: Vec<Stream>,
    pub subscribers: Vec<Subscriber>,
    pub audiences: Vec<Audience>,
    pub background: Option<Background>,
}

impl Plan {
    fn new(name: String) -> Self {
        Self {
            name,
            publishers: Vec::new(),
            streams: Vec::new(),
            subscribers: Vec::new(),
            audiences: Vec::new(),
            background: None,
        }
    }

    /// Of all subscribers.
    pub fn filters(&self) -> u64 {
        self.subscribers.iter().map(|subscriber| subscriber.filters.len() as u64).sum()
    }

    fn audience(&mut self, is_shared: bool, qos: Option<QoS>) -> u32 {
        self.audiences.push(Audience { is_shared, qos });
        self.audiences.len() as u32 - 1
    }

    fn subscriber(&mut self, filters: Rc<[Box<str>]>, qos: Option<QoS>) -> u32 {
        let audience = self.audience(false, qos);
        self.subscribers.push(Subscriber { filters, audience });
        audience
    }

    fn publisher(&mut self, streams: impl IntoIterator<Item = Stream>, qos: Option<QoS>) {
        let from = self.streams.len() as u32;
        self.streams.extend(streams);
        self.publishers.push(Publisher { streams: from..self.streams.len() as u32, qos, retain: false });
    }

    /// Pairs of one publisher and one subscriber, each with a topic of its own.
    pub fn pairs(pairs: usize) -> Self {
        let mut plan = Self::new(format!("p2p, {pairs} pairs"));
        (0..pairs).for_each(|pair| plan.pair(format!("p2p/{pair}").into(), None, None));
        plan
    }

    /// Pairs of which each has another QoS to publish and to subscribe with, in turn.
    pub fn every_qos(pairs: usize) -> Self {
        let mut plan = Self::new(format!("every QoS, {pairs} pairs"));
        plan.pairs_of_every_qos("every-qos", pairs);
        plan
    }

    fn pairs_of_every_qos(&mut self, root: &str, pairs: usize) {
        const EACH: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        for pair in 0..pairs {
            self.pair(format!("{root}/{pair}").into(), Some(EACH[pair % 3]), Some(EACH[pair / 3 % 3]));
        }
    }

    fn pair(&mut self, topic: Box<str>, published: Option<QoS>, subscribed: Option<QoS>) {
        let audience = self.subscriber([topic.clone()].into(), subscribed);
        self.publisher([Stream { topic, audiences: audience..audience + 1 }], published);
    }

    /// What a site looks like, many times: devices that talk to one another at every QoS, one that tells all, many that
    /// tell a few, workers that share what comes in, states that are retained, and clients that come and go.
    pub fn mixed(scale: usize) -> Self {
        let mut plan = Self::new(format!("mixed, scale {scale}"));
        plan.pairs_of_every_qos("mixed/pair", 9 * scale);
        plan.group("mixed/notice", scale, 50 * scale);
        plan.group("mixed/reading", 50 * scale, 2);
        plan.share("mixed/job", 20 * scale, 1, 5 * scale);
        let states = plan.publishers.len();
        plan.group("mixed/state", 20 * scale, 2);
        plan.publishers[states..].iter_mut().for_each(|publisher| publisher.retain = true);
        plan.background = Some(Background {
            clients: 10 * scale,
            connects_per_sec: 20.0 * scale as f64,
            filters: ["mixed/state/+".into()].into(),
        });
        plan
    }

    /// Publishers, each with a topic of its own below the root, and subscribers to all of them.
    fn group(&mut self, root: &str, publishers: usize, subscribers: usize) {
        let from = self.audiences.len() as u32;
        let filters: Rc<[Box<str>]> = [format!("{root}/+").into()].into();
        (0..subscribers).for_each(|_| _ = self.subscriber(Rc::clone(&filters), None));
        let audiences = from..self.audiences.len() as u32;
        for publisher in 0..publishers {
            let topic = format!("{root}/{publisher}").into();
            self.publisher([Stream { topic, audiences: audiences.clone() }], None);
        }
    }

    /// Many publishers, each with a topic of its own, and subscribers to all of them.
    pub fn fan_in(publishers: usize, subscribers: usize) -> Self {
        let mut plan = Self::new(format!("fan-in, {publishers} to {subscribers}"));
        plan.group("fanin", publishers, subscribers);
        plan
    }

    /// Publishers, each with a topic of its own, and subscribers to every one of these topics.
    pub fn fan_out(publishers: usize, subscribers: usize) -> Self {
        let mut plan = Self::new(format!("fan-out, {publishers} to {subscribers}"));
        let topics: Rc<[Box<str>]> = (0..publishers).map(|publisher| format!("fanout/{publisher}").into()).collect();
        (0..subscribers).for_each(|_| _ = plan.subscriber(Rc::clone(&topics), None));
        for topic in topics.iter() {
            plan.publisher([Stream { topic: topic.clone(), audiences: 0..subscribers as u32 }], None);
        }
        plan
    }

    /// Publishers whose messages each group's members share.
    pub fn shared(publishers: usize, groups: usize, members: usize) -> Self {
        let mut plan = Self::new(format!("shared, {publishers} to {groups} groups of {members}"));
        plan.share("shared", publishers, groups, members);
        plan
    }

    fn share(&mut self, root: &str, publishers: usize, groups: usize, members: usize) {
        let from = self.audiences.len() as u32;
        for group in 0..groups {
            let audience = self.audience(true, None);
            let filters: Rc<[Box<str>]> = [format!("$share/g{group}/{root}/+").into()].into();
            self.subscribers.extend((0..members).map(|_| Subscriber { filters: Rc::clone(&filters), audience }));
        }
        for publisher in 0..publishers {
            let topic = format!("{root}/{publisher}").into();
            self.publisher([Stream { topic, audiences: from..from + groups as u32 }], None);
        }
    }

    /// Many filters with wildcards, spread over the subscribers; each message matches one of them.
    /// One of `topics` of them, spread over all.
    pub fn wild(publishers: usize, subscribers: usize, filters: usize, topics: usize) -> Self {
        let mut plan = Self::new(format!("wild, {publishers} to {filters} filters of {subscribers}, {topics} topics"));
        for subscriber in 0..subscribers {
            let own = (subscriber..filters).step_by(subscribers);
            plan.subscriber(own.map(|filter| format!("wild/{filter}/+/temp").into()).collect(), None);
        }
        let step = filters / topics;
        for publisher in 0..publishers {
            let own = (publisher..topics).step_by(publishers);
            let streams = own.map(|topic| {
                // Not all of them of the same subscriber.
                let filter = topic * step + topic % step;
                let audience = (filter % subscribers) as u32;
                Stream { topic: format!("wild/{filter}/room/temp").into(), audiences: audience..audience + 1 }
            });
            plan.publisher(streams, None);
        }
        plan
    }
}
