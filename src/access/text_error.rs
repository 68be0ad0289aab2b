//! What is wrong with a file of rules or users, and in which line.

use std::fmt;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextError {
    /// Counted from one.
    pub line: usize,
    /// Without anything secret of the line.
    pub what: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}
