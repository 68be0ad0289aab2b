//! What a session, and what TLS and WebSocket of an idle connection cost in heap: not a timing, but bytes by a counting
//! allocator, printed.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

mod allocator;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};
use thrum::access::Open;
use thrum::base::{ConnId, ListenerId, ShardId, Timestamp};
use thrum::broker::{Effects, Input, Options, ShardCore};
use thrum::net::{CertificateUserName, Connection, Peer, TlsRules, Transport, WebSocketRules, Workspace};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Connected sessions of a shard, keep alive 60 s, and their bytes of heap each, in all: connection, session, timer,
/// client identifier, and with a subscription the filter index and the filter's text.
fn session_bytes(sessions: u32, with_subscription: bool) -> f64 {
    let before = allocator::live_bytes();
    let mut core =
        ShardCore::new(ShardId::new(0), Options::default(), Box::new(Open), NOW).expect("the options are valid");
    let mut effects = Effects::new();
    for session in 0..sessions {
        let conn = ConnId(session);
        core.handle(NOW, Input::Opened { conn }, &mut effects);
        let connect = format!("\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\x0eclient-{session:07}");
        core.handle(NOW, Input::Bytes { conn, bytes: connect.as_bytes() }, &mut effects);
        if with_subscription {
            let subscribe = format!("\u{2}\x1c\0\x01\0\x17device/{session:07}/commands\x01");
            let mut subscribe = subscribe.into_bytes();
            subscribe[0] = 0x82;
            core.handle(NOW, Input::Bytes { conn, bytes: &subscribe }, &mut effects);
        }
        let mut output = std::mem::take(&mut effects.output);
        output.drain(|conn, buffer| {
            let bytes = buffer.chunks().map(<[u8]>::len).sum();
            core.handle(NOW, Input::Sent { conn, bytes }, &mut effects);
        });
        effects.output = output;
        core.handle(NOW, Input::MeshDrained, &mut effects);
        effects.events.clear();
    }
    assert_eq!(core.sessions_len(), sessions as usize);
    assert_eq!(core.subscriptions_len(), if with_subscription { sessions as usize } else { 0 });
    (allocator::live_bytes() - before) as f64 / f64::from(sessions)
}

/// A server's side with this certificate, and a client's that believes it.
fn tls() -> (Arc<ServerConfig>, impl Fn(&'static SupportedProtocolVersion) -> ClientConnection) {
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
    let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let config = builder.with_single_cert(vec![server.cert.der().clone()], key).expect("they fit");
    let mut roots = RootCertStore::empty();
    roots.add(server.cert.der().clone()).expect("a certificate");
    let client = move |version| {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&[version]).expect("a version");
        let config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
        ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("a client")
    };
    (Arc::new(config), client)
}

/// Connections in TLS that have nothing to say, and their bytes of heap each beside a plain one's.
fn tls_bytes(connections: usize, version: &'static SupportedProtocolVersion) -> f64 {
    let (config, client) = tls();
    let rules = TlsRules { config, user_name: CertificateUserName::None };
    let transport = Arc::new(Transport { tls: Some(rules), ..Transport::default() });
    let (mut work, mut into) = (Workspace::default(), vec![0; 64 * 1024]);
    let mut all = Vec::with_capacity(connections);
    let mut before = 0;
    for number in 0..connections + 1 {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        [&ours, &theirs].into_iter().for_each(|socket| socket.set_nonblocking(true).expect("a socket"));
        let mut connection = Connection::accepted(ours.into(), Peer::UNIX, ListenerId(0), &transport);
        let mut client = client(version);
        while client.is_handshaking() || connection.entrance().is_none() {
            let mut said = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut said).expect("written");
            }
            theirs.write_all(&said).expect("it has room");
            connection.read(&mut into, 64 * 1024, &mut work);
            let mut wire = vec![0; 64 * 1024];
            let bytes = theirs.read(&mut wire).unwrap_or(0);
            client.read_tls(&mut &wire[..bytes]).expect("read");
            client.process_new_packets().expect("understood");
        }
        drop(client);
        if number == 0 {
            // What all share is there now.
            before = allocator::live_bytes();
        } else {
            all.push(connection);
        }
    }
    (allocator::live_bytes() - before) as f64 / connections as f64
}

/// An idle WebSocket's, without TLS.
fn websocket_bytes(connections: usize) -> f64 {
    let rules = WebSocketRules { path: "/mqtt".into(), origins: Vec::new() };
    let transport = Arc::new(Transport { websocket: Some(rules), ..Transport::default() });
    let request = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let (mut work, mut into) = (Workspace::default(), vec![0; 64 * 1024]);
    let mut all = Vec::with_capacity(connections);
    let mut before = 0;
    for number in 0..connections + 1 {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut connection = Connection::accepted(ours.into(), Peer::UNIX, ListenerId(0), &transport);
        theirs.write_all(request).expect("it has room");
        connection.read(&mut into, 64 * 1024, &mut work);
        assert!(connection.entrance().is_some());
        if number == 0 {
            before = allocator::live_bytes();
        } else {
            all.push(connection);
        }
    }
    (allocator::live_bytes() - before) as f64 / connections as f64
}

fn main() {
    for (name, version) in [("1.2", &rustls::version::TLS12), ("1.3", &rustls::version::TLS13)] {
        println!(
            "    1,000 idle connections in TLS {name}: {:.0} bytes of heap each for it",
            tls_bytes(1_000, version)
        );
    }
    println!("    1,000 idle WebSockets: {:.0} bytes of heap each for it", websocket_bytes(1_000));
    for sessions in [10_000, 100_000, 1_000_000] {
        let (without, with) = (session_bytes(sessions, false), session_bytes(sessions, true));
        println!("{sessions:>9} connected sessions: {without:.0} bytes of heap each, {with:.0} with a subscription");
    }
}
