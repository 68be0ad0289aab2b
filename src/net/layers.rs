//! What lies between a socket and MQTT, from the outside in: a PROXY header, TLS, WebSocket. It takes bytes and gives
//! bytes; the connection moves them.

use std::sync::Arc;

use super::fault::Fault;
use super::peer::Peer;
use super::proxy::ProxyHeader;
use super::transport::Transport;
use crate::broker::OutputBuffer;

/// What comes in is looked at in pieces of this size at most, with what was kept of it before.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// Where layers work; one for all connections of a shard. Empty until the first of them has layers.
#[derive(Default, Debug)]
pub struct Workspace {
    raw: Vec<u8>,
    /// What is to be sent as it is.
    pub(super) wire: Vec<u8>,
}

/// What became of output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wrapped {
    /// There is nobody to send it to: it counts as gone.
    Nobody(usize),
    /// It is on the wire, all of it.
    Sealed,
    /// It goes as it is behind what is on the wire.
    Framed,
}

#[derive(Debug)]
pub(super) struct Layers {
    expects_proxy_header: bool,
    is_over: bool,
    fault: Option<Box<Fault>>,
    /// What came and cannot be used before more comes.
    kept: Vec<u8>,
    /// Output that has not been said to have left.
    owed: usize,
}

impl Layers {
    /// None where there are none.
    pub(super) fn new(transport: &Arc<Transport>) -> Option<Self> {
        if !transport.expects_proxy_header {
            return None;
        }
        Some(Self { expects_proxy_header: true, is_over: false, fault: None, kept: Vec::new(), owed: 0 })
    }

    /// Nothing stands any more between the client and MQTT.
    pub(super) fn is_established(&self) -> bool {
        !self.expects_proxy_header
    }

    /// They have done all they are for.
    pub(super) fn are_transparent(&self) -> bool {
        !self.expects_proxy_header && !self.is_over
    }

    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take().map(|fault| *fault)
    }

    pub(super) fn certificate_name(&self) -> Option<Box<str>> {
        None
    }

    /// Where to read to, no more than so much altogether; and how much stands before it.
    pub(super) fn room<'a>(&self, bytes_max: usize, work: &'a mut Workspace) -> (usize, &'a mut [u8]) {
        let before = self.kept.len();
        work.raw.resize(RAW_BYTES_MAX, 0);
        (before, &mut work.raw[before..(before + bytes_max).min(RAW_BYTES_MAX)])
    }

    /// Takes what was read, and gives what of it is MQTT; the answers that the layers have to it are on the wire then.
    pub(super) fn take_in(&mut self, bytes: usize, into: &mut [u8], work: &mut Workspace, peer: &mut Peer) -> usize {
        work.wire.clear();
        work.raw[..self.kept.len()].copy_from_slice(&self.kept);
        let raw = &work.raw[..bytes];
        match ProxyHeader::parse(raw) {
            ProxyHeader::Incomplete => {
                self.kept = raw.to_vec();
                0
            }
            ProxyHeader::Whole { bytes, client } => {
                self.expects_proxy_header = false;
                *peer = client.map_or(*peer, Into::into);
                into[..raw.len() - bytes].copy_from_slice(&raw[bytes..]);
                raw.len() - bytes
            }
            ProxyHeader::Wrong(what) => {
                (self.is_over, self.fault) = (true, Some(Box::new(Fault::Proxy(what))));
                0
            }
        }
    }

    pub(super) fn wrap(&mut self, buffer: &OutputBuffer, _: &mut Workspace) -> Result<Wrapped, Fault> {
        Ok(Wrapped::Nobody(buffer.chunks().map(<[u8]>::len).sum()))
    }

    pub(super) fn gone(&mut self, sent: usize, left: usize) -> usize {
        if left == 0 {
            return std::mem::take(&mut self.owed);
        }
        let gone = (self.owed as u128 * sent as u128 / (sent as u128 + left as u128)) as usize;
        self.owed -= gone;
        gone
    }

    pub(super) fn say_farewell(&mut self, work: &mut Workspace) -> bool {
        work.wire.clear();
        false
    }
}
