//! Why a connection's layers have ended it.

use std::fmt;

#[derive(Debug)]
pub enum Fault {
    /// No PROXY header where one has to be.
    Proxy(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(what) => write!(f, "PROXY header: {what}"),
        }
    }
}
