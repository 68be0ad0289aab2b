//! The HTTP request that begins a WebSocket, and the answer to it. (RFC 6455, 4.2; MQTT 5.0, 6)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::transport::WebSocketRules;

/// What a request may have, bytes and fields.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
const FIELDS_MAX: usize = 64;

/// Of RFC 6455.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
const VERSION: &str = "13";

/// What may be spoken in it.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

#[derive(PartialEq, Eq, Debug)]
pub(super) enum Upgrade {
    Incomplete,
    /// So many bytes are the request, and this is the answer.
    Switch {
        bytes: usize,
        answer: String,
    },
    Refuse {
        answer: String,
        why: &'static str,
    },
}

/// Why not, in the words of HTTP.
struct Refusal {
    status: &'static str,
    /// A field that the status asks for.
    field: &'static str,
    why: &'static str,
}

impl Refusal {
    const fn new(status: &'static str, why: &'static str) -> Self {
        Self { status, field: "", why }
    }

    fn answer(&self) -> String {
        let Self { status, field, why } = self;
        let bytes = why.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{field}Content-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n{why}\n"
        )
    }
}

impl Upgrade {
    pub(super) fn judge(input: &[u8], rules: &WebSocketRules) -> Self {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut request = Request::new(&mut fields);
        let within = &input[..input.len().min(REQUEST_BYTES_MAX)];
        let judged = match request.parse(within) {
            Ok(Status::Partial) if within.len() < REQUEST_BYTES_MAX => return Self::Incomplete,
            Ok(Status::Partial) => Err(Refusal::new("431 Request Header Fields Too Large", "the request is too long")),
            Err(httparse::Error::TooManyHeaders) => {
                Err(Refusal::new("431 Request Header Fields Too Large", "the request has too many fields"))
            }
            Err(_) => Err(Refusal::new("400 Bad Request", "not a request of HTTP")),
            Ok(Status::Complete(bytes)) => accept(&request, rules).map(|answer| (bytes, answer)),
        };
        match judged {
            Ok((bytes, answer)) => Self::Switch { bytes, answer },
            Err(refusal) => Self::Refuse { answer: refusal.answer(), why: refusal.why },
        }
    }
}

fn accept(request: &Request<'_, '_>, rules: &WebSocketRules) -> Result<String, Refusal> {
    if request.method != Some("GET") {
        let field = "Allow: GET\r\n";
        return Err(Refusal { field, ..Refusal::new("405 Method Not Allowed", "only GET is possible") });
    }
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    if path != &*rules.path {
        return Err(Refusal::new("404 Not Found", "nothing is at this path"));
    }
    let fields = &*request.headers;
    if request.version != Some(1) || text(fields, "Host").is_none() {
        return Err(Refusal::new("400 Bad Request", "a request of HTTP/1.1 with Host is needed"));
    }
    if !lists(fields, "Upgrade", "websocket") || !lists(fields, "Connection", "upgrade") {
        let field = "Upgrade: websocket\r\n";
        return Err(Refusal { field, ..Refusal::new("426 Upgrade Required", "only WebSocket is spoken here") });
    }
    if text(fields, "Sec-WebSocket-Version") != Some(VERSION) {
        let field = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        return Err(Refusal {
            field,
            ..Refusal::new("426 Upgrade Required", "only version 13 of WebSocket is spoken here")
        });
    }
    let key =
        text(fields, "Sec-WebSocket-Key").filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_BYTES));
    let Some(key) = key else { return Err(Refusal::new("400 Bad Request", "no Sec-WebSocket-Key, or not one")) };
    if !is_origin_welcome(fields, rules) {
        return Err(Refusal::new("403 Forbidden", "pages from there are not let in"));
    }
    let subprotocol = subprotocol(fields)?;
    let accepted = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), KEY_SUFFIX].concat()));
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accepted}\r\n{subprotocol}\r\n"
    ))
}

/// Whoever is no page names no origin.
fn is_origin_welcome(fields: &[Header<'_>], rules: &WebSocketRules) -> bool {
    let mut origins = values(fields, "Origin");
    rules.origins.is_empty()
        || origins.all(|origin| rules.origins.iter().any(|welcome| origin.eq_ignore_ascii_case(welcome.as_bytes())))
}

/// The field that names what is spoken. The client offers "mqtt" [MQTT-6.0.0-3], and that is what is chosen
/// [MQTT-6.0.0-4]; old clients know another name for it, or none.
fn subprotocol(fields: &[Header<'_>]) -> Result<String, Refusal> {
    let offered: Vec<_> = items(fields, "Sec-WebSocket-Protocol").collect();
    if offered.is_empty() {
        return Ok(String::new());
    }
    match SUBPROTOCOLS.into_iter().find(|name| offered.contains(&name.as_bytes())) {
        Some(chosen) => Ok(format!("Sec-WebSocket-Protocol: {chosen}\r\n")),
        None => Err(Refusal::new("400 Bad Request", "no subprotocol but mqtt and mqttv3.1 is spoken here")),
    }
}

fn values<'a>(fields: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
}

/// The value of a field that is there once.
fn text<'a>(fields: &'a [Header<'_>], name: &'a str) -> Option<&'a str> {
    let mut values = values(fields, name);
    let value = values.next()?;
    if values.next().is_some() { None } else { str::from_utf8(value).ok() }
}

/// What the fields of a name list.
fn items<'a>(fields: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let items = values(fields, name).flat_map(|value| value.split(|&byte| byte == b','));
    items.map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

fn lists(fields: &[Header<'_>], name: &str, wanted: &str) -> bool {
    items(fields, name).any(|item| item.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, as a client of MQTT says it.
    const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
        Origin: https://page.example\r\n\r\n";

    fn rules(origins: &[&str]) -> WebSocketRules {
        WebSocketRules { path: "/mqtt".into(), origins: origins.iter().map(|&origin| origin.into()).collect() }
    }

    /// The first line, and the rest.
    fn answer(request: &str, origins: &[&str]) -> (String, String) {
        let answer = match Upgrade::judge(request.as_bytes(), &rules(origins)) {
            Upgrade::Switch { answer, .. } | Upgrade::Refuse { answer, .. } => answer,
            Upgrade::Incomplete => panic!("no answer to {request}"),
        };
        let (first, rest) = answer.split_once("\r\n").expect("lines");
        (first.trim_start_matches("HTTP/1.1 ").to_owned(), rest.to_owned())
    }

    #[test]
    fn a_request_is_answered_at_its_last_byte_and_no_sooner() {
        let behind = [REQUEST.as_bytes(), b"\x82\x80\0\0\0\0"].concat();
        for end in 0..REQUEST.len() {
            assert_eq!(Upgrade::judge(&behind[..end], &rules(&[])), Upgrade::Incomplete);
        }
        let Upgrade::Switch { bytes, answer } = Upgrade::judge(&behind, &rules(&[])) else { panic!("refused") };
        assert_eq!(bytes, REQUEST.len());
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.ends_with("\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"), "{answer}");
    }

    #[test]
    fn a_subprotocol_is_chosen_of_what_is_offered() {
        let cases = [
            ("Sec-WebSocket-Protocol: mqttv3.1\r\n", "101", "mqttv3.1"),
            ("Sec-WebSocket-Protocol: chat, mqtt\r\n", "101", "mqtt"),
            ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqttv3.1,mqtt\r\n", "101", "mqtt"),
            ("", "101", ""),
            ("Sec-WebSocket-Protocol: chat, MQTT\r\n", "400", ""),
        ];
        for (offer, status, chosen) in cases {
            let (first, rest) = answer(&REQUEST.replace("Sec-WebSocket-Protocol: mqtt\r\n", offer), &[]);
            assert!(first.starts_with(status), "{offer}: {first}");
            let said = rest.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ")).unwrap_or_default();
            assert_eq!(said, chosen, "{offer}");
        }
    }

    #[test]
    fn what_is_no_websocket_is_told_so_in_http() {
        let cases = [
            ("GET /mqtt", "GET /mqtt?token=1", "101"),
            ("GET /mqtt", "GET /other", "404"),
            ("GET /mqtt", "GET /mqtt/", "404"),
            ("GET", "POST", "405"),
            ("HTTP/1.1", "HTTP/1.0", "400"),
            ("Host: broker\r\n", "", "400"),
            ("Upgrade: websocket", "Upgrade: h2c", "426"),
            ("keep-alive, Upgrade", "keep-alive", "426"),
            ("Version: 13", "Version: 8", "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", "400"),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400"),
            ("GET /mqtt HTTP/1.1", "\x10\x0d\0\x04MQTT", "400"),
        ];
        for (from, to, status) in cases {
            let (first, rest) = answer(&REQUEST.replace(from, to), &[]);
            assert!(first.starts_with(status), "{to:?}: {first}");
            let names_version = rest.contains("Sec-WebSocket-Version: 13\r\n");
            assert_eq!(names_version, to == "Version: 8", "{rest}");
        }
    }

    #[test]
    fn pages_come_from_where_they_may() {
        for (origins, status) in [
            (&[][..], "101"),
            (&["https://other.example", "https://PAGE.example"], "101"),
            (&["https://other.example"], "403"),
        ] {
            assert!(answer(REQUEST, origins).0.starts_with(status), "{origins:?}");
        }
        let no_page = REQUEST.replace("Origin: https://page.example\r\n", "");
        assert!(answer(&no_page, &["https://other.example"]).0.starts_with("101"));
    }

    #[test]
    fn a_request_is_bounded() {
        let long = REQUEST.replace("Host: broker", &format!("Host: broker\r\nX: {}", "x".repeat(REQUEST_BYTES_MAX)));
        let many = REQUEST.replace("Host: broker", &format!("Host: broker{}", "\r\nX: x".repeat(FIELDS_MAX)));
        for request in [long, many] {
            assert!(answer(&request, &[]).0.starts_with("431"));
        }
    }
}
