//! What a running broker answers to those who ask for its bans by the control socket.

use crate::access::{Ban, Bans, Offender, network};
use crate::base::Timestamp;

/// The broker's answer to `bans`.
pub(super) fn list(bans: &Bans, now: Timestamp) -> String {
    let line = |ban: &Ban| format!("{}s\t{}\t{}\n", (ban.until - now).secs_ceil(), ban.times, ban.who);
    bans.list(now).iter().map(line).collect()
}

/// The broker's answer to `lift`.
pub(super) fn lift(bans: &Bans, now: Timestamp, who: &str) -> Result<Offender, String> {
    let who = match who.split_once(' ') {
        Some(("address", address)) => address.parse().ok().map(|address| Offender::Address(network(address))),
        Some(("user", name)) => Some(Offender::User(name.into())),
        _ => None,
    };
    let who = who.ok_or("that is neither `address IP` nor `user NAME`")?;
    if bans.lift(now, &who) { Ok(who) } else { Err(format!("{who} is not banned")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::BanRules;
    use crate::base::Millis;

    #[test]
    fn what_is_listed_can_be_lifted() {
        let (now, minute) = (Timestamp(1_700_000_000_000), Millis::from_secs(60));
        let rules = BanRules { failures_max: 1, window: minute, ban: minute, ban_max: minute, bans_users: true };
        let bans = Bans::new(rules, 7, Box::new(|_| ()));
        bans.count_failure(now, Some("2001:db8::1".parse().unwrap()), Some("a user"));
        assert_eq!(list(&bans, now + Millis(500)), "60s\t1\taddress 2001:db8::/64\n60s\t1\tuser a user\n");
        assert_eq!(lift(&bans, now, "address 2001:db8::9").unwrap().to_string(), "address 2001:db8::/64");
        assert_eq!(lift(&bans, now, "user a user").unwrap().to_string(), "user a user");
        assert_eq!(list(&bans, now), "");
        for (who, why) in [("user b", "user b is not banned"), ("b", "that is neither `address IP` nor `user NAME`")] {
            assert_eq!(lift(&bans, now, who), Err(why.to_owned()));
        }
    }
}
