//! Who comes in and what he may do: the policy that the configuration and the files that it names come to.

use std::path::Path;
use std::sync::Arc;

use super::access_config::{AccessConfig, HookConfig, IdentitySource, JwtAlgorithm, JwtConfig, Subscribe};
use super::config::Config;
use super::config_file::Errors;
use super::hook::{Hook, HookSettings};
use super::listener_config::{Anonymous, ListenerConfig, UserNameFrom};
use super::named_file::Reading;
use crate::access::{
    self, Authenticator, Jwt, JwtKeys, JwtSettings, ListenerPolicy, Policy, Rules, SubscribeMode, TextError, Users,
};
use crate::base::ListenerId;

type ParseUsers = fn(&str, [u8; 32]) -> Result<Users, Vec<TextError>>;
type ParseRules = fn(&str) -> Result<Rules, Vec<TextError>>;
type AddKeys = fn(&mut JwtKeys, &[u8]) -> Result<(), TextError>;

/// `names` are those of the configuration's listeners; `secret` is what made-up users are made of. Errors name file and
/// line.
pub(super) fn read(
    config: &Config,
    names: &[ListenerId],
    secret: [u8; 32],
    reading: &mut Reading,
) -> Result<Policy, Errors> {
    let access = &config.access;
    let mut errors = Errors::new();
    let listeners = names.iter().copied().zip(&config.listeners);
    let mut policy = Policy {
        listeners: listeners.map(|(id, listener)| (id, listener_policy(config, listener))).collect(),
        subscribe: match access.subscribe {
            Subscribe::Whole => SubscribeMode::Whole,
            Subscribe::Filtered => SubscribeMode::Filtered,
        },
        tells_unknown_users: access.tells_unknown_users,
        ..Policy::default()
    };
    for source in access.sources() {
        let result = add_source(source, config, names, secret, reading, &mut policy);
        errors.extend(result.err().unwrap_or_default());
    }
    match rules(access, reading) {
        Ok(rules) => policy.rules = rules.map(Arc::new),
        Err(more) => errors.extend(more),
    }
    if errors.is_empty() { Ok(policy) } else { Err(errors) }
}

/// Whether there is anybody who can come in by this listener.
pub(super) fn lets_anybody_in(config: &Config, listener: &ListenerConfig) -> bool {
    config.access.has_identities() || listener.user_name_from != UserNameFrom::None || is_anonymous(config, listener)
}

fn is_anonymous(config: &Config, listener: &ListenerConfig) -> bool {
    match listener.anonymous {
        Anonymous::Allowed => true,
        Anonymous::Refused => false,
        // Behind a proxy anybody may be on loopback.
        Anonymous::Auto => !config.access.has_identities() && listener.address.is_local() && !listener.proxy_protocol,
    }
}

fn listener_policy(config: &Config, listener: &ListenerConfig) -> ListenerPolicy {
    ListenerPolicy {
        anonymous: is_anonymous(config, listener),
        mount: listener.mount_point.as_str().into(),
        certificate_is_user: listener.user_name_from != UserNameFrom::None,
        rates: config.rates(listener),
    }
}

fn add_source(
    source: IdentitySource,
    config: &Config,
    names: &[ListenerId],
    secret: [u8; 32],
    reading: &mut Reading,
    policy: &mut Policy,
) -> Result<(), Errors> {
    let access = &config.access;
    let authenticator: Arc<dyn Authenticator> = match source {
        IdentitySource::Password | IdentitySource::Users => {
            let (path, parse): (_, ParseUsers) = match source {
                IdentitySource::Password => (&access.password_file, Users::parse_password_file),
                _ => (&access.user_file, Users::parse_user_file),
            };
            let text = reading.secret_text(path).map_err(|error| vec![error])?;
            let users = Arc::new(parse(&text, secret).map_err(|errors| in_file(path, errors))?);
            policy.scram.push(Arc::clone(&users));
            users
        }
        IdentitySource::Jwt => Arc::new(jwt(&access.jwt, reading)?),
        IdentitySource::Hook => Arc::new(hook(config, names, reading)?),
    };
    policy.authenticators.push(authenticator);
    Ok(())
}

/// None: everybody may do everything.
fn rules(access: &AccessConfig, reading: &mut Reading) -> Result<Option<Rules>, Errors> {
    let (mut parts, mut errors) = (Vec::new(), Errors::new());
    let parsers: [(_, ParseRules); 2] = [(&access.acl_file, Rules::parse_acl), (&access.rules_file, Rules::parse_toml)];
    for (path, parse) in parsers.into_iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
        let text = reading.text(path).map_err(|error| vec![error]);
        match text.and_then(|text| parse(&text).map_err(|errors| in_file(path, errors))) {
            Ok(part) => parts.push(part),
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok((!parts.is_empty()).then(|| Rules::combined(parts))) } else { Err(errors) }
}

fn jwt(config: &JwtConfig, reading: &mut Reading) -> Result<Jwt, Errors> {
    let mut keys = JwtKeys::default();
    let sources: [(_, bool, AddKeys); 3] = [
        (&config.secret_file, true, JwtKeys::add_secret),
        (&config.key_file, false, JwtKeys::add_pem),
        // It may have secrets in it, and is public where it has none.
        (&config.jwks_file, false, JwtKeys::add_jwks),
    ];
    for (path, is_secret, add) in sources.into_iter().filter(|(path, ..)| !path.as_os_str().is_empty()) {
        let bytes = if is_secret { reading.secret(path) } else { reading.bytes(path) };
        let bytes = bytes.map_err(|error| vec![error])?;
        add(&mut keys, &bytes).map_err(|error| in_file(path, vec![error]))?;
    }
    let settings = JwtSettings {
        keys,
        algorithms: config.algorithms.iter().copied().map(algorithm).collect(),
        user_claim: config.user_claim.as_str().into(),
        client_id_claim: config.client_id_claim.as_str().into(),
        groups_claim: config.groups_claim.as_str().into(),
        acl_claim: config.acl_claim.as_str().into(),
        issuer: config.issuer.as_str().into(),
        audience: config.audience.as_str().into(),
        leeway_secs: config.leeway_secs,
    };
    Jwt::new(settings).map_err(|error| vec![format!("access.jwt: {error}")])
}

fn hook(config: &Config, names: &[ListenerId], reading: &mut Reading) -> Result<Hook, Errors> {
    let HookConfig { url, ca_file, timeout_ms, cache_secs, threads } = &config.access.hook;
    let has_authorities = !ca_file.as_os_str().is_empty();
    let authorities = has_authorities.then(|| reading.bytes(ca_file)).transpose().map_err(|error| vec![error])?;
    let listeners = names.iter().zip(&config.listeners);
    let settings = HookSettings {
        url: url.clone(),
        timeout_ms: *timeout_ms,
        cache_secs: *cache_secs,
        threads: *threads as usize,
        certificate_authorities: authorities.map(|pem| pem.to_vec()),
        listeners: listeners.map(|(id, listener)| (*id, listener.address.to_string().into())).collect(),
    };
    Hook::new(settings).map_err(|error| vec![format!("access.hook: {error}")])
}

fn algorithm(algorithm: JwtAlgorithm) -> access::JwtAlgorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => access::JwtAlgorithm::Hs256,
        JwtAlgorithm::Rs256 => access::JwtAlgorithm::Rs256,
        JwtAlgorithm::Es256 => access::JwtAlgorithm::Es256,
    }
}

fn in_file(path: &Path, errors: Vec<TextError>) -> Errors {
    errors.into_iter().map(|error| format!("{}:{error}", path.display())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::write;
    use std::num::NonZeroU32;

    use super::*;
    use crate::access::{Excess, Rates};

    fn policy(text: &str) -> Result<Policy, Errors> {
        let config: Config = toml::from_str(text).unwrap();
        let names: Vec<_> = (0..config.listeners.len() as u16).map(ListenerId).collect();
        read(&config, &names, [0; 32], &mut Reading::default())
    }

    fn anonymous(text: &str) -> Vec<bool> {
        policy(text).unwrap().listeners.into_iter().map(|(_, listener)| listener.anonymous).collect()
    }

    #[test]
    fn nobody_in_particular_comes_from_this_machine_alone_and_only_without_identities() {
        let listeners = "[[listeners]]\naddress = '127.0.0.1:1'\n[[listeners]]\naddress = '0.0.0.0:1'\n\
                         [[listeners]]\naddress = 'unix:a'\n[[listeners]]\naddress = '127.0.0.1:2'\nanonymous = false\n\
                         [[listeners]]\naddress = '0.0.0.0:2'\nanonymous = true\n\
                         [[listeners]]\naddress = '127.0.0.1:3'\nproxy_protocol = true\n";
        assert_eq!(anonymous(listeners), [true, false, true, false, true, false]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        write(&path, "").unwrap();
        let text = format!("access.password_file = '{}'\n{listeners}", path.display());
        assert_eq!(anonymous(&text), [false, false, false, false, true, false]);
    }

    #[test]
    fn a_listener_says_what_it_gives_its_clients() {
        let text =
            "[[listeners]]\naddress = '127.0.0.1:1'\nmount_point = 'm/'\nuser_name_from = 'cn'\nmessage_rate = 5\n";
        let policy = policy(text).unwrap();
        let rates = Rates { messages_per_sec: NonZeroU32::new(5), bytes_per_sec: None, on_excess: Excess::Slow };
        let expected =
            ListenerPolicy { anonymous: true, mount: "m/".into(), certificate_is_user: true, rates: Some(rates) };
        assert_eq!(policy.listeners, [(ListenerId(0), expected)]);
        assert!(policy.rules.is_none() && policy.authenticators.is_empty());
    }

    #[test]
    fn what_is_wrong_with_any_file_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            write(&path, content).unwrap();
            path.display().to_string()
        };
        let users = file("users", "# nobody\nuser\n");
        let acl = file("acl", "user a\ntopic readwrite b\ntopic neither c\n");
        let rules = file("rules.toml", "[[rules]]\nallow = 'everything'\n");
        let jwks = file("jwks.json", "{\n\"keys\": 5 }\n");
        let text = format!(
            "[access]\npassword_file = '{users}'\nacl_file = '{acl}'\nrules_file = '{rules}'\nuser_file = 'missing'\n\
             jwt.jwks_file = '{jwks}'\n"
        );
        let errors = policy(&text).unwrap_err();
        assert_eq!(errors.len(), 5, "{errors:#?}");
        for start in [
            format!("{users}:2: "),
            "cannot read missing: ".into(),
            format!("{jwks}:2: "),
            format!("{acl}:3: "),
            format!("{rules}:2: "),
        ] {
            assert!(errors.iter().any(|error| error.starts_with(&start)), "{start} in {errors:#?}");
        }
    }
}
