//! What happened, counted. A drop or a refusal is never silent: each has a reason and a place here.

/// Why a message did not reach a subscriber that wanted it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum DropReason {
    /// The queue was full and its policy drops the message that comes.
    QueueFullNewest,
    /// The queue was full and its policy drops the message that waits longest.
    QueueFullOldest,
    /// The queue keeps only the last value of a topic, and a newer one came.
    LastValueReplaced,
    /// The queue was full and its policy ends the session's connection.
    QueueFullDisconnect,
    /// QoS 0 for a session that is offline, which by option is not kept.
    QosZeroOffline,
    /// QoS 0 for a connection whose output is full.
    QosZeroSlow,
    /// The Message Expiry Interval passed before delivery.
    Expired,
    /// Larger than the client's Maximum Packet Size. [MQTT-3.1.2-25]
    TooLarge,
    /// The client refused the message with a reason code of 0x80 or more.
    RefusedByClient,
    /// The session ended with messages still queued or in flight.
    SessionEnded,
    /// A shared subscription without any member.
    NoSharedMember,
}

impl DropReason {
    pub const COUNT: usize = Self::NoSharedMember as usize + 1;
}

/// Why something that a client asked for was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// Not a packet, or not one that may come now.
    BadPacket,
    /// CONNECT was not let in.
    Connect,
    /// No CONNECT in time, or an authentication exchange that took too long.
    ConnectTimeout,
    /// The sessions this shard may hold are all there.
    TooManySessions,
    /// The connections this shard may hold are all there.
    TooManyConnections,
    /// A publish without the right to it.
    PublishNotAuthorized,
    /// A subscription without the right to it.
    SubscribeNotAuthorized,
    /// The subscriptions a session may have are all there.
    TooManySubscriptions,
    /// A topic or filter deeper than an index walks.
    TopicTooDeep,
    /// The retained messages, or their bytes, that this shard may hold are all there.
    RetainedFull,
    /// More unacknowledged publishes than the Receive Maximum allows. [MQTT-3.3.4-7]
    ReceiveMaximumExceeded,
    /// A payload that is not the UTF-8 it says it is.
    PayloadFormat,
    /// A publish to a topic that belongs to the broker (`$...`).
    ReservedTopic,
}

impl Refusal {
    pub const COUNT: usize = Self::ReservedTopic as usize + 1;
}

/// One shard's counters; the broker's are their sums.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    pub packets_received: u64,
    pub packets_sent: u64,
    pub publishes_received: u64,
    pub publishes_sent: u64,
    pub publish_bytes_received: u64,
    pub publish_bytes_sent: u64,
    /// Publishes handed to another shard; with `publishes_received` it tells what a publish costs the mesh.
    pub mesh_publishes_sent: u64,
    pub connections_opened: u64,
    pub sessions_expired: u64,
    pub takeovers: u64,
    pub keep_alive_timeouts: u64,
    pub match_cut: u64,
    dropped: [u64; DropReason::COUNT],
    refused: [u64; Refusal::COUNT],
}

impl Counters {
    pub fn drop_message(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    pub fn refuse(&mut self, refusal: Refusal) {
        self.refused[refusal as usize] += 1;
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
