//! How a broker of the world ends and starts again, and how a run comes to its end and its verdict.

use crate::broker::Broker;
use crate::client::Client;
use crate::judge::{judge, of_images, of_retained};
use crate::packets::TOPICS;
use crate::world::World;

impl World {
    /// The broker is gone, by kill -9 or with the power.
    pub fn crash(&mut self) {
        let is_power_loss = self.rng.percent(self.profile.power);
        self.note(|| format!("CRASH, power loss: {is_power_loss}"));
        for wire in 0..self.wires.len() {
            // Some of what was sent still arrives.
            let packets = self.rng.below(20);
            self.read(wire, packets);
        }
        let folders = self.disk.folders.iter_mut().zip(&mut self.broker.shards);
        for (folder, shard) in folders {
            for operation in shard.running.iter_mut().filter_map(Option::take) {
                folder.interrupt(&operation, &mut self.rng);
            }
        }
        let Broker { store, .. } = std::mem::take(&mut self.broker);
        let is_whole = self.rng.percent(50);
        if let Err(fault) = self.disk.close(store, is_whole) {
            self.fail(fault);
        }
        if is_power_loss {
            self.disk.lose_power(&mut self.rng);
        }
        self.wires.clear();
        self.jobs.clear();
        self.clients.iter_mut().for_each(Client::lost);
        self.now += self.rng.between(1, 2_000) as u64;
    }

    pub fn start(&mut self) {
        while self.fault.is_none() && self.rng.percent(self.profile.in_start) {
            self.note(|| "a start that comes to its end before its time".to_owned());
            let shards = self.rng.between(1, 3);
            let result = self.disk.begin_start(shards, &mut self.rng);
            if let Err(fault) = result {
                self.fail(fault);
            }
            if self.rng.percent(self.profile.power) {
                self.disk.lose_power(&mut self.rng);
            }
        }
        let shards = self.rng.between(1, 3);
        match self.disk.start(shards) {
            Ok(opened) => {
                self.note(|| format!("start with {shards} shards: {:?}, next {}", opened.report, opened.next_number));
                let faults = of_images(&self.sent, &self.clients, &opened.shards);
                faults.into_iter().for_each(|fault| self.fail(format!("at a start: {fault}")));
                self.broker = Broker::start(opened, &self.profile, &self.disk.folders, self.now);
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// Without faults until nothing is left to do, and then the verdict.
    pub fn end(&mut self) {
        if self.fault.is_some() {
            return;
        }
        self.is_failing = false;
        // What a disk that was not well has left unanswered is asked for again.
        for is_last in [false, true] {
            self.rest(4_500);
            if !is_last {
                (0..self.clients.len()).for_each(|client| self.hang_up(client));
                self.rest(100);
                (0..self.clients.len()).for_each(|client| self.connect(client, false));
            }
        }
        if self.fault.is_some() {
            return;
        }
        let unfinished: Vec<String> = self.clients.iter().filter_map(Client::unfinished).collect();
        unfinished.into_iter().for_each(|what| self.fail(format!("it waits for ever: {what}")));
        judge(&self.sent, &self.clients).into_iter().for_each(|fault| self.fail(fault));
        self.audit();
    }

    /// What a new subscriber finds retained.
    fn audit(&mut self) {
        let mut auditor = Client::draw(self.clients.len(), &self.profile, &mut self.rng);
        (auditor.id, auditor.group) = (format!("auditor {}", self.step), None);
        self.clients.push(auditor);
        let client = self.clients.len() - 1;
        self.connect(client, false);
        self.rest(100);
        let up = self.clients[client].subscribe_to("#");
        self.send(client, &up);
        self.rest(100);
        let found = std::mem::take(&mut self.clients[client].retained);
        for topic in 0..TOPICS.len() as u8 {
            let fault = of_retained(&self.sent, topic, found.get(&topic).copied().flatten());
            fault.into_iter().for_each(|fault| self.fail(format!("to a new subscriber: {fault}")));
        }
        self.hang_up(client);
        self.rest(100);
        self.clients.pop();
    }

    /// Until nothing more happens for so many milliseconds; the time goes on meanwhile.
    fn rest(&mut self, quiet: u64) {
        let mut quiet_since = self.now;
        for _ in 0..100_000 {
            if self.fault.is_some() || self.now > quiet_since + quiet {
                return;
            }
            if self.do_all() {
                quiet_since = self.now;
                self.now += 1;
            } else {
                self.now += 20;
            }
        }
        self.fail("it does not come to rest".to_owned());
    }

    fn do_all(&mut self) -> bool {
        let mut did = false;
        while !self.broker.is_up() {
            self.restore_one();
            did = true;
        }
        self.tick();
        for shard in 0..self.broker.shards.len() {
            did |= self.operate(shard, 0) | self.operate(shard, 1) | self.news(shard) | self.mesh(shard, true);
        }
        did |= self.settle() | self.settled() | self.fetch();
        for job in std::mem::take(&mut self.jobs) {
            self.run(job);
            did = true;
        }
        for wire in 0..self.wires.len() {
            if self.wires[wire].can_be_fed() {
                let all = self.wires[wire].up.len();
                did |= self.feed(wire, all);
            }
            did |= self.read(wire, 100);
        }
        for client in 0..self.clients.len() {
            while self.answer(client) {
                did = true;
            }
        }
        did || !self.jobs.is_empty()
    }
}
