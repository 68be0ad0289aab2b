//! Things that wait for several others: an acknowledgement for the commits of the shards that store the message, a
//! SUBACK for the shards that have to know the filter.

use slab::Slab;

use super::mesh::{ReplyTo, Token};
use super::retained::Replay;
use crate::base::SessionRef;
use crate::mqtt::{PacketId, ReasonCode};
use crate::routing::FilterId;
use crate::session::AckTicket;

/// What happens when the last of them is there.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Completion {
    /// PUBACK or PUBREC to the publisher.
    Acknowledge { session: SessionRef, ticket: AckTicket, reason: u8 },
    /// SUBACK, and the retained messages of the new subscriptions.
    SubAck(SubAckDue),
    /// PUBCOMP to the publisher.
    PubComp { session: SessionRef, connection: u32, packet_id: PacketId, reason: ReasonCode },
    /// `Done` to the shard that asked.
    Reply(ReplyTo),
    /// One step of another one's waiting.
    Passed(Token),
    /// Every shard knows of the filter now: whoever waits for it may go on.
    Announced { filter: FilterId, waiting: Vec<Token> },
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
        let slot = self.entries.insert((self.generation, Pending { remaining, completion }));
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

    /// One of them is there; after the last one its completion is due.
    pub(super) fn complete_one(&mut self, token: Token) -> Option<Completion> {
        let pending = self.get_mut(token)?;
        pending.remaining -= 1;
        if pending.remaining > 0 {
            return None;
        }
        Some(self.entries.remove(token.slot as usize).1.completion)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What has to be stored before something may be acknowledged; asked for as the message goes out.
#[derive(Debug)]
pub(super) struct Join {
    completion: Option<Completion>,
    token: Option<Token>,
}

impl Join {
    /// `None`: nobody waits.
    pub(super) const fn new(completion: Option<Completion>) -> Self {
        Self { completion, token: None }
    }

    /// One more thing to wait for.
    pub(super) fn wait(&mut self, pending: &mut PendingTable) -> Option<Token> {
        match (self.token, self.completion.take()) {
            (Some(token), _) => pending.add_one(token),
            (None, Some(completion)) => self.token = Some(pending.insert(1, completion)),
            (None, None) => {}
        }
        self.token
    }

    /// What is due at once, because nothing was waited for.
    pub(super) fn unawaited(self) -> Option<Completion> {
        if self.token.is_none() { self.completion } else { None }
    }

    pub(super) fn completion_mut<'a>(&'a mut self, pending: &'a mut PendingTable) -> Option<&'a mut Completion> {
        match self.token {
            Some(token) => pending.completion_mut(token),
            None => self.completion.as_mut(),
        }
    }
}
