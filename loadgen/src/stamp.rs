//! What a payload says: which message it is, when it was meant to be sent, and bytes that follow from that, so that a
//! wrong payload is seen.

/// The shortest payload.
pub const STAMP_BYTES: usize = 16;

/// Fillings that differ.
const FILLINGS: usize = 251;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// One publisher's messages to one topic.
    pub stream: u32,
    pub number: u32,
    /// Nanoseconds since the generator's start.
    pub due: u64,
}

/// The payloads of a run, all of one length: a stamp, and a filling that differs from one message to the next.
#[derive(Clone, Debug)]
pub struct Payloads {
    bytes: usize,
    /// Random; a message's filling begins where its stamp says.
    filling: Box<[u8]>,
}

impl Payloads {
    /// Of `bytes` bytes, at least [`STAMP_BYTES`].
    pub fn new(bytes: usize, seed: u64) -> Self {
        let bytes = bytes.max(STAMP_BYTES);
        let rest = bytes - STAMP_BYTES;
        let filling = if rest == 0 { Box::default() } else { random_bytes(seed).take(rest + FILLINGS).collect() };
        Self { bytes, filling }
    }

    /// Of each payload.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let head = u128::from(stamp.stream) << 96 | u128::from(stamp.number) << 64 | u128::from(stamp.due);
        out.extend_from_slice(&head.to_be_bytes());
        out.extend_from_slice(self.filling(stamp));
    }

    /// The stamp of a payload that is whole and right.
    #[inline]
    pub fn read(&self, payload: &[u8]) -> Option<Stamp> {
        let (head, filling) = payload.split_first_chunk::<STAMP_BYTES>()?;
        let head = u128::from_be_bytes(*head);
        let stamp = Stamp { stream: (head >> 96) as u32, number: (head >> 64) as u32, due: head as u64 };
        // Nothing is not compared with nothing: where its address is no memory, that costs as much as a system call.
        let is_right = payload.len() == self.bytes && (filling.is_empty() || filling == self.filling(stamp));
        is_right.then_some(stamp)
    }

    #[inline]
    fn filling(&self, stamp: Stamp) -> &[u8] {
        let rest = self.bytes - STAMP_BYTES;
        if rest == 0 {
            return &[];
        }
        let from = (stamp.stream ^ stamp.number) as usize % FILLINGS;
        &self.filling[from..from + rest]
    }
}

/// SplitMix64, which is random enough to fill payloads and to choose among topics.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

fn random_bytes(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::from_fn(move || Some(random(&mut state).to_le_bytes())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_any_other_byte_is_seen() {
        let stamp = Stamp { stream: 3, number: 0x0102_0304, due: 0x0a0b_0c0d_0e0f_1011 };
        for bytes in [0, 16, 17, 200] {
            let payloads = Payloads::new(bytes, 1);
            let mut payload = Vec::new();
            payloads.write(stamp, &mut payload);
            assert_eq!(payload.len(), bytes.max(STAMP_BYTES));
            assert_eq!(payloads.read(&payload), Some(stamp));
            assert_eq!(payloads.read(&payload[1..]), None);
            payload.push(0);
            assert_eq!(payloads.read(&payload), None);
        }
        let payloads = Payloads::new(200, 1);
        let mut payload = Vec::new();
        payloads.write(stamp, &mut payload);
        payload[100] ^= 1;
        assert_eq!(payloads.read(&payload), None);
    }

    #[test]
    fn a_seed_gives_the_same_payloads_again_and_another_seed_others() {
        let stamp = Stamp { stream: 3, number: 1, due: 5 };
        let payload = |seed, stamp| {
            let mut payload = Vec::new();
            Payloads::new(100, seed).write(stamp, &mut payload);
            payload[STAMP_BYTES..].to_vec()
        };
        assert_eq!(payload(1, stamp), payload(1, stamp));
        assert_ne!(payload(1, stamp), payload(2, stamp));
        assert_ne!(payload(1, stamp), payload(1, Stamp { number: 2, ..stamp }));
    }
}
