//! Clients over everything that can lie between a socket and MQTT: a PROXY header, TLS, WebSocket, both, a Unix socket;
//! and who does not speak what a listener speaks.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Bytes, Message, WebSocket};

use crate::broker::{Broker, PATIENCE, Setup, on_shards};

const TEXT_HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.7 4711 8883\r\n";
const BINARY_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x07\x12\x67\x22\xb3";

/// A certificate that is its own authority, in files for the broker.
struct Certificate {
    folder: TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let (folder, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(folder.path().join("chain.pem"), certificate.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder, der: certificate.der().clone() }
    }

    /// Keys of a listener.
    fn keys(&self) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        format!("certificate = '{}'\nkey = '{}'\n", path("chain.pem"), path("key.pem"))
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
    }
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// MQTT in the messages of a WebSocket, so many bytes of it in each.
struct InMessages<S> {
    websocket: WebSocket<S>,
    content_bytes: usize,
    came: Bytes,
}

impl<S: Read + Write> InMessages<S> {
    fn over(stream: S, content_bytes: usize) -> Self {
        let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        let (websocket, answer) = tungstenite::client(request, stream).map_err(|error| error.to_string()).unwrap();
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "mqtt");
        Self { websocket, content_bytes, came: Bytes::new() }
    }
}

impl<S: Read + Write> Read for InMessages<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.came.is_empty() {
            match self.websocket.read() {
                Ok(Message::Binary(content)) => self.came = content,
                Ok(Message::Close(_)) => return Ok(0),
                Ok(_) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let bytes = into.len().min(self.came.len());
        into[..bytes].copy_from_slice(&self.came.split_to(bytes));
        Ok(bytes)
    }
}

impl<S: Read + Write> Write for InMessages<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for content in bytes.chunks(self.content_bytes) {
            let message = Message::Binary(Bytes::copy_from_slice(content));
            self.websocket.write(message).map_err(io::Error::other)?;
        }
        self.websocket.send(Message::Ping(Bytes::new())).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.websocket.flush().map_err(io::Error::other)
    }
}

fn tcp(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let more = left / 128;
        packet.push((left % 128) as u8 | if more > 0 { 0x80 } else { 0 });
        left = more;
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn expect(stream: &mut impl Read, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == bytes, "{:?} came", &got[..got.len().min(100)]);
}

fn connect(stream: &mut impl Stream, client_id: &str) {
    let head = [&[0, 4][..], b"MQTT", &[4, 2, 0, 60]].concat();
    stream.write_all(&packet(0x10, &[&head, &string(client_id)])).unwrap();
    stream.flush().unwrap();
    expect(stream, &[0x20, 2, 0, 0]);
}

/// A client's life: it sends messages to itself, small ones and long ones, and leaves.
fn live(stream: &mut impl Stream, client_id: &str) {
    connect(stream, client_id);
    let topic = string(client_id);
    stream.write_all(&packet(0x82, &[&[0, 1], &topic, &[0]])).unwrap();
    expect(stream, &[0x90, 3, 0, 1, 0]);
    for size in [0, 1, 100, 5_000, 16_384, 70_000, 300_000] {
        let payload: Vec<u8> = (0..size).map(|at: usize| (at * 31 + at / 251) as u8).collect();
        let publish = packet(0x30, &[&topic, &payload]);
        stream.write_all(&[&publish[..], &[0xC0, 0]].concat()).unwrap();
        expect(stream, &[&publish[..], &[0xD0, 0]].concat());
    }
    stream.write_all(&[0xE0, 0]).unwrap();
    expect_end(stream);
}

/// Whoever takes its leave by TLS is not cut off.
fn expect_end(stream: &mut impl Read) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?} came");
}

/// Several, so that some of them belong to each shard.
fn live_all<S: Stream>(kind: &str, open: impl Fn() -> S) {
    for number in 0..6 {
        live(&mut open(), &format!("{kind}-{number}"));
    }
}

fn logged_address(broker: &Broker, client_id: &str) -> String {
    let is_his = |line: &crate::log_line::LogLine| line.member("client").is_some_and(|client| client == client_id);
    let line = broker.line("he came", |line| is_his(line) && line.text().contains("connected"));
    line.member("address").expect("an address").to_owned()
}

#[test]
fn tls_carries_clients() {
    let certificate = Certificate::new();
    on_shards(
        |setup| setup.listener(&certificate.keys()),
        |broker| {
            for (kind, version) in [("tls12", &TLS12), ("tls13", &TLS13)] {
                live_all(kind, || StreamOwned::new(certificate.client(version), tcp(broker)));
            }
        },
    );
}

#[test]
fn websocket_carries_clients() {
    on_shards(
        |setup| setup.listener("websocket = true\n"),
        |broker| {
            for content_bytes in [1_000_000, 1_000] {
                live_all(&format!("ws{content_bytes}"), || InMessages::over(tcp(broker), content_bytes));
            }
            let mut client = InMessages::over(tcp(broker), 3);
            connect(&mut client, "in small parts");
        },
    );
}

#[test]
fn proxy_tls_and_websocket_lie_one_within_the_other() {
    let certificate = Certificate::new();
    on_shards(
        |setup| {
            setup
                .listener(&format!("websocket = true\nproxy_protocol = true\nanonymous = true\n{}", certificate.keys()))
        },
        |broker| {
            for (kind, header) in [("text", TEXT_HEADER), ("binary", BINARY_HEADER)] {
                live_all(kind, || {
                    let mut stream = tcp(broker);
                    stream.write_all(header).unwrap();
                    InMessages::over(StreamOwned::new(certificate.client(&TLS13), stream), 10_000)
                });
                assert_eq!(logged_address(broker, &format!("{kind}-3")), "192.0.2.7:4711");
            }
        },
    );
}

#[test]
fn behind_a_proxy_a_client_is_who_the_header_says() {
    on_shards(
        |setup| setup.listener("proxy_protocol = true\nanonymous = true\n"),
        |broker| {
            live_all("proxied", || {
                let mut stream = tcp(broker);
                stream.write_all(TEXT_HEADER).unwrap();
                stream
            });
            assert_eq!(logged_address(broker, "proxied-5"), "192.0.2.7:4711");
            let mut without = tcp(broker);
            without.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a").unwrap();
            assert!(is_ended(&mut without), "who has no header is not let in");
            broker.line("why", |line| line.text().contains("PROXY header: there is none"));
        },
    );
}

#[test]
fn a_unix_socket_carries_clients_and_is_gone_afterwards() {
    for shards in [1, 4] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let listener = format!("[[listeners]]\naddress = 'unix:{}'\nunix_mode = '0600'\n", path.display());
        let broker = Setup::new(shards).tables(&listener).start();
        broker.line("it is ready", |line| line.text().contains("ready"));
        live_all("unix", || UnixStream::connect(&path).unwrap());
        assert_eq!(logged_address(&broker, "unix-0"), "unix");
        broker.stop();
        assert!(!path.exists());
    }
}

fn is_ended(stream: &mut impl Read) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn who_speaks_something_else_is_told_and_ended_and_others_are_served() {
    let certificate = Certificate::new();
    on_shards(
        |setup| setup.listener(&certificate.keys()),
        |broker| {
            let mut member = StreamOwned::new(certificate.client(&TLS13), tcp(broker));
            connect(&mut member, "member");
            for garbage in [&b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a"[..], b"GET / HTTP/1.1\r\n\r\n"] {
                let mut stranger = tcp(broker);
                stranger.write_all(garbage).unwrap();
                let mut alert = Vec::new();
                stranger.read_to_end(&mut alert).unwrap();
                assert_eq!(alert.first(), Some(&0x15), "an alert: {alert:?}");
            }
            broker.line("why", |line| line.text().contains("transport failed") && line.text().contains("TLS: "));
            member.write_all(&[0xC0, 0]).unwrap();
            expect(&mut member, &[0xD0, 0]);
        },
    );
}

#[test]
fn a_request_that_is_no_upgrade_is_answered_in_http() {
    let broker = Setup::new(1).listener("websocket = true\nwebsocket_origins = ['https://page.example']\n").start();
    for (request, status) in [
        ("GET /other HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 "),
        ("GET /mqtt HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 426 "),
        ("POST /mqtt HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 405 "),
    ] {
        let mut stream = tcp(&broker);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(status), "{answer}");
    }
    broker.stop();
}

#[test]
fn a_handshake_that_is_not_ended_in_time_is_ended() {
    let certificate = Certificate::new();
    let broker = Setup::new(1).listener(&certificate.keys()).limit("connect_timeout_secs", 1).start();
    let mut hello = Vec::new();
    certificate.client(&TLS13).write_tls(&mut hello).unwrap();
    let began = Instant::now();
    for bytes in [0, 1, 100, hello.len()] {
        let mut slow = tcp(&broker);
        slow.write_all(&hello[..bytes]).unwrap();
        assert!(is_ended(&mut slow));
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    broker.stop();
}

#[test]
fn a_broker_that_stops_takes_its_leave_of_all_layers() {
    let certificate = Certificate::new();
    let broker = Setup::new(2).listener(&format!("websocket = true\n{}", certificate.keys())).start();
    let mut client = InMessages::over(StreamOwned::new(certificate.client(&TLS13), tcp(&broker)), 100);
    connect(&mut client, "member");
    broker.stop();
    // A Close, which `read` tells as the end, where a cut would be an error.
    expect_end(&mut client);
    let mut tls = client.websocket.into_inner();
    while !tls.conn.process_new_packets().unwrap().peer_has_closed() {
        assert!(tls.conn.read_tls(&mut tls.sock).unwrap() > 0, "cut off without close_notify");
    }
}
