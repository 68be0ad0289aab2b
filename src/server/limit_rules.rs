//! What the configuration says of who may come in how often, as those who count understand it.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use tracing::warn;

use super::bans_config::RateExcess;
use super::config::Config;
use super::doors::{DoorRules, Doors, ListenerRules};
use super::listener_config::ListenerConfig;
use crate::access::{Ban, BanRules, Bans, Excess, Rates, SeatRules, Seats};
use crate::base::{ListenerId, Millis};

impl Config {
    /// For listeners with these identifiers, in their order.
    pub(super) fn door_rules(&self, ids: impl IntoIterator<Item = ListenerId>) -> DoorRules {
        let listener = |(listener, config): (ListenerId, &ListenerConfig)| ListenerRules {
            listener,
            connections_max: config.connections_max,
            connect_rate: config.connect_rate,
        };
        DoorRules {
            connections_max: self.connections_max,
            connect_rate: self.limits.connect_rate,
            seats: SeatRules {
                per_address_max: self.limits.address_connections_max,
                per_user_max: self.limits.user_connections_max,
                address_rate: self.limits.address_connect_rate,
            },
            listeners: ids.into_iter().zip(&self.listeners).map(listener).collect(),
        }
    }

    pub(super) fn ban_rules(&self) -> BanRules {
        let bans = &self.access.bans;
        BanRules {
            failures_max: bans.failures_max,
            window: Millis::from_secs(bans.window_secs),
            ban: Millis::from_secs(bans.ban_secs),
            ban_max: Millis::from_secs(bans.ban_secs_max),
            bans_users: bans.users,
        }
    }

    /// What a client may publish that comes in by this listener: as much as that says, or else as much as all may.
    pub fn rates(&self, listener: &ListenerConfig) -> Option<Rates> {
        let messages_per_sec = NonZeroU32::new(listener.message_rate).or(NonZeroU32::new(self.limits.message_rate));
        let bytes_per_sec = NonZeroU64::new(listener.byte_rate).or(NonZeroU64::new(self.limits.byte_rate));
        let on_excess = match self.limits.rate_excess {
            RateExcess::Slow => Excess::Slow,
            RateExcess::Disconnect => Excess::Disconnect,
        };
        let is_bounded = messages_per_sec.is_some() || bytes_per_sec.is_some();
        is_bounded.then_some(Rates { messages_per_sec, bytes_per_sec, on_excess })
    }

    /// The doors of a broker with this configuration. The seed is secret randomness, so that nobody can choose addresses
    /// or names that lie in one place of a table.
    pub(super) fn doors(&self, seed: u64, ids: impl IntoIterator<Item = ListenerId>) -> Doors {
        let rules = self.door_rules(ids);
        let bans = Bans::new(self.ban_rules(), seed, Box::new(tell_ban));
        Doors::new(&rules, Arc::new(Seats::new(rules.seats, seed)), Arc::new(bans))
    }
}

fn tell_ban(ban: &Ban) {
    let secs = ban.span.secs_ceil();
    warn!(who = %ban.who, secs, times = ban.times, "banned: it failed to come in too often");
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_listener_s_rates_are_its_own_or_those_of_all() {
        let mut config = Config::default();
        let mut listener = ListenerConfig::on((Ipv4Addr::LOCALHOST, 1883));
        assert_eq!(config.rates(&listener), None);
        (config.limits.message_rate, config.limits.rate_excess) = (7, RateExcess::Disconnect);
        let expected = |messages, bytes| {
            let (messages_per_sec, bytes_per_sec) = (NonZeroU32::new(messages), NonZeroU64::new(bytes));
            Some(Rates { messages_per_sec, bytes_per_sec, on_excess: Excess::Disconnect })
        };
        assert_eq!(config.rates(&listener), expected(7, 0));
        (listener.message_rate, listener.byte_rate) = (8, 9);
        assert_eq!(config.rates(&listener), expected(8, 9));
    }
}
