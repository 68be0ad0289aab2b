//! A file of secrets that is changed as a whole: whoever reads it meanwhile, and whoever is broken off, finds the old one or
//! the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use zeroize::Zeroizing;

/// Nobody else has to do with it.
const MODE: u32 = 0o600;

/// So that a slip in a path does not fill the memory.
const BYTES_MAX: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    /// What is written, by one process at a time; None: it has taken the place of the old one.
    new: Option<PathBuf>,
    writer: File,
    /// None: there is no such file yet.
    old: Option<fs::Metadata>,
    text: Zeroizing<String>,
}

impl SecretFile {
    /// One that must not be there yet.
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        let made = Self::beside(path.to_path_buf())?;
        match fs::symlink_metadata(path) {
            Ok(_) => Err(made.blame("is there already: without -c users are added to it")),
            Err(_) => Ok(made),
        }
    }

    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let fault = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("{}: there is no such file: -c makes it", path.display()),
            _ => format!("{}: {error}", path.display()),
        };
        // A link stays one, to what is changed.
        let real = fs::canonicalize(path).map_err(fault)?;
        // From here on nobody else changes what is read.
        let mut opened = Self::beside(real.clone())?;
        let file = File::open(&real).map_err(fault)?;
        let old = file.metadata().map_err(fault)?;
        if !old.is_file() || old.len() > BYTES_MAX {
            return Err(opened.blame(&format!("not a file of at most {BYTES_MAX} bytes")));
        }
        // Room for all, as a string that grows leaves copies of itself.
        opened.text = Zeroizing::new(String::with_capacity(old.len() as usize + 1));
        file.take(BYTES_MAX).read_to_string(&mut opened.text).map_err(fault)?;
        opened.old = Some(old);
        Ok(opened)
    }

    fn beside(path: PathBuf) -> Result<Self, String> {
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let writer = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new).map_err(|error| {
            let new = new.display();
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    format!(
                        "{new} is there: somebody else changes the file just now, or was broken off: then remove it"
                    )
                }
                _ => format!("cannot write {new}: {error}"),
            }
        })?;
        Ok(Self { path, new: Some(new), writer, old: None, text: Zeroizing::default() })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// An error that names the file.
    pub(super) fn blame(&self, what: &str) -> String {
        format!("{}: {what}", self.path.display())
    }

    /// With the owner and the mode of the old one.
    pub(super) fn replace(mut self, text: &str) -> Result<(), String> {
        self.write(text).map_err(|error| self.blame(&format!("cannot be written, and is as it was: {error}")))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut writer = &self.writer;
        writer.write_all(text.as_bytes())?;
        if let Some(old) = &self.old {
            let new = self.writer.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                rustix::fs::fchown(writer, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
            }
            self.writer.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
        }
        self.writer.sync_all()?;
        if let Some(new) = &self.new {
            fs::rename(new, &self.path)?;
        }
        // Whoever comes next has one of his own.
        self.new = None;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        self.new.iter().for_each(|new| _ = fs::remove_file(new));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_never_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        SecretFile::new(&path).unwrap().replace("a\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("a\n", MODE));
        assert!(SecretFile::new(&path).unwrap_err().contains("without -c"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_changed_file_keeps_its_mode_and_a_link_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["users", "link"].map(|name| folder.path().join(name));
        fs::write(&path, "a\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("users", &link).unwrap();
        let file = SecretFile::open(&link).unwrap();
        assert_eq!(file.text(), "a\n");
        assert!(SecretFile::open(&path).unwrap_err().contains("somebody else"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\n", "the old one is there until the new one is");
        file.replace("b\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("b\n", 0o640));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        drop(SecretFile::open(&path).unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left over");
        assert!(SecretFile::open(&folder.path().join("missing")).unwrap_err().contains("-c makes it"));
        assert!(SecretFile::open(folder.path()).is_err());
    }
}
