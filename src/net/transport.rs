//! What lies between a socket and MQTT, as a listener has it: from the outside in a PROXY header, TLS, WebSocket.

use std::sync::Arc;

use rustls::ServerConfig;

#[derive(Clone, Default, Debug)]
pub struct Transport {
    /// Each connection begins with a PROXY header (version 1 or 2) that says who it is from; one without is refused.
    pub expects_proxy_header: bool,
    pub tls: Option<TlsRules>,
    pub websocket: Option<WebSocketRules>,
}

#[derive(Clone, Debug)]
pub struct TlsRules {
    pub config: Arc<ServerConfig>,
    pub user_name: CertificateUserName,
}

/// What of a client's certificate is its user's name.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CertificateUserName {
    #[default]
    None,
    CommonName,
    /// The first DNS name, e-mail address or URI among them.
    SubjectAltName,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketRules {
    pub path: Box<str>,
    /// Where pages may come from; empty: anywhere.
    pub origins: Vec<Box<str>>,
}
