//! The end of a run: faults stop, who has a session comes back, everything comes to rest; then what had to arrive has
//! arrived, and when all are gone nothing is left.

use thrum::base::DropReason;
use thrum::mqtt::Version;

use crate::client::Client;
use crate::model::{Model, Session, Sub, Taken};
use crate::packets::{FilterUp, Msg, Up};
use crate::world::World;

/// Reasons for which a message to a session that lives may be gone when queues are tight.
const FULL: [DropReason; 4] = [
    DropReason::QueueFullNewest,
    DropReason::QueueFullOldest,
    DropReason::QueueFullDisconnect,
    DropReason::LastValueReplaced,
];

pub fn finish(world: &mut World) {
    world.note(|| "the end begins".into());
    for wire in &mut world.wires {
        wire.slow = false;
    }
    for _ in 0..50 {
        world.settle();
        if world.model.violation.is_some() {
            return;
        }
        let away: Vec<usize> = (0..world.clients.len())
            .filter(|&client| world.clients[client].wire.is_none() && world.model.live[client].is_some())
            .collect();
        if away.is_empty() {
            break;
        }
        for client in away {
            world.connect(client, false);
        }
    }
    world.settle();
    for client in &world.clients {
        if client.wire.is_some() && !client.is_idle() {
            let what = format!("client {} waits for ever: {}", client.index, client.waits_for());
            world.model.violation.get_or_insert(what);
        }
    }
    let observer = observe(world);
    judge(world, observer);
    if world.model.violation.is_none() {
        leave(world);
    }
}

/// Somebody new looks at all retained messages.
fn observe(world: &mut World) -> usize {
    let index = world.clients.len();
    let client = Client::observer(index, Version::V5);
    world.model.live.push(None);
    world.model.versions.push(Version::V5);
    world.clients.push(client);
    world.profile.will = 0;
    world.connect(index, true);
    world.settle();
    let all = FilterUp { group: None, filter: "#", qos: 2, no_local: false, rap: false, rh: 0 };
    let up = world.clients[index].subscribe_to(None, vec![all]);
    if let Some(wire) = world.clients[index].wire {
        world.send(wire, up);
    }
    world.settle();
    index
}

fn judge(world: &mut World, _observer: usize) {
    let drops = |shard: usize, reasons: &[DropReason]| -> usize {
        let counters = world.shards[shard].core.counters();
        reasons.iter().map(|&reason| counters.dropped(reason) as usize).sum()
    };
    let model = &world.model;
    let mut missing: Vec<Vec<(usize, Msg)>> = vec![Vec::new(); world.shards.len()];
    for (index, session) in model.sessions.iter().enumerate() {
        if session.to.is_some() {
            continue;
        }
        for msg in 0..model.messages.len() {
            if must_have(world, session, msg) && !has(model, session, msg) {
                missing[session.shard].push((index, msg));
            }
        }
    }
    let mut violation = None;
    for (shard, missing) in missing.iter().enumerate() {
        let full = if world.profile.roomy { 0 } else { drops(shard, &FULL) };
        let excused = full + drops(shard, &[DropReason::QosZeroHeld]);
        if missing.len() > excused {
            let (session, msg) = missing[0];
            let client = model.sessions[session].client;
            let message = &model.messages[msg];
            let got = model.sessions[session].got.get(&msg);
            let lost = missing.len();
            violation = Some(format!(
                "{lost} messages lost on shard {shard}, {excused} drops counted: client {client} never got {msg}: {message:?}, {got:?}"
            ));
        }
    }
    let violation = violation.or_else(|| retained(world)).or_else(|| shared(world)).or_else(|| accepted(world));
    if let Some(violation) = violation {
        world.model.fail(violation);
    }
}

fn sure_subs<'a>(model: &'a Model, session: &'a Session, msg: Msg, taken: &'a Taken) -> impl Iterator<Item = &'a Sub> {
    let message = &model.messages[msg];
    session.subs.iter().filter(move |sub| {
        let own = sub.request.no_local && message.publisher == session.client;
        sub.request.group.is_none()
            && !own
            && sub.matches(message.written.topic)
            && model.is_sure(sub, taken, session.shard)
    })
}

/// Whether a session had to get a message, by a plain subscription.
fn must_have(world: &World, session: &Session, msg: Msg) -> bool {
    let model = &world.model;
    let message = &model.messages[msg];
    if message.written.clears || excused(session, &message.written) {
        return false;
    }
    message.taken.iter().any(|taken| {
        let granted = sure_subs(model, session, msg, taken).map(|sub| sub.request.qos).max();
        let Some(granted) = granted else { return false };
        if granted.min(message.written.qos) > 0 {
            return true;
        }
        let reached = model.reached(taken, session.shard).unwrap_or(taken.step);
        let kept = world.profile.options.queue_qos_zero;
        kept || world.profile.roomy_output && session.online_throughout(taken.step, reached)
    })
}

fn excused(session: &Session, written: &crate::packets::Written) -> bool {
    written.expiry.is_some() || written.big && session.packet_max_ever != u32::MAX
}

/// QoS 0 may be lost on the way from the broker.
fn has(model: &Model, session: &Session, msg: Msg) -> bool {
    let Some(got) = session.got.get(&msg) else { return false };
    got.received > 0
        || got.emitted > 0 && {
            let message = &model.messages[msg];
            let granted = session.subs.iter().filter(|sub| sub.matches(message.written.topic));
            granted.map(|sub| sub.request.qos).min().unwrap_or(0).min(message.written.qos) == 0
        }
}

/// The last retained message of a topic, where there is no doubt which, has come to whoever asked after it.
fn retained(world: &World) -> Option<String> {
    let model = &world.model;
    for topic in 0..crate::packets::TOPICS.len() as u8 {
        let of_topic = || {
            model.messages.iter().enumerate().filter(move |(_, message)| {
                message.written.topic == topic && message.written.retain && !message.taken.is_empty()
            })
        };
        let last_step = |message: &crate::model::Message| message.taken.iter().map(|taken| taken.step).max();
        let Some((last, message)) = of_topic().max_by_key(|(_, message)| last_step(message)) else { continue };
        let begins = message.taken.iter().map(|taken| taken.step).max().unwrap_or(0);
        let shard = message.taken[0].shard;
        let doubtful = of_topic().any(|(other, message)| {
            other != last
                && message.taken.iter().any(|taken| {
                    let late = |shard| model.reached(taken, shard).is_none_or(|at| at >= begins);
                    // Wills of one tick come in no order.
                    taken.step == begins || taken.shard != shard && (0..model.shards).any(late)
                })
        });
        if doubtful || message.written.clears || message.written.expiry.is_some() {
            continue;
        }
        for session in model.sessions.iter().filter(|session| session.to.is_none()) {
            let own = session.client == message.publisher;
            let asked = session.subs.iter().filter(|sub| {
                let asks = sub.replays && sub.to.is_none() && sub.acked.is_some() && sub.from > begins;
                asks && sub.matches(topic) && !(own && sub.request.no_local)
            });
            let Some(since) = asked.map(|sub| sub.from).min() else { continue };
            let got = session.got.get(&last).is_some_and(|got| got.last >= since);
            let held = world.shards[session.shard].core.counters().dropped(DropReason::QosZeroHeld);
            let lossy =
                held > 0 || !world.profile.roomy || !world.profile.roomy_output || excused(session, &message.written);
            if !got && !lossy {
                return Some(format!(
                    "client {} was never sent the retained message {last}: {message:?}",
                    session.client
                ));
            }
        }
    }
    None
}

/// A message for a shared group reached a member, if one was there all the time; and not more of them than it may.
fn shared(world: &World) -> Option<String> {
    let model = &world.model;
    let mut groups: Vec<(Option<&str>, &str)> = model
        .sessions
        .iter()
        .flat_map(|session| &session.subs)
        .filter(|sub| sub.request.group.is_some())
        .map(|sub| (sub.request.group, sub.request.filter))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let members: Vec<(&Session, Vec<&Sub>)> = model
            .sessions
            .iter()
            .map(|session| {
                let subs = session.subs.iter().filter(|sub| (sub.request.group, sub.request.filter) == group);
                (session, subs.collect::<Vec<_>>())
            })
            .filter(|(_, subs)| !subs.is_empty())
            .collect();
        for (msg, message) in model.messages.iter().enumerate() {
            let written = &message.written;
            if written.clears || !members[0].1[0].matches(written.topic) {
                continue;
            }
            let all_acknowledge = members.iter().flat_map(|(_, subs)| subs).all(|sub| sub.request.qos > 0);
            let steady = |taken: &Taken| {
                members.iter().any(|(session, subs)| {
                    session.to.is_none()
                        && subs.iter().any(|sub| sub.to.is_none() && sub.acked.is_some_and(|acked| acked < taken.step))
                })
            };
            let must = written.qos > 0 && all_acknowledge && message.taken.iter().any(steady);
            let got = members.iter().any(|(session, _)| {
                session.got.get(&msg).is_some_and(|got| got.received > 0 || session.to.is_some() && got.emitted > 0)
            });
            // With QoS 2 a delivery that began goes to nobody else, also where it waited for the store until its session
            // ended. [MQTT-4.8.2-5]
            let began = |session: &Session| session.to.is_some() && written.qos == 2 && model.durable;
            let has_begun = members.iter().any(|(session, _)| began(session));
            let excused =
                has_begun || !world.profile.roomy || members.iter().any(|(session, _)| excused(session, written));
            if must && !got && !excused {
                return Some(format!("no member of {group:?} got {msg}: {message:?}"));
            }
            // Only of sessions that have no other way to it.
            let only = members.iter().filter(|(session, _)| {
                session
                    .subs
                    .iter()
                    .filter(|sub| sub.matches(written.topic))
                    .all(|sub| (sub.request.group, sub.request.filter) == group)
            });
            let takers = only.filter(|(session, _)| session.got.get(&msg).is_some_and(|got| got.emitted > 0));
            let (over, living): (Vec<_>, Vec<_>) = takers.partition(|(session, _)| session.to.is_some());
            if living.len() + usize::from(!over.is_empty()) > message.taken.len() + over.len() {
                let clients: Vec<_> = living.iter().map(|(session, _)| session.client).collect();
                return Some(format!("clients {clients:?} of {group:?} all got {msg}: {message:?}"));
            }
        }
    }
    None
}

/// What was acknowledged had been taken, and QoS 2 once for each session of its publisher.
fn accepted(world: &World) -> Option<String> {
    let odd = world.model.messages.iter().enumerate().find(|(_, message)| {
        let mut sessions: Vec<_> = message.taken.iter().map(|taken| taken.session).collect();
        sessions.dedup();
        message.written.qos == 2 && sessions.len() < message.taken.len()
    });
    odd.map(|(msg, message)| format!("message {msg} was taken twice: {message:?}"))
}

/// All clients end their sessions; then nothing may be left of anything.
fn leave(world: &mut World) {
    world.note(|| "all leave".into());
    for client in 0..world.clients.len() {
        if world.clients[client].wire.is_none() {
            let version = world.clients[client].version;
            let wire = world.open(Some(client), version);
            world.clients[client].wire = Some(wire);
            let up = world.clients[client].connect(true, 0, None);
            world.send(wire, up);
        }
    }
    world.settle();
    for client in 0..world.clients.len() {
        let Some(wire) = world.clients[client].wire else { continue };
        world.send(wire, Up::Disconnect { with_will: false, expiry: None });
    }
    world.settle();
    for client in 0..world.clients.len() {
        // Whose session stays, starts clean once more, and is gone for good.
        if world.model.live[client].is_some() {
            let (version, mut client_again) = (world.clients[client].version, world.clients[client].clone());
            let wire = world.open(Some(client), version);
            client_again.wire = Some(wire);
            client_again.forget_session();
            let up = client_again.connect(true, 0, None);
            world.clients[client] = client_again;
            world.send(wire, up);
            world.settle();
            world.send(wire, Up::Disconnect { with_will: false, expiry: None });
        }
    }
    world.settle();
    for wire in 0..world.wires.len() {
        if !world.wires[wire].cut {
            world.hang_up(wire);
        }
    }
    world.settle();
    world.advance(20_000);
    world.settle();
    world.advance(20_000);
    world.settle();
    if world.model.violation.is_some() {
        return;
    }
    for (shard, at) in world.shards.iter().enumerate() {
        let core = &at.core;
        let left = [
            core.sessions_len(),
            core.connections_len(),
            core.subscriptions_len(),
            core.timers_len(),
            core.messages_held(),
            core.unfinished_len(),
            core.groups_len(),
            usize::from(!core.interest_is_empty()),
        ];
        if left != [0; 8] {
            let what = format!(
                "shard {shard} keeps [sessions, connections, subscriptions, timers, messages, unfinished, groups, interest] {left:?}"
            );
            world.model.violation.get_or_insert(what);
        }
    }
}
