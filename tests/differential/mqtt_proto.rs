//! The codecs of mqtt-proto, one for 3.1 and 3.1.1, one for 5.0.

use std::sync::Arc;

use ::mqtt_proto as proto;
use thrum::mqtt::{AckType, PropertyId, Sender, Version};

use super::packets::{
    ConnectDescription, Description, PropertyList, PublishDescription, RequestDescription, Value, WillDescription,
};
use super::{Foreign, ForeignValue, Known, old_request, publish, times};

foreign_values! {
    Arc<str>, value => Value::Text(value.to_string());
    proto::QoS, value => Value::Flag(value as u8 != 0);
    proto::TopicName, value => Value::Text(value.to_string());
    proto::v5::VarByteInt, value => Value::Variable(value.value());
    proto::v5::UserProperty, value => Value::Pair(value.name.to_string(), value.value.to_string());
}

fn proto_publish(dup: bool, retain: bool, qos_pid: proto::QosPid, topic: &str, payload: &[u8]) -> PublishDescription {
    PublishDescription {
        dup,
        qos: qos_pid.qos() as u8,
        packet_id: qos_pid.pid().map_or(0, proto::Pid::value),
        retain,
        topic: topic.to_owned(),
        properties: PropertyList::new(),
        payload: payload.to_vec(),
    }
}

#[derive(Debug)]
pub struct Proto3;

impl Foreign for Proto3 {
    const NAME: &'static str = "mqtt-proto v3";
    const KNOWN: &'static [Known] = &[Known {
        because: "it writes the return code 0x80 as 3 [MQTT3-3.9.3-2]",
        concerns: |packet| matches!(packet, Description::SubAck { reasons, .. } if reasons.contains(&0x80)),
        example: || {
            (Sender::Server, Description::SubAck { packet_id: 1, properties: PropertyList::new(), reasons: vec![0x80] })
        },
    }];
    type Packet = proto::v3::Packet;

    fn decode(bytes: &[u8]) -> Result<Self::Packet, String> {
        match proto::v3::Packet::decode(bytes) {
            Ok(packet) => packet.ok_or_else(|| "waits for more".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn encode(packet: &Self::Packet) -> Result<Vec<u8>, String> {
        Ok(packet.encode().map_err(|error| error.to_string())?.as_ref().to_vec())
    }

    fn describe(packet: Self::Packet) -> Description {
        use proto::v3::{ConnectReturnCode as C, Packet as P, SubscribeReturnCode as S};
        let none = PropertyList::new;
        let ack = |ack_type, id: proto::Pid| Description::Ack {
            ack_type,
            packet_id: id.value(),
            reason: 0,
            properties: none(),
        };
        match packet {
            P::Connect(connect) => Description::Connect(ConnectDescription {
                version: if connect.protocol == proto::Protocol::V310 { Version::V3_1 } else { Version::V3_1_1 },
                clean_start: connect.clean_session,
                keep_alive_secs: connect.keep_alive,
                client_id: connect.client_id.to_string(),
                will: connect.last_will.map(|will| WillDescription {
                    qos: will.qos as u8,
                    retain: will.retain,
                    topic: will.topic_name.to_string(),
                    payload: will.message.to_vec(),
                    properties: none(),
                }),
                user_name: connect.username.map(|name| name.to_string()),
                password: connect.password.map(|password| password.to_vec()),
                properties: none(),
            }),
            P::Connack(ack) => Description::ConnAck {
                session_present: ack.session_present,
                reason: match ack.code {
                    C::Accepted => 0x00,
                    C::UnacceptableProtocolVersion => 0x84,
                    C::IdentifierRejected => 0x85,
                    C::ServerUnavailable => 0x88,
                    C::BadUserNameOrPassword => 0x86,
                    C::NotAuthorized => 0x87,
                },
                properties: none(),
            },
            P::Publish(p) => Description::Publish(proto_publish(p.dup, p.retain, p.qos_pid, &p.topic_name, &p.payload)),
            P::Puback(id) => ack(AckType::PubAck, id),
            P::Pubrec(id) => ack(AckType::PubRec, id),
            P::Pubrel(id) => ack(AckType::PubRel, id),
            P::Pubcomp(id) => ack(AckType::PubComp, id),
            P::Subscribe(subscribe) => Description::Subscribe {
                packet_id: subscribe.pid.value(),
                properties: none(),
                requests: subscribe
                    .topics
                    .iter()
                    .map(|(filter, qos)| old_request(filter.to_string(), *qos as u8))
                    .collect(),
            },
            P::Suback(ack) => Description::SubAck {
                packet_id: ack.pid.value(),
                properties: none(),
                reasons: ack
                    .topics
                    .iter()
                    .map(|code| match code {
                        S::MaxLevel0 => 0,
                        S::MaxLevel1 => 1,
                        S::MaxLevel2 => 2,
                        S::Failure => 0x80,
                    })
                    .collect(),
            },
            P::Unsubscribe(unsubscribe) => Description::Unsubscribe {
                packet_id: unsubscribe.pid.value(),
                properties: none(),
                filters: unsubscribe.topics.iter().map(|filter| filter.to_string()).collect(),
            },
            P::Unsuback(id) => Description::UnsubAck { packet_id: id.value(), properties: none(), reasons: Vec::new() },
            P::Pingreq => Description::PingReq,
            P::Pingresp => Description::PingResp,
            P::Disconnect => Description::Disconnect { reason: 0, properties: none() },
        }
    }
}

#[derive(Debug)]
pub struct Proto5;

impl Foreign for Proto5 {
    const NAME: &'static str = "mqtt-proto v5";
    const KNOWN: &'static [Known] = &[
        Known {
            because: "it takes a second Subscription Identifier of a PUBLISH for a duplicate [MQTT-3.3.4-4]",
            concerns: |packet| match packet {
                Description::Publish(publish) => times(PropertyId::SubscriptionIdentifier, &publish.properties) > 1,
                _ => false,
            },
            example: || {
                let identifier = (PropertyId::SubscriptionIdentifier, Value::Variable(1));
                (Sender::Server, publish(vec![identifier.clone(), identifier], b"text"))
            },
        },
        Known {
            because: "it refuses a payload that is not the UTF-8 which it is said to be: a receiver may do so \
                      (3.3.2.3.2), and our decoder leaves it to the broker",
            concerns: |packet| {
                let is_text = (PropertyId::PayloadFormatIndicator, Value::Flag(true));
                let differs = |properties: &PropertyList, payload: &[u8]| {
                    properties.contains(&is_text) && str::from_utf8(payload).is_err()
                };
                match packet {
                    Description::Publish(publish) => differs(&publish.properties, &publish.payload),
                    Description::Connect(connect) => {
                        connect.will.as_ref().is_some_and(|will| differs(&will.properties, &will.payload))
                    }
                    _ => false,
                }
            },
            example: || {
                let format = (PropertyId::PayloadFormatIndicator, Value::Flag(true));
                (Sender::Client, publish(vec![format], &[0xff]))
            },
        },
    ];
    type Packet = proto::v5::Packet;

    fn decode(bytes: &[u8]) -> Result<Self::Packet, String> {
        match proto::v5::Packet::decode(bytes) {
            Ok(packet) => packet.ok_or_else(|| "waits for more".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn encode(packet: &Self::Packet) -> Result<Vec<u8>, String> {
        Ok(packet.encode().map_err(|error| error.to_string())?.as_ref().to_vec())
    }

    fn describe(packet: Self::Packet) -> Description {
        use proto::v5::Packet as P;
        macro_rules! ack {
            ($ack_type:ident, $ack:expr) => {
                Description::Ack {
                    ack_type: AckType::$ack_type,
                    packet_id: $ack.pid.value(),
                    reason: $ack.reason_code as u8,
                    properties: list!($ack.properties; ReasonString = reason_string, UserProperty = user_properties),
                }
            };
        }
        match packet {
            P::Connect(connect) => Description::Connect(ConnectDescription {
                version: Version::V5,
                clean_start: connect.clean_start,
                keep_alive_secs: connect.keep_alive,
                client_id: connect.client_id.to_string(),
                will: connect.last_will.map(proto_will),
                user_name: connect.username.map(|name| name.to_string()),
                password: connect.password.map(|password| password.to_vec()),
                properties: list!(connect.properties;
                    SessionExpiryInterval = session_expiry_interval, ReceiveMaximum = receive_max,
                    MaximumPacketSize = max_packet_size, TopicAliasMaximum = topic_alias_max,
                    RequestResponseInformation = request_response_info,
                    RequestProblemInformation = request_problem_info, UserProperty = user_properties,
                    AuthenticationMethod = auth_method, AuthenticationData = auth_data),
            }),
            P::Connack(ack) => Description::ConnAck {
                session_present: ack.session_present,
                reason: ack.reason_code as u8,
                properties: list!(ack.properties;
                    SessionExpiryInterval = session_expiry_interval, ReceiveMaximum = receive_max,
                    MaximumQoS = max_qos, RetainAvailable = retain_available, MaximumPacketSize = max_packet_size,
                    AssignedClientIdentifier = assigned_client_id, TopicAliasMaximum = topic_alias_max,
                    ReasonString = reason_string, UserProperty = user_properties,
                    WildcardSubscriptionAvailable = wildcard_subscription_available,
                    SubscriptionIdentifierAvailable = subscription_id_available,
                    SharedSubscriptionAvailable = shared_subscription_available,
                    ServerKeepAlive = server_keep_alive, ResponseInformation = response_info,
                    ServerReference = server_reference, AuthenticationMethod = auth_method,
                    AuthenticationData = auth_data),
            },
            P::Publish(p) => Description::Publish(PublishDescription {
                properties: list!(p.properties;
                    PayloadFormatIndicator = payload_is_utf8, MessageExpiryInterval = message_expiry_interval,
                    TopicAlias = topic_alias, ResponseTopic = response_topic, CorrelationData = correlation_data,
                    UserProperty = user_properties, SubscriptionIdentifier = subscription_id,
                    ContentType = content_type),
                ..proto_publish(p.dup, p.retain, p.qos_pid, &p.topic_name, &p.payload)
            }),
            P::Puback(ack) => ack!(PubAck, ack),
            P::Pubrec(ack) => ack!(PubRec, ack),
            P::Pubrel(ack) => ack!(PubRel, ack),
            P::Pubcomp(ack) => ack!(PubComp, ack),
            P::Subscribe(subscribe) => Description::Subscribe {
                packet_id: subscribe.pid.value(),
                properties: list!(subscribe.properties;
                    SubscriptionIdentifier = subscription_id, UserProperty = user_properties),
                requests: subscribe
                    .topics
                    .iter()
                    .map(|(filter, options)| RequestDescription {
                        filter: filter.to_string(),
                        qos: options.max_qos as u8,
                        no_local: options.no_local,
                        retain_as_published: options.retain_as_published,
                        retain_handling: options.retain_handling as u8,
                    })
                    .collect(),
            },
            P::Suback(ack) => Description::SubAck {
                packet_id: ack.pid.value(),
                properties: list!(ack.properties; ReasonString = reason_string, UserProperty = user_properties),
                reasons: ack.topics.iter().map(|&code| code as u8).collect(),
            },
            P::Unsubscribe(unsubscribe) => Description::Unsubscribe {
                packet_id: unsubscribe.pid.value(),
                properties: list!(unsubscribe.properties; UserProperty = user_properties),
                filters: unsubscribe.topics.iter().map(|filter| filter.to_string()).collect(),
            },
            P::Unsuback(ack) => Description::UnsubAck {
                packet_id: ack.pid.value(),
                properties: list!(ack.properties; ReasonString = reason_string, UserProperty = user_properties),
                reasons: ack.topics.iter().map(|&code| code as u8).collect(),
            },
            P::Pingreq => Description::PingReq,
            P::Pingresp => Description::PingResp,
            P::Disconnect(disconnect) => Description::Disconnect {
                reason: disconnect.reason_code as u8,
                properties: list!(disconnect.properties;
                    SessionExpiryInterval = session_expiry_interval, ReasonString = reason_string,
                    UserProperty = user_properties, ServerReference = server_reference),
            },
            P::Auth(auth) => Description::Auth {
                reason: auth.reason_code as u8,
                properties: list!(auth.properties;
                    AuthenticationMethod = auth_method, AuthenticationData = auth_data,
                    ReasonString = reason_string, UserProperty = user_properties),
            },
        }
    }
}

fn proto_will(will: proto::v5::LastWill) -> WillDescription {
    WillDescription {
        qos: will.qos as u8,
        retain: will.retain,
        topic: will.topic_name.to_string(),
        payload: will.payload.to_vec(),
        properties: list!(will.properties;
            WillDelayInterval = delay_interval, PayloadFormatIndicator = payload_is_utf8,
            MessageExpiryInterval = message_expiry_interval, ContentType = content_type,
            ResponseTopic = response_topic, CorrelationData = correlation_data, UserProperty = user_properties),
    }
}
