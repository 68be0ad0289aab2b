//! The listeners that there are, and what a configuration makes of them: some stay, some go, some come.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::listener_config::{Address, ListenerConfig};
use super::listening::Listening;
use super::prepared::Prepared;
use crate::base::ListenerId;
use crate::net::{ListenAddress, Listener, Transport};

/// In the order of the configuration.
#[derive(Default, Debug)]
pub(super) struct Listeners {
    running: Vec<Running>,
    /// How many there ever were.
    named: u16,
}

#[derive(Clone, Debug)]
struct Running {
    id: ListenerId,
    /// As it is configured.
    address: Address,
    /// With the port that the kernel chose.
    bound: ListenAddress,
}

/// Listeners as they will be, and what has to be done for that.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) listeners: Listeners,
    /// What holds for those that stay, and for those that come.
    pub(super) transports: Vec<(ListenerId, Arc<Transport>)>,
    /// For each shard those that come. They are bound, and nobody accepts from them yet.
    pub(super) added: Vec<Vec<Listening>>,
}

impl Listeners {
    /// Where those of TCP are reached.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.running.iter().filter_map(|running| running.bound.internet()).collect()
    }

    /// Where all are.
    pub(super) fn bound(&self) -> impl Iterator<Item = &ListenAddress> {
        self.running.iter().map(|running| &running.bound)
    }

    /// Whether all could listen: what takes long begins only then.
    pub(super) fn probe(prepared: &Prepared) -> Result<(), (ListenAddress, io::Error)> {
        let addresses = prepared.addresses.iter();
        addresses.cloned().try_for_each(|address| Listener::probe(&address).map_err(|error| (address, error)))
    }

    /// What those of a configuration will be called: as now, those that are there, and with new names the others.
    pub(super) fn names(&self, configs: &[ListenerConfig]) -> Result<Vec<ListenerId>, String> {
        let mut named = self.named;
        let name = |running: Option<Running>| match running {
            Some(running) => Ok(running.id),
            None => {
                let id = ListenerId(named);
                named = named.checked_add(1).ok_or("65535 listeners came and went: start the broker anew")?;
                Ok(id)
            }
        };
        self.matching(configs).into_iter().map(name).collect::<Result<_, &str>>().map_err(str::to_owned)
    }

    /// For each of a configuration the one that is there already. Several whose port the kernel chooses are told apart by
    /// their order.
    fn matching(&self, configs: &[ListenerConfig]) -> Vec<Option<Running>> {
        let mut left = self.running.clone();
        let take = |config: &ListenerConfig| {
            let at = left.iter().position(|running| running.address == config.address)?;
            Some(left.remove(at))
        };
        configs.iter().map(take).collect()
    }

    /// What has to be done that there are these. Nothing is changed, but that the new ones are bound.
    pub(super) fn plan(
        &self,
        configs: &[ListenerConfig],
        names: &[ListenerId],
        prepared: &Prepared,
        shards: usize,
    ) -> Result<Plan, (ListenAddress, io::Error)> {
        let named = names.iter().map(|id| id.0 + 1).fold(self.named, u16::max);
        let mut plan = Plan {
            listeners: Self { running: Vec::new(), named },
            transports: names.iter().copied().zip(prepared.transports.iter().cloned()).collect(),
            added: (0..shards).map(|_| Vec::new()).collect(),
        };
        let wanted = configs.iter().zip(&prepared.addresses).zip(self.matching(configs));
        for (((config, address), running), (id, transport)) in wanted.zip(&plan.transports) {
            let running = match running {
                Some(running) => running,
                None => {
                    let all = self.bind(address, shards).map_err(|error| (address.clone(), error))?;
                    let bound = all[0].address().clone();
                    for (listener, added) in all.into_iter().zip(&mut plan.added) {
                        added.push(Listening { listener, id: *id, transport: Arc::clone(transport), has_more: false });
                    }
                    Running { id: *id, address: config.address.clone(), bound }
                }
            };
            plan.listeners.running.push(running);
        }
        Ok(plan)
    }

    /// A listener for each shard.
    fn bind(&self, address: &ListenAddress, shards: usize) -> io::Result<Vec<Listener>> {
        // Whoever has the address is told apart from those of this broker, of which one may be about to go.
        if !self.may_overlap(address) {
            Listener::probe(address)?;
        }
        let mut all = vec![Listener::bind(address)?];
        for _ in 1..shards {
            all.push(all[0].share()?);
        }
        Ok(all)
    }

    fn may_overlap(&self, address: &ListenAddress) -> bool {
        let Some(port) = address.internet().map(|address| address.port()) else { return false };
        self.addresses().iter().any(|own| own.port() == port)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::super::config::Config;
    use super::super::prepared::prepare;
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn configs(addresses: &[String]) -> Config {
        let listener = |address: &String| ListenerConfig::at(address.clone().try_into().unwrap());
        Config { listeners: addresses.iter().map(listener).collect(), ..Config::default() }
    }

    fn plan(old: &Listeners, addresses: &[String]) -> Result<Plan, (ListenAddress, io::Error)> {
        let config = configs(addresses);
        let names = old.names(&config.listeners).unwrap();
        old.plan(&config.listeners, &names, &prepare(&config, &names, [0; 32]).unwrap(), 2)
    }

    fn ids(listeners: &Listeners) -> Vec<u16> {
        listeners.running.iter().map(|running| running.id.0).collect()
    }

    #[test]
    fn another_broker_on_the_address_is_told_and_not_shared_with() {
        let running = plan(&Listeners::default(), &[ANY.into()]).expect("a port");
        let bound = |shard: usize| running.added[shard][0].listener.address().internet().expect("an address");
        assert_eq!(bound(0), bound(1));
        let (_, error) = plan(&Listeners::default(), &[bound(0).to_string()]).expect_err("two brokers share it");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn those_that_stay_keep_their_names_and_sockets_and_new_ones_get_names_that_none_had() {
        let folder = tempfile::tempdir().unwrap();
        let unix = format!("unix:{}", folder.path().join("a.sock").display());
        let first = plan(&Listeners::default(), &[ANY.into(), unix.clone()]).unwrap();
        assert_eq!(ids(&first.listeners), [0, 1]);
        let second = plan(&first.listeners, &[unix.clone(), ANY.into(), ANY.into()]).unwrap();
        assert_eq!(ids(&second.listeners), [1, 0, 2]);
        assert_eq!((second.added[0].len(), second.added[1].len(), second.transports.len()), (1, 1, 3));
        assert_eq!(second.listeners.addresses()[0], first.listeners.addresses()[0]);
        let third = plan(&second.listeners, &[ANY.into()]).unwrap();
        let fourth = plan(&third.listeners, &[ANY.into(), ANY.into()]).unwrap();
        assert_eq!(ids(&fourth.listeners), [0, 3]);
    }

    #[test]
    fn a_listener_can_make_place_for_one_that_takes_in_its_address() {
        let first = plan(&Listeners::default(), &[ANY.into()]).unwrap();
        let port = first.listeners.addresses()[0].port();
        let second = plan(&first.listeners, &[format!("0.0.0.0:{port}")]).unwrap();
        assert_eq!((ids(&second.listeners), second.transports.len()), (vec![1], 1));
        drop(first);
        TcpStream::connect(("127.0.0.1", port)).expect("the new one is there");
    }

    #[test]
    fn a_plan_that_fails_leaves_nothing_behind() {
        let taken = plan(&Listeners::default(), &[ANY.into()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let unix = format!("unix:{}", path.display());
        plan(&Listeners::default(), &[unix, taken.listeners.addresses()[0].to_string()]).unwrap_err();
        assert!(!path.exists());
    }
}
