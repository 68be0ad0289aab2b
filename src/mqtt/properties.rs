//! Properties of MQTT 5.0: one table says each property's type and where it may stand; a decoded set is the checked
//! bytes themselves, with a bit per property that is there.

use std::borrow::Cow;

use super::error::{Error, Malformed, ProtocolViolation};
use super::version::Sender;
use super::wire::{Reader, put_binary, put_variable_byte_integer, variable_byte_integer_len};
use crate::base::SubscriptionId;
use crate::base::limits::STRING_BYTES_MAX;

/// Where a set of properties stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum Place {
    Connect = 1,
    Will = 1 << 1,
    ConnAck = 1 << 2,
    Publish = 1 << 3,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    PublishAck = 1 << 4,
    Subscribe = 1 << 5,
    SubAck = 1 << 6,
    Unsubscribe = 1 << 7,
    UnsubAck = 1 << 8,
    Disconnect = 1 << 9,
    Auth = 1 << 10,
}

impl Place {
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Will,
        Self::ConnAck,
        Self::Publish,
        Self::PublishAck,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::Disconnect,
        Self::Auth,
    ];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A byte that says yes or no: every one-byte property is 0 or 1.
    Flag,
    TwoByte,
    FourByte,
    Variable,
    Text,
    Binary,
    Pair,
}

macro_rules! properties {
    ($($name:ident = $id:literal, $kind:ident, [$($place:ident)|+];)+) => {
        /// A property's identifier, with the specification's name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum PropertyId { $($name = $id),+ }

        impl PropertyId {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            const fn from_u8(id: u8) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)+
                    _ => None,
                }
            }

            const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind),+ }
            }

            const fn places(self) -> u16 {
                match self { $(Self::$name => $(Place::$place as u16)|+),+ }
            }
        }
    };
}

properties! {
    PayloadFormatIndicator = 0x01, Flag, [Publish | Will];
    MessageExpiryInterval = 0x02, FourByte, [Publish | Will];
    ContentType = 0x03, Text, [Publish | Will];
    ResponseTopic = 0x08, Text, [Publish | Will];
    CorrelationData = 0x09, Binary, [Publish | Will];
    SubscriptionIdentifier = 0x0b, Variable, [Publish | Subscribe];
    SessionExpiryInterval = 0x11, FourByte, [Connect | ConnAck | Disconnect];
    AssignedClientIdentifier = 0x12, Text, [ConnAck];
    ServerKeepAlive = 0x13, TwoByte, [ConnAck];
    AuthenticationMethod = 0x15, Text, [Connect | ConnAck | Auth];
    AuthenticationData = 0x16, Binary, [Connect | ConnAck | Auth];
    RequestProblemInformation = 0x17, Flag, [Connect];
    WillDelayInterval = 0x18, FourByte, [Will];
    RequestResponseInformation = 0x19, Flag, [Connect];
    ResponseInformation = 0x1a, Text, [ConnAck];
    ServerReference = 0x1c, Text, [ConnAck | Disconnect];
    ReasonString = 0x1f, Text, [ConnAck | PublishAck | SubAck | UnsubAck | Disconnect | Auth];
    ReceiveMaximum = 0x21, TwoByte, [Connect | ConnAck];
    TopicAliasMaximum = 0x22, TwoByte, [Connect | ConnAck];
    TopicAlias = 0x23, TwoByte, [Publish];
    MaximumQoS = 0x24, Flag, [ConnAck];
    RetainAvailable = 0x25, Flag, [ConnAck];
    UserProperty = 0x26, Pair, [Connect | Will | ConnAck | Publish | PublishAck | Subscribe | SubAck | Unsubscribe | UnsubAck | Disconnect | Auth];
    MaximumPacketSize = 0x27, FourByte, [Connect | ConnAck];
    WildcardSubscriptionAvailable = 0x28, Flag, [ConnAck];
    SubscriptionIdentifierAvailable = 0x29, Flag, [ConnAck];
    SharedSubscriptionAvailable = 0x2a, Flag, [ConnAck];
}

impl PropertyId {
    const fn bit(self) -> u64 {
        1 << self as u8
    }

    pub const fn may_stand_in(self, place: Place) -> bool {
        self.places() & place as u16 != 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyValue<'a> {
    Flag(bool),
    TwoByte(u16),
    FourByte(u32),
    Variable(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Property<'a> {
    pub id: PropertyId,
    pub value: PropertyValue<'a>,
}

impl<'a> Property<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        // Every identifier in use is below 128, so that the variable byte integer is one byte.
        let id = reader.variable_byte_integer()?;
        let id = u8::try_from(id).ok().and_then(PropertyId::from_u8).ok_or(Malformed::PropertyIdentifier)?;
        let value = match id.kind() {
            Kind::Flag => match reader.u8()? {
                0 => PropertyValue::Flag(false),
                1 => PropertyValue::Flag(true),
                _ => return Err(ProtocolViolation::PropertyValue.into()),
            },
            Kind::TwoByte => PropertyValue::TwoByte(reader.u16()?),
            Kind::FourByte => PropertyValue::FourByte(reader.u32()?),
            Kind::Variable => PropertyValue::Variable(reader.variable_byte_integer()?),
            // [MQTT-3.3.2-13] [MQTT-3.3.2-19]
            Kind::Text => PropertyValue::Text(reader.text()?),
            Kind::Binary => PropertyValue::Binary(reader.binary()?),
            // [MQTT-1.5.7-1]
            Kind::Pair => PropertyValue::Pair(reader.text()?, reader.text()?),
        };
        Ok(Self { id, value })
    }

    /// Ranges that the type alone does not give.
    fn check_value(&self) -> Result<(), ProtocolViolation> {
        use PropertyId as P;
        match (self.id, self.value) {
            // [MQTT-3.3.2-8]
            (P::TopicAlias, PropertyValue::TwoByte(0)) => Err(ProtocolViolation::TopicAlias),
            (P::ReceiveMaximum, PropertyValue::TwoByte(0))
            | (P::MaximumPacketSize, PropertyValue::FourByte(0))
            | (P::SubscriptionIdentifier, PropertyValue::Variable(0)) => Err(ProtocolViolation::PropertyValue),
            // [MQTT-3.3.2-14]
            (P::ResponseTopic, PropertyValue::Text(topic)) if topic.contains(['+', '#']) => {
                Err(ProtocolViolation::PropertyValue)
            }
            _ => Ok(()),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id as u8);
        match self.value {
            PropertyValue::Flag(value) => out.push(u8::from(value)),
            PropertyValue::TwoByte(value) => out.extend_from_slice(&value.to_be_bytes()),
            PropertyValue::FourByte(value) => out.extend_from_slice(&value.to_be_bytes()),
            PropertyValue::Variable(value) => put_variable_byte_integer(out, value),
            PropertyValue::Text(text) => put_binary(out, text.as_bytes()),
            PropertyValue::Binary(bytes) => put_binary(out, bytes),
            PropertyValue::Pair(name, value) => {
                put_binary(out, name.as_bytes());
                put_binary(out, value.as_bytes());
            }
        }
    }
}

/// A checked set of properties: known, allowed where they stand, each once where it must be, in range.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Properties<'a> {
    bytes: &'a [u8],
    present: u64,
}

impl<'a> Properties<'a> {
    pub const EMPTY: Properties<'static> = Properties { bytes: &[], present: 0 };

    /// Reads the length and the properties behind it.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>, place: Place, sender: Sender) -> Result<Self, Error> {
        let length = reader.variable_byte_integer()?;
        if length == 0 {
            return Ok(Properties::EMPTY);
        }
        Self::check(reader.take(length as usize)?, place, sender)
    }

    fn check(bytes: &'a [u8], place: Place, sender: Sender) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let mut present = 0;
        while !reader.is_empty() {
            let property = Property::read(&mut reader)?;
            let id = property.id;
            if !id.may_stand_in(place) {
                return Err(Malformed::PropertyIdentifier.into());
            }
            if present & id.bit() != 0 && !may_repeat(id, place) {
                return Err(ProtocolViolation::DuplicateProperty.into());
            }
            if is_from_wrong_side(id, place, sender) {
                return Err(ProtocolViolation::PropertyFromWrongSide.into());
            }
            property.check_value()?;
            present |= id.bit();
        }
        let set = Self { bytes, present };
        if set.contains(PropertyId::AuthenticationData) && !set.contains(PropertyId::AuthenticationMethod) {
            return Err(ProtocolViolation::NoAuthenticationMethod.into());
        }
        Ok(set)
    }

    /// The encoded properties, without their length.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline]
    pub const fn contains(&self, id: PropertyId) -> bool {
        self.present & id.bit() != 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        // The bytes were checked, so that the first error is their end.
        std::iter::from_fn(move || Property::read(&mut reader).ok())
    }

    #[inline]
    fn get(&self, id: PropertyId) -> Option<PropertyValue<'a>> {
        if !self.contains(id) {
            return None;
        }
        self.iter().find(|property| property.id == id).map(|property| property.value)
    }

    pub fn flag(&self, id: PropertyId) -> Option<bool> {
        match self.get(id) {
            Some(PropertyValue::Flag(value)) => Some(value),
            _ => None,
        }
    }

    pub fn two_byte(&self, id: PropertyId) -> Option<u16> {
        match self.get(id) {
            Some(PropertyValue::TwoByte(value)) => Some(value),
            _ => None,
        }
    }

    pub fn four_byte(&self, id: PropertyId) -> Option<u32> {
        match self.get(id) {
            Some(PropertyValue::FourByte(value)) => Some(value),
            _ => None,
        }
    }

    pub fn text(&self, id: PropertyId) -> Option<&'a str> {
        match self.get(id) {
            Some(PropertyValue::Text(value)) => Some(value),
            _ => None,
        }
    }

    pub fn binary(&self, id: PropertyId) -> Option<&'a [u8]> {
        match self.get(id) {
            Some(PropertyValue::Binary(value)) => Some(value),
            _ => None,
        }
    }

    /// The only one of a SUBSCRIBE; a PUBLISH may hold several.
    pub fn subscription_id(&self) -> Option<SubscriptionId> {
        match self.get(PropertyId::SubscriptionIdentifier) {
            Some(PropertyValue::Variable(value)) => SubscriptionId::new(value),
            _ => None,
        }
    }

    /// Appends what a PUBLISH or a will passes on unchanged: all but what belongs to this hop [MQTT-3.1.3-10] [MQTT-3.3.2-4] [MQTT-3.3.2-15]
    /// [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20], and the expiry, which is rewritten.
    pub(super) fn write_forwarded(&self, out: &mut Vec<u8>) {
        const NOT_FORWARDED: u64 = PropertyId::TopicAlias.bit()
            | PropertyId::MessageExpiryInterval.bit()
            | PropertyId::SubscriptionIdentifier.bit()
            | PropertyId::WillDelayInterval.bit();
        if self.present & NOT_FORWARDED == 0 {
            out.extend_from_slice(self.bytes);
            return;
        }
        for property in self.iter().filter(|property| NOT_FORWARDED & property.id.bit() == 0) {
            property.write(out);
        }
    }

    /// [MQTT-2.2.2-1]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_variable_byte_integer(out, self.bytes.len() as u32);
        out.extend_from_slice(self.bytes);
    }

    /// Of the set with its length.
    pub(super) const fn encoded_len(&self) -> usize {
        variable_byte_integer_len(self.bytes.len() as u32) + self.bytes.len()
    }
}

/// Copies properties, checked ones, with another Response Topic, or without it where `change` gives none.
pub(super) fn change_response_topic<'a>(
    properties: &'a [u8],
    change: impl Fn(&'a str) -> Option<Cow<'a, str>>,
    out: &mut PropertyBuffer,
) {
    let mut reader = Reader::new(properties);
    // They were checked, so that the first error is their end.
    while let Ok(Property { id, value }) = Property::read(&mut reader) {
        match value {
            PropertyValue::Text(topic) if id == PropertyId::ResponseTopic => {
                if let Some(topic) = change(topic) {
                    out.push(id, PropertyValue::Text(&topic));
                }
            }
            value => out.push(id, value),
        }
    }
}

/// User Property may be there several times, and so may the Subscription Identifier of a PUBLISH, one for each
/// subscription that matched. [MQTT-3.3.4-4]
fn may_repeat(id: PropertyId, place: Place) -> bool {
    id == PropertyId::UserProperty || id == PropertyId::SubscriptionIdentifier && place == Place::Publish
}

fn is_from_wrong_side(id: PropertyId, place: Place, sender: Sender) -> bool {
    match (id, place) {
        // [MQTT-3.3.4-6]
        (PropertyId::SubscriptionIdentifier, Place::Publish) | (PropertyId::ServerReference, Place::Disconnect) => {
            sender == Sender::Client
        }
        // [MQTT-3.14.2-2]
        (PropertyId::SessionExpiryInterval, Place::Disconnect) => sender == Sender::Server,
        _ => false,
    }
}

/// Properties being put together for a packet of ours.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PropertyBuffer {
    bytes: Vec<u8>,
    present: u64,
}

impl PropertyBuffer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.present = 0;
    }

    fn push(&mut self, id: PropertyId, value: PropertyValue<'_>) {
        Property { id, value }.write(&mut self.bytes);
        self.present |= id.bit();
    }

    pub fn push_flag(&mut self, id: PropertyId, value: bool) {
        debug_assert_eq!(id.kind(), Kind::Flag);
        self.push(id, PropertyValue::Flag(value));
    }

    pub fn push_two_byte(&mut self, id: PropertyId, value: u16) {
        debug_assert_eq!(id.kind(), Kind::TwoByte);
        self.push(id, PropertyValue::TwoByte(value));
    }

    pub fn push_four_byte(&mut self, id: PropertyId, value: u32) {
        debug_assert_eq!(id.kind(), Kind::FourByte);
        self.push(id, PropertyValue::FourByte(value));
    }

    pub fn push_subscription_id(&mut self, id: SubscriptionId) {
        self.push(PropertyId::SubscriptionIdentifier, PropertyValue::Variable(id.get()));
    }

    pub fn push_text(&mut self, id: PropertyId, value: &str) {
        debug_assert_eq!(id.kind(), Kind::Text);
        self.push(id, PropertyValue::Text(value));
    }

    pub fn push_binary(&mut self, id: PropertyId, value: &[u8]) {
        debug_assert_eq!(id.kind(), Kind::Binary);
        self.push(id, PropertyValue::Binary(value));
    }

    pub fn push_user_property(&mut self, name: &str, value: &str) {
        self.push(PropertyId::UserProperty, PropertyValue::Pair(name, value));
    }

    /// These properties with this before their Response Topic. `None`: that would be too long.
    pub fn with_response_topic_below(properties: &Properties<'_>, above: &str) -> Option<Self> {
        let mut below = Self::new();
        let len = properties.text(PropertyId::ResponseTopic).map_or(0, str::len);
        if above.len() + len > STRING_BYTES_MAX {
            return None;
        }
        change_response_topic(properties.as_bytes(), |topic| Some(format!("{above}{topic}").into()), &mut below);
        Some(below)
    }

    pub fn properties(&self) -> Properties<'_> {
        Properties { bytes: &self.bytes, present: self.present }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_fit_the_bit_set_and_one_byte() {
        for &id in PropertyId::ALL {
            assert!((id as u8) < 64);
            assert_eq!(PropertyId::from_u8(id as u8), Some(id));
        }
        assert_eq!(PropertyId::ALL.len(), 27);
    }

    // [MQTT-3.3.2-18] the order of User Properties is kept.
    #[test]
    fn what_is_forwarded_keeps_its_order_and_loses_only_this_hops_properties() {
        let mut all = PropertyBuffer::new();
        all.push_user_property("b", "1");
        all.push_two_byte(PropertyId::TopicAlias, 3);
        all.push_text(PropertyId::ContentType, "text");
        all.push_four_byte(PropertyId::MessageExpiryInterval, 9);
        all.push_user_property("a", "2");
        let mut forwarded = Vec::new();
        all.properties().write_forwarded(&mut forwarded);
        let forwarded = Properties::check(&forwarded, Place::Publish, Sender::Client).unwrap();
        let ids: Vec<_> = forwarded.iter().map(|property| property.value).collect();
        assert_eq!(ids, [PropertyValue::Pair("b", "1"), PropertyValue::Text("text"), PropertyValue::Pair("a", "2")]);
    }
}
