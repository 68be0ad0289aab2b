//! What an operator can choose of a listener: where it listens, what lies between its sockets and MQTT, and who comes in
//! there; thrum.toml at the top of the repository explains each.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::limits::STRING_BYTES_MAX;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ListenerConfig {
    pub address: Address,
    #[serde(default)]
    pub dual_stack: bool,
    #[serde(default)]
    pub unix_mode: FileMode,
    /// A name or a number; empty: the process's.
    #[serde(default)]
    pub unix_owner: String,
    #[serde(default)]
    pub unix_group: String,
    #[serde(default)]
    pub proxy_protocol: bool,
    #[serde(default)]
    pub websocket: bool,
    #[serde(default = "websocket_path")]
    pub websocket_path: String,
    /// Empty: pages of any.
    #[serde(default)]
    pub websocket_origins: Vec<String>,
    /// Empty: no TLS.
    #[serde(default)]
    pub certificate: PathBuf,
    #[serde(default)]
    pub key: PathBuf,
    #[serde(default)]
    pub more_certificates: Vec<CertificateFiles>,
    #[serde(default)]
    pub tls_min: TlsVersion,
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    #[serde(default)]
    pub client_ca: PathBuf,
    #[serde(default)]
    pub crl: PathBuf,
    #[serde(default)]
    pub user_name_from: UserNameFrom,
    #[serde(default)]
    pub anonymous: Anonymous,
    #[serde(default)]
    pub mount_point: String,
    /// Zero: no more bound than all together have.
    #[serde(default)]
    pub connections_max: u32,
    /// A second; zero: any.
    #[serde(default)]
    pub connect_rate: u32,
    #[serde(default)]
    pub message_rate: u32,
    #[serde(default)]
    pub byte_rate: u64,
}

/// In a file `127.0.0.1:1883`, `[::]:1883` or `unix:/run/thrum.sock`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    Internet(SocketAddr),
    Unix(PathBuf),
}

/// As chmod takes it, in octal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(pub u32);

/// A chain and the key of its first certificate.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    None,
    Optional,
    Required,
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNameFrom {
    #[default]
    None,
    Cn,
    San,
}

/// Whether who says nothing of himself comes in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Anonymous {
    /// While there are no identities, and then from this machine only.
    #[default]
    Auto,
    Allowed,
    Refused,
}

/// How many listeners a configuration has at most: each shard has a socket for each.
pub(super) const LISTENERS_MAX: usize = 256;

/// What a socket's address has room for, with its final zero. (unix(7))
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Leaves topics most of their length.
const MOUNT_POINT_BYTES_MAX: usize = 1_024;
const _: () = assert!(MOUNT_POINT_BYTES_MAX < STRING_BYTES_MAX);

impl ListenerConfig {
    /// Plain MQTT over TCP.
    pub fn on(address: impl Into<SocketAddr>) -> Self {
        Self::at(Address::Internet(address.into()))
    }

    pub fn at(address: Address) -> Self {
        Self {
            address,
            dual_stack: false,
            unix_mode: FileMode::default(),
            unix_owner: String::new(),
            unix_group: String::new(),
            proxy_protocol: false,
            websocket: false,
            websocket_path: websocket_path(),
            websocket_origins: Vec::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            more_certificates: Vec::new(),
            tls_min: TlsVersion::default(),
            client_certificates: ClientCertificates::default(),
            client_ca: PathBuf::new(),
            crl: PathBuf::new(),
            user_name_from: UserNameFrom::default(),
            anonymous: Anonymous::default(),
            mount_point: String::new(),
            connections_max: 0,
            connect_rate: 0,
            message_rate: 0,
            byte_rate: 0,
        }
    }

    /// An error where it has none.
    pub(super) fn set_port(&mut self, port: u16) -> Result<(), String> {
        match &mut self.address {
            Address::Internet(address) => {
                address.set_port(port);
                Ok(())
            }
            unix => Err(format!("the first listener is {unix}, which has no port to change")),
        }
    }

    pub fn has_tls(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// All chains with their keys, the first for who asks for none of them by name.
    pub(super) fn certificates(&self) -> Vec<CertificateFiles> {
        let first = CertificateFiles { certificate: self.certificate.clone(), key: self.key.clone() };
        let first = self.has_tls().then_some(first);
        first.into_iter().chain(self.more_certificates.iter().cloned()).collect()
    }

    /// Every file that is named here, but for the socket.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let pairs = self.certificates().into_iter().flat_map(|files| [files.certificate, files.key]);
        let others = [self.client_ca.clone(), self.crl.clone()];
        pairs.chain(others).filter(|path| !is_empty(path)).collect()
    }

    /// What a listening socket is made with, and keeps: of the one that is there already.
    pub(super) fn with_socket_of(self, old: &Self) -> Self {
        Self {
            dual_stack: old.dual_stack,
            unix_mode: old.unix_mode,
            unix_owner: old.unix_owner.clone(),
            unix_group: old.unix_group.clone(),
            ..self
        }
    }

    /// What is wrong with it in itself, with the key.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Faults(Vec::new());
        self.look_at_address(&mut faults);
        self.look_at_certificates(&mut faults);
        self.look_at_clients(&mut faults);
        faults.0
    }

    fn look_at_address(&self, faults: &mut Faults) {
        match &self.address {
            Address::Internet(address) => {
                faults.unless(!self.dual_stack || address.is_ipv6(), "dual_stack", "is of IPv6 addresses only");
                let is_usual = self.unix_mode == FileMode::default();
                faults.unless(is_usual, "unix_mode", "is of Unix sockets only");
                faults.unless(self.unix_owner.is_empty(), "unix_owner", "is of Unix sockets only");
                faults.unless(self.unix_group.is_empty(), "unix_group", "is of Unix sockets only");
            }
            Address::Unix(path) => {
                faults.unless(!self.dual_stack, "dual_stack", "is of IPv6 addresses only");
                let is_short = path.as_os_str().len() <= UNIX_PATH_BYTES_MAX;
                let most = format!("has a path that is too long: it must have {UNIX_PATH_BYTES_MAX} bytes at most");
                faults.unless(is_short, "address", &most);
            }
        }
        let path = &self.websocket_path;
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?');
        faults.unless(is_path, "websocket_path", "must begin with / and have neither spaces nor a query");
        let has_rules = !self.websocket && !self.websocket_origins.is_empty();
        faults.unless(!has_rules, "websocket_origins", "is of listeners with websocket = true only");
    }

    fn look_at_certificates(&self, faults: &mut Faults) {
        let pairs = std::iter::once((String::new(), &self.certificate, &self.key));
        let more = self.more_certificates.iter().enumerate();
        let more = more.map(|(index, files)| (format!("more_certificates[{index}]."), &files.certificate, &files.key));
        for (prefix, certificate, key) in pairs.chain(more) {
            let (has_certificate, has_key) = (!is_empty(certificate), !is_empty(key));
            let needs_both = !prefix.is_empty();
            faults.unless(has_certificate || !has_key && !needs_both, &format!("{prefix}certificate"), "is missing");
            faults.unless(has_key || !has_certificate && !needs_both, &format!("{prefix}key"), "is missing");
        }
        if self.has_tls() {
            return;
        }
        let without = "needs a certificate and a key: there is no TLS without";
        faults.unless(self.more_certificates.is_empty(), "more_certificates", without);
        faults.unless(self.tls_min == TlsVersion::default(), "tls_min", without);
        faults.unless(self.client_certificates == ClientCertificates::None, "client_certificates", without);
    }

    fn look_at_clients(&self, faults: &mut Faults) {
        let asks = self.client_certificates != ClientCertificates::None;
        faults.unless(
            !asks || !is_empty(&self.client_ca),
            "client_ca",
            "is missing: whose certificates are to be believed?",
        );
        let unasked = "needs client_certificates = \"optional\" or \"required\"";
        faults.unless(asks || is_empty(&self.client_ca), "client_ca", unasked);
        faults.unless(asks || is_empty(&self.crl), "crl", unasked);
        faults.unless(asks || self.user_name_from == UserNameFrom::None, "user_name_from", unasked);
        let mount = &self.mount_point;
        let is_topic = !mount.starts_with('$') && !mount.contains(['+', '#', '\0']);
        faults.unless(is_topic, "mount_point", "begins topics: it must not begin with $ nor have + or # in it");
        let most = format!("must have {MOUNT_POINT_BYTES_MAX} bytes at most");
        faults.unless(mount.len() <= MOUNT_POINT_BYTES_MAX, "mount_point", &most);
    }
}

struct Faults(Vec<(String, String)>);

impl Faults {
    fn unless(&mut self, is_right: bool, key: &str, what: &str) {
        if !is_right {
            self.0.push((key.into(), what.into()));
        }
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn websocket_path() -> String {
    "/mqtt".into()
}

impl Address {
    /// Whether nobody comes from another machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Internet(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether the kernel chooses the port, another one each time.
    pub(super) fn is_chosen(&self) -> bool {
        matches!(self, Self::Internet(address) if address.port() == 0)
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str =
            "expected an address such as \"127.0.0.1:1883\", \"[::]:1883\" or \"unix:/run/thrum.sock\"";
        match text.strip_prefix("unix:") {
            Some("") => Err(EXPECTED),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Internet).map_err(|_| EXPECTED),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for FileMode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl TryFrom<String> for FileMode {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mode = u32::from_str_radix(&text, 8).ok().filter(|&mode| mode <= 0o777 && !text.starts_with('+'));
        mode.map(Self).ok_or("expected permissions as chmod takes them, such as \"0660\"")
    }
}

impl From<FileMode> for String {
    fn from(FileMode(mode): FileMode) -> Self {
        format!("{mode:04o}")
    }
}

impl Serialize for Anonymous {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => to.serialize_str("auto"),
            Self::Allowed => to.serialize_bool(true),
            Self::Refused => to.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Anonymous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AutoOrBool;

        impl Visitor<'_> for AutoOrBool {
            type Value = Anonymous;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or \"auto\"")
            }

            fn visit_bool<E: Error>(self, is_allowed: bool) -> Result<Anonymous, E> {
                Ok(if is_allowed { Anonymous::Allowed } else { Anonymous::Refused })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Anonymous, E> {
                let unexpected = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                (text == "auto").then_some(Anonymous::Auto).ok_or_else(unexpected)
            }
        }

        from.deserialize_any(AutoOrBool)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn parse(text: &str) -> ListenerConfig {
        toml::from_str(text).unwrap()
    }

    /// The faults of a listener with these lines.
    fn faults(lines: &str) -> Vec<String> {
        let address = if lines.contains("address") { "" } else { "address = '[::]:1'\n" };
        parse(&format!("{address}{lines}")).faults().into_iter().map(|(key, what)| format!("{key} {what}")).collect()
    }

    #[test]
    fn what_is_not_said_is_plain_mqtt() {
        assert_eq!(parse("address = '127.0.0.1:1883'"), ListenerConfig::on((Ipv4Addr::LOCALHOST, 1883)));
        assert_eq!(ListenerConfig::on((Ipv4Addr::LOCALHOST, 1883)).faults(), []);
    }

    #[test]
    fn an_address_comes_back_as_it_was_written() {
        for text in ["127.0.0.1:1883", "[::]:1883", "unix:/run/thrum.sock", "unix:thrum.sock"] {
            assert_eq!(Address::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for text in ["localhost", "unix:", "1883", ""] {
            assert!(Address::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        for (text, is_local) in [
            ("127.0.0.1:1", true),
            ("127.9.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:a", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(Address::try_from(text.to_owned()).unwrap().is_local(), is_local, "{text}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        let mode = |text: &str| FileMode::try_from(text.to_owned());
        assert_eq!((mode("0660"), mode("777"), mode("0")), (Ok(FileMode(0o660)), Ok(FileMode(0o777)), Ok(FileMode(0))));
        for wrong in ["", "rw", "0880", "1777", "+660"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
        assert_eq!(String::from(FileMode(0o60)), "0060");
    }

    #[test]
    fn anonymous_is_true_false_or_auto() {
        let anonymous = |value: &str| {
            let text = format!("address = '[::]:1'\nanonymous = {value}");
            toml::from_str::<ListenerConfig>(&text).map(|listener| listener.anonymous)
        };
        assert_eq!(anonymous("true"), Ok(Anonymous::Allowed));
        assert_eq!(anonymous("false"), Ok(Anonymous::Refused));
        assert_eq!(anonymous("'auto'"), Ok(Anonymous::Auto));
        let error = anonymous("'yes'").unwrap_err();
        assert_eq!(error.message(), "invalid value: string \"yes\", expected true, false or \"auto\"");
    }

    #[test]
    fn a_whole_tls_listener_has_no_faults() {
        let lines = "certificate = 'c'\nkey = 'k'\nclient_ca = 'a'\nclient_certificates = 'optional'\ncrl = 'l'\n\
                     user_name_from = 'cn'\ndual_stack = true\nwebsocket = true\nwebsocket_origins = ['https://a']\n\
                     more_certificates = [{ certificate = 'd', key = 'l' }]\nmount_point = 'a/'\ntls_min = '1.3'";
        assert_eq!(faults(lines), [""; 0]);
        assert_eq!(faults("address = 'unix:/a'\nunix_mode = '0600'\nunix_owner = 'mqtt'"), [""; 0]);
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_the_key() {
        for (lines, fault) in [
            ("address = '0.0.0.0:1'\ndual_stack = true", "dual_stack is of IPv6 addresses only"),
            ("address = 'unix:a'\ndual_stack = true", "dual_stack is of IPv6 addresses only"),
            ("unix_mode = '0600'", "unix_mode is of Unix sockets only"),
            ("unix_owner = 'mqtt'", "unix_owner is of Unix sockets only"),
            ("unix_group = 'mqtt'", "unix_group is of Unix sockets only"),
            ("websocket_path = 'mqtt'", "websocket_path must begin with / and have neither spaces nor a query"),
            ("websocket_origins = ['a']", "websocket_origins is of listeners with websocket = true only"),
            ("certificate = 'c'", "key is missing"),
            ("key = 'k'", "certificate is missing"),
            (
                "certificate = 'c'\nkey = 'k'\nmore_certificates = [{ certificate = 'c', key = '' }]",
                "more_certificates[0].key is missing",
            ),
            ("tls_min = '1.3'", "tls_min needs a certificate and a key: there is no TLS without"),
            (
                "certificate = 'c'\nkey = 'k'\nclient_certificates = 'required'",
                "client_ca is missing: whose certificates are to be believed?",
            ),
            ("certificate = 'c'\nkey = 'k'\ncrl = 'l'", "crl needs client_certificates = \"optional\" or \"required\""),
            (
                "certificate = 'c'\nkey = 'k'\nuser_name_from = 'san'",
                "user_name_from needs client_certificates = \"optional\" or \"required\"",
            ),
            ("mount_point = 'a/#'", "mount_point begins topics: it must not begin with $ nor have + or # in it"),
            ("mount_point = '$share/'", "mount_point begins topics: it must not begin with $ nor have + or # in it"),
        ] {
            assert_eq!(faults(lines), [fault], "{lines}");
        }
        let long = format!("address = 'unix:{}'", "a".repeat(108));
        assert_eq!(faults(&long), ["address has a path that is too long: it must have 107 bytes at most"]);
        let long = format!("mount_point = '{}'", "a".repeat(1_025));
        assert_eq!(faults(&long), ["mount_point must have 1024 bytes at most"]);
    }

    #[test]
    fn a_listening_socket_keeps_what_it_was_made_with() {
        let old = parse("address = 'unix:a'\nunix_mode = '0600'\nunix_owner = 'a'\nunix_group = 'b'");
        let new = parse("address = 'unix:a'\nmount_point = 'm/'");
        let kept = new.with_socket_of(&old);
        assert_eq!((kept.unix_mode, &*kept.unix_owner, &*kept.mount_point), (FileMode(0o600), "a", "m/"));
    }
}
