//! L1: the MQTT wire format. Decoding borrows from its input, encoding writes into the caller's buffer.

mod topic;

pub use topic::{SharedFilter, TopicError, TopicFilter, TopicName};
