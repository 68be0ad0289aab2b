//! Who a message goes to on its shard, and with what options; a subscription is eight bytes.

use crate::base::SubscriptionId;
use crate::base::limits::SUBSCRIPTION_ID_MAX;
use crate::mqtt::QoS;

use super::hash::spread;
use super::keyed_vec::Keyed;

const GROUP_BIT: u32 = 1 << 31;

/// A shared group homed on this shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u32);

/// A receiver in a shard's index: a session slot of this shard, or a shared group homed on this shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subscriber(pub(super) u32);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SubscriberKind {
    Session(u32),
    Group(GroupId),
}

impl Subscriber {
    /// Not a receiver: nobody is there.
    pub(super) const NOBODY: Self = Self(u32::MAX);
    /// Not a receiver: several are, in a list.
    pub(super) const SEVERAL: Self = Self(u32::MAX - 1);

    /// # Panics
    /// When `slot` takes the bit that marks groups; a shard's sessions are far fewer.
    pub fn session(slot: u32) -> Self {
        assert!(slot < GROUP_BIT);
        Self(slot)
    }

    /// # Panics
    /// When the group is none that [`super::SharedGroups`] gives out.
    pub fn group(group: GroupId) -> Self {
        assert!(group.0 < Self::SEVERAL.0 - GROUP_BIT);
        Self(group.0 | GROUP_BIT)
    }

    pub fn kind(self) -> SubscriberKind {
        if self.0 & GROUP_BIT == 0 {
            SubscriberKind::Session(self.0)
        } else {
            SubscriberKind::Group(GroupId(self.0 & !GROUP_BIT))
        }
    }

    /// Slots are dense and given out by the shard, so nobody can choose them to collide.
    pub(super) const fn hash(self) -> u64 {
        spread(self.0 as u64)
    }
}

/// What a subscription asks for. [MQTT-3.8.3-3]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<SubscriptionId>,
}

impl SubscriptionOptions {
    /// A shared group's own subscription: each member's options decide what he gets.
    pub const OF_GROUP: Self = Self { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: true, id: None };
}

/// The options in one word: 28 bits of identifier (0 for none), two of QoS, two flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PackedOptions(pub(super) u32);

const QOS_SHIFT: u32 = 28;
const NO_LOCAL: u32 = 1 << 30;
const RETAIN_AS_PUBLISHED: u32 = 1 << 31;
const _: () = assert!(SUBSCRIPTION_ID_MAX < 1 << QOS_SHIFT);

impl PackedOptions {
    pub(super) fn new(options: SubscriptionOptions) -> Self {
        let mut word = options.id.map_or(0, SubscriptionId::get) | (options.qos as u32) << QOS_SHIFT;
        if options.no_local {
            word |= NO_LOCAL;
        }
        if options.retain_as_published {
            word |= RETAIN_AS_PUBLISHED;
        }
        Self(word)
    }

    pub(super) const fn qos(self) -> QoS {
        match self.0 >> QOS_SHIFT & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    pub(super) const fn no_local(self) -> bool {
        self.0 & NO_LOCAL != 0
    }

    pub(super) const fn retain_as_published(self) -> bool {
        self.0 & RETAIN_AS_PUBLISHED != 0
    }

    pub(super) const fn id(self) -> Option<SubscriptionId> {
        SubscriptionId::new(self.0 & SUBSCRIPTION_ID_MAX)
    }

    pub(super) const fn unpack(self) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: self.qos(),
            no_local: self.no_local(),
            retain_as_published: self.retain_as_published(),
            id: self.id(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subscription {
    pub(super) who: Subscriber,
    pub(super) options: PackedOptions,
}

impl Keyed for Subscription {
    type Key = Subscriber;

    fn key(&self) -> Subscriber {
        self.who
    }

    fn hash(who: Subscriber) -> u64 {
        who.hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_groups_are_told_apart() {
        assert_eq!(Subscriber::session(7).kind(), SubscriberKind::Session(7));
        assert_eq!(Subscriber::group(GroupId(7)).kind(), SubscriberKind::Group(GroupId(7)));
        assert_ne!(Subscriber::session(7), Subscriber::group(GroupId(7)));
    }

    #[test]
    fn options_survive_their_packing() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for flags in 0..4 {
                for id in [0, 1, SUBSCRIPTION_ID_MAX] {
                    let options = SubscriptionOptions {
                        qos,
                        no_local: flags & 1 != 0,
                        retain_as_published: flags & 2 != 0,
                        id: SubscriptionId::new(id),
                    };
                    assert_eq!(PackedOptions::new(options).unpack(), options);
                }
            }
        }
    }
}
