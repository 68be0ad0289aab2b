//! A shard's verdicts by rules, the latest of them remembered: what was asked about a topic a moment ago costs one hash.
//!
//! A verdict is found by a keyed hash of all that it depends on, in a table of fixed size in which each has one place; who
//! comes later takes it. The hash is SipHash, as nobody who knows no seed can make two questions have one answer. What the
//! client's own credentials permit is not remembered: those are few rules, and different for each.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::asker::Asker;
use super::guard::{Client, Grant, Publication};
use super::judge::{asker, claims, publishing, receiving};
use super::rule_list::{Opinion, Wish};
use super::rules::Rules;
use crate::mqtt::{QoS, TopicFilter, TopicName};

/// 256 KiB a shard.
const PLACES: usize = 1 << 15;

/// The low bits of a place hold the opinion; 0: nothing is there.
const OPINION_BITS: u64 = 0b11;

#[derive(Clone)]
pub struct Verdicts {
    rules: Option<Arc<Rules>>,
    /// Has taken the seed.
    hasher: DefaultHasher,
    /// Empty without rules.
    remembered: Box<[u64]>,
}

impl std::fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verdicts").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Verdicts {
    /// By these rules. Without any, who has no claims may do everything, and who has some what they permit.
    pub fn new(rules: Option<Arc<Rules>>, seed: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        let places = if rules.is_some() { PLACES } else { 0 };
        Self { rules, hasher, remembered: vec![0; places].into() }
    }

    #[inline]
    pub fn may_publish(&mut self, client: &Client<'_>, publication: &Publication<'_>) -> bool {
        if self.is_free(client) {
            return true;
        }
        self.permits(client, &publishing(publication))
    }

    #[inline]
    pub fn may_receive(&mut self, client: &Client<'_>, topic: TopicName<'_>) -> bool {
        if self.is_free(client) {
            return true;
        }
        let asks_for_qos = self.rules.as_ref().is_some_and(|rules| rules.asks_for_qos());
        receiving(topic, asks_for_qos).any(|wish| self.permits(client, &wish))
    }

    pub fn may_subscribe(&self, client: &Client<'_>, filter: TopicFilter<'_>, qos: QoS) -> Grant {
        match (&self.rules, claims(client)) {
            (Some(rules), _) => rules.may_subscribe(client, filter, qos),
            (None, Some(_)) => Rules::default().may_subscribe(client, filter, qos),
            (None, None) => Grant::Whole,
        }
    }

    fn is_free(&self, client: &Client<'_>) -> bool {
        self.rules.is_none() && claims(client).is_none()
    }

    fn permits(&mut self, client: &Client<'_>, wish: &Wish<'_>) -> bool {
        let asker = asker(client);
        let own = claims(client).map_or(Opinion::Silent, |claims| claims.opinion(&asker, wish));
        own.and(self.opinion(&asker, wish)) == Opinion::Allowed
    }

    fn opinion(&mut self, asker: &Asker<'_>, wish: &Wish<'_>) -> Opinion {
        let Some(rules) = &self.rules else { return Opinion::Silent };
        let key = self.key(asker, wish);
        let place = &mut self.remembered[(key >> OPINION_BITS.count_ones()) as usize % PLACES];
        if *place & !OPINION_BITS == key {
            match *place & OPINION_BITS {
                1 => return Opinion::Silent,
                2 => return Opinion::Denied,
                3 => return Opinion::Allowed,
                _ => {}
            }
        }
        let opinion = rules.opinion(asker, wish);
        *place = key
            | match opinion {
                Opinion::Silent => 1,
                Opinion::Denied => 2,
                Opinion::Allowed => 3,
            };
        opinion
    }

    /// With no opinion in it. Lengths go before what is not of one length, so that no two questions read as the same bytes.
    fn key(&self, asker: &Asker<'_>, wish: &Wish<'_>) -> u64 {
        let mut hasher = self.hasher.clone();
        let Asker { user, client_id, groups } = asker;
        // No user name is as long as this.
        let user_bytes = user.map_or(u32::from(u16::MAX) + 1, |user| user.len() as u32);
        let retain = wish.retain.map_or(2, u8::from);
        let kind = wish.action.bits() | (wish.qos as u8) << 2 | retain << 4;
        hasher.write_u64(u64::from(user_bytes) << 32 | (client_id.len() as u64) << 8 | u64::from(kind));
        hasher.write_u32(groups.len() as u32);
        hasher.write(user.unwrap_or_default().as_bytes());
        hasher.write(client_id.as_bytes());
        for group in *groups {
            hasher.write_u32(group.len() as u32);
            hasher.write(group.as_bytes());
        }
        hasher.write(wish.topic.as_bytes());
        hasher.finish() & !OPINION_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::{Identity, Who};
    use super::*;

    fn rules() -> Arc<Rules> {
        let acl = "user ann\ntopic write a/#\ntopic read b/#\ntopic deny a/secret\npattern write own/%u/%c\n";
        Arc::new(Rules::parse_acl(acl).unwrap())
    }

    fn publication(topic: &str) -> Publication<'_> {
        Publication { topic: TopicName::new(topic).unwrap(), qos: QoS::AtMostOnce, retain: false }
    }

    #[test]
    fn what_is_remembered_is_what_the_rules_say() {
        let rules = rules();
        let mut verdicts = Verdicts::new(Some(Arc::clone(&rules)), 7);
        let identities = [Identity::ANONYMOUS, Identity::of_user("ann"), Identity::of_user("bob")];
        for _ in 0..3 {
            for identity in &identities {
                for client_id in ["c", "d"] {
                    let client = Client { identity, client_id };
                    for topic in ["a/1", "a/secret", "b/1", "own/ann/c", "own/ann/d", "own/bob/c", "own/bob/c/x"] {
                        let publication = publication(topic);
                        assert_eq!(
                            verdicts.may_publish(&client, &publication),
                            rules.may_publish(&client, &publication),
                            "{identity:?} {client_id} {topic}"
                        );
                        assert_eq!(
                            verdicts.may_receive(&client, publication.topic),
                            rules.may_receive(&client, publication.topic),
                            "{identity:?} {client_id} {topic}"
                        );
                    }
                }
            }
        }
        assert!(verdicts.remembered.iter().any(|place| *place != 0));
    }

    #[test]
    fn the_table_stays_as_large_as_it_is() {
        let mut verdicts = Verdicts::new(Some(rules()), 7);
        let identity = Identity::of_user("ann");
        let client = Client { identity: &identity, client_id: "c" };
        for number in 0..3 * PLACES {
            assert!(verdicts.may_publish(&client, &publication(&format!("a/{number}"))));
            assert!(!verdicts.may_publish(&client, &publication(&format!("b/{number}"))));
        }
        assert_eq!(verdicts.remembered.len(), PLACES);
        assert_eq!(Verdicts::new(None, 7).remembered.len(), 0);
    }

    #[test]
    fn without_rules_claims_are_all_that_is_permitted_and_nobody_else_is_bound() {
        let mut verdicts = Verdicts::new(None, 7);
        let claims = Arc::new(Rules::of_claims(&["a/%u"], &["b/#"]).unwrap());
        let identity = Identity::new(Who { user: Some("ann".into()), claims: Some(claims), ..Who::default() });
        let client = Client { identity: &identity, client_id: "c" };
        assert!(verdicts.may_publish(&client, &publication("a/ann")));
        assert!(!verdicts.may_publish(&client, &publication("b/1")));
        assert!(verdicts.may_receive(&client, publication("b/1").topic));
        let filter = |text| TopicFilter::new(text).unwrap();
        assert_eq!(verdicts.may_subscribe(&client, filter("b/+"), QoS::AtMostOnce), Grant::Whole);
        assert_eq!(verdicts.may_subscribe(&client, filter("#"), QoS::AtMostOnce), Grant::Filtered);
        let anonymous = Client { identity: &Identity::ANONYMOUS, client_id: "c" };
        assert!(verdicts.may_publish(&anonymous, &publication("x")));
        assert_eq!(verdicts.may_subscribe(&anonymous, filter("#"), QoS::AtMostOnce), Grant::Whole);
    }

    #[test]
    fn claims_add_to_the_rules_and_do_not_undo_a_denial() {
        let mut verdicts = Verdicts::new(Some(rules()), 7);
        let claims = Arc::new(Rules::of_claims(&["a/secret", "c"], &[""; 0]).unwrap());
        let identity = Identity::new(Who { user: Some("ann".into()), claims: Some(claims), ..Who::default() });
        let client = Client { identity: &identity, client_id: "c" };
        for _ in 0..2 {
            assert!(verdicts.may_publish(&client, &publication("c")));
            assert!(verdicts.may_publish(&client, &publication("a/1")));
            assert!(!verdicts.may_publish(&client, &publication("a/secret")));
        }
    }
}
