//! Primitive fields: a reader that borrows from a packet, and the writers beside it.

use super::error::{Error, Malformed};
use crate::base::limits::STRING_BYTES_MAX;

/// What is left of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// [MQTT-1.5.5-1]
    #[inline]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, Error> {
        match *self.rest {
            [byte @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u32::from(byte))
            }
            _ => self.long_variable_byte_integer(),
        }
    }

    fn long_variable_byte_integer(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let minimal = byte != 0 || shift == 0;
                return if minimal { Ok(value) } else { Err(Malformed::VariableByteInteger.into()) };
            }
        }
        Err(Malformed::VariableByteInteger.into())
    }

    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Error> {
        // At most 65,535 bytes. [MQTT-4.7.3-3]
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A string that may hold anything but U+0000. [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    ///
    /// U+FEFF is a character like any other and stays. [MQTT-1.5.4-3]
    pub(super) fn text(&mut self) -> Result<&'a str, Error> {
        let text = self.text_that_may_hold_nul()?;
        if text.as_bytes().contains(&0) { Err(Malformed::NulInString.into()) } else { Ok(text) }
    }

    /// For topics, whose own check finds U+0000 in the pass that looks for wildcards.
    #[inline]
    pub(super) fn text_that_may_hold_nul(&mut self) -> Result<&'a str, Error> {
        let bytes = self.binary()?;
        std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8.into())
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes.into()) }
    }
}

/// How many bytes `value` takes as a variable byte integer.
pub(super) const fn variable_byte_integer_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// A fixed header: most take two bytes.
#[inline]
pub(super) fn put_fixed_header(out: &mut Vec<u8>, first_byte: u8, length: u32) {
    match length {
        0..=0x7f => out.extend_from_slice(&[first_byte, length as u8]),
        0x80..=0x3fff => out.extend_from_slice(&[first_byte, length as u8 | 0x80, (length >> 7) as u8]),
        _ => {
            out.push(first_byte);
            put_variable_byte_integer(out, length);
        }
    }
}

#[inline]
pub(super) fn put_variable_byte_integer(out: &mut Vec<u8>, value: u32) {
    debug_assert!(value <= crate::base::limits::REMAINING_LENGTH_MAX);
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A field with a two-byte length. Whoever builds a packet has checked that it fits.
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= STRING_BYTES_MAX);
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_take_the_bytes_of_the_specifications_table() {
        for (value, len) in
            [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_151, 3), (2_097_152, 4), (268_435_455, 4)]
        {
            let mut out = Vec::new();
            put_variable_byte_integer(&mut out, value);
            assert_eq!((out.len(), variable_byte_integer_len(value)), (len, len));
            assert_eq!(Reader::new(&out).variable_byte_integer(), Ok(value));
        }
    }

    #[test]
    fn a_variable_byte_integer_is_no_longer_than_it_must_be() {
        for bytes in [&[0x80, 0x00][..], &[0xff, 0xff, 0xff, 0xff, 0x01], &[0x80, 0x80, 0x00]] {
            assert_eq!(Reader::new(bytes).variable_byte_integer(), Err(Malformed::VariableByteInteger.into()));
        }
        assert_eq!(Reader::new(&[0x80]).variable_byte_integer(), Err(Malformed::Truncated.into()));
    }

    // [MQTT-1.5.4-3]
    #[test]
    fn a_byte_order_mark_is_kept() {
        assert_eq!(Reader::new(&[0, 3, 0xef, 0xbb, 0xbf]).text(), Ok("\u{feff}"));
    }
}
