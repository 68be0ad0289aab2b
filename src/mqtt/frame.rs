//! The fixed header: what a packet is and where it ends, before any of its body needs to be there.

use super::error::{Error, Malformed, ProtocolViolation};
use crate::base::limits::FIXED_HEADER_BYTES_MAX;

/// The type in the upper four bits of a packet's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
    Auth,
}

impl PacketType {
    pub const fn of(first_byte: u8) -> Option<Self> {
        Some(match first_byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }
}

/// One whole packet, not yet read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    pub first_byte: u8,
    pub body: &'a [u8],
    /// Of the packet with its fixed header.
    pub bytes: usize,
    /// Whether the Remaining Length took no more bytes than it needed.
    pub(super) length_is_minimal: bool,
}

/// What is at the front of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress<'a> {
    Packet(Frame<'a>),
    /// The packet is not whole: at least so many bytes are missing.
    Need(usize),
}

/// Finds the packet at the front of `input`, and refuses one over `packet_bytes_max` by what its header announces.
#[inline]
pub fn frame(input: &[u8], packet_bytes_max: u32) -> Result<Progress<'_>, Error> {
    let &[first_byte, low, ..] = input else {
        return Ok(Progress::Need(2 - input.len()));
    };
    let (length, header) = if low < 0x80 { (usize::from(low), 2) } else { return long_frame(input, packet_bytes_max) };
    whole(input, first_byte, header, length, packet_bytes_max, true)
}

/// A Remaining Length of two to four bytes.
fn long_frame(input: &[u8], packet_bytes_max: u32) -> Result<Progress<'_>, Error> {
    let mut length = 0;
    for (index, &byte) in input[1..].iter().take(FIXED_HEADER_BYTES_MAX - 1).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let minimal = byte != 0;
            return whole(input, input[0], index + 2, length, packet_bytes_max, minimal);
        }
    }
    // [MQTT-1.5.5-1] the fourth byte is the last.
    if input.len() >= FIXED_HEADER_BYTES_MAX {
        Err(Malformed::VariableByteInteger.into())
    } else {
        Ok(Progress::Need(1))
    }
}

#[inline]
fn whole(
    input: &[u8],
    first_byte: u8,
    header: usize,
    length: usize,
    packet_bytes_max: u32,
    length_is_minimal: bool,
) -> Result<Progress<'_>, Error> {
    let bytes = header + length;
    if bytes > packet_bytes_max as usize {
        return Err(ProtocolViolation::PacketTooLarge.into());
    }
    Ok(match input.get(header..bytes) {
        Some(body) => Progress::Packet(Frame { first_byte, body, bytes, length_is_minimal }),
        None => Progress::Need(bytes - input.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_much_is_missing() {
        assert_eq!(frame(&[], 100), Ok(Progress::Need(2)));
        assert_eq!(frame(&[0x30], 100), Ok(Progress::Need(1)));
        assert_eq!(frame(&[0x30, 5, 0], 100), Ok(Progress::Need(4)));
        assert_eq!(frame(&[0x30, 0x80], 1000), Ok(Progress::Need(1)));
        assert_eq!(frame(&[0x30, 0x80, 1], 1000), Ok(Progress::Need(128)));
    }

    #[test]
    fn a_packet_over_the_limit_is_refused_by_its_header() {
        let too_large = Err(ProtocolViolation::PacketTooLarge.into());
        assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff, 0x7f], 1 << 20), too_large);
        assert_eq!(frame(&[0x30, 99], 100), too_large);
        assert!(matches!(frame(&[0x30, 98], 100), Ok(Progress::Need(98))));
    }

    #[test]
    fn a_fifth_length_byte_is_malformed() {
        assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff], u32::MAX), Err(Malformed::VariableByteInteger.into()));
    }
}
