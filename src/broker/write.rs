//! How one PUBLISH is written to one connection.

use super::connection::Connection;
use super::effects::Effects;
use super::message::MessageHeader;
use crate::base::limits::PAYLOAD_COPY_BYTES_MAX;
use crate::base::{ConnId, Counters, DropReason, SubscriptionId, Timestamp};
use crate::mqtt::{Delivery, PublishBody, PublishCopy, ShownBody, TopicAlias, Version};
use crate::session::{AliasUse, remaining_secs};

/// Why a message was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotSent {
    TooLarge,
    Expired,
    /// Not behind the mount point of who was to get it.
    NotShown,
}

impl NotSent {
    pub(super) const fn drop_reason(self) -> DropReason {
        match self {
            Self::TooLarge => DropReason::TooLarge,
            Self::Expired => DropReason::Expired,
            Self::NotShown => DropReason::NotAuthorized,
        }
    }
}

/// How one PUBLISH is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write<'a> {
    pub(super) delivery: Delivery,
    pub(super) dup: bool,
    pub(super) retain: bool,
    pub(super) ids: &'a [SubscriptionId],
}

impl<'a> Write<'a> {
    fn copy(&self, now: Timestamp, version: Version, header: &MessageHeader) -> Result<PublishCopy<'a>, NotSent> {
        // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
        let expiry_secs = match header.expires {
            Timestamp::NEVER => None,
            expires => Some(remaining_secs(expires, now).ok_or(NotSent::Expired)?),
        };
        Ok(PublishCopy {
            version,
            dup: self.dup,
            delivery: self.delivery,
            retain: self.retain,
            expiry_secs,
            alias: TopicAlias::None,
            subscription_ids: if version == Version::V5 { self.ids } else { &[] },
        })
    }
}

/// A message's bytes, as they are stored or as the subscriber is to see them.
trait Body {
    fn topic(&self) -> &str;
    fn copy_len(&self, copy: &PublishCopy<'_>) -> usize;
    fn put_copy(&self, copy: &PublishCopy<'_>, payload_apart: bool, out: &mut Vec<u8>);
}

impl Body for PublishBody<'_> {
    #[inline]
    fn topic(&self) -> &str {
        self.topic()
    }

    #[inline]
    fn copy_len(&self, copy: &PublishCopy<'_>) -> usize {
        self.copy_len(copy)
    }

    #[inline]
    fn put_copy(&self, copy: &PublishCopy<'_>, payload_apart: bool, out: &mut Vec<u8>) {
        self.put_copy(copy, payload_apart, out);
    }
}

impl Body for ShownBody<'_> {
    fn topic(&self) -> &str {
        self.topic()
    }

    fn copy_len(&self, copy: &PublishCopy<'_>) -> usize {
        self.copy_len(copy)
    }

    fn put_copy(&self, copy: &PublishCopy<'_>, payload_apart: bool, out: &mut Vec<u8>) {
        self.put_copy(copy, payload_apart, out);
    }
}

/// Appends a PUBLISH to a connection's output. `Ok(true)`: its payload goes by reference, and is still to be attached.
#[expect(
    clippy::too_many_arguments,
    reason = "a free function, so that a message borrowed from its session can be sent"
)]
#[inline]
pub(super) fn write_publish(
    now: Timestamp,
    connection: &mut Connection,
    conn: ConnId,
    mount: &str,
    header: &MessageHeader,
    body: &PublishBody<'_>,
    write: &Write<'_>,
    counters: &mut Counters,
    fx: &mut Effects,
) -> Result<bool, NotSent> {
    let copy = write.copy(now, connection.version, header)?;
    let payload_bytes = body.payload().len();
    let apart = payload_bytes > PAYLOAD_COPY_BYTES_MAX;
    let bytes = if mount.is_empty() {
        put(connection, conn, body, copy, apart, fx)?
    } else {
        let shown = ShownBody::new(body, mount).ok_or(NotSent::NotShown)?;
        put(connection, conn, &shown, copy, apart, fx)?
    };
    if let (Some(gate), Delivery::AtMostOnce) = (&mut connection.gate, write.delivery) {
        gate.count_qos_zero();
    }
    connection.unsent += bytes as u32;
    counters.output_bytes += bytes as u64;
    counters.packets_sent += 1;
    counters.publishes_sent += 1;
    counters.publish_bytes_sent += payload_bytes as u64;
    Ok(apart)
}

#[inline]
fn put(
    connection: &mut Connection,
    conn: ConnId,
    body: &impl Body,
    mut copy: PublishCopy<'_>,
    apart: bool,
    fx: &mut Effects,
) -> Result<usize, NotSent> {
    let mut bytes = body.copy_len(&copy);
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    if bytes > connection.packet_bytes_max as usize {
        return Err(NotSent::TooLarge);
    }
    if connection.alias_max != 0 && bytes + ALIAS_BYTES_MAX <= connection.packet_bytes_max as usize {
        copy.alias = match connection.outbound_aliases.assign(body.topic(), connection.alias_max) {
            AliasUse::New(alias) => TopicAlias::Set(alias),
            AliasUse::Known(alias) => TopicAlias::Use(alias),
            AliasUse::None => TopicAlias::None,
        };
        bytes = body.copy_len(&copy);
    }
    body.put_copy(&copy, apart, &mut connection.output(conn, fx).bytes);
    Ok(bytes)
}

/// What a Topic Alias can add to a packet: the property, and a longer property and remaining length.
const ALIAS_BYTES_MAX: usize = 5;
