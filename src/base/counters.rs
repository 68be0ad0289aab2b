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
    /// QoS 0 that waited behind what was not durable yet, for a connection that ended meanwhile.
    QosZeroHeld,
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
    /// It waited in the store, which has it no more.
    StoreLost,
    /// The rules do not let the session have it.
    NotAuthorized,
}

impl DropReason {
    pub const COUNT: usize = Self::NotAuthorized as usize + 1;

    /// All of them, as operators read them.
    pub const NAMES: [(Self, &'static str); Self::COUNT] = [
        (Self::QueueFullNewest, "queue_full_newest"),
        (Self::QueueFullOldest, "queue_full_oldest"),
        (Self::LastValueReplaced, "last_value_replaced"),
        (Self::QueueFullDisconnect, "queue_full_disconnect"),
        (Self::QosZeroOffline, "qos_zero_offline"),
        (Self::QosZeroSlow, "qos_zero_slow"),
        (Self::QosZeroHeld, "qos_zero_held"),
        (Self::Expired, "expired"),
        (Self::TooLarge, "too_large"),
        (Self::RefusedByClient, "refused_by_client"),
        (Self::SessionEnded, "session_ended"),
        (Self::NoSharedMember, "no_shared_member"),
        (Self::StoreLost, "store_lost"),
        (Self::NotAuthorized, "not_authorized"),
    ];

    /// Those that say that a subscriber takes less than it is sent.
    pub const NO_ROOM: [Self; 4] =
        [Self::QueueFullNewest, Self::QueueFullOldest, Self::QueueFullDisconnect, Self::QosZeroSlow];
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
    /// A publish that was to be stored, while nothing can be.
    StoreUnwritable,
    /// What lies between a socket and MQTT failed: TLS, a PROXY header, WebSocket.
    Transport,
    /// More messages than the client may publish.
    MessageRate,
    /// More bytes than the client may publish.
    ByteRate,
    /// A client that read nothing for too long while its output was full.
    SlowReader,
    /// An address, or a user, that failed to come in too often.
    Banned,
    /// An address that came too often.
    ConnectRate,
    /// The connections that an address may have are all there.
    AddressFull,
    /// The connections that a user may have are all there.
    UserFull,
    /// The connections that a listener may have are all there.
    ListenerFull,
    /// A CONNECT that came while the shard, or who checks passwords, had too much to do.
    Overload,
}

impl Refusal {
    pub const COUNT: usize = Self::Overload as usize + 1;

    /// All of them, as operators read them.
    pub const NAMES: [(Self, &'static str); Self::COUNT] = [
        (Self::BadPacket, "bad_packet"),
        (Self::Connect, "connect"),
        (Self::ConnectTimeout, "connect_timeout"),
        (Self::TooManySessions, "too_many_sessions"),
        (Self::TooManyConnections, "too_many_connections"),
        (Self::PublishNotAuthorized, "publish_not_authorized"),
        (Self::SubscribeNotAuthorized, "subscribe_not_authorized"),
        (Self::TooManySubscriptions, "too_many_subscriptions"),
        (Self::TopicTooDeep, "topic_too_deep"),
        (Self::RetainedFull, "retained_full"),
        (Self::ReceiveMaximumExceeded, "receive_maximum_exceeded"),
        (Self::PayloadFormat, "payload_format"),
        (Self::ReservedTopic, "reserved_topic"),
        (Self::StoreUnwritable, "store_unwritable"),
        (Self::Transport, "transport"),
        (Self::MessageRate, "message_rate"),
        (Self::ByteRate, "byte_rate"),
        (Self::SlowReader, "slow_reader"),
        (Self::Banned, "banned"),
        (Self::ConnectRate, "connect_rate"),
        (Self::AddressFull, "address_full"),
        (Self::UserFull, "user_full"),
        (Self::ListenerFull, "listener_full"),
        (Self::Overload, "overload"),
    ];
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
    pub connects_received: u64,
    /// Bytes of packets given out to be sent; and of those, what left, or was lost with its connection.
    pub output_bytes: u64,
    pub output_bytes_gone: u64,
    pub sessions_expired: u64,
    pub takeovers: u64,
    pub keep_alive_timeouts: u64,
    pub match_cut: u64,
    /// Times that a client was not read for a while because it published too much.
    pub throttled: u64,
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

    /// Bytes that wait for their sockets.
    pub fn output_bytes_waiting(&self) -> u64 {
        self.output_bytes - self.output_bytes_gone
    }

    pub fn add(&mut self, other: &Self) {
        let Self {
            packets_received,
            packets_sent,
            publishes_received,
            publishes_sent,
            publish_bytes_received,
            publish_bytes_sent,
            mesh_publishes_sent,
            connections_opened,
            connects_received,
            output_bytes,
            output_bytes_gone,
            sessions_expired,
            takeovers,
            keep_alive_timeouts,
            match_cut,
            throttled,
            dropped,
            refused,
        } = other;
        self.packets_received += packets_received;
        self.packets_sent += packets_sent;
        self.publishes_received += publishes_received;
        self.publishes_sent += publishes_sent;
        self.publish_bytes_received += publish_bytes_received;
        self.publish_bytes_sent += publish_bytes_sent;
        self.mesh_publishes_sent += mesh_publishes_sent;
        self.connections_opened += connections_opened;
        self.connects_received += connects_received;
        self.output_bytes += output_bytes;
        self.output_bytes_gone += output_bytes_gone;
        self.sessions_expired += sessions_expired;
        self.takeovers += takeovers;
        self.keep_alive_timeouts += keep_alive_timeouts;
        self.match_cut += match_cut;
        self.throttled += throttled;
        self.dropped.iter_mut().zip(dropped).for_each(|(sum, count)| *sum += count);
        self.refused.iter_mut().zip(refused).for_each(|(sum, count)| *sum += count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snake_case(name: &str) -> String {
        name.chars().fold(String::new(), |mut text, letter| {
            if letter.is_uppercase() && !text.is_empty() {
                text.push('_');
            }
            text.push(letter.to_ascii_lowercase());
            text
        })
    }

    #[test]
    fn each_reason_is_named_once_by_its_own_name() {
        for (index, (reason, name)) in DropReason::NAMES.into_iter().enumerate() {
            assert_eq!((reason as usize, name), (index, &*snake_case(&format!("{reason:?}"))));
        }
        for (index, (refusal, name)) in Refusal::NAMES.into_iter().enumerate() {
            assert_eq!((refusal as usize, name), (index, &*snake_case(&format!("{refusal:?}"))));
        }
    }

    #[test]
    fn counters_of_shards_add_up() {
        let mut one = Counters { packets_sent: 1, output_bytes: 7, output_bytes_gone: 3, ..Counters::default() };
        one.drop_message(DropReason::Expired);
        let mut other = Counters { packets_sent: 10, output_bytes: 5, output_bytes_gone: 5, ..Counters::default() };
        other.drop_message(DropReason::Expired);
        other.refuse(Refusal::ReservedTopic);
        one.add(&other);
        assert_eq!((one.packets_sent, one.output_bytes_waiting()), (11, 4));
        assert_eq!((one.dropped(DropReason::Expired), one.refused(Refusal::ReservedTopic)), (2, 1));
        assert_eq!(one.dropped_in_all(), 2);
    }
}
