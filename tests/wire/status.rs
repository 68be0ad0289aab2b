//! The broker's $SYS topics, read as a client reads them.

use crate::broker::Broker;
use crate::client::Client;
use crate::packets::{Login, PUBLISH, V3_1_1, unsubscribe};

const UPTIME: &str = "$SYS/broker/uptime";

/// Somebody who watches; the broker needs a `sys_interval_secs`.
#[derive(Debug)]
pub(crate) struct Status {
    client: Client,
}

impl Status {
    pub(crate) fn watch(broker: &Broker) -> Self {
        // It may have nothing to ask for longer than any keep alive.
        Self { client: Login::new(V3_1_1, "status").keep_alive(0).connect(broker) }
    }

    /// A number as it is now: what has happened before the call is in it.
    pub(crate) fn number(&mut self, name: &str) -> u64 {
        self.numbers([name])[0]
    }

    /// Several, of the same moment or somewhat later.
    pub(crate) fn numbers<const N: usize>(&mut self, names: [&str; N]) -> [u64; N] {
        self.wait_for_two_rounds();
        names.map(|name| self.read(name))
    }

    fn read(&mut self, name: &str) -> u64 {
        self.client.subscribe(name, 0);
        let publish = self.client.publish();
        assert_eq!((publish.topic.as_str(), publish.retain), (name, true));
        // Another round may have come meanwhile.
        self.client.send(&unsubscribe(V3_1_1, 2, &[name]));
        while self.client.packet().kind() == PUBLISH {}
        publish.number()
    }

    /// The first round may have begun before what the caller did.
    fn wait_for_two_rounds(&mut self) {
        self.client.subscribe(UPTIME, 0);
        let mut rounds = 0;
        while rounds < 2 {
            rounds += u32::from(!self.client.publish().retain);
        }
        self.client.send(&unsubscribe(V3_1_1, 3, &[UPTIME]));
        while self.client.packet().kind() == PUBLISH {}
    }
}
