//! Why a connection's layers have ended it.

use std::fmt;

#[derive(Debug)]
pub enum Fault {
    /// No PROXY header where one has to be.
    Proxy(&'static str),
    Tls(rustls::Error),
    /// The handshake takes more bytes than it may.
    LongHandshake,
    WebSocket(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(what) => write!(f, "PROXY header: {what}"),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::LongHandshake => f.write_str("TLS: the handshake is too long"),
            Self::WebSocket(what) => write!(f, "WebSocket: {what}"),
        }
    }
}
