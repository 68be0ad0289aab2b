//! A shard's end of the mesh: a ring to, and a ring from, each other shard, and what did not fit into them.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::alarm::Alarm;
use crate::base::limits::SHARDS_MAX;
use crate::base::{ShardId, ShardSet};

/// Slots of all rings to one shard together. Of 88 bytes each, as the broker's messages are, they take 352 KiB, which
/// a core's L2 cache holds, and the rings of 64 shards take 22 MiB.
const SHARD_SLOTS: usize = 4_096;
/// A shard that forwards a million messages a second to another fills 1,000 slots while that one is busy for 1 ms.
const RING_SLOTS_MAX: usize = 1_024;

/// How many messages are taken before their slots are given back: the sender need not wait for the whole ring.
const RECEIVE_CHUNK: usize = 64;

/// With so many items waiting a port is congested: what it relays comes faster than it goes, and only those whom it is
/// relayed for can be asked to wait. A few rings' worth.
const CONGESTED_LEN: usize = 8_192;

/// The overflow keeps room for so many once it is empty again.
const OVERFLOW_KEPT: usize = 1_024;

/// Slots of a ring in a mesh of so many shards.
pub const fn ring_slots(shards: usize) -> usize {
    let peers = if shards > 1 { shards - 1 } else { 1 };
    let share = SHARD_SLOTS / peers;
    if share < RING_SLOTS_MAX { share } else { RING_SLOTS_MAX }
}

/// One port per shard, in their order, to be moved into the shards' threads. Every descriptor of the mesh is open when
/// this returns.
///
/// # Panics
/// Without shards, with more than [`SHARDS_MAX`], or without slots.
pub fn build<T: Send>(shards: usize, ring_slots: usize) -> io::Result<Vec<Port<T>>> {
    assert!((1..=SHARDS_MAX).contains(&shards) && ring_slots > 0);
    let alarms = (0..shards).map(|_| Alarm::new().map(Arc::new)).collect::<io::Result<Arc<[_]>>>()?;
    let congested = Arc::new(AtomicU64::new(0));
    let port = |own| Port::new(ShardId::new(own), Arc::clone(&alarms), Arc::clone(&congested));
    let mut ports: Vec<_> = (0..shards).map(port).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (producer, consumer) = RingBuffer::new(ring_slots);
            ports[from].outgoing[to] = Some(producer);
            ports[to].incoming.push(Incoming { from: ShardId::new(from), ring: consumer });
        }
    }
    Ok(ports)
}

/// What a port did since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MeshStats {
    /// Items put into rings.
    pub sent: u64,
    /// Items taken from rings.
    pub received: u64,
    /// Rings that were written to between two flushes; what `sent` is divided by to have the size of a batch.
    pub batches: u64,
    /// Writes to an eventfd.
    pub wakeups: u64,
    /// Items that had to wait in the overflow.
    pub overflowed: u64,
    /// Items dropped because the shard they were for has ended.
    pub discarded: u64,
}

#[derive(Debug)]
pub struct Port<T> {
    own: ShardId,
    /// By shard; none to itself.
    outgoing: Box<[Option<Producer<T>>]>,
    incoming: Vec<Incoming<T>>,
    /// The incoming ring that the next pass begins with: each has its turn to be first.
    first: usize,
    /// In the order of sending, whomever it is for: what one shard is told cannot be overtaken by a consequence that
    /// another shard was told later.
    overflow: VecDeque<(ShardId, T)>,
    /// The overflow emptied, and the owner did not go round its loop since.
    was_unblocked: bool,
    /// Who got something since the last wake-ups.
    written: ShardSet,
    alarms: Arc<[Arc<Alarm>]>,
    /// A bit for each shard whose port is congested, for all to see.
    congested: Arc<AtomicU64>,
    stats: MeshStats,
}

#[derive(Debug)]
struct Incoming<T> {
    from: ShardId,
    ring: Consumer<T>,
}

impl<T> Port<T> {
    fn new(own: ShardId, alarms: Arc<[Arc<Alarm>]>, congested: Arc<AtomicU64>) -> Self {
        Self {
            own,
            outgoing: alarms.iter().map(|_| None).collect(),
            incoming: Vec::with_capacity(alarms.len() - 1),
            first: 0,
            overflow: VecDeque::new(),
            was_unblocked: false,
            written: ShardSet::EMPTY,
            alarms,
            congested,
            stats: MeshStats::default(),
        }
    }

    pub fn shard(&self) -> ShardId {
        self.own
    }

    /// How many the mesh has.
    pub fn shards(&self) -> usize {
        self.alarms.len()
    }

    pub fn stats(&self) -> MeshStats {
        self.stats
    }

    /// Puts it into the ring, from where the peer may take it at once; a sleeping peer is woken by `flush`.
    ///
    /// # Panics
    /// When it is for this shard itself, or for one that the mesh does not have.
    pub fn send(&mut self, to: ShardId, item: T) {
        if self.overflow.is_empty() {
            let Err(PushError::Full(item)) = ring(&mut self.outgoing, to).push(item) else {
                self.stats.sent += 1;
                self.written.insert(to);
                return;
            };
            // Whoever got something up to here can make room while this batch goes on.
            self.wake();
            self.overflow.push_back((to, item));
        } else {
            assert!(to != self.own && to.index() < self.outgoing.len());
            self.overflow.push_back((to, item));
        }
        self.stats.overflowed += 1;
        if self.overflow.len() == CONGESTED_LEN {
            self.congested.fetch_or(self.own_bit(), Ordering::Relaxed);
        }
    }

    /// Whether any shard has more to relay than goes away. Whoever adds to it is to wait; all alarms ring when it is over.
    pub fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed) != 0
    }

    const fn own_bit(&self) -> u64 {
        1 << self.own.index()
    }

    /// What waited has gone: those who were asked to wait may go on.
    fn end_congestion(&self) {
        if self.congested.load(Ordering::Relaxed) & self.own_bit() != 0 {
            self.congested.fetch_and(!self.own_bit(), Ordering::Relaxed);
            fence(Ordering::SeqCst);
            self.alarms.iter().for_each(|alarm| _ = alarm.ring_after_fence());
        }
    }

    /// Moves what fits from the overflow into the rings and wakes those who sleep and got something.
    pub fn flush(&mut self) {
        if !self.overflow.is_empty() {
            self.empty_overflow();
        }
        self.wake();
    }

    /// Whether a ring is full: until it is not, more input would only make the overflow longer.
    pub fn is_blocked(&self) -> bool {
        !self.overflow.is_empty()
    }

    pub fn overflow_len(&self) -> usize {
        self.overflow.len()
    }

    /// Takes everything that was in the rings when this was called, and says how much that was. What is added to a ring
    /// after its turn stays for the next pass, so a pass ends however fast the others send.
    pub fn receive(&mut self, mut take: impl FnMut(ShardId, T)) -> usize {
        let count = self.incoming.len();
        let mut taken = 0;
        for turn in 0..count {
            let at = self.first + turn;
            let incoming = &mut self.incoming[if at < count { at } else { at - count }];
            let length = incoming.ring.slots();
            if length == 0 {
                continue;
            }
            incoming.take(length, &mut take);
            taken += length;
            // Its sender may sleep because this ring was full.
            fence(Ordering::SeqCst);
            self.stats.wakeups += u64::from(self.alarms[incoming.from.index()].room_after_fence(self.own));
        }
        self.first = if self.first + 1 < count { self.first + 1 } else { 0 };
        self.stats.received += taken as u64;
        taken
    }

    pub fn has_incoming(&self) -> bool {
        self.incoming.iter().any(|incoming| !incoming.ring.is_empty())
    }

    /// What wakes this shard: for its epoll set, and for other threads that have something for it.
    pub fn alarm(&self) -> &Arc<Alarm> {
        &self.alarms[self.own.index()]
    }

    /// Announces that this shard is about to sleep. False: it must not, there is something to receive, or room for what
    /// waits in the overflow, or the overflow emptied since this was last called, so that its publishers may be read
    /// again. True: every writer rings the alarm from now on, until `woke`. What else may have come from such writers
    /// has to be looked at now.
    #[must_use]
    pub fn prepare_sleep(&mut self) -> bool {
        self.wake();
        if mem::take(&mut self.was_unblocked) {
            return false;
        }
        let blocked = self.overflow.front().map(|(to, _)| *to);
        self.alarm().announce_sleep(blocked);
        let may_sleep = !self.has_incoming() && blocked.is_none_or(|to| ring(&mut self.outgoing, to).is_full());
        if !may_sleep {
            self.woke();
        }
        may_sleep
    }

    /// After the sleep, or instead of it: nobody needs to ring any more.
    pub fn woke(&mut self) {
        self.alarm().woke();
    }

    fn empty_overflow(&mut self) {
        while let Some((to, _)) = self.overflow.front() {
            let to = *to;
            let ring = ring(&mut self.outgoing, to);
            let is_gone = ring.is_full() && ring.is_abandoned();
            if ring.is_full() && !is_gone {
                return;
            }
            let Some((_, item)) = self.overflow.pop_front() else { return };
            if is_gone {
                self.stats.discarded += 1;
            } else if ring.push(item).is_ok() {
                self.stats.sent += 1;
                self.written.insert(to);
            }
        }
        self.overflow.shrink_to(OVERFLOW_KEPT);
        self.was_unblocked = true;
        self.end_congestion();
    }

    fn wake(&mut self) {
        if self.written.is_empty() {
            return;
        }
        fence(Ordering::SeqCst);
        self.stats.batches += self.written.len() as u64;
        for to in self.written.iter() {
            self.stats.wakeups += u64::from(self.alarms[to.index()].ring_after_fence());
        }
        self.written = ShardSet::EMPTY;
    }
}

impl<T> Incoming<T> {
    fn take(&mut self, mut length: usize, take: &mut impl FnMut(ShardId, T)) {
        while length > 0 {
            let chunk = match self.ring.read_chunk(length.min(RECEIVE_CHUNK)) {
                Ok(chunk) => chunk,
                Err(ChunkError::TooFewSlots(_)) => unreachable!("only this side shortens the ring"),
            };
            length -= chunk.len();
            chunk.into_iter().for_each(|item| take(self.from, item));
        }
    }
}

/// Whoever is blocked by this shard's rings learns that it has ended.
impl<T> Drop for Port<T> {
    fn drop(&mut self) {
        self.incoming.clear();
        self.end_congestion();
        fence(Ordering::SeqCst);
        self.alarms.iter().for_each(|alarm| _ = alarm.room_after_fence(self.own));
    }
}

fn ring<T>(outgoing: &mut [Option<Producer<T>>], to: ShardId) -> &mut Producer<T> {
    outgoing[to.index()].as_mut().expect("a shard sends nothing to itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: usize) -> ShardId {
        ShardId::new(index)
    }

    fn mesh<T: Send, const N: usize>(slots: usize) -> [Port<T>; N] {
        build(N, slots).unwrap().try_into().unwrap_or_else(|_| unreachable!("as many as asked for"))
    }

    fn received<T>(port: &mut Port<T>) -> Vec<(usize, T)> {
        let mut items = Vec::new();
        let count = port.receive(|from, item| items.push((from.index(), item)));
        assert_eq!(count, items.len());
        items
    }

    #[test]
    fn each_pair_of_shards_keeps_its_order() {
        let [mut a, mut b, mut c] = mesh(256);
        for item in 0..200 {
            a.send(shard(2), item);
            b.send(shard(2), 1_000 + item);
        }
        let items = received(&mut c);
        for (from, first) in [(0, 0), (1, 1_000)] {
            let of_one: Vec<_> = items.iter().filter(|item| item.0 == from).map(|item| item.1).collect();
            assert_eq!(of_one, (first..first + 200).collect::<Vec<_>>());
        }
        assert!(received(&mut a).is_empty() && received(&mut c).is_empty());
    }

    #[test]
    fn a_long_overflow_is_seen_by_all_until_it_is_gone() {
        let [mut a, mut b, c] = mesh(4);
        (0..4 + CONGESTED_LEN - 1).for_each(|item| a.send(shard(1), item));
        assert!(a.is_blocked() && !c.is_congested());
        a.send(shard(1), 0);
        assert!(c.is_congested() && a.is_congested());
        while a.is_blocked() {
            assert!(c.is_congested());
            received(&mut b);
            a.flush();
        }
        assert!(!c.is_congested());
        (0..4 + CONGESTED_LEN).for_each(|item| a.send(shard(1), item));
        assert!(c.is_congested());
        drop(a);
        assert!(!c.is_congested());
    }

    #[test]
    fn a_full_ring_blocks_until_its_reader_made_room() {
        let [mut a, mut b] = mesh(4);
        for item in 0..10 {
            a.send(shard(1), item);
        }
        assert!(a.is_blocked());
        assert_eq!(a.overflow_len(), 6);
        a.flush();
        assert_eq!(a.overflow_len(), 6);
        for (expected, left) in [(0..4, 2), (4..8, 0), (8..10, 0)] {
            assert_eq!(received(&mut b), expected.map(|item| (0, item)).collect::<Vec<_>>());
            a.flush();
            assert_eq!((a.overflow_len(), a.is_blocked()), (left, left > 0));
        }
        assert_eq!((a.stats().sent, a.stats().overflowed, b.stats().received), (10, 6, 10));
    }

    /// Shard 1 is told of something, then shard 2 of its consequence: 2 must not know before 1 can.
    #[test]
    fn nothing_overtakes_what_waits_for_another_shard() {
        let [mut a, mut b, mut c] = mesh(1);
        a.send(shard(1), "fills the ring");
        a.send(shard(1), "cause");
        a.send(shard(2), "consequence");
        a.flush();
        assert!(received(&mut c).is_empty());
        assert_eq!(received(&mut b), [(0, "fills the ring")]);
        a.flush();
        assert_eq!(received(&mut c), [(0, "consequence")]);
        assert_eq!(received(&mut b), [(0, "cause")]);
        assert!(!a.is_blocked());
    }

    #[test]
    fn a_pass_takes_what_was_there_when_it_began_and_leaves_what_its_own_ring_got_since() {
        let [mut a, mut b, mut c] = mesh(512);
        for item in 0..300 {
            a.send(shard(2), item);
            b.send(shard(2), item);
        }
        let mut items = Vec::new();
        let count = c.receive(|from, item| {
            // Each item has a consequence: a pass that took those too would not end.
            let sender = if from == a.shard() { &mut a } else { &mut b };
            sender.send(shard(2), item + 1_000);
            items.push(item);
        });
        assert_eq!(count, 600);
        assert!(items.iter().all(|&item| item < 1_000));
        assert_eq!(received(&mut c).len(), 2 * (512 - 300) + 2 * (600 - 512));
    }

    #[test]
    fn each_ring_has_its_turn_to_be_first() {
        let mut ports: [Port<u32>; 4] = mesh(4);
        let mut first = Vec::new();
        for _ in 0..6 {
            (0..3).for_each(|from| ports[from].send(shard(3), 0));
            first.push(received(&mut ports[3])[0].0);
        }
        assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_wake_up_a_batch_and_only_for_a_sleeper() {
        let [mut a, mut b, mut c] = mesh(64);
        assert!(b.prepare_sleep());
        for item in 0..10 {
            a.send(shard(1), item);
            a.send(shard(2), item);
        }
        assert_eq!(a.stats().wakeups, 0);
        a.flush();
        a.flush();
        assert_eq!((a.stats().wakeups, a.stats().batches), (1, 2));
        b.woke();
        a.send(shard(1), 10);
        a.flush();
        assert_eq!(a.stats().wakeups, 1);
        assert_eq!((received(&mut b).len(), received(&mut c).len()), (11, 10));
        assert_eq!((b.stats().wakeups, c.stats().wakeups), (0, 0));
    }

    #[test]
    fn a_shard_does_not_sleep_while_something_is_there() {
        let [mut a, mut b] = mesh(4);
        a.send(shard(1), 1);
        assert!(b.has_incoming() && !b.prepare_sleep());
        // Not asleep: nobody rings.
        a.send(shard(1), 2);
        a.flush();
        assert_eq!(a.stats().wakeups, 0);
        assert_eq!(received(&mut b).len(), 2);
        assert!(!b.has_incoming() && b.prepare_sleep());
    }

    #[test]
    fn who_prepares_to_sleep_has_woken_the_others() {
        let [mut a, mut b] = mesh(4);
        assert!(b.prepare_sleep());
        a.send(shard(1), 1);
        assert!(a.prepare_sleep());
        assert_eq!(a.stats().wakeups, 1);
    }

    #[test]
    fn a_blocked_sleeper_is_woken_by_the_reader_of_the_full_ring_alone() {
        let [mut a, mut b, mut c] = mesh(2);
        (0..4).for_each(|item| a.send(shard(1), item));
        a.send(shard(2), 4);
        assert!(a.prepare_sleep());
        assert_eq!((received(&mut c).len(), c.stats().wakeups), (0, 0));
        assert_eq!((received(&mut b).len(), b.stats().wakeups), (2, 1));
        a.woke();
        a.flush();
        assert!(!a.is_blocked());
        assert_eq!((received(&mut b).len(), b.stats().wakeups), (2, 1));
        assert_eq!(received(&mut c).len(), 1);
    }

    /// A shard whose overflow emptied just before it slept would sleep with its publishers stopped.
    #[test]
    fn a_blocked_shard_does_not_sleep_once_there_is_room() {
        let [mut a, mut b] = mesh(2);
        (0..4).for_each(|item| a.send(shard(1), item));
        a.flush();
        assert!(a.is_blocked());
        assert_eq!(received(&mut b).len(), 2);
        assert!(!a.prepare_sleep() && a.is_blocked());
        a.flush();
        assert!(!a.is_blocked());
        assert!(!a.prepare_sleep(), "the publishers are to be read first");
        assert!(a.prepare_sleep());
    }

    #[test]
    fn a_port_drops_what_is_inside() {
        let item = Arc::new(());
        let [mut a, mut b] = mesh(4);
        (0..10).for_each(|_| a.send(shard(1), Arc::clone(&item)));
        (0..3).for_each(|_| b.send(shard(0), Arc::clone(&item)));
        assert_eq!(Arc::strong_count(&item), 14);
        drop(a);
        // Only b holds the rings now, with four items and three.
        assert_eq!(Arc::strong_count(&item), 8);
        assert_eq!(received(&mut b).len(), 4);
        drop(b);
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn a_shard_that_has_ended_blocks_nobody() {
        let [mut a, b, mut c] = mesh(2);
        (0..5).for_each(|item| a.send(shard(1), item));
        a.send(shard(2), 5);
        assert!(a.prepare_sleep());
        drop(b);
        assert!(!a.alarm().ring(), "the one who ended rang");
        a.woke();
        a.flush();
        assert_eq!((a.is_blocked(), a.stats().discarded), (false, 3));
        assert_eq!(received(&mut c), [(0, 5)]);
    }

    #[test]
    fn a_shard_alone_has_nobody_to_talk_to() {
        let [mut a] = mesh::<u32, 1>(ring_slots(1));
        assert_eq!(received(&mut a), []);
        assert!(a.prepare_sleep());
    }

    #[test]
    fn rings_shrink_as_shards_are_added() {
        assert_eq!([1, 2, 5, 8, 27, 64].map(ring_slots), [1_024, 1_024, 1_024, 585, 157, 65]);
        let slots = |shards: usize| shards * (shards - 1) * ring_slots(shards);
        assert!(slots(SHARDS_MAX) * 88 <= 22 << 20);
    }
}
