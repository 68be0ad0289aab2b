//! rumqttc's two clients behind one face, so that a theme is written once.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use crate::TIMEOUT;
use crate::broker::Broker;

/// Requests that rumqttc holds before `publish` waits.
const REQUESTS_MAX: usize = 1_000;
const PENDING_THROTTLE: Duration = Duration::ZERO;
const KEEP_ALIVE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) id: &'a str,
    pub(crate) keeps_session: bool,
    /// Topic and payload, QoS 1.
    pub(crate) will: Option<(&'a str, &'a str)>,
}

#[derive(PartialEq, Debug)]
pub(crate) enum Event {
    Connected {
        session_present: bool,
    },
    /// The QoS that was granted.
    Subscribed(Option<u8>),
    Acknowledged,
    Message(Message),
    Lost,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) user_properties: Vec<(String, String)>,
}

pub(crate) trait Rumqttc {
    type Link;
    /// A client with a thread that drives it, again after each loss, until nobody listens or it disconnects.
    fn start(broker: &Broker, setup: Setup<'_>, events: Sender<Event>) -> Self::Link;
    fn publish(link: &Self::Link, topic: &str, qos: u8, retain: bool, payload: &[u8]);
    fn subscribe(link: &Self::Link, topic: &str, qos: u8);
    fn disconnect(link: &Self::Link);
}

pub(crate) struct Client<R: Rumqttc> {
    link: R::Link,
    events: Receiver<Event>,
}

impl<R: Rumqttc> Client<R> {
    /// A connected client, and whether the broker had its session.
    pub(crate) fn connect(broker: &Broker, setup: Setup<'_>) -> (Self, bool) {
        let (send, events) = mpsc::channel();
        let client = Self { link: R::start(broker, setup, send), events };
        match client.event() {
            Event::Connected { session_present } => (client, session_present),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn named(broker: &Broker, id: &str) -> Self {
        Self::connect(broker, Setup { id, ..Setup::default() }).0
    }

    pub(crate) fn event(&self) -> Event {
        self.events.recv_timeout(TIMEOUT).expect("an event of rumqttc")
    }

    pub(crate) fn subscribe(&self, topic: &str, qos: u8) {
        R::subscribe(&self.link, topic, qos);
        assert_eq!(self.event(), Event::Subscribed(Some(qos)));
    }

    /// And waits for the acknowledgement.
    pub(crate) fn publish(&self, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        R::publish(&self.link, topic, qos, retain, payload);
        if qos > 0 {
            assert_eq!(self.event(), Event::Acknowledged);
        }
    }

    pub(crate) fn message(&self) -> Message {
        match self.event() {
            Event::Message(message) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    pub(crate) fn expect(&self, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        let expected =
            Message { topic: topic.into(), payload: payload.to_vec(), qos, retain, user_properties: Vec::new() };
        assert_eq!(self.message(), expected);
    }

    pub(crate) fn disconnect(self) {
        R::disconnect(&self.link);
        while self.events.recv_timeout(TIMEOUT).is_ok() {}
    }
}

/// Drives the connection of either version.
macro_rules! drive {
    ($connection:ident, $events:ident, $translate:expr, $event:path) => {
        std::thread::spawn(move || {
            use $event as Driven;
            // After its DISCONNECT the broker closes; a new connection must not overtake that.
            let mut leaves = false;
            for event in $connection.iter() {
                let event = match event {
                    Ok(Driven::Outgoing(rumqttc::Outgoing::Disconnect)) => {
                        leaves = true;
                        None
                    }
                    Err(_) if leaves => break,
                    Ok(Driven::Outgoing(_)) => None,
                    Ok(Driven::Incoming(packet)) => $translate(packet),
                    Err(_) => Some(Event::Lost),
                };
                if event.is_some_and(|event| $events.send(event).is_err()) {
                    break;
                }
            }
        })
    };
}

pub(crate) struct V4;

impl Rumqttc for V4 {
    type Link = rumqttc::Client;

    fn start(broker: &Broker, setup: Setup<'_>, events: Sender<Event>) -> Self::Link {
        let mut options =
            rumqttc::MqttOptions::new(setup.id, broker.address().ip().to_string(), broker.address().port());
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(!setup.keeps_session).set_inflight(100);
        options.set_pending_throttle(PENDING_THROTTLE).set_max_packet_size(1 << 24, 1 << 24);
        if let Some((topic, payload)) = setup.will {
            options.set_last_will(rumqttc::LastWill::new(topic, payload, rumqttc::QoS::AtLeastOnce, false));
        }
        let (client, mut connection) = rumqttc::Client::new(options, REQUESTS_MAX);
        drive!(connection, events, v4_event, rumqttc::Event);
        client
    }

    fn publish(link: &Self::Link, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        link.publish(topic, rumqttc::qos(qos).unwrap(), retain, payload).unwrap();
    }

    fn subscribe(link: &Self::Link, topic: &str, qos: u8) {
        link.subscribe(topic, rumqttc::qos(qos).unwrap()).unwrap();
    }

    fn disconnect(link: &Self::Link) {
        link.disconnect().unwrap();
    }
}

fn v4_event(packet: rumqttc::Packet) -> Option<Event> {
    Some(match packet {
        rumqttc::Packet::ConnAck(connack) => Event::Connected { session_present: connack.session_present },
        rumqttc::Packet::SubAck(suback) => Event::Subscribed(match suback.return_codes[0] {
            rumqttc::SubscribeReasonCode::Success(qos) => Some(qos as u8),
            rumqttc::SubscribeReasonCode::Failure => None,
        }),
        rumqttc::Packet::PubAck(_) | rumqttc::Packet::PubComp(_) => Event::Acknowledged,
        rumqttc::Packet::Publish(publish) => Event::Message(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            user_properties: Vec::new(),
        }),
        _ => return None,
    })
}

pub(crate) struct V5;

impl Rumqttc for V5 {
    type Link = rumqttc::v5::Client;

    fn start(broker: &Broker, setup: Setup<'_>, events: Sender<Event>) -> Self::Link {
        let ip = broker.address().ip().to_string();
        let mut options = rumqttc::v5::MqttOptions::new(setup.id, ip, broker.address().port());
        options.set_keep_alive(KEEP_ALIVE).set_clean_start(!setup.keeps_session);
        options.set_pending_throttle(PENDING_THROTTLE).set_max_packet_size(Some(1 << 24));
        options.set_session_expiry_interval(setup.keeps_session.then_some(3600));
        if let Some((topic, payload)) = setup.will {
            let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
            options.set_last_will(rumqttc::v5::mqttbytes::v5::LastWill::new(topic, payload, qos, false, None));
        }
        let (client, mut connection) = rumqttc::v5::Client::new(options, REQUESTS_MAX);
        drive!(connection, events, v5_event, rumqttc::v5::Event);
        client
    }

    fn publish(link: &Self::Link, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        link.publish(topic, rumqttc::v5::mqttbytes::qos(qos).unwrap(), retain, payload.to_vec()).unwrap();
    }

    fn subscribe(link: &Self::Link, topic: &str, qos: u8) {
        link.subscribe(topic, rumqttc::v5::mqttbytes::qos(qos).unwrap()).unwrap();
    }

    fn disconnect(link: &Self::Link) {
        link.disconnect().unwrap();
    }
}

fn v5_event(packet: rumqttc::v5::mqttbytes::v5::Packet) -> Option<Event> {
    use rumqttc::v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
    Some(match packet {
        Packet::ConnAck(connack) => Event::Connected { session_present: connack.session_present },
        Packet::SubAck(suback) => Event::Subscribed(match suback.return_codes[0] {
            SubscribeReasonCode::Success(qos) => Some(qos as u8),
            _ => None,
        }),
        Packet::PubAck(_) | Packet::PubComp(_) => Event::Acknowledged,
        Packet::Publish(publish) => Event::Message(Message {
            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            user_properties: publish.properties.map(|found| found.user_properties).unwrap_or_default(),
        }),
        _ => return None,
    })
}

pub(crate) mod themes {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    pub(crate) fn every_qos<R: Rumqttc>(broker: &Broker) {
        let (subscriber, publisher) =
            (Client::<R>::named(broker, "subscriber"), Client::<R>::named(broker, "publisher"));
        for granted in 0..3 {
            let topic = format!("qos/{granted}");
            subscriber.subscribe(&topic, granted);
            for published in 0..3 {
                publisher.publish(&topic, published, false, b"hello");
                subscriber.expect(&topic, granted.min(published), false, b"hello");
            }
        }
        let large = vec![7; 1 << 20];
        publisher.publish("qos/2", 2, false, &large);
        subscriber.expect("qos/2", 2, false, &large);
        subscriber.disconnect();
        publisher.disconnect();
    }

    pub(crate) fn retained<R: Rumqttc>(broker: &Broker) {
        let client = Client::<R>::named(broker, "client");
        client.publish("kept", 1, true, b"hello");
        client.subscribe("kept", 1);
        client.expect("kept", 1, true, b"hello");
        let other = Client::<R>::named(broker, "other");
        other.publish("kept", 2, true, b"");
        let late = Client::<R>::named(broker, "late");
        late.subscribe("kept", 1);
        other.publish("kept", 1, false, b"the end");
        late.expect("kept", 1, false, b"the end");
    }

    pub(crate) fn will<R: Rumqttc>(broker: &Broker) {
        let witness = Client::<R>::named(broker, "witness");
        witness.subscribe("will/#", 1);
        let with_will = |id| {
            let (topic, payload) = (format!("will/{id}"), "gone");
            Client::<R>::connect(broker, Setup { id, will: Some((&topic, payload)), ..Setup::default() }).0
        };
        with_will("polite").disconnect();
        // Connected again, the first connection is over for the broker as well.
        let polite = Client::<R>::named(broker, "polite");
        polite.publish("will/none", 1, false, b"");
        witness.expect("will/none", 1, false, b"");
        let client = with_will("c");
        assert!(!take_over_c(broker));
        witness.expect("will/c", 1, false, b"gone");
        assert_eq!(client.event(), Event::Lost);
    }

    /// rumqttc connects again by itself, and the broker has its session.
    pub(crate) fn reconnection<R: Rumqttc>(broker: &Broker) {
        let setup = Setup { id: "c", keeps_session: true, ..Setup::default() };
        let (client, session_present) = Client::<R>::connect(broker, setup);
        assert!(!session_present);
        client.subscribe("t", 1);
        assert!(take_over_c(broker), "the intruder is welcome to the session");
        assert_eq!(client.event(), Event::Lost);
        assert_eq!(client.event(), Event::Connected { session_present: true });
        let publisher = Client::<R>::named(broker, "publisher");
        publisher.publish("t", 1, false, b"still subscribed");
        client.expect("t", 1, false, b"still subscribed");
    }

    /// Takes the session of client c over, for a moment, and says whether there was one: MQTT 3.1.1, not clean.
    fn take_over_c(broker: &Broker) -> bool {
        let mut intruder = TcpStream::connect(broker.address()).unwrap();
        intruder.write_all(b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01c").unwrap();
        let mut connack = [0; 4];
        intruder.read_exact(&mut connack).unwrap();
        assert_eq!((connack[0], connack[1], connack[3]), (0x20, 2, 0), "{connack:?}");
        connack[2] == 1
    }

    /// A client that is gone finds what came meanwhile, when it is made anew.
    pub(crate) fn session<R: Rumqttc>(broker: &Broker) {
        let setup = Setup { id: "c", keeps_session: true, ..Setup::default() };
        let (client, _) = Client::<R>::connect(broker, setup);
        client.subscribe("t", 2);
        client.disconnect();
        let publisher = Client::<R>::named(broker, "publisher");
        for number in 0..50 {
            publisher.publish("t", 1 + number % 2, false, &[number]);
        }
        let (client, session_present) = Client::<R>::connect(broker, setup);
        assert!(session_present);
        for number in 0..50 {
            client.expect("t", 1 + number % 2, false, &[number]);
        }
    }

    pub(crate) fn burst<R: Rumqttc>(broker: &Broker) {
        const MESSAGES: usize = 500;
        let (subscriber, publisher) =
            (Client::<R>::named(broker, "subscriber"), Client::<R>::named(broker, "publisher"));
        for qos in 0..3 {
            let topic = format!("burst/{qos}");
            subscriber.subscribe(&topic, qos);
            for number in 0..MESSAGES {
                R::publish(&publisher.link, &topic, qos, false, number.to_string().as_bytes());
            }
            for number in 0..MESSAGES {
                subscriber.expect(&topic, qos, false, number.to_string().as_bytes());
            }
            for _ in 0..if qos > 0 { MESSAGES } else { 0 } {
                assert_eq!(publisher.event(), Event::Acknowledged);
            }
        }
    }

    pub(crate) fn user_properties(broker: &Broker) {
        let client = Client::<V5>::named(broker, "c");
        client.subscribe("t", 1);
        let pairs = vec![("b".to_owned(), "2".to_owned()), ("a".into(), "1".into()), ("a".into(), "1".into())];
        let properties =
            rumqttc::v5::mqttbytes::v5::PublishProperties { user_properties: pairs.clone(), ..Default::default() };
        let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
        client.link.publish_with_properties("t", qos, false, "hello", properties).unwrap();
        // Its own PUBACK and its message come in either order.
        let found = [client.event(), client.event()].into_iter().find_map(|event| match event {
            Event::Message(message) => Some(message.user_properties),
            _ => None,
        });
        assert_eq!(found, Some(pairs));
    }
}
