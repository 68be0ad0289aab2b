//! TLS and WebSocket, in front of a real broker: a proxy takes off what the generator has put around MQTT.

mod real_broker;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use thrum::mqtt::{QoS, Version};
use thrum_loadgen::access::{Access, BrokerAddress};
use thrum_loadgen::ledger::Faults;
use thrum_loadgen::outcome::Outcome;
use thrum_loadgen::plan::Plan;
use thrum_loadgen::traffic::{Load, run};
use thrum_loadgen::transport::{TlsFiles, Wrapping};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Bytes, Message, WebSocket, accept_hdr};

use real_broker::start;

/// Reading gives up soon, so that one thread can look at both sides.
const GLANCE: Duration = Duration::from_micros(500);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Takes clients, and passes on to the broker what they say.
fn start_proxy(broker: SocketAddr, tls: Option<Arc<ServerConfig>>, speaks_web_socket: bool) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, tls) = (client.expect("a client"), tls.clone());
            thread::spawn(move || {
                let server = TcpStream::connect(broker).expect("the broker");
                [&client, &server].into_iter().for_each(|side| side.set_nodelay(true).expect("a socket"));
                let socket = client.try_clone().expect("a socket");
                let stream: Box<dyn Stream> = match tls {
                    None => Box::new(client),
                    Some(tls) => Box::new(StreamOwned::new(ServerConnection::new(tls).expect("a server"), client)),
                };
                if speaks_web_socket {
                    let Ok(web_socket) = accept_hdr(stream, check_request) else { return };
                    pump(Framed(web_socket), &socket, server);
                } else {
                    pump(Unframed(stream), &socket, server);
                }
            });
        }
    });
    address
}

/// [MQTT-6.0.0-3] [MQTT-6.0.0-4]
#[expect(clippy::result_large_err, reason = "tungstenite asks for it")]
fn check_request(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let protocol = request.headers().get("sec-websocket-protocol").expect("a subprotocol");
    assert_eq!((protocol, request.uri().path()), (&"mqtt".parse().expect("a value"), "/there"));
    response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
    Ok(response)
}

/// The client's side of a proxy.
trait Side {
    fn receive(&mut self) -> io::Result<Vec<u8>>;
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
}

struct Unframed(Box<dyn Stream>);

impl Side for Unframed {
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 64 * 1024];
        match self.0.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(bytes[..count].to_vec()),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }
}

struct Framed(WebSocket<Box<dyn Stream>>);

impl Side for Framed {
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self.0.read() {
            Ok(Message::Binary(bytes)) => Ok(bytes.to_vec()),
            Ok(message) => panic!("{message:?}"),
            Err(tungstenite::Error::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// In several frames, between which packets are cut. [MQTT-6.0.0-2]
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(1_000) {
            self.0.send(Message::Binary(Bytes::copy_from_slice(part))).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn pump(mut client: impl Side, socket: &TcpStream, mut server: TcpStream) {
    [socket, &server].into_iter().for_each(|side| side.set_read_timeout(Some(GLANCE)).expect("a socket"));
    let is_over = |error: &io::Error| !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match client.receive() {
            Ok(bytes) => server.write_all(&bytes).expect("the broker takes it"),
            Err(error) if is_over(&error) => return,
            Err(_) => {}
        }
        match server.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) if client.send(&bytes[..count]).is_err() => return,
            Err(error) if is_over(&error) => return,
            _ => {}
        }
    }
}

struct Certificate {
    path: PathBuf,
    config: Arc<ServerConfig>,
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A certificate for `localhost` that vouches for itself.
fn certificate(name: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let path = std::env::temp_dir().join(format!("thrum-loadgen-{}-{name}.pem", std::process::id()));
    std::fs::write(&path, made.cert.pem()).expect("a file");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key));
    Certificate { path, config: Arc::new(config.expect("a configuration")) }
}

fn run_through(address: SocketAddr, host: &str, wrapping: Wrapping, payload_bytes: usize) -> io::Result<Outcome> {
    let brokers = vec![BrokerAddress { host: host.into(), address }];
    let load = Load {
        access: Access { brokers, wrapping, ..Access::plain(address, Version::V5) },
        qos: QoS::AtLeastOnce,
        payload_bytes,
        window: 8,
        batch: 2,
        rate: 0.0,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(150),
        spins: false,
        seed: 1,
        pid: None,
    };
    run(&Plan::pairs(2), &load, |_| {})
}

fn assert_whole(outcome: &Outcome) {
    let messages = &outcome.messages;
    assert_eq!((&outcome.failures, messages.faults), (&Vec::new(), Faults::default()));
    assert_eq!(messages.received, messages.due);
    assert!(messages.received > 8 && outcome.connects.count == 4);
}

fn tls(ca: Option<&Path>) -> Wrapping {
    Wrapping { tls: Some(TlsFiles { ca, own: None }.config().expect("a configuration")), web_socket: None }
}

#[test]
fn messages_come_through_tls_and_web_socket_whole() {
    let (broker, certificate) = (start(), certificate("right"));
    let wrappings = [
        tls(Some(&certificate.path)),
        tls(None),
        Wrapping { tls: None, web_socket: Some("/there".into()) },
        Wrapping { web_socket: Some("/there".into()), ..tls(Some(&certificate.path)) },
    ];
    for wrapping in wrappings {
        let config = wrapping.tls.is_some().then(|| Arc::clone(&certificate.config));
        let proxy = start_proxy(broker.addresses()[0], config, wrapping.web_socket.is_some());
        for payload_bytes in [16, 200_000] {
            assert_whole(&run_through(proxy, "localhost", wrapping.clone(), payload_bytes).expect("a run"));
        }
    }
    broker.stop().expect("a drain");
}

#[test]
fn a_certificate_of_somebody_else_or_for_another_name_is_refused() {
    let (broker, right, wrong) = (start(), certificate("own"), certificate("other"));
    let proxy = start_proxy(broker.addresses()[0], Some(Arc::clone(&right.config)), false);
    for (ca, host) in [(&wrong.path, "localhost"), (&right.path, "127.0.0.1")] {
        let error = run_through(proxy, host, tls(Some(ca)), 16).expect_err("no trust");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    broker.stop().expect("a drain");
}

#[test]
fn a_broker_that_speaks_no_web_socket_is_told_of() {
    let broker = start();
    let wrapping = Wrapping { tls: None, web_socket: Some("/mqtt".into()) };
    assert!(run_through(broker.addresses()[0], "localhost", wrapping, 16).is_err());
    broker.stop().expect("a drain");
}
