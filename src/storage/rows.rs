//! The values of the settled store's tables as bytes. What is not exactly such a value is `None`.

use super::overlay::Spooled;
use super::wire::{
    Reader, put_copy, put_id, put_message, put_option, put_options, put_owner, put_text, put_timestamp, put_u8,
    put_u16, put_u32, put_will,
};
use crate::base::{RecordId, Timestamp};
use crate::broker::{Message, MessageHeader, Owner, StoredCopy, StoredWill};
use crate::mqtt::PacketId;
use crate::routing::{SubscriptionOptions, TopicHasher};

#[derive(Clone, PartialEq, Debug)]
pub(super) struct SessionRow {
    pub(super) client_id: Box<str>,
    pub(super) expiry_secs: u32,
    pub(super) left_at: Option<Timestamp>,
    pub(super) will: Option<StoredWill>,
    /// Rows of format version 1 end before it.
    pub(super) owner: Option<Owner>,
}

impl SessionRow {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.clear();
        put_text(out, &self.client_id);
        put_u32(out, self.expiry_secs);
        put_option(out, self.left_at, put_timestamp);
        put_option(out, self.will.as_ref(), |out, will| {
            put_will(out, &will.message, will.delay_secs, will.expiry_secs);
        });
        if let Some(owner) = &self.owner {
            put_owner(out, owner);
        }
    }

    pub(super) fn read(bytes: &[u8], hasher: &TopicHasher) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let row = Self {
            client_id: reader.text()?.into(),
            expiry_secs: reader.u32()?,
            left_at: reader.option(Reader::timestamp)?,
            will: reader.option(|reader| reader.read_will(hasher))?,
            owner: match reader.end() {
                Some(()) => None,
                None => Some(reader.read_owner()?),
            },
        };
        reader.end()?;
        Some(row)
    }
}

pub(super) fn put_options_row(options: SubscriptionOptions, out: &mut Vec<u8>) {
    out.clear();
    put_options(out, options);
}

pub(super) fn read_options_row(bytes: &[u8]) -> Option<SubscriptionOptions> {
    let mut reader = Reader::new(bytes);
    let options = reader.read_options()?;
    reader.end()?;
    Some(options)
}

/// An item of a queue. Its message stands in it, unless others have the same.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct ItemRow<'a> {
    pub(super) packet_id: Option<PacketId>,
    /// Of the message as it is stored.
    pub(super) message_bytes: u32,
    pub(super) copy: StoredCopy,
    pub(super) body: Body<'a>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Body<'a> {
    Inline(&'a [u8]),
    Shared(RecordId),
}

const INLINE: u8 = 0;
const SHARED: u8 = 1;

impl<'a> ItemRow<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.clear();
        // In front, and of a fixed length, so that it can be replaced.
        put_u16(out, self.packet_id.map_or(0, PacketId::get));
        put_u32(out, self.message_bytes);
        put_copy(out, &self.copy);
        match self.body {
            Body::Inline(message) => {
                put_u8(out, INLINE);
                out.extend_from_slice(message);
            }
            Body::Shared(id) => {
                put_u8(out, SHARED);
                put_id(out, id);
            }
        }
    }

    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (packet_id, message_bytes) = (PacketId::new(reader.u16()?), reader.u32()?);
        let copy = reader.read_copy()?;
        let body = match reader.u8()? {
            INLINE => Body::Inline(reader.take(message_bytes as usize)?),
            SHARED => Body::Shared(reader.id()?),
            _ => return None,
        };
        reader.end()?;
        Some(Self { packet_id, message_bytes, copy, body })
    }

    /// What the broker counts a message for that waits in a queue.
    pub(super) fn counted_bytes(&self) -> u32 {
        let body = self.message_bytes.saturating_sub(STORED_HEADER_BYTES);
        body + size_of::<MessageHeader>() as u32 + PLACE_BYTES
    }
}

/// Besides holding the message: its place in the queue.
const PLACE_BYTES: u32 = 56;

/// The item with another packet identifier.
pub(super) fn item_sent(bytes: &[u8], packet_id: PacketId) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    bytes.get_mut(..2)?.copy_from_slice(&packet_id.get().to_le_bytes());
    Some(bytes)
}

/// What [`Message::put_stored`] puts in front of a message's body.
const STORED_HEADER_BYTES: u32 = 18;

impl Spooled {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.clear();
        put_option(out, self.publisher, put_id);
        put_option(out, self.share.as_deref(), put_text);
        put_message(out, &self.message);
    }

    pub(super) fn read(bytes: &[u8], hasher: &TopicHasher) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let publisher = reader.option(Reader::id)?;
        let share = reader.option(Reader::text)?.map(Into::into);
        let message: Message = reader.message(hasher)?;
        reader.end()?;
        Some(Self { message, publisher, share })
    }
}
