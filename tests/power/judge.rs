//! What the clients of a run did and saw, and what of it says that the broker forgot, doubled or disordered something.

use std::collections::{BTreeMap, BTreeSet};

use thrum::storage::ShardImage;

use crate::client::{Client, Subscription};
use crate::packets::{Msg, TOPICS, Written, msg_of};

/// What was published, or was to be if its publisher vanished.
#[derive(Clone, Debug)]
pub struct Sent {
    pub publisher: usize,
    pub written: Written,
    pub is_will: bool,
    /// For the first time.
    pub sent_at: u64,
    /// It may have been refused, as the disk had failed, without its publisher knowing: what it sent later may have been
    /// taken before this one is, when it is sent again.
    pub is_late: bool,
    /// By PUBACK or PUBREC.
    pub acknowledged_at: Option<u64>,
}

/// What a receiver has to do with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Claim {
    Due,
    /// It was subscribing or unsubscribing meanwhile, or the message was never acknowledged.
    Open,
    Unwanted,
}

/// What is wrong in the end, when nothing is under way any more.
pub fn judge(sent: &[Sent], clients: &[Client]) -> Vec<String> {
    let mut faults = Vec::new();
    let members: Vec<&Client> = clients.iter().filter(|client| client.group.is_some()).collect();
    if !members.is_empty() {
        of_receiver(sent, "the group", &members, &mut faults);
    }
    for client in clients.iter().filter(|client| client.group.is_none()) {
        of_receiver(sent, &client.id, &[client], &mut faults);
        of_order(sent, client, &mut faults);
    }
    faults
}

/// One client, or a group that is to get each message once in all.
fn of_receiver(sent: &[Sent], name: &str, members: &[&Client], faults: &mut Vec<String>) {
    // Of a session each message comes once; a group is one for all its members' sessions.
    let mut counts: BTreeMap<(Msg, usize), u32> = BTreeMap::new();
    for client in members {
        for &(msg, life) in &client.arrivals {
            let life = if client.group.is_some() { 0 } else { life };
            *counts.entry((msg, life)).or_default() += 1;
        }
    }
    let arrived: BTreeSet<Msg> = counts.keys().map(|(msg, _)| *msg).collect();
    for (msg, sent) in sent.iter().enumerate().filter(|(_, sent)| !sent.written.clears) {
        let claims: Vec<Claim> = members.iter().map(|client| claim(client, sent)).collect();
        // An exchange that a session's end cuts off is continued by nobody else. [MQTT-4.8.2-5]
        let may_be_lost = sent.written.qos == 2
            && members
                .iter()
                .any(|client| client.group.is_some() && client.ended_at.iter().any(|&at| at > sent.sent_at));
        if claims.contains(&Claim::Due) && !arrived.contains(&msg) && !may_be_lost {
            faults.push(format!("{name}: {msg} of {sent:?} never came"));
        }
        if claims.iter().all(|&claim| claim == Claim::Unwanted) && arrived.contains(&msg) {
            faults.push(format!("{name}: {msg} of {sent:?} came and was not asked for"));
        }
    }
    for ((msg, life), count) in counts {
        match sent.get(msg) {
            None => faults.push(format!("{name}: {msg} came and was never sent")),
            Some(sent) if sent.written.qos == 2 && members[0].qos == 2 && count > 1 => {
                faults.push(format!("{name}: {msg} of {sent:?} came {count} times to session {life}"));
            }
            Some(_) => {}
        }
    }
}

fn claim(client: &Client, sent: &Sent) -> Claim {
    let mut claim = Claim::Unwanted;
    for own in client.subscriptions.iter().filter(|own| matches(own.filter, TOPICS[sent.written.topic as usize])) {
        let is_over = own.gone_at.is_some_and(|gone_at| gone_at < sent.sent_at);
        let was_there = own.granted_at.is_some_and(|granted_at| granted_at < sent.sent_at) && own.left_at.is_none();
        match () {
            () if is_over => {}
            () if was_there && sent.acknowledged_at.is_some() && sent.written.qos > 0 => return Claim::Due,
            () => claim = Claim::Open,
        }
    }
    claim
}

/// First arrivals of what one publisher sent to one topic with one QoS come in the order in which it was sent.
fn of_order(sent: &[Sent], client: &Client, faults: &mut Vec<String>) {
    let mut last: BTreeMap<(usize, u8, u8), Msg> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for &(msg, _) in client.arrivals.iter().filter(|(msg, _)| seen.insert(*msg)) {
        // What was on its way when it subscribed may come when it is sent again.
        let is_ordered = |sent: &&Sent| !sent.is_will && !sent.is_late && claim(client, sent) == Claim::Due;
        let Some(sent) = sent.get(msg).filter(is_ordered) else { continue };
        let last = last.entry((sent.publisher, sent.written.topic, sent.written.qos)).or_insert(msg);
        if msg < *last {
            faults.push(format!("{}: {msg} of {sent:?} came after {last}", client.id));
        }
        *last = msg.max(*last);
    }
}

/// What is wrong with what is retained of a topic: it is what was acknowledged last, or what was sent later.
pub fn of_retained(sent: &[Sent], topic: u8, found: Option<Msg>) -> Option<String> {
    let of_topic = |sent: &Sent| sent.written.retain && sent.written.topic == topic;
    let numbers: Vec<Msg> = (0..sent.len()).filter(|&msg| of_topic(&sent[msg])).collect();
    let oldest = numbers.iter().rfind(|&&msg| sent[msg].acknowledged_at.is_some()).copied();
    let may_be = |&msg: &Msg| sent[msg].is_late || oldest.is_none_or(|oldest| msg >= oldest);
    let candidates: Vec<Msg> = numbers.into_iter().filter(may_be).collect();
    let is_right = match found {
        None => oldest.is_none() || candidates.iter().any(|&msg| sent[msg].written.clears),
        Some(found) => candidates.contains(&found) && !sent[found].written.clears,
    };
    (!is_right).then(|| format!("{} has {found:?} retained, and not one of {candidates:?}", TOPICS[topic as usize]))
}

/// What is wrong with what a start found: sessions, subscriptions and retained messages that were acknowledged.
pub fn of_images(sent: &[Sent], clients: &[Client], images: &[ShardImage]) -> Vec<String> {
    let mut faults = Vec::new();
    for client in clients {
        let mut sessions =
            images.iter().flat_map(|image| &image.sessions).filter(|session| *session.client_id == *client.id);
        let (session, second) = (sessions.next(), sessions.next());
        if second.is_some() {
            faults.push(format!("{} has two sessions", client.id));
        }
        let Some(session) = session else {
            if client.is_known {
                faults.push(format!("the session of {} is not there", client.id));
            }
            continue;
        };
        let last: BTreeMap<&str, &Subscription> = client.subscriptions.iter().map(|own| (own.filter, own)).collect();
        for (filter, own) in last {
            let text = client.group.map_or_else(|| filter.to_owned(), |group| format!("$share/{group}/{filter}"));
            let is_there = session.subscriptions.iter().any(|(found, _)| **found == *text);
            if own.granted_at.is_some() && own.left_at.is_none() && !is_there {
                faults.push(format!("{}: its subscription {own:?} is not there", client.id));
            }
            if own.gone_at.is_some() && is_there {
                faults.push(format!("{}: its subscription {own:?} is there", client.id));
            }
        }
    }
    for topic in 0..TOPICS.len() as u8 {
        let mut retained = images.iter().flat_map(|image| &image.retained);
        let found = retained.find(|message| message.topic().as_str() == TOPICS[topic as usize]);
        faults.extend(of_retained(sent, topic, found.and_then(|message| msg_of(message.body().payload()))));
    }
    faults
}

pub fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
