//! Output that must not leave before the store has what it tells of: else a crash in between would have the broker forget
//! what its client knows, and deliver with QoS 2 once more, or take one packet identifier for another's. What comes
//! behind it waits too, so that a client gets everything in order.

use std::collections::VecDeque;

use super::output::OutputBuffer;

/// What one connection has in front of it that is not durable yet: at least one part.
#[derive(Debug)]
pub(super) struct Gate(VecDeque<Part>);

#[derive(Debug)]
struct Part {
    /// Of the record that it waits for; higher than that of the part before.
    number: u64,
    output: OutputBuffer,
    /// Messages of QoS 0 in it, which are gone if it is.
    qos_zero: u32,
}

impl Part {
    fn new(number: u64) -> Self {
        Self { number, output: OutputBuffer::default(), qos_zero: 0 }
    }
}

impl Gate {
    pub(super) fn until(number: u64) -> Self {
        Self(VecDeque::from([Part::new(number)]))
    }

    /// What follows waits for this record as well.
    pub(super) fn wait(&mut self, number: u64) {
        if self.last().number < number {
            self.0.push_back(Part::new(number));
        }
    }

    /// Where output goes.
    pub(super) fn output(&mut self) -> &mut OutputBuffer {
        &mut self.last().output
    }

    /// What was written last is a message of QoS 0.
    pub(super) fn count_qos_zero(&mut self) {
        self.last().qos_zero += 1;
    }

    fn last(&mut self) -> &mut Part {
        self.0.back_mut().expect("a gate that has no part is taken away")
    }

    /// Lets out what waited for nothing but records up to this one. True: that was all.
    pub(super) fn open(&mut self, committed: u64, out: &mut OutputBuffer) -> bool {
        while let Some(part) = self.0.pop_front_if(|part| part.number <= committed) {
            out.append(part.output);
        }
        self.0.is_empty()
    }

    /// What is behind it: bytes, and messages of QoS 0.
    pub(super) fn held(&self) -> (usize, u32) {
        self.0.iter().fold((0, 0), |(bytes, messages), part| (bytes + part.output.len(), messages + part.qos_zero))
    }
}
