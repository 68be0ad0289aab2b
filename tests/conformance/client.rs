//! A client's side of a test: connecting with options, publishing, subscribing, and reading what the broker sends, owned
//! so that it can be compared.

#![allow(dead_code, reason = "each module uses its part")]

use crate::net::{Client, Net};
use thrum::broker::Options;
use thrum::mqtt::{
    Ack, AckType, Auth, ConnAck, Connect, Delivery, Disconnect, Packet, PacketId, Progress, Properties, PropertyBuffer,
    PropertyId, PropertyValue, Publish, QoS, ReasonCode, Sender, TopicName, Version, Will, decode, frame,
};

pub(crate) const ALL_VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Runs `test` on one shard and on several, with and without a store to wait for.
pub(crate) fn on_shards(test: impl Fn(Net)) {
    for (shards, durable) in [(1, false), (1, true), (3, false), (3, true)] {
        test(Net::new(Options { shards, durable, ..Options::default() }));
    }
}

pub(crate) fn net_of(shards: usize) -> Net {
    Net::new(Options { shards, ..Options::default() })
}

pub(crate) fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("a test's packet identifier is not 0")
}

/// A CONNECT being put together, and sent.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    version: Version,
    client_id: String,
    clean_start: bool,
    keep_alive_secs: u16,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
    properties: PropertyBuffer,
    will: Option<LastWill>,
}

#[derive(Clone, Debug)]
pub(crate) struct LastWill {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: PropertyBuffer,
}

impl LastWill {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PropertyBuffer::new(),
        }
    }

    pub(crate) fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn delayed(mut self, secs: u32) -> Self {
        self.properties.push_four_byte(PropertyId::WillDelayInterval, secs);
        self
    }

    pub(crate) fn with(mut self, put: impl FnOnce(&mut PropertyBuffer)) -> Self {
        put(&mut self.properties);
        self
    }
}

impl Login {
    /// Clean, with a keep alive of 60 seconds.
    pub(crate) fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean_start: true,
            keep_alive_secs: 60,
            user_name: None,
            password: None,
            properties: PropertyBuffer::new(),
            will: None,
        }
    }

    pub(crate) fn v5(client_id: &str) -> Self {
        Self::new(Version::V5, client_id)
    }

    pub(crate) fn v3(client_id: &str) -> Self {
        Self::new(Version::V3_1_1, client_id)
    }

    /// Clean Start or Clean Session 0.
    pub(crate) fn resuming(mut self) -> Self {
        self.clean_start = false;
        self
    }

    pub(crate) fn keep_alive(mut self, secs: u16) -> Self {
        self.keep_alive_secs = secs;
        self
    }

    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        (self.user_name, self.password) = (Some(name.into()), Some(password.into()));
        self
    }

    pub(crate) fn user_name(mut self, name: &str) -> Self {
        self.user_name = Some(name.into());
        self
    }

    pub(crate) fn will(mut self, will: LastWill) -> Self {
        self.will = Some(will);
        self
    }

    /// A Session Expiry Interval.
    pub(crate) fn expiry(self, secs: u32) -> Self {
        self.with(|properties| properties.push_four_byte(PropertyId::SessionExpiryInterval, secs))
    }

    pub(crate) fn receive_max(self, max: u16) -> Self {
        self.with(|properties| properties.push_two_byte(PropertyId::ReceiveMaximum, max))
    }

    pub(crate) fn packet_bytes_max(self, max: u32) -> Self {
        self.with(|properties| properties.push_four_byte(PropertyId::MaximumPacketSize, max))
    }

    pub(crate) fn topic_alias_max(self, max: u16) -> Self {
        self.with(|properties| properties.push_two_byte(PropertyId::TopicAliasMaximum, max))
    }

    pub(crate) fn with(mut self, put: impl FnOnce(&mut PropertyBuffer)) -> Self {
        put(&mut self.properties);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let will = self.will.as_ref().map(|will| Will {
            qos: will.qos,
            retain: will.retain,
            topic: TopicName::new(&will.topic).expect("a topic"),
            payload: &will.payload,
            properties: will.properties.properties(),
        });
        let connect = Connect {
            version: self.version,
            clean_start: self.clean_start,
            keep_alive_secs: self.keep_alive_secs,
            client_id: &self.client_id,
            will,
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
            properties: self.properties.properties(),
        };
        bytes_of(&Packet::Connect(connect), self.version)
    }

    /// Opens a connection and sends it.
    pub(crate) fn send(&self, net: &mut Net) -> Client {
        let client = net.open(self.version);
        net.send_bytes(client, &self.bytes());
        client
    }

    /// The connection, and the CONNACK that must be the first to come.
    pub(crate) fn answer(&self, net: &mut Net) -> (Client, Got) {
        let client = self.send(net);
        let got = next(net, client);
        assert!(matches!(got, Got::ConnAck { .. }), "{got:?}");
        (client, got)
    }

    /// Expects to be let in.
    pub(crate) fn connect(&self, net: &mut Net) -> Client {
        self.present(net).0
    }

    /// Expects to be let in, and says what Session Present was.
    pub(crate) fn present(&self, net: &mut Net) -> (Client, bool) {
        match self.answer(net) {
            (client, Got::ConnAck { session_present, reason: ReasonCode::Success, .. }) => (client, session_present),
            (_, got) => panic!("not let in: {got:?}"),
        }
    }

    /// Expects not to be let in, for this reason, and to be cut off.
    pub(crate) fn refused(&self, net: &mut Net) -> ReasonCode {
        match self.answer(net) {
            (_, Got::ConnAck { reason: ReasonCode::Success, .. }) => panic!("was let in"),
            (client, Got::ConnAck { session_present, reason, .. }) => {
                assert!(!session_present && net.is_closed(client));
                assert!(net.take_bytes(client).is_empty());
                reason
            }
            _ => unreachable!("a CONNACK"),
        }
    }
}

pub(crate) fn bytes_of(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    thrum::mqtt::encode(packet, version, &mut bytes);
    bytes
}

/// A packet that the broker sent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Got {
    ConnAck { session_present: bool, reason: ReasonCode, properties: Props },
    Publish(Message),
    Ack { ack: AckType, id: u16, reason: ReasonCode, properties: Props },
    SubAck { id: u16, reasons: Vec<u8>, properties: Props },
    UnsubAck { id: u16, reasons: Vec<u8>, properties: Props },
    PingResp,
    Disconnect { reason: ReasonCode, properties: Props },
    Auth { reason: ReasonCode, properties: Props },
}

impl Got {
    pub(crate) fn properties(&self) -> &Props {
        match self {
            Self::ConnAck { properties, .. }
            | Self::Ack { properties, .. }
            | Self::SubAck { properties, .. }
            | Self::UnsubAck { properties, .. }
            | Self::Disconnect { properties, .. }
            | Self::Auth { properties, .. } => properties,
            Self::Publish(message) => &message.properties,
            Self::PingResp => panic!("PINGRESP has no properties"),
        }
    }

    pub(crate) fn message(self) -> Message {
        match self {
            Self::Publish(message) => message,
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }
}

/// A PUBLISH, received or to be sent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Message {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) retain: bool,
    /// Empty where an alias stands for it.
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) properties: Props,
}

impl Message {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            dup: false,
            qos: QoS::AtMostOnce,
            id: 0,
            retain: false,
            topic: topic.into(),
            payload: payload.into(),
            properties: Props::default(),
        }
    }

    pub(crate) fn at_least_once(mut self, id: u16) -> Self {
        (self.qos, self.id) = (QoS::AtLeastOnce, id);
        self
    }

    pub(crate) fn exactly_once(mut self, id: u16) -> Self {
        (self.qos, self.id) = (QoS::ExactlyOnce, id);
        self
    }

    pub(crate) fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub(crate) fn with(mut self, id: PropertyId, value: impl Into<Value>) -> Self {
        self.properties.0.push((id, value.into()));
        self
    }

    pub(crate) fn payload_text(&self) -> &str {
        str::from_utf8(&self.payload).expect("text")
    }

    /// Sends it, and nothing more.
    pub(crate) fn send(&self, net: &mut Net, client: Client) {
        let mut buffer = PropertyBuffer::new();
        self.properties.put(&mut buffer);
        let delivery = match self.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(packet_id(self.id)),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(packet_id(self.id)),
        };
        let topic = if self.topic.is_empty() { None } else { Some(TopicName::new(&self.topic).expect("a topic")) };
        let publish = Publish {
            dup: self.dup,
            delivery,
            retain: self.retain,
            topic,
            properties: buffer.properties(),
            payload: &self.payload,
        };
        net.send(client, &Packet::Publish(publish));
    }

    /// Sends it and goes through all that its QoS asks for; the reason is that of the first answer.
    pub(crate) fn publish(&self, net: &mut Net, client: Client) -> ReasonCode {
        self.send(net, client);
        match self.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => expect_ack(net, client, AckType::PubAck, self.id),
            QoS::ExactlyOnce => {
                let reason = expect_ack(net, client, AckType::PubRec, self.id);
                if !reason.is_error() {
                    send_ack(net, client, AckType::PubRel, self.id);
                    expect_ack(net, client, AckType::PubComp, self.id);
                }
                reason
            }
        }
    }
}

/// A property's value, owned. Numbers of every size are one.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Flag(bool),
    Number(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Binary(value.into())
    }
}

impl From<(&str, &str)> for Value {
    fn from((name, value): (&str, &str)) -> Self {
        Self::Pair(name.into(), value.into())
    }
}

#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Props(pub(crate) Vec<(PropertyId, Value)>);

impl Props {
    fn of(properties: &Properties<'_>) -> Self {
        let owned = |value| match value {
            PropertyValue::Flag(value) => Value::Flag(value),
            PropertyValue::TwoByte(value) => Value::Number(value.into()),
            PropertyValue::FourByte(value) | PropertyValue::Variable(value) => Value::Number(value),
            PropertyValue::Text(value) => Value::Text(value.into()),
            PropertyValue::Binary(value) => Value::Binary(value.into()),
            PropertyValue::Pair(name, value) => Value::Pair(name.into(), value.into()),
        };
        Self(properties.iter().map(|property| (property.id, owned(property.value))).collect())
    }

    fn put(&self, buffer: &mut PropertyBuffer) {
        for (id, value) in &self.0 {
            match value {
                Value::Flag(value) => buffer.push_flag(*id, *value),
                Value::Number(value) if matches!(id, PropertyId::TopicAlias) => {
                    buffer.push_two_byte(*id, *value as u16);
                }
                Value::Number(value) => buffer.push_four_byte(*id, *value),
                Value::Text(value) => buffer.push_text(*id, value),
                Value::Binary(value) => buffer.push_binary(*id, value),
                Value::Pair(name, value) => buffer.push_user_property(name, value),
            }
        }
    }

    pub(crate) fn get(&self, id: PropertyId) -> Option<&Value> {
        self.0.iter().find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    pub(crate) fn has(&self, id: PropertyId) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn number(&self, id: PropertyId) -> Option<u32> {
        match self.get(id)? {
            Value::Number(value) => Some(*value),
            other => panic!("not a number: {other:?}"),
        }
    }

    pub(crate) fn text(&self, id: PropertyId) -> Option<&str> {
        match self.get(id)? {
            Value::Text(value) => Some(value),
            other => panic!("not a text: {other:?}"),
        }
    }

    pub(crate) fn binary(&self, id: PropertyId) -> Option<&[u8]> {
        match self.get(id)? {
            Value::Binary(value) => Some(value),
            other => panic!("not binary: {other:?}"),
        }
    }

    /// The Subscription Identifiers, ascending.
    pub(crate) fn subscription_ids(&self) -> Vec<u32> {
        let of = |(id, value): &(PropertyId, Value)| match value {
            Value::Number(value) if *id == PropertyId::SubscriptionIdentifier => Some(*value),
            _ => None,
        };
        let mut ids: Vec<u32> = self.0.iter().filter_map(of).collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn user_properties(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .filter_map(|(_, value)| match value {
                Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
                _ => None,
            })
            .collect()
    }
}

/// The next packet that came, if one did.
pub(crate) fn next_if_any(net: &mut Net, client: Client) -> Option<Got> {
    net.receive(client, |packet| match packet {
        Packet::ConnAck(ConnAck { session_present, reason, properties }) => {
            Got::ConnAck { session_present, reason, properties: Props::of(&properties) }
        }
        Packet::Publish(publish) => Got::Publish(Message {
            dup: publish.dup,
            qos: publish.delivery.qos(),
            id: publish.delivery.packet_id().map_or(0, PacketId::get),
            retain: publish.retain,
            topic: publish.topic.map_or(String::new(), |topic| topic.as_str().into()),
            payload: publish.payload.into(),
            properties: Props::of(&publish.properties),
        }),
        Packet::Ack(ack, Ack { packet_id, reason, properties }) => {
            Got::Ack { ack, id: packet_id.get(), reason, properties: Props::of(&properties) }
        }
        Packet::SubAck(ack) => {
            Got::SubAck { id: ack.packet_id.get(), reasons: ack.reasons.into(), properties: Props::of(&ack.properties) }
        }
        Packet::UnsubAck(ack) => Got::UnsubAck {
            id: ack.packet_id.get(),
            reasons: ack.reasons.into(),
            properties: Props::of(&ack.properties),
        },
        Packet::PingResp => Got::PingResp,
        Packet::Disconnect(Disconnect { reason, properties }) => {
            Got::Disconnect { reason, properties: Props::of(&properties) }
        }
        Packet::Auth(Auth { reason, properties }) => Got::Auth { reason, properties: Props::of(&properties) },
        other => panic!("a broker sends no {other:?}"),
    })
}

pub(crate) fn next(net: &mut Net, client: Client) -> Got {
    next_if_any(net, client).unwrap_or_else(|| panic!("nothing came; closed: {}", net.is_closed(client)))
}

/// All packets that came.
pub(crate) fn all(net: &mut Net, client: Client) -> Vec<Got> {
    std::iter::from_fn(|| next_if_any(net, client)).collect()
}

/// Expects a PUBLISH, and goes through all that its QoS asks for.
pub(crate) fn take_message(net: &mut Net, client: Client) -> Message {
    let message = next(net, client).message();
    acknowledge(net, client, &message);
    message
}

pub(crate) fn acknowledge(net: &mut Net, client: Client, message: &Message) {
    match message.qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => send_ack(net, client, AckType::PubAck, message.id),
        QoS::ExactlyOnce => {
            send_ack(net, client, AckType::PubRec, message.id);
            expect_ack(net, client, AckType::PubRel, message.id);
            send_ack(net, client, AckType::PubComp, message.id);
        }
    }
}

pub(crate) fn expect_nothing(net: &mut Net, client: Client) {
    let got = all(net, client);
    assert!(got.is_empty() && !net.is_closed(client), "closed: {}, {got:?}", net.is_closed(client));
}

/// Expects an acknowledgement, and says its reason.
pub(crate) fn expect_ack(net: &mut Net, client: Client, wanted: AckType, wanted_id: u16) -> ReasonCode {
    match next(net, client) {
        Got::Ack { ack, id, reason, .. } if ack == wanted && id == wanted_id => reason,
        got => panic!("no {wanted:?} of {wanted_id}: {got:?}"),
    }
}

pub(crate) fn send_ack(net: &mut Net, client: Client, ack: AckType, id: u16) {
    send_ack_with(net, client, ack, id, ReasonCode::Success);
}

pub(crate) fn send_ack_with(net: &mut Net, client: Client, ack: AckType, id: u16, reason: ReasonCode) {
    let properties = Properties::EMPTY;
    net.send(client, &Packet::Ack(ack, Ack { packet_id: packet_id(id), reason, properties }));
}

pub(crate) fn disconnect(net: &mut Net, client: Client) {
    disconnect_with(net, client, ReasonCode::Success);
}

pub(crate) fn disconnect_with(net: &mut Net, client: Client, reason: ReasonCode) {
    net.send(client, &Packet::Disconnect(Disconnect { reason, properties: Properties::EMPTY }));
    assert!(net.is_closed(client));
}

/// Expects DISCONNECT with this reason, as the last that came, and the end of the connection. (5.0)
pub(crate) fn expect_cut(net: &mut Net, client: Client, wanted: ReasonCode) {
    let got = all(net, client);
    assert!(matches!(got[..], [Got::Disconnect { reason, .. }] if reason == wanted), "{got:?}");
    assert!(net.is_closed(client));
}

/// Expects the end of the connection without a word.
pub(crate) fn expect_closed(net: &mut Net, client: Client) {
    assert_eq!(all(net, client), []);
    assert!(net.is_closed(client));
}

/// A filter to subscribe to, with its options.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    filter: String,
    options: u8,
}

impl Ask {
    pub(crate) fn new(filter: &str, qos: QoS) -> Self {
        Self { filter: filter.into(), options: qos as u8 }
    }

    pub(crate) fn no_local(mut self) -> Self {
        self.options |= 0x04;
        self
    }

    pub(crate) fn retain_as_published(mut self) -> Self {
        self.options |= 0x08;
        self
    }

    pub(crate) fn retain_handling(mut self, handling: u8) -> Self {
        self.options |= handling << 4;
        self
    }
}

/// Bytes of a SUBSCRIBE of 5.0.
pub(crate) fn subscribe_bytes(id: u16, subscription_id: Option<u32>, asks: &[Ask]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    let mut properties = Vec::new();
    if let Some(subscription_id) = subscription_id {
        properties.push(0x0b);
        put_varint(&mut properties, subscription_id);
    }
    put_varint(&mut body, properties.len() as u32);
    body.extend_from_slice(&properties);
    for ask in asks {
        put_text(&mut body, &ask.filter);
        body.push(ask.options);
    }
    packet(0x82, &body)
}

/// Sends a packet given in the bytes of 5.0, in the client's version.
pub(crate) fn send_v5(net: &mut Net, client: Client, bytes: &[u8]) {
    let Ok(Progress::Packet(frame)) = frame(bytes, u32::MAX) else { panic!("a whole packet") };
    net.send(client, &decode(&frame, Version::V5, Sender::Client).expect("a packet of a client"));
}

pub(crate) const SUBSCRIBE_ID: u16 = 0x7001;
pub(crate) const UNSUBSCRIBE_ID: u16 = 0x7002;

/// Subscribes, and expects it to be granted.
pub(crate) fn subscribe(net: &mut Net, client: Client, filter: &str, qos: QoS) {
    subscribe_to(net, client, None, &[Ask::new(filter, qos)]);
}

/// Subscribes, and expects all to be granted.
pub(crate) fn subscribe_to(net: &mut Net, client: Client, subscription_id: Option<u32>, asks: &[Ask]) {
    let reasons = ask_for(net, client, subscription_id, asks);
    let wanted: Vec<u8> = asks.iter().map(|ask| ask.options & 0b11).collect();
    assert_eq!(reasons, wanted);
}

/// Subscribes, and says what SUBACK said.
pub(crate) fn ask_for(net: &mut Net, client: Client, subscription_id: Option<u32>, asks: &[Ask]) -> Vec<u8> {
    send_v5(net, client, &subscribe_bytes(SUBSCRIBE_ID, subscription_id, asks));
    match next(net, client) {
        Got::SubAck { id: SUBSCRIBE_ID, reasons, .. } => reasons,
        got => panic!("no SUBACK: {got:?}"),
    }
}

/// Unsubscribes, and says what UNSUBACK said: nothing before 5.0.
pub(crate) fn unsubscribe(net: &mut Net, client: Client, filter: &str) -> Vec<u8> {
    let mut body = UNSUBSCRIBE_ID.to_be_bytes().to_vec();
    body.push(0);
    put_text(&mut body, filter);
    send_v5(net, client, &packet(0xa2, &body));
    match next(net, client) {
        Got::UnsubAck { id: UNSUBSCRIBE_ID, reasons, .. } => reasons,
        got => panic!("no UNSUBACK: {got:?}"),
    }
}

/// A packet from its first byte and its body.
pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    put_varint(&mut bytes, body.len() as u32);
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

// Part B.

/// Runs `test` on one shard, on two and on four.
pub(crate) fn on_1_2_4(options: &Options, test: impl Fn(Net)) {
    for shards in [1, 2, 4] {
        test(Net::new(Options { shards, ..options.clone() }));
    }
}

/// The sum of a number over all shards.
pub(crate) fn sum<T: std::iter::Sum>(net: &Net, of: impl Fn(&thrum::broker::ShardCore) -> T) -> T {
    net.cores.iter().map(of).sum()
}

/// Bytes of an UNSUBSCRIBE of 5.0.
pub(crate) fn unsubscribe_bytes(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    filters.iter().for_each(|filter| put_text(&mut body, filter));
    packet(0xa2, &body)
}

/// The messages that come, each acknowledged, until no more come. PUBRELs are answered as they come.
pub(crate) fn take_messages(net: &mut Net, client: Client) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(got) = next_if_any(net, client) {
        match got {
            Got::Publish(message) => {
                match message.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => send_ack(net, client, AckType::PubAck, message.id),
                    QoS::ExactlyOnce => send_ack(net, client, AckType::PubRec, message.id),
                }
                messages.push(message);
            }
            Got::Ack { ack: AckType::PubRel, id, .. } => send_ack(net, client, AckType::PubComp, id),
            other => panic!("neither PUBLISH nor PUBREL: {other:?}"),
        }
    }
    messages
}

/// Their payloads.
pub(crate) fn take_payloads(net: &mut Net, client: Client) -> Vec<String> {
    take_messages(net, client).iter().map(|message| message.payload_text().to_owned()).collect()
}

/// Nothing is left to be done, and nothing held.
pub(crate) fn assert_at_rest(net: &Net) {
    let held: usize = sum(net, |core| core.messages_held() + core.fullest().in_flight + core.unfinished_len());
    assert_eq!(held, 0, "messages held and things unfinished");
}

/// With a store.
pub(crate) fn durable() -> Options {
    Options { durable: true, ..Options::default() }
}

/// A client whose session lasts, with a subscription.
pub(crate) fn keeper(net: &mut Net, id: &str, filter: &str) -> Client {
    let client = Login::v5(id).keep_alive(0).expiry(1_000).connect(net);
    subscribe(net, client, filter, QoS::ExactlyOnce);
    client
}

/// The names of the records that were made since the last call.
pub(crate) fn records(net: &mut Net) -> Vec<String> {
    let records = std::mem::take(&mut net.records);
    records.iter().map(|record| format!("{record:?}").split([' ', '{']).next().unwrap().to_owned()).collect()
}
