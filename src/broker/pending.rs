//! Things that wait for several others: an acknowledgement for the commits of the shards that store the message, a
//! SUBACK for the shards that have to know the filter.

use slab::Slab;

use super::mesh::{ReplyTo, Token};
use super::message::Message;
use super::retained::Replay;
use super::session::Via;
use crate::base::{RecordId, SessionRef};
use crate::mqtt::PacketId;
use crate::routing::FilterId;
use crate::session::AckTicket;

/// What happens when the last of them is there.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Completion {
    /// PUBACK or PUBREC to the publisher.
    Acknowledge { session: SessionRef, ticket: AckTicket },
    /// SUBACK, and the retained messages of the new subscriptions.
    SubAck(SubAckDue),
    /// The message is safe: its publisher is told, and it goes to those who want it.
    Spooled(Box<Spooled>),
    /// A message goes on its way that was not to overtake one of the spool.
    Route(Box<Late>),
    /// They all have it.
    Unspool(RecordId),
    /// `Done` to the shard that asked.
    Reply(ReplyTo),
    /// One step of another one's waiting.
    Passed(Token),
    /// Nobody waits.
    Nothing,
    /// Every shard knows of the filter now: whoever waits for it may go on.
    Announced { filter: FilterId, waiting: Vec<Token> },
}

/// A message that went into the spool.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Spooled {
    pub(super) id: RecordId,
    pub(super) message: Message,
    /// The client that published it, whose session may be another one by now.
    pub(super) publisher: Option<Box<str>>,
    /// Only for a member of this group.
    pub(super) share: Option<Via>,
    /// PUBREC, where a publish is what it was.
    pub(super) acknowledges: Option<(SessionRef, AckTicket)>,
}

/// A message behind one of the spool.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Late {
    pub(super) message: Message,
    pub(super) publisher: Box<str>,
    pub(super) then: Option<Completion>,
}

/// A SUBACK, and the retained messages behind it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct SubAckDue {
    pub(super) session: SessionRef,
    pub(super) connection: u32,
    pub(super) packet_id: PacketId,
    pub(super) reasons: Box<[u8]>,
    pub(super) replays: Vec<Replay>,
}

#[derive(Debug)]
struct Pending {
    remaining: u32,
    /// One of them said no.
    is_refused: bool,
    completion: Completion,
}

/// The table of them. A token outlives its entry harmlessly: the generation tells.
#[derive(Debug, Default)]
pub(super) struct PendingTable {
    entries: Slab<(u32, Pending)>,
    generation: u32,
}

impl PendingTable {
    /// Waits for `remaining` calls of `complete_one`, which is at least one.
    pub(super) fn insert(&mut self, remaining: u32, completion: Completion) -> Token {
        debug_assert!(remaining > 0);
        self.generation = self.generation.wrapping_add(1);
        let slot = self.entries.insert((self.generation, Pending { remaining, is_refused: false, completion }));
        Token { slot: slot as u32, generation: self.generation }
    }

    fn get_mut(&mut self, token: Token) -> Option<&mut Pending> {
        match self.entries.get_mut(token.slot as usize) {
            Some((generation, pending)) if *generation == token.generation => Some(pending),
            _ => None,
        }
    }

    pub(super) fn completion_mut(&mut self, token: Token) -> Option<&mut Completion> {
        self.get_mut(token).map(|pending| &mut pending.completion)
    }

    /// One more thing to wait for.
    pub(super) fn add_one(&mut self, token: Token) {
        if let Some(pending) = self.get_mut(token) {
            pending.remaining += 1;
        }
    }

    pub(super) fn refuse(&mut self, token: Token) {
        if let Some(pending) = self.get_mut(token) {
            pending.is_refused = true;
        }
    }

    /// One of them is there; after the last one its completion is due, or is refused.
    pub(super) fn complete_one(&mut self, token: Token) -> Option<Outcome> {
        let pending = self.get_mut(token)?;
        pending.remaining -= 1;
        if pending.remaining > 0 {
            return None;
        }
        let Pending { is_refused, completion, .. } = self.entries.remove(token.slot as usize).1;
        Some(Outcome { completion, is_refused })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What was waited for has come, or will not.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) completion: Completion,
    pub(super) is_refused: bool,
}

/// What has to be stored before something may be acknowledged; asked for as the message goes out.
#[derive(Debug)]
pub(super) struct Join {
    completion: Option<Completion>,
    token: Option<Token>,
    is_refused: bool,
}

impl Join {
    /// `None`: nobody waits.
    pub(super) const fn new(completion: Option<Completion>) -> Self {
        Self { completion, token: None, is_refused: false }
    }

    /// One more thing to wait for.
    pub(super) fn wait(&mut self, pending: &mut PendingTable) -> Option<Token> {
        match (self.token, self.completion.take()) {
            (Some(token), _) => pending.add_one(token),
            (None, Some(completion)) => {
                let token = pending.insert(1, completion);
                self.token = Some(token);
                if self.is_refused {
                    pending.refuse(token);
                }
            }
            (None, None) => {}
        }
        self.token
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.token.is_some()
    }

    pub(super) const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether anybody can be told that it did not work.
    pub(super) const fn is_awaited(&self) -> bool {
        self.token.is_some() || self.completion.is_some()
    }

    /// It did not work; who waits is told when all the others are there.
    pub(super) fn refuse(&mut self, pending: &mut PendingTable) {
        self.is_refused = true;
        if let Some(token) = self.token {
            pending.refuse(token);
        }
    }

    /// What is due at once, because nothing was waited for.
    pub(super) fn unawaited(self) -> Option<Outcome> {
        let is_refused = self.is_refused;
        self.completion.filter(|_| self.token.is_none()).map(|completion| Outcome { completion, is_refused })
    }

    pub(super) fn completion_mut<'a>(&'a mut self, pending: &'a mut PendingTable) -> Option<&'a mut Completion> {
        match self.token {
            Some(token) => pending.completion_mut(token),
            None => self.completion.as_mut(),
        }
    }
}
