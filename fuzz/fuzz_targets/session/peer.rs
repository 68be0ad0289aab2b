//! A client that remembers what it said, and holds the broker to it.

use std::collections::{BTreeMap, HashSet};

use thrum::broker::Options;
use thrum::mqtt::{
    AckType, Connect, Packet, Progress, PropertyId, Publish, QoS, ReasonCode, Sender, Version, decode, frame,
};

use crate::net::{Client, Net};

/// What the client's CONNECT allows the broker.
#[derive(Clone, Copy, Debug)]
struct Abilities {
    version: Version,
    window: usize,
    packet_bytes_max: usize,
    alias_max: u16,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) client: Client,
    options: Options,
    /// Not sent yet: the rest of a packet that was cut.
    kept: Vec<u8>,
    /// Sent, and not read by the model: less than a packet.
    said: Vec<u8>,
    /// Something was sent that is no packet.
    is_lost: bool,
    abilities: Option<Abilities>,
    /// QoS 1 and 2 of the broker, on this connection.
    unacknowledged: BTreeMap<u16, QoS>,
    aliases: HashSet<u16>,
    is_welcome: bool,
    is_over: bool,
}

impl Peer {
    pub(crate) fn open(net: &mut Net, options: &Options) -> Self {
        Self {
            client: net.open(Version::V5),
            options: options.clone(),
            kept: Vec::new(),
            said: Vec::new(),
            is_lost: false,
            abilities: None,
            unacknowledged: BTreeMap::new(),
            aliases: HashSet::new(),
            is_welcome: false,
            is_over: false,
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.abilities.map_or(Version::V5, |abilities| abilities.version)
    }

    /// What the client owes the broker.
    pub(crate) fn unacknowledged(&self) -> Vec<(u16, QoS)> {
        self.unacknowledged.iter().map(|(&id, &qos)| (id, qos)).collect()
    }

    /// Sends what was kept and this, all but the last `kept` bytes.
    pub(crate) fn send(&mut self, net: &mut Net, bytes: &[u8], kept: usize) {
        self.kept.extend_from_slice(bytes);
        let rest = self.kept.split_off(self.kept.len().saturating_sub(kept));
        let sent = std::mem::replace(&mut self.kept, rest);
        self.listen(&sent);
        net.send_bytes(self.client, &sent);
    }

    /// What the client said, read as the broker must read it. An acknowledgement counts as soon as it is on its way.
    fn listen(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        while !self.is_lost {
            let said = std::mem::take(&mut self.said);
            match frame(&said, u32::MAX) {
                Ok(Progress::Packet(found)) => {
                    match decode(&found, self.version(), Sender::Client) {
                        Ok(packet) => self.on_said(&packet),
                        Err(_) => self.is_lost = true,
                    }
                    self.said = said[found.bytes..].to_vec();
                }
                Ok(Progress::Need(_)) => {
                    self.said = said;
                    return;
                }
                Err(_) => self.is_lost = true,
            }
        }
    }

    fn on_said(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) if self.abilities.is_none() => self.abilities = Some(self.abilities_of(connect)),
            Packet::Ack(kind, ack) => {
                let qos = match kind {
                    AckType::PubAck => QoS::AtLeastOnce,
                    AckType::PubComp => QoS::ExactlyOnce,
                    AckType::PubRec if ack.reason.is_error() => QoS::ExactlyOnce,
                    AckType::PubRec | AckType::PubRel => return,
                };
                if self.unacknowledged.get(&ack.packet_id.get()) == Some(&qos) {
                    self.unacknowledged.remove(&ack.packet_id.get());
                }
            }
            _ => {}
        }
    }

    fn abilities_of(&self, connect: &Connect<'_>) -> Abilities {
        let properties = &connect.properties;
        let receive_max = properties.two_byte(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX);
        Abilities {
            version: connect.version,
            window: receive_max.min(self.options.inflight_max).into(),
            packet_bytes_max: properties.four_byte(PropertyId::MaximumPacketSize).unwrap_or(u32::MAX) as usize,
            alias_max: properties.two_byte(PropertyId::TopicAliasMaximum).unwrap_or(0),
        }
    }

    /// Reads all that the broker sent, and says whether it may. Panics where it may not.
    pub(crate) fn check(&mut self, net: &mut Net) {
        let received = net.take_bytes(self.client);
        let mut rest = &received[..];
        while !rest.is_empty() {
            let Ok(Progress::Packet(found)) = frame(rest, u32::MAX) else { panic!("half a packet: {rest:02x?}") };
            assert!(!self.is_over, "{:02x?} after the last packet", &rest[..found.bytes]);
            let versions = match self.abilities {
                Some(abilities) => vec![abilities.version],
                None => vec![Version::V5, Version::V3_1_1, Version::V3_1],
            };
            let packet = versions.into_iter().find_map(|version| decode(&found, version, Sender::Server).ok());
            let packet = packet.unwrap_or_else(|| panic!("no packet: {:02x?}", &rest[..found.bytes]));
            if let Some(Abilities { packet_bytes_max, .. }) = self.abilities {
                assert!(found.bytes <= packet_bytes_max, "{} bytes of {packet_bytes_max}: {packet:?}", found.bytes);
            }
            self.on_received(&packet);
            rest = &rest[found.bytes..];
        }
    }

    fn on_received(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::ConnAck(ack) => {
                // [MQTT-3.2.0-2]
                assert!(!self.is_welcome, "a second CONNACK");
                self.is_welcome = ack.reason == ReasonCode::Success;
                self.is_over = !self.is_welcome;
            }
            Packet::Auth(_) => {}
            // [MQTT-3.2.0-1]
            _ => assert!(self.is_welcome, "{packet:?} before CONNACK"),
        }
        match packet {
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::Disconnect(_) => self.is_over = true,
            _ => {}
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>) {
        let Some(abilities) = self.abilities else { panic!("{publish:?} to nobody") };
        if let Some(alias) = publish.properties.two_byte(PropertyId::TopicAlias) {
            // [MQTT-3.1.2-26] [MQTT-3.1.2-27]
            assert!(alias <= abilities.alias_max, "{publish:?}");
            let is_new = self.aliases.insert(alias);
            assert!(publish.topic.is_some() || !is_new, "an alias for nothing: {publish:?}");
        } else {
            assert!(publish.topic.is_some(), "no topic: {publish:?}");
        }
        let Some(id) = publish.delivery.packet_id() else { return };
        // [MQTT-2.2.1-4]
        let before = self.unacknowledged.insert(id.get(), publish.delivery.qos());
        assert!(before.is_none(), "an identifier in use: {publish:?}");
        // [MQTT-3.3.4-9]
        assert!(self.unacknowledged.len() <= abilities.window, "more than {} under way", abilities.window);
    }
}
