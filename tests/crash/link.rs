//! A connection of a client that expects the broker to be gone at any moment.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::broker::PATIENCE;
use crate::packets::{CONNACK, Login, Packet, V5};

#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    read: usize,
    is_over: bool,
}

#[derive(Debug)]
pub(crate) enum Came {
    Packet(Packet),
    /// Whatever came of a packet that is not whole is lost with the connection.
    End,
    Nothing,
}

impl Link {
    /// Says whether there was a session. `None`: there is no broker, or it went away.
    pub(crate) fn connect(address: SocketAddr, login: &Login) -> Option<(Self, bool)> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut link = Self { stream, buffer: Vec::new(), read: 0, is_over: false };
        link.send(&login.bytes());
        match link.come(PATIENCE) {
            Came::Packet(packet) if packet.kind() == CONNACK && packet.reason() == 0 => {
                let is_present = packet.session_present();
                Some((link, is_present))
            }
            Came::Packet(other) => panic!("{} is answered with {other:?}", login.client_id),
            Came::End | Came::Nothing => None,
        }
    }

    /// A connection that is over says so when it is read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && self.stream.write_all(bytes).is_err() {
            self.is_over = true;
        }
    }

    pub(crate) fn come(&mut self, within: Duration) -> Came {
        let deadline = Instant::now() + within;
        loop {
            if let Some((packet, bytes)) = Packet::read(V5, &self.buffer[self.read..]) {
                self.read += bytes;
                return Came::Packet(packet);
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return if self.is_over { Came::End } else { Came::Nothing };
            }
            self.stream.set_read_timeout(Some(left)).expect("a socket");
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk).map_err(|error| error.kind()) {
                Ok(0) => return Came::End,
                Ok(bytes) => self.buffer.extend_from_slice(&chunk[..bytes]),
                Err(ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(_) => return Came::End,
            }
        }
    }
}
