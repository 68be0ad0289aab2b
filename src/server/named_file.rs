//! Files that the configuration names: read whole, and their secrets wiped from memory when they are no longer needed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// No list of users or certificates is longer, and a device or a mistake does not fill the memory.
const BYTES_MAX: u64 = 256 << 20;

/// The permission of everybody to read. (inode(7))
const OTHERS_READ: u32 = 0o004;

/// What is read, and what of it should be told though it can be used.
#[derive(Default, Debug)]
pub(super) struct Reading {
    pub(super) warnings: Vec<String>,
}

impl Reading {
    pub(super) fn text(&mut self, path: &Path) -> Result<Zeroizing<String>, String> {
        text(path, &self.bytes(path)?)
    }

    pub(super) fn secret_text(&mut self, path: &Path) -> Result<Zeroizing<String>, String> {
        text(path, &self.secret(path)?)
    }

    pub(super) fn bytes(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        read(path, BYTES_MAX).map(|(bytes, _)| bytes).map_err(|error| cannot_read(path, &error))
    }

    /// What nobody else is to know.
    pub(super) fn secret(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        let (bytes, mode) = read(path, BYTES_MAX).map_err(|error| cannot_read(path, &error))?;
        if mode & OTHERS_READ != 0 {
            let path = path.display();
            self.warnings.push(format!("everybody on this machine may read the secrets in {path}: chmod o-r {path}"));
        }
        Ok(bytes)
    }
}

fn text(path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, String> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        format!("{}:{line}: is not UTF-8", path.display())
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

/// With the file's permissions.
fn read(path: &Path, bytes_max: u64) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let metadata = path.metadata()?;
    // Another thing than a file might never end, or never begin.
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let file = File::open(path)?;
    let too_long = || io::Error::other(format!("it has more than {bytes_max} bytes"));
    let bytes = usize::try_from(metadata.len().min(bytes_max)).map_err(|_| too_long())?;
    // With room to find its end: bytes that moved to another place would stay behind in the first.
    let mut content = Zeroizing::new(Vec::with_capacity(bytes + 1));
    file.take(bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max { Err(too_long()) } else { Ok((content, metadata.mode())) }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_read_whole_and_no_further_than_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().0.as_slice(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "it has more than 4 bytes");
        assert_eq!(read(folder.path(), 4).unwrap_err().to_string(), "it is not a file");
        let error = Reading::default().bytes(Path::new("missing")).unwrap_err();
        assert_eq!(error, "cannot read missing: No such file or directory (os error 2)");
    }

    #[test]
    fn a_secret_that_everybody_may_read_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write(&path, "secret").unwrap();
        let warnings = |mode| {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let mut reading = Reading::default();
            assert_eq!(reading.secret(&path).unwrap().as_slice(), b"secret");
            reading.warnings
        };
        assert_eq!(warnings(0o640), [""; 0]);
        let name = path.display();
        let warning = format!("everybody on this machine may read the secrets in {name}: chmod o-r {name}");
        assert_eq!(warnings(0o644), [warning]);
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        write(&path, b"a:b\n\xff\n").unwrap();
        let error = Reading::default().text(&path).unwrap_err();
        assert_eq!(error, format!("{}:2: is not UTF-8", path.display()));
    }
}
