//! What a scenario is made of: who publishes what, who subscribes to what, and who is due which message.

/// A publisher's messages to one topic.
#[derive(Clone, Debug)]
pub struct Stream {
    pub topic: Box<str>,
    /// Who is due each of its messages: indices of [`Plan::audiences`].
    pub audiences: Vec<u32>,
}

/// Who is due a message once: a subscriber, or a shared group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Audience {
    pub is_shared: bool,
}

#[derive(Clone, Debug)]
pub struct Subscriber {
    pub filters: Vec<Box<str>>,
    pub audience: u32,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    /// Each has the streams of its index range.
    pub publishers: Vec<std::ops::Range<u32>>,
    pub streams: Vec<Stream>,
    pub subscribers: Vec<Subscriber>,
    pub audiences: Vec<Audience>,
}

impl Plan {
    fn new(name: String) -> Self {
        Self { name, publishers: Vec::new(), streams: Vec::new(), subscribers: Vec::new(), audiences: Vec::new() }
    }

    fn audience(&mut self, is_shared: bool) -> u32 {
        self.audiences.push(Audience { is_shared });
        self.audiences.len() as u32 - 1
    }

    fn subscriber(&mut self, filters: Vec<Box<str>>) -> u32 {
        let audience = self.audience(false);
        self.subscribers.push(Subscriber { filters, audience });
        audience
    }

    fn publisher(&mut self, streams: impl IntoIterator<Item = Stream>) {
        let from = self.streams.len() as u32;
        self.streams.extend(streams);
        self.publishers.push(from..self.streams.len() as u32);
    }

    /// Pairs of one publisher and one subscriber, each with a topic of its own.
    pub fn pairs(pairs: usize) -> Self {
        let mut plan = Self::new(format!("p2p, {pairs} pairs"));
        for pair in 0..pairs {
            let topic: Box<str> = format!("p2p/{pair}").into();
            let audience = plan.subscriber(vec![topic.clone()]);
            plan.publisher([Stream { topic, audiences: vec![audience] }]);
        }
        plan
    }

    /// Many publishers, each with a topic of its own, and subscribers to all of them.
    pub fn fan_in(publishers: usize, subscribers: usize) -> Self {
        let mut plan = Self::new(format!("fan-in, {publishers} to {subscribers}"));
        let audiences: Vec<u32> = (0..subscribers).map(|_| plan.subscriber(vec!["fanin/+".into()])).collect();
        for publisher in 0..publishers {
            plan.publisher([Stream { topic: format!("fanin/{publisher}").into(), audiences: audiences.clone() }]);
        }
        plan
    }

    /// Publishers, each with a topic of its own, and subscribers to every one of these topics.
    pub fn fan_out(publishers: usize, subscribers: usize) -> Self {
        let mut plan = Self::new(format!("fan-out, {publishers} to {subscribers}"));
        let topics: Vec<Box<str>> = (0..publishers).map(|publisher| format!("fanout/{publisher}").into()).collect();
        let audiences: Vec<u32> = (0..subscribers).map(|_| plan.subscriber(topics.clone())).collect();
        for topic in topics {
            plan.publisher([Stream { topic, audiences: audiences.clone() }]);
        }
        plan
    }

    /// Publishers whose messages each group's members share.
    pub fn shared(publishers: usize, groups: usize, members: usize) -> Self {
        let mut plan = Self::new(format!("shared, {publishers} to {groups} groups of {members}"));
        let audiences: Vec<u32> = (0..groups).map(|_| plan.audience(true)).collect();
        for (group, &audience) in audiences.iter().enumerate() {
            for _ in 0..members {
                plan.subscribers
                    .push(Subscriber { filters: vec![format!("$share/g{group}/shared/+").into()], audience });
            }
        }
        for publisher in 0..publishers {
            plan.publisher([Stream { topic: format!("shared/{publisher}").into(), audiences: audiences.clone() }]);
        }
        plan
    }

    /// Many filters with wildcards, spread over the subscribers; each message matches one of them.
    pub fn wild(publishers: usize, subscribers: usize, filters: usize) -> Self {
        let mut plan = Self::new(format!("wild, {publishers} to {filters} filters of {subscribers}"));
        for subscriber in 0..subscribers {
            let own = (subscriber..filters).step_by(subscribers);
            plan.subscriber(own.map(|filter| format!("wild/{filter}/+/temp").into()).collect());
        }
        for publisher in 0..publishers {
            let topics = (publisher..filters).step_by(publishers);
            plan.publisher(topics.map(|filter| Stream {
                topic: format!("wild/{filter}/room/temp").into(),
                audiences: vec![(filter % subscribers) as u32],
            }));
        }
        plan
    }
}
