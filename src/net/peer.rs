//! Where a connection comes from, in 18 bytes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IPv4 address is kept as the IPv6 address that it is mapped to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    ip: [u8; 16],
    port: u16,
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

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> Self {
        (Ipv6Addr::from(peer.ip).to_canonical(), peer.port).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was() {
        for text in ["127.0.0.1:1883", "[::1]:8883", "[2001:db8::17]:65535"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(SocketAddr::from(Peer::from(address)), address);
        }
        assert_eq!(size_of::<Peer>(), 18);
    }
}
