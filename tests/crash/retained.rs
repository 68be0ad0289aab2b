//! What a new subscriber finds retained is what was acknowledged last, or what came after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::history::{MessageId, Nanos, Sent, now};
use crate::link::{Came, Link};
use crate::packets::{self, Login, PUBLISH, V5};
use crate::world::World;

/// What comes within this time is waited for.
const TURN: Duration = Duration::from_millis(50);

/// How long what has to be there may take to come.
const PAGES_MAX: Duration = Duration::from_secs(5);

/// A message that is cleared later than this after SUBSCRIBE was there to be found.
const LOOKED_UP_AFTER: Nanos = 1_000_000_000;

/// Looks once; true if it could look to the end.
pub(crate) fn audit(world: &World, publisher: usize) -> bool {
    let Some((mut link, _)) = Link::connect(world.address, &Login::new(V5, "auditor")) else { return false };
    let before = now();
    link.send(&packets::subscribe(V5, 1, &[("kept/#", 0)]));
    let mut found: BTreeMap<String, MessageId> = BTreeMap::new();
    let deadline = Instant::now() + PAGES_MAX;
    loop {
        match link.come(TURN) {
            Came::Packet(packet) if packet.kind() == PUBLISH => {
                let publish = packet.publish();
                // What is live comes without the flag.
                if publish.retain
                    && let Some(id) = MessageId::of(&publish.payload)
                {
                    found.insert(publish.topic, id);
                }
                continue;
            }
            Came::Packet(_) => continue,
            Came::End => return false,
            Came::Nothing => {}
        }
        let faults = faults(&world.all_sent(publisher), publisher, before, &found);
        let is_last = Instant::now() > deadline;
        if faults.is_empty() || is_last {
            faults.into_iter().for_each(|fault| world.oddity(fault));
            return true;
        }
    }
}

/// What is wrong with what was found by who asked for it at `before`, as things are now.
fn faults(sent: &[Sent], publisher: usize, before: Nanos, found: &BTreeMap<String, MessageId>) -> Vec<String> {
    let mut topics: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    sent.iter().enumerate().for_each(|(number, sent)| topics.entry(&sent.topic).or_default().push(number));
    let mut faults = Vec::new();
    for (topic, numbers) in topics {
        let is_settled = |&&number: &&usize| sent[number].acknowledged_at.is_some_and(|at| at < before);
        let oldest = numbers.iter().rfind(is_settled).copied();
        let candidates = || numbers.iter().filter(|&&number| oldest.is_none_or(|oldest| number >= oldest));
        let is_in_time = |number: usize| sent[number].sent_at < before + LOOKED_UP_AFTER;
        let may_be_absent = oldest.is_none() || candidates().any(|&number| sent[number].is_clear && is_in_time(number));
        let is_right = match found.get(topic) {
            None => may_be_absent,
            Some(id) => id.publisher == publisher && candidates().any(|&number| number == id.number),
        };
        if !is_right {
            let candidates: Vec<_> = candidates().collect();
            faults.push(format!("{topic} has {:?} retained, and not one of {candidates:?}", found.get(topic)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To one topic: acknowledged at 1 and 2, cleared and acknowledged at 3, and one that is under way.
    fn sent() -> Vec<Sent> {
        let times = [(Some(1), false), (Some(2), false), (Some(3), true), (None, false)];
        let sent = |(acknowledged_at, is_clear)| Sent {
            topic: "kept/0".into(),
            qos: 1,
            is_clear,
            sent_at: 0,
            acknowledged_at,
        };
        times.map(sent).to_vec()
    }

    fn is_right(before: Nanos, found: Option<usize>) -> bool {
        let found = found.map(|number| ("kept/0".into(), MessageId { publisher: 0, number }));
        faults(&sent(), 0, before, &found.into_iter().collect()).is_empty()
    }

    #[test]
    fn what_was_acknowledged_last_or_came_later_is_right_and_nothing_else() {
        let all = [None, Some(0), Some(1), Some(2), Some(3)];
        assert_eq!(all.map(|found| is_right(1, found)), [true; 5]);
        assert_eq!(all.map(|found| is_right(2, found)), [true; 5]);
        assert_eq!(all.map(|found| is_right(3, found)), [true, false, true, true, true]);
        assert_eq!(all.map(|found| is_right(4, found)), [true, false, false, true, true]);
        let mut sent = sent();
        sent[2].acknowledged_at = None;
        assert_eq!(faults(&sent, 0, 4, &BTreeMap::new()).len(), 0);
        sent[2].sent_at = 5 + LOOKED_UP_AFTER;
        assert_eq!(faults(&sent, 0, 4, &BTreeMap::new()).len(), 1);
    }
}
