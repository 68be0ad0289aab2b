//! The questions that the broker asks about a client, and the answers it can get.

use core::net::IpAddr;
use std::fmt;
use std::sync::Arc;

use super::rates::Rates;
use super::rules::Rules;
use crate::base::{ListenerId, Timestamp};
use crate::mqtt::{QoS, TopicFilter, TopicName};

/// What is known of a client before it says a word.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entrance {
    pub listener: ListenerId,
    /// None on a Unix socket.
    pub address: Option<IpAddr>,
    /// Whom its certificate names, where the listener takes certificates for user names.
    pub certificate: Option<Box<str>>,
}

/// Who a connection is, once let in, and what of that matters later. One counted pointer; none for who is nobody in
/// particular.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Identity(Option<Arc<Who>>);

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Who {
    /// None: anonymous.
    pub user: Option<Box<str>>,
    /// What stands before each topic of the client, unseen by it; empty: nothing.
    pub mount: Box<str>,
    /// Groups that its own credentials name, beside those that the rules put its user in.
    pub groups: Box<[Box<str>]>,
    /// When it has to go, as its token says.
    pub expires_at: Option<Timestamp>,
    /// How much it may publish, where that is bounded.
    pub rates: Option<Rates>,
    /// What its own credentials permit, beside what the rules say of its user.
    pub claims: Option<Arc<Rules>>,
}

impl Entrance {
    /// Nothing is known.
    pub const UNKNOWN: &Self = &Self { listener: ListenerId(0), address: None, certificate: None };
}

impl Identity {
    pub const ANONYMOUS: Self = Self(None);

    pub fn new(who: Who) -> Self {
        if who == Who::default() { Self(None) } else { Self(Some(Arc::new(who))) }
    }

    pub fn of_user(name: &str) -> Self {
        Self::new(Who { user: Some(name.into()), ..Who::default() })
    }

    pub fn who(&self) -> Option<&Who> {
        self.0.as_deref()
    }

    /// The user's name; `None`: anonymous.
    pub fn user(&self) -> Option<&str> {
        self.0.as_ref()?.user.as_deref()
    }

    pub fn mount(&self) -> &str {
        self.0.as_ref().map_or("", |who| &who.mount)
    }

    pub fn expires_at(&self) -> Timestamp {
        self.0.as_ref().and_then(|who| who.expires_at).unwrap_or(Timestamp::NEVER)
    }

    pub fn rates(&self) -> Option<Rates> {
        self.0.as_ref()?.rates
    }
}

/// What a CONNECT brings to be let in with.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    pub entrance: &'a Entrance,
    pub client_id: &'a str,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
}

impl fmt::Debug for Credentials<'_> {
    /// Tells that there is a password, never which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("entrance", &self.entrance)
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .field("password", &self.password.map(|_| "..."))
            .finish()
    }
}

/// Why somebody is not let in. Each has one reason code, and one return code in 3.1.1; the broker knows them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Denial {
    /// No such user, or not his password; nobody outside learns which of the two.
    BadUserNameOrPassword,
    /// No right to come in, or an exchange that its method does not allow.
    NotAuthorized,
    BadAuthenticationMethod,
    Banned,
    /// The user has as many as he may.
    TooManyConnections,
    ServerBusy,
    ServerUnavailable,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Accept(Identity),
    Refuse(Denial),
}

/// What a guard says to a CONNECT.
#[derive(Debug)]
pub enum Answer {
    Now(Verdict),
    /// The verdict takes longer than a shard may stand still: the driver runs the check elsewhere, and brings what it
    /// returns as an input.
    Later(Box<dyn Check>),
}

impl Answer {
    /// However long it takes.
    pub fn verdict(self) -> Verdict {
        let mut answer = self;
        loop {
            match answer {
                Self::Now(verdict) => return verdict,
                Self::Later(check) => answer = check.run(),
            }
        }
    }
}

/// A slow verdict, with all that it needs.
pub trait Check: fmt::Debug + Send {
    fn lane(&self) -> Lane {
        Lane::Compute
    }

    /// The verdict, or the next check that has to be made for it.
    fn run(self: Box<Self>) -> Answer;
}

/// What a check does most of its time: the two kinds are not to wait for each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    Compute,
    /// For somebody else's answer.
    Wait,
}

/// What a server does next in an enhanced authentication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// AUTH with Continue Authentication (0x18) and this data; the client's answer goes to the exchange.
    Challenge(Vec<u8>),
    /// CONNACK, or AUTH after a re-authentication, with Success and this data.
    Accept {
        identity: Identity,
        data: Option<Vec<u8>>,
    },
    Refuse(Denial),
}

/// One running enhanced authentication. The broker bounds its rounds, and the time it takes.
pub trait Exchange: fmt::Debug + Send {
    /// Takes the client's Authentication Data, empty where its packet has none. After `Accept` or `Refuse` an exchange
    /// is over, and refuses whatever comes.
    fn next(&mut self, data: &[u8]) -> Step;
}

/// Somebody who was let in.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub identity: &'a Identity,
    pub client_id: &'a str,
}

/// What rules look at of a message that is to be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publication<'a> {
    /// With its mount point.
    pub topic: TopicName<'a>,
    pub qos: QoS,
    pub retain: bool,
}

/// What a subscription may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// Every topic that the filter matches.
    Whole,
    /// Some of them: each message is asked about, by `may_receive`.
    Filtered,
    Denied,
}

/// Decides who comes in and what he may do. One per shard.
pub trait Guard: fmt::Debug + Send {
    /// A CONNECT without an Authentication Method.
    fn connect(&mut self, now: Timestamp, credentials: &Credentials<'_>) -> Answer;

    /// Begins an exchange by `method`; `None`: not a method of this server. The seed is fresh randomness from the
    /// driver, never given out twice.
    fn exchange(
        &mut self,
        now: Timestamp,
        method: &str,
        credentials: &Credentials<'_>,
        seed: [u8; 24],
    ) -> Option<Box<dyn Exchange>> {
        let _ = (now, method, credentials, seed);
        None
    }

    fn may_publish(&mut self, client: &Client<'_>, publication: &Publication<'_>) -> bool {
        let _ = (client, publication);
        true
    }

    /// Asked with the filter of a shared subscription too, without its `$share/{ShareName}/`.
    fn may_subscribe(&mut self, client: &Client<'_>, filter: TopicFilter<'_>, qos: QoS) -> Grant {
        let _ = (client, filter, qos);
        Grant::Whole
    }

    /// Asked of each message for who has a filtered subscription.
    fn may_receive(&mut self, client: &Client<'_>, topic: TopicName<'_>) -> bool {
        let _ = (client, topic);
        true
    }

    /// One more connection of somebody who is let in; each that was not refused ends with `leave`.
    fn enter(&mut self, who: &Identity) -> Result<(), Denial> {
        let _ = who;
        Ok(())
    }

    fn leave(&mut self, who: &Identity) {
        let _ = who;
    }
}
