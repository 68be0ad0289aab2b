//! What goes through the mesh: what cores tell each other, connections on their way to their home shard, and what the
//! shards' drivers have to say.

use super::doors::Place;
use crate::broker::{MeshMessage, ShardStats};
use crate::net::Connection;

#[derive(Debug)]
pub(super) enum Parcel {
    Core(MeshMessage),
    /// With all that was read of it, and what it has taken of what is bounded.
    Connection(Box<(Connection, Place)>),
    /// The sender has taken over what was stored: whatever others have to know of that is in front of this.
    Restored,
    /// The sender reads its clients no more: whatever they caused is in front of this.
    Quiet,
    /// The first shard wants to know how the others are doing.
    StatsAsked {
        round: u32,
    },
    Stats {
        round: u32,
        stats: Box<ShardStats>,
    },
}
