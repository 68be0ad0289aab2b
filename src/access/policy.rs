//! What the configuration says of who comes in and what he may do: the same for all shards, replaced whole by a reload.

use std::sync::Arc;

use super::authenticator::{Authenticator, Proof};
use super::bans::Bans;
use super::guard::{Entrance, Identity, Who};
use super::rates::Rates;
use super::rules::Rules;
use super::seats::Seats;
use super::users::Users;
use crate::base::{ListenerId, Timestamp};

#[derive(Clone, Default, Debug)]
pub struct Policy {
    /// Nobody comes in by one that is not among them.
    pub listeners: Vec<(ListenerId, ListenerPolicy)>,
    /// The first that knows somebody answers. None at all: nobody can prove anything, names and passwords are not
    /// looked at, and who comes in does so anonymous.
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// Tables whose users may prove themselves by SCRAM; the first that knows a name has it.
    pub scram: Vec<Arc<Users>>,
    /// None: everybody may do everything.
    pub rules: Option<Arc<Rules>>,
    pub subscribe: SubscribeMode,
    /// Who is known to nobody hears another answer than who has a wrong password, and sooner.
    pub tells_unknown_users: bool,
    /// Who failed too often. None: nobody is counted.
    pub bans: Option<Arc<Bans>>,
    /// How many connections a user has.
    pub seats: Option<Arc<Seats>>,
}

/// What holds for who comes in by one listener.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ListenerPolicy {
    /// Who brings no credentials comes in.
    pub anonymous: bool,
    /// What stands before each topic; empty: nothing.
    pub mount: Box<str>,
    /// Who has a certificate is whom it names, and is asked for nothing else.
    pub certificate_is_user: bool,
    pub rates: Option<Rates>,
}

/// What becomes of a subscription that could bring forbidden messages beside permitted ones.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum SubscribeMode {
    /// It is denied.
    #[default]
    Whole,
    /// It is granted, and each message is asked about.
    Filtered,
}

impl Policy {
    /// Whether this address, or this user, is not to be looked at now.
    pub(super) fn has_banned(&self, now: Timestamp, entrance: &Entrance, user: Option<&str>) -> bool {
        let Some(bans) = &self.bans else { return false };
        entrance.address.is_some_and(|address| bans.has_banned_address(now, address))
            || user.is_some_and(|user| bans.has_banned_user(now, user))
    }

    /// Somebody could not prove who he is.
    pub(super) fn count_failure(&self, now: Timestamp, entrance: &Entrance, user: Option<&str>) {
        self.bans.iter().for_each(|bans| bans.count_failure(now, entrance.address, user));
    }

    pub(super) fn listener(&self, entrance: &Entrance) -> Option<&ListenerPolicy> {
        self.listeners.iter().find(|(id, _)| *id == entrance.listener).map(|(_, listener)| listener)
    }
}

impl ListenerPolicy {
    /// Who somebody is that came in here and was found to be this.
    pub(super) fn identity(&self, proof: Proof) -> Identity {
        let Proof { user, groups, expires_at, claims } = proof;
        Identity::new(Who { user, mount: self.mount.clone(), groups, expires_at, rates: self.rates, claims })
    }
}
