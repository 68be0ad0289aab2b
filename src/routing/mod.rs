//! L2: who wants a message. Each shard knows its own subscribers exactly ([`FilterIndex`]), the shared groups homed on
//! it ([`SharedGroups`]), its retained messages ([`RetainedIndex`]), and which shards want what ([`InterestIndex`]).

mod exact;
mod filter_index;
mod hash;
mod index_table;
mod interest;
mod keyed_vec;
mod line_table;
mod matches;
mod pool;
mod retained;
mod retained_seek;
mod shared;
mod shared_group;
mod subscriber;
mod subscriber_lists;
mod text;
mod trie;
mod trie_walk;

pub use filter_index::{FilterId, FilterIndex, Subscribed, Unsubscribed};
pub use hash::{TopicHash, TopicHasher};
pub use interest::InterestIndex;
pub use matches::{Delivery, Matches};
pub use retained::{RetainedCursor, RetainedIndex};
pub use shared::{Choice, GroupRef, Joined, Left, Member, SharedGroups};
pub use subscriber::{GroupId, Subscriber, SubscriberKind, SubscriptionOptions};
