//! L1: the MQTT wire format. Decoding borrows from its input, encoding writes into the caller's buffer.
//!
//! `frame` finds where a packet ends, `decode` reads it into a `Packet` whose texts and payloads are slices of the
//! input, `encode` writes one. `publish_body` is the shared form of a PUBLISH that goes to many subscribers,
//! `shown_body` what those see of it who have a mount point.

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod properties;
mod publish_body;
mod reason;
mod shown_body;
mod topic;
mod version;
mod wire;

pub use decode::{answer_version, decode, decode_publish};
pub use encode::{encode, encode_ack};
pub use error::{Error, Malformed, ProtocolViolation, Unsupported};
pub use frame::{Frame, PacketType, Progress, frame};
pub use packet::{
    Ack, AckType, Auth, ConnAck, Connect, Delivery, Disconnect, FilterRequest, Packet, PacketId, Publish, QoS,
    RetainHandling, SubAck, Subscribe, UnsubAck, Unsubscribe, Will,
};
pub use properties::{Place, Properties, Property, PropertyBuffer, PropertyId, PropertyValue};
pub use publish_body::{BodyLayout, PublishBody, PublishCopy, TopicAlias};
pub use reason::ReasonCode;
pub use shown_body::ShownBody;
pub use topic::{SharedFilter, TopicError, TopicFilter, TopicName};
pub use version::{Sender, Version};
