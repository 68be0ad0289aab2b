//! TLS of one connection. What comes is decrypted where it lies; what is not a whole record, or not a whole message of the
//! handshake, is kept until more comes. rustls remembers where in those bytes a message has begun, and falls over where it is
//! given others: so it is never asked anything without them, and nothing at all once it has failed.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fault::Fault;
use super::transport::CertificateUserName;

/// What a client may say before it is in: a long chain of certificates fits.
const HANDSHAKE_BYTES_MAX: usize = 48 * 1024;

/// What a record of the largest size, or the end of one, needs beside its content, and more.
const RECORD_OVERHEAD_MAX: usize = 128;

/// What a record contains at most.
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    handshake_bytes: usize,
    /// What came and cannot be used before more comes.
    kept: Vec<u8>,
    is_failed: bool,
    /// The client has said that it sends nothing more.
    pub(super) is_ended: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({:?})", self.connection.protocol_version())
    }
}

impl Tls {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Self, Fault> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config)).map_err(Fault::Tls)?;
        Ok(Self { connection, handshake_bytes: 0, kept: Vec::new(), is_failed: false, is_ended: false })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What has to stand before what is read next.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Takes what was kept and behind it what came. What is to be answered goes to `wire`: even where it fails, for the
    /// client is told why.
    pub(super) fn take_in(
        &mut self,
        raw: &mut [u8],
        wire: &mut Vec<u8>,
        deliver: impl FnMut(&[u8]),
    ) -> Result<(), Fault> {
        if self.is_handshaking() {
            self.handshake_bytes += raw.len() - self.kept.len();
        }
        let taken = self.process(raw, wire, deliver).and_then(|used| {
            let is_long = self.handshake_bytes.max(raw.len() - used) > HANDSHAKE_BYTES_MAX;
            if is_long { Err(Fault::LongHandshake) } else { Ok(used) }
        });
        self.is_failed = taken.is_err();
        taken.map(|used| self.kept = raw[used..].to_vec())
    }

    fn process(&mut self, raw: &mut [u8], wire: &mut Vec<u8>, mut deliver: impl FnMut(&[u8])) -> Result<usize, Fault> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut raw[used..]);
            let has_more = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(Fault::Tls)?;
                        discard += record.discard;
                        deliver(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, wire),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_ended = true;
                    true
                }
                Ok(ConnectionState::ReadEarlyData(_)) => return Err(Fault::Tls(Error::General("early data".into()))),
                Ok(_) => false,
                Err(error) => {
                    self.put_alert(&mut raw[used + discard..], wire);
                    return Err(Fault::Tls(error));
                }
            };
            used += discard;
            if !has_more {
                return Ok(used);
            }
        }
    }

    /// What a connection that has failed says of it; what it has to say comes before it looks at anything.
    fn put_alert(&mut self, raw: &mut [u8], wire: &mut Vec<u8>) {
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = self.connection.process_tls_records(raw).state
        {
            encode(&mut data, wire);
        }
    }

    pub(super) fn encrypt(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Fault> {
        let bytes = plain.len() + (1 + plain.len() / RECORD_BYTES_MAX) * RECORD_OVERHEAD_MAX;
        self.write(bytes, wire, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Says that nothing more will come.
    pub(super) fn put_close_notify(&mut self, wire: &mut Vec<u8>) -> Result<(), Fault> {
        self.write(RECORD_OVERHEAD_MAX, wire, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        mut bytes_max: usize,
        wire: &mut Vec<u8>,
        put: impl Fn(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Fault> {
        if self.is_failed {
            return Err(Fault::Tls(Error::HandshakeNotComplete));
        }
        loop {
            match self.connection.process_tls_records(&mut self.kept).state.map_err(Fault::Tls)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let before = wire.len();
                    wire.resize(before + bytes_max, 0);
                    let put = put(&mut traffic, &mut wire[before..]);
                    wire.truncate(before + *put.as_ref().unwrap_or(&0));
                    match put {
                        Ok(_) => return Ok(()),
                        Err(EncryptError::InsufficientSize(size)) => bytes_max = size.required_size,
                        Err(EncryptError::EncryptExhausted) => return Err(Fault::Tls(Error::EncryptError)),
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => _ = encode(&mut data, wire),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.is_ended = true,
                _ => return Err(Fault::Tls(Error::HandshakeNotComplete)),
            }
        }
    }

    /// Whom the client's certificate names.
    pub(super) fn user_name(&self, by: CertificateUserName) -> Option<Box<str>> {
        let certificate = self.connection.peer_certificates()?.first()?;
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let name = match by {
            CertificateUserName::None => None,
            CertificateUserName::CommonName => certificate.subject().iter_common_name().next()?.as_str().ok(),
            CertificateUserName::SubjectAltName => {
                let names = certificate.subject_alternative_name().ok()??.value.general_names.iter();
                names.clone().find_map(|name| match name {
                    GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some(*name),
                    _ => None,
                })
            }
        };
        // What no user name of a CONNECT can be is nobody's.
        name.filter(|name| !name.is_empty() && !name.contains(char::is_control)).map(Into::into)
    }
}

/// True: there may be more to do.
fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, wire: &mut Vec<u8>) -> bool {
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        let before = wire.len();
        wire.resize(before + size.required_size, 0);
        // There is as much room as it asked for.
        let _ = data.encode(&mut wire[before..]);
    }
    true
}
