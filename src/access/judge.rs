//! What rules say to a guard's questions: those of the files, and of the client's own credentials beside them.

use super::asker::Asker;
use super::guard::{Client, Grant, Publication};
use super::reach;
use super::rule_list::{Actions, Opinion, Wish};
use super::rules::Rules;
use crate::mqtt::{QoS, TopicFilter, TopicName};

const EVERY_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

impl Rules {
    pub fn may_publish(&self, client: &Client<'_>, publication: &Publication<'_>) -> bool {
        let asker = asker(client);
        let wish = publishing(publication);
        let own = claims(client).map_or(Opinion::Silent, |claims| claims.opinion(&asker, &wish));
        own.and(self.opinion(&asker, &wish)) == Opinion::Allowed
    }

    /// Where rules depend on the QoS: whether a subscription of any QoS may bring the topic.
    pub fn may_receive(&self, client: &Client<'_>, topic: TopicName<'_>) -> bool {
        let asker = asker(client);
        receiving(topic, self.asks_for_qos()).any(|wish| {
            let own = claims(client).map_or(Opinion::Silent, |claims| claims.opinion(&asker, &wish));
            own.and(self.opinion(&asker, &wish)) == Opinion::Allowed
        })
    }

    /// Whole only if nothing that the filter can match is withheld, denied if all is.
    pub fn may_subscribe(&self, client: &Client<'_>, filter: TopicFilter<'_>, qos: QoS) -> Grant {
        let asker = asker(client);
        let own = claims(client).map_or(&[][..], Self::sources);
        let sources: Vec<_> = self.sources().iter().chain(own).map(|list| list.reaches(&asker, filter, qos)).collect();
        reach::grant(filter, &sources)
    }
}

pub(super) fn asker<'a>(client: &Client<'a>) -> Asker<'a> {
    let who = client.identity.who();
    // An empty name is none, as for Mosquitto: no list is about it, and no level of a topic.
    let user = client.identity.user().filter(|name| !name.is_empty());
    Asker { user, client_id: client.client_id, groups: who.map_or(&[], |who| &who.groups) }
}

pub(super) fn claims<'a>(client: &Client<'a>) -> Option<&'a Rules> {
    client.identity.who()?.claims.as_deref()
}

pub(super) fn publishing<'a>(publication: &Publication<'a>) -> Wish<'a> {
    let Publication { topic, qos, retain } = *publication;
    Wish { topic: topic.as_str(), action: Actions::PUBLISH, qos, retain: Some(retain) }
}

/// What has to be asked to know whether a topic may be received.
pub(super) fn receiving(topic: TopicName<'_>, asks_for_qos: bool) -> impl Iterator<Item = Wish<'_>> {
    let count = if asks_for_qos { EVERY_QOS.len() } else { 1 };
    let wish = move |qos| Wish { topic: topic.as_str(), action: Actions::RECEIVE, qos, retain: None };
    EVERY_QOS[..count].iter().copied().map(wish)
}
