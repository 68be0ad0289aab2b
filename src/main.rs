//! The broker's binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut config = thrum::server::Config::default();
    config.connections_max = 19_900;
    config.shards = std::env::args().nth(1).map_or(0, |a| a.parse().unwrap());
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let broker = thrum::server::Broker::start(&config, &cores, || Box::new(thrum::access::Open)).unwrap();
    eprintln!("{:?}", broker.addresses());
    let mut signals = signal_hook::iterator::Signals::new([15, 2]).unwrap();
    signals.forever().next();
    broker.stop(thrum::base::Millis(5000)).unwrap();
    ExitCode::SUCCESS
}
