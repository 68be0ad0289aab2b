//! Shared subscriptions: each message to one member, wherever the members are.

use std::collections::BTreeMap;

use crate::broker::{Broker, on_shards, plain};
use crate::client::{Came, Client, connect};
use crate::packets::{Login, PING, PINGRESP, V3_1_1, V5};

const MESSAGES: u64 = 300;

fn members(broker: &Broker, filter: &str) -> Vec<Client> {
    let versions = [V5, V3_1_1];
    let member = |number: usize| {
        let mut member = connect(broker, versions[number % 2], &format!("member {number}"));
        member.subscribe(filter, 1);
        member
    };
    (0..6).map(member).collect()
}

/// All that has come to the members, by number and member, acknowledged. Asks again until as many came.
fn collect(members: &mut [Client], expected: u64) -> BTreeMap<u64, usize> {
    let mut came = BTreeMap::new();
    let started = std::time::Instant::now();
    while (came.len() as u64) < expected {
        assert!(started.elapsed() < crate::broker::PATIENCE, "{} of {expected} came", came.len());
        for (index, member) in members.iter_mut().enumerate() {
            member.send(&PING);
            loop {
                match member.come(crate::broker::PATIENCE) {
                    Came::Packet(packet) if packet.kind() == PINGRESP => break,
                    Came::Packet(packet) => {
                        let publish = packet.publish();
                        assert_eq!(came.insert(publish.number(), index), None, "{} came twice", publish.number());
                        member.acknowledge(&publish);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    came
}

#[test]
fn each_message_comes_to_one_member_and_every_member_gets_some() {
    on_shards(plain, |broker| {
        let mut members = members(broker, "$share/group/work/#");
        let mut publisher = connect(broker, V5, "publisher");
        for number in 0..MESSAGES {
            publisher.publish_to(&format!("work/{}", number % 5), number.to_string().as_bytes(), 1);
        }
        let came = collect(&mut members, MESSAGES);
        for index in 0..members.len() {
            let share = came.values().filter(|&&member| member == index).count() as u64;
            assert!(share >= MESSAGES / 20, "member {index} of 6 got {share} of {MESSAGES}");
        }
        // No more than once, after all that was under way has come.
        publisher.publish_to("work/0", MESSAGES.to_string().as_bytes(), 1);
        assert!(collect(&mut members, 1).contains_key(&MESSAGES));
    });
}

#[test]
fn groups_and_plain_subscriptions_do_not_share_with_each_other() {
    on_shards(plain, |broker| {
        let mut one = connect(broker, V5, "one");
        one.subscribe("$share/one/topic", 1);
        let mut two = connect(broker, V5, "two");
        two.subscribe("$share/two/topic", 1);
        let mut own = connect(broker, V3_1_1, "own");
        own.subscribe("topic", 1);
        let mut publisher = connect(broker, V5, "publisher");
        for number in 0..20 {
            publisher.publish_to("topic", number.to_string().as_bytes(), 1);
        }
        for client in [&mut one, &mut two, &mut own] {
            for number in 0..20 {
                let got = client.publish();
                assert_eq!(got.number(), number);
                client.acknowledge(&got);
            }
            client.ping();
        }
    });
}

// What a member had and did not acknowledge goes to the others when its session is over. (MQTT 5.0, 4.8.2)
#[test]
fn the_work_of_a_member_that_dies_is_done_by_the_others() {
    on_shards(plain, |broker| {
        let mut members = members(broker, "$share/group/work");
        let mut publisher = connect(broker, V5, "publisher");
        for number in 0..60 {
            publisher.publish_to("work", number.to_string().as_bytes(), 1);
        }
        // Two of six die with their share in hand.
        members.drain(..2).for_each(Client::reset);
        assert_eq!(collect(&mut members, 60).len(), 60);
    });
}

#[test]
fn members_come_and_go_while_messages_do() {
    on_shards(plain, |broker| {
        let mut members = members(broker, "$share/group/work");
        let mut publisher = connect(broker, V5, "publisher");
        let mut came = 0;
        for round in 0..20 {
            for number in 0..30 {
                publisher.publish_to("work", (round * 30 + number).to_string().as_bytes(), 1);
            }
            came += collect(&mut members, 30).len();
            members.remove(round as usize % 6).bye();
            let mut newcomer = Login::new(V5, format!("newcomer {round}")).connect(broker);
            newcomer.subscribe("$share/group/work", 1);
            members.push(newcomer);
        }
        assert_eq!(came, 600);
    });
}
