//! Packets put together and taken apart by hand, with nothing of the broker's own codec, so that both can be wrong only
//! apart from each other.

use std::fmt;

pub(crate) const V3_1: u8 = 3;
pub(crate) const V3_1_1: u8 = 4;
pub(crate) const V5: u8 = 5;
pub(crate) const VERSIONS: [u8; 3] = [V3_1, V3_1_1, V5];

pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const UNSUBACK: u8 = 11;
pub(crate) const PINGRESP: u8 = 13;
pub(crate) const DISCONNECT: u8 = 14;

pub(crate) const PING: [u8; 2] = [0xc0, 0];
pub(crate) const BYE: [u8; 2] = [0xe0, 0];

fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    let mut length = body.len();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let mut field = (bytes.len() as u16).to_be_bytes().to_vec();
    field.extend_from_slice(bytes);
    field
}

/// A CONNECT. Clean, keep alive of 60 seconds.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) version: u8,
    pub(crate) client_id: String,
    is_clean: bool,
    keep_alive_secs: u16,
    properties: Vec<u8>,
    will: Option<Will>,
    /// Name and password.
    user: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay_secs: u32,
}

impl Login {
    pub(crate) fn new(version: u8, client_id: impl Into<String>) -> Self {
        let client_id = client_id.into();
        Self { version, client_id, is_clean: true, keep_alive_secs: 60, properties: Vec::new(), will: None, user: None }
    }

    /// With what the session has; in 5.0 it then lasts for so many seconds without its client, before for ever.
    pub(crate) fn lasting(mut self, expiry_secs: u32) -> Self {
        self.is_clean = false;
        self.expiring(expiry_secs)
    }

    /// The Session Expiry Interval, which only 5.0 has.
    pub(crate) fn expiring(mut self, secs: u32) -> Self {
        self.properties.push(0x11);
        self.properties.extend_from_slice(&secs.to_be_bytes());
        self
    }

    pub(crate) fn receive_max(mut self, max: u16) -> Self {
        self.properties.push(0x21);
        self.properties.extend_from_slice(&max.to_be_bytes());
        self
    }

    pub(crate) fn keep_alive(mut self, secs: u16) -> Self {
        self.keep_alive_secs = secs;
        self
    }

    pub(crate) fn will(mut self, topic: &str, payload: &str, qos: u8) -> Self {
        self.will = Some(Will { topic: topic.into(), payload: payload.into(), qos, retain: false, delay_secs: 0 });
        self
    }

    pub(crate) fn will_delayed(mut self, secs: u32) -> Self {
        self.will.as_mut().expect("a will to delay").delay_secs = secs;
        self
    }

    pub(crate) fn will_retained(mut self) -> Self {
        self.will.as_mut().expect("a will to retain").retain = true;
        self
    }

    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let is_v5 = self.version == V5;
        let mut body = field(if self.version == V3_1 { b"MQIsdp" } else { b"MQTT" });
        let will_flags = self.will.as_ref().map_or(0, |will| 4 | will.qos << 3 | u8::from(will.retain) << 5);
        let user_flags = if self.user.is_some() { 0xc0 } else { 0 };
        body.extend_from_slice(&[self.version, u8::from(self.is_clean) << 1 | will_flags | user_flags]);
        body.extend_from_slice(&self.keep_alive_secs.to_be_bytes());
        if is_v5 {
            body.push(self.properties.len() as u8);
            body.extend_from_slice(&self.properties);
        }
        body.extend(field(self.client_id.as_bytes()));
        if let Some(will) = &self.will {
            if is_v5 {
                body.extend_from_slice(&[5, 0x18]);
                body.extend_from_slice(&will.delay_secs.to_be_bytes());
            }
            body.extend(field(will.topic.as_bytes()));
            body.extend(field(&will.payload));
        }
        if let Some((name, password)) = &self.user {
            body.extend(field(name.as_bytes()));
            body.extend(field(password.as_bytes()));
        }
        packet(0x10, &body)
    }
}

/// A PUBLISH of a client. The identifier is there for QoS 1 and 2 only.
pub(crate) fn publish(version: u8, topic: &str, payload: &[u8], qos: u8, packet_id: u16) -> Vec<u8> {
    publish_flagged(version, topic, payload, qos << 1, packet_id)
}

pub(crate) fn publish_retained(version: u8, topic: &str, payload: &[u8], qos: u8, packet_id: u16) -> Vec<u8> {
    publish_flagged(version, topic, payload, qos << 1 | 1, packet_id)
}

pub(crate) fn publish_again(version: u8, topic: &str, payload: &[u8], qos: u8, packet_id: u16) -> Vec<u8> {
    publish_flagged(version, topic, payload, qos << 1 | 8, packet_id)
}

/// The flags as in the first byte.
pub(crate) fn publish_flagged(version: u8, topic: &str, payload: &[u8], flags: u8, packet_id: u16) -> Vec<u8> {
    let mut body = field(topic.as_bytes());
    if flags & 6 != 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    if version == V5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30 | flags, &body)
}

pub(crate) fn subscribe(version: u8, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == V5 {
        body.push(0);
    }
    for (filter, options) in filters {
        body.extend(field(filter.as_bytes()));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub(crate) fn unsubscribe(version: u8, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == V5 {
        body.push(0);
    }
    filters.iter().for_each(|filter| body.extend(field(filter.as_bytes())));
    packet(0xa2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, in the form that every version knows.
pub(crate) fn ack(kind: u8, packet_id: u16) -> Vec<u8> {
    let flags = if kind == PUBREL { 2 } else { 0 };
    packet(kind << 4 | flags, &packet_id.to_be_bytes())
}

/// DISCONNECT of 5.0 with a reason.
pub(crate) fn disconnect(reason: u8) -> Vec<u8> {
    packet(0xe0, &[reason, 0])
}

/// A packet of the broker.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) version: u8,
    pub(crate) first_byte: u8,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// 0 where there is none.
    pub(crate) packet_id: u16,
}

impl Publish {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.payload).expect("a payload of text")
    }

    /// A payload that begins with a number, in decimal digits and followed by a space or nothing.
    pub(crate) fn number(&self) -> u64 {
        let digits = self.payload.split(|&byte| byte == b' ').next().unwrap_or_default();
        str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).expect("a payload with a number")
    }
}

impl Packet {
    /// The first packet of the bytes, and how long it is; `None` where it is not whole, or its length is none.
    pub(crate) fn read(version: u8, bytes: &[u8]) -> Option<(Self, usize)> {
        let (mut length, mut at) = (0, 1);
        loop {
            let digit = *bytes.get(at)?;
            length |= usize::from(digit & 0x7f) << (7 * (at - 1));
            at += 1;
            if digit & 0x80 == 0 {
                break;
            }
            if at > 4 {
                return None;
            }
        }
        let body = bytes.get(at..at + length)?.to_vec();
        Some((Self { version, first_byte: bytes[0], body }, at + length))
    }

    pub(crate) fn kind(&self) -> u8 {
        self.first_byte >> 4
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.body[at], self.body[at + 1]])
    }

    /// Of an acknowledgement.
    pub(crate) fn packet_id(&self) -> u16 {
        self.u16_at(0)
    }

    /// The reason of a CONNACK (the return code before 5.0), an acknowledgement, a DISCONNECT.
    pub(crate) fn reason(&self) -> u8 {
        let at = match self.kind() {
            CONNACK => 1,
            DISCONNECT => 0,
            PUBACK..=PUBCOMP => 2,
            other => panic!("a packet of type {other} has no reason"),
        };
        self.body.get(at).copied().unwrap_or(0)
    }

    pub(crate) fn session_present(&self) -> bool {
        assert_eq!(self.kind(), CONNACK, "{self:?}");
        self.body[0] == 1
    }

    /// The codes of a SUBACK, or of an UNSUBACK of 5.0.
    pub(crate) fn codes(&self) -> &[u8] {
        assert!(matches!(self.kind(), SUBACK | UNSUBACK), "{self:?}");
        let properties = if self.version == V5 { 1 + usize::from(self.body[2]) } else { 0 };
        &self.body[2 + properties..]
    }

    pub(crate) fn publish(&self) -> Publish {
        assert_eq!(self.kind(), PUBLISH, "{self:?}");
        let qos = self.first_byte >> 1 & 3;
        let mut at = 2 + usize::from(self.u16_at(0));
        let topic = String::from_utf8(self.body[2..at].to_vec()).expect("a topic is UTF-8");
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = self.u16_at(at);
            at += 2;
        }
        if self.version == V5 {
            assert!(self.body[at] < 0x80, "longer properties than a test asks for");
            at += 1 + usize::from(self.body[at]);
        }
        let (retain, dup) = (self.first_byte & 1 != 0, self.first_byte & 8 != 0);
        Publish { topic, payload: self.body[at..].to_vec(), qos, retain, dup, packet_id }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(64)];
        write!(f, "{:02x} {shown:02x?} ({} bytes)", self.first_byte, self.body.len())
    }
}
