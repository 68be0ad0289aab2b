//! The relay's half that knows MQTT, without a socket: just enough of a broker to let the generator run its plans. There
//! are no sessions, no windows, no queues, no wildcards beyond one `+` as the last level, and nothing is kept. A PUBLISH
//! goes on byte by byte, with its publisher's packet identifier and QoS, to whoever subscribed to its topic; the relay
//! itself answers whatever acknowledgement comes from either side.

use std::collections::HashMap;
use std::mem;
use std::rc::Rc;

use thrum::broker::OutputBuffer;
use thrum::mqtt::{
    AckType, ConnAck, Error, Frame, Malformed, Packet, PacketId, PacketType, Progress, Properties, ReasonCode, Sender,
    SharedFilter, SubAck, Subscribe, Version, decode, encode, encode_ack, frame,
};

/// What goes to one client, and what is remembered of it.
struct Client {
    is_open: bool,
    version: Version,
    out: OutputBuffer,
    /// It is among those that have output.
    is_dirty: bool,
    filters: Vec<Box<[u8]>>,
    /// Who wanted the topic that it published to last, at that number of changes.
    topic: Vec<u8>,
    targets: Rc<[u32]>,
    changes: u64,
}

impl Client {
    fn new() -> Self {
        Self {
            is_open: false,
            version: Version::V3_1_1,
            out: OutputBuffer::default(),
            is_dirty: false,
            filters: Vec::new(),
            topic: Vec::new(),
            targets: Rc::default(),
            changes: 0,
        }
    }
}

#[derive(Default)]
pub struct Switch {
    clients: Vec<Client>,
    closed: Vec<u32>,
    /// By filter.
    subscribers: HashMap<Box<[u8]>, Vec<u32>>,
    /// Of the subscriptions, so far.
    changes: u64,
    dirty: Vec<u32>,
    /// Waiting to be written, of all clients.
    pub output_bytes: usize,
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Switch({} clients)", self.clients.len() - self.closed.len())
    }
}

impl Switch {
    pub fn open(&mut self) -> u32 {
        let number = self.closed.pop().unwrap_or_else(|| {
            self.clients.push(Client::new());
            self.clients.len() as u32 - 1
        });
        self.clients[number as usize].is_open = true;
        number
    }

    pub fn close(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        if !mem::take(&mut client.is_open) {
            return;
        }
        for filter in mem::take(&mut client.filters) {
            if let Some(subscribers) = self.subscribers.get_mut(&filter) {
                subscribers.retain(|&subscriber| subscriber != number);
            }
        }
        client.out.bytes.clear();
        self.changes += 1;
        self.closed.push(number);
    }

    /// Takes the whole packets at the front of a client's input, and says how long they are. An error ends the client.
    pub fn receive(&mut self, number: u32, bytes: &[u8]) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            match frame(&bytes[used..], u32::MAX)? {
                Progress::Need(_) => return Ok(used),
                Progress::Packet(frame) => {
                    let end = used + frame.bytes;
                    self.take(number, &frame, &bytes[used..end])?;
                    used = end;
                }
            }
        }
    }

    fn take(&mut self, number: u32, frame: &Frame<'_>, whole: &[u8]) -> Result<(), Error> {
        match PacketType::of(frame.first_byte) {
            Some(PacketType::Publish) => self.publish(number, frame, whole),
            // The subscriber's part of a QoS 2 exchange, and the publisher's.
            Some(PacketType::PubRec) => self.acknowledge(number, AckType::PubRel, frame.body),
            Some(PacketType::PubRel) => self.acknowledge(number, AckType::PubComp, frame.body),
            Some(PacketType::Connect | PacketType::Subscribe | PacketType::PingReq) => {
                let version = self.clients[number as usize].version;
                match decode(frame, version, Sender::Client)? {
                    Packet::Connect(connect) => {
                        self.clients[number as usize].version = connect.version;
                        let properties = Properties::EMPTY;
                        let answer = ConnAck { session_present: false, reason: ReasonCode::Success, properties };
                        self.answer(number, &Packet::ConnAck(answer));
                    }
                    Packet::Subscribe(subscribe) => self.subscribe(number, &subscribe),
                    _ => self.answer(number, &Packet::PingResp),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn publish(&mut self, number: u32, frame: &Frame<'_>, whole: &[u8]) -> Result<(), Error> {
        let body = frame.body;
        let topic_end = match body {
            [high, low, ..] => 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(Malformed::Truncated.into()),
        };
        let topic = body.get(2..topic_end).ok_or(Malformed::Truncated)?;
        for &target in self.targets(number, topic).iter() {
            let client = &mut self.clients[target as usize];
            client.out.bytes.extend_from_slice(whole);
            self.mark(target, whole.len());
        }
        match frame.first_byte >> 1 & 0b11 {
            0 => Ok(()),
            1 => self.acknowledge(number, AckType::PubAck, &body[topic_end..]),
            _ => self.acknowledge(number, AckType::PubRec, &body[topic_end..]),
        }
    }

    /// Who wants a topic: looked up when it is another one than the last, or a subscription has come since.
    fn targets(&mut self, number: u32, topic: &[u8]) -> Rc<[u32]> {
        let client = &mut self.clients[number as usize];
        if client.changes != self.changes || client.topic != topic {
            let level = topic.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            let any = [&topic[..level], b"+"].concat();
            let found = [topic, &any].into_iter().filter_map(|filter| self.subscribers.get(filter));
            client.targets = found.flatten().copied().collect();
            client.topic = topic.to_vec();
            client.changes = self.changes;
        }
        Rc::clone(&client.targets)
    }

    fn subscribe(&mut self, number: u32, subscribe: &Subscribe<'_>) {
        let mut reasons = Vec::new();
        for request in subscribe.filters() {
            if !is_simple(&request.filter) {
                reasons.push(0x80);
                continue;
            }
            let filter: Box<[u8]> = request.filter.filter.as_str().as_bytes().into();
            self.subscribers.entry(filter.clone()).or_default().push(number);
            self.clients[number as usize].filters.push(filter);
            reasons.push(request.qos as u8);
        }
        self.changes += 1;
        let answer = SubAck { packet_id: subscribe.packet_id, properties: Properties::EMPTY, reasons: &reasons };
        self.answer(number, &Packet::SubAck(answer));
    }

    fn answer(&mut self, number: u32, packet: &Packet<'_>) {
        let client = &mut self.clients[number as usize];
        let before = client.out.bytes.len();
        encode(packet, client.version, &mut client.out.bytes);
        let bytes = client.out.bytes.len() - before;
        self.mark(number, bytes);
    }

    fn acknowledge(&mut self, number: u32, ack_type: AckType, id: &[u8]) -> Result<(), Error> {
        let &[high, low, ..] = id else { return Err(Malformed::Truncated.into()) };
        let id = PacketId::new(u16::from_be_bytes([high, low])).ok_or(Malformed::Truncated)?;
        let client = &mut self.clients[number as usize];
        encode_ack(ack_type, id, ReasonCode::Success, client.version, &mut client.out.bytes);
        self.mark(number, 4);
        Ok(())
    }

    fn mark(&mut self, number: u32, bytes: usize) {
        self.output_bytes += bytes;
        if !mem::replace(&mut self.clients[number as usize].is_dirty, true) {
            self.dirty.push(number);
        }
    }

    /// Hands each client's output to `write`.
    pub fn drain(&mut self, mut write: impl FnMut(u32, &mut OutputBuffer)) {
        self.output_bytes = 0;
        for number in self.dirty.drain(..) {
            let client = &mut self.clients[number as usize];
            client.is_dirty = false;
            if client.is_open {
                write(number, &mut client.out);
            }
            client.out.bytes.clear();
        }
    }
}

/// Whether the relay can find a filter by a topic.
fn is_simple(filter: &SharedFilter<'_>) -> bool {
    let text = filter.filter.as_str();
    filter.group.is_none() && !text.strip_suffix('+').unwrap_or(text).contains(['+', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(switch: &mut Switch) -> Vec<(u32, Vec<u8>)> {
        let mut all = Vec::new();
        switch.drain(|number, out| all.push((number, out.bytes.clone())));
        all
    }

    fn connected(switch: &mut Switch, filter: Option<&str>) -> u32 {
        let number = switch.open();
        let mut input = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a".to_vec();
        let mut answer = b"\x20\x02\0\0".to_vec();
        if let Some(filter) = filter {
            input.extend([0x82, filter.len() as u8 + 5, 0, 7, 0, filter.len() as u8]);
            input.extend_from_slice(filter.as_bytes());
            input.push(2);
            answer.extend(b"\x90\x03\0\x07\x02");
        }
        assert_eq!(switch.receive(number, &input).unwrap(), input.len());
        assert_eq!(received(switch), [(number, answer)]);
        number
    }

    #[test]
    fn a_publish_goes_as_it_is_to_whoever_subscribed_to_its_topic_or_its_level() {
        let mut switch = Switch::default();
        let [exact, level, _] = ["a/b", "a/+", "a"].map(|filter| connected(&mut switch, Some(filter)));
        let publisher = connected(&mut switch, None);
        let publish = b"\x34\x07\0\x03a/b\x01\x02";
        assert_eq!(switch.receive(publisher, &publish[..5]).unwrap(), 0);
        switch.receive(publisher, publish).unwrap();
        let all = [(exact, publish.to_vec()), (level, publish.to_vec()), (publisher, b"\x50\x02\x01\x02".to_vec())];
        assert_eq!(received(&mut switch), all);
        switch.receive(publisher, b"\x62\x02\x01\x02").unwrap();
        switch.receive(exact, b"\x50\x02\x01\x02\x70\x02\x01\x02").unwrap();
        let all = [(publisher, b"\x70\x02\x01\x02".to_vec()), (exact, b"\x62\x02\x01\x02".to_vec())];
        assert_eq!(received(&mut switch), all);
        switch.close(exact);
        switch.receive(publisher, b"\x30\x05\0\x03a/b").unwrap();
        assert_eq!(received(&mut switch), [(level, b"\x30\x05\0\x03a/b".to_vec())]);
        assert_eq!(switch.open(), exact);
    }

    #[test]
    fn what_it_does_not_do_is_refused_in_words() {
        let mut switch = Switch::default();
        let client = connected(&mut switch, None);
        for filter in ["+/a", "#", "$share/g/a"] {
            let mut input = vec![0x82, filter.len() as u8 + 5, 0, 7, 0, filter.len() as u8];
            input.extend_from_slice(filter.as_bytes());
            input.push(0);
            switch.receive(client, &input).unwrap();
            assert_eq!(received(&mut switch), [(client, b"\x90\x03\0\x07\x80".to_vec())], "{filter}");
        }
        assert!(switch.receive(client, b"\x30\x01\0").is_err());
    }
}
