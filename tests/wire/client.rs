//! A client: a socket, what came of the next packet, and patience.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::broker::{Broker, PATIENCE};
use crate::packets::{
    self, CONNACK, Login, PING, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Packet, Publish, SUBACK, UNSUBACK,
};
use crate::wrapping::Wrapping;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// What is around MQTT.
    wrapping: Option<Box<Wrapping>>,
    pub(crate) version: u8,
    /// What came and was not read as a packet, from `read` on.
    buffer: Vec<u8>,
    read: usize,
    /// Messages that came before the SUBACK of their subscription, as they may.
    early: VecDeque<Packet>,
}

/// What a connection gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    Packet(Packet),
    /// The end, by FIN or RST.
    End,
    Nothing,
}

impl Client {
    /// A connection on which nothing was said yet.
    pub(crate) fn open(broker: &Broker, version: u8) -> Self {
        let mut client = Self::over(TcpStream::connect(broker.address).expect("the broker accepts"), version);
        client.stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        client.wrapping = broker.reach.wrap(&mut client.stream, broker.folder());
        client
    }

    pub(crate) fn over(stream: TcpStream, version: u8) -> Self {
        stream.set_nodelay(true).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream, wrapping: None, version, buffer: Vec::new(), read: 0, early: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.write(bytes).unwrap_or_else(|error| panic!("{} bytes are not taken: {error}", bytes.len()));
    }

    /// Sends to who may have closed already.
    pub(crate) fn send_if_open(&mut self, bytes: &[u8]) -> bool {
        self.write(bytes).is_ok()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wrapping {
            Some(wrapping) => wrapping.write(&mut self.stream, bytes),
            None => self.stream.write_all(bytes),
        }
    }

    /// What comes next, within the time.
    pub(crate) fn come(&mut self, within: Duration) -> Came {
        if let Some(packet) = self.early.pop_front() {
            return Came::Packet(packet);
        }
        let deadline = Instant::now() + within;
        loop {
            if let Some((packet, bytes)) = Packet::read(self.version, &self.buffer[self.read..]) {
                self.read += bytes;
                return Came::Packet(packet);
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Came::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).expect("a socket");
            match self.fill() {
                Ok(0) => return self.ended(),
                Ok(_) => {}
                Err(ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                // With it goes what had come and was not read.
                Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return Came::End,
                Err(other) => panic!("reading: {other}"),
            }
        }
    }

    /// What has come already.
    pub(crate) fn come_now(&mut self) -> Came {
        self.come(Duration::from_millis(1))
    }

    /// Bytes that were read past this client, before anything else was read by it.
    pub(crate) fn give_back(&mut self, bytes: Vec<u8>) {
        assert_eq!(self.read, self.buffer.len(), "something was read already");
        (self.buffer, self.read) = (bytes, 0);
    }

    fn fill(&mut self) -> Result<usize, ErrorKind> {
        // More than half of what a large packet still lacks is not asked for at once: the buffer grows with what comes.
        let mut chunk = [0; 32 << 10];
        let read = match &mut self.wrapping {
            Some(wrapping) => wrapping.read(&mut self.stream, &mut chunk),
            None => self.stream.read(&mut chunk),
        };
        let bytes = read.map_err(|error| error.kind())?;
        self.buffer.extend_from_slice(&chunk[..bytes]);
        Ok(bytes)
    }

    fn ended(&self) -> Came {
        assert!(self.buffer.is_empty(), "ended within a packet: {:02x?}", &self.buffer[..self.buffer.len().min(64)]);
        Came::End
    }

    /// The next packet, which has to come.
    pub(crate) fn packet(&mut self) -> Packet {
        match self.come(PATIENCE) {
            Came::Packet(packet) => packet,
            other => panic!("no packet came: {other:?}"),
        }
    }

    /// The next packet, which has to be of this type.
    pub(crate) fn packet_of(&mut self, kind: u8) -> Packet {
        let packet = self.packet();
        assert_eq!(packet.kind(), kind, "{packet:?}");
        packet
    }

    pub(crate) fn publish(&mut self) -> Publish {
        self.packet_of(PUBLISH).publish()
    }

    /// Nothing but the end comes.
    pub(crate) fn end(&mut self) {
        assert_eq!(self.come(PATIENCE), Came::End);
    }

    /// The end comes, after whatever.
    pub(crate) fn end_at_last(&mut self) {
        while let Came::Packet(_) = self.come(PATIENCE) {}
    }

    /// A PINGREQ is answered, and nothing came before the answer.
    pub(crate) fn ping(&mut self) {
        self.send(&PING);
        let packet = self.packet();
        assert_eq!(packet.kind(), PINGRESP, "{packet:?}");
    }

    /// Acknowledges a publish as its QoS asks for, to the end of the exchange.
    pub(crate) fn acknowledge(&mut self, publish: &Publish) {
        match publish.qos {
            1 => self.send(&packets::ack(PUBACK, publish.packet_id)),
            2 => {
                self.send(&packets::ack(PUBREC, publish.packet_id));
                assert_eq!(self.packet_of(PUBREL).packet_id(), publish.packet_id);
                self.send(&packets::ack(PUBCOMP, publish.packet_id));
            }
            _ => {}
        }
    }

    /// The next message, whose exchange goes on as its QoS asks for while others come. `None`: the end.
    pub(crate) fn take(&mut self) -> Option<Publish> {
        loop {
            let packet = match self.come(PATIENCE) {
                Came::Packet(packet) => packet,
                Came::End => return None,
                Came::Nothing => panic!("no message came"),
            };
            match packet.kind() {
                PUBREL => _ = self.send_if_open(&packets::ack(PUBCOMP, packet.packet_id())),
                _ => {
                    let publish = packet.publish();
                    match publish.qos {
                        1 => _ = self.send_if_open(&packets::ack(PUBACK, publish.packet_id)),
                        2 => _ = self.send_if_open(&packets::ack(PUBREC, publish.packet_id)),
                        _ => {}
                    }
                    return Some(publish);
                }
            }
        }
    }

    /// Publishes all of them, each with its QoS, so many at once; returns when every exchange is complete.
    pub(crate) fn publish_all(&mut self, messages: impl IntoIterator<Item = (String, Vec<u8>, u8)>, window: usize) {
        let (mut packet_id, mut open) = (0, 0);
        let mut bytes = Vec::new();
        for (topic, payload, qos) in messages {
            packet_id = packet_id % 60_000 + 1;
            bytes.extend(packets::publish(self.version, &topic, &payload, qos, packet_id));
            open += usize::from(qos > 0);
            if open >= window || bytes.len() >= 64 << 10 {
                self.send(&bytes);
                bytes.clear();
                while open > window / 2 {
                    open -= self.advance();
                }
            }
        }
        self.send(&bytes);
        while open > 0 {
            open -= self.advance();
        }
    }

    /// One step of the exchanges of what this client published; 1 where that completes one.
    fn advance(&mut self) -> usize {
        let packet = self.packet();
        match packet.kind() {
            PUBACK | PUBCOMP => return 1,
            PUBREC => self.send(&packets::ack(PUBREL, packet.packet_id())),
            _ => panic!("{packet:?}"),
        }
        0
    }

    /// Subscribes to one filter; the options are the QoS and what 5.0 has besides.
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) {
        self.send(&packets::subscribe(self.version, 0x5501, &[(filter, options)]));
        let mut early = std::mem::take(&mut self.early);
        let suback = loop {
            let packet = self.packet();
            if packet.kind() != PUBLISH {
                break packet;
            }
            early.push_back(packet);
        };
        self.early = early;
        assert_eq!(suback.kind(), SUBACK, "{suback:?}");
        assert_eq!((suback.packet_id(), suback.codes()), (0x5501, &[options & 3][..]), "{filter}");
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        self.send(&packets::unsubscribe(self.version, 0x5502, &[filter]));
        assert_eq!(self.packet_of(UNSUBACK).packet_id(), 0x5502);
    }

    /// Publishes, and takes the exchange to its end, with identifier 1.
    pub(crate) fn publish_to(&mut self, topic: &str, payload: &[u8], qos: u8) {
        self.send(&packets::publish(self.version, topic, payload, qos, 1));
        self.complete(qos);
    }

    pub(crate) fn retain(&mut self, topic: &str, payload: &[u8]) {
        self.send(&packets::publish_retained(self.version, topic, payload, 1, 1));
        self.complete(1);
    }

    fn complete(&mut self, qos: u8) {
        match qos {
            1 => assert_eq!(self.packet_of(PUBACK).packet_id(), 1),
            2 => {
                assert_eq!(self.packet_of(PUBREC).packet_id(), 1);
                self.send(&packets::ack(PUBREL, 1));
                assert_eq!(self.packet_of(PUBCOMP).packet_id(), 1);
            }
            _ => {}
        }
    }

    pub(crate) fn bye(mut self) {
        self.send(&packets::BYE);
        self.end_at_last();
    }

    /// Ends the sending direction.
    pub(crate) fn half_close(&mut self) {
        match &mut self.wrapping {
            Some(wrapping) => wrapping.end(&mut self.stream),
            None => _ = self.stream.shutdown(Shutdown::Write),
        }
    }

    /// Goes away with a RST.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    }
}

impl Login {
    /// Opens a connection and sends it.
    pub(crate) fn send(&self, broker: &Broker) -> Client {
        let mut client = Client::open(broker, self.version);
        client.send(&self.bytes());
        client
    }

    /// Expects to be let in.
    pub(crate) fn connect(&self, broker: &Broker) -> Client {
        self.present(broker).0
    }

    /// Expects to be let in, and says whether there was a session.
    pub(crate) fn present(&self, broker: &Broker) -> (Client, bool) {
        let mut client = self.send(broker);
        let connack = client.packet_of(CONNACK);
        assert_eq!(connack.reason(), 0, "{connack:?}");
        (client, connack.session_present())
    }
}

/// A client that is let in, clean.
pub(crate) fn connect(broker: &Broker, version: u8, client_id: &str) -> Client {
    Login::new(version, client_id).connect(broker)
}
