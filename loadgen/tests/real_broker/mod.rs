//! Thrum, to be measured, in the process of the test.

use std::net::Ipv4Addr;

use thrum::access::Open;
use thrum::server::{Broker, Config, ListenerConfig};

pub(crate) fn start() -> Broker {
    let listeners = vec![ListenerConfig::on((Ipv4Addr::LOCALHOST, 0))];
    let mut config = Config { shards: 2, listeners, connections_max: 2_000, persistence: false, ..Config::default() };
    // Members of a shared group have more under way than a client's queue has room for by default.
    config.limits.queue_messages_max = 100_000;
    let cores = core_affinity::get_core_ids().expect("cores");
    Broker::start(&config, &cores, || Box::new(Open)).expect("a broker")
}
