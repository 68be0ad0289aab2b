//! A real Mosquitto, with a Unix socket for each set of rules, and what it lets clients do: raw packets of MQTT 5.0, as a
//! PUBACK tells whether a publish was refused.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use thrum::mqtt::{
    Connect, Delivery, FilterRequest, Packet, PacketId, Progress, PropertyBuffer, Publish, QoS, ReasonCode,
    RetainHandling, Sender, SharedFilter, Subscribe, TopicName, Version, decode, encode, frame,
};

use crate::sets::{Action, Case, Set, Verdict};

const VERSION: &str = "mosquitto version 2.0.11";
const TIMEOUT: Duration = Duration::from_secs(10);
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// Who may do everything in every set, so that there is something to receive.
const TELLER: &str = "the one who tells";
const RIGHTS_OF_TELLER: &str = "\nuser the one who tells\ntopic write #\ntopic write $other/#\n";

#[derive(Debug)]
pub(crate) struct Broker {
    process: Child,
    folder: tempfile::TempDir,
}

impl Broker {
    /// With a listener for each set. The error is the reason why there is none.
    pub(crate) fn start(sets: &[Set]) -> Result<Self, String> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap();
        let mut config = "per_listener_settings true\nlog_type error\n".to_owned();
        // As root it would become a user that cannot write here.
        if rustix::process::geteuid().is_root() {
            config.push_str("user root\n");
        }
        for (number, set) in sets.iter().enumerate() {
            let acl = folder.path().join(format!("acl-{number}"));
            std::fs::write(&acl, set.acl.as_ref().unwrap().clone() + RIGHTS_OF_TELLER).unwrap();
            let socket = socket(folder.path(), number);
            config += &format!("listener 0 {}\nallow_anonymous true\nacl_file {}\n", socket.display(), acl.display());
        }
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(program);
        let process = command.arg("-c").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let broker = Self { process, folder };
        let end = Instant::now() + TIMEOUT;
        while UnixStream::connect(socket(broker.folder.path(), sets.len() - 1)).is_err() {
            assert!(Instant::now() < end, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(broker)
    }

    pub(crate) fn verdict(&self, set: usize, case: &Case) -> Verdict {
        let path = socket(self.folder.path(), set);
        let mut client = Client::connect(&path, &case.client_id, case.user.as_deref());
        let is_permitted = match case.action {
            Action::Publish { retain, .. } => client.publish(&case.topic, retain),
            Action::Receive => {
                client.subscribe(&case.topic, QoS::AtMostOnce);
                Client::connect(&path, "teller", Some(TELLER)).publish(&case.topic, false);
                client.got_something()
            }
            Action::Subscribe { qos } => {
                return if client.subscribe(&case.topic, qos) { Verdict::Granted } else { Verdict::Denied };
            }
        };
        if is_permitted { Verdict::Yes } else { Verdict::No }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn socket(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("socket-{number}"))
}

fn program() -> Result<PathBuf, String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian has it is not in everybody's path.
    let folders = std::env::split_paths(&folders).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("mosquitto")).find(|path| path.is_file());
    let program = found.ok_or("mosquitto is not installed; tests/interop/install does it")?;
    let help = Command::new(&program).arg("-h").output().map_err(|error| format!("{}: {error}", program.display()))?;
    let version = String::from_utf8_lossy(&help.stdout).lines().next().unwrap_or_default().to_owned();
    if version == VERSION { Ok(program) } else { Err(format!("{version:?} is installed, the cases are of {VERSION}")) }
}

struct Client {
    socket: UnixStream,
    input: Vec<u8>,
}

impl Client {
    fn connect(path: &Path, client_id: &str, user_name: Option<&str>) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut client = Self { socket, input: Vec::new() };
        let properties = PropertyBuffer::new();
        client.send(&Packet::Connect(Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_secs: 60,
            client_id,
            will: None,
            user_name,
            password: None,
            properties: properties.properties(),
        }));
        let is_in = client.next(|packet| match packet {
            Packet::ConnAck(connack) => connack.reason == ReasonCode::Success,
            other => panic!("not a CONNACK: {other:?}"),
        });
        assert!(is_in, "Mosquitto refuses {client_id:?}, user {user_name:?}");
        client
    }

    /// Whether it was not refused. Always with QoS 1, as rules of Mosquitto's know no QoS.
    fn publish(&mut self, topic: &str, retain: bool) -> bool {
        let properties = PropertyBuffer::new();
        let delivery = Delivery::AtLeastOnce(PacketId::MIN);
        let topic = Some(TopicName::new(topic).unwrap());
        let properties = properties.properties();
        self.send(&Packet::Publish(Publish { dup: false, delivery, retain, topic, properties, payload: b"x" }));
        self.next(|packet| match packet {
            Packet::Ack(_, ack) => match ack.reason {
                ReasonCode::Success | ReasonCode::NoMatchingSubscribers => true,
                ReasonCode::NotAuthorized => false,
                other => panic!("PUBACK says {other:?}"),
            },
            other => panic!("not a PUBACK: {other:?}"),
        })
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) -> bool {
        let request = FilterRequest {
            filter: SharedFilter::new(filter).unwrap(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let (mut buffer, properties) = (Vec::new(), PropertyBuffer::new());
        self.send(&Packet::Subscribe(Subscribe::new(PacketId::MIN, properties.properties(), &[request], &mut buffer)));
        self.next(|packet| match packet {
            Packet::SubAck(suback) => suback.reasons.iter().all(|reason| *reason < 0x80),
            other => panic!("not a SUBACK: {other:?}"),
        })
    }

    /// A message, before the answer to a ping comes.
    fn got_something(&mut self) -> bool {
        self.send(&Packet::PingReq);
        self.next(|packet| match packet {
            Packet::Publish(_) => true,
            Packet::PingResp => false,
            other => panic!("neither a message nor a PINGRESP: {other:?}"),
        })
    }

    fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, Version::V5, &mut bytes);
        self.socket.write_all(&bytes).unwrap();
    }

    fn next<T>(&mut self, look: impl FnOnce(&Packet<'_>) -> T) -> T {
        loop {
            if let Progress::Packet(found) = frame(&self.input, PACKET_BYTES_MAX).unwrap() {
                let seen = look(&decode(&found, Version::V5, Sender::Server).unwrap());
                let bytes = found.bytes;
                self.input.drain(..bytes);
                return seen;
            }
            let mut bytes = [0; 4096];
            let count = self.socket.read(&mut bytes).expect("Mosquitto answers");
            assert_ne!(count, 0, "Mosquitto has closed the connection");
            self.input.extend_from_slice(&bytes[..count]);
        }
    }
}
