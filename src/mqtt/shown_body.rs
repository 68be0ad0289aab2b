//! A stored PUBLISH as those see it before whose topics a mount point stands, unseen by them: topic and Response Topic are
//! what is behind it. The payload is the stored one.

use super::encode::{publish_first_byte, put_delivery_id};
use super::packet::QoS;
use super::properties::{PropertyBuffer, change_response_topic};
use super::publish_body::{PublishBody, PublishCopy, TopicAlias, own_properties_len, put_own_properties};
use super::version::Version;
use super::wire::{put_binary, put_fixed_header, put_variable_byte_integer, variable_byte_integer_len};
use crate::base::limits::FIXED_HEADER_BYTES_MAX;

#[derive(Clone, Debug)]
pub struct ShownBody<'a> {
    topic: &'a str,
    forwarded: PropertyBuffer,
    payload: &'a [u8],
}

impl<'a> ShownBody<'a> {
    /// `None`: the topic is not behind the mount point, or what is there is none that a client has: nothing, or one of the
    /// broker's.
    pub fn new(body: &PublishBody<'a>, mount: &str) -> Option<Self> {
        let topic = body.topic().strip_prefix(mount)?;
        if topic.is_empty() || topic.starts_with('$') {
            return None;
        }
        let mut forwarded = PropertyBuffer::new();
        // A Response Topic that is not behind the mount point is none that this client could answer to.
        let shown = |topic: &'a str| topic.strip_prefix(mount).filter(|topic| !topic.is_empty()).map(Into::into);
        change_response_topic(body.forwarded_properties(), shown, &mut forwarded);
        Some(Self { topic, forwarded, payload: body.payload() })
    }

    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// The length of the whole packet that [`Self::put_copy`] makes, payload included.
    pub fn copy_len(&self, copy: &PublishCopy<'_>) -> usize {
        let length = self.remaining_length(copy);
        1 + variable_byte_integer_len(length as u32) + length
    }

    fn properties_len(&self, copy: &PublishCopy<'_>) -> usize {
        own_properties_len(copy) + self.forwarded.properties().as_bytes().len()
    }

    fn remaining_length(&self, copy: &PublishCopy<'_>) -> usize {
        let topic = if matches!(copy.alias, TopicAlias::Use(_)) { 0 } else { self.topic.len() };
        let id = if copy.delivery.qos() == QoS::AtMostOnce { 0 } else { 2 };
        let properties = match copy.version {
            Version::V5 => {
                let len = self.properties_len(copy);
                variable_byte_integer_len(len as u32) + len
            }
            _ => 0,
        };
        2 + topic + id + properties + self.payload.len()
    }

    /// Appends a subscriber's copy. With `payload_apart` the payload is left for the caller to send by reference.
    pub fn put_copy(&self, copy: &PublishCopy<'_>, payload_apart: bool, out: &mut Vec<u8>) {
        let length = self.remaining_length(copy);
        out.reserve(length - if payload_apart { self.payload.len() } else { 0 } + FIXED_HEADER_BYTES_MAX);
        put_fixed_header(out, publish_first_byte(copy.dup, copy.delivery.qos(), copy.retain), length as u32);
        let topic = if matches!(copy.alias, TopicAlias::Use(_)) { "" } else { self.topic };
        put_binary(out, topic.as_bytes());
        put_delivery_id(copy.delivery, out);
        if copy.version == Version::V5 {
            put_variable_byte_integer(out, self.properties_len(copy) as u32);
            put_own_properties(copy, out);
            out.extend_from_slice(self.forwarded.properties().as_bytes());
        }
        if !payload_apart {
            out.extend_from_slice(self.payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SubscriptionId;
    use crate::mqtt::{BodyLayout, Delivery, PacketId, PropertyId, TopicName};

    fn body<'a>(topic: &str, response_topic: Option<&str>, bytes: &'a mut Vec<u8>) -> PublishBody<'a> {
        let mut properties = PropertyBuffer::new();
        properties.push_user_property("key", "value");
        if let Some(topic) = response_topic {
            properties.push_text(PropertyId::ResponseTopic, topic);
        }
        properties.push_text(PropertyId::ContentType, "text");
        let layout = BodyLayout::write(TopicName::trusted(topic), &properties.properties(), b"hello", bytes);
        PublishBody { bytes, layout }
    }

    /// Whatever is behind the mount point, its copies are those of a message that never had one.
    #[test]
    fn a_copy_is_that_of_a_message_without_the_mount_point() {
        let ids = [SubscriptionId::new(7).unwrap(), SubscriptionId::new(300).unwrap()];
        let (mut stored, mut plain) = (Vec::new(), Vec::new());
        let shown = ShownBody::new(&body("tenant/a/b", Some("tenant/r"), &mut stored), "tenant/").unwrap();
        let plain = body("a/b", Some("r"), &mut plain);
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            for delivery in [Delivery::AtMostOnce, Delivery::ExactlyOnce(PacketId::new(9).unwrap())] {
                for alias in [TopicAlias::None, TopicAlias::Set(2), TopicAlias::Use(2)] {
                    let is_v5 = version == Version::V5;
                    let copy = PublishCopy {
                        version,
                        dup: false,
                        delivery,
                        retain: true,
                        expiry_secs: is_v5.then_some(59),
                        alias: if is_v5 { alias } else { TopicAlias::None },
                        subscription_ids: if is_v5 { &ids } else { &[] },
                    };
                    for apart in [false, true] {
                        let (mut out, mut expected) = (Vec::new(), Vec::new());
                        shown.put_copy(&copy, apart, &mut out);
                        plain.put_copy(&copy, apart, &mut expected);
                        assert_eq!(out, expected, "{copy:?}");
                    }
                    assert_eq!(shown.copy_len(&copy), plain.copy_len(&copy));
                }
            }
        }
    }

    #[test]
    fn what_is_not_behind_the_mount_point_is_not_shown() {
        for topic in ["tenant", "tenant/", "tenan/a", "other/a", "tenant/$SYS/a"] {
            assert!(ShownBody::new(&body(topic, None, &mut Vec::new()), "tenant/").is_none(), "{topic}");
        }
        for response in ["other/r", "tenant/", "tenant"] {
            let mut bytes = Vec::new();
            let shown = ShownBody::new(&body("tenant/a", Some(response), &mut bytes), "tenant/").unwrap();
            let properties = shown.forwarded.properties();
            assert_eq!(
                (properties.text(PropertyId::ResponseTopic), properties.iter().count()),
                (None, 2),
                "{response}"
            );
        }
    }
}
