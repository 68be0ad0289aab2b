//! Where a connection comes from, in 18 bytes.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv4 address is kept as the IPv6 address that it is mapped to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    ip: [u8; 16],
    port: u16,
}

impl Peer {
    /// Somebody on this machine, by a Unix socket. Nobody comes from `[::]:0`.
    pub const UNIX: Self = Self { ip: [0; 16], port: 0 };

    /// None on a Unix socket.
    pub fn address(self) -> Option<SocketAddr> {
        (self != Self::UNIX).then(|| (Ipv6Addr::from(self.ip).to_canonical(), self.port).into())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: address.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was() {
        for text in ["127.0.0.1:1883", "[::1]:8883", "[2001:db8::17]:65535"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(Peer::from(address).address(), Some(address));
            assert_eq!(Peer::from(address).to_string(), text);
        }
        assert_eq!((Peer::UNIX.address(), Peer::UNIX.to_string()), (None, "unix".to_owned()));
        assert_eq!(size_of::<Peer>(), 18);
    }
}
