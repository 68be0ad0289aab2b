//! How clients reach the broker, and who they are: the options, and what they come to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use thrum::mqtt::Version;

use crate::transport::{TlsFiles, Wrapping};

/// Ports of brokers where none is given.
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// Where clients are numbered, they come from no more addresses than this.
const SOURCES_MAX: u32 = 65_536;

#[derive(Clone, Debug)]
pub struct Access {
    /// Taken in turn.
    pub brokers: Vec<BrokerAddress>,
    /// Addresses to connect from, taken in turn; none: what the system chooses, but several of loopback for many clients.
    pub sources: Vec<Ipv4Addr>,
    pub wrapping: Wrapping,
    pub version: Version,
    pub keep_alive_secs: u16,
    pub user_name: Option<Rc<str>>,
    pub password: Option<Rc<str>>,
    /// Connections opened a second; zero: as fast as they can be.
    pub ramp: f64,
    /// Who subscribes has a session that outlives its connection.
    pub is_durable: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerAddress {
    /// As it was given: what its certificate must be for.
    pub host: Rc<str>,
    pub address: SocketAddr,
}

impl From<SocketAddr> for BrokerAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), address }
    }
}

impl Access {
    /// Of a broker that is reached plainly.
    pub fn plain(address: SocketAddr, version: Version) -> Self {
        Self {
            brokers: vec![address.into()],
            sources: Vec::new(),
            wrapping: Wrapping::default(),
            version,
            keep_alive_secs: 300,
            user_name: None,
            password: None,
            ramp: 0.0,
            is_durable: false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Protocol {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct AccessOptions {
    /// Where the broker is: a name or an address with its port (without: 1883, or 8883 with TLS); several are taken in
    /// turn
    #[arg(long, short = 'b', value_name = "HOST[:PORT]", value_delimiter = ',', default_value = "127.0.0.1")]
    pub broker: Vec<String>,
    /// Protocol version
    #[arg(long, short = 'V', value_enum, default_value = "3.1.1")]
    pub protocol: Protocol,
    /// IPv4 addresses to connect from, in turn: some, or ranges as in 127.0.0.2-127.0.0.40; each has its own ports,
    /// of which one address has about 28,000 (without: what the system chooses, and to a broker on this machine another
    /// one of 127.0.0.x after each 4,000)
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub source: Vec<SourceRange>,
    /// Name to log in with
    #[arg(long, short = 'u')]
    pub user: Option<String>,
    /// Password to log in with
    #[arg(long, short = 'P')]
    pub password: Option<String>,
    /// Speak TLS
    #[arg(long)]
    pub tls: bool,
    /// Certificates, in PEM, that the broker's one must come from
    #[arg(long, value_name = "FILE", requires = "tls", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    pub ca: PathBuf,
    /// Take any certificate of the broker
    #[arg(long, requires = "tls")]
    pub insecure: bool,
    /// The clients' own certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The key of the clients' own certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Speak WebSocket, at this path
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "/mqtt")]
    pub ws: Option<String>,
    /// Connections opened a second; 0: as fast as they can be
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, value_parser = amount)]
    pub ramp: f64,
    /// Keep alive of the clients; 0: none
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub keep_alive: u16,
    /// Subscribers have durable sessions (Clean Start off; in 5.0 they last for an hour), which stay with the broker; a
    /// publisher's window then counts what is not acknowledged, too, and how long that takes is told
    #[arg(long)]
    pub durable: bool,
}

impl AccessOptions {
    /// Names are resolved and files are read.
    pub fn access(&self) -> Result<Access, String> {
        let own = self.cert.as_deref().zip(self.key.as_deref());
        let tls = match self.tls {
            true => Some(TlsFiles { ca: (!self.insecure).then_some(&self.ca), own }.config()?),
            false => None,
        };
        let web_socket = self.ws.as_ref().map(|path| format!("/{}", path.trim_start_matches('/')).into());
        let port = if self.tls { TLS_PORT } else { PORT };
        Ok(Access {
            brokers: self.broker.iter().map(|broker| resolve(broker, port)).collect::<Result<_, _>>()?,
            sources: self.source.iter().flat_map(|range| range.addresses()).collect(),
            wrapping: Wrapping { tls, web_socket },
            version: match self.protocol {
                Protocol::V311 => Version::V3_1_1,
                Protocol::V5 => Version::V5,
            },
            keep_alive_secs: self.keep_alive,
            user_name: self.user.as_deref().map(Into::into),
            password: self.password.as_deref().map(Into::into),
            ramp: self.ramp,
            is_durable: self.durable,
        })
    }
}

/// A number of seconds, or of things a second.
pub fn amount(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(amount) if (0.0..1e9).contains(&amount) => Ok(amount),
        _ => Err("it is a number from 0 on, below 1000000000".into()),
    }
}

/// An IPv4 address is preferred: it is where brokers listen that listen on one only.
fn resolve(text: &str, port: u16) -> Result<BrokerAddress, String> {
    let words = |error: io::Error| format!("the broker's address {text}: {error}");
    let (host, port) = split_port(text, port)?;
    let mut addresses: Vec<_> = (host, port).to_socket_addrs().map_err(words)?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let address = *addresses.first().ok_or_else(|| format!("the broker's address {text}: there is none"))?;
    Ok(BrokerAddress { host: host.into(), address })
}

/// `host`, `host:port`, `::1` or `[::1]:port`.
fn split_port(text: &str, default: u16) -> Result<(&str, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return Ok((host, default)),
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, port),
            _ => return Ok((text, default)),
        },
    };
    port.parse().map(|port| (host, port)).map_err(|_| format!("the broker's address {text}: {port} is no port"))
}

/// From the first address to the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceRange {
    from: u32,
    to: u32,
}

impl SourceRange {
    fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.from..=self.to).map(Ipv4Addr::from)
    }
}

impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| {
            text.trim().parse::<Ipv4Addr>().map(u32::from).map_err(|_| format!("{text} is no IPv4 address"))
        };
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (from, to) = (address(from)?, address(to)?);
        match to.checked_sub(from) {
            None => Err(format!("{text} ends before it begins")),
            Some(more) if more >= SOURCES_MAX => Err(format!("{text} is more than {SOURCES_MAX} addresses")),
            Some(_) => Ok(Self { from, to }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_addresses_are_one_or_a_range() {
        let addresses = |text: &str| text.parse().map(|range: SourceRange| range.addresses().collect::<Vec<_>>());
        assert_eq!(addresses("127.0.0.9"), Ok(vec![Ipv4Addr::new(127, 0, 0, 9)]));
        let range = addresses("127.0.0.254-127.0.1.1").expect("a range");
        assert_eq!(range.len(), 4);
        assert_eq!(range[3], Ipv4Addr::new(127, 0, 1, 1));
        for bad in ["", "127.0.0", "::1", "127.0.0.2-127.0.0.1", "127.0.0.1-", "0.0.0.0-255.255.255.255"] {
            assert!(addresses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_broker_has_the_port_it_is_given_or_the_usual_one() {
        for (text, host, port) in [
            ("localhost", "localhost", 7),
            ("localhost:18", "localhost", 18),
            ("::1", "::1", 7),
            ("[::1]", "::1", 7),
            ("[::1]:18", "::1", 18),
        ] {
            assert_eq!(split_port(text, 7), Ok((host, port)), "{text}");
        }
        assert!(split_port("localhost:", 7).is_err() && split_port("localhost:70000", 7).is_err());
        let resolved = resolve("127.0.0.1:18", 7).expect("an address");
        assert_eq!(resolved.address, SocketAddr::from((Ipv4Addr::LOCALHOST, 18)));
        assert!(resolve("no.such.name.invalid", 7).is_err());
    }
}
