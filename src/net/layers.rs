//! What lies between a socket and MQTT, from the outside in: a PROXY header, TLS, WebSocket. It takes bytes and gives
//! bytes; the connection moves them.

use std::sync::Arc;

use zeroize::Zeroize;

use super::fault::Fault;
use super::filling::Filling;
use super::peer::Peer;
use super::proxy::ProxyHeader;
use super::tls::{RECORD_BYTES_MAX, Tls};
use super::transport::{CertificateUserName, Transport, WebSocketRules};
use super::websocket::WebSocket;
use crate::broker::OutputBuffer;

/// What comes in is looked at in pieces of this size at most, with what was kept of it before.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// A buffer that has grown beyond this is not kept.
const WIRE_BYTES_KEPT_MAX: usize = 1024 * 1024;

/// Where layers work; one for all connections of a shard. Empty until the first of them has layers.
#[derive(Default, Debug)]
pub struct Workspace {
    /// What came from a socket, and how much of it there is.
    raw: Vec<u8>,
    raw_bytes: usize,
    /// Output before it is encrypted.
    gathered: Vec<u8>,
    /// What is to be sent as it is.
    pub(super) wire: Vec<u8>,
}

impl Workspace {
    /// What came last was a secret.
    pub fn wipe(&mut self) {
        self.raw[..self.raw_bytes].zeroize();
        self.raw_bytes = 0;
    }

    fn begin_wire(&mut self) {
        self.wire.clear();
        self.wire.shrink_to(WIRE_BYTES_KEPT_MAX);
    }
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
    transport: Arc<Transport>,
    expects_proxy_header: bool,
    /// Nothing more is taken or given.
    is_over: bool,
    tls: Option<Box<Tls>>,
    websocket: Option<Box<WebSocket>>,
    fault: Option<Box<Fault>>,
    /// Of a PROXY header that is not whole.
    kept: Vec<u8>,
    /// Output that was not said to have left.
    owed: usize,
}

impl Layers {
    /// None where there are none.
    pub(super) fn new(transport: &Arc<Transport>) -> Option<Self> {
        let Transport { expects_proxy_header, tls, websocket } = &**transport;
        if !expects_proxy_header && tls.is_none() && websocket.is_none() {
            return None;
        }
        let (tls, fault) = match tls.as_ref().map(|rules| Tls::new(&rules.config)).transpose() {
            Ok(tls) => (tls.map(Box::new), None),
            Err(fault) => (None, Some(Box::new(fault))),
        };
        Some(Self {
            transport: Arc::clone(transport),
            expects_proxy_header: *expects_proxy_header,
            is_over: fault.is_some(),
            tls,
            websocket: websocket.as_ref().map(|_| Box::default()),
            fault,
            kept: Vec::new(),
            owed: 0,
        })
    }

    /// Nothing stands any more between the client and MQTT.
    pub(super) fn is_established(&self) -> bool {
        let is_handshaking = self.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        let is_upgrading = self.websocket.as_ref().is_some_and(|websocket| !websocket.is_open());
        !self.is_over && !self.expects_proxy_header && !is_handshaking && !is_upgrading
    }

    /// They have done all they are for.
    pub(super) fn are_transparent(&self) -> bool {
        !self.is_over && !self.expects_proxy_header && self.tls.is_none() && self.websocket.is_none()
    }

    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take().map(|fault| *fault)
    }

    /// Whom the client's certificate names, where that is its user's name.
    pub(super) fn certificate_name(&self) -> Option<Box<str>> {
        let by = self.transport.tls.as_ref().map_or(CertificateUserName::None, |rules| rules.user_name);
        self.tls.as_ref()?.user_name(by)
    }

    /// What has to stand before what is read next.
    fn kept(&self) -> &[u8] {
        self.tls.as_ref().map(|tls| tls.kept()).filter(|_| !self.expects_proxy_header).unwrap_or(&self.kept)
    }

    /// Where to read to, no more than a portion; with what was kept it is no more than there is room for in `into`.
    pub(super) fn room<'a>(&self, portion: usize, into: usize, work: &'a mut Workspace) -> &'a mut [u8] {
        let before = self.kept().len();
        work.raw.resize(RAW_BYTES_MAX, 0);
        let end = (before + portion).min(into).clamp(before, RAW_BYTES_MAX);
        &mut work.raw[before..end]
    }

    /// Takes what was read, `fresh` bytes, and gives what of it is MQTT; what the layers answer is on the wire then.
    pub(super) fn take_in(&mut self, fresh: usize, into: &mut [u8], work: &mut Workspace, peer: &mut Peer) -> usize {
        work.begin_wire();
        let before = self.kept().len();
        work.raw[..before].copy_from_slice(self.kept());
        work.raw_bytes = before + fresh;
        let mut plain = Filling::new(into);
        if let Err(fault) = self.unwrap_all(&mut work.raw[..before + fresh], &mut plain, &mut work.wire, peer) {
            (self.is_over, self.fault) = (true, Some(Box::new(fault)));
        }
        self.is_over |= self.tls.as_ref().is_some_and(|tls| tls.is_ended);
        self.is_over |= self.websocket.as_ref().is_some_and(|websocket| websocket.is_over());
        plain.len()
    }

    fn unwrap_all(
        &mut self,
        mut raw: &mut [u8],
        plain: &mut Filling<'_>,
        wire: &mut Vec<u8>,
        peer: &mut Peer,
    ) -> Result<(), Fault> {
        if self.expects_proxy_header {
            match ProxyHeader::parse(raw) {
                ProxyHeader::Incomplete => {
                    self.kept = raw.to_vec();
                    return Ok(());
                }
                ProxyHeader::Wrong(what) => return Err(Fault::Proxy(what)),
                ProxyHeader::Whole { bytes, client } => {
                    *peer = client.map_or(*peer, Into::into);
                    (self.expects_proxy_header, self.kept) = (false, Vec::new());
                    raw = &mut raw[bytes..];
                }
            }
        }
        let rules = self.transport.websocket.as_ref();
        match (&mut self.tls, self.websocket.as_mut().zip(rules)) {
            (None, None) => plain.push(raw),
            (None, Some((websocket, rules))) => websocket.take_in(rules, raw, plain, wire)?,
            (Some(tls), None) => tls.take_in(raw, wire, |bytes| plain.push(bytes))?,
            (Some(tls), Some((websocket, rules))) => unwrap_both(tls, websocket, rules, raw, plain, wire)?,
        }
        Ok(())
    }

    /// Wraps a batch's output.
    pub(super) fn wrap(&mut self, buffer: &OutputBuffer, work: &mut Workspace) -> Result<Wrapped, Fault> {
        work.begin_wire();
        let bytes = buffer.chunks().map(<[u8]>::len).sum();
        if !self.is_established() {
            return Ok(Wrapped::Nobody(bytes));
        }
        self.owed += bytes;
        let Workspace { gathered, wire, .. } = work;
        let Some(tls) = &mut self.tls else {
            WebSocket::put_head(bytes, wire);
            return Ok(Wrapped::Framed);
        };
        gathered.clear();
        if self.websocket.is_some() {
            WebSocket::put_head(bytes, gathered);
        }
        buffer.chunks().try_for_each(|chunk| seal(tls, chunk, gathered, wire))?;
        if !gathered.is_empty() {
            tls.encrypt(gathered, wire)?;
        }
        Ok(Wrapped::Sealed)
    }

    /// How much of the output has left with so many bytes that have, while so many are left: its part of them, for it is
    /// all that there is to tell.
    pub(super) fn gone(&mut self, sent: usize, left: usize) -> usize {
        let gone = match left {
            0 => self.owed,
            _ => (self.owed as u128 * sent as u128 / (sent as u128 + left as u128)) as usize,
        };
        self.owed -= gone;
        gone
    }

    /// Puts on the wire what tells a client that the connection ends. False: nothing does.
    pub(super) fn say_farewell(&mut self, work: &mut Workspace) -> bool {
        work.begin_wire();
        let Self { tls, websocket, .. } = self;
        if tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            return false;
        }
        self.is_over = true;
        let Some(tls) = tls else {
            websocket.iter_mut().for_each(|websocket| websocket.put_farewell(&mut work.wire));
            return !work.wire.is_empty();
        };
        work.gathered.clear();
        websocket.iter_mut().for_each(|websocket| websocket.put_farewell(&mut work.gathered));
        let farewell = if work.gathered.is_empty() { Ok(()) } else { tls.encrypt(&work.gathered, &mut work.wire) };
        farewell.and_then(|()| tls.put_close_notify(&mut work.wire)).is_ok()
    }
}

/// WebSocket within TLS.
fn unwrap_both(
    tls: &mut Tls,
    websocket: &mut WebSocket,
    rules: &WebSocketRules,
    raw: &mut [u8],
    plain: &mut Filling<'_>,
    wire: &mut Vec<u8>,
) -> Result<(), Fault> {
    let (mut answer, mut result) = (Vec::new(), Ok(()));
    tls.take_in(raw, wire, |bytes| {
        if result.is_ok() {
            result = websocket.take_in(rules, bytes, plain, &mut answer);
        }
    })?;
    if !answer.is_empty() {
        tls.encrypt(&answer, wire)?;
    }
    result
}

/// Encrypts in records that are full; what is left over is gathered.
fn seal(tls: &mut Tls, mut chunk: &[u8], gathered: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), Fault> {
    while !chunk.is_empty() {
        if gathered.is_empty() && chunk.len() >= RECORD_BYTES_MAX {
            let whole = chunk.len() - chunk.len() % RECORD_BYTES_MAX;
            tls.encrypt(&chunk[..whole], wire)?;
            chunk = &chunk[whole..];
            continue;
        }
        let (here, rest) = chunk.split_at(chunk.len().min(RECORD_BYTES_MAX - gathered.len()));
        gathered.extend_from_slice(here);
        chunk = rest;
        if gathered.len() == RECORD_BYTES_MAX {
            tls.encrypt(gathered, wire)?;
            gathered.clear();
        }
    }
    Ok(())
}
