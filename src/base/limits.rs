//! Every bound on what a client, or the broker itself, can make grow, and how the bounds relate.
//!
//! Constants are what the protocol or a data structure fixes; what an operator may choose is a field of
//! `broker::Options`, and stays within the constants here.

use super::time::Millis;

/// Shards a broker can have: a shard set is one machine word.
pub const SHARDS_MAX: usize = 64;

/// The longest Remaining Length: four bytes of seven bits. (MQTT 5.0, 2.1.4)
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;

/// The longest packet: a type byte, four length bytes and the rest.
pub const PACKET_BYTES_MAX: u32 = REMAINING_LENGTH_MAX + 5;

/// The longest fixed header; an input of this length tells a packet's size.
pub const FIXED_HEADER_BYTES_MAX: usize = 5;

/// The longest CONNECT: nobody who was not let in may make the broker hold more. Its six fields of 64 KiB at most fit,
/// with properties as long as one of them.
pub const CONNECT_BYTES_MAX: u32 = 7 * 64 * 1024;

/// The longest string or binary field: a two-byte length.
pub const STRING_BYTES_MAX: usize = 65_535;

/// Subscription Identifiers are variable byte integers.
pub const SUBSCRIPTION_ID_MAX: u32 = REMAINING_LENGTH_MAX;

/// Packet identifiers in use at once, per session and direction.
pub const PACKET_IDS_MAX: usize = 65_535;

/// Levels of a topic or filter that an index will walk; deeper ones are refused (0x90, 0x8F), so that a match visits a
/// bounded number of nodes.
pub const TOPIC_LEVELS_MAX: usize = 64;

/// Filters of one SUBSCRIBE or UNSUBSCRIBE: a packet is one step, and who asks for more is cut off (0x97).
pub const FILTERS_PER_PACKET_MAX: usize = 4_096;

/// Subscriptions of a shard, of all its clients, that wait for other shards or the store before they are answered; a
/// client that adds to more is cut off (0x97).
pub const SUBSCRIBES_PENDING_MAX: usize = 1 << 20;

/// Trie nodes a single match may visit. A client that plants `+` on every level of many filters makes a match walk
/// 2^levels nodes; past this the match ends and the counter `match_cut` says so.
pub const MATCH_NODES_MAX: usize = 65_536;

/// Replays of retained messages that a session may have to do before those of one filter become one.
pub const REPLAYS_APART_MAX: usize = 64;

/// Topics of which a session remembers, while it has replays to do, that a message came live. What is not remembered may
/// come again, or behind a newer one, with RETAIN set.
pub const LIVE_TOPICS_MAX: usize = 1_024;

/// Messages that a retained page carries at most, and keys that it looks at: one page is one bounded step.
pub const RETAINED_PAGE_MESSAGES_MAX: usize = 256;
pub const RETAINED_PAGE_STEPS_MAX: usize = 4_096;

/// Messages, and their bytes, of a queue in the store that are read at once; one is read however large it is.
pub const FETCH_MESSAGES_MAX: usize = 256;
pub const FETCH_BYTES_MAX: u64 = 256 * 1024;

/// Payloads up to this size are copied into a connection's output buffer; larger ones go by reference.
pub const PAYLOAD_COPY_BYTES_MAX: usize = 2_048;

/// Rounds of an enhanced authentication exchange before it is given up as an attack.
pub const AUTH_ROUNDS_MAX: u32 = 8;

/// Bytes of authentication data that one AUTH or CONNECT may carry to a verifier.
pub const AUTH_DATA_BYTES_MAX: usize = 16 * 1024;

/// Subscriptions that one tick judges anew after a change of rules, and slots of sessions that it looks into for them.
pub const SUBSCRIPTIONS_JUDGED_MAX: usize = 256;
pub const SESSIONS_LOOKED_AT_MAX: u32 = 4_096;
/// Addresses and users that failed to come in, and as many that are banned, which are remembered at once; and the longest
/// user name that is remembered, as an attacker chooses what is.
pub const OFFENDERS_MAX: usize = 16_384;
pub const BANNED_NAME_BYTES_MAX: usize = 256;

/// Refusals of a shard that wait before they are told.
pub const DELAYED_REFUSALS_MAX: usize = 4_096;

/// Connections or sessions of a shard: the largest number of one that leaves two bits for what kind of thing it is.
pub const SLOTS_MAX: u32 = (1 << 30) - 1;

/// Timers that one tick acts on, so that what comes of them (wills) can be sent before the next tick goes on.
pub const TIMERS_PER_TICK: usize = 64;

/// The finest time that timers tell apart; a driver ticks as often.
pub const TIMER_TICK: Millis = Millis(64);

const _: () = assert!(CONNECT_BYTES_MAX < PACKET_BYTES_MAX);
const _: () = assert!(SHARDS_MAX <= u64::BITS as usize);
const _: () = assert!(RETAINED_PAGE_MESSAGES_MAX <= RETAINED_PAGE_STEPS_MAX);
const _: () = assert!(PAYLOAD_COPY_BYTES_MAX < STRING_BYTES_MAX);
const _: () = assert!(TOPIC_LEVELS_MAX <= u8::MAX as usize);
const _: () = assert!(AUTH_DATA_BYTES_MAX <= STRING_BYTES_MAX);
