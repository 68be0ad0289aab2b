//! How many connections an address and a user have, and how often an address comes: counted over all shards where that is
//! bounded, and not at all where it is not. Asked where somebody comes in and leaves, never by a message. Who is counted is
//! known by a keyed hash, sixteen bytes and two numbers each.

use core::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::{HashMap, RandomState};

use super::bans::network;
use super::pace::Pace;
use crate::base::{Refusal, Timestamp};

/// Zero: as many as there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SeatRules {
    pub per_address_max: u32,
    pub per_user_max: u32,
    /// Connections a second.
    pub address_rate: u32,
}

/// Shards do not often want the same one.
const STRIPES: usize = 64;

#[derive(Debug)]
pub struct Seats {
    per_address_max: AtomicU32,
    per_user_max: AtomicU32,
    address_rate: AtomicU32,
    hashes: RandomState,
    addresses: Table,
    users: Table,
}

#[derive(Debug)]
struct Table(Box<[Mutex<Stripe>]>);

#[derive(Debug)]
struct Stripe {
    entries: HashMap<u64, Entry>,
    /// When so many are there, those without reason to be are looked for.
    sweep_at: usize,
}

#[derive(Clone, Copy, Default, Debug)]
struct Entry {
    seats: u32,
    /// Of the pace.
    busy_until_ns: u64,
}

const SWEEP_MIN: usize = 64;

impl Table {
    fn new(seed: u64) -> Self {
        let entries = || HashMap::with_hasher(RandomState::with_seeds(seed, 16, 17, 18));
        Self((0..STRIPES).map(|_| Mutex::new(Stripe { entries: entries(), sweep_at: 0 })).collect())
    }

    /// Whatever happened to who held it: each change of a stripe is whole.
    fn stripe(&self, hash: u64) -> MutexGuard<'_, Stripe> {
        self.0[hash as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, hash: u64) {
        let mut stripe = self.stripe(hash);
        if let Some(entry) = stripe.entries.get_mut(&hash) {
            entry.seats = entry.seats.saturating_sub(1);
            // One with a pace goes when it is over, by a sweep.
            if entry.seats == 0 && entry.busy_until_ns == 0 {
                stripe.entries.remove(&hash);
            }
        }
    }
}

impl Stripe {
    /// Its entry, made where there is none. As many as twice those with a reason to be there are kept, so that making
    /// costs the same on average however many there are.
    fn entry(&mut self, now: Timestamp, hash: u64) -> &mut Entry {
        if self.entries.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.entries.retain(|_, entry| entry.seats > 0 || !Pace::is_over(entry.busy_until_ns, now));
            self.sweep_at = 2 * self.entries.len();
        }
        self.entries.entry(hash).or_default()
    }
}

/// The place of one connection of an address, given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    hash: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.addresses.leave(self.hash);
    }
}

impl Seats {
    pub fn new(rules: SeatRules, seed: u64) -> Self {
        let seats = Self {
            per_address_max: AtomicU32::new(0),
            per_user_max: AtomicU32::new(0),
            address_rate: AtomicU32::new(0),
            hashes: RandomState::with_seeds(seed, 13, 14, 15),
            addresses: Table::new(seed),
            users: Table::new(seed),
        };
        seats.set_rules(rules);
        seats
    }

    /// For who comes from now on. Those that came while nothing was bounded are not counted.
    pub fn set_rules(&self, rules: SeatRules) {
        self.per_address_max.store(rules.per_address_max, Ordering::Relaxed);
        self.per_user_max.store(rules.per_user_max, Ordering::Relaxed);
        self.address_rate.store(rules.address_rate, Ordering::Relaxed);
    }

    /// One more connection of an address; none where nothing is counted.
    pub fn seat_address(self: &Arc<Self>, now: Timestamp, address: IpAddr) -> Result<Option<Seat>, Refusal> {
        let max = self.per_address_max.load(Ordering::Relaxed);
        let pace = Pace::per_sec(self.address_rate.load(Ordering::Relaxed));
        if max == 0 && pace.is_none() {
            return Ok(None);
        }
        let hash = self.hashes.hash_one(network(address));
        let mut stripe = self.addresses.stripe(hash);
        let entry = stripe.entry(now, hash);
        if max != 0 && entry.seats >= max {
            return Err(Refusal::AddressFull);
        }
        if let Some(pace) = pace {
            entry.busy_until_ns = pace.step(entry.busy_until_ns, now).ok_or(Refusal::ConnectRate)?;
        }
        entry.seats += 1;
        Ok(Some(Seat { seats: Arc::clone(self), hash }))
    }

    /// One more connection of a user. False: there are enough.
    pub fn enter_user(&self, name: &str) -> bool {
        let max = self.per_user_max.load(Ordering::Relaxed);
        if max == 0 {
            return true;
        }
        let hash = self.hashes.hash_one(name);
        let mut stripe = self.users.stripe(hash);
        let entry = stripe.entries.entry(hash).or_default();
        let has_room = entry.seats < max;
        entry.seats += u32::from(has_room);
        has_room
    }

    /// Of one that came in.
    pub fn leave_user(&self, name: &str) {
        if self.per_user_max.load(Ordering::Relaxed) != 0 {
            self.users.leave(self.hashes.hash_one(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Millis;

    const START: Timestamp = Timestamp(1_700_000_000_000);

    fn seats(per_address_max: u32, per_user_max: u32, address_rate: u32) -> Arc<Seats> {
        Arc::new(Seats::new(SeatRules { per_address_max, per_user_max, address_rate }, 7))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn len(table: &Table) -> usize {
        table.0.iter().map(|stripe| stripe.lock().unwrap().entries.len()).sum()
    }

    #[test]
    fn a_seat_is_free_again_when_its_connection_is_gone() {
        let seats = seats(2, 0, 0);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let sit = |who| seats.seat_address(START, who).map(Option::unwrap);
        let (first, _second) = (sit(one).unwrap(), sit(one).unwrap());
        assert_eq!(sit(one).unwrap_err(), Refusal::AddressFull);
        // As the kernel calls it on a socket of both kinds.
        assert_eq!(sit(address("::ffff:192.0.2.1")).unwrap_err(), Refusal::AddressFull);
        let _other = sit(other).unwrap();
        drop(first);
        let third = sit(one).unwrap();
        assert_eq!(sit(one).unwrap_err(), Refusal::AddressFull);
        drop(third);
        drop((_second, _other));
        assert_eq!(len(&seats.addresses), 0);
    }

    #[test]
    fn an_address_may_come_only_so_often_and_is_forgotten_afterwards() {
        let seats = seats(0, 0, 5);
        let come = |who: &str, ms| seats.seat_address(START + Millis(ms), address(who));
        assert!((0..5).all(|_| come("192.0.2.1", 0).is_ok()));
        assert_eq!(come("192.0.2.1", 199).unwrap_err(), Refusal::ConnectRate);
        assert!(come("192.0.2.1", 200).is_ok() && come("192.0.2.2", 200).is_ok());
        for number in 0..100_000_u32 {
            let address = IpAddr::V4(number.into());
            assert!(seats.seat_address(START + Millis(u64::from(number) * 10), address).is_ok());
        }
        // A second's worth, and what waits to be swept.
        assert!(len(&seats.addresses) <= STRIPES * SWEEP_MIN, "{}", len(&seats.addresses));
    }

    #[test]
    fn a_user_has_only_so_many_from_wherever_he_comes() {
        let seats = seats(0, 2, 0);
        assert_eq!([(); 3].map(|()| seats.enter_user("ann")), [true, true, false]);
        assert!(seats.enter_user("bob"));
        seats.leave_user("ann");
        assert_eq!([(); 2].map(|()| seats.enter_user("ann")), [true, false]);
        for name in ["ann", "ann", "bob"] {
            seats.leave_user(name);
        }
        assert_eq!(len(&seats.users), 0);
    }

    #[test]
    fn where_nothing_is_bounded_nothing_is_counted() {
        let seats = seats(0, 0, 0);
        assert!(seats.seat_address(START, address("192.0.2.1")).unwrap().is_none());
        assert!(seats.enter_user("ann"));
        assert_eq!(len(&seats.addresses) + len(&seats.users), 0);
        seats.set_rules(SeatRules { per_address_max: 1, per_user_max: 1, ..SeatRules::default() });
        // One that came before.
        seats.leave_user("ann");
        assert!(seats.enter_user("ann") && !seats.enter_user("ann"));
        let _seat = seats.seat_address(START, address("192.0.2.1")).unwrap().unwrap();
        assert!(seats.seat_address(START, address("192.0.2.1")).is_err());
    }
}
