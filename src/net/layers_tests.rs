//! Layers as a connection has them, and clients that others have written at their other end: rustls for TLS.

use std::io::{Read, Write};
use std::sync::{Arc, Once};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType, IsCa, KeyPair, SanType};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::layers::{Layers, Workspace, Wrapped};
use super::peer::Peer;
use super::transport::{CertificateUserName, TlsRules, Transport, WebSocketRules};
use super::unsent::tests::output;

const INTO_BYTES: usize = 64 * 1024;

/// Who signs the clients' certificates, and what a server is.
struct World {
    authority: CertifiedIssuer<'static, KeyPair>,
    server: CertifiedKey<KeyPair>,
}

impl World {
    fn new() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| _ = ring::default_provider().install_default());
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
        Self { authority, server }
    }

    fn server_config(&self, asks_for_certificate: bool) -> Arc<ServerConfig> {
        let chain = vec![self.server.cert.der().clone()];
        let key = PrivateKeyDer::try_from(self.server.signing_key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder();
        let builder = if asks_for_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).expect("an authority");
            builder
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(builder.with_single_cert(chain, key).expect("they fit"))
    }

    fn transport(&self, user_name: CertificateUserName) -> Transport {
        let config = self.server_config(user_name != CertificateUserName::None);
        Transport { tls: Some(TlsRules { config, user_name }), ..Transport::default() }
    }

    fn client(&self, version: &'static SupportedProtocolVersion, identity: Option<Identity>) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.cert.der().clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
        let config = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("they fit"),
            None => builder.with_no_client_auth(),
        };
        ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("a client")
    }

    fn identity(&self, common_name: &str, names: Vec<SanType>) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A server's side of a connection, without a socket.
struct Server {
    layers: Layers,
    work: Workspace,
    peer: Peer,
    /// MQTT that came.
    plain: Vec<u8>,
    /// What is to go to the client.
    wire: Vec<u8>,
}

impl Server {
    fn new(transport: Transport) -> Self {
        let layers = Layers::new(&Arc::new(transport)).expect("there are some");
        Self { layers, work: Workspace::default(), peer: Peer::UNIX, plain: Vec::new(), wire: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        for bytes in bytes.chunks(4_096) {
            if self.layers.is_over() {
                return;
            }
            let room = self.layers.room(bytes.len(), INTO_BYTES, &mut self.work);
            assert_eq!(room.len(), bytes.len());
            room.copy_from_slice(bytes);
            let mut into = vec![0; INTO_BYTES];
            let plain = self.layers.take_in(bytes.len(), &mut into, &mut self.work, &mut self.peer);
            self.plain.extend(&into[..plain]);
            self.wire.extend(&self.work.wire);
        }
    }

    /// Sends messages of these sizes, and says what they are on the MQTT side.
    fn send(&mut self, sizes: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let buffer = output(sizes);
        let plain = buffer.chunks().collect::<Vec<_>>().concat();
        match self.layers.wrap(&buffer, &mut self.work).expect("wrapped") {
            Wrapped::Sealed => self.wire.extend(&self.work.wire),
            Wrapped::Framed => {
                self.wire.extend(&self.work.wire);
                self.wire.extend(&plain);
            }
            Wrapped::Nobody(_) => panic!("there is somebody"),
        }
        plain
    }

    /// Lets both say what they have to say, the client in parts of this size.
    fn talk(&mut self, client: &mut ClientConnection, part_bytes: usize) -> Result<Vec<u8>, rustls::Error> {
        let mut got = Vec::new();
        loop {
            let mut said = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut said).expect("written");
            }
            said.chunks(part_bytes).for_each(|part| self.take(part));
            let wire = std::mem::take(&mut self.wire);
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("read");
                client.process_new_packets()?;
                // Its error is that there is no more now.
                let _ = client.reader().read_to_end(&mut got);
            }
            if said.is_empty() && wire.is_empty() {
                return Ok(got);
            }
        }
    }
}

#[test]
fn tls_is_a_stream_both_ways_however_it_is_cut() {
    let world = World::new();
    let said: Vec<u8> = (0..40_000).map(|at| (at * 7 + at / 251) as u8).collect();
    for version in [&TLS12, &TLS13] {
        for part_bytes in [1, 2, 3, 5, 17, 100, 1_000, 4_096, 100_000] {
            let (mut server, mut client) =
                (Server::new(world.transport(CertificateUserName::None)), world.client(version, None));
            assert!(!server.layers.is_established());
            server.talk(&mut client, part_bytes).expect("a handshake");
            assert!(server.layers.is_established() && server.plain.is_empty());
            client.writer().write_all(&said).expect("taken");
            server.talk(&mut client, part_bytes).expect("understood");
            assert!(server.plain == said, "changed on the way, in parts of {part_bytes}");
            let sent = server.send([3_000, 10, 40_000, 5, 16_384, 100_000]);
            assert!(server.talk(&mut client, part_bytes).expect("understood") == sent, "changed on the way");
            assert!(server.layers.say_farewell(&mut server.work));
            server.wire.extend(&server.work.wire);
            server.talk(&mut client, part_bytes).expect("understood");
            assert!(client.process_new_packets().expect("understood").peer_has_closed());
        }
    }
}

#[test]
fn a_handshake_is_cut_anywhere() {
    let world = World::new();
    let mut hello = Vec::new();
    world.client(&TLS13, None).write_tls(&mut hello).expect("written");
    for cut in 0..hello.len() {
        let mut server = Server::new(world.transport(CertificateUserName::None));
        server.take(&hello[..cut]);
        assert!(server.wire.is_empty() && !server.layers.is_over(), "cut at {cut}");
        server.take(&hello[cut..]);
        assert!(!server.wire.is_empty() && !server.layers.is_over(), "cut at {cut}");
    }
}

#[test]
fn what_is_in_one_read_with_the_end_is_taken_first() {
    let world = World::new();
    let (mut server, mut client) =
        (Server::new(world.transport(CertificateUserName::None)), world.client(&TLS13, None));
    server.talk(&mut client, 4_096).expect("a handshake");
    client.writer().write_all(b"last words").expect("taken");
    client.send_close_notify();
    server.talk(&mut client, 4_096).expect("understood");
    assert_eq!(server.plain, b"last words");
    assert!(server.layers.is_over() && server.layers.take_fault().is_none());
    assert!(server.layers.say_farewell(&mut server.work), "it is answered");
    server.wire.extend(&server.work.wire);
    server.talk(&mut client, 4_096).expect("understood");
    assert!(client.process_new_packets().expect("understood").peer_has_closed());
}

#[test]
fn who_does_not_speak_tls_is_told_by_an_alert() {
    let world = World::new();
    for garbage in
        [&b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a"[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 0, 4, 1, 0, 0, 0]]
    {
        let mut server = Server::new(world.transport(CertificateUserName::None));
        server.take(garbage);
        assert!(server.layers.is_over() && server.wire.first() == Some(&0x15), "{:?}", server.wire);
        let fault = server.layers.take_fault().expect("a reason").to_string();
        assert!(fault.starts_with("TLS: "), "{fault}");
        assert!(!server.layers.say_farewell(&mut server.work), "all is said");
    }
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let world = World::new();
    let mut server = Server::new(world.transport(CertificateUserName::None));
    // Parts of one handshake message of the largest size there is.
    let mut begin = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xFF, 0xFF];
    begin.resize(5 + 0x4000, 0);
    let more = [&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    server.take(&begin);
    for _ in 0..5 {
        server.take(&more);
    }
    assert!(server.layers.is_over() && server.layers.take_fault().is_some());
}

#[test]
fn a_client_is_who_its_certificate_names() {
    let world = World::new();
    let names = || vec![SanType::DnsName("meter-7.example".try_into().expect("a name"))];
    let email = vec![SanType::Rfc822Name("meter@example.org".try_into().expect("a name"))];
    let cases = [
        (CertificateUserName::CommonName, "meter 7", names(), Some("meter 7")),
        (CertificateUserName::SubjectAltName, "meter 7", names(), Some("meter-7.example")),
        (CertificateUserName::SubjectAltName, "meter 7", email, Some("meter@example.org")),
        (CertificateUserName::SubjectAltName, "meter 7", Vec::new(), None),
        (CertificateUserName::CommonName, "a\0b", Vec::new(), None),
        (CertificateUserName::CommonName, "", Vec::new(), None),
    ];
    for (by, common_name, names, expected) in cases {
        for version in [&TLS12, &TLS13] {
            let mut client = world.client(version, Some(world.identity(common_name, names.clone())));
            let mut server = Server::new(world.transport(by));
            server.talk(&mut client, 333).expect("a handshake");
            assert!(server.layers.is_established());
            assert_eq!(server.layers.certificate_name().as_deref(), expected, "{common_name} {by:?}");
        }
    }
}

#[test]
fn who_has_no_certificate_where_one_is_needed_does_not_come_in() {
    let world = World::new();
    let mut server = Server::new(world.transport(CertificateUserName::CommonName));
    let mut client = world.client(&TLS13, None);
    server.talk(&mut client, 4_096).expect_err("an alert");
    assert!(server.layers.is_over() && !server.layers.is_established());
    assert!(server.layers.take_fault().expect("a reason").to_string().contains("no certificates"));
}

#[test]
fn the_layers_lie_one_within_the_other() {
    let world = World::new();
    let rules = WebSocketRules { path: "/mqtt".into(), origins: Vec::new() };
    let transport =
        Transport { expects_proxy_header: true, websocket: Some(rules), ..world.transport(CertificateUserName::None) };
    let request = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    for part_bytes in [1, 7, 4_096] {
        let (mut server, mut client) = (Server::new(transport.clone()), world.client(&TLS13, None));
        // With the first byte of TLS behind it.
        b"PROXY TCP4 192.0.2.1 198.51.100.7 12345 8884\r\n".chunks(part_bytes).for_each(|part| server.take(part));
        server.talk(&mut client, part_bytes).expect("a handshake");
        assert_eq!(server.peer.to_string(), "192.0.2.1:12345");
        assert!(!server.layers.is_established(), "there is one more");
        client.writer().write_all(request).expect("taken");
        client.writer().write_all(b"\x82\x82\0\0\0\0ab\x89\x80\0\0\0\0\x82\x81\0\0\0\0c").expect("taken");
        let answer = server.talk(&mut client, part_bytes).expect("understood");
        assert!(server.layers.is_established());
        assert!(
            answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n\x8A\0"),
            "{:?}",
            answer.escape_ascii()
        );
        assert_eq!(server.plain, b"abc");
        let sent = server.send([10, 40_000]);
        let got = server.talk(&mut client, part_bytes).expect("understood");
        let head = [&[0x82, 126][..], &(sent.len() as u16).to_be_bytes()].concat();
        assert!(got == [head, sent].concat(), "changed on the way");
        assert!(server.layers.say_farewell(&mut server.work));
        server.wire.extend(&server.work.wire);
        assert_eq!(server.talk(&mut client, part_bytes).expect("understood"), b"\x88\x02\x03\xE8");
        assert!(client.process_new_packets().expect("understood").peer_has_closed());
    }
}

#[test]
fn what_is_told_to_have_left_is_all_of_it_in_the_end() {
    let world = World::new();
    let (mut server, mut client) =
        (Server::new(world.transport(CertificateUserName::None)), world.client(&TLS13, None));
    server.talk(&mut client, 4_096).expect("a handshake");
    let plain = server.send([40_000]).len();
    let mut left = server.work.wire.len();
    let mut gone = Vec::new();
    for sent in [1, 5_000, 0, 20_000] {
        left -= sent;
        gone.push(server.layers.gone(sent, left));
    }
    assert!(gone[0] <= 1 && gone[2] == 0 && gone[1] > 4_900 && gone[3] > 19_000, "{gone:?}");
    gone.push(server.layers.gone(left, 0));
    assert_eq!(gone.iter().sum::<usize>(), plain);
}
