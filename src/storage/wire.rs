//! How fields stand in the store's bytes, in its log as in its tables: little endian, strings and lists behind their
//! length, nothing optional without a byte that says so. Reading is strict: there is one way to write a thing, and what is
//! not written so is `None`.

use crate::base::{RecordId, SubscriptionId, Timestamp};
use crate::broker::{Message, Owner, StoredCopy, StoredWill};
use crate::mqtt::{PacketId, QoS};
use crate::routing::{SubscriptionOptions, TopicHasher};

/// Where bytes are written to: a `Vec`, or the buffer that a disk will be given.
pub trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

pub(super) fn put_u8(out: &mut impl Sink, value: u8) {
    out.put(&[value]);
}

pub(super) fn put_u16(out: &mut impl Sink, value: u16) {
    out.put(&value.to_le_bytes());
}

pub(super) fn put_u32(out: &mut impl Sink, value: u32) {
    out.put(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut impl Sink, value: u64) {
    out.put(&value.to_le_bytes());
}

/// What MQTT can carry, which all that is stored came from, has lengths of four bytes at most.
fn put_len(out: &mut impl Sink, len: usize) {
    debug_assert!(u32::try_from(len).is_ok());
    put_u32(out, len as u32);
}

pub(super) fn put_bytes(out: &mut impl Sink, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put(bytes);
}

pub(super) fn put_text(out: &mut impl Sink, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_id(out: &mut impl Sink, id: RecordId) {
    put_u64(out, id.get());
}

pub(super) fn put_packet_id(out: &mut impl Sink, id: PacketId) {
    put_u16(out, id.get());
}

pub(super) fn put_timestamp(out: &mut impl Sink, at: Timestamp) {
    put_u64(out, at.0);
}

/// A byte that says whether there is one, and it.
pub(super) fn put_option<S: Sink, T>(out: &mut S, value: Option<T>, put: impl FnOnce(&mut S, T)) {
    put_u8(out, u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn put_message(out: &mut impl Sink, message: &Message) {
    let (header, body) = message.stored_parts();
    put_len(out, header.len() + body.len());
    out.put(&header);
    out.put(body);
}

pub(super) fn put_copy(out: &mut impl Sink, copy: &StoredCopy) {
    let StoredCopy { qos, retain, subscription_ids, share } = copy;
    out.put(&[*qos as u8, u8::from(*retain)]);
    put_len(out, subscription_ids.len());
    for id in subscription_ids {
        put_u32(out, id.get());
    }
    put_option(out, share.as_deref(), put_text);
}

pub(super) fn put_options(out: &mut impl Sink, options: SubscriptionOptions) {
    let SubscriptionOptions { qos, no_local, retain_as_published, id } = options;
    out.put(&[qos as u8, u8::from(no_local), u8::from(retain_as_published)]);
    put_option(out, id.map(SubscriptionId::get), put_u32);
}

pub(super) fn put_owner(out: &mut impl Sink, owner: &Owner) {
    let Owner { user, mount } = owner;
    put_option(out, user.as_deref(), put_text);
    put_text(out, mount);
}

pub(super) fn put_will(out: &mut impl Sink, message: &Message, delay_secs: u32, expiry_secs: Option<u32>) {
    put_u32(out, delay_secs);
    put_option(out, expiry_secs, put_u32);
    put_message(out, message);
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// `Some` when all was read.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn id(&mut self) -> Option<RecordId> {
        RecordId::from_u64(self.u64()?)
    }

    pub(super) fn packet_id(&mut self) -> Option<PacketId> {
        PacketId::new(self.u16()?)
    }

    pub(super) fn timestamp(&mut self) -> Option<Timestamp> {
        self.u64().map(Timestamp)
    }

    pub(super) fn qos(&mut self) -> Option<QoS> {
        QoS::from_u8(self.u8()?)
    }

    /// The outer `None` is what could not be read.
    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.bool()? {
            false => Some(None),
            true => read(self).map(Some),
        }
    }

    pub(super) fn message(&mut self, hasher: &TopicHasher) -> Option<Message> {
        Message::from_stored(self.bytes()?, hasher)
    }

    pub(super) fn read_copy(&mut self) -> Option<StoredCopy> {
        let (qos, retain) = (self.qos()?, self.bool()?);
        let len = self.u32()? as usize;
        // As many as the bytes could hold, whatever they say.
        let mut ids = Vec::with_capacity(len.min(self.0.len() / size_of::<u32>()));
        for _ in 0..len {
            ids.push(SubscriptionId::new(self.u32()?)?);
        }
        let share = self.option(Self::text)?.map(Into::into);
        Some(StoredCopy { qos, retain, subscription_ids: ids.into(), share })
    }

    pub(super) fn read_options(&mut self) -> Option<SubscriptionOptions> {
        Some(SubscriptionOptions {
            qos: self.qos()?,
            no_local: self.bool()?,
            retain_as_published: self.bool()?,
            id: self.option(|reader| SubscriptionId::new(reader.u32()?))?,
        })
    }

    pub(super) fn read_owner(&mut self) -> Option<Owner> {
        let user = self.option(Self::text)?.map(Into::into);
        Some(Owner { user, mount: self.text()?.into() })
    }

    pub(super) fn read_will(&mut self, hasher: &TopicHasher) -> Option<StoredWill> {
        let (delay_secs, expiry_secs) = (self.u32()?, self.option(Self::u32)?);
        Some(StoredWill { message: self.message(hasher)?, delay_secs, expiry_secs })
    }
}
