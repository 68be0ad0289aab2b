//! Which shard is the home of what. All shards give the same answer, as they share the seed; clients do not know it.

use ahash::RandomState;

use crate::base::ShardId;
use crate::mqtt::TopicFilter;
use crate::routing::TopicHash;

#[derive(Clone, Debug)]
pub struct Homes {
    shards: usize,
    clients: RandomState,
    groups: RandomState,
}

impl Homes {
    pub fn new(seed: u64, shards: usize) -> Self {
        let clients = RandomState::with_seeds(seed, 1, 2, 3);
        Self { shards, clients, groups: RandomState::with_seeds(seed, 4, 5, 6) }
    }

    pub fn client_hash(&self, client_id: &str) -> u64 {
        self.clients.hash_one(client_id)
    }

    /// Of a client's session.
    pub fn of_client(&self, client_id: &str) -> ShardId {
        self.of(self.client_hash(client_id))
    }

    /// Of a retained message.
    pub fn of_topic(&self, topic: TopicHash) -> ShardId {
        self.of(topic.get())
    }

    /// Of a shared group.
    pub fn of_group(&self, group: &str, filter: TopicFilter<'_>) -> ShardId {
        self.of(self.groups.hash_one((group, filter.as_str())))
    }

    fn of(&self, hash: u64) -> ShardId {
        // The high bits, by multiplication: the low ones place the entry in its table there.
        ShardId::new(((u128::from(hash) * self.shards as u128) >> 64) as usize)
    }
}
