//! A session belongs to who made it; who else comes with its client identifier gets a new one. And who comes and goes is
//! told to the guard.

use thrum::base::{Millis, RecordId, ShardId};
use thrum::broker::{Event, Homes, Options, Owner, Record, StoredSession};
use thrum::mqtt::{QoS, ReasonCode, Version};
use thrum::routing::SubscriptionOptions;

use crate::client::{
    LastWill, Login, Message, all, disconnect, expect_cut, expect_nothing, subscribe, take_payloads, unsubscribe,
};
use crate::house::House;
use crate::net::{Client, Net};

const NAMES: [&str; 4] = ["", "ada", "bob", "ada@tenant/"];

fn session_of(name: &str) -> Login {
    let login = Login::v5("id").expiry(1_000).resuming();
    if name.is_empty() { login } else { login.user_name(name) }
}

fn publish(net: &mut Net, sender: Client, payload: &str) {
    // To all tenants' and everybody's own "a".
    for topic in ["a", "tenant/a"] {
        Message::new(topic, payload).at_least_once(1).publish(net, sender);
    }
}

#[test]
fn a_session_is_resumed_by_its_owner_and_by_nobody_else() {
    for owner in NAMES {
        for thief in NAMES.into_iter().filter(|&name| name != owner) {
            for version in [Version::V3_1_1, Version::V5] {
                House::on_shards(|_, mut net| {
                    let login = |name: &str| {
                        let login = Login::new(version, "id").resuming();
                        let login = if version == Version::V5 { login.expiry(1_000) } else { login };
                        if name.is_empty() { login } else { login.user_name(name) }
                    };
                    let sender = Login::v5("sender").connect(&mut net);
                    let first = login(owner).connect(&mut net);
                    subscribe(&mut net, first, "a", QoS::AtLeastOnce);
                    disconnect(&mut net, first);
                    publish(&mut net, sender, "secret");
                    let (again, present) = login(owner).present(&mut net);
                    assert!(present && take_payloads(&mut net, again) == ["secret"]);
                    disconnect(&mut net, again);
                    publish(&mut net, sender, "secret");
                    let (other, present) = login(thief).present(&mut net);
                    assert!(!present, "{thief:?} got the session of {owner:?}");
                    publish(&mut net, sender, "secret");
                    expect_nothing(&mut net, other);
                    disconnect(&mut net, other);
                    // It is gone for its owner too, as by Clean Start of a client with this identifier.
                    let (again, present) = login(owner).present(&mut net);
                    assert!(!present);
                    expect_nothing(&mut net, again);
                });
            }
        }
    }
}

// [MQTT-3.1.4-3]
#[test]
fn another_identity_takes_the_connection_over_but_not_the_session() {
    House::on_shards(|_, mut net| {
        let watcher = Login::v5("watcher").connect(&mut net);
        subscribe(&mut net, watcher, "gone", QoS::AtMostOnce);
        let first = session_of("ada").will(LastWill::new("gone", "ada")).connect(&mut net);
        subscribe(&mut net, first, "a", QoS::AtLeastOnce);
        let (second, present) = session_of("bob").present(&mut net);
        expect_cut(&mut net, first, ReasonCode::SessionTakenOver);
        assert!(!present && take_payloads(&mut net, watcher) == ["ada"]);
        publish(&mut net, watcher, "x");
        expect_nothing(&mut net, second);
        assert_eq!(unsubscribe(&mut net, second, "a"), [ReasonCode::NoSubscriptionExisted as u8]);
    });
}

fn stored(owner: Option<Owner>) -> StoredSession {
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
    StoredSession {
        id: RecordId::new(1, ShardId::new(0)).unwrap(),
        client_id: "id".into(),
        owner,
        expiry_secs: 1_000,
        left_at: None,
        subscriptions: vec![("a".into(), options)],
        in_flight: Vec::new(),
        releases: Vec::new(),
        queue: Vec::new(),
        received: Vec::new(),
        will: None,
    }
}

fn restored(owner: Option<Owner>) -> Net {
    let options = Options { shards: 2, durable: true, next_record: 100, ..Options::default() };
    let home = Homes::new(options.seed, 2).of_client("id").index();
    let mut net = House::default().net(options);
    net.restore(home, stored(owner));
    net
}

#[test]
fn a_session_belongs_to_its_owner_across_a_start() {
    let ada = Owner { user: Some("ada".into()), mount: "".into() };
    let (_, present) = session_of("ada").present(&mut restored(Some(ada.clone())));
    assert!(present);
    for thief in ["", "bob", "ada@tenant/"] {
        let mut net = restored(Some(ada.clone()));
        let (client, present) = session_of(thief).present(&mut net);
        assert!(!present, "{thief}");
        Message::new("a", "").publish(&mut net, client);
        expect_nothing(&mut net, client);
        assert!(net.records.contains(&Record::SessionEnded { session: stored(None).id }));
    }
    let anonymous = Owner { user: None, mount: "".into() };
    assert!(session_of("").present(&mut restored(Some(anonymous.clone()))).1);
    assert!(!session_of("ada").present(&mut restored(Some(anonymous))).1);
}

#[test]
fn a_session_of_a_time_without_owners_becomes_that_of_the_first_who_comes() {
    let mut net = restored(None);
    let (client, present) = session_of("ada").present(&mut net);
    assert!(present);
    let owner = Owner { user: Some("ada".into()), mount: "".into() };
    assert!(net.records.contains(&Record::SessionOwned { session: stored(None).id, owner }));
    disconnect(&mut net, client);
    assert!(!session_of("bob").present(&mut net).1);
    // Who wants it to end owns nothing of it.
    let mut net = restored(None);
    assert!(!Login::v5("id").user_name("bob").present(&mut net).1);
    assert!(!net.records.iter().any(|record| matches!(record, Record::SessionOwned { .. })));
}

#[test]
fn what_is_recorded_of_a_session_tells_whose_it_is() {
    for (name, user, mount) in [("", None, ""), ("ada", Some("ada"), ""), ("ada@tenant/", Some("ada"), "tenant/")] {
        let mut net = House::default().net(Options { durable: true, ..Options::default() });
        session_of(name).connect(&mut net);
        let found = net.records.iter().find_map(|record| match record {
            Record::SessionStarted { owner, .. } => owner.clone(),
            _ => None,
        });
        assert_eq!(found, Some(Owner { user: user.map(Into::into), mount: mount.into() }));
    }
}

#[test]
fn the_guard_is_told_of_each_connection_that_is_let_in_and_of_its_end() {
    House::on_shards(|house, mut net| {
        let seats = |house: &House| house.rules().seats.get("ada").copied().unwrap_or(0);
        let login = |id: &str| Login::v5(id).user_name("ada").expiry(1_000).resuming();
        let clients = ["1", "2", "3"].map(|id| login(id).connect(&mut net));
        assert_eq!(seats(&house), 3);
        disconnect(&mut net, clients[0]);
        assert_eq!(seats(&house), 2);
        net.cut(clients[1]);
        assert_eq!(seats(&house), 1);
        net.advance(Millis::from_secs(200));
        assert!(net.is_closed(clients[2]) && seats(&house) == 0);
        // Who is not let in does not come in: here for his will.
        house.rules().no_publish.push("no".into());
        login("4").will(LastWill::new("no", "")).refused(&mut net);
        assert_eq!(seats(&house), 0);
    });
}

#[test]
fn who_has_no_seat_is_told_why_and_nobody_loses_his_for_it() {
    House::on_shards(|house, mut net| {
        house.rules().seats_max = Some(1);
        let ada = Login::v5("1").user_name("ada").connect(&mut net);
        let bob = Login::v5("2").user_name("bob").connect(&mut net);
        assert_eq!(Login::v5("3").user_name("ada").refused(&mut net), ReasonCode::ServerBusy);
        // Not even whose session he would have taken.
        assert_eq!(Login::v5("1").user_name("bob").refused(&mut net), ReasonCode::ServerBusy);
        expect_nothing(&mut net, ada);
        expect_nothing(&mut net, bob);
        let refused = net.events.iter().filter_map(|event| match event {
            Event::Refused { user_name, .. } => user_name.as_deref(),
            _ => None,
        });
        assert_eq!(refused.collect::<Vec<_>>(), ["ada", "bob"]);
        // A client that comes back while its old connection is there needs no second one.
        let again = Login::v5("1").user_name("ada").connect(&mut net);
        expect_cut(&mut net, ada, ReasonCode::SessionTakenOver);
        assert_eq!(house.rules().seats["ada"], 1);
        disconnect(&mut net, again);
        disconnect(&mut net, bob);
        assert!(house.rules().seats.is_empty());
        all(&mut net, ada);
    });
}
