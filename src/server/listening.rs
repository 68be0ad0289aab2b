//! A listener, as one shard has it.

use std::sync::Arc;

use crate::base::ListenerId;
use crate::net::{Listener, Transport};

#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: Listener,
    pub(super) id: ListenerId,
    pub(super) transport: Arc<Transport>,
    /// There may be more to accept than one turn takes.
    pub(super) has_more: bool,
}
