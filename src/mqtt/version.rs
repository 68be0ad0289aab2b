//! Which version a connection speaks, and which side of it.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    V3_1,
    V3_1_1,
    V5,
}

/// Who sent a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    Client,
    Server,
}
