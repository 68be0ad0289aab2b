//! What the log asks of a disk, one step at a time. A disk may be that of the machine, or one that a test makes up.

use std::fmt;
use std::sync::Arc;

/// A file in the folder of a shard. The number is that of a segment that is, was or was to be in it; none comes twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileName {
    Segment(u64),
    /// To become a segment; what is in it counts for nothing.
    Spare(u64),
}

impl FileName {
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".log")?;
        let (digits, make): (_, fn(u64) -> Self) = match stem.strip_prefix("spare-") {
            Some(digits) => (digits, Self::Spare),
            None => (stem, Self::Segment),
        };
        let number = u64::from_str_radix(digits, 16).ok().map(make)?;
        // There is one way to write it.
        (number.to_string() == name).then_some(number)
    }

    pub const fn sequence(self) -> u64 {
        match self {
            Self::Segment(sequence) | Self::Spare(sequence) => sequence,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(sequence) => write!(f, "{sequence:016x}.log"),
            Self::Spare(sequence) => write!(f, "spare-{sequence:016x}.log"),
        }
    }
}

/// The log does two things beside each other, each step by step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Writes batches and syncs them.
    Commit,
    /// Prepares segments and does away with them.
    Upkeep,
}

/// A step. Only what was synced is certain to be there after a power failure: bytes by `Sync`, names by `SyncFolder`.
#[derive(Debug)]
pub enum Operation<B> {
    /// For writing; an empty file where there is none.
    Open(FileName),
    /// Of the whole buffer, or it has failed.
    Write {
        file: FileName,
        offset: u64,
        buffer: Arc<B>,
    },
    /// What was written to the file, and its length.
    Sync(FileName),
    /// An open file stays open, under its new name.
    Rename {
        from: FileName,
        to: FileName,
    },
    SyncFolder,
    /// Whether or not it is open.
    Close(FileName),
    /// Whether or not it is there or open.
    Remove(FileName),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_reads_as_it_was_written_and_nothing_else_reads() {
        for name in [FileName::Segment(1), FileName::Segment(u64::MAX), FileName::Spare(0xabc)] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        assert_eq!(FileName::Segment(0xabc).to_string(), "0000000000000abc.log");
        for name in ["1.log", "0000000000000ABC.log", "+000000000000abc.log", "spare-.log", "lock", "x.log", ""] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
