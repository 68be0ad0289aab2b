//! The two files of users: lines of `user:stored password` as Mosquitto has them, and JSON, which has groups as well:
//! `[{"user": "ada", "password": "$argon2id$...", "groups": ["engineers"]}]`.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::password::Password;
use super::text_error::TextError;
use super::users::{User, Users};

/// A file of another kind has a mistake in each line, which nobody wants to read.
const ERRORS_MAX: usize = 20;

impl Users {
    /// Blank lines and those that begin with `#` are none. The secret is that of [`Users::new`].
    pub fn parse_password_file(text: &str, secret: [u8; 32]) -> Result<Self, Vec<TextError>> {
        let mut users = Self::new(secret);
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let errors =
            lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).filter_map(|(number, line)| {
                let result = parse_line(line).and_then(|(name, user)| insert(&mut users, name, user));
                result.err().map(|what| TextError { line: number, what })
            });
        let errors: Vec<TextError> = errors.take(ERRORS_MAX).collect();
        if errors.is_empty() { Ok(users) } else { Err(errors) }
    }

    /// The secret is that of [`Users::new`].
    pub fn parse_user_file(text: &str, secret: [u8; 32]) -> Result<Self, Vec<TextError>> {
        let mut json = serde_json::Deserializer::from_str(text);
        let users = json.deserialize_seq(Entries(Self::new(secret))).and_then(|users| json.end().map(|()| users));
        users.map_err(|error| vec![TextError { line: error.line(), what: in_words(&error) }])
    }
}

fn parse_line(line: &str) -> Result<(&str, User), String> {
    // Whatever stands in a line without a colon may be a password.
    let (name, password) = line.split_once(':').ok_or("not `user:stored password`")?;
    let password: Password = password.trim().parse().map_err(|error| format!("{error}"))?;
    match name.trim() {
        "" => Err("a stored password without a user".into()),
        name => Ok((name, password.into())),
    }
}

fn insert(users: &mut Users, name: &str, user: User) -> Result<(), String> {
    users.insert(name, user).then_some(()).ok_or_else(|| format!("the user {name:?} is there already, further up"))
}

/// Users as they come, so that a mistake has its line.
struct Entries(Users);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    user: String,
    password: Stored,
    #[serde(default)]
    groups: Vec<Box<str>>,
}

struct Stored(Password);

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Users;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of users")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<Users, A::Error> {
        while let Some(Entry { user, password, groups }) = entries.next_element()? {
            let entry = User { password: password.0, groups: groups.into() };
            insert(&mut self.0, &user, entry).map_err(de::Error::custom)?;
        }
        Ok(self.0)
    }
}

/// Some errors quote what they found, which may be a password in the wrong place.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let quotes = ["invalid type", "invalid value", "invalid length"].iter().any(|start| text.starts_with(start));
    if quotes {
        return "not what belongs here: the file is a list of {\"user\": \"...\", \"password\": \"...\", \"groups\": \
                [\"...\"]}"
            .into();
    }
    if text.starts_with("unknown field") {
        return "a key that is none of user, password and groups".into();
    }
    // The line stands beside it.
    text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Work;
    use super::*;

    const ARGON2: &str = "$argon2id$v=19$m=64,t=3,p=4$c29tZXNhbHQ$BlsH1CcyZIKqTSVIgfjxCw";

    fn lines(text: &str) -> Result<Users, Vec<TextError>> {
        Users::parse_password_file(text, [1; 32])
    }

    fn json(text: &str) -> Result<Users, Vec<TextError>> {
        Users::parse_user_file(text, [1; 32])
    }

    /// Line and beginning of the text of each error.
    fn expect_errors(result: Result<Users, Vec<TextError>>, wanted: &[(usize, &str)]) {
        let errors = result.unwrap_err();
        assert_eq!(errors.len(), wanted.len(), "{errors:?}");
        for (error, (line, what)) in errors.iter().zip(wanted) {
            assert!(error.line == *line && error.what.starts_with(what), "{error:?}, not {line}: {what}");
            assert!(!error.what.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_file_has_a_user_in_each_line_that_is_not_blank_or_a_comment() {
        let users = lines(&format!("# of the mill\n\n ada : {ARGON2} \r\n\t\nb c:{ARGON2}\n#eve:{ARGON2}\n")).unwrap();
        assert_eq!(users.len(), 2);
        for name in ["ada", "b c"] {
            let work = users.get(name).unwrap().password.work();
            assert_eq!(work, Work::Argon2id { memory_kib: 64, passes: 3, lanes: 4 });
        }
        assert!(lines("").unwrap().is_empty());
    }

    #[test]
    fn each_mistake_in_a_password_file_has_its_line_and_tells_no_password() {
        let text = format!("hunter2\nada:hunter2\nbob:{ARGON2}\n\nbob:{ARGON2}\n:{ARGON2}\neve:$7$0$hunter2$\neve:$6$");
        let wanted = [
            (1, "not `user:"),
            (2, "not a stored password"),
            (5, "the user \"bob\" is there"),
            (6, "a stored password without"),
            (7, "a password that takes"),
            (8, "not all parts"),
        ];
        expect_errors(lines(&text), &wanted);
        assert_eq!(lines(&"x\n".repeat(1_000)).unwrap_err().len(), ERRORS_MAX);
    }

    #[test]
    fn a_user_file_has_groups_too() {
        let users = json(&format!(
            r#"[{{"user": "ada", "password": "{ARGON2}", "groups": ["engineers", "poets"]}},
                {{"password": "{ARGON2}", "user": "b:c"}}]"#
        ));
        let users = users.unwrap();
        assert_eq!(users.get("ada").unwrap().groups, ["engineers".into(), "poets".into()].into());
        assert!(users.get("b:c").unwrap().groups.is_empty());
        assert!(json("[]").unwrap().is_empty());
    }

    #[test]
    fn the_first_mistake_in_a_user_file_has_its_line_and_tells_no_password() {
        let user = |rest: &str| format!("[\n{{\"user\": \"ada\", {rest}}}\n]");
        let good = format!(r#""password": "{ARGON2}""#);
        let cases = [
            (String::new(), 1, "EOF"),
            ("\"hunter2\"".into(), 1, "not what belongs here"),
            ("{\"hunter2\": 1}".into(), 1, "not what belongs here"),
            ("[1]".into(), 1, "not what belongs here"),
            ("[] []".into(), 1, "trailing characters"),
            (user("\"password\": 12345"), 2, "not what belongs here"),
            (user("\"password\": \"hunter2\""), 2, "not a stored password"),
            (user("\"hunter2\": \"x\""), 2, "a key that is none of"),
            (user("\"groups\": []"), 2, "missing field `password`"),
            (user(&format!("{good}, \"groups\": \"hunter2\"")), 2, "not what belongs here"),
            // The line where the list goes on.
            (user(&format!("{good}}},\n{{\"user\": \"ada\", {good}")), 4, "the user \"ada\" is there already"),
        ];
        for (text, line, what) in cases {
            expect_errors(json(&text), &[(line, what)]);
        }
    }
}
