//! Where a listener listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ListenAddress {
    /// `[::]` is IPv6 and nothing else, unless it is `dual_stack`.
    Internet {
        address: SocketAddr,
        dual_stack: bool,
    },
    Unix(UnixAddress),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UnixAddress {
    pub path: PathBuf,
    /// As in chmod; None: as the process's umask has it.
    pub mode: Option<u32>,
    /// Numbers of user and group; None: the process's.
    pub owner: Option<u32>,
    pub group: Option<u32>,
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Internet { address, dual_stack: false }
    }
}

impl ListenAddress {
    /// None of a Unix socket.
    pub const fn internet(&self) -> Option<SocketAddr> {
        match self {
            Self::Internet { address, .. } => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet { address, .. } => address.fmt(f),
            Self::Unix(unix) => write!(f, "unix:{}", unix.path.display()),
        }
    }
}
