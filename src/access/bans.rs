//! Who failed to come in too often stays out for a while: the address, and the user it claimed to be. Each ban is twice
//! as long as the one before, until nothing has been heard for long enough. One table for all shards, of bounded size;
//! it is asked where somebody comes in and never by a message, and not even then while nobody is banned.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::{HashMap, RandomState};

use crate::base::limits::{BANNED_NAME_BYTES_MAX, OFFENDERS_MAX};
use crate::base::{Millis, Timestamp};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BanRules {
    /// So many failures within the window are a ban. Zero: nobody is banned.
    pub failures_max: u32,
    pub window: Millis,
    pub ban: Millis,
    /// What doubling comes to at most; and how long a ban is remembered when it is over.
    pub ban_max: Millis,
    /// Whether users are banned too, whoever claimed to be one.
    pub bans_users: bool,
}

/// Whom a ban is about.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Offender {
    /// As `network` has it.
    Address(IpAddr),
    User(Arc<str>),
}

impl fmt::Display for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address @ IpAddr::V4(_)) => write!(f, "address {address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "address {address}/64"),
            // What a client calls itself is not to look like more than one line.
            Self::User(name) => write!(f, "user {}", name.escape_debug()),
        }
    }
}

/// The part of an address that one customer of a provider has: all of IPv4, 64 bits of IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    pub who: Offender,
    pub until: Timestamp,
    /// How long it is in all.
    pub span: Millis,
    /// How many there have been, with this one.
    pub times: u32,
}

/// What is remembered of somebody who failed.
#[derive(Debug)]
struct Record {
    failures: u32,
    /// When the failures that are counted began.
    since: Timestamp,
    /// Of the last ban; zero: there was none.
    banned_until: Timestamp,
    span: Millis,
    times: u32,
    /// Its place in the order in which they failed.
    place: u64,
}

#[derive(Debug)]
struct Table {
    rules: BanRules,
    records: HashMap<Offender, Record>,
    /// Who failed longest ago first. Those who only failed are apart from those who have been banned: failures under many
    /// names push no ban out.
    suspects: BTreeMap<u64, Offender>,
    banned: BTreeMap<u64, Offender>,
    placed: u64,
}

impl Table {
    fn has_banned(&self, now: Timestamp, who: &Offender) -> bool {
        self.records.get(who).is_some_and(|record| record.banned_until > now)
    }

    fn forget(&mut self, who: &Offender) {
        if let Some(record) = self.records.remove(who) {
            self.suspects.remove(&record.place);
            self.banned.remove(&record.place);
        }
    }

    /// The ban that it comes to, if it does.
    fn count_failure(&mut self, now: Timestamp, who: Offender) -> Option<Ban> {
        if self.has_banned(now, &who) {
            return None;
        }
        self.placed += 1;
        let (rules, place) = (self.rules, self.placed);
        let fresh = Record { failures: 0, since: now, banned_until: Timestamp(0), span: Millis(0), times: 0, place };
        let record = self.records.entry(who.clone()).or_insert(fresh);
        self.suspects.remove(&record.place);
        self.banned.remove(&record.place);
        record.place = place;
        let ban = record.count_failure(now, &rules).then(|| Ban {
            who: who.clone(),
            until: record.banned_until,
            span: record.span,
            times: record.times,
        });
        if record.times > 0 { &mut self.banned } else { &mut self.suspects }.insert(place, who);
        self.make_room(now);
        ban
    }

    fn make_room(&mut self, now: Timestamp) {
        let (rules, records) = (self.rules, &mut self.records);
        for order in [&mut self.suspects, &mut self.banned] {
            // Two old ones for each new one: what is over does not stay.
            for _ in 0..2 {
                let Some(oldest) = order.first_entry() else { break };
                let is_over = records.get(oldest.get()).is_none_or(|record| record.is_over(now, &rules));
                if is_over || order.len() > OFFENDERS_MAX {
                    order.pop_first().iter().for_each(|(_, who)| _ = records.remove(who));
                }
            }
        }
    }
}

impl Record {
    /// True: a ban begins.
    fn count_failure(&mut self, now: Timestamp, rules: &BanRules) -> bool {
        if now - self.since > rules.window {
            (self.failures, self.since) = (0, now);
        }
        if self.times > 0 && self.banned_until + rules.ban_max < now {
            self.times = 0;
        }
        self.failures += 1;
        if self.failures < rules.failures_max {
            return false;
        }
        let doubled = 1_u64.checked_shl(self.times).unwrap_or(u64::MAX);
        let span = Millis(rules.ban.0.saturating_mul(doubled).min(rules.ban_max.0));
        self.times = self.times.saturating_add(1);
        (self.failures, self.since, self.banned_until, self.span) = (0, now, now + span, span);
        true
    }

    /// Nothing follows from it any more.
    fn is_over(&self, now: Timestamp, rules: &BanRules) -> bool {
        self.since + rules.window < now && (self.times == 0 || self.banned_until + rules.ban_max < now)
    }
}

/// Hears of each ban as it begins.
pub type OnBan = Box<dyn Fn(&Ban) + Send + Sync>;

pub struct Bans {
    table: Mutex<Table>,
    /// Who has been banned and is still remembered; nobody takes the lock while there is none.
    banned: AtomicUsize,
    on_ban: OnBan,
}

impl fmt::Debug for Bans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bans").field("banned", &self.banned).finish_non_exhaustive()
    }
}

impl Bans {
    pub fn new(rules: BanRules, seed: u64, on_ban: OnBan) -> Self {
        let table = Table {
            rules,
            records: HashMap::with_hasher(RandomState::with_seeds(seed, 19, 20, 21)),
            suspects: BTreeMap::new(),
            banned: BTreeMap::new(),
            placed: 0,
        };
        Self { table: Mutex::new(table), banned: AtomicUsize::new(0), on_ban }
    }

    /// For what comes; with no failures permitted to be counted, all that was is forgotten.
    pub fn set_rules(&self, rules: BanRules) {
        let mut table = self.table();
        table.rules = rules;
        if rules.failures_max == 0 {
            table.records.clear();
            table.suspects.clear();
            table.banned.clear();
        } else if !rules.bans_users {
            let users: Vec<_> = table.records.keys().filter(|who| matches!(who, Offender::User(_))).cloned().collect();
            users.iter().for_each(|who| table.forget(who));
        }
        self.count(&table);
    }

    pub fn has_banned_address(&self, now: Timestamp, address: IpAddr) -> bool {
        self.banned.load(Ordering::Relaxed) > 0 && self.table().has_banned(now, &Offender::Address(network(address)))
    }

    pub fn has_banned_user(&self, now: Timestamp, name: &str) -> bool {
        self.banned.load(Ordering::Relaxed) > 0
            && name.len() <= BANNED_NAME_BYTES_MAX
            && self.table().has_banned(now, &Offender::User(name.into()))
    }

    /// Somebody did not come in because what he knows is wrong. What came while a ban holds is none: it was not looked at.
    pub fn count_failure(&self, now: Timestamp, address: Option<IpAddr>, user: Option<&str>) {
        let mut table = self.table();
        let rules = table.rules;
        if rules.failures_max == 0 {
            return;
        }
        let user = user.filter(|name| rules.bans_users && name.len() <= BANNED_NAME_BYTES_MAX);
        let address = address.map(|address| Offender::Address(network(address)));
        let offenders = address.into_iter().chain(user.map(|name| Offender::User(name.into())));
        let begun: Vec<Ban> = offenders.filter_map(|who| table.count_failure(now, who)).collect();
        self.count(&table);
        drop(table);
        begun.iter().for_each(|ban| (self.on_ban)(ban));
    }

    /// Those that hold now, in the order in which they end.
    pub fn list(&self, now: Timestamp) -> Vec<Ban> {
        let table = self.table();
        let ban = |(who, record): (&Offender, &Record)| Ban {
            who: who.clone(),
            until: record.banned_until,
            span: record.span,
            times: record.times,
        };
        let mut bans: Vec<Ban> =
            table.records.iter().filter(|(_, record)| record.banned_until > now).map(ban).collect();
        drop(table);
        bans.sort_by(|one, other| (one.until, &one.who).cmp(&(other.until, &other.who)));
        bans
    }

    /// Forgets all about somebody. False: he was not banned.
    pub fn lift(&self, now: Timestamp, who: &Offender) -> bool {
        let mut table = self.table();
        let was_banned = table.has_banned(now, who);
        table.forget(who);
        self.count(&table);
        was_banned
    }

    fn count(&self, table: &Table) {
        self.banned.store(table.banned.len(), Ordering::Relaxed);
    }

    /// Whatever happened to who held it: each change of the table is whole.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_700_000_000_000);
    const RULES: BanRules = BanRules {
        failures_max: 3,
        window: Millis::from_secs(60),
        ban: Millis::from_secs(100),
        ban_max: Millis::from_secs(1_000),
        bans_users: true,
    };

    fn bans() -> (Bans, Arc<Mutex<Vec<Ban>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        (Bans::new(RULES, 7, Box::new(move |ban| heard.lock().unwrap().push(ban.clone()))), told)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn after(secs: u32) -> Timestamp {
        START + Millis::from_secs(secs)
    }

    #[test]
    fn so_many_failures_within_the_window_are_a_ban_of_address_and_user() {
        let (bans, told) = bans();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        bans.count_failure(after(0), Some(one), Some("eve"));
        // The first is forgotten when the third comes.
        bans.count_failure(after(50), Some(one), Some("eve"));
        bans.count_failure(after(61), Some(one), Some("eve"));
        assert_eq!(bans.list(after(61)), []);
        bans.count_failure(after(62), Some(one), Some("eve"));
        assert_eq!(bans.list(after(62)), []);
        bans.count_failure(after(63), Some(one), Some("mallory"));
        let until = after(163);
        let ban = Ban { who: Offender::Address(one), until, span: RULES.ban, times: 1 };
        assert_eq!(bans.list(after(63)), std::slice::from_ref(&ban));
        assert_eq!(*told.lock().unwrap(), [ban]);
        assert!(bans.has_banned_address(after(162), one) && !bans.has_banned_address(until, one));
        assert!(!bans.has_banned_address(after(63), other) && !bans.has_banned_user(after(63), "eve"));
        // From wherever it comes: the third of hers.
        bans.count_failure(after(64), Some(other), Some("eve"));
        assert!(bans.has_banned_user(after(64), "eve") && !bans.has_banned_address(after(64), other));
        assert_eq!(bans.list(until).len(), 1);
    }

    #[test]
    fn each_ban_is_twice_as_long_as_the_one_before_until_it_is_forgotten() {
        let (bans, told) = bans();
        let mut now = START;
        let mut spans = Vec::new();
        for _ in 0..6 {
            (0..RULES.failures_max).for_each(|_| bans.count_failure(now, None, Some("eve")));
            // What came late of those who were already being looked at.
            bans.count_failure(now, None, Some("eve"));
            let until = bans.list(now)[0].until;
            spans.push((until - now).0 / 1_000);
            now = until;
        }
        assert_eq!(spans, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(told.lock().unwrap().iter().map(|ban| ban.times).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        now = now + Millis::from_secs(1_001);
        (0..RULES.failures_max).for_each(|_| bans.count_failure(now, None, Some("eve")));
        assert_eq!(bans.list(now)[0].until - now, RULES.ban);
    }

    #[test]
    fn a_ban_is_lifted_with_all_that_was_remembered() {
        let (bans, _) = bans();
        let eve = Offender::User("eve".into());
        assert!(!bans.lift(START, &eve));
        (0..3).for_each(|_| bans.count_failure(START, None, Some("eve")));
        assert!(bans.lift(START, &eve) && !bans.lift(START, &eve));
        (0..2).for_each(|_| bans.count_failure(START, None, Some("eve")));
        assert!(!bans.has_banned_user(START, "eve"));
        bans.count_failure(START, None, Some("eve"));
        assert_eq!(bans.list(START)[0].times, 1);
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_network_and_one_of_ipv4_for_itself() {
        let (bans, _) = bans();
        for end in ["1", "ffff:1:2:3", "9"] {
            let full =
                if end.contains("ffff") { format!("2001:db8:0:7:{end}") } else { format!("2001:db8:0:7::{end}") };
            bans.count_failure(START, Some(address(&full)), None);
            bans.count_failure(START, Some(address("::ffff:192.0.2.1")), None);
        }
        assert!(bans.has_banned_address(START, address("2001:db8:0:7:8:8:8:8")));
        assert!(!bans.has_banned_address(START, address("2001:db8:0:8::1")));
        assert!(bans.has_banned_address(START, address("192.0.2.1")));
        assert!(!bans.has_banned_address(START, address("192.0.2.0")));
        let names: Vec<String> = bans.list(START).iter().map(|ban| ban.who.to_string()).collect();
        assert_eq!(names, ["address 192.0.2.1", "address 2001:db8:0:7::/64"]);
    }

    #[test]
    fn failures_under_many_names_push_out_no_ban_and_only_the_oldest_failures() {
        let (bans, _) = bans();
        (0..3).for_each(|_| bans.count_failure(START, None, Some("eve")));
        for number in 0..OFFENDERS_MAX + 100 {
            bans.count_failure(START, None, Some(&number.to_string()));
        }
        bans.count_failure(START, None, Some(&"x".repeat(BANNED_NAME_BYTES_MAX + 1)));
        let table = bans.table();
        assert_eq!(
            (table.records.len(), table.suspects.len(), table.banned.len()),
            (OFFENDERS_MAX + 1, OFFENDERS_MAX, 1)
        );
        assert!(!table.records.contains_key(&Offender::User("99".into())));
        assert!(table.records.contains_key(&Offender::User("100".into())));
    }

    #[test]
    fn bans_are_bounded_too_and_what_is_over_goes() {
        let (bans, _) = bans();
        for number in 0..OFFENDERS_MAX + 10 {
            (0..3).for_each(|_| bans.count_failure(START, None, Some(&number.to_string())));
        }
        assert_eq!(bans.list(START).len(), OFFENDERS_MAX);
        assert!(!bans.has_banned_user(START, "9") && bans.has_banned_user(START, "10"));
        (0..OFFENDERS_MAX).for_each(|_| bans.count_failure(after(2_000), None, Some("late")));
        let table = bans.table();
        assert_eq!((table.records.len(), table.suspects.len(), table.banned.len()), (1, 0, 1));
    }

    #[test]
    fn without_rules_nobody_is_banned_and_other_rules_hold_at_once() {
        let (bans, _) = bans();
        (0..3).for_each(|_| bans.count_failure(START, Some(address("192.0.2.1")), Some("eve")));
        bans.set_rules(BanRules { bans_users: false, ..RULES });
        assert_eq!(bans.list(START).len(), 1);
        assert!(!bans.has_banned_user(START, "eve"));
        bans.set_rules(BanRules { failures_max: 0, ..RULES });
        assert_eq!(bans.list(START), []);
        (0..9).for_each(|_| bans.count_failure(START, Some(address("192.0.2.1")), Some("eve")));
        assert!(!bans.has_banned_address(START, address("192.0.2.1")));
        assert_eq!(bans.banned.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_name_of_several_lines_is_told_in_one() {
        assert_eq!(Offender::User("a\nb".into()).to_string(), "user a\\nb");
    }
}
