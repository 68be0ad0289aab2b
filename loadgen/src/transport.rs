//! What is between MQTT's bytes and the socket's: nothing, TLS, WebSocket, or WebSocket in TLS. Without a socket: bytes
//! in, bytes out.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tungstenite::client::{ClientRequestBuilder, client_with_config};
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::http::Uri;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Bytes, Message, WebSocket};

/// [MQTT-6.0.0-3] [MQTT-6.0.0-4]
const SUBPROTOCOL: &str = "mqtt";

/// Of a WebSocket, which has one of its own; many of them must fit into memory.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// How clients speak to the broker.
#[derive(Clone, Default, Debug)]
pub struct Wrapping {
    pub tls: Option<Arc<ClientConfig>>,
    /// The path of a WebSocket.
    pub web_socket: Option<Rc<str>>,
}

/// One client's TLS, WebSocket, or both.
#[derive(Debug)]
pub struct Transport {
    tls: Option<ClientConnection>,
    web_socket: Option<WebSocketEnd>,
}

/// Why the other side's bytes make no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportError(pub String);

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<rustls::Error> for TransportError {
    fn from(error: rustls::Error) -> Self {
        Self(format!("TLS: {error}"))
    }
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        Self(format!("TLS: {error}"))
    }
}

impl From<tungstenite::Error> for TransportError {
    fn from(error: tungstenite::Error) -> Self {
        Self(format!("WebSocket: {error}"))
    }
}

impl Wrapping {
    pub const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.web_socket.is_none()
    }

    /// For one connection; none where MQTT is spoken plainly. `host` is what the broker's certificate must be for.
    pub fn begin(&self, host: &str, port: u16, wire: &mut Vec<u8>) -> Result<Option<Box<Transport>>, TransportError> {
        if self.is_plain() {
            return Ok(None);
        }
        let tls = match &self.tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| TransportError(format!("TLS: {host} is no name of a server")))?;
                let mut tls = ClientConnection::new(Arc::clone(config), name)?;
                // What a client sends is bounded by its window.
                tls.set_buffer_limit(None);
                Some(tls)
            }
        };
        let web_socket = match &self.web_socket {
            None => None,
            Some(path) => Some(WebSocketEnd::new(host, port, path)?),
        };
        let mut transport = Transport { tls, web_socket };
        transport.seal(&[], wire)?;
        Ok(Some(transport.into()))
    }
}

impl Transport {
    /// Appends to `wire` what the socket is to be sent for `plain`; what has to wait for a handshake comes later.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), TransportError> {
        let framed = match &mut self.web_socket {
            Some(web_socket) => {
                web_socket.send(plain)?;
                Some(web_socket.take_output())
            }
            None => None,
        };
        let bytes = framed.as_deref().unwrap_or(plain);
        match &mut self.tls {
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                write_tls(tls, wire)
            }
            None => {
                wire.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Takes what came from the socket: appends MQTT's bytes to `plain`, and to `wire` what has to be answered.
    pub fn open(&mut self, mut input: &[u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), TransportError> {
        let Some(tls) = &mut self.tls else { return self.open_framed(input, plain, wire) };
        let mut opened = Vec::new();
        let into = if self.web_socket.is_some() { &mut opened } else { &mut *plain };
        while !input.is_empty() {
            tls.read_tls(&mut input)?;
            let result = tls.process_new_packets();
            let before = into.len();
            match result {
                Ok(state) => into.resize(before + state.plaintext_bytes_to_read(), 0),
                Err(error) => {
                    // The alert that says why.
                    write_tls(tls, wire)?;
                    return Err(error.into());
                }
            }
            tls.reader().read_exact(&mut into[before..])?;
        }
        write_tls(tls, wire)?;
        if self.web_socket.is_some() { self.open_framed(&opened, plain, wire) } else { Ok(()) }
    }

    fn open_framed(&mut self, input: &[u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), TransportError> {
        if let Some(web_socket) = &mut self.web_socket {
            web_socket.receive(input, plain)?;
        }
        self.seal(&[], wire)
    }
}

fn write_tls(tls: &mut ClientConnection, wire: &mut Vec<u8>) -> Result<(), TransportError> {
    while tls.wants_write() {
        tls.write_tls(wire)?;
    }
    Ok(())
}

/// The client's end of a WebSocket.
enum WebSocketEnd {
    /// With what is to be sent when it is open.
    Opening(Box<MidHandshake<ClientHandshake<Pipe>>>, Vec<u8>),
    Open(Box<WebSocket<Pipe>>),
    /// While it changes, and after an error.
    Gone,
}

impl fmt::Debug for WebSocketEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening(..) => "Opening",
            Self::Open(_) => "Open",
            Self::Gone => "Gone",
        })
    }
}

impl WebSocketEnd {
    fn new(host: &str, port: u16, path: &str) -> Result<Self, TransportError> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let uri: Uri = format!("ws://{host}:{port}{path}")
            .parse()
            .map_err(|error| TransportError(format!("WebSocket: {path} is no path: {error}")))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        let config =
            WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).max_message_size(None).max_frame_size(None);
        Self::after(client_with_config(request, Pipe::default(), Some(config)), Vec::new())
    }

    /// The next state of a handshake.
    fn after<T>(
        result: Result<(WebSocket<Pipe>, T), HandshakeError<ClientHandshake<Pipe>>>,
        waiting: Vec<u8>,
    ) -> Result<Self, TransportError> {
        match result {
            Ok((web_socket, _)) => {
                let mut end = Self::Open(web_socket.into());
                end.send(&waiting)?;
                Ok(end)
            }
            Err(HandshakeError::Interrupted(handshake)) => Ok(Self::Opening(handshake.into(), waiting)),
            Err(HandshakeError::Failure(error)) => Err(error.into()),
        }
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), TransportError> {
        match self {
            _ if plain.is_empty() => {}
            Self::Opening(_, waiting) => waiting.extend_from_slice(plain),
            // [MQTT-6.0.0-1]
            Self::Open(web_socket) => web_socket.send(Message::Binary(Bytes::copy_from_slice(plain)))?,
            Self::Gone => {}
        }
        Ok(())
    }

    fn receive(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), TransportError> {
        if let Some(pipe) = self.pipe() {
            pipe.input.extend_from_slice(input);
        }
        if let Self::Opening(..) = self {
            let Self::Opening(handshake, waiting) = std::mem::replace(self, Self::Gone) else { return Ok(()) };
            *self = Self::after(handshake.handshake(), waiting)?;
        }
        let Self::Open(web_socket) = self else { return Ok(()) };
        loop {
            match web_socket.read() {
                Ok(Message::Binary(bytes)) => plain.extend_from_slice(&bytes),
                // [MQTT-6.0.0-1]
                Ok(Message::Text(_)) => return Err(TransportError("WebSocket: a text frame".into())),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        match self {
            Self::Opening(handshake, _) => Some(handshake.get_mut().get_mut()),
            Self::Open(web_socket) => Some(web_socket.get_mut()),
            Self::Gone => None,
        }
    }

    fn take_output(&mut self) -> Vec<u8> {
        self.pipe().map(|pipe| std::mem::take(&mut pipe.output)).unwrap_or_default()
    }
}

/// Stands for a socket: what came and was not read yet, and what is to be sent.
#[derive(Default, Debug)]
struct Pipe {
    input: Vec<u8>,
    /// Of the input, what was read.
    read: usize,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.read..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        self.read += bytes;
        if self.read == self.input.len() {
            self.input.clear();
            self.read = 0;
        }
        Ok(bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What TLS trusts, and who the client is to it.
#[derive(Clone, Copy, Debug)]
pub struct TlsFiles<'a> {
    /// Certificates that the broker's one must come from; none: any will do.
    pub ca: Option<&'a Path>,
    /// The client's own certificate, with its key.
    pub own: Option<(&'a Path, &'a Path)>,
}

impl TlsFiles<'_> {
    /// Each connection makes its own handshake, as clients on different machines do.
    pub fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self.ca {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        };
        let mut config = match self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| words(key, &error))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, key)
                    .map_err(|error| words(certificate, &error))?
            }
        };
        config.resumption = Resumption::disabled();
        Ok(config.into())
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 { Err(format!("{}: no certificate in it", path.display())) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| words(path, &error))?;
    certificates.collect::<Result<_, _>>().map_err(|error| words(path, &error))
}

fn words(path: &Path, error: &impl fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

/// Takes any certificate; that the broker has its key is still verified.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
