//! A store looked at while no broker has it: `thrum store check|stats|dump|salvage`.

use std::io::Write;
use std::path::Path;

use super::error::StoreError;

/// Looks at every segment and table, says what it finds, and whether all is sound.
pub fn check(directory: &Path, out: &mut dyn Write) -> Result<bool, StoreError> {
    let _ = (directory, out);
    Err(StoreError::Stopped)
}

/// What is in it, in numbers.
pub fn stats(directory: &Path, out: &mut dyn Write) -> Result<(), StoreError> {
    let _ = (directory, out);
    Err(StoreError::Stopped)
}

/// A line of JSON for each session, message in a queue and retained message, as they would be recovered.
pub fn dump(directory: &Path, out: &mut dyn Write) -> Result<(), StoreError> {
    let _ = (directory, out);
    Err(StoreError::Stopped)
}

/// Makes a new store of what is sound. Says what had to be left, and whether that is nothing.
pub fn salvage(directory: &Path, into: &Path, out: &mut dyn Write) -> Result<bool, StoreError> {
    let _ = (directory, into, out);
    Err(StoreError::Stopped)
}
