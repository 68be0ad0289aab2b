//! A configuration with all the files that it names, read and checked: what a start or a reload goes on with.

use std::fs;
use std::sync::Arc;

use super::access_files;
use super::config::Config;
use super::config_file::Errors;
use super::listener_config::{Address, ListenerConfig};
use super::named_file::Reading;
use super::tls_files::tls_rules;
use crate::access::Policy;
use crate::base::ListenerId;
use crate::net::{ListenAddress, Transport, UnixAddress, WebSocketRules};

#[derive(Debug)]
pub(super) struct Prepared {
    /// In the order of the configuration, as the transports.
    pub(super) addresses: Vec<ListenAddress>,
    pub(super) transports: Vec<Arc<Transport>>,
    pub(super) policy: Policy,
    /// What can be used, and should be otherwise.
    pub(super) warnings: Vec<String>,
}

/// `names` are what the listeners will be called; `secret` is what made-up users are made of, the same one as long as the
/// process lives.
pub(super) fn prepare(config: &Config, names: &[ListenerId], secret: [u8; 32]) -> Result<Prepared, Errors> {
    let mut reading = Reading::default();
    let mut errors = Errors::new();
    let (mut addresses, mut transports) = (Vec::new(), Vec::new());
    for (index, listener) in config.listeners.iter().enumerate() {
        let mut told = |result: Result<(), String>| {
            errors.extend(result.err().map(|error| format!("listeners[{index}], {}: {error}", listener.address)));
        };
        told(listen_address(listener).map(|address| addresses.push(address)));
        told(transport(listener, &mut reading).map(|transport| transports.push(Arc::new(transport))));
    }
    let policy = access_files::read(config, names, secret, &mut reading).map_err(|more| errors.extend(more));
    let mut warnings = reading.warnings;
    warnings.extend(config.listeners.iter().enumerate().filter_map(|(index, listener)| {
        let lets_in = access_files::lets_anybody_in(config, listener);
        (!lets_in).then(|| {
            let address = &listener.address;
            format!(
                "listeners[{index}], {address}, lets nobody in: there are no identities; name a password_file in [access], or \
                 set anonymous = true"
            )
        })
    }));
    match policy {
        Ok(policy) if errors.is_empty() => Ok(Prepared { addresses, transports, policy, warnings }),
        _ => Err(errors),
    }
}

/// What is wrong with a configuration's files, or what should be otherwise.
pub(super) fn check(config: &Config) -> Result<Vec<String>, Errors> {
    let names: Vec<_> = (0..config.listeners.len() as u16).map(ListenerId).collect();
    prepare(config, &names, [0; 32]).map(|prepared| prepared.warnings)
}

fn transport(listener: &ListenerConfig, reading: &mut Reading) -> Result<Transport, String> {
    let websocket = listener.websocket.then(|| WebSocketRules {
        path: listener.websocket_path.as_str().into(),
        origins: listener.websocket_origins.iter().map(|origin| origin.as_str().into()).collect(),
    });
    Ok(Transport { expects_proxy_header: listener.proxy_protocol, tls: tls_rules(listener, reading)?, websocket })
}

fn listen_address(listener: &ListenerConfig) -> Result<ListenAddress, String> {
    match &listener.address {
        &Address::Internet(address) => Ok(ListenAddress::Internet { address, dual_stack: listener.dual_stack }),
        Address::Unix(path) => Ok(ListenAddress::Unix(UnixAddress {
            path: path.clone(),
            mode: Some(listener.unix_mode.0),
            owner: number_of(&listener.unix_owner, "/etc/passwd")?,
            group: number_of(&listener.unix_group, "/etc/group")?,
        })),
    }
}

/// Of a user or a group, by its name or as it is; none for no name.
fn number_of(name: &str, table: &str) -> Result<Option<u32>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let text = fs::read_to_string(table).map_err(|error| format!("cannot read {table}: {error}"))?;
    let number = text.lines().find_map(|line| number_in(line, name));
    number.map(Some).ok_or_else(|| format!("{name} is not in {table}: use the number of who is known elsewhere"))
}

/// `name:password:number:...`, as in passwd(5) and group(5).
fn number_in(line: &str, name: &str) -> Option<u32> {
    let mut fields = line.split(':');
    fields.next().filter(|&field| field == name)?;
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(text: &str) -> Result<Prepared, Errors> {
        let config: Config = toml::from_str(text).unwrap();
        let names: Vec<_> = (0..config.listeners.len() as u16).map(ListenerId).collect();
        prepare(&config, &names, [0; 32])
    }

    #[test]
    fn each_listener_gets_its_address_and_transport() {
        let text = "[[listeners]]\naddress = '[::]:1'\ndual_stack = true\nproxy_protocol = true\n\
                    [[listeners]]\naddress = 'unix:a'\nunix_mode = '0600'\nunix_owner = 'root'\nunix_group = '7'\n\
                    websocket = true\nwebsocket_origins = ['https://a']\n";
        let prepared = prepared(text).unwrap();
        let unix = UnixAddress { path: "a".into(), mode: Some(0o600), owner: Some(0), group: Some(7) };
        let address = "[::]:1".parse().unwrap();
        assert_eq!(
            prepared.addresses,
            [ListenAddress::Internet { address, dual_stack: true }, ListenAddress::Unix(unix)]
        );
        assert!(prepared.transports[0].expects_proxy_header && prepared.transports[0].websocket.is_none());
        let rules = WebSocketRules { path: "/mqtt".into(), origins: vec!["https://a".into()] };
        assert_eq!(prepared.transports[1].websocket, Some(rules));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_the_listener() {
        let text = "[[listeners]]\naddress = '127.0.0.1:1'\ncertificate = 'no.pem'\nkey = 'no.key'\n\
                    [[listeners]]\naddress = 'unix:a'\nunix_owner = 'no such user'\n";
        assert_eq!(
            prepared(text).unwrap_err(),
            [
                "listeners[0], 127.0.0.1:1: cannot read no.pem: No such file or directory (os error 2)",
                "listeners[1], unix:a: no such user is not in /etc/passwd: use the number of who is known elsewhere",
            ]
        );
    }

    #[test]
    fn a_listener_for_other_machines_that_lets_nobody_in_is_warned_of() {
        let warnings = |text: &str| prepared(text).unwrap().warnings;
        assert_eq!(warnings("listeners = [{ address = '127.0.0.1:1' }, { address = 'unix:a' }]"), [""; 0]);
        assert_eq!(warnings("listeners = [{ address = '0.0.0.0:1', anonymous = true }]"), [""; 0]);
        assert_eq!(warnings("[access.hook]\nurl = 'http://a'\n[[listeners]]\naddress = '0.0.0.0:1'"), [""; 0]);
        let warnings = warnings("listeners = [{ address = '0.0.0.0:1' }]");
        assert!(warnings[0].starts_with("listeners[0], 0.0.0.0:1, lets nobody in"), "{warnings:?}");
    }
}
