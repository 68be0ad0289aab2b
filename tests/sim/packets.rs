//! Packets as the simulation keeps them: owned, with what the judge has to know of each.

use thrum::base::SubscriptionId;
use thrum::mqtt::{
    Ack, AckType, Connect, Delivery, Disconnect, Packet, PacketId, Properties, PropertyBuffer, PropertyId, Publish,
    QoS, ReasonCode, TopicName, Version, Will, encode,
};

/// A message's number, which is its payload.
pub type Msg = usize;

pub const TOPICS: [&str; 9] = ["a", "a/b", "a/c", "a/b/c", "b/x", "b/y", "/z", "a/very/long/topic/with/levels", "q"];

pub fn topic_index(topic: &str) -> Option<u8> {
    TOPICS.iter().position(|&known| known == topic).map(|index| index as u8)
}

pub fn qos_of(qos: u8) -> QoS {
    QoS::from_u8(qos).expect("0 to 2")
}

#[derive(Clone, Debug)]
pub struct WillUp {
    pub msg: Msg,
    pub topic: u8,
    pub qos: u8,
    pub retain: bool,
    pub delay_secs: u32,
    pub expiry: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct ConnectUp {
    pub id: String,
    pub version: Version,
    pub clean: bool,
    pub keep_alive_secs: u16,
    pub expiry_secs: u32,
    pub receive_max: u16,
    pub alias_max: u16,
    pub packet_max: Option<u32>,
    pub will: Option<WillUp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilterUp {
    pub group: Option<&'static str>,
    pub filter: &'static str,
    pub qos: u8,
    pub no_local: bool,
    pub rap: bool,
    pub rh: u8,
}

#[derive(Clone, Debug)]
pub enum Up {
    Connect(Box<ConnectUp>),
    /// `alias`: its number, and whether the topic goes with it.
    Publish {
        msg: Msg,
        pid: u16,
        dup: bool,
        alias: Option<(u16, bool)>,
    },
    Ack(AckType, u16),
    Subscribe {
        pid: u16,
        id: Option<u32>,
        filters: Vec<FilterUp>,
    },
    Unsubscribe {
        pid: u16,
        filters: Vec<(Option<&'static str>, &'static str)>,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry: Option<u32>,
    },
    /// A hostile client's bytes. True: no broker may go on after them.
    Garbage(bool),
}

/// What a PUBLISH carries, as its publisher wrote it.
#[derive(Clone, Debug)]
pub struct Written {
    pub topic: u8,
    pub qos: u8,
    pub retain: bool,
    pub clears: bool,
    pub big: bool,
    pub expiry: Option<u32>,
}

pub fn payload(msg: Msg, written: &Written) -> Vec<u8> {
    if written.clears {
        return Vec::new();
    }
    let mut bytes = format!("m{msg:05}").into_bytes();
    if written.big {
        // Above what is copied into an output buffer.
        bytes.resize(if msg.is_multiple_of(2) { 500 } else { 2_500 }, b'.');
    }
    bytes
}

pub fn msg_of(payload: &[u8]) -> Option<Msg> {
    std::str::from_utf8(payload.get(..6)?).ok()?.strip_prefix('m')?.parse().ok()
}

fn full(group: Option<&str>, filter: &str) -> String {
    group.map_or_else(|| filter.to_owned(), |group| format!("$share/{group}/{filter}"))
}

pub fn put_up(up: &Up, version: Version, written: Option<&Written>, out: &mut Vec<u8>) {
    let id = |pid: u16| PacketId::new(pid).expect("identifiers are not zero");
    match up {
        Up::Connect(connect) => put_connect(connect, out),
        Up::Publish { msg, pid, dup, alias } => {
            let written = written.expect("a publish is written down");
            let mut properties = PropertyBuffer::new();
            if version == Version::V5 {
                if let Some(secs) = written.expiry {
                    properties.push_four_byte(PropertyId::MessageExpiryInterval, secs);
                }
                if let Some((alias, _)) = alias {
                    properties.push_two_byte(PropertyId::TopicAlias, *alias);
                }
            }
            let topic = alias.is_none_or(|(_, with_topic)| with_topic);
            let delivery = match written.qos {
                0 => Delivery::AtMostOnce,
                1 => Delivery::AtLeastOnce(id(*pid)),
                _ => Delivery::ExactlyOnce(id(*pid)),
            };
            let payload = payload(*msg, written);
            let publish = Publish {
                dup: *dup,
                delivery,
                retain: written.retain,
                topic: topic.then(|| TopicName::trusted(TOPICS[written.topic as usize])),
                properties: properties.properties(),
                payload: &payload,
            };
            encode(&Packet::Publish(publish), version, out);
        }
        Up::Ack(kind, pid) => {
            let ack = Ack { packet_id: id(*pid), reason: ReasonCode::Success, properties: Properties::EMPTY };
            encode(&Packet::Ack(*kind, ack), version, out);
        }
        Up::Subscribe { pid, id, filters } => {
            let mut body = pid.to_be_bytes().to_vec();
            put_subscription_id(*id, version, &mut body);
            for filter in filters {
                let text = full(filter.group, filter.filter);
                body.extend_from_slice(&(text.len() as u16).to_be_bytes());
                body.extend_from_slice(text.as_bytes());
                let options = filter.qos
                    | if version == Version::V5 {
                        u8::from(filter.no_local) << 2 | u8::from(filter.rap) << 3 | filter.rh << 4
                    } else {
                        0
                    };
                body.push(options);
            }
            put_body(0x82, &body, out);
        }
        Up::Unsubscribe { pid, filters } => {
            let mut body = pid.to_be_bytes().to_vec();
            put_subscription_id(None, version, &mut body);
            for (group, filter) in filters {
                let text = full(*group, filter);
                body.extend_from_slice(&(text.len() as u16).to_be_bytes());
                body.extend_from_slice(text.as_bytes());
            }
            put_body(0xa2, &body, out);
        }
        Up::Ping => encode(&Packet::PingReq, version, out),
        Up::Disconnect { with_will, expiry } => {
            let mut properties = PropertyBuffer::new();
            if let Some(secs) = expiry {
                properties.push_four_byte(PropertyId::SessionExpiryInterval, *secs);
            }
            let reason = if *with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
            let disconnect = Disconnect { reason, properties: properties.properties() };
            encode(&Packet::Disconnect(disconnect), version, out);
        }
        Up::Garbage(_) => {}
    }
}

/// The properties of a SUBSCRIBE or UNSUBSCRIBE.
fn put_subscription_id(id: Option<u32>, version: Version, body: &mut Vec<u8>) {
    if version != Version::V5 {
        return;
    }
    let mut properties = PropertyBuffer::new();
    if let Some(id) = id.and_then(SubscriptionId::new) {
        properties.push_subscription_id(id);
    }
    let bytes = properties.properties().as_bytes().to_vec();
    body.push(bytes.len() as u8);
    body.extend_from_slice(&bytes);
}

fn put_body(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut length = body.len();
    loop {
        let more = length >> 7;
        out.push((length & 0x7f) as u8 | if more > 0 { 0x80 } else { 0 });
        length = more;
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

fn put_connect(connect: &ConnectUp, out: &mut Vec<u8>) {
    let v5 = connect.version == Version::V5;
    let (mut properties, mut of_will) = (PropertyBuffer::new(), PropertyBuffer::new());
    if v5 {
        if connect.expiry_secs != 0 {
            properties.push_four_byte(PropertyId::SessionExpiryInterval, connect.expiry_secs);
        }
        if connect.receive_max != u16::MAX {
            properties.push_two_byte(PropertyId::ReceiveMaximum, connect.receive_max);
        }
        if connect.alias_max != 0 {
            properties.push_two_byte(PropertyId::TopicAliasMaximum, connect.alias_max);
        }
        if let Some(max) = connect.packet_max {
            properties.push_four_byte(PropertyId::MaximumPacketSize, max);
        }
        if let Some(will) = &connect.will {
            if will.delay_secs != 0 {
                of_will.push_four_byte(PropertyId::WillDelayInterval, will.delay_secs);
            }
            if let Some(secs) = will.expiry {
                of_will.push_four_byte(PropertyId::MessageExpiryInterval, secs);
            }
        }
    }
    let payload = connect.will.as_ref().map(|will| format!("m{:05}", will.msg)).unwrap_or_default();
    let will = connect.will.as_ref().map(|will| Will {
        qos: qos_of(will.qos),
        retain: will.retain,
        topic: TopicName::trusted(TOPICS[will.topic as usize]),
        payload: payload.as_bytes(),
        properties: of_will.properties(),
    });
    let connect = Connect {
        version: connect.version,
        clean_start: connect.clean,
        keep_alive_secs: connect.keep_alive_secs,
        client_id: &connect.id,
        will,
        user_name: None,
        password: None,
        properties: properties.properties(),
    };
    encode(&Packet::Connect(connect), connect.version, out);
}

/// What the broker sent, as the tap on its output read it.
#[derive(Clone, Debug)]
pub enum Down {
    ConnAck { present: bool, reason: ReasonCode, receive_max: u16, alias_max: u16, keep_alive_secs: Option<u16> },
    Publish(Box<PublishDown>),
    Ack(AckType, u16, ReasonCode),
    SubAck { pid: u16, reasons: Vec<u8> },
    UnsubAck { pid: u16 },
    PingResp,
    Disconnect,
}

#[derive(Clone, Debug)]
pub struct PublishDown {
    pub dup: bool,
    pub qos: u8,
    pub pid: u16,
    pub retain: bool,
    pub topic: u8,
    /// None: an empty payload.
    pub msg: Option<Msg>,
    pub expiry: Option<u32>,
    pub ids: Vec<u32>,
    /// Whether its version has properties.
    pub v5: bool,
}

pub fn down_of(packet: &Packet<'_>) -> Result<Down, String> {
    Ok(match packet {
        Packet::ConnAck(ack) => Down::ConnAck {
            present: ack.session_present,
            reason: ack.reason,
            receive_max: ack.properties.two_byte(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
            alias_max: ack.properties.two_byte(PropertyId::TopicAliasMaximum).unwrap_or(0),
            keep_alive_secs: ack.properties.two_byte(PropertyId::ServerKeepAlive),
        },
        Packet::Ack(kind, ack) => Down::Ack(*kind, ack.packet_id.get(), ack.reason),
        Packet::SubAck(ack) => Down::SubAck { pid: ack.packet_id.get(), reasons: ack.reasons.to_vec() },
        Packet::UnsubAck(ack) => Down::UnsubAck { pid: ack.packet_id.get() },
        Packet::PingResp => Down::PingResp,
        Packet::Disconnect(_) => Down::Disconnect,
        other => return Err(format!("the broker sent {other:?}")),
    })
}
