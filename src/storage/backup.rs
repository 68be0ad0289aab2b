//! A copy of the settled store, made while it goes on.

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BackupReport {
    pub rows: u64,
    pub bytes: u64,
}
