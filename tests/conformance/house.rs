//! A guard whose rules a test changes as it goes, and which remembers what it was asked. Who comes says in the user name
//! who he is and where: `ada`, or `ada@tenant/` with a mount point; the password may say until when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use thrum::access::{
    Answer, Client, Credentials, Denial, Exchange, Grant, Guard, Identity, Publication, Step, Verdict, Who,
};
use thrum::base::Timestamp;
use thrum::broker::Options;
use thrum::mqtt::{QoS, TopicFilter, TopicName};

use crate::net::Net;

/// Clones share the rules: one for each shard.
#[derive(Clone, Default, Debug)]
pub(crate) struct House(Arc<Mutex<Rules>>);

#[derive(Default, Debug)]
pub(crate) struct Rules {
    /// Topics that nobody may publish to.
    pub(crate) no_publish: Vec<String>,
    /// Topics that nobody may get. A filter that matches one is granted in part.
    pub(crate) no_receive: Vec<String>,
    /// Filters that nobody may subscribe to.
    pub(crate) no_subscribe: Vec<String>,
    pub(crate) seats_max: Option<usize>,
    pub(crate) seats: BTreeMap<String, usize>,
    /// What was asked about subscriptions, and how often about messages.
    pub(crate) subscriptions_asked: Vec<(String, QoS)>,
    pub(crate) messages_asked: usize,
}

impl House {
    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap()
    }

    pub(crate) fn net(&self, options: Options) -> Net {
        Net::guarded(options, || Box::new(self.clone()))
    }

    /// All shards go on with the rules as they are now.
    pub(crate) fn set(&self, net: &mut Net) {
        net.set_guard(|| Box::new(self.clone()));
    }

    /// On one shard and on several, with and without a store.
    pub(crate) fn on_shards(test: impl Fn(Self, Net)) {
        for (shards, durable) in [(1, false), (1, true), (3, false), (3, true)] {
            let house = Self::default();
            let net = house.net(Options { shards, durable, ..Options::default() });
            test(house, net);
        }
    }
}

fn identity(name: &str, until: Option<&[u8]>) -> Identity {
    let (user, mount) = name.split_once('@').unwrap_or((name, ""));
    let until = until.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    Identity::new(Who {
        user: (!user.is_empty()).then(|| user.into()),
        mount: mount.into(),
        expires_at: until.map(Timestamp),
        ..Who::default()
    })
}

impl Guard for House {
    fn connect(&mut self, _: Timestamp, credentials: &Credentials<'_>) -> Answer {
        let name = credentials.user_name.unwrap_or_default();
        Answer::Now(Verdict::Accept(identity(name, credentials.password)))
    }

    fn exchange(&mut self, _: Timestamp, method: &str, _: &Credentials<'_>, _: [u8; 24]) -> Option<Box<dyn Exchange>> {
        (method == "TOKEN").then(|| Box::new(Token) as Box<dyn Exchange>)
    }

    fn may_publish(&mut self, _: &Client<'_>, publication: &Publication<'_>) -> bool {
        !self.rules().no_publish.iter().any(|topic| topic == publication.topic.as_str())
    }

    fn may_subscribe(&mut self, _: &Client<'_>, filter: TopicFilter<'_>, qos: QoS) -> Grant {
        let mut rules = self.rules();
        rules.subscriptions_asked.push((filter.as_str().into(), qos));
        if rules.no_subscribe.iter().any(|denied| denied == filter.as_str()) {
            return Grant::Denied;
        }
        let is_partial = rules.no_receive.iter().any(|topic| filter.matches(TopicName::trusted(topic)));
        if is_partial { Grant::Filtered } else { Grant::Whole }
    }

    fn may_receive(&mut self, _: &Client<'_>, topic: TopicName<'_>) -> bool {
        let mut rules = self.rules();
        rules.messages_asked += 1;
        !rules.no_receive.iter().any(|denied| denied == topic.as_str())
    }

    fn enter(&mut self, who: &Identity) -> Result<(), Denial> {
        let mut rules = self.rules();
        let max = rules.seats_max;
        let seats = rules.seats.entry(who.user().unwrap_or_default().into()).or_default();
        if max.is_some_and(|max| *seats >= max) {
            return Err(Denial::ServerBusy);
        }
        *seats += 1;
        Ok(())
    }

    fn leave(&mut self, who: &Identity) {
        let mut rules = self.rules();
        let name = who.user().unwrap_or_default();
        let seats = rules.seats.get_mut(name).expect("nobody leaves who did not enter");
        *seats -= 1;
        if *seats == 0 {
            rules.seats.remove(name);
        }
    }
}

/// An exchange of one step: the data says `name until`.
#[derive(Debug)]
struct Token;

impl Exchange for Token {
    fn next(&mut self, data: &[u8]) -> Step {
        let text = std::str::from_utf8(data).unwrap();
        let (name, until) = text.split_once(' ').unwrap_or((text, ""));
        Step::Accept { identity: identity(name, Some(until.as_bytes())), data: None }
    }
}
