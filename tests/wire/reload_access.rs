//! What a reload changes of who comes in and what he may do, under clients that stay connected: listeners, certificates,
//! passwords, rules. A file with anything wrong in it changes nothing.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use thrum::access::{Password, Work};

use crate::broker::{Broker, PATIENCE, Setup};
use crate::client::{Came, Client, connect};
use crate::packets::{Login, V3_1_1, V5};

const READ_AGAIN: &str = "configuration read again";
const AS_IT_WAS: &str = "the configuration stays as it was";

/// A folder with the files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    fn users(&self, users: &[(&str, &str)]) -> String {
        let work = Work::Argon2id { memory_kib: 8, passes: 1, lanes: 1 };
        let line = |(name, password): &(&str, &str)| {
            format!("{name}:{}\n", Password::derive(work, password.as_bytes(), [7; 16]))
        };
        self.write("users", &users.iter().map(line).collect::<String>())
    }

    /// `chain.pem` and `key.pem`, which are their own authority.
    fn certificate(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.write("chain.pem", &certificate.pem());
        self.write("key.pem", &key.serialize_pem());
        certificate.der().clone()
    }
}

fn count(broker: &Broker, message: &str) -> usize {
    broker.lines().iter().filter(|line| line.member("message") == Some(message)).count()
}

/// Waits until the log says it once more than it did.
fn until_said(broker: &Broker, message: &str, before: usize) {
    let deadline = Instant::now() + PATIENCE;
    while count(broker, message) <= before {
        assert!(Instant::now() < deadline, "the log does not say: {message}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn reload(broker: &Broker, says: &str) {
    let before = count(broker, says);
    broker.signal(Signal::HUP);
    until_said(broker, says, before);
}

/// Whether the broker lets somebody in over this stream, who then stays.
fn is_let_in(stream: &mut (impl Read + Write), name: &str, password: Option<&str>) -> bool {
    let login = Login::new(V3_1_1, name);
    let login = match password {
        Some(password) => login.user(name, password),
        None => login,
    };
    stream.write_all(&login.bytes()).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[..3], [0x20, 2, 0]);
    connack[3] == 0
}

fn is_alive(stream: &mut (impl Read + Write)) -> bool {
    let mut pong = [0; 2];
    stream.write_all(&[0xC0, 0]).and_then(|()| stream.read_exact(&mut pong)).is_ok() && pong == [0xD0, 0]
}

#[test]
fn listeners_come_and_go_and_their_clients_stay() {
    for shards in [1, 2, 4] {
        let files = Files::new();
        let socket = files.path("thrum.sock");
        let plain = Setup::new(shards);
        let broker = plain.clone().start();
        let mut member = connect(&broker, V5, "member");

        let unix = format!("[[listeners]]\naddress = 'unix:{}'\nunix_mode = '0600'\n", socket.display());
        broker.rewrite(&plain.clone().tables(&unix));
        reload(&broker, READ_AGAIN);
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let mut neighbours: Vec<_> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        for (number, neighbour) in neighbours.iter_mut().enumerate() {
            assert!(is_let_in(neighbour, &format!("neighbour {number}"), None));
        }
        // Read again, it is the same socket, and takes more.
        reload(&broker, READ_AGAIN);
        assert!(is_let_in(&mut UnixStream::connect(&socket).unwrap(), "late", None));

        broker.rewrite(&plain);
        reload(&broker, READ_AGAIN);
        assert!(is_gone(|| socket.exists()), "the socket's file stays");
        assert!(UnixStream::connect(&socket).is_err());
        assert!(neighbours.iter_mut().all(is_alive));
        member.ping();
        assert!(is_let_in(&mut TcpStream::connect(broker.address).unwrap(), "newcomer", None));
        broker.stop();
    }
}

/// The other shards let go of what one of them still has.
fn is_gone(mut is_there: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while is_there() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    !is_there()
}

#[test]
fn the_listener_of_a_client_goes_and_the_client_stays() {
    let broker = Setup::new(2).start();
    let mut member = connect(&broker, V5, "member");
    let other = Setup::new(2).address(([127, 0, 0, 2], 0).into());
    broker.rewrite_elsewhere(&other);
    reload(&broker, READ_AGAIN);
    let said = broker.line("the other listens", |line| line.text().contains("127.0.0.2:"));
    let mut newcomer = TcpStream::connect(said.address().unwrap()).unwrap();
    assert!(is_let_in(&mut newcomer, "newcomer", None));
    assert!(is_gone(|| TcpStream::connect(broker.address).is_ok()));
    member.ping();
    broker.stop();
}

#[test]
fn another_password_and_another_user_hold_for_who_comes_later() {
    for shards in [1, 2] {
        let files = Files::new();
        let users = files.users(&[("alice", "first")]);
        let setup = Setup::new(shards).tables(&format!("[access]\npassword_file = '{users}'\n"));
        let broker = setup.start();
        let comes_in = |name: &str, password| {
            let mut stream = TcpStream::connect(broker.address).unwrap();
            (is_let_in(&mut stream, name, password), stream)
        };
        let (is_in, mut alice) = comes_in("alice", Some("first"));
        assert!(is_in);
        assert!(!comes_in("alice", Some("second")).0 && !comes_in("nobody", None).0);

        files.users(&[("alice", "second"), ("bob", "third")]);
        reload(&broker, READ_AGAIN);
        assert!(is_alive(&mut alice), "who is in stays");
        assert!(!comes_in("alice", Some("first")).0);
        assert!(comes_in("bob", Some("third")).0 && !comes_in("somebody", None).0);

        // What is broken changes nothing, and is told with its line.
        files.write("users", "carol\n");
        reload(&broker, AS_IT_WAS);
        let told = format!("{users}:1: ");
        assert!(broker.lines().iter().any(|line| line.member("message").is_some_and(|text| text.starts_with(&told))));
        assert!(comes_in("bob", Some("third")).0);
        broker.stop();
    }
}

#[test]
fn other_rules_hold_for_who_is_there() {
    for shards in [1, 2] {
        let files = Files::new();
        let rules = files.write("acl", "topic readwrite a/#\n");
        let broker = Setup::new(shards).tables(&format!("[access]\nacl_file = '{rules}'\n")).start();
        let mut reader = connect(&broker, V5, "reader");
        let mut writer = connect(&broker, V5, "writer");
        reader.subscribe("a/#", 1);
        writer.publish_to("a/secret", b"1", 1);
        assert_eq!(reader.publish().payload, b"1");

        files.write("acl", "topic readwrite a/#\ntopic deny a/secret\n");
        reload(&broker, READ_AGAIN);
        let mut insider = connect(&broker, V3_1_1, "insider");
        insider.publish_to("a/secret", b"2", 1);
        insider.publish_to("a/open", b"3", 1);
        assert_eq!(reader.publish().payload, b"3", "the other was not to come");
        assert_eq!(writer.come(Duration::from_millis(1)), Came::Nothing);

        files.write("acl", "topic readwrite a/#\ntopic\n");
        reload(&broker, AS_IT_WAS);
        let told = format!("{rules}:2: ");
        assert!(broker.lines().iter().any(|line| line.member("message").is_some_and(|text| text.starts_with(&told))));
        files.write("acl", "topic readwrite a/#\n");
        reload(&broker, READ_AGAIN);
        writer.publish_to("a/secret", b"4", 1);
        assert_eq!(reader.publish().payload, b"4");
        broker.stop();
    }
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Who believes the one certificate.
fn tls(broker: &Broker, believed: &CertificateDer<'static>) -> std::io::Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(believed.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(broker.address)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn tls_setup(files: &Files, watch: bool) -> Setup {
    let lines =
        format!("certificate = '{}'\nkey = '{}'\n", files.path("chain.pem").display(), files.path("key.pem").display());
    Setup::new(2).listener(&lines).tables(&format!("[access]\nwatch = {watch}\n"))
}

#[test]
fn another_certificate_is_shown_to_who_comes_later() {
    let files = Files::new();
    let first = files.certificate();
    let broker = tls_setup(&files, false).start();
    let mut member = tls(&broker, &first).unwrap();
    assert!(is_let_in(&mut member, "member", None));

    let second = files.certificate();
    reload(&broker, READ_AGAIN);
    assert!(is_alive(&mut member));
    assert!(tls(&broker, &first).is_err());
    assert!(is_let_in(&mut tls(&broker, &second).unwrap(), "newcomer", None));

    // A key that is another certificate's changes nothing.
    files.write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    reload(&broker, AS_IT_WAS);
    let told = |line: &str| line.contains("is not that of the first certificate in");
    assert!(broker.lines().iter().any(|line| line.member("message").is_some_and(told)));
    assert!(is_let_in(&mut tls(&broker, &second).unwrap(), "latecomer", None));
    assert!(is_alive(&mut member));
    broker.stop();
}

#[test]
fn files_that_are_watched_need_no_signal() {
    let files = Files::new();
    files.certificate();
    let broker = tls_setup(&files, true).start();
    let before = count(&broker, READ_AGAIN);
    let second = files.certificate();
    until_said(&broker, READ_AGAIN, before);
    assert!(is_let_in(&mut tls(&broker, &second).unwrap(), "newcomer", None));
    broker.stop();
}

#[test]
fn an_address_that_cannot_be_had_leaves_everything_as_it_was() {
    let setup = Setup::new(2);
    let broker = setup.clone().start();
    let other = setup.clone().start();
    let mut member: Client = connect(&broker, V5, "member");
    let taken = format!("[[listeners]]\naddress = '{}'\n", other.address);
    broker.rewrite(&setup.clone().option("connections_max", 1).tables(&taken));
    reload(&broker, AS_IT_WAS);
    let told = format!("cannot listen on {}: another program does", other.address);
    assert!(broker.lines().iter().any(|line| line.member("message").is_some_and(|text| text.starts_with(&told))));
    assert!(
        is_let_in(&mut TcpStream::connect(broker.address).unwrap(), "newcomer", None),
        "connections_max is as it was"
    );
    member.ping();
    broker.stop();
    other.stop();
}
