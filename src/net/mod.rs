//! L4: sockets. A shard owns a poller and its connections; nothing here blocks, and nothing knows MQTT but the output
//! buffers that the core fills. What lies between a socket and MQTT (a PROXY header, TLS, WebSocket) is layers, each a file that
//! takes bytes and gives bytes.

mod address;
mod connection;
mod doorbell;
mod fault;
mod filling;
mod layers;
#[cfg(test)]
mod layers_tests;
mod lingering;
mod listener;
mod peer;
mod poller;
mod proxy;
mod socket_file;
mod tls;
mod transport;
mod unsent;
mod upgrade;
mod websocket;

pub use address::{ListenAddress, UnixAddress};
pub use connection::{Connection, Received, Unread};
pub use doorbell::ready_or_timeout;
pub use fault::Fault;
pub use filling::Filling;
pub use layers::Workspace;
pub use lingering::Lingering;
pub use listener::{Accepted, Listener};
pub use peer::Peer;
pub use poller::{Poller, Readiness};
pub use proxy::ProxyHeader;
pub use transport::{CertificateUserName, TlsRules, Transport, WebSocketRules};
pub use unsent::Unsent;
pub use websocket::WebSocket;
