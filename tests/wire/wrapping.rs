//! What a client has around MQTT: nothing, TLS, WebSocket, or both.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::{fs, vec};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How clients come to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

impl Reach {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::WebSocket, Self::SecureWebSocket];

    const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    const fn has_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }

    /// What a listener has besides its address, with what it needs in the folder.
    pub(crate) fn listener(self, folder: &Path) -> String {
        let mut text = String::new();
        if self.has_tls() {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            let [certificate, key] = [CERTIFICATE, KEY].map(|name| folder.join(name));
            fs::write(&certificate, made.cert.pem()).expect("a file");
            fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
            text += &format!("certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
        }
        if self.has_websocket() {
            text += "websocket = true\n";
        }
        text
    }

    /// What a client has around MQTT; `folder` has the certificate to trust.
    pub(crate) fn wrap(self, stream: &mut TcpStream, folder: &Path) -> Option<Box<Wrapping>> {
        if self == Self::Tcp {
            return None;
        }
        let tls = self.has_tls().then(|| begin_tls(&folder.join(CERTIFICATE)));
        let mut wrapping =
            Wrapping { tls, is_ended: false, is_websocket: false, frames: Vec::new(), read: Vec::new().into_iter() };
        if self.has_websocket() {
            wrapping.upgrade(stream).expect("WebSocket is spoken");
        }
        Some(Box::new(wrapping))
    }
}

fn begin_tls(certificate: &Path) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    roots.add(certificate).expect("a certificate");
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"mqtt".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

#[derive(Debug)]
pub(crate) struct Wrapping {
    tls: Option<ClientConnection>,
    /// We have said that nothing more will come, and need not be told the same.
    is_ended: bool,
    is_websocket: bool,
    /// Of frames, what came and is not whole.
    frames: Vec<u8>,
    /// What a frame held and was not asked for yet.
    read: vec::IntoIter<u8>,
}

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

impl Wrapping {
    fn upgrade(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        self.write_inside(stream, request.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.read_inside(stream, &mut byte)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            answer.extend(byte);
        }
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        // RFC 6455, 1.3: what this key is answered with.
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
        assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
        self.is_websocket = true;
        Ok(())
    }

    /// One frame, where it is WebSocket.
    pub(crate) fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        if self.is_websocket {
            self.write_inside(stream, &frame(BINARY, bytes))
        } else {
            self.write_inside(stream, bytes)
        }
    }

    pub(crate) fn read(&mut self, stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
        if !self.is_websocket {
            return self.read_inside(stream, chunk);
        }
        loop {
            let bytes = self.read.by_ref().take(chunk.len()).zip(chunk.iter_mut()).map(|(from, to)| *to = from).count();
            if bytes > 0 {
                return Ok(bytes);
            }
            match self.take_frame() {
                Some((BINARY, payload)) => self.read = payload.into_iter(),
                Some((CLOSE, _)) => return Ok(0),
                Some((first, _)) => panic!("a frame that begins with {first:02x}"),
                None => {
                    let mut more = [0; 16 << 10];
                    match self.read_inside(stream, &mut more)? {
                        0 => panic!("the end, without a Close frame"),
                        bytes => self.frames.extend_from_slice(&more[..bytes]),
                    }
                }
            }
        }
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&mut self, stream: &mut TcpStream) {
        if self.is_websocket {
            let _ = self.write_inside(stream, &frame(CLOSE, &1000u16.to_be_bytes()));
        }
        self.is_ended = true;
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(stream);
        }
        let _ = stream.shutdown(Shutdown::Write);
    }

    fn write_inside(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, stream).write_all(bytes),
            None => stream.write_all(bytes),
        }
    }

    fn read_inside(&mut self, stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => match rustls::Stream::new(tls, stream).read(chunk) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.is_ended => Ok(0),
                result => result,
            },
            None => stream.read(chunk),
        }
    }

    /// The next frame with its first byte, where it is whole. A server does not mask. (RFC 6455, 5.1)
    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let &[first, length, ..] = &self.frames[..] else { return None };
        assert!(length < 0x80, "a masked frame from a server");
        let (head, bytes) = match length {
            126 => (4, usize::from(u16::from_be_bytes(self.frames.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(self.frames.get(2..10)?.try_into().ok()?) as usize),
            short => (2, usize::from(short)),
        };
        let payload = self.frames.get(head..head + bytes)?.to_vec();
        self.frames.drain(..head + bytes);
        Some((first, payload))
    }
}

/// A client's frame, masked. (RFC 6455, 5.3)
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
