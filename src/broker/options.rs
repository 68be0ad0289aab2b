//! What an operator can choose for a shard, with the defaults of Mosquitto where both have the option.

use crate::base::Millis;
use crate::base::limits::{PACKET_BYTES_MAX, SHARDS_MAX, SLOTS_MAX, STRING_BYTES_MAX, TOPIC_LEVELS_MAX};
use crate::routing::Choice;
use crate::session::{FullPolicy, QueueBounds};

#[derive(Clone, Debug)]
pub struct Options {
    pub shards: usize,
    /// Of the hashes that shards must agree on; unknown to clients.
    pub seed: u64,
    /// Of assigned client identifiers and authentication nonces; another one for each shard.
    pub secret: [u8; 32],
    /// Records are made, and what must be durable is acknowledged after `Input::Committed`.
    pub durable: bool,
    /// The number of the first record: higher than that of any that a store has, and one at least.
    pub next_record: u64,
    pub packet_bytes_max: u32,
    /// From the opening of a connection to its CONNACK.
    pub connect_timeout: Millis,
    /// Above this, and for no keep alive at all, the client is told a Server Keep Alive of this. Zero: as the client likes.
    pub keep_alive_secs_max: u16,
    pub session_expiry_secs_max: u32,
    /// Publishes of QoS 1 and 2 that a client may have unacknowledged.
    pub receive_max: u16,
    /// Publishes of QoS 1 and 2 that the broker has unacknowledged with a client, if that allows as many.
    pub inflight_max: u16,
    pub queue: QueueBounds,
    /// Whether QoS 0 is kept for sessions that are offline.
    pub queue_qos_zero: bool,
    /// Output that may wait for a connection's socket.
    pub output_bytes_max: u32,
    pub topic_alias_max: u16,
    /// Topic aliases used towards a client, if that allows as many.
    pub outbound_topic_alias_max: u16,
    pub subscriptions_max: u32,
    pub topic_levels_max: usize,
    pub connections_max: usize,
    pub sessions_max: usize,
    pub retained_messages_max: usize,
    pub retained_bytes_max: usize,
    pub share_choice: Choice,
    /// What a client that asks for Response Information is told: where its response topics may lie. [MQTT-3.1.2-28]
    pub response_information: Option<Box<str>>,
    /// Whether the payload of a publish that says it is UTF-8 is looked at. (MQTT 5.0, 3.3.2.3.2)
    pub validate_payload_format: bool,
    /// How long a client may read nothing while its output is full. Zero: as it likes.
    pub slow_reader: Millis,
    /// How long those wait for their refusal who could not prove who they are.
    pub failure_delay: Millis,
    pub refused_publish: RefusedPublish,
}

/// What becomes of a publish that is refused, before 5.0, where no answer can say so. (MQTT 3.1.1, 3.3.5)
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RefusedPublish {
    /// It is dropped and counted; its publisher is answered as if all were well.
    #[default]
    Drop,
    /// Its publisher is disconnected.
    Disconnect,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            seed: 0,
            secret: [0; 32],
            durable: false,
            next_record: 1,
            packet_bytes_max: PACKET_BYTES_MAX,
            connect_timeout: Millis::from_secs(10),
            keep_alive_secs_max: 0,
            session_expiry_secs_max: u32::MAX,
            receive_max: 1_024,
            inflight_max: 20,
            queue: QueueBounds { messages_max: 1_000, bytes_max: 64 << 20, policy: FullPolicy::DropNewest },
            queue_qos_zero: false,
            output_bytes_max: 1 << 20,
            topic_alias_max: 10,
            outbound_topic_alias_max: 10,
            subscriptions_max: 10_000,
            topic_levels_max: TOPIC_LEVELS_MAX,
            connections_max: 2_000_000,
            sessions_max: 4_000_000,
            retained_messages_max: 10_000_000,
            retained_bytes_max: 4 << 30,
            share_choice: Choice::RoundRobin,
            response_information: None,
            validate_payload_format: false,
            refused_publish: RefusedPublish::Drop,
            slow_reader: Millis::from_secs(60),
            failure_delay: Millis(0),
        }
    }
}

/// An option that no broker can run with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionError {
    pub option: &'static str,
    pub min: u64,
    pub max: u64,
    pub value: u64,
}

impl std::fmt::Display for OptionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { option, min, max, value } = self;
        write!(f, "{option} = {value} is out of range: it must be from {min} to {max}")
    }
}

impl std::error::Error for OptionError {}

/// A packet limit below this would refuse packets that the protocol itself needs.
const PACKET_BYTES_MIN: u32 = 256;

impl Options {
    /// Unsent output below which a connection has room again.
    pub(super) fn room_below(&self) -> u32 {
        (self.output_bytes_max / 2).max(1)
    }

    pub fn validate(&self) -> Result<(), OptionError> {
        let in_range = |option, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(OptionError { option, min, max, value }) }
        };
        let slots_max = u64::from(SLOTS_MAX);
        let information_bytes = self.response_information.as_ref().map_or(0, |text| text.len() as u64);
        in_range("response_information (bytes)", information_bytes, 0, STRING_BYTES_MAX as u64)?;
        in_range("shards", self.shards as u64, 1, SHARDS_MAX as u64)?;
        in_range("packet_bytes_max", self.packet_bytes_max.into(), PACKET_BYTES_MIN.into(), PACKET_BYTES_MAX.into())?;
        in_range("connect_timeout", self.connect_timeout.0, 1, u32::MAX.into())?;
        in_range("receive_max", self.receive_max.into(), 1, u16::MAX.into())?;
        in_range("inflight_max", self.inflight_max.into(), 1, u16::MAX.into())?;
        in_range("queue.messages_max", self.queue.messages_max.into(), 1, u32::MAX.into())?;
        in_range("queue.bytes_max", self.queue.bytes_max, 1, u64::MAX)?;
        in_range("output_bytes_max", self.output_bytes_max.into(), 1, (1 << 30) - 1)?;
        in_range("subscriptions_max", self.subscriptions_max.into(), 1, slots_max)?;
        in_range("topic_levels_max", self.topic_levels_max as u64, 1, TOPIC_LEVELS_MAX as u64)?;
        in_range("connections_max", self.connections_max as u64, 1, slots_max)?;
        in_range("sessions_max", self.sessions_max as u64, 1, slots_max)
    }
}
