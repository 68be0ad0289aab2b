//! What keeps a store from being opened or changed: what happened, where, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub enum StoreError {
    /// Another process has the directory.
    Locked {
        directory: PathBuf,
        pid: Option<u32>,
    },
    /// A store of another version.
    Format {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    /// A copy goes only where nothing is.
    NotEmpty {
        directory: PathBuf,
    },
    /// What was written is not what is there.
    Damaged {
        path: PathBuf,
        offset: u64,
        what: String,
    },
    /// The settled store's own trouble.
    Settled {
        path: PathBuf,
        error: Box<redb::Error>,
    },
    /// A row of the settled store is not what it should be.
    Row {
        path: PathBuf,
        what: String,
    },
    Io {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// A thread of the store is not there any more.
    Stopped,
}

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }

    pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { directory, pid } => {
                write!(f, "{}: another process", directory.display())?;
                if let Some(pid) = pid {
                    write!(f, " (pid {pid})")?;
                }
                write!(f, " has this store; stop it, or give this broker a directory of its own")
            }
            Self::Format { path, found, known } => write!(
                f,
                "{}: a store of format version {found}, this broker knows {known}: start the version that made it",
                path.display()
            ),
            Self::NotEmpty { directory } => {
                write!(f, "{}: not empty; name a directory that is, or that is not there", directory.display())
            }
            Self::Damaged { path, offset, what } => write!(
                f,
                "{}: damaged at offset {offset}: {what}; `thrum store check` looks at all of the store, \
                 `thrum store salvage` makes a new one of what is sound",
                path.display()
            ),
            Self::Settled { path, error } => write!(
                f,
                "{}: {error}; if this stays, `thrum store check` looks at all of the store, `thrum store salvage` \
                 makes a new one of what is sound",
                path.display()
            ),
            Self::Row { path, what } => write!(
                f,
                "{}: {what}; `thrum store check` looks at all of the store, `thrum store salvage` makes a new one of \
                 what is sound",
                path.display()
            ),
            Self::Io { what, path, error } => write!(f, "{}: cannot {what}: {error}", path.display()),
            Self::Stopped => write!(f, "the store has stopped"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Settled { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_place_and_what_to_do() {
        let error = StoreError::damaged(Path::new("d/shard-00/1.log"), 4096, "a checksum does not match");
        let text = error.to_string();
        for part in ["d/shard-00/1.log", "4096", "a checksum", "thrum store check", "salvage"] {
            assert!(text.contains(part), "{text}");
        }
        let locked = StoreError::Locked { directory: "d".into(), pid: Some(7) };
        assert!(locked.to_string().contains("pid 7"));
    }
}
