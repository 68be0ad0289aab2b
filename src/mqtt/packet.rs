//! The control packets, borrowed from the bytes that hold them. What the protocol rules out cannot be represented:
//! a QoS 0 publish has no packet identifier, a topic is a valid one.

use std::num::NonZeroU16;

use super::properties::Properties;
use super::reason::ReasonCode;
use super::topic::{SharedFilter, TopicName};
use super::version::Version;
use super::wire::{Reader, put_binary};

/// [MQTT-2.2.1-3]
pub type PacketId = NonZeroU16;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(u8)]
pub enum QoS {
    #[default]
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl QoS {
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A PUBLISH's QoS with the packet identifier that QoS 1 and 2 have, and QoS 0 has not. [MQTT-2.2.1-2]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Delivery {
    AtMostOnce,
    AtLeastOnce(PacketId),
    ExactlyOnce(PacketId),
}

impl Delivery {
    pub const fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce(_) => QoS::AtLeastOnce,
            Self::ExactlyOnce(_) => QoS::ExactlyOnce,
        }
    }

    pub const fn packet_id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce(id) | Self::ExactlyOnce(id) => Some(id),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    pub version: Version,
    /// Clean Start of 5.0, Clean Session before.
    pub clean_start: bool,
    pub keep_alive_secs: u16,
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub properties: Properties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    pub qos: QoS,
    pub retain: bool,
    pub topic: TopicName<'a>,
    pub payload: &'a [u8],
    pub properties: Properties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnAck<'a> {
    pub session_present: bool,
    /// Before 5.0 only those with a return code, see [`ReasonCode::connect_return_code`].
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    pub dup: bool,
    pub delivery: Delivery,
    pub retain: bool,
    /// None where a Topic Alias stands for it.
    pub topic: Option<TopicName<'a>>,
    pub properties: Properties<'a>,
    pub payload: &'a [u8],
}

/// Which of the four packets that acknowledge a step of a QoS 1 or 2 delivery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AckType {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    pub packet_id: PacketId,
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    pub packet_id: PacketId,
    pub properties: Properties<'a>,
    pub(super) filters: &'a [u8],
}

impl<'a> Subscribe<'a> {
    /// A SUBSCRIBE of ours. The requests are written into `buffer`, which must be empty, and there must be one.
    pub fn new(
        packet_id: PacketId,
        properties: Properties<'a>,
        requests: &[FilterRequest<'_>],
        buffer: &'a mut Vec<u8>,
    ) -> Self {
        debug_assert!(buffer.is_empty() && !requests.is_empty());
        for request in requests {
            put_filter(&request.filter, buffer);
            buffer.push(request.options());
        }
        Self { packet_id, properties, filters: buffer }
    }

    /// The requests, of which there is at least one, in their order.
    pub fn filters(&self) -> impl Iterator<Item = FilterRequest<'a>> + use<'a> {
        let mut reader = Reader::new(self.filters);
        // The bytes were checked, so that the first error is their end.
        std::iter::from_fn(move || FilterRequest::read(&mut reader, Version::V5).ok())
    }
}

/// What becomes of the retained messages that match a new subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    Send,
    SendIfNew,
    DoNotSend,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterRequest<'a> {
    pub filter: SharedFilter<'a>,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

impl FilterRequest<'_> {
    /// The Subscription Options; before 5.0 the Requested QoS alone is there, and all else is zero.
    const fn options(&self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }
}

fn put_filter(filter: &SharedFilter<'_>, out: &mut Vec<u8>) {
    let text = filter.filter.as_str();
    match filter.group {
        Some(group) => put_binary(out, format!("$share/{group}/{text}").as_bytes()),
        None => put_binary(out, text.as_bytes()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubAck<'a> {
    pub packet_id: PacketId,
    pub properties: Properties<'a>,
    /// One per filter, in the order of the filters. [MQTT-3.9.3-1]
    pub reasons: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    pub packet_id: PacketId,
    pub properties: Properties<'a>,
    pub(super) filters: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// An UNSUBSCRIBE of ours. The filters are written into `buffer`, which must be empty, and there must be one.
    pub fn new(
        packet_id: PacketId,
        properties: Properties<'a>,
        filters: &[SharedFilter<'_>],
        buffer: &'a mut Vec<u8>,
    ) -> Self {
        debug_assert!(buffer.is_empty() && !filters.is_empty());
        for filter in filters {
            put_filter(filter, buffer);
        }
        Self { packet_id, properties, filters: buffer }
    }

    /// The filters, of which there is at least one, in their order.
    pub fn filters(&self) -> impl Iterator<Item = SharedFilter<'a>> + use<'a> {
        let mut reader = Reader::new(self.filters);
        // The bytes were checked, so that the first error is their end.
        std::iter::from_fn(move || SharedFilter::new(reader.text_that_may_hold_nul().ok()?).ok())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsubAck<'a> {
    pub packet_id: PacketId,
    pub properties: Properties<'a>,
    /// One per filter, in the order of the filters [MQTT-3.11.3-1]; empty before 5.0.
    pub reasons: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    Ack(AckType, Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}
