//! A client that keeps to the protocol: its session, its connection, and what it does when a packet comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use thrum::mqtt::{AckType, ReasonCode, Version};

use crate::model::{Model, NEVER_SECS};
use crate::packets::{ConnectUp, Down, FilterUp, Msg, TOPICS, Up, WillUp, Written};
use crate::profile::Profile;
use crate::rng::Rng;

const FILTERS: [&str; 16] =
    ["a", "a/b", "a/c", "b/x", "q", "/z", "a/b/c", "#", "a/#", "a/+", "+/b", "+/+", "b/+", "+", "/+", "a/very/#"];
const WITHOUT_WILDCARD: usize = 7;
/// Publishes under way of clients that are not told a Receive Maximum.
const WINDOW: usize = 10;

#[derive(Clone, Debug)]
struct Out {
    pid: u16,
    msg: Msg,
    qos: u8,
    released: bool,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub index: usize,
    pub id: String,
    pub version: Version,
    pub expiry_secs: u32,
    receive_max: u16,
    pub alias_max: u16,
    pub packet_max: Option<u32>,
    keep_alive_secs: u16,
    always_clean: Option<bool>,
    may_expire: bool,
    lowest_pid: bool,
    // The connection.
    pub wire: Option<usize>,
    pub connected: bool,
    clean_sent: bool,
    must_clean: bool,
    server_receive_max: u16,
    server_alias_max: u16,
    aliases: BTreeMap<u8, u16>,
    pending: BTreeSet<u16>,
    acks: VecDeque<(AckType, u16)>,
    // The session.
    out: VecDeque<Out>,
    received: BTreeSet<u16>,
    next_pid: u16,
    filters: Vec<(Option<&'static str>, &'static str)>,
}

impl Client {
    pub fn draw(index: usize, profile: &Profile, rng: &mut Rng) -> Self {
        let version = match profile.version.unwrap_or_else(|| rng.pick(&[3, 4, 4, 5, 5, 5])) {
            3 => Version::V3_1,
            4 => Version::V3_1_1,
            _ => Version::V5,
        };
        let v5 = version == Version::V5;
        let finite = profile.options.session_expiry_secs_max != u32::MAX;
        let expiry_secs = if v5 { rng.pick(&[0, 3, 20, NEVER_SECS, NEVER_SECS]) } else { NEVER_SECS };
        // Who is not told whether the session is there, must know.
        let always_clean = (version == Version::V3_1).then(|| finite || rng.percent(40));
        Self {
            index,
            id: format!("c{index}-{}", rng.below(1000)),
            version,
            expiry_secs,
            receive_max: if v5 { rng.pick(&[1, 2, 10, u16::MAX]) } else { u16::MAX },
            alias_max: if v5 { rng.pick(&[0, 1, 10]) } else { 0 },
            packet_max: (v5 && !profile.mixed && rng.percent(25)).then_some(200),
            keep_alive_secs: rng.pick(&[0, 0, 0, 5, 20]),
            always_clean,
            may_expire: finite || expiry_secs != NEVER_SECS,
            lowest_pid: rng.percent(50),
            wire: None,
            connected: false,
            clean_sent: false,
            must_clean: false,
            server_receive_max: 0,
            server_alias_max: 0,
            aliases: BTreeMap::new(),
            pending: BTreeSet::new(),
            acks: VecDeque::new(),
            out: VecDeque::new(),
            received: BTreeSet::new(),
            next_pid: 1,
            filters: Vec::new(),
        }
    }

    /// A client that watches everything from now on.
    pub fn observer(index: usize, version: Version) -> Self {
        let mut rng = Rng::new(1);
        let mut profile = Profile::draw(&mut rng);
        profile.version = Some(5);
        let mut client = Self::draw(index, &profile, &mut rng);
        client.version = version;
        (client.receive_max, client.packet_max, client.keep_alive_secs) = (u16::MAX, None, 0);
        (client.expiry_secs, client.always_clean, client.alias_max) = (0, Some(true), 0);
        client.id = format!("observer-{index}");
        client
    }

    pub fn connect(&mut self, clean: bool, expiry_secs: u32, will: Option<WillUp>) -> Up {
        let clean = self.always_clean.unwrap_or(clean || self.must_clean);
        let v5 = self.version == Version::V5;
        self.connected = false;
        self.clean_sent = clean;
        self.must_clean |= clean;
        self.aliases.clear();
        self.pending.clear();
        self.acks.clear();
        Up::Connect(Box::new(ConnectUp {
            id: self.id.clone(),
            version: self.version,
            clean,
            keep_alive_secs: self.keep_alive_secs,
            expiry_secs: if v5 { expiry_secs } else { 0 },
            receive_max: if v5 { self.receive_max } else { u16::MAX },
            alias_max: if v5 { self.alias_max } else { 0 },
            packet_max: self.packet_max.filter(|_| v5),
            will,
        }))
    }

    pub fn draw_will(&self, profile: &Profile, rng: &mut Rng, model: &mut Model) -> Option<WillUp> {
        if !rng.percent(profile.will) {
            return None;
        }
        let v5 = self.version == Version::V5;
        let topic = rng.below(TOPICS.len()) as u8;
        let (qos, retain) = (rng.below(3) as u8, rng.percent(profile.retain));
        let expiry = (v5 && rng.percent(profile.expiry)).then(|| rng.between(1, 20) as u32);
        let written = Written { topic, qos, retain, clears: false, big: false, expiry };
        let msg = model.write_down(self.index, written, true);
        let delay_secs = if v5 { rng.pick(&[0, 1, 2, 10]) } else { 0 };
        Some(WillUp { msg, topic, qos, retain, delay_secs, expiry })
    }

    /// May speak another version on its next connection.
    pub fn change_version(&mut self, rng: &mut Rng) {
        if self.always_clean.is_none() {
            self.version = rng.pick(&[Version::V3_1_1, Version::V5]);
        }
    }

    /// The connection is gone.
    pub fn lost(&mut self) {
        if self.wire.take().is_some() && !self.connected && self.may_expire {
            // Whether the session is the one it knows, it could not tell any more.
            self.must_clean = true;
        }
        self.connected = false;
        self.acks.clear();
        self.pending.clear();
    }

    pub fn has_late_acks(&self) -> bool {
        !self.acks.is_empty()
    }

    pub fn take_acks(&mut self, count: usize) -> Vec<Up> {
        let count = count.min(self.acks.len());
        self.acks.drain(..count).map(|(kind, pid)| Up::Ack(kind, pid)).collect()
    }

    fn new_pid(&mut self) -> u16 {
        let mut pid = if self.lowest_pid { 1 } else { self.next_pid };
        while self.out.iter().any(|out| out.pid == pid) || self.pending.contains(&pid) {
            pid = pid.checked_add(1).unwrap_or(1);
        }
        self.next_pid = pid.checked_add(1).unwrap_or(1);
        pid
    }

    pub fn publish(&mut self, profile: &Profile, rng: &mut Rng, model: &mut Model) -> Option<Up> {
        let v5 = self.version == Version::V5;
        let qos = rng.below(3) as u8;
        let window = if v5 { usize::from(self.server_receive_max).min(50) } else { WINDOW };
        if qos > 0 && self.out.len() >= window {
            return None;
        }
        let retain = rng.percent(profile.retain);
        let written = Written {
            topic: rng.below(TOPICS.len()) as u8,
            qos,
            retain,
            clears: retain && rng.percent(20),
            big: rng.percent(profile.big),
            expiry: (v5 && rng.percent(profile.expiry)).then(|| rng.between(1, 20) as u32),
        };
        let topic = written.topic;
        let msg = model.write_down(self.index, written, false);
        let mut pid = 0;
        if qos > 0 {
            pid = self.new_pid();
            self.out.push_back(Out { pid, msg, qos, released: false });
        }
        Some(Up::Publish { msg, pid, dup: false, alias: self.alias_for(topic, rng) })
    }

    fn alias_for(&mut self, topic: u8, rng: &mut Rng) -> Option<(u16, bool)> {
        if self.server_alias_max == 0 || rng.percent(30) {
            return None;
        }
        if let Some(&alias) = self.aliases.get(&topic) {
            return Some((alias, rng.percent(20)));
        }
        let alias = rng.between(1, usize::from(self.server_alias_max)) as u16;
        self.aliases.retain(|_, used| *used != alias);
        self.aliases.insert(topic, alias);
        Some((alias, true))
    }

    pub fn subscribe(&mut self, profile: &Profile, rng: &mut Rng) -> Up {
        let v5 = self.version == Version::V5;
        let mut filters: Vec<FilterUp> = Vec::new();
        for _ in 0..rng.pick(&[1, 1, 1, 2, 3]) {
            let wild = rng.percent(profile.wildcards);
            let filter = if wild {
                FILTERS[rng.between(WITHOUT_WILDCARD, FILTERS.len() - 1)]
            } else {
                FILTERS[rng.below(WITHOUT_WILDCARD)]
            };
            let group = rng.percent(profile.share).then(|| rng.pick(&["g", "h"]));
            if filters.iter().any(|other| (other.group, other.filter) == (group, filter)) {
                continue;
            }
            filters.push(FilterUp {
                group,
                filter,
                qos: rng.pick(&[0, 1, 1, 2, 2]),
                no_local: v5 && group.is_none() && rng.percent(15),
                rap: v5 && rng.percent(30),
                rh: if v5 { rng.pick(&[0, 0, 1, 2]) } else { 0 },
            });
        }
        self.subscribe_to((v5 && rng.percent(60)).then(|| rng.between(1, 9) as u32), filters)
    }

    pub fn subscribe_to(&mut self, id: Option<u32>, filters: Vec<FilterUp>) -> Up {
        for filter in &filters {
            let key = (filter.group, filter.filter);
            if !self.filters.contains(&key) {
                self.filters.push(key);
            }
        }
        let pid = self.new_pid();
        self.pending.insert(pid);
        Up::Subscribe { pid, id, filters }
    }

    pub fn unsubscribe(&mut self, rng: &mut Rng) -> Option<Up> {
        if self.filters.is_empty() {
            return None;
        }
        let filter = self.filters.swap_remove(rng.below(self.filters.len()));
        let pid = self.new_pid();
        self.pending.insert(pid);
        Some(Up::Unsubscribe { pid, filters: vec![filter] })
    }

    /// A DISCONNECT may change the interval, but not from zero.
    pub fn disconnect(&mut self, rng: &mut Rng) -> Up {
        let v5 = self.version == Version::V5;
        let expiry = (v5 && self.expiry_secs != 0 && rng.percent(20)).then(|| rng.pick(&[0, 2]));
        self.may_expire |= expiry.is_some();
        Up::Disconnect { with_will: v5 && rng.percent(30), expiry }
    }

    /// Takes a packet; what it answers at once.
    pub fn receive(&mut self, down: &Down, session: Option<usize>, model: &mut Model) -> Vec<Up> {
        match down {
            Down::ConnAck { present, reason, receive_max, alias_max, .. } => {
                if *reason != ReasonCode::Success {
                    model.fail(format!("client {} was refused: {reason:?}", self.index));
                    return Vec::new();
                }
                (self.server_receive_max, self.server_alias_max) = (*receive_max, *alias_max);
                return self.on_connack(*present);
            }
            Down::Publish(publish) => {
                let session = session.expect("only who was let in is sent messages");
                let is_new = publish.qos < 2 || self.received.insert(publish.pid);
                if let (true, Some(msg)) = (is_new, publish.msg) {
                    model.received(session, msg, publish);
                }
                match publish.qos {
                    1 => self.acks.push_back((AckType::PubAck, publish.pid)),
                    2 => self.acks.push_back((AckType::PubRec, publish.pid)),
                    _ => {}
                }
            }
            Down::Ack(kind, pid, reason) => return self.on_ack(*kind, *pid, *reason, model),
            Down::SubAck { pid, .. } | Down::UnsubAck { pid } => {
                if !self.pending.remove(pid) {
                    model.fail(format!("client {} has no request {pid}", self.index));
                }
            }
            Down::PingResp | Down::Disconnect => {}
        }
        Vec::new()
    }

    fn on_connack(&mut self, present: bool) -> Vec<Up> {
        self.connected = true;
        self.must_clean = false;
        let keeps = if self.version == Version::V3_1 { !self.clean_sent } else { present };
        if !keeps {
            self.out.clear();
            self.received.clear();
            self.filters.clear();
        }
        let again = self.out.iter().map(|out| match out.released {
            true => Up::Ack(AckType::PubRel, out.pid),
            false => Up::Publish { msg: out.msg, pid: out.pid, dup: true, alias: None },
        });
        again.collect()
    }

    fn on_ack(&mut self, kind: AckType, pid: u16, reason: ReasonCode, model: &mut Model) -> Vec<Up> {
        if kind == AckType::PubRel {
            self.received.remove(&pid);
            self.acks.push_back((AckType::PubComp, pid));
            return Vec::new();
        }
        let client = self.index;
        let Some(at) = self.out.iter().position(|out| out.pid == pid) else {
            model.fail(format!("client {client} got {kind:?} {pid} for nothing it has under way"));
            return Vec::new();
        };
        let Out { msg, qos, released, .. } = self.out[at];
        let fits = match kind {
            AckType::PubAck => qos == 1,
            AckType::PubRec => qos == 2,
            _ => qos == 2 && released,
        };
        // A PUBREL that is repeated on a resumed session may find its exchange over.
        if !fits || reason.is_error() && kind != AckType::PubComp {
            model.fail(format!("client {client} got {kind:?} {pid} {reason:?} for QoS {qos}, released={released}"));
        }
        let earlier = |out: &Out| out.qos == qos && !out.released;
        if kind != AckType::PubComp && !released && self.out.iter().take(at).any(earlier) {
            model.fail(format!("client {client} got {kind:?} {pid} before that of an earlier publish"));
        }
        if kind != AckType::PubComp {
            model.acknowledged(msg, reason);
        }
        if kind == AckType::PubRec {
            self.out[at].released = true;
            return vec![Up::Ack(AckType::PubRel, pid)];
        }
        self.out.remove(at);
        Vec::new()
    }

    pub fn waits_for(&self) -> String {
        format!("wire {:?} {:?} {:?} {:?}", self.wire, self.out, self.pending, self.acks)
    }

    /// Nothing under way that an answer of the broker would end.
    pub fn is_idle(&self) -> bool {
        self.out.is_empty() && self.pending.is_empty() && self.acks.is_empty()
    }
}

impl Client {
    /// From now on without a session of its own choice.
    pub fn forget_session(&mut self) {
        if self.always_clean.is_some() {
            self.always_clean = Some(true);
        }
        self.must_clean = true;
    }
}
