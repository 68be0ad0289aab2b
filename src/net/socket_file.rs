//! The file of a Unix socket: made, given to who may use it, removed at the end. One that a dead broker left behind is
//! replaced; one that somebody answers at is not.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{SockAddr, Socket};

use super::address::UnixAddress;

#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: what has the name at the end may be somebody else's.
    identity: (u64, u64),
}

impl SocketFile {
    /// Fails where a socket could not be bound.
    pub(super) fn probe(path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(file) if !file.file_type().is_socket() => {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name, which is no socket"))
            }
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
                Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            },
        }
    }

    /// Nobody can connect before the socket listens, so that nobody does before the file is as it should be.
    pub(super) fn bind(socket: &Socket, address: &UnixAddress) -> io::Result<Self> {
        let path = &address.path;
        Self::probe(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        socket.bind(&SockAddr::unix(path)?)?;
        let made = fs::symlink_metadata(path)?;
        let file = Self { path: path.clone(), identity: (made.dev(), made.ino()) };
        if address.owner.is_some() || address.group.is_some() {
            chown(path, address.owner, address.group)?;
        }
        if let Some(mode) = address.mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity);
        if is_ours {
            // What cannot be removed is replaced by the next one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use socket2::{Domain, Type};

    use super::*;

    fn bind(path: &Path) -> io::Result<(Socket, SocketFile)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let address = UnixAddress { path: path.into(), mode: None, owner: None, group: None };
        SocketFile::bind(&socket, &address).map(|file| (socket, file))
    }

    #[test]
    fn what_a_dead_broker_left_is_replaced_and_what_is_alive_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let alive = UnixListener::bind(&path).expect("a socket");
        assert_eq!(bind(&path).map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
        drop(alive);
        assert!(path.exists());
        let ours = bind(&path).expect("nobody has it");
        drop(ours);
        assert!(!path.exists());
        fs::write(&path, "somebody's words").expect("written");
        assert_eq!(bind(&path).map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).expect("it is still there"), b"somebody's words");
    }

    #[test]
    fn a_file_that_is_somebody_elses_by_now_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let (socket, file) = bind(&path).expect("a socket");
        // The old one is kept by another name, so that its inode is not given away again.
        fs::rename(&path, folder.path().join("old")).expect("renamed");
        let _other = UnixListener::bind(&path).expect("a socket");
        drop((socket, file));
        assert!(path.exists());
    }
}
