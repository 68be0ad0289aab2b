//! The codecs of rumqttc, one for 3.1.1 and one for 5.0.

use ::rumqttc::mqttbytes::v4 as rumqttc4;
use ::rumqttc::v5::mqttbytes::v5 as rumqttc5;
use bytes::BytesMut;
use thrum::mqtt::{AckType, PropertyId, Sender, Version};

use super::packets::{
    ConnectDescription, Description, PropertyList, PublishDescription, RequestDescription, Value, WillDescription,
};
use super::{Foreign, ForeignValue, Known, PACKET_BYTES_MAX, old_request, publish, times};

foreign_values! {
    u8, value => Value::Flag(value != 0);
    usize, value => Value::Variable(value as u32);
    String, value => Value::Text(value);
    (String, String), value => Value::Pair(value.0, value.1);
}

/// In both versions of rumqttc's.
const LOGIN: Known = Known {
    because: "it has user name and password as two texts, so that a password is UTF-8, and one that is empty is the \
              same as none (3.1.3.5, 3.1.3.6)",
    concerns: |packet| match packet {
        Description::Connect(connect) => match (&connect.user_name, &connect.password) {
            (None, None) => false,
            (Some(name), Some(password)) => name.is_empty() || password.is_empty() || str::from_utf8(password).is_err(),
            _ => true,
        },
        _ => false,
    },
    example: || {
        let connect = ConnectDescription {
            version: Version::V3_1_1,
            clean_start: true,
            keep_alive_secs: 60,
            client_id: "id".to_owned(),
            will: None,
            user_name: Some("name".to_owned()),
            password: None,
            properties: PropertyList::new(),
        };
        (Sender::Client, Description::Connect(connect))
    },
};

#[derive(Debug)]
pub struct Rumqttc4;

impl Foreign for Rumqttc4 {
    const NAME: &'static str = "rumqttc v4";
    const KNOWN: &'static [Known] = &[LOGIN];
    type Packet = rumqttc4::Packet;

    fn decode(bytes: &[u8]) -> Result<Self::Packet, String> {
        let mut bytes = BytesMut::from(bytes);
        rumqttc4::Packet::read(&mut bytes, PACKET_BYTES_MAX as usize).map_err(|error| error.to_string())
    }

    fn encode(packet: &Self::Packet) -> Result<Vec<u8>, String> {
        let mut out = BytesMut::new();
        packet.write(&mut out, PACKET_BYTES_MAX as usize).map_err(|error| error.to_string())?;
        Ok(out.to_vec())
    }

    fn describe(packet: Self::Packet) -> Description {
        use rumqttc4::{ConnectReturnCode as C, Packet as P, SubscribeReasonCode as S};
        let none = PropertyList::new;
        let ack = |ack_type, packet_id| Description::Ack { ack_type, packet_id, reason: 0, properties: none() };
        match packet {
            P::Connect(connect) => Description::Connect(ConnectDescription {
                version: Version::V3_1_1,
                clean_start: connect.clean_session,
                keep_alive_secs: connect.keep_alive,
                client_id: connect.client_id,
                will: connect.last_will.map(|will| WillDescription {
                    qos: will.qos as u8,
                    retain: will.retain,
                    topic: will.topic,
                    payload: will.message.to_vec(),
                    properties: none(),
                }),
                user_name: connect.login.as_ref().map(|login| login.username.clone()),
                password: connect.login.map(|login| login.password.into_bytes()),
                properties: none(),
            }),
            P::ConnAck(ack) => Description::ConnAck {
                session_present: ack.session_present,
                reason: match ack.code {
                    C::Success => 0x00,
                    C::RefusedProtocolVersion => 0x84,
                    C::BadClientId => 0x85,
                    C::ServiceUnavailable => 0x88,
                    C::BadUserNamePassword => 0x86,
                    C::NotAuthorized => 0x87,
                },
                properties: none(),
            },
            P::Publish(publish) => Description::Publish(PublishDescription {
                dup: publish.dup,
                qos: publish.qos as u8,
                packet_id: publish.pkid,
                retain: publish.retain,
                topic: publish.topic,
                properties: none(),
                payload: publish.payload.to_vec(),
            }),
            P::PubAck(packet) => ack(AckType::PubAck, packet.pkid),
            P::PubRec(packet) => ack(AckType::PubRec, packet.pkid),
            P::PubRel(packet) => ack(AckType::PubRel, packet.pkid),
            P::PubComp(packet) => ack(AckType::PubComp, packet.pkid),
            P::Subscribe(subscribe) => Description::Subscribe {
                packet_id: subscribe.pkid,
                properties: none(),
                requests: subscribe
                    .filters
                    .into_iter()
                    .map(|filter| old_request(filter.path, filter.qos as u8))
                    .collect(),
            },
            P::SubAck(ack) => Description::SubAck {
                packet_id: ack.pkid,
                properties: none(),
                reasons: ack
                    .return_codes
                    .iter()
                    .map(|code| match code {
                        S::Success(qos) => *qos as u8,
                        S::Failure => 0x80,
                    })
                    .collect(),
            },
            P::Unsubscribe(unsubscribe) => Description::Unsubscribe {
                packet_id: unsubscribe.pkid,
                properties: none(),
                filters: unsubscribe.topics,
            },
            P::UnsubAck(ack) => Description::UnsubAck { packet_id: ack.pkid, properties: none(), reasons: Vec::new() },
            P::PingReq => Description::PingReq,
            P::PingResp => Description::PingResp,
            P::Disconnect => Description::Disconnect { reason: 0, properties: none() },
        }
    }
}

#[derive(Debug)]
pub struct Rumqttc5;

impl Foreign for Rumqttc5 {
    const NAME: &'static str = "rumqttc v5";
    const KNOWN: &'static [Known] = &[
        LOGIN,
        Known {
            because: "it has no AUTH among the packet types that it reads (3.15)",
            concerns: |packet| matches!(packet, Description::Auth { .. }),
            example: || {
                let method = (PropertyId::AuthenticationMethod, Value::Text("method".to_owned()));
                (Sender::Client, Description::Auth { reason: 0x18, properties: vec![method] })
            },
        },
        Known {
            because: "it does not read a DISCONNECT without a reason code, or without a property length (3.14.2)",
            concerns: |packet| matches!(packet, Description::Disconnect { properties, .. } if properties.is_empty()),
            example: || (Sender::Client, Description::Disconnect { reason: 0, properties: PropertyList::new() }),
        },
        Known {
            because: "it counts a byte too many for each Subscription Identifier, and takes what is left of the \
                      properties for payload (3.3.2.3.8)",
            concerns: |packet| match packet {
                Description::Publish(publish) => times(PropertyId::SubscriptionIdentifier, &publish.properties) > 1,
                _ => false,
            },
            example: || {
                let identifier = (PropertyId::SubscriptionIdentifier, Value::Variable(1));
                let format = (PropertyId::PayloadFormatIndicator, Value::Flag(true));
                (Sender::Server, publish(vec![identifier.clone(), identifier, format], b"text"))
            },
        },
    ];
    type Packet = rumqttc5::Packet;

    fn decode(bytes: &[u8]) -> Result<Self::Packet, String> {
        let mut bytes = BytesMut::from(bytes);
        rumqttc5::Packet::read(&mut bytes, Some(PACKET_BYTES_MAX)).map_err(|error| error.to_string())
    }

    fn encode(packet: &Self::Packet) -> Result<Vec<u8>, String> {
        let mut out = BytesMut::new();
        packet.write(&mut out, Some(PACKET_BYTES_MAX)).map_err(|error| error.to_string())?;
        Ok(out.to_vec())
    }

    fn describe(packet: Self::Packet) -> Description {
        use rumqttc5::{Packet as P, SubscribeReasonCode as S};
        macro_rules! ack {
            ($ack_type:ident, $ack:expr) => {
                Description::Ack {
                    ack_type: AckType::$ack_type,
                    packet_id: $ack.pkid,
                    reason: code($ack.reason),
                    properties: list_if_any!($ack.properties; ReasonString = reason_string, UserProperty = user_properties),
                }
            };
        }
        match packet {
            P::Connect(connect, will, login) => Description::Connect(ConnectDescription {
                version: Version::V5,
                clean_start: connect.clean_start,
                keep_alive_secs: connect.keep_alive,
                client_id: connect.client_id,
                will: will.map(rumqttc_will),
                user_name: login.as_ref().map(|login| login.username.clone()),
                password: login.map(|login| login.password.into_bytes()),
                properties: list_if_any!(connect.properties;
                    SessionExpiryInterval = session_expiry_interval, ReceiveMaximum = receive_maximum,
                    MaximumPacketSize = max_packet_size, TopicAliasMaximum = topic_alias_max,
                    RequestResponseInformation = request_response_info,
                    RequestProblemInformation = request_problem_info, UserProperty = user_properties,
                    AuthenticationMethod = authentication_method, AuthenticationData = authentication_data),
            }),
            P::ConnAck(ack) => Description::ConnAck {
                session_present: ack.session_present,
                reason: code(ack.code),
                properties: list_if_any!(ack.properties;
                    SessionExpiryInterval = session_expiry_interval, ReceiveMaximum = receive_max,
                    MaximumQoS = max_qos, RetainAvailable = retain_available, MaximumPacketSize = max_packet_size,
                    AssignedClientIdentifier = assigned_client_identifier, TopicAliasMaximum = topic_alias_max,
                    ReasonString = reason_string, UserProperty = user_properties,
                    WildcardSubscriptionAvailable = wildcard_subscription_available,
                    SubscriptionIdentifierAvailable = subscription_identifiers_available,
                    SharedSubscriptionAvailable = shared_subscription_available,
                    ServerKeepAlive = server_keep_alive, ResponseInformation = response_information,
                    ServerReference = server_reference, AuthenticationMethod = authentication_method,
                    AuthenticationData = authentication_data),
            },
            P::Publish(publish) => Description::Publish(PublishDescription {
                dup: publish.dup,
                qos: publish.qos as u8,
                packet_id: publish.pkid,
                retain: publish.retain,
                topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                properties: list_if_any!(publish.properties;
                    PayloadFormatIndicator = payload_format_indicator,
                    MessageExpiryInterval = message_expiry_interval, TopicAlias = topic_alias,
                    ResponseTopic = response_topic, CorrelationData = correlation_data,
                    UserProperty = user_properties, SubscriptionIdentifier = subscription_identifiers,
                    ContentType = content_type),
                payload: publish.payload.to_vec(),
            }),
            P::PubAck(ack) => ack!(PubAck, ack),
            P::PubRec(ack) => ack!(PubRec, ack),
            P::PubRel(ack) => ack!(PubRel, ack),
            P::PubComp(ack) => ack!(PubComp, ack),
            P::Subscribe(subscribe) => Description::Subscribe {
                packet_id: subscribe.pkid,
                properties: list_if_any!(subscribe.properties;
                    SubscriptionIdentifier = id, UserProperty = user_properties),
                requests: subscribe
                    .filters
                    .into_iter()
                    .map(|filter| RequestDescription {
                        filter: filter.path,
                        qos: filter.qos as u8,
                        no_local: filter.nolocal,
                        retain_as_published: filter.preserve_retain,
                        retain_handling: filter.retain_forward_rule as u8,
                    })
                    .collect(),
            },
            P::SubAck(ack) => Description::SubAck {
                packet_id: ack.pkid,
                properties: list_if_any!(ack.properties; ReasonString = reason_string, UserProperty = user_properties),
                reasons: ack
                    .return_codes
                    .into_iter()
                    .map(|reason| match reason {
                        S::Success(qos) => qos as u8,
                        other => code(other),
                    })
                    .collect(),
            },
            P::Unsubscribe(unsubscribe) => Description::Unsubscribe {
                packet_id: unsubscribe.pkid,
                properties: list_if_any!(unsubscribe.properties; UserProperty = user_properties),
                filters: unsubscribe.filters,
            },
            P::UnsubAck(ack) => Description::UnsubAck {
                packet_id: ack.pkid,
                properties: list_if_any!(ack.properties; ReasonString = reason_string, UserProperty = user_properties),
                reasons: ack.reasons.into_iter().map(code).collect(),
            },
            P::PingReq(_) => Description::PingReq,
            P::PingResp(_) => Description::PingResp,
            P::Disconnect(disconnect) => Description::Disconnect {
                reason: disconnect.reason_code as u8,
                properties: list_if_any!(disconnect.properties;
                    SessionExpiryInterval = session_expiry_interval, ReasonString = reason_string,
                    UserProperty = user_properties, ServerReference = server_reference),
            },
            P::Auth(auth) => Description::Auth {
                reason: code(auth.code),
                properties: list_if_any!(auth.properties;
                    AuthenticationMethod = method, AuthenticationData = data, ReasonString = reason,
                    UserProperty = user_properties),
            },
        }
    }
}

fn rumqttc_will(will: rumqttc5::LastWill) -> WillDescription {
    WillDescription {
        qos: will.qos as u8,
        retain: will.retain,
        topic: String::from_utf8(will.topic.to_vec()).unwrap(),
        payload: will.message.to_vec(),
        properties: list_if_any!(will.properties;
            WillDelayInterval = delay_interval, PayloadFormatIndicator = payload_format_indicator,
            MessageExpiryInterval = message_expiry_interval, ContentType = content_type,
            ResponseTopic = response_topic, CorrelationData = correlation_data, UserProperty = user_properties),
    }
}

/// The number of a reason code of rumqttc's, whose enums have names only.
fn code(reason: impl std::fmt::Debug) -> u8 {
    match format!("{reason:?}").as_str() {
        "Success" => 0x00,
        "NoMatchingSubscribers" => 0x10,
        "NoSubscriptionExisted" => 0x11,
        "Continue" => 0x18,
        "ReAuthentivate" => 0x19,
        "UnspecifiedError" | "Unspecified" => 0x80,
        "MalformedPacket" => 0x81,
        "ProtocolError" => 0x82,
        "ImplementationSpecificError" | "ImplementationSpecific" => 0x83,
        "UnsupportedProtocolVersion" => 0x84,
        "ClientIdentifierNotValid" => 0x85,
        "BadUserNamePassword" => 0x86,
        "NotAuthorized" => 0x87,
        "ServerUnavailable" => 0x88,
        "ServerBusy" => 0x89,
        "Banned" => 0x8a,
        "BadAuthenticationMethod" => 0x8c,
        "TopicFilterInvalid" => 0x8f,
        "TopicNameInvalid" => 0x90,
        "PacketIdentifierInUse" | "PkidInUse" => 0x91,
        "PacketIdentifierNotFound" => 0x92,
        "PacketTooLarge" => 0x95,
        "QuotaExceeded" => 0x97,
        "PayloadFormatInvalid" => 0x99,
        "RetainNotSupported" => 0x9a,
        "QoSNotSupported" => 0x9b,
        "UseAnotherServer" => 0x9c,
        "ServerMoved" => 0x9d,
        "SharedSubscriptionsNotSupported" => 0x9e,
        "ConnectionRateExceeded" => 0x9f,
        "SubscriptionIdNotSupported" => 0xa1,
        "WildcardSubscriptionsNotSupported" => 0xa2,
        other => panic!("{other}"),
    }
}
