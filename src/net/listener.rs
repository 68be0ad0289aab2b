//! Listening sockets. On an internet address each shard has one of its own, so that the kernel spreads the connections;
//! a Unix socket is one that all shards accept from. Both are ordered, lossless streams of bytes both ways.
//! [MQTT-4.2.0-1]

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, Socket, Type};

use super::address::ListenAddress;
use super::peer::Peer;
use super::socket_file::SocketFile;

/// Connections that the kernel holds for us; it takes the lower of this and net.core.somaxconn.
const BACKLOG: i32 = 65_535;

#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ListenAddress,
    /// Of a Unix socket: it goes with the last of those who share it.
    file: Option<Arc<SocketFile>>,
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
    pub fn probe(address: &ListenAddress) -> io::Result<()> {
        match address {
            ListenAddress::Internet { address, dual_stack } => {
                bound(*address, *dual_stack, Type::STREAM, |_| Ok(()))?.listen(1)
            }
            ListenAddress::Unix(unix) => SocketFile::probe(&unix.path),
        }
    }

    /// The first listener on an address; other shards `share` it.
    pub fn bind(address: &ListenAddress) -> io::Result<Self> {
        let (socket, address, file) = match address {
            ListenAddress::Internet { address, dual_stack } => {
                let socket = bound(*address, *dual_stack, Type::STREAM.nonblocking(), |socket| {
                    socket.set_reuse_port(true)?;
                    // Connections inherit it.
                    socket.set_tcp_nodelay(true)
                })?;
                // Where the port was left to the kernel, those who share it are to have the same.
                let port = socket.local_addr()?.as_socket().map_or(address.port(), |bound| bound.port());
                let address = SocketAddr::new(address.ip(), port);
                (socket, ListenAddress::Internet { address, dual_stack: *dual_stack }, None)
            }
            ListenAddress::Unix(unix) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
                let file = SocketFile::bind(&socket, unix)?;
                (socket, ListenAddress::Unix(unix.clone()), Some(Arc::new(file)))
            }
        };
        socket.listen(BACKLOG)?;
        Ok(Self { socket, address, file })
    }

    /// Another listener for the same clients.
    pub fn share(&self) -> io::Result<Self> {
        match &self.file {
            None => Self::bind(&self.address),
            Some(file) => {
                let (socket, address) = (self.socket.try_clone()?, self.address.clone());
                Ok(Self { socket, address, file: Some(Arc::clone(file)) })
            }
        }
    }

    /// With the port that the kernel chose, where it was to.
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }

    pub fn accept(&self) -> Accepted {
        loop {
            match rustix::net::acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, _)) if self.file.is_some() => return Accepted::Connection(socket, Peer::UNIX),
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
fn bound(
    address: SocketAddr,
    dual_stack: bool,
    kind: Type,
    set: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Without dual stack it is that and nothing else, so that 0.0.0.0 and [::] can stand side by side; and an
        // address that is not `[::]` has no second stack.
        let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        socket.set_only_v6(!(dual_stack && is_any))?;
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
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::Duration;

    use super::super::address::UnixAddress;
    use super::super::poller::Poller;
    use super::*;

    fn on(address: impl Into<SocketAddr>) -> ListenAddress {
        address.into().into()
    }

    fn port(listener: &Listener) -> u16 {
        listener.address().internet().expect("an internet address").port()
    }

    fn unix(path: &Path) -> ListenAddress {
        ListenAddress::Unix(UnixAddress { path: path.into(), mode: Some(0o620), owner: None, group: None })
    }

    #[test]
    fn shards_share_an_address_that_nobody_else_may_have() {
        let first = Listener::bind(&on((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let second = first.share().expect("the same port");
        let address = first.address().clone();
        assert_eq!(second.address(), &address);
        assert_eq!(Listener::probe(&address).map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
        drop((first, second));
        Listener::probe(&address).expect("the port is free again");
    }

    #[test]
    fn a_connection_is_accepted_once_with_its_address() {
        let listener = Listener::bind(&on((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        assert!(matches!(listener.accept(), Accepted::Nothing));
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listener))).expect("a connection");
        let Accepted::Connection(_, peer) = listener.accept() else { panic!("nobody came") };
        assert_eq!(peer.address(), Some(client.local_addr().expect("an address")));
        assert!(matches!(listener.accept(), Accepted::Nothing));
    }

    #[test]
    fn an_address_of_ipv6_takes_ipv4_where_it_is_dual_stack() {
        for dual_stack in [false, true] {
            let address = (Ipv6Addr::UNSPECIFIED, 0).into();
            let Ok(listener) = Listener::bind(&ListenAddress::Internet { address, dual_stack }) else {
                return eprintln!("NOT RUN: there is no IPv6");
            };
            let by_ipv4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listener)));
            assert_eq!(by_ipv4.is_ok(), dual_stack);
            if let Ok(client) = by_ipv4 {
                let Accepted::Connection(_, peer) = listener.accept() else { panic!("nobody came") };
                assert_eq!(peer.address(), Some(client.local_addr().expect("an address")));
            }
        }
    }

    #[test]
    fn a_unix_socket_is_shared_and_goes_with_the_last_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let first = Listener::bind(&unix(&path)).expect("a socket");
        let second = first.share().expect("the same");
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, 0o620);
        let mut pollers = [Poller::new().expect("an epoll set"), Poller::new().expect("an epoll set")];
        pollers[0].add_listener(&first, 1).expect("added");
        pollers[1].add_listener(&second, 2).expect("added");
        let _client = UnixStream::connect(&path).expect("connected");
        pollers.iter_mut().for_each(|poller| poller.wait(Some(Duration::ZERO)));
        assert!(pollers.iter().any(|poller| !poller.is_empty()));
        let Accepted::Connection(_, peer) = second.accept() else { panic!("nobody came") };
        assert_eq!(peer, Peer::UNIX);
        assert!(matches!(first.accept(), Accepted::Nothing));
        drop(first);
        UnixStream::connect(&path).expect("one is left");
        drop(second);
        assert!(!path.exists(), "it goes with the last");
    }
}
