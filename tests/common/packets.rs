//! Packets as owned descriptions: each lends a `Packet<'_>` to whoever wants one, and can be made from one.

use thrum::base::SubscriptionId;
use thrum::mqtt::{
    Ack, AckType, Auth, ConnAck, Connect, Delivery, Disconnect, FilterRequest, Packet, PacketId, Properties,
    PropertyBuffer, PropertyId, PropertyValue, Publish, QoS, ReasonCode, RetainHandling, SharedFilter, SubAck,
    Subscribe, TopicName, UnsubAck, Unsubscribe, Version, Will,
};

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Flag(bool),
    TwoByte(u16),
    FourByte(u32),
    Variable(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

pub type PropertyList = Vec<(PropertyId, Value)>;

#[derive(Clone, PartialEq, Debug)]
pub struct WillDescription {
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    pub payload: Vec<u8>,
    pub properties: PropertyList,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ConnectDescription {
    pub version: Version,
    pub clean_start: bool,
    pub keep_alive_secs: u16,
    pub client_id: String,
    pub will: Option<WillDescription>,
    pub user_name: Option<String>,
    pub password: Option<Vec<u8>>,
    pub properties: PropertyList,
}

#[derive(Clone, PartialEq, Debug)]
pub struct PublishDescription {
    pub dup: bool,
    pub qos: u8,
    /// 0 at QoS 0.
    pub packet_id: u16,
    pub retain: bool,
    /// Empty where an alias stands for it.
    pub topic: String,
    pub properties: PropertyList,
    pub payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RequestDescription {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: u8,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Description {
    Connect(ConnectDescription),
    ConnAck { session_present: bool, reason: u8, properties: PropertyList },
    Publish(PublishDescription),
    Ack { ack_type: AckType, packet_id: u16, reason: u8, properties: PropertyList },
    Subscribe { packet_id: u16, properties: PropertyList, requests: Vec<RequestDescription> },
    SubAck { packet_id: u16, properties: PropertyList, reasons: Vec<u8> },
    Unsubscribe { packet_id: u16, properties: PropertyList, filters: Vec<String> },
    UnsubAck { packet_id: u16, properties: PropertyList, reasons: Vec<u8> },
    PingReq,
    PingResp,
    Disconnect { reason: u8, properties: PropertyList },
    Auth { reason: u8, properties: PropertyList },
}

fn buffer(list: &PropertyList) -> PropertyBuffer {
    let mut buffer = PropertyBuffer::new();
    for (id, value) in list {
        match value {
            Value::Flag(value) => buffer.push_flag(*id, *value),
            Value::TwoByte(value) => buffer.push_two_byte(*id, *value),
            Value::FourByte(value) => buffer.push_four_byte(*id, *value),
            Value::Variable(value) => buffer.push_subscription_id(SubscriptionId::new(*value).unwrap()),
            Value::Text(text) => buffer.push_text(*id, text),
            Value::Binary(bytes) => buffer.push_binary(*id, bytes),
            Value::Pair(name, value) => buffer.push_user_property(name, value),
        }
    }
    buffer
}

fn list(properties: &Properties<'_>) -> PropertyList {
    let owned = |value| match value {
        PropertyValue::Flag(value) => Value::Flag(value),
        PropertyValue::TwoByte(value) => Value::TwoByte(value),
        PropertyValue::FourByte(value) => Value::FourByte(value),
        PropertyValue::Variable(value) => Value::Variable(value),
        PropertyValue::Text(text) => Value::Text(text.to_owned()),
        PropertyValue::Binary(bytes) => Value::Binary(bytes.to_vec()),
        PropertyValue::Pair(name, value) => Value::Pair(name.to_owned(), value.to_owned()),
    };
    properties.iter().map(|property| (property.id, owned(property.value))).collect()
}

fn id(packet_id: u16) -> PacketId {
    PacketId::new(packet_id).unwrap()
}

fn reason(code: u8) -> ReasonCode {
    ReasonCode::from_u8(code).unwrap()
}

fn qos(value: u8) -> QoS {
    QoS::from_u8(value).unwrap()
}

fn filter_text(filter: SharedFilter<'_>) -> String {
    let share = filter.group.map(|group| format!("$share/{group}/")).unwrap_or_default();
    share + filter.filter.as_str()
}

impl PublishDescription {
    pub fn with<T>(&self, receive: impl FnOnce(Publish<'_>) -> T) -> T {
        receive(Publish {
            dup: self.dup,
            delivery: self.delivery(),
            retain: self.retain,
            topic: TopicName::new(&self.topic).ok(),
            properties: buffer(&self.properties).properties(),
            payload: &self.payload,
        })
    }

    pub fn delivery(&self) -> Delivery {
        match self.qos {
            0 => Delivery::AtMostOnce,
            1 => Delivery::AtLeastOnce(id(self.packet_id)),
            _ => Delivery::ExactlyOnce(id(self.packet_id)),
        }
    }
}

impl ConnectDescription {
    fn with<T>(&self, receive: impl FnOnce(Connect<'_>) -> T) -> T {
        let will_properties = buffer(self.will.as_ref().map_or(&Vec::new(), |will| &will.properties));
        receive(Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive_secs: self.keep_alive_secs,
            client_id: &self.client_id,
            will: self.will.as_ref().map(|will| Will {
                qos: qos(will.qos),
                retain: will.retain,
                topic: TopicName::new(&will.topic).unwrap(),
                payload: &will.payload,
                properties: will_properties.properties(),
            }),
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
            properties: buffer(&self.properties).properties(),
        })
    }

    fn of(connect: &Connect<'_>) -> Self {
        Self {
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive_secs: connect.keep_alive_secs,
            client_id: connect.client_id.to_owned(),
            will: connect.will.map(|will| WillDescription {
                qos: will.qos as u8,
                retain: will.retain,
                topic: will.topic.as_str().to_owned(),
                payload: will.payload.to_vec(),
                properties: list(&will.properties),
            }),
            user_name: connect.user_name.map(str::to_owned),
            password: connect.password.map(<[u8]>::to_vec),
            properties: list(&connect.properties),
        }
    }
}

impl RequestDescription {
    fn request(&self) -> FilterRequest<'_> {
        FilterRequest {
            filter: SharedFilter::new(&self.filter).unwrap(),
            qos: qos(self.qos),
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: match self.retain_handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        }
    }

    fn of(request: FilterRequest<'_>) -> Self {
        Self {
            filter: filter_text(request.filter),
            qos: request.qos as u8,
            no_local: request.no_local,
            retain_as_published: request.retain_as_published,
            retain_handling: request.retain_handling as u8,
        }
    }
}

impl Description {
    pub fn with<T>(&self, receive: impl FnOnce(Packet<'_>) -> T) -> T {
        match self {
            Self::Connect(connect) => connect.with(|connect| receive(Packet::Connect(connect))),
            Self::ConnAck { session_present, reason: code, properties } => receive(Packet::ConnAck(ConnAck {
                session_present: *session_present,
                reason: reason(*code),
                properties: buffer(properties).properties(),
            })),
            Self::Publish(publish) => publish.with(|publish| receive(Packet::Publish(publish))),
            Self::Ack { ack_type, packet_id, reason: code, properties } => receive(Packet::Ack(
                *ack_type,
                Ack { packet_id: id(*packet_id), reason: reason(*code), properties: buffer(properties).properties() },
            )),
            Self::Subscribe { packet_id, properties, requests } => {
                let requests: Vec<_> = requests.iter().map(RequestDescription::request).collect();
                let properties = buffer(properties);
                let mut bytes = Vec::new();
                receive(Packet::Subscribe(Subscribe::new(
                    id(*packet_id),
                    properties.properties(),
                    &requests,
                    &mut bytes,
                )))
            }
            Self::SubAck { packet_id, properties, reasons } => receive(Packet::SubAck(SubAck {
                packet_id: id(*packet_id),
                properties: buffer(properties).properties(),
                reasons,
            })),
            Self::Unsubscribe { packet_id, properties, filters } => {
                let filters: Vec<_> = filters.iter().map(|filter| SharedFilter::new(filter).unwrap()).collect();
                let properties = buffer(properties);
                let mut bytes = Vec::new();
                receive(Packet::Unsubscribe(Unsubscribe::new(
                    id(*packet_id),
                    properties.properties(),
                    &filters,
                    &mut bytes,
                )))
            }
            Self::UnsubAck { packet_id, properties, reasons } => receive(Packet::UnsubAck(UnsubAck {
                packet_id: id(*packet_id),
                properties: buffer(properties).properties(),
                reasons,
            })),
            Self::PingReq => receive(Packet::PingReq),
            Self::PingResp => receive(Packet::PingResp),
            Self::Disconnect { reason: code, properties } => receive(Packet::Disconnect(Disconnect {
                reason: reason(*code),
                properties: buffer(properties).properties(),
            })),
            Self::Auth { reason: code, properties } => {
                receive(Packet::Auth(Auth { reason: reason(*code), properties: buffer(properties).properties() }))
            }
        }
    }

    pub fn of(packet: &Packet<'_>) -> Self {
        match packet {
            Packet::Connect(connect) => Self::Connect(ConnectDescription::of(connect)),
            Packet::ConnAck(ack) => Self::ConnAck {
                session_present: ack.session_present,
                reason: ack.reason as u8,
                properties: list(&ack.properties),
            },
            Packet::Publish(publish) => Self::Publish(PublishDescription {
                dup: publish.dup,
                qos: publish.delivery.qos() as u8,
                packet_id: publish.delivery.packet_id().map_or(0, PacketId::get),
                retain: publish.retain,
                topic: publish.topic.map_or("", |topic| topic.as_str()).to_owned(),
                properties: list(&publish.properties),
                payload: publish.payload.to_vec(),
            }),
            Packet::Ack(ack_type, ack) => Self::Ack {
                ack_type: *ack_type,
                packet_id: ack.packet_id.get(),
                reason: ack.reason as u8,
                properties: list(&ack.properties),
            },
            Packet::Subscribe(subscribe) => Self::Subscribe {
                packet_id: subscribe.packet_id.get(),
                properties: list(&subscribe.properties),
                requests: subscribe.filters().map(RequestDescription::of).collect(),
            },
            Packet::SubAck(ack) => Self::SubAck {
                packet_id: ack.packet_id.get(),
                properties: list(&ack.properties),
                reasons: ack.reasons.to_vec(),
            },
            Packet::Unsubscribe(unsubscribe) => Self::Unsubscribe {
                packet_id: unsubscribe.packet_id.get(),
                properties: list(&unsubscribe.properties),
                filters: unsubscribe.filters().map(filter_text).collect(),
            },
            Packet::UnsubAck(ack) => Self::UnsubAck {
                packet_id: ack.packet_id.get(),
                properties: list(&ack.properties),
                reasons: ack.reasons.to_vec(),
            },
            Packet::PingReq => Self::PingReq,
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(disconnect) => {
                Self::Disconnect { reason: disconnect.reason as u8, properties: list(&disconnect.properties) }
            }
            Packet::Auth(auth) => Self::Auth { reason: auth.reason as u8, properties: list(&auth.properties) },
        }
    }
}
