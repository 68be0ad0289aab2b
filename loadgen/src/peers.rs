//! The brokers that `compare` starts: two of its own accord, our relay, and those of a file of start commands.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

/// How a broker is started. `{port}` and `{dir}` stand for a free port and an empty folder, `{config}` for the path of
/// the configuration; a certificate lies in the folder where it is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    pub name: String,
    pub command: Vec<String>,
    /// Written to `{config}`, where it is not empty.
    pub config: String,
    pub config_name: String,
    pub pid: Measured,
    pub reach: Reach,
}

/// What lies between the socket and MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Reach {
    #[default]
    Plain,
    Tls,
    WebSocket,
    SecureWebSocket,
}

/// In a broker's folder.
pub const CERTIFICATE: &str = "certificate.pem";
pub const KEY: &str = "key.pem";

impl Reach {
    const WRAPPED: [Self; 3] = [Self::Tls, Self::WebSocket, Self::SecureWebSocket];

    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    const fn has_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }

    /// What the names of those end with that are reached so.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Tls => "-tls",
            Self::WebSocket => "-ws",
            Self::SecureWebSocket => "-wss",
        }
    }

    /// What the generator is asked for. The certificate is made for the occasion: nobody can vouch for it.
    pub fn arguments(self) -> Vec<&'static str> {
        let tls = self.has_tls().then_some(["--tls", "--insecure"]).into_iter().flatten();
        tls.chain(self.has_websocket().then_some("--ws")).collect()
    }
}

/// Whose CPU and memory are the broker's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measured {
    /// The process that was started.
    #[default]
    Started,
    /// Its only child: the command is a script, or something that watches over the broker.
    Child,
}

/// Both brokers may have 1,000 messages under way to a client, as scenarios have a window of up to 512: Mosquitto cuts off
/// who has more of QoS 2 under way to it than it may have itself (2.0.11), and its default of 20 makes its QoS 1 neither
/// cheaper nor dearer. Neither drops what waits: 100 publishers with 64 messages under way each are more than the 1,000
/// that both would keep for a subscriber, and what is dropped is not measured. Both send at once (TCP_NODELAY), keep
/// nothing on disk, log errors only and have no more than one thread for messages.
const MOSQUITTO: &str = "\
listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 1000
max_queued_messages 0
set_tcp_nodelay true
persistence false
connection_messages false
log_dest stderr
log_type error
";

const THRUM: &str = "\
shards = 1
persistence = false
[[listeners]]
address = \"127.0.0.1:{port}\"
[log]
level = \"error\"
[limits]
inflight_max = 1000
queue_messages_max = 4294967295
queue_bytes_max = 4294967295
";

/// What the two have set besides where they keep what is durable on the disk: Mosquitto as it does by default, which is
/// to write all it has every half an hour and at its end, and to acknowledge from memory; Thrum as it does by default,
/// which is to acknowledge what is on the disk.
const MOSQUITTO_DURABLE: &str = "persistence_location {dir}/\n";
const THRUM_DURABLE: &str = "[store]\ndirectory = \"{dir}/store\"\ndurability = \"commit\"\n";

/// What makes TLS or WebSocket of a listener, where it is named.
const MOSQUITTO_LISTENER: &str = "listener {port} 127.0.0.1\n";
const MOSQUITTO_TLS: &str = "certfile {dir}/certificate.pem\nkeyfile {dir}/key.pem\n";
/// Mosquitto 2.0.11 ends where it has no other listener than those for WebSocket.
const MOSQUITTO_WEBSOCKET: &str = "socket_domain ipv4\nprotocol websockets\nlistener {port} 127.0.0.2\n";
const THRUM_LISTENER: &str = "address = \"127.0.0.1:{port}\"\n";
const THRUM_TLS: &str = "certificate = \"{dir}/certificate.pem\"\nkey = \"{dir}/key.pem\"\n";
const THRUM_WEBSOCKET: &str = "websocket = true\n";

/// What the names of those that keep things on the disk end with.
const DURABLE: &str = "-durable";

impl Peer {
    fn new(name: &str, command: &[&str], config: &str) -> Self {
        Self {
            name: name.into(),
            command: command.iter().map(|&part| part.into()).collect(),
            config: config.into(),
            config_name: "config".into(),
            pid: Measured::Started,
            reach: Reach::Plain,
        }
    }

    /// The same, reached otherwise: with these lines behind the one that names the listener.
    fn wrapped(&self, reach: Reach, listener: &str, tls: &str, websocket: &str) -> Self {
        let more =
            if reach.has_tls() { tls } else { "" }.to_owned() + if reach.has_websocket() { websocket } else { "" };
        let config = self.config.replacen(listener, &format!("{listener}{more}"), 1);
        Self { name: format!("{}{}", self.name, reach.suffix()), config, reach, ..self.clone() }
    }

    /// Who it is without a store, where it has one.
    pub fn without_store(&self) -> Option<&str> {
        self.name.strip_suffix(DURABLE)
    }

    /// Those that need no file. Programs are given by their paths; `own` is this one.
    pub fn built_in(thrum: &Path, mosquitto: &Path, own: &Path) -> Vec<Self> {
        let (thrum, mosquitto, own) = (thrum.to_string_lossy(), mosquitto.to_string_lossy(), own.to_string_lossy());
        let relay =
            |name, driver| Self::new(name, &[&own, "relay", "--listen", "127.0.0.1:{port}", "--driver", driver], "");
        let durable = |name: &str, program: &str, config: &str, more: &str| {
            let config = config.replace("persistence false", "persistence true");
            let config = config.replace("persistence = false", "persistence = true") + more;
            Self::new(&format!("{name}{DURABLE}"), &[program, "-c", "{config}"], &config)
        };
        let plain_mosquitto = Self::new("mosquitto", &[&mosquitto, "-c", "{config}"], MOSQUITTO);
        let plain_thrum = Self::new("thrum", &[&thrum, "-c", "{config}"], THRUM);
        let wrapped = Reach::WRAPPED.into_iter().flat_map(|reach| {
            [
                plain_mosquitto.wrapped(reach, MOSQUITTO_LISTENER, MOSQUITTO_TLS, MOSQUITTO_WEBSOCKET),
                plain_thrum.wrapped(reach, THRUM_LISTENER, THRUM_TLS, THRUM_WEBSOCKET),
            ]
        });
        let wrapped: Vec<_> = wrapped.collect();
        let others = [
            durable("mosquitto", &mosquitto, MOSQUITTO, MOSQUITTO_DURABLE),
            durable("thrum", &thrum, THRUM, THRUM_DURABLE),
            relay("relay", "epoll"),
            relay("relay-doorbell", "doorbell"),
            relay("relay-glommio", "glommio"),
        ];
        [plain_mosquitto, plain_thrum].into_iter().chain(others).chain(wrapped).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    brokers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    command: Spanned<Vec<String>>,
    #[serde(default)]
    config: String,
    #[serde(default = "config_name")]
    config_name: String,
    #[serde(default)]
    pid: Measured,
}

fn config_name() -> String {
    "config".into()
}

/// Brokers of a file, which errors call `file`.
pub fn parse(file: &str, text: &str) -> Result<Vec<Peer>, String> {
    let at = |offset: usize| 1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
    let error = |offset: Option<usize>, what: &str| match offset {
        Some(offset) => format!("{file}:{}: {what}", at(offset)),
        None => format!("{file}: {what}"),
    };
    let syntax = |fault: toml::de::Error| error(fault.span().map(|span| span.start), fault.message());
    let table = toml::Deserializer::parse(text).map_err(syntax)?;
    let entries: File = serde_path_to_error::deserialize(table).map_err(|fault| {
        // What Spanned is made of is nobody's key.
        let path = fault.path().to_string().replace(".$__serde_spanned_private_value", "");
        let fault = fault.into_inner();
        error(fault.span().map(|span| span.start), &format!("{path}: {}", fault.message()))
    })?;
    let mut peers: Vec<Peer> = Vec::new();
    for (index, entry) in entries.brokers.into_iter().enumerate() {
        let Entry { name, command, config, config_name, pid } = entry;
        let wrong = |span: std::ops::Range<usize>, key: &str, what: &str| {
            Err(error(Some(span.start), &format!("brokers[{index}].{key}: {what}")))
        };
        if name.get_ref().is_empty() || peers.iter().any(|peer| peer.name == *name.get_ref()) {
            return wrong(name.span(), "name", "a name of its own is needed");
        }
        if command.get_ref().is_empty() {
            return wrong(command.span(), "command", "a program is needed");
        }
        if !command.get_ref().iter().chain([&config]).any(|text| text.contains("{port}")) {
            return wrong(command.span(), "command", "neither it nor the configuration says {port}");
        }
        let (name, command) = (name.into_inner(), command.into_inner());
        peers.push(Peer { name, command, config, config_name, pid, reach: Reach::Plain });
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("peers.toml", text).unwrap_err()
    }

    #[test]
    fn the_durable_ones_are_the_others_with_a_store() {
        let all = Peer::built_in(Path::new("t"), Path::new("m"), Path::new("o"));
        let config = |name: &str| all.iter().find(|peer| peer.name == name).expect(name).config.clone();
        for (name, off, on) in [
            ("thrum", "persistence = false", "persistence = true"),
            ("mosquitto", "persistence false", "persistence true"),
        ] {
            assert!(config(name).contains(off));
            assert!(config(&format!("{name}-durable")).starts_with(&config(name).replace(off, on)));
        }
        let durable: Vec<_> = all.iter().filter_map(Peer::without_store).collect();
        assert_eq!(durable, ["mosquitto", "thrum"]);
    }

    #[test]
    fn those_reached_by_tls_or_websocket_have_it_at_their_listener() {
        let all = Peer::built_in(Path::new("t"), Path::new("m"), Path::new("o"));
        for (name, tls, websocket) in
            [("mosquitto", "certfile", "protocol websockets"), ("thrum", "certificate =", "websocket = true")]
        {
            for (reach, has) in [("", [0, 0]), ("-tls", [1, 0]), ("-ws", [0, 1]), ("-wss", [1, 1])] {
                let peer = all.iter().find(|peer| peer.name == format!("{name}{reach}")).expect(name);
                assert_eq!([tls, websocket].map(|word| peer.config.matches(word).count()), has, "{}", peer.name);
                assert_eq!([usize::from(peer.reach.has_tls()), usize::from(peer.reach.has_websocket())], has);
                // Thrum's listeners are a table, which ends where the next one begins.
                assert!(!peer.config.contains("[log]") || peer.config.find(websocket) < peer.config.find("[log]"));
            }
        }
    }

    #[test]
    fn brokers_are_read_with_their_defaults() {
        let text = "[[brokers]]\nname = 'a'\ncommand = ['a', '{port}']\n[[brokers]]\nname = 'b'\ncommand = ['b']\n\
                    config = 'port {port}'\nconfig_name = 'b.conf'\npid = 'child'\n";
        let first = Peer::new("a", &["a", "{port}"], "");
        let second =
            Peer { config_name: "b.conf".into(), pid: Measured::Child, ..Peer::new("b", &["b"], "port {port}") };
        assert_eq!(parse("peers.toml", text), Ok(vec![first, second]));
        assert_eq!(parse("peers.toml", ""), Ok(vec![]));
    }

    #[test]
    fn the_sample_file_is_right() {
        assert!(parse("peers.toml", include_str!("../peers.toml")).expect("a right file").len() >= 2);
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_key() {
        for (text, told) in [
            ("[[brokers]]\nname = 'a'\ncomand = []", "3: brokers[0].comand: unknown field `comand`"),
            ("[[brokers]]\nname = 'a'\n", "1: brokers[0]: missing field `command`"),
            ("[[brokers]]\nname = 'a'\ncommand = [\n'a',\n5]", "5: brokers[0].command[1]: invalid type: integer `5`"),
            (
                "[[brokers]]\nname = 'a'\ncommand = ['{port}']\npid = 'both'",
                "4: brokers[0].pid: unknown variant `both`, expected `started` or `child`",
            ),
            ("\n[brokers", "2: "),
            ("[[brokers]]\nname = ''\ncommand = ['{port}']", "2: brokers[0].name: a name of its own is needed"),
            (
                "[[brokers]]\nname = 'a'\ncommand = ['{port}']\n[[brokers]]\nname = 'a'\ncommand = ['{port}']",
                "5: brokers[1].name: a name of its own is needed",
            ),
            ("[[brokers]]\nname = 'a'\ncommand = []", "3: brokers[0].command: a program is needed"),
            (
                "[[brokers]]\nname = 'a'\ncommand = ['a']",
                "3: brokers[0].command: neither it nor the configuration says {port}",
            ),
        ] {
            assert!(error(text).starts_with(&format!("peers.toml:{told}")), "{text}: {}", error(text));
        }
    }
}
