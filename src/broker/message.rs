//! A message as the broker holds it: one allocation of header and wire-ready body, counted by reference, so that
//! queues, windows, shards and output buffers share it.

use triomphe::ThinArc;

use crate::base::{Millis, RecordId, Timestamp};
use crate::mqtt::{BodyLayout, Properties, PropertyId, PublishBody, QoS, TopicName};
use crate::routing::{TopicHash, TopicHasher};
use crate::session::QueueItem;

/// What is known of a message besides its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageHeader {
    pub layout: BodyLayout,
    /// As published; each subscriber gets the lower of this and what it was granted. [MQTT-3.8.4-8]
    pub qos: QoS,
    /// The RETAIN flag as published.
    pub retain: bool,
    /// The end of the Message Expiry Interval; `NEVER` without one.
    pub expires: Timestamp,
    /// What an overflow policy and a sticky group tell topics apart by.
    pub topic_hash: TopicHash,
    /// The hash of the client that published it; zero where nobody needs it.
    pub publisher: u64,
}

/// A shared, immutable message: eight bytes to hold.
#[derive(Clone)]
pub struct Message(ThinArc<MessageHeader, u8>);

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.topic(), self.body().payload().len())
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.0.header.header == other.0.header.header && self.0.slice == other.0.slice
    }
}

impl Message {
    pub fn header(&self) -> &MessageHeader {
        &self.0.header.header
    }

    pub fn body(&self) -> PublishBody<'_> {
        PublishBody { bytes: &self.0.slice, layout: self.header().layout }
    }

    pub fn topic(&self) -> TopicName<'_> {
        TopicName::trusted(self.body().topic())
    }

    /// Bytes that holding it costs, near enough for the bounds on queues.
    pub fn held_bytes(&self) -> usize {
        self.0.slice.len() + size_of::<MessageHeader>()
    }
}

/// QoS, RETAIN, expiry and publisher, in front of a stored body.
const STORED_HEADER_BYTES: usize = 2 + 2 * 8;

impl Message {
    /// What [`Self::from_stored`] makes the message of again, in two parts, so that nobody has to put them together but
    /// where they are to stand.
    pub fn stored_parts(&self) -> ([u8; STORED_HEADER_BYTES], &[u8]) {
        let MessageHeader { qos, retain, expires, publisher, topic_hash: _, layout: _ } = self.header();
        let mut header = [0; STORED_HEADER_BYTES];
        header[0] = *qos as u8;
        header[1] = u8::from(*retain);
        header[2..10].copy_from_slice(&expires.0.to_le_bytes());
        header[10..].copy_from_slice(&publisher.to_le_bytes());
        (header, &self.0.slice)
    }

    /// Appends what [`Self::from_stored`] makes the message of again.
    pub fn put_stored(&self, out: &mut Vec<u8>) {
        let (header, body) = self.stored_parts();
        out.extend_from_slice(&header);
        out.extend_from_slice(body);
    }

    /// `None` where the bytes are no message's.
    pub fn from_stored(bytes: &[u8], hasher: &TopicHasher) -> Option<Self> {
        let (&[qos, retain, ref words @ ..], body) = bytes.split_first_chunk::<STORED_HEADER_BYTES>()?;
        let word = |at: usize| words[8 * at..].first_chunk().map(|word| u64::from_le_bytes(*word));
        let layout = BodyLayout::read(body)?;
        let header = MessageHeader {
            layout,
            qos: QoS::from_u8(qos)?,
            retain: match retain {
                0 => false,
                1 => true,
                _ => return None,
            },
            expires: Timestamp(word(0)?),
            topic_hash: hasher.hash(PublishBody { bytes: body, layout }.topic()),
            publisher: word(1)?,
        };
        Some(Self(ThinArc::from_header_and_slice(header, body)))
    }
}

impl QueueItem for Message {
    fn key_hash(&self) -> u64 {
        self.header().topic_hash.get()
    }

    fn same_key(&self, other: &Self) -> bool {
        self.body().topic() == other.body().topic()
    }

    fn bytes(&self) -> usize {
        self.held_bytes()
    }
}

/// A message on its way through one shard: its body lies in a scratch buffer until somebody has to keep it.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    header: MessageHeader,
    bytes: &'a [u8],
    kept: Option<Message>,
    /// The record of the message, where there is one already.
    pub(super) record: Option<RecordId>,
    pub(super) origin: Origin,
}

/// Where a message comes from, and so who sees to it that it is neither lost nor delivered twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// Its publisher, who sends it again unless it is acknowledged; or nobody.
    Publisher,
    /// The spool that has it under this name, until all who want it have it.
    Spool(RecordId),
    /// The same, until one member of a shared group has it.
    SpoolForShare(RecordId),
}

/// What a message is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) topic: TopicName<'a>,
    pub(super) topic_hash: TopicHash,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) properties: &'a Properties<'a>,
    pub(super) payload: &'a [u8],
    pub(super) publisher: u64,
}

impl<'a> Draft<'a> {
    pub(super) fn write(now: Timestamp, parts: &Parts<'_>, scratch: &'a mut Vec<u8>) -> Self {
        scratch.clear();
        let layout = BodyLayout::write(parts.topic, parts.properties, parts.payload, scratch);
        let expires = match parts.properties.four_byte(PropertyId::MessageExpiryInterval) {
            Some(secs) => now + Millis::from_secs(secs),
            None => Timestamp::NEVER,
        };
        let Parts { qos, retain, topic_hash, publisher, .. } = *parts;
        let header = MessageHeader { layout, qos, retain, expires, topic_hash, publisher };
        Self { header, bytes: scratch, kept: None, record: None, origin: Origin::Publisher }
    }

    /// The same message with another end of its life.
    pub(super) fn expiring_at(message: &'a Message, expires: Timestamp) -> Self {
        Self { header: MessageHeader { expires, ..*message.header() }, kept: None, ..Self::of(message) }
    }

    /// As another shard wrote it.
    pub(super) const fn read(header: &MessageHeader, bytes: &'a [u8]) -> Self {
        Self { header: *header, bytes, kept: None, record: None, origin: Origin::Publisher }
    }

    pub(super) fn of(message: &'a Message) -> Self {
        let (header, bytes) = (*message.header(), &message.0.slice);
        Self { header, bytes, kept: Some(message.clone()), record: None, origin: Origin::Publisher }
    }

    pub(super) fn from(message: &'a Message, origin: Origin) -> Self {
        Self { origin, ..Self::of(message) }
    }

    pub(super) const fn header(&self) -> &MessageHeader {
        &self.header
    }

    pub(super) const fn body(&self) -> PublishBody<'a> {
        PublishBody { bytes: self.bytes, layout: self.header.layout }
    }

    pub(super) fn topic(&self) -> TopicName<'a> {
        TopicName::trusted(self.body().topic())
    }

    /// The message to keep; made when it is first asked for.
    pub(super) fn message(&mut self) -> Message {
        self.kept.get_or_insert_with(|| Message(ThinArc::from_header_and_slice(self.header, self.bytes))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::PropertyBuffer;

    #[test]
    fn what_was_stored_is_the_same_message_and_what_was_cut_is_none() {
        let mut properties = PropertyBuffer::new();
        properties.push_user_property("key", "value");
        properties.push_four_byte(PropertyId::MessageExpiryInterval, 60);
        let (topic, hasher) = (TopicName::new("a/b").expect("a topic"), TopicHasher::new(3));
        let parts = Parts {
            topic,
            topic_hash: hasher.hash("a/b"),
            qos: QoS::ExactlyOnce,
            retain: true,
            properties: &properties.properties(),
            payload: b"",
            publisher: 77,
        };
        let message = Draft::write(Timestamp(5), &parts, &mut Vec::new()).message();
        let mut stored = Vec::new();
        message.put_stored(&mut stored);
        assert_eq!(Message::from_stored(&stored, &hasher), Some(message));
        for len in 0..stored.len() {
            assert_eq!(Message::from_stored(&stored[..len], &hasher), None, "{len}");
        }
    }
}
