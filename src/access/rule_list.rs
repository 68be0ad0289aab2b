//! The rules of one source, in their order: the first that applies decides. Found by user and group, so that a question
//! looks only at the rules that can be about who asks.

use ahash::RandomState;
use hashbrown::HashMap;

use super::asker::Asker;
use super::pattern::{Effect, Level, Pattern};
use crate::mqtt::{QoS, TopicFilter};

/// What one source of rules says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opinion {
    Allowed,
    Denied,
    /// No rule applies.
    Silent,
}

impl Opinion {
    /// Of two sources together.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Denied, _) | (_, Self::Denied) => Self::Denied,
            (Self::Allowed, _) | (_, Self::Allowed) => Self::Allowed,
            _ => Self::Silent,
        }
    }
}

/// Bits of what a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Actions(u8);

impl Actions {
    pub(super) const PUBLISH: Self = Self(1);
    /// To subscribe, and to be sent what was subscribed to.
    pub(super) const RECEIVE: Self = Self(2);
    pub(super) const ALL: Self = Self(3);

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    const fn include(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// For which QoS and which kind of message a rule applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Conditions {
    /// A bit for each.
    pub(super) qos: u8,
    /// None: for both.
    pub(super) retain: Option<bool>,
}

impl Conditions {
    pub(super) const NONE: Self = Self { qos: 0b111, retain: None };

    fn hold(self, qos: QoS, retain: Option<bool>) -> bool {
        self.qos & (1 << qos as u8) != 0 && (self.retain.is_none() || self.retain == retain)
    }
}

/// Whom a rule is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Whom {
    Everybody,
    Anonymous,
    /// Who has a name.
    Named,
    User(Box<str>),
    Group(Box<str>),
}

/// A rule for one topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) effect: Effect,
    pub(super) actions: Actions,
    pub(super) conditions: Conditions,
    /// Not for who has a `+` or `#` in the user name or the client identifier.
    pub(super) is_guarded: bool,
    /// Sorted; `None`: for any client identifier.
    pub(super) clients: Option<Box<[Box<str>]>>,
    pub(super) pattern: Pattern,
}

/// What somebody wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) topic: &'a str,
    pub(super) action: Actions,
    pub(super) qos: QoS,
    /// None where it says nothing.
    pub(super) retain: Option<bool>,
}

type Places = Vec<u32>;

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct RuleList {
    rules: Vec<Rule>,
    everybody: Places,
    anonymous: Places,
    named: Places,
    of_user: HashMap<Box<str>, Places, Keys>,
    of_group: HashMap<Box<str>, Places, Keys>,
    asks_for_qos: bool,
}

/// Whoever asks only looks names up, and the names that are there are the operator's: no seed has to be secret.
#[derive(Clone, Debug)]
struct Keys(RandomState);

impl Default for Keys {
    fn default() -> Self {
        Self(RandomState::with_seeds(1, 2, 3, 4))
    }
}

impl std::hash::BuildHasher for Keys {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> ahash::AHasher {
        self.0.build_hasher()
    }
}

/// A rule that can apply to somebody, with its topics as levels.
#[derive(Clone, Debug)]
pub(super) struct Reach<'a> {
    pub(super) place: u32,
    pub(super) effect: Effect,
    pub(super) levels: Vec<Level<'a>>,
}

impl RuleList {
    /// Behind those that are there; about each of `whom`.
    pub(super) fn push(&mut self, whom: &[Whom], rule: Rule) {
        let place = u32::try_from(self.rules.len()).expect("a text of rules is shorter than that");
        self.asks_for_qos |= rule.actions.include(Actions::RECEIVE) && rule.conditions.qos != Conditions::NONE.qos;
        self.rules.push(rule);
        for whom in whom {
            let places = match whom {
                Whom::Everybody => &mut self.everybody,
                Whom::Anonymous => &mut self.anonymous,
                Whom::Named => &mut self.named,
                Whom::User(name) => self.of_user.entry(name.clone()).or_default(),
                Whom::Group(name) => self.of_group.entry(name.clone()).or_default(),
            };
            // A user may be named twice: by himself and by a group.
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether subscribing depends on the QoS.
    pub(super) fn asks_for_qos(&self) -> bool {
        self.asks_for_qos
    }

    pub(super) fn opinion(&self, asker: &Asker<'_>, wish: &Wish<'_>) -> Opinion {
        // The lists are in order each, and the first rule of all decides.
        let mut first = u32::MAX;
        self.each_list(asker, |places| {
            let found =
                places.iter().take_while(|place| **place < first).find(|place| self.applies(**place, asker, wish));
            first = found.copied().unwrap_or(first);
        });
        match self.rules.get(first as usize) {
            Some(Rule { effect: Effect::Allow, .. }) => Opinion::Allowed,
            Some(Rule { effect: Effect::Deny, .. }) => Opinion::Denied,
            None => Opinion::Silent,
        }
    }

    fn applies(&self, place: u32, asker: &Asker<'_>, wish: &Wish<'_>) -> bool {
        let rule = &self.rules[place as usize];
        rule.actions.include(wish.action)
            && rule.conditions.hold(wish.qos, wish.retain)
            && rule.pattern.matches(wish.topic, asker, rule.effect)
            && rule.is_about(asker)
    }

    /// The rules that decide what `asker` gets by a subscription to this filter with this QoS, in their order; and maybe
    /// some others.
    pub(super) fn reaches<'a>(&'a self, asker: &Asker<'a>, filter: TopicFilter<'_>, qos: QoS) -> Vec<Reach<'a>> {
        let mut found = Vec::new();
        self.each_list(asker, |places| {
            for &place in places {
                let rule = &self.rules[place as usize];
                let decides = rule.actions.include(Actions::RECEIVE)
                    && rule.conditions.hold(qos, None)
                    && !rule.pattern.is_apart_from(filter)
                    && rule.is_about(asker);
                if decides {
                    let levels = rule.pattern.levels(asker, rule.effect);
                    found.extend(levels.map(|levels| Reach { place, effect: rule.effect, levels }));
                }
            }
        });
        found.sort_unstable_by_key(|reach| reach.place);
        found.dedup_by_key(|reach| reach.place);
        found
    }

    fn each_list<'a>(&'a self, asker: &Asker<'_>, mut look: impl FnMut(&'a [u32])) {
        look(&self.everybody);
        match asker.user {
            None => look(&self.anonymous),
            Some(user) => {
                look(&self.named);
                look(self.of_user.get(user).map_or(&[][..], |places| places));
            }
        }
        for group in asker.groups {
            look(self.of_group.get(group).map_or(&[][..], |places| places));
        }
    }
}

impl Rule {
    /// What whom it stands for leaves to be looked at.
    fn is_about(&self, asker: &Asker<'_>) -> bool {
        let is_wild = |name: &str| name.contains(['+', '#']);
        if self.is_guarded && (is_wild(asker.client_id) || asker.user.is_some_and(is_wild)) {
            return false;
        }
        let has = |clients: &[Box<str>]| clients.binary_search_by(|client| (**client).cmp(asker.client_id)).is_ok();
        self.clients.as_deref().is_none_or(has)
    }
}
