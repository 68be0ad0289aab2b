//! One client, without a socket: bytes in, bytes out, and what has happened.

use std::fmt;
use std::rc::Rc;

use thrum::mqtt::{
    Ack, AckType, ConnAck, Connect, Delivery, Disconnect, FilterRequest, Packet, PacketId, PacketType, Progress,
    Properties, PropertyBuffer, PropertyId, Publish, QoS, ReasonCode, RetainHandling, Sender, SharedFilter, SubAck,
    Subscribe, TopicName, Unsubscribe, Version, decode, decode_publish, encode, encode_ack, frame,
};

/// Filters that one SUBSCRIBE asks for.
const FILTERS_PER_SUBSCRIBE: usize = 500;

/// Publishes of QoS 1 and 2 that a client has under way at most, where the broker names no fewer: what brokers take
/// without being asked.
const UNACKNOWLEDGED_MAX: u32 = 1_000;

/// How long a durable session lasts without its client, where the protocol lets it say so.
const SESSION_EXPIRY_SECS: u32 = 3_600;

/// Who a client is, and what it subscribes to.
#[derive(Clone, Debug)]
pub struct Identity {
    pub version: Version,
    pub client_id: Box<str>,
    pub user_name: Option<Rc<str>>,
    pub password: Option<Rc<str>>,
    pub keep_alive_secs: u16,
    pub filters: Rc<[Box<str>]>,
    /// Of the subscriptions.
    pub qos: QoS,
    /// Its session outlives the connection.
    pub is_durable: bool,
}

/// How far a client has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Closed,
    Connecting,
    Subscribing,
    Ready,
    /// Has sent DISCONNECT; the connection is the broker's to close.
    Leaving,
}

/// What a client is told of what it received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happening<'a> {
    Connected {
        /// As the broker has it.
        keep_alive_secs: u16,
    },
    /// Connected, and subscribed to all it was to.
    Ready,
    Message(&'a Publish<'a>),
    /// A publish of QoS 1 or 2 has come to its end.
    Acknowledged,
    /// A ping was answered.
    Pinged,
}

/// Why a client cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// There is no connection, in the words of the system.
    Unreachable(String),
    Closed,
    Refused(ReasonCode),
    SubscriptionRefused(u8),
    SubscriptionLowered {
        asked: QoS,
        granted: u8,
    },
    Disconnected(ReasonCode),
    Malformed(String),
    /// TLS or WebSocket, in the words of those who speak it.
    Transport(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "no connection to the broker: {error}"),
            Self::Closed => f.write_str("the broker closed a connection"),
            Self::Refused(reason) => write!(f, "a client was refused: {reason}"),
            Self::SubscriptionRefused(code) => write!(f, "a subscription was refused: 0x{code:02X}"),
            Self::SubscriptionLowered { asked, granted } => {
                write!(f, "a subscription of QoS {} was granted QoS {granted}", *asked as u8)
            }
            Self::Disconnected(reason) => write!(f, "the broker ended a connection: {reason}"),
            Self::Transport(error) => f.write_str(error),
            Self::Malformed(error) => write!(f, "the broker sent what is no packet: {error}"),
        }
    }
}

/// What was used of an input, and how much more is needed at least before there is a whole packet again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    pub bytes: usize,
    pub need: usize,
}

/// A PUBLISH of one topic, ready but for its packet identifier and its payload.
#[derive(Clone, Debug)]
pub struct PublishHead {
    bytes: Box<[u8]>,
    qos: QoS,
    id_at: usize,
}

impl PublishHead {
    pub fn new(version: Version, topic: TopicName<'_>, qos: QoS, retain: bool, payload: &[u8]) -> Self {
        let delivery = delivery(qos, || PacketId::MIN);
        let publish =
            Publish { dup: false, delivery, retain, topic: Some(topic), properties: Properties::EMPTY, payload };
        let mut bytes = Vec::new();
        encode(&Packet::Publish(publish), version, &mut bytes);
        bytes.truncate(bytes.len() - payload.len());
        // What stands behind it is the length of no properties.
        let id_at = bytes.len() - size_of::<PacketId>() - usize::from(version == Version::V5);
        Self { bytes: bytes.into(), qos, id_at }
    }
}

fn delivery(qos: QoS, id: impl FnOnce() -> PacketId) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce(id()),
        QoS::ExactlyOnce => Delivery::ExactlyOnce(id()),
    }
}

#[derive(Debug)]
pub struct Client {
    identity: Identity,
    phase: Phase,
    /// Filters that were asked for.
    asked: usize,
    next_packet_id: u16,
    /// Publishes of QoS 1 and 2 that are not at their end, and how many there may be.
    unacknowledged: u32,
    unacknowledged_max: u32,
    /// What it has set itself.
    own_max: u32,
}

impl Client {
    pub const fn new(identity: Identity) -> Self {
        Self {
            identity,
            phase: Phase::Closed,
            asked: 0,
            next_packet_id: 1,
            unacknowledged: 0,
            unacknowledged_max: UNACKNOWLEDGED_MAX,
            own_max: UNACKNOWLEDGED_MAX,
        }
    }

    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Begins anew; what is sent first is put into `out`.
    pub fn connect(&mut self, out: &mut Vec<u8>) {
        let Identity { version, client_id, user_name, password, keep_alive_secs, is_durable, .. } = &self.identity;
        let mut properties = PropertyBuffer::default();
        if *is_durable && *version == Version::V5 {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, SESSION_EXPIRY_SECS);
        }
        let connect = Connect {
            version: *version,
            clean_start: !is_durable,
            keep_alive_secs: *keep_alive_secs,
            client_id,
            will: None,
            user_name: user_name.as_deref(),
            password: password.as_deref().map(str::as_bytes),
            properties: properties.properties(),
        };
        encode(&Packet::Connect(connect), *version, out);
        (self.phase, self.asked, self.unacknowledged) = (Phase::Connecting, 0, 0);
    }

    /// It may have no more publishes of QoS 1 and 2 under way than this.
    pub const fn bound(&mut self, unacknowledged_max: u32) {
        self.own_max = unacknowledged_max;
    }

    /// The connection is over.
    pub const fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Takes what came. There is one of this for all who are told, so that the codec is inlined in it: with one for each
    /// a message costs 25 ns more than the call that is saved.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Happening<'_>),
    ) -> Result<Taken, Failure> {
        let mut used = 0;
        loop {
            let frame = match frame(&bytes[used..], u32::MAX).map_err(malformed)? {
                Progress::Need(need) => return Ok(Taken { bytes: used, need }),
                Progress::Packet(frame) => frame,
            };
            let version = self.identity.version;
            if PacketType::of(frame.first_byte) == Some(PacketType::Publish) {
                let publish = decode_publish(&frame, version, Sender::Server).map_err(malformed)?;
                self.on_publish(&publish, out, tell);
            } else {
                let packet = decode(&frame, version, Sender::Server).map_err(malformed)?;
                self.on_packet(&packet, out, tell)?;
            }
            used += frame.bytes;
        }
    }

    fn on_publish(&self, publish: &Publish<'_>, out: &mut Vec<u8>, tell: &mut dyn FnMut(Happening<'_>)) {
        tell(Happening::Message(publish));
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce(id) => self.acknowledge(AckType::PubAck, id, out),
            // Told at once: a sender that sends it again before PUBREL is seen as one that duplicates.
            Delivery::ExactlyOnce(id) => self.acknowledge(AckType::PubRec, id, out),
        }
    }

    fn acknowledge(&self, ack_type: AckType, id: PacketId, out: &mut Vec<u8>) {
        encode_ack(ack_type, id, ReasonCode::Success, self.identity.version, out);
    }

    fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Happening<'_>),
    ) -> Result<(), Failure> {
        match packet {
            Packet::ConnAck(ack) if self.phase == Phase::Connecting => {
                let keep_alive_secs = self.on_conn_ack(ack)?;
                tell(Happening::Connected { keep_alive_secs });
                self.subscribe_more(out, tell);
            }
            Packet::SubAck(ack) if self.phase == Phase::Subscribing => {
                self.check_granted(ack)?;
                self.subscribe_more(out, tell);
            }
            Packet::Ack(AckType::PubAck | AckType::PubComp, _) => self.end_publish(tell),
            Packet::Ack(AckType::PubRec, Ack { packet_id, reason, .. }) => {
                if *reason as u8 >= 0x80 {
                    self.end_publish(tell);
                } else {
                    self.acknowledge(AckType::PubRel, *packet_id, out);
                }
            }
            Packet::Ack(AckType::PubRel, ack) => self.acknowledge(AckType::PubComp, ack.packet_id, out),
            Packet::Disconnect(disconnect) => return Err(Failure::Disconnected(disconnect.reason)),
            Packet::PingResp => tell(Happening::Pinged),
            Packet::ConnAck(_) | Packet::SubAck(_) => {
                return Err(Failure::Malformed("an answer to nothing".into()));
            }
            _ => {}
        }
        Ok(())
    }

    /// The Keep Alive that the broker has.
    fn on_conn_ack(&mut self, ack: &ConnAck<'_>) -> Result<u16, Failure> {
        if ack.reason != ReasonCode::Success {
            return Err(Failure::Refused(ack.reason));
        }
        let receive_maximum = ack.properties.two_byte(PropertyId::ReceiveMaximum).map_or(u32::MAX, u32::from);
        self.unacknowledged_max = self.own_max.min(receive_maximum);
        // [MQTT-3.2.2-21]
        let server_keep_alive = ack.properties.two_byte(PropertyId::ServerKeepAlive);
        Ok(server_keep_alive.unwrap_or(self.identity.keep_alive_secs))
    }

    fn check_granted(&self, ack: &SubAck<'_>) -> Result<(), Failure> {
        let asked = self.identity.qos;
        match ack.reasons.iter().find(|&&granted| granted != asked as u8) {
            None => Ok(()),
            Some(&code) if code >= 0x80 => Err(Failure::SubscriptionRefused(code)),
            Some(&granted) => Err(Failure::SubscriptionLowered { asked, granted }),
        }
    }

    fn end_publish(&mut self, tell: &mut dyn FnMut(Happening<'_>)) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        tell(Happening::Acknowledged);
    }

    /// Asks for the next filters, or is ready.
    fn subscribe_more(&mut self, out: &mut Vec<u8>, tell: &mut dyn FnMut(Happening<'_>)) {
        let filters = Rc::clone(&self.identity.filters);
        if self.asked == filters.len() {
            self.phase = Phase::Ready;
            return tell(Happening::Ready);
        }
        self.phase = Phase::Subscribing;
        let next = &filters[self.asked..filters.len().min(self.asked + FILTERS_PER_SUBSCRIBE)];
        self.asked += next.len();
        let requests: Vec<_> = next.iter().map(|filter| self.request(filter)).collect();
        let mut buffer = Vec::new();
        let id = self.packet_id();
        let subscribe = Subscribe::new(id, Properties::EMPTY, &requests, &mut buffer);
        encode(&Packet::Subscribe(subscribe), self.identity.version, out);
    }

    fn request<'a>(&self, filter: &'a str) -> FilterRequest<'a> {
        FilterRequest {
            filter: shared_filter(filter),
            qos: self.identity.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    /// Subscribes to these from now on; one that is ready is ready again when all are granted.
    pub fn subscribe(&mut self, filters: Rc<[Box<str>]>, out: &mut Vec<u8>) {
        debug_assert!(self.phase == Phase::Ready && !filters.is_empty());
        (self.identity.filters, self.asked) = (filters, 0);
        self.subscribe_more(out, &mut |_| {});
    }

    /// Ends all its subscriptions.
    pub fn unsubscribe(&mut self, out: &mut Vec<u8>) {
        let filters = std::mem::replace(&mut self.identity.filters, Rc::new([]));
        for some in filters.chunks(FILTERS_PER_SUBSCRIBE) {
            let some: Vec<_> = some.iter().map(|filter| shared_filter(filter)).collect();
            let mut buffer = Vec::new();
            let unsubscribe = Unsubscribe::new(self.packet_id(), Properties::EMPTY, &some, &mut buffer);
            encode(&Packet::Unsubscribe(unsubscribe), self.identity.version, out);
        }
    }

    fn packet_id(&mut self) -> PacketId {
        let id = PacketId::new(self.next_packet_id).unwrap_or(PacketId::MIN);
        self.next_packet_id = id.get().wrapping_add(1);
        id
    }

    /// How many more publishes it may have under way, and how many it may have at all.
    pub const fn publishes_left(&self, qos: QoS) -> (u32, u32) {
        match qos {
            QoS::AtMostOnce => (u32::MAX, u32::MAX),
            _ => (self.unacknowledged_max.saturating_sub(self.unacknowledged), self.unacknowledged_max),
        }
    }

    /// Publishes; the payload is what `put_payload` appends, as long as the head was told.
    #[inline]
    pub fn publish(&mut self, head: &PublishHead, out: &mut Vec<u8>, put_payload: impl FnOnce(&mut Vec<u8>)) {
        let from = out.len();
        out.extend_from_slice(&head.bytes);
        if head.qos != QoS::AtMostOnce {
            let id = self.packet_id().get().to_be_bytes();
            out[from + head.id_at..][..id.len()].copy_from_slice(&id);
            self.unacknowledged += 1;
        }
        put_payload(out);
    }

    pub fn ping(&self, out: &mut Vec<u8>) {
        encode(&Packet::PingReq, self.identity.version, out);
    }

    pub fn disconnect(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Leaving;
        let disconnect = Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY };
        encode(&Packet::Disconnect(disconnect), self.identity.version, out);
    }
}

fn shared_filter(filter: &str) -> SharedFilter<'_> {
    SharedFilter::new(filter).expect("scenarios make valid filters")
}

fn malformed(error: thrum::mqtt::Error) -> Failure {
    Failure::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_and_a_payload_are_the_publish_that_the_codec_writes() {
        let topic = TopicName::new("a/b").expect("a topic");
        let identity = |version| Identity {
            version,
            client_id: "a".into(),
            user_name: None,
            password: None,
            keep_alive_secs: 0,
            filters: Rc::new([]),
            qos: QoS::AtMostOnce,
            is_durable: false,
        };
        for (version, qos) in [Version::V3_1_1, Version::V5]
            .into_iter()
            .flat_map(|version| [0, 1, 2].map(|qos| (version, QoS::from_u8(qos).expect("a QoS"))))
        {
            for payload in [&[7; 16][..], &[7; 1_000]] {
                let mut client = Client::new(identity(version));
                client.next_packet_id = 0xFFFF;
                let head = PublishHead::new(version, topic, qos, true, payload);
                let (mut sent, mut expected) = (Vec::new(), Vec::new());
                for id in [0xFFFF, 1, 2] {
                    client.publish(&head, &mut sent, |out| out.extend_from_slice(payload));
                    let delivery = delivery(qos, || PacketId::new(id).expect("an identifier"));
                    let properties = Properties::EMPTY;
                    let publish =
                        Publish { dup: false, delivery, retain: true, topic: Some(topic), properties, payload };
                    encode(&Packet::Publish(publish), version, &mut expected);
                }
                assert_eq!(sent, expected);
            }
        }
    }
}
