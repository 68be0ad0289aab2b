//! The values of the settled store's tables as bytes. Numbers are little-endian; what is not exactly such a value is
//! `None`.

use super::overlay::Spooled;
use crate::base::{RecordId, SubscriptionId, Timestamp};
use crate::broker::{Message, MessageHeader, StoredCopy, StoredWill};
use crate::mqtt::{PacketId, QoS};
use crate::routing::{SubscriptionOptions, TopicHasher};

#[derive(Clone, PartialEq, Debug)]
pub(super) struct SessionRow {
    pub(super) client_id: Box<str>,
    pub(super) expiry_secs: u32,
    pub(super) left_at: Option<Timestamp>,
    pub(super) will: Option<StoredWill>,
}

impl SessionRow {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.expiry_secs.to_le_bytes());
        // No client leaves at the end of time.
        out.extend_from_slice(&self.left_at.unwrap_or(Timestamp::NEVER).0.to_le_bytes());
        put_text(&self.client_id, out);
        if let Some(StoredWill { message, delay_secs, expiry_secs }) = &self.will {
            out.extend_from_slice(&delay_secs.to_le_bytes());
            out.push(u8::from(expiry_secs.is_some()));
            out.extend_from_slice(&expiry_secs.unwrap_or(0).to_le_bytes());
            message.put_stored(out);
        }
    }

    pub(super) fn read(bytes: &[u8], hasher: &TopicHasher) -> Option<Self> {
        let mut row = Row(bytes);
        let expiry_secs = row.u32()?;
        let left_at = Some(Timestamp(row.u64()?)).filter(|&at| at != Timestamp::NEVER);
        let client_id = row.text()?.into();
        let will = if row.0.is_empty() { None } else { Some(row.will(hasher)?) };
        Some(Self { client_id, expiry_secs, left_at, will })
    }
}

/// The options of a subscription in one word.
pub(super) fn options_to_word(options: SubscriptionOptions) -> u64 {
    let SubscriptionOptions { qos, no_local, retain_as_published, id } = options;
    let id = u64::from(id.map_or(0, SubscriptionId::get));
    id << 8 | u64::from(retain_as_published) << 3 | u64::from(no_local) << 2 | qos as u64
}

pub(super) fn options_from_word(word: u64) -> Option<SubscriptionOptions> {
    let id = u32::try_from(word >> 8).ok()?;
    let id = if id == 0 { None } else { Some(SubscriptionId::new(id)?) };
    let qos = QoS::from_u8((word & 3) as u8)?;
    let options = SubscriptionOptions { qos, no_local: word & 4 != 0, retain_as_published: word & 8 != 0, id };
    if word & 0xF0 == 0 { Some(options) } else { None }
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

/// Of an item's first byte.
const RETAIN: u8 = 1 << 2;
const HAS_SHARE: u8 = 1 << 3;
const IS_SHARED: u8 = 1 << 4;
const FLAGS: u8 = RETAIN | HAS_SHARE | IS_SHARED | 3;

impl ItemRow<'_> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let Self { packet_id, message_bytes, copy, body } = self;
        out.clear();
        let mut flags = copy.qos as u8;
        for (is_set, flag) in
            [(copy.retain, RETAIN), (copy.share.is_some(), HAS_SHARE), (matches!(body, Body::Shared(_)), IS_SHARED)]
        {
            flags |= if is_set { flag } else { 0 };
        }
        out.push(flags);
        out.extend_from_slice(&packet_id.map_or(0, PacketId::get).to_le_bytes());
        out.extend_from_slice(&message_bytes.to_le_bytes());
        put_len(copy.subscription_ids.len(), out);
        for id in &copy.subscription_ids {
            out.extend_from_slice(&id.get().to_le_bytes());
        }
        if let Some(share) = &copy.share {
            put_text(share, out);
        }
        match body {
            Body::Inline(message) => out.extend_from_slice(message),
            Body::Shared(id) => out.extend_from_slice(&id.get().to_le_bytes()),
        }
    }
}

impl<'a> ItemRow<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut row = Row(bytes);
        let flags = row.u8()?;
        let packet_id = PacketId::new(row.u16()?);
        let message_bytes = row.u32()?;
        let subscription_ids = (0..row.len()?).map(|_| SubscriptionId::new(row.u32()?)).collect::<Option<_>>()?;
        let share = if flags & HAS_SHARE == 0 { None } else { Some(row.text()?.into()) };
        let body = match flags & IS_SHARED {
            0 => Body::Inline(row.0),
            _ => Body::Shared(RecordId::from_u64(u64::from_le_bytes(row.0.try_into().ok()?))?),
        };
        let copy = StoredCopy { qos: QoS::from_u8(flags & 3)?, retain: flags & RETAIN != 0, subscription_ids, share };
        if flags & !FLAGS == 0 { Some(Self { packet_id, message_bytes, copy, body }) } else { None }
    }
}

/// What a start has to know of an item that waits, without reading all of it: whether it waits at all, whether a shared
/// group chose the session, and what its message counts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct ItemGlance {
    pub(super) is_sent: bool,
    pub(super) is_of_share: bool,
    pub(super) held_bytes: u32,
}

impl ItemGlance {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut row = Row(bytes);
        let flags = row.u8()?;
        let is_sent = row.u16()? != 0;
        let held_bytes = row.u32()?.checked_sub(MESSAGE_HEADER_BYTES)? + size_of::<MessageHeader>() as u32;
        Some(Self { is_sent, is_of_share: flags & HAS_SHARE != 0, held_bytes })
    }
}

/// The item with another packet identifier.
pub(super) fn item_sent(bytes: &[u8], packet_id: PacketId) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    bytes.get_mut(1..3)?.copy_from_slice(&packet_id.get().to_le_bytes());
    Some(bytes)
}

/// What [`Message::put_stored`] puts in front of a message's body.
const MESSAGE_HEADER_BYTES: u32 = 18;

impl Spooled {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.publisher.map_or(0, RecordId::get).to_le_bytes());
        // No share has an empty name.
        put_text(self.share.as_deref().unwrap_or_default(), out);
        self.message.put_stored(out);
    }

    pub(super) fn read(bytes: &[u8], hasher: &TopicHasher) -> Option<Self> {
        let mut row = Row(bytes);
        let publisher = match row.u64()? {
            0 => None,
            id => Some(RecordId::from_u64(id)?),
        };
        let share = Some(row.text()?).filter(|share| !share.is_empty()).map(Into::into);
        Some(Self { message: Message::from_stored(row.0, hasher)?, publisher, share })
    }
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_len(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// What is still to be read of a value.
struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn len(&mut self) -> Option<usize> {
        self.u32().map(|len| len as usize)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.len()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn will(&mut self, hasher: &TopicHasher) -> Option<StoredWill> {
        let delay_secs = self.u32()?;
        let has_expiry = self.u8()? == 1;
        let expiry_secs = Some(self.u32()?).filter(|_| has_expiry);
        Some(StoredWill { message: Message::from_stored(self.0, hasher)?, delay_secs, expiry_secs })
    }
}
