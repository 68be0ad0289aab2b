//! One client of a scenario, without a socket: bytes in, bytes out, and what they mean to the measurement.

use thrum::mqtt::{
    Ack, AckType, Connect, Delivery, FilterRequest, Packet, PacketId, Progress, Properties, Publish, QoS, ReasonCode,
    RetainHandling, Sender, SharedFilter, Subscribe, TopicName, Version, decode, decode_publish, encode, encode_ack,
    frame,
};

/// Filters that one SUBSCRIBE asks for.
const FILTERS_PER_SUBSCRIBE: usize = 500;

/// How far a client has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Connecting,
    Subscribing,
    Ready,
}

/// What a client is told of what it received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happening<'a> {
    /// Connected, and subscribed to all it was to.
    Ready,
    Message {
        payload: &'a [u8],
        retain: bool,
    },
    /// A publish of QoS 1 or 2 has come to its end.
    Acknowledged,
}

/// Why a client cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    Refused(ReasonCode),
    SubscriptionRefused(u8),
    Disconnected(ReasonCode),
    Malformed(String),
}

#[derive(Debug)]
pub struct Client {
    version: Version,
    pub phase: Phase,
    /// Not asked for yet, the next one last.
    filters: Vec<Box<str>>,
    qos: QoS,
    next_packet_id: u16,
    /// Publishes of QoS 1 and 2 that are not at their end.
    pub unacknowledged: u32,
}

impl Client {
    /// A client that will subscribe to `filters`; what it sends first is put into `out`.
    pub fn connect(
        version: Version,
        client_id: &str,
        filters: Vec<Box<str>>,
        qos: QoS,
        keep_alive_secs: u16,
        out: &mut Vec<u8>,
    ) -> Self {
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_secs,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        };
        encode(&Packet::Connect(connect), version, out);
        Self { version, phase: Phase::Connecting, filters, qos, next_packet_id: 1, unacknowledged: 0 }
    }

    /// Takes what came, and says how much of it was used.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut tell: impl FnMut(Happening<'_>),
    ) -> Result<usize, Failure> {
        let mut used = 0;
        loop {
            match frame(&bytes[used..], u32::MAX).map_err(malformed)? {
                Progress::Need(_) => return Ok(used),
                Progress::Packet(frame) => {
                    if frame.first_byte >> 4 == 3 {
                        let publish = decode_publish(&frame, self.version, Sender::Server).map_err(malformed)?;
                        self.on_publish(&publish, out, &mut tell);
                    } else {
                        let packet = decode(&frame, self.version, Sender::Server).map_err(malformed)?;
                        self.on_packet(&packet, out, &mut tell)?;
                    }
                    used += frame.bytes;
                }
            }
        }
    }

    fn on_publish(&self, publish: &Publish<'_>, out: &mut Vec<u8>, tell: &mut impl FnMut(Happening<'_>)) {
        tell(Happening::Message { payload: publish.payload, retain: publish.retain });
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce(id) => self.acknowledge(AckType::PubAck, id, out),
            // Told at once: a sender that sends it again before PUBREL is seen as one that duplicates.
            Delivery::ExactlyOnce(id) => self.acknowledge(AckType::PubRec, id, out),
        }
    }

    fn acknowledge(&self, ack_type: AckType, id: PacketId, out: &mut Vec<u8>) {
        encode_ack(ack_type, id, ReasonCode::Success, self.version, out);
    }

    fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        tell: &mut impl FnMut(Happening<'_>),
    ) -> Result<(), Failure> {
        match packet {
            Packet::ConnAck(ack) if ack.reason != ReasonCode::Success => return Err(Failure::Refused(ack.reason)),
            Packet::ConnAck(_) => self.subscribe_more(out, tell),
            Packet::SubAck(ack) => {
                if let Some(&reason) = ack.reasons.iter().find(|&&reason| reason >= 0x80) {
                    return Err(Failure::SubscriptionRefused(reason));
                }
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
            _ => {}
        }
        Ok(())
    }

    fn end_publish(&mut self, tell: &mut impl FnMut(Happening<'_>)) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        tell(Happening::Acknowledged);
    }

    /// Asks for the next filters, or is ready.
    fn subscribe_more(&mut self, out: &mut Vec<u8>, tell: &mut impl FnMut(Happening<'_>)) {
        if self.filters.is_empty() {
            self.phase = Phase::Ready;
            return tell(Happening::Ready);
        }
        self.phase = Phase::Subscribing;
        let from = self.filters.len().saturating_sub(FILTERS_PER_SUBSCRIBE);
        let filters: Vec<_> = self.filters.drain(from..).rev().collect();
        let requests: Vec<_> = filters.iter().map(|filter| self.request(filter)).collect();
        let mut buffer = Vec::new();
        let id = self.packet_id();
        let subscribe = Subscribe::new(id, Properties::EMPTY, &requests, &mut buffer);
        encode(&Packet::Subscribe(subscribe), self.version, out);
    }

    fn request<'a>(&self, filter: &'a str) -> FilterRequest<'a> {
        FilterRequest {
            filter: SharedFilter::new(filter).expect("scenarios make valid filters"),
            qos: self.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    fn packet_id(&mut self) -> PacketId {
        loop {
            let id = PacketId::new(self.next_packet_id);
            self.next_packet_id = self.next_packet_id.wrapping_add(1);
            if let Some(id) = id {
                return id;
            }
        }
    }

    pub fn publish(&mut self, topic: TopicName<'_>, payload: &[u8], retain: bool, out: &mut Vec<u8>) {
        let delivery = match self.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(self.packet_id()),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(self.packet_id()),
        };
        self.unacknowledged += u32::from(self.qos != QoS::AtMostOnce);
        let publish =
            Publish { dup: false, delivery, retain, topic: Some(topic), properties: Properties::EMPTY, payload };
        encode(&Packet::Publish(publish), self.version, out);
    }

    pub fn ping(&self, out: &mut Vec<u8>) {
        encode(&Packet::PingReq, self.version, out);
    }

    pub fn disconnect(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xE0, 0]);
    }
}

fn malformed(error: thrum::mqtt::Error) -> Failure {
    Failure::Malformed(error.to_string())
}
