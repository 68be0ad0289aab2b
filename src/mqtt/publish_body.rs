//! A PUBLISH as it is stored and shared: written once in wire order, then copied to each subscriber with only what is
//! his own put around it.
//!
//! ```text
//! topic length | topic | [packet identifier] | property length | [own properties] | forwarded properties | payload
//! `------ head ------'                         `------------------- tail of 5.0, from `properties_at` ----'
//!                                                                              `tail of 3.x, from `payload_at`
//! ```
//! The parts in brackets are the subscriber's, the rest are two slices of the shared bytes. So the body is encoded
//! once, and serves every version at once.

use super::encode::{publish_first_byte, put_delivery_id};
use super::packet::{Delivery, QoS};
use super::properties::{Properties, PropertyId};
use super::topic::TopicName;
use super::version::Version;
use super::wire::{Reader, put_binary, put_fixed_header, put_variable_byte_integer, variable_byte_integer_len};
use crate::base::SubscriptionId;
use crate::base::limits::FIXED_HEADER_BYTES_MAX;

/// Where the parts of a stored body begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyLayout {
    /// Of the property length.
    properties_at: u32,
    /// Of the forwarded properties, behind their length.
    forwarded_at: u32,
    payload_at: u32,
}

impl BodyLayout {
    /// Appends the body of a message to `out`, which must be empty.
    pub fn write(topic: TopicName<'_>, properties: &Properties<'_>, payload: &[u8], out: &mut Vec<u8>) -> Self {
        debug_assert!(out.is_empty());
        put_binary(out, topic.as_str().as_bytes());
        let properties_at = out.len();
        if properties.is_empty() {
            out.push(0);
        } else {
            let mut forwarded = Vec::with_capacity(properties.as_bytes().len());
            properties.write_forwarded(&mut forwarded);
            put_variable_byte_integer(out, forwarded.len() as u32);
            out.extend_from_slice(&forwarded);
        }
        let payload_at = out.len();
        out.extend_from_slice(payload);
        let forwarded_at = match properties.is_empty() {
            true => payload_at,
            false => properties_at + length_of_length(&out[properties_at..]),
        };
        Self { properties_at: properties_at as u32, forwarded_at: forwarded_at as u32, payload_at: payload_at as u32 }
    }
}

impl BodyLayout {
    /// Of bytes that `write` made, as a store gives them back; `None` where they are no such bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        TopicName::new(reader.text_that_may_hold_nul().ok()?).ok()?;
        let at = |reader: &Reader<'_>| u32::try_from(bytes.len() - reader.rest().len()).ok();
        let properties_at = at(&reader)?;
        let properties_len = reader.variable_byte_integer().ok()?;
        let forwarded_at = at(&reader)?;
        reader.take(properties_len as usize).ok()?;
        Some(Self { properties_at, forwarded_at, payload_at: at(&reader)? })
    }
}

/// Of a variable byte integer that stands at the front of `bytes`.
fn length_of_length(bytes: &[u8]) -> usize {
    1 + bytes.iter().take_while(|&&byte| byte >= 0x80).count()
}

/// A stored body, to read and to copy from.
#[derive(Clone, Copy, Debug)]
pub struct PublishBody<'a> {
    pub bytes: &'a [u8],
    pub layout: BodyLayout,
}

/// What one subscriber's copy has of its own.
#[derive(Clone, Copy, Debug)]
pub struct PublishCopy<'a> {
    pub version: Version,
    pub dup: bool,
    pub delivery: Delivery,
    pub retain: bool,
    /// Seconds that are left of the message's life. [MQTT-3.3.2-6]
    pub expiry_secs: Option<u32>,
    pub alias: TopicAlias,
    pub subscription_ids: &'a [SubscriptionId],
}

/// How a copy names its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicAlias {
    /// In full.
    None,
    /// In full, and by this number from now on.
    Set(u16),
    /// By its number alone.
    Use(u16),
}

impl<'a> PublishBody<'a> {
    pub fn topic(&self) -> &'a str {
        // The bytes were a topic's when they were written.
        std::str::from_utf8(self.head().get(2..).unwrap_or_default()).unwrap_or_default()
    }

    fn head(&self) -> &'a [u8] {
        &self.bytes[..self.layout.properties_at as usize]
    }

    pub fn forwarded_properties(&self) -> &'a [u8] {
        &self.bytes[self.layout.forwarded_at as usize..self.layout.payload_at as usize]
    }

    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.layout.payload_at as usize..]
    }

    fn forwarded_len(&self) -> usize {
        (self.layout.payload_at - self.layout.forwarded_at) as usize
    }

    /// The length of the whole packet that [`Self::put_copy`] makes, payload included.
    pub fn copy_len(&self, copy: &PublishCopy<'_>) -> usize {
        let length = self.remaining_length(copy, own_properties_len(copy));
        1 + variable_byte_integer_len(length as u32) + length
    }

    #[inline]
    fn remaining_length(&self, copy: &PublishCopy<'_>, own_len: usize) -> usize {
        let id = if copy.delivery.qos() == QoS::AtMostOnce { 0 } else { 2 };
        let head = match copy.alias {
            TopicAlias::Use(_) => 2,
            _ => self.layout.properties_at as usize,
        };
        let own = match own_len {
            0 => 0,
            _ => variable_byte_integer_len((own_len + self.forwarded_len()) as u32) + own_len,
        };
        head + id + own + self.bytes.len() - self.tail_at(copy.version, own_len)
    }

    /// Where the shared bytes go on behind the copy's own parts.
    #[inline]
    const fn tail_at(&self, version: Version, own_len: usize) -> usize {
        let at = match (version, own_len) {
            (Version::V5, 0) => self.layout.properties_at,
            (Version::V5, _) => self.layout.forwarded_at,
            _ => self.layout.payload_at,
        };
        at as usize
    }

    /// Appends a subscriber's copy. With `payload_apart` the payload is left for the caller to send by reference.
    #[inline]
    pub fn put_copy(&self, copy: &PublishCopy<'_>, payload_apart: bool, out: &mut Vec<u8>) {
        let own_len = own_properties_len(copy);
        let length = self.remaining_length(copy, own_len);
        out.reserve(length + FIXED_HEADER_BYTES_MAX);
        put_fixed_header(out, publish_first_byte(copy.dup, copy.delivery.qos(), copy.retain), length as u32);
        match copy.alias {
            TopicAlias::Use(_) => out.extend_from_slice(&[0, 0]),
            _ => out.extend_from_slice(self.head()),
        }
        put_delivery_id(copy.delivery, out);
        if own_len != 0 {
            put_variable_byte_integer(out, (own_len + self.forwarded_len()) as u32);
            put_own_properties(copy, out);
        }
        let end = if payload_apart { self.layout.payload_at as usize } else { self.bytes.len() };
        out.extend_from_slice(&self.bytes[self.tail_at(copy.version, own_len)..end]);
    }
}

/// The properties that only this copy has.
pub(super) fn put_own_properties(copy: &PublishCopy<'_>, out: &mut Vec<u8>) {
    if let Some(secs) = copy.expiry_secs {
        out.push(PropertyId::MessageExpiryInterval as u8);
        out.extend_from_slice(&secs.to_be_bytes());
    }
    if let TopicAlias::Set(alias) | TopicAlias::Use(alias) = copy.alias {
        out.push(PropertyId::TopicAlias as u8);
        out.extend_from_slice(&alias.to_be_bytes());
    }
    // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    for id in copy.subscription_ids {
        out.push(PropertyId::SubscriptionIdentifier as u8);
        put_variable_byte_integer(out, id.get());
    }
}

/// None before 5.0.
#[inline]
pub(super) fn own_properties_len(copy: &PublishCopy<'_>) -> usize {
    if copy.version != Version::V5 {
        return 0;
    }
    let expiry = if copy.expiry_secs.is_some() { 5 } else { 0 };
    let alias = if copy.alias == TopicAlias::None { 0 } else { 3 };
    let ids: usize = copy.subscription_ids.iter().map(|id| 1 + variable_byte_integer_len(id.get())).sum();
    expiry + alias + ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Packet, PacketId, Progress, PropertyBuffer, Sender, decode, frame};

    fn decoded(bytes: &[u8], version: Version, check: impl FnOnce(crate::mqtt::Publish<'_>)) {
        let Ok(Progress::Packet(frame)) = frame(bytes, u32::MAX) else { panic!("not one packet: {bytes:x?}") };
        assert_eq!(frame.bytes, bytes.len());
        match decode(&frame, version, Sender::Server) {
            Ok(Packet::Publish(publish)) => check(publish),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_body_serves_every_version_with_each_copys_own_parts() {
        let mut properties = PropertyBuffer::new();
        properties.push_user_property("key", "value");
        properties.push_four_byte(PropertyId::MessageExpiryInterval, 60);
        let mut bytes = Vec::new();
        let topic = TopicName::trusted("a/b");
        let layout = BodyLayout::write(topic, &properties.properties(), b"hello", &mut bytes);
        let body = PublishBody { bytes: &bytes, layout };
        assert_eq!(BodyLayout::read(&bytes), Some(layout));
        assert_eq!(BodyLayout::read(&bytes[..layout.payload_at as usize - 1]), None);
        assert_eq!((body.topic(), body.payload()), ("a/b", &b"hello"[..]));
        let ids = [SubscriptionId::new(7).unwrap(), SubscriptionId::new(300).unwrap()];
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            for delivery in [Delivery::AtMostOnce, Delivery::AtLeastOnce(PacketId::new(9).unwrap())] {
                for (own, alias) in [(false, TopicAlias::None), (true, TopicAlias::Set(2)), (true, TopicAlias::Use(2))]
                {
                    let own = own && version == Version::V5;
                    let copy = PublishCopy {
                        version,
                        dup: delivery != Delivery::AtMostOnce,
                        delivery,
                        retain: true,
                        expiry_secs: own.then_some(59),
                        alias: if own { alias } else { TopicAlias::None },
                        subscription_ids: if own { &ids } else { &[] },
                    };
                    let mut out = Vec::new();
                    body.put_copy(&copy, false, &mut out);
                    assert_eq!(out.len(), body.copy_len(&copy));
                    decoded(&out, version, |publish| {
                        assert_eq!(publish.topic, (copy.alias != TopicAlias::Use(2)).then_some(topic));
                        assert_eq!((publish.delivery, publish.retain), (delivery, true));
                        assert_eq!(publish.payload, b"hello");
                        let expiry = publish.properties.four_byte(PropertyId::MessageExpiryInterval);
                        assert_eq!(expiry, own.then_some(59));
                        let users = publish.properties.contains(PropertyId::UserProperty);
                        assert_eq!(users, version == Version::V5);
                    });
                    let mut apart = Vec::new();
                    body.put_copy(&copy, true, &mut apart);
                    apart.extend_from_slice(b"hello");
                    assert_eq!(apart, out);
                }
            }
        }
    }
}
