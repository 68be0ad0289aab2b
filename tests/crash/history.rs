//! What the clients of a run did and saw, with the time of each: all that the judge knows.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds since the first time that anybody asked.
pub(crate) type Nanos = u64;

pub(crate) fn now() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as Nanos
}

/// Who published it, and the how manieth of his it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct MessageId {
    pub(crate) publisher: usize,
    pub(crate) number: usize,
}

impl MessageId {
    /// A payload of at least so many bytes that says it.
    pub(crate) fn payload(self, bytes: usize) -> Vec<u8> {
        let mut payload = format!("{} {} ", self.publisher, self.number).into_bytes();
        payload.resize(payload.len().max(bytes), b'.');
        payload
    }

    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let mut words = str::from_utf8(payload).ok()?.split(' ');
        let mut number = || words.next()?.parse().ok();
        Some(Self { publisher: number()?, number: number()? })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    /// Retained, where the publisher retains, and this one has no payload: it says nothing of who sent it.
    pub(crate) is_clear: bool,
    /// For the first time.
    pub(crate) sent_at: Nanos,
    /// By PUBACK, or by PUBREC.
    pub(crate) acknowledged_at: Option<Nanos>,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// Without `$share/group/`.
    pub(crate) filter: String,
    /// When SUBSCRIBE was sent first, and SUBACK came.
    pub(crate) asked_at: Nanos,
    pub(crate) granted_at: Option<Nanos>,
    /// The same of UNSUBSCRIBE and UNSUBACK.
    pub(crate) left_at: Option<Nanos>,
    pub(crate) gone_at: Option<Nanos>,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client_id: String,
    /// Of all its subscriptions.
    pub(crate) qos: u8,
    pub(crate) group: Option<String>,
    pub(crate) subscriptions: Vec<Subscription>,
    /// As a client's user is told: no QoS 2 message twice while its exchange is under way.
    pub(crate) arrivals: Vec<MessageId>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct History {
    /// By publisher.
    pub(crate) sent: Vec<Vec<Sent>>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) kills: Vec<Nanos>,
}
