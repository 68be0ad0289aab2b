//! A line of the broker's log: the members of its JSON object, or mere text.

use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    text: String,
    /// Names and values, of objects within it too; `None` where the line is not one JSON object.
    members: Option<Vec<(String, String)>>,
}

impl LogLine {
    pub(crate) fn new(text: &str) -> Self {
        let mut reader = Reader { rest: text, members: Vec::new() };
        let is_object = text.starts_with('{') && reader.value("").is_some() && reader.rest.is_empty();
        Self { text: text.into(), members: is_object.then_some(reader.members) }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_json(&self) -> bool {
        self.members.is_some()
    }

    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        self.members.as_ref()?.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn says(&self, message: &str, client: &str) -> bool {
        self.member("message") == Some(message) && self.member("client") == Some(client)
    }

    /// Of a line that names an address.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        if let Some(address) = self.member("address") {
            return address.parse().ok();
        }
        let from = &self.text[self.text.find("127.0.0.1:")?..];
        let end = from.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(from.len());
        from[..end].parse().ok()
    }
}

struct Reader<'a> {
    rest: &'a str,
    members: Vec<(String, String)>,
}

impl Reader<'_> {
    fn take(&mut self, token: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?.trim_start();
        Some(())
    }

    fn value(&mut self, name: &str) -> Option<()> {
        match self.rest.chars().next()? {
            '{' => self.list('{', '}', |reader| {
                let name = reader.string()?;
                reader.take(':')?;
                reader.value(&name)
            }),
            '[' => self.list('[', ']', |reader| reader.value(name)),
            '"' => {
                let value = self.string()?;
                self.members.push((name.into(), value));
                Some(())
            }
            _ => {
                let end = self.rest.find([',', '}', ']', ' ']).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                let is_word = matches!(word, "true" | "false" | "null") || word.parse::<f64>().is_ok();
                self.members.push((name.into(), word.into()));
                self.rest = rest;
                is_word.then_some(())
            }
        }
    }

    fn list(&mut self, open: char, close: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open)?;
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.take(',').is_none() {
                return self.take(close);
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.rest.strip_prefix('"')?.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => match characters.next()? {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    'b' => value.push('\u{8}'),
                    'f' => value.push('\u{c}'),
                    'u' => {
                        let code = characters.as_str().get(..4)?;
                        characters = characters.as_str()[4..].chars();
                        value.push(char::from_u32(u32::from_str_radix(code, 16).ok()?).unwrap_or('\u{fffd}'));
                    }
                    other => value.push(other),
                },
                control if control < ' ' => return None,
                other => value.push(other),
            }
        }
        self.rest = characters.as_str();
        Some(value)
    }
}

#[test]
fn a_line_is_read_and_what_is_none_is_told() {
    let line = LogLine::new(r#"{"level":"INFO","fields":{"message":"connected","client":"a\"\n","port":7},"s":[]}"#);
    assert!(line.is_json() && line.says("connected", "a\"\n"));
    assert_eq!((line.member("port"), line.member("s")), (Some("7"), None));
    for bad in ["", "{", "{}x", "text", r#"{"a":}"#, r#"{"a":"b"#, "{\"a\":\"\u{1}\"}", r#"{"a" "b"}"#, r#"{"a":b}"#] {
        assert!(!LogLine::new(bad).is_json(), "{bad}");
    }
    assert_eq!(LogLine::new("INFO listening address=127.0.0.1:77 x").address(), "127.0.0.1:77".parse().ok());
}
