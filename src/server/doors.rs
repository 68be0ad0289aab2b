//! Who may come in before a word is said: how many connections there may be, of all, of a listener and of an address, how
//! fast new ones may come, and whose address is banned. One of it for all shards.
//!
//! Who comes too fast for all, or for a listener, waits in the kernel's queue: so a crowd that comes back after a fault
//! comes in by and by. Who comes too fast for an address is turned away, as is whoever finds no room.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::access::{Bans, Pace, Seat, SeatRules, Seats};
use crate::base::{ListenerId, Refusal, Timestamp};

/// Zero, for each: no bound.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct DoorRules {
    pub(super) connections_max: usize,
    /// Connections a second.
    pub(super) connect_rate: u32,
    pub(super) seats: SeatRules,
    pub(super) listeners: Vec<ListenerRules>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ListenerRules {
    pub(super) listener: ListenerId,
    pub(super) connections_max: u32,
    pub(super) connect_rate: u32,
}

#[derive(Debug)]
pub(super) struct Doors {
    open: AtomicUsize,
    max: AtomicUsize,
    gate: Gate,
    /// Those of the listeners that have bounds of their own; none is looked for where there is none.
    listeners: RwLock<Vec<Arc<Door>>>,
    has_listeners: AtomicBool,
    seats: Arc<Seats>,
    bans: Arc<Bans>,
}

/// The bounds of one listener.
#[derive(Debug)]
struct Door {
    listener: ListenerId,
    open: AtomicU32,
    max: AtomicU32,
    gate: Gate,
}

/// A pace that all shards keep together.
#[derive(Default, Debug)]
struct Gate {
    rate: AtomicU32,
    busy_until_ns: AtomicU64,
}

impl Gate {
    fn pace(&self) -> Option<Pace> {
        Pace::per_sec(self.rate.load(Ordering::Relaxed))
    }

    fn is_shut(&self, now: Timestamp) -> bool {
        self.pace().is_some_and(|pace| pace.step(self.busy_until_ns.load(Ordering::Relaxed), now).is_none())
    }

    /// One has come through. Where another shard was faster, it is one too many, which is paid for by nobody.
    fn pass(&self, now: Timestamp) {
        if let Some(pace) = self.pace() {
            let step = |busy_until_ns| pace.step(busy_until_ns, now);
            let _ = self.busy_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        }
    }
}

/// What a connection has taken of what is bounded; given back when it is dropped.
#[derive(Default, Debug)]
pub(super) struct Place {
    door: Option<Arc<Door>>,
    seat: Option<Seat>,
}

impl Place {
    pub(super) const fn is_counted(&self) -> bool {
        self.door.is_some() || self.seat.is_some()
    }

    pub(super) const fn is_seated(&self) -> bool {
        self.seat.is_some()
    }

    pub(super) fn take_seat(&mut self, seat: Option<Seat>) {
        self.seat = seat;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.iter().for_each(|door| _ = door.open.fetch_sub(1, Ordering::Relaxed));
    }
}

impl Doors {
    pub(super) fn new(rules: &DoorRules, seats: Arc<Seats>, bans: Arc<Bans>) -> Self {
        let doors = Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(0),
            gate: Gate::default(),
            listeners: RwLock::default(),
            has_listeners: AtomicBool::new(false),
            seats,
            bans,
        };
        doors.set_rules(rules);
        doors
    }

    /// For who comes from now on; nobody has to leave.
    pub(super) fn set_rules(&self, rules: &DoorRules) {
        let max = if rules.connections_max == 0 { usize::MAX } else { rules.connections_max };
        self.max.store(max, Ordering::Relaxed);
        self.gate.rate.store(rules.connect_rate, Ordering::Relaxed);
        self.seats.set_rules(rules.seats);
        let mut doors = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        let bounded = rules.listeners.iter().filter(|rules| rules.connections_max > 0 || rules.connect_rate > 0);
        *doors = bounded
            .map(|rules| {
                let door = doors.iter().find(|door| door.listener == rules.listener).cloned();
                let door = door.unwrap_or_else(|| Arc::new(Door::new(rules.listener)));
                door.max.store(rules.connections_max, Ordering::Relaxed);
                door.gate.rate.store(rules.connect_rate, Ordering::Relaxed);
                door
            })
            .collect();
        self.has_listeners.store(!doors.is_empty(), Ordering::Relaxed);
    }

    fn door(&self, listener: ListenerId) -> Option<Arc<Door>> {
        if !self.has_listeners.load(Ordering::Relaxed) {
            return None;
        }
        let doors = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        doors.iter().find(|door| door.listener == listener).cloned()
    }

    /// Whether who comes next by this listener has to wait: connections come as fast as they may.
    pub(super) fn is_waiting(&self, now: Timestamp, listener: ListenerId) -> bool {
        self.gate.is_shut(now) || self.door(listener).is_some_and(|door| door.gate.is_shut(now))
    }

    /// Counts one more in. No address: it is not known yet, or there is none.
    pub(super) fn enter(
        &self,
        now: Timestamp,
        listener: ListenerId,
        address: Option<IpAddr>,
    ) -> Result<Place, Refusal> {
        if address.is_some_and(|address| self.bans.has_banned_address(now, address)) {
            return Err(Refusal::Banned);
        }
        let door = self.door(listener);
        self.gate.pass(now);
        door.iter().for_each(|door| door.gate.pass(now));
        // From here on what was taken is given back by itself.
        let mut place = Place::default();
        if let Some(door) = door {
            let (max, open) = (door.max.load(Ordering::Relaxed), door.open.fetch_add(1, Ordering::Relaxed));
            place.door = Some(door);
            if max != 0 && open >= max {
                return Err(Refusal::ListenerFull);
            }
        }
        place.seat = address.map(|address| self.seats.seat_address(now, address)).transpose()?.flatten();
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.max.load(Ordering::Relaxed) {
            self.leave(1);
            return Err(Refusal::TooManyConnections);
        }
        Ok(place)
    }

    /// For somebody whose address came in a header, when it came.
    pub(super) fn seat(&self, now: Timestamp, address: IpAddr) -> Result<Option<Seat>, Refusal> {
        if self.bans.has_banned_address(now, address) {
            return Err(Refusal::Banned);
        }
        self.seats.seat_address(now, address)
    }

    pub(super) fn leave(&self, connections: usize) {
        self.open.fetch_sub(connections, Ordering::Relaxed);
    }

    pub(super) const fn bans(&self) -> &Arc<Bans> {
        &self.bans
    }

    pub(super) const fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }
}

impl Door {
    fn new(listener: ListenerId) -> Self {
        Self { listener, open: AtomicU32::new(0), max: AtomicU32::new(0), gate: Gate::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::BanRules;
    use crate::base::Millis;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const ONE: ListenerId = ListenerId(1);
    const OTHER: ListenerId = ListenerId(2);

    fn doors(rules: &DoorRules) -> Doors {
        let hour = Millis::from_secs(3_600);
        let rules_of_bans = BanRules { failures_max: 1, window: hour, ban: hour, ban_max: hour, bans_users: false };
        let bans = Bans::new(rules_of_bans, 7, Box::new(|_| ()));
        Doors::new(rules, Arc::new(Seats::new(SeatRules::default(), 7)), Arc::new(bans))
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    fn refusal(doors: &Doors, listener: ListenerId, last: u8) -> Refusal {
        doors.enter(NOW, listener, address(last)).unwrap_err()
    }

    #[test]
    fn who_is_not_let_in_takes_no_place() {
        let doors = doors(&DoorRules { connections_max: 1, ..DoorRules::default() });
        let _first = doors.enter(NOW, ONE, None).unwrap();
        assert_eq!(refusal(&doors, ONE, 1), Refusal::TooManyConnections);
        assert_eq!(refusal(&doors, ONE, 1), Refusal::TooManyConnections);
        doors.leave(1);
        assert!(doors.enter(NOW, ONE, None).is_ok());
        assert_eq!(refusal(&doors, ONE, 1), Refusal::TooManyConnections);
    }

    #[test]
    fn a_listener_has_only_so_many_and_others_are_not_bound_by_that() {
        let bounded = |connections_max| DoorRules {
            listeners: vec![ListenerRules { listener: ONE, connections_max, connect_rate: 0 }],
            ..DoorRules::default()
        };
        let doors = doors(&bounded(2));
        let [first, _second] = [(); 2].map(|()| doors.enter(NOW, ONE, address(1)).unwrap());
        assert_eq!(refusal(&doors, ONE, 1), Refusal::ListenerFull);
        assert!(!doors.enter(NOW, OTHER, address(1)).unwrap().is_counted());
        drop(first);
        let _third = doors.enter(NOW, ONE, address(1)).unwrap();
        // Those inside are still counted.
        doors.set_rules(&bounded(3));
        let _fourth = doors.enter(NOW, ONE, address(1)).unwrap();
        assert_eq!(refusal(&doors, ONE, 1), Refusal::ListenerFull);
    }

    #[test]
    fn an_address_has_only_so_many_also_where_a_header_tells_it() {
        let seats = SeatRules { per_address_max: 1, ..SeatRules::default() };
        let doors = doors(&DoorRules { seats, ..DoorRules::default() });
        let first = doors.enter(NOW, ONE, address(1)).unwrap();
        assert_eq!(refusal(&doors, ONE, 1), Refusal::AddressFull);
        let mut proxied = doors.enter(NOW, ONE, None).unwrap();
        assert_eq!(doors.seat(NOW, address(1).unwrap()).unwrap_err(), Refusal::AddressFull);
        drop(first);
        proxied.take_seat(doors.seat(NOW, address(1).unwrap()).unwrap());
        assert_eq!(refusal(&doors, ONE, 1), Refusal::AddressFull);
        drop(proxied);
        assert!(doors.enter(NOW, ONE, address(1)).is_ok());
    }

    #[test]
    fn who_comes_too_fast_waits_for_all_or_for_his_listener() {
        let listeners = vec![ListenerRules { listener: ONE, connections_max: 0, connect_rate: 5 }];
        let doors = doors(&DoorRules { connect_rate: 20, listeners, ..DoorRules::default() });
        let come = |listener, now| !doors.is_waiting(now, listener) && doors.enter(now, listener, None).is_ok();
        assert_eq!((0..30).filter(|_| come(ONE, NOW)).count(), 5);
        assert_eq!((0..30).filter(|_| come(OTHER, NOW)).count(), 15);
        let later = NOW + Millis(200);
        assert!(come(ONE, later) && !come(ONE, later));
        assert_eq!((0..30).filter(|_| come(OTHER, later)).count(), 3);
    }

    #[test]
    fn who_is_banned_is_turned_away_before_anything_is_counted() {
        let doors = doors(&DoorRules { connections_max: 1, ..DoorRules::default() });
        doors.bans().count_failure(NOW, address(1), None);
        assert_eq!(refusal(&doors, ONE, 1), Refusal::Banned);
        assert_eq!(doors.seat(NOW, address(1).unwrap()).unwrap_err(), Refusal::Banned);
        assert!(doors.enter(NOW, ONE, address(2)).is_ok());
    }
}
