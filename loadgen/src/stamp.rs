//! What a payload says: which message it is, when it was meant to be sent, and bytes that follow from that, so that a
//! wrong payload is seen.

/// The shortest payload.
pub const STAMP_BYTES: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// One publisher's messages to one topic.
    pub stream: u32,
    pub number: u32,
    /// Nanoseconds since the generator's start.
    pub due: u64,
}

impl Stamp {
    /// Writes a payload of `bytes` bytes, at least [`STAMP_BYTES`].
    pub fn write(self, bytes: usize, payload: &mut Vec<u8>) {
        payload.clear();
        payload.extend_from_slice(&self.stream.to_be_bytes());
        payload.extend_from_slice(&self.number.to_be_bytes());
        payload.extend_from_slice(&self.due.to_be_bytes());
        payload.resize(bytes.max(STAMP_BYTES), self.filling());
    }

    /// The stamp of a payload that is whole and right.
    pub fn read(payload: &[u8], bytes: usize) -> Option<Self> {
        let (head, filling) = payload.split_at_checked(STAMP_BYTES)?;
        let number = |from: usize| u32::from_be_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let due = u64::from(number(8)) << 32 | u64::from(number(12));
        let stamp = Self { stream: number(0), number: number(4), due };
        let is_right = payload.len() == bytes.max(STAMP_BYTES) && filling.iter().all(|&byte| byte == stamp.filling());
        is_right.then_some(stamp)
    }

    /// Differs from one message to the next.
    const fn filling(self) -> u8 {
        (self.stream ^ self.number) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_any_other_byte_is_seen() {
        let stamp = Stamp { stream: 3, number: 0x0102_0304, due: 0x0a0b_0c0d_0e0f_1011 };
        let mut payload = Vec::new();
        for bytes in [0, 16, 17, 200] {
            stamp.write(bytes, &mut payload);
            assert_eq!(payload.len(), bytes.max(STAMP_BYTES));
            assert_eq!(Stamp::read(&payload, bytes), Some(stamp));
            assert_eq!(Stamp::read(&payload[1..], bytes), None);
        }
        payload[100] ^= 1;
        assert_eq!(Stamp::read(&payload, 200), None);
    }
}
