//! Who may publish and receive what, from one source of rules or several.
//!
//! A source permits, denies or says nothing. Of several, one that permits is needed and one that denies is enough: nothing
//! that a source denies is given by another. So what a token permits, it permits beside the rules of the files, and not
//! against them.

use std::sync::Arc;

use super::acl_file;
use super::asker::Asker;
use super::pattern::{Effect, Pattern};
use super::rule_list::{Actions, Conditions, Opinion, Rule, RuleList, Whom, Wish};
use super::rules_toml;
use super::text_error::TextError;

/// Topic filters that a token may carry, of one kind.
pub const CLAIMS_MAX: usize = 256;

/// Cheap to clone. The default permits nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    sources: Vec<Arc<RuleList>>,
}

impl Rules {
    /// An access control list in Mosquitto's syntax.
    pub fn parse_acl(text: &str) -> Result<Self, Vec<TextError>> {
        acl_file::parse(text).map(Self::of)
    }

    /// Groups and rules in TOML, see `rules_toml.rs`.
    pub fn parse_toml(text: &str) -> Result<Self, Vec<TextError>> {
        rules_toml::parse(text).map(Self::of)
    }

    /// What a token permits whom it was made for: topic filters, in which `%u` and `%c` stand for his user name and client
    /// identifier. The error says what is wrong with which of them.
    pub fn of_claims(publish: &[impl AsRef<str>], subscribe: &[impl AsRef<str>]) -> Result<Self, String> {
        let mut list = RuleList::default();
        for (actions, count) in [(Actions::PUBLISH, publish.len()), (Actions::RECEIVE, subscribe.len())] {
            if count > CLAIMS_MAX {
                return Err(format!("{count} topic filters, more than {CLAIMS_MAX}"));
            }
            let text = |place: usize| {
                if actions == Actions::PUBLISH { publish[place].as_ref() } else { subscribe[place].as_ref() }
            };
            for place in 0..count {
                let pattern = Pattern::with_placeholders(text(place))?;
                let (effect, conditions) = (Effect::Allow, Conditions::NONE);
                let rule = Rule { effect, actions, conditions, is_guarded: false, clients: None, pattern };
                list.push(&[Whom::Everybody], rule);
            }
        }
        Ok(Self::of(list))
    }

    /// All of these together.
    pub fn combined(parts: impl IntoIterator<Item = Self>) -> Self {
        Self { sources: parts.into_iter().flat_map(|part| part.sources).collect() }
    }

    /// How many rules there are, one for each topic.
    pub fn len(&self) -> usize {
        self.sources.iter().map(|list| list.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what may be received depends on the QoS.
    pub(super) fn asks_for_qos(&self) -> bool {
        self.sources.iter().any(|list| list.asks_for_qos())
    }

    fn of(list: RuleList) -> Self {
        Self { sources: vec![Arc::new(list)] }
    }

    pub(super) fn sources(&self) -> &[Arc<RuleList>] {
        &self.sources
    }

    pub(super) fn opinion(&self, asker: &Asker<'_>, wish: &Wish<'_>) -> Opinion {
        self.sources.iter().fold(Opinion::Silent, |opinion, list| match opinion {
            Opinion::Denied => Opinion::Denied,
            _ => opinion.and(list.opinion(asker, wish)),
        })
    }
}
