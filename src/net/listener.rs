//! Listening sockets: one for each shard on the same address, so that the kernel spreads the connections. TCP is an
//! ordered, lossless stream of bytes both ways. [MQTT-4.2.0-1]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, Socket, Type};

use super::peer::Peer;

/// Connections that the kernel holds for us; it takes the lower of this and net.core.somaxconn.
const BACKLOG: i32 = 65_535;

#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

/// What asking for a connection gave.
#[derive(Debug)]
pub enum Accepted {
    Connection(OwnedFd, Peer),
    /// No more until the poller tells of some.
    Nothing,
    /// There may be connections, but none can be had, for want of descriptors or memory: try again later.
    Exhausted(io::Error),
}

impl Listener {
    /// Fails where another process has the address, which sharing it between shards would hide.
    pub fn probe(address: SocketAddr) -> io::Result<()> {
        bound(address, Type::STREAM, |_| Ok(()))?.listen(1)
    }

    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = bound(address, Type::STREAM.nonblocking(), |socket| {
            socket.set_reuse_port(true)?;
            // Connections inherit it.
            socket.set_tcp_nodelay(true)
        })?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or_else(|| io::Error::other("a listener without an internet address"))
    }

    pub fn accept(&self) -> Accepted {
        loop {
            match rustix::net::acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let Some(address) = address else { continue };
                    return Accepted::Connection(socket, address.into());
                }
                Err(Errno::AGAIN) => return Accepted::Nothing,
                // What went wrong is the one connection that was to be accepted: it is gone already. (accept(2))
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NOPROTOOPT
                    | Errno::OPNOTSUPP
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NONET,
                ) => {}
                Err(error) => return Accepted::Exhausted(error.into()),
            }
        }
    }
}

/// A socket on the address, with what has to be `set` before it is.
fn bound(address: SocketAddr, kind: Type, set: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // It is that and nothing else, so that 0.0.0.0 and [::] can stand side by side.
        socket.set_only_v6(true)?;
    }
    set(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn shards_share_an_address_that_nobody_else_may_have() {
        let first = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let address = first.address().expect("an address");
        let _second = Listener::bind(address).expect("the same port");
        assert_eq!(Listener::probe(address).map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
        drop((first, _second));
        Listener::probe(address).expect("the port is free again");
    }

    #[test]
    fn a_connection_is_accepted_once_with_its_address() {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        assert!(matches!(listener.accept(), Accepted::Nothing));
        let client = TcpStream::connect(listener.address().expect("an address")).expect("a connection");
        let Accepted::Connection(_, peer) = listener.accept() else { panic!("nobody came") };
        assert_eq!(SocketAddr::from(peer), client.local_addr().expect("an address"));
        assert!(matches!(listener.accept(), Accepted::Nothing));
    }
}
