//! The questions that the broker asks about a client, and the answers it can get.

use std::fmt;
use std::sync::Arc;

use crate::mqtt::{TopicFilter, TopicName};

/// Who a connection is, once let in. A session keeps a copy: one counted pointer.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Identity {
    user: Option<Arc<str>>,
}

impl Identity {
    pub const ANONYMOUS: Self = Self { user: None };

    pub fn of_user(name: &str) -> Self {
        Self { user: Some(Arc::from(name)) }
    }

    /// The user's name; `None`: anonymous.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// What a CONNECT brings to be let in with.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    pub client_id: &'a str,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
}

impl fmt::Debug for Credentials<'_> {
    /// Tells that there is a password, never which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
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

/// A slow verdict, with all that it needs.
pub trait Check: fmt::Debug + Send {
    fn run(self: Box<Self>) -> Verdict;
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

/// Decides who comes in and what he may do. One per shard.
pub trait Guard: fmt::Debug + Send {
    /// A CONNECT without an Authentication Method.
    fn connect(&mut self, credentials: &Credentials<'_>) -> Answer;

    /// Begins an exchange by `method`; `None`: not a method of this server. The seed is fresh randomness from the
    /// driver, never given out twice.
    fn exchange(&mut self, method: &str, client_id: &str, seed: [u8; 24]) -> Option<Box<dyn Exchange>>;

    fn may_publish(&mut self, who: &Identity, client_id: &str, topic: TopicName<'_>) -> bool;

    /// Asked with the filter of a shared subscription too, without its `$share/{ShareName}/`.
    fn may_subscribe(&mut self, who: &Identity, client_id: &str, filter: TopicFilter<'_>) -> bool;
}
