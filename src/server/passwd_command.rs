//! `thrum passwd ...`: a password file is made, and users are added to it, changed and deleted.

use std::fmt;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use super::boot::random;
use super::secret_file::SecretFile;
use crate::access::{ITERATIONS_DEFAULT, Password, PasswordError, Work};

/// What a CONNECT can carry, of a name as of a password.
const BYTES_MAX: usize = u16::MAX as usize;

#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub(super) struct PasswdCommand {
    /// Make FILE, which must not be there yet
    #[arg(short, long, conflicts_with_all = ["delete", "upgrade"])]
    create: bool,

    /// Delete USER
    #[arg(short = 'D', long, conflicts_with_all = ["batch", "stdin", "hash", "upgrade"])]
    delete: bool,

    /// Take the password from the command line, where everybody who lists processes can see it
    #[arg(short, long, requires = "password", conflicts_with_all = ["stdin", "upgrade"])]
    batch: bool,

    /// Take the password from the first line of standard input
    #[arg(long, conflicts_with = "upgrade")]
    stdin: bool,

    /// Hash the passwords of a FILE that has plain ones; those that are hashed stay
    #[arg(short = 'U', long, conflicts_with = "user")]
    upgrade: bool,

    /// How to hash: Mosquitto reads argon2id from 2.1 on, only users with scram can log in by SCRAM-SHA-256
    #[arg(short = 'H', long, value_name = "KIND", default_value = "argon2id")]
    hash: HashKind,

    /// The password file
    file: PathBuf,

    /// Whom to add, change or delete
    #[arg(required_unless_present = "upgrade")]
    user: Option<String>,

    #[arg(requires = "batch", hide = true)]
    password: Option<Secret>,

    /// The broker's configuration has no part in this: `-c` is short for `--create` here.
    #[arg(long = "config", hide = true)]
    config: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum HashKind {
    Argon2id,
    Sha512Pbkdf2,
    Scram,
}

impl HashKind {
    fn work(self) -> Work {
        match self {
            Self::Argon2id => Work::ARGON2ID,
            Self::Sha512Pbkdf2 => Work::PBKDF2_SHA512,
            Self::Scram => Work::Scram { iterations: ITERATIONS_DEFAULT },
        }
    }
}

/// A password as somebody typed it, which no error and no log shows.
#[derive(Clone, PartialEq, Eq)]
struct Secret(Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::checked(Zeroizing::new(text.to_owned()))
    }
}

impl Secret {
    fn checked(text: Zeroizing<String>) -> Result<Self, String> {
        match text.len() {
            0 => Err("the password is empty".into()),
            1..=BYTES_MAX => Ok(Self(text)),
            _ => Err(format!("the password has more than {BYTES_MAX} bytes, which no CONNECT can carry")),
        }
    }
}

/// Does it, and says what went wrong.
pub(super) fn run_passwd(command: &PasswdCommand) -> ExitCode {
    if command.batch {
        eprintln!("warning: everybody who lists processes can see a password on the command line: use --stdin");
    }
    match carry_out(command, || ask(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: &PasswdCommand, ask: impl FnOnce() -> Result<Secret, String>) -> Result<(), String> {
    let work = command.hash.work();
    let user = command.user.as_deref();
    user.map_or(Ok(()), check_name)?;
    let open = || if command.create { SecretFile::new(&command.file) } else { SecretFile::open(&command.file) };
    // What is wrong with the file is told before the question, and nobody else waits while it is open.
    drop(open()?);
    let line = match user.filter(|_| !command.delete) {
        Some(user) => Some(format!("{user}:{}", stored(work, &ask()?.0))),
        None => None,
    };
    let file = open()?;
    let text = match user {
        None => hash_plain(file.text(), |plain| stored(work, plain)).map_err(|error| file.blame(&error))?,
        Some(user) => {
            let (text, was_there) = with_line(file.text(), user, line.as_deref());
            if command.delete && !was_there {
                return Err(file.blame(&format!("there is no user {user:?}")));
            }
            text
        }
    };
    file.replace(&text)
}

fn stored(work: Work, plain: &str) -> Password {
    Password::derive(work, plain.as_bytes(), random())
}

fn ask(command: &PasswdCommand) -> Result<Secret, String> {
    match &command.password {
        Some(password) => Ok(password.clone()),
        None if command.stdin => first_line(io::stdin().lock()),
        None => prompted(),
    }
}

fn first_line(input: impl BufRead) -> Result<Secret, String> {
    let mut line = Zeroizing::new(String::with_capacity(BYTES_MAX + 2));
    // What is longer is no password either way, and a string that grows leaves copies of itself.
    let mut input = input.take(BYTES_MAX as u64 + 2);
    input.read_line(&mut line).map_err(|error| format!("cannot read the password from standard input: {error}"))?;
    if line.ends_with('\n') {
        line.pop();
        if line.ends_with('\r') {
            line.pop();
        }
    }
    Secret::checked(line)
}

fn prompted() -> Result<Secret, String> {
    let prompt = |text: &str| {
        let typed = rpassword::prompt_password(text).map(Zeroizing::new);
        typed.map_err(|error| format!("no terminal to ask for the password at ({error}): use --stdin"))
    };
    let password = Secret::checked(prompt("Password: ")?)?;
    if *prompt("The same again: ")? == *password.0 {
        Ok(password)
    } else {
        Err("these are two different passwords: nothing was changed".into())
    }
}

/// What the file could not give back as it was.
fn check_name(name: &str) -> Result<(), String> {
    let bad = if name.is_empty() {
        "is empty"
    } else if name.len() > BYTES_MAX {
        "is longer than a CONNECT can carry"
    } else if name.contains(':') {
        "has a colon, which ends a name in a password file: only a JSON user file can have it"
    } else if name.starts_with('#') {
        "begins with #, as comments in a password file do"
    } else if name.trim() != name || name.contains(char::is_control) {
        "begins or ends with a space or has a control character in it"
    } else {
        return Ok(());
    };
    Err(format!("the user's name {bad}"))
}

/// Who stands in a line; None: it is a comment or blank.
fn name_in(line: &str) -> Option<&str> {
    let line = line.trim();
    let name = line.split_once(':').map(|(name, _)| name.trim());
    name.filter(|_| !line.starts_with('#'))
}

/// With this line where the user's was, or else at the end; None: without the user. All else stays as it is. Also says
/// whether there was a line of his.
fn with_line(text: &str, user: &str, line: Option<&str>) -> (Zeroizing<String>, bool) {
    // Room for all, as a string that grows leaves copies of itself.
    let mut result = Zeroizing::new(String::with_capacity(text.len() + line.map_or(0, str::len) + 2));
    let mut was_there = false;
    for old in text.lines() {
        let is_his = name_in(old) == Some(user);
        let new = if !is_his { Some(old) } else { line.filter(|_| !was_there) };
        was_there |= is_his;
        new.into_iter().for_each(|new| push_line(&mut result, new));
    }
    line.filter(|_| !was_there).into_iter().for_each(|line| push_line(&mut result, line));
    (result, was_there)
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Each plain password hashed. What was hashed before stays, and so do comments.
fn hash_plain(text: &str, stored: impl Fn(&str) -> Password) -> Result<Zeroizing<String>, String> {
    let mut result = Zeroizing::new(String::with_capacity(text.len()));
    for (at, line) in text.lines().enumerate() {
        let fault = |what: String| format!("line {}: {what}", at + 1);
        let Some((name, plain)) = name_in(line).and_then(|name| Some((name, line.split_once(':')?.1))) else {
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                return Err(fault("not `user:password`".into()));
            }
            push_line(&mut result, line);
            continue;
        };
        check_name(name).map_err(fault)?;
        match plain.trim().parse::<Password>() {
            Ok(_) => push_line(&mut result, line),
            Err(PasswordError::Unknown) if plain.is_empty() => return Err(fault("the password is empty".into())),
            Err(PasswordError::Unknown) => push_line(&mut result, &format!("{name}:{}", stored(plain))),
            // Hashing it once more would make of a slip a user who cannot log in.
            Err(error) => return Err(fault(error.to_string())),
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::access::{SALT_BYTES, Users};

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        command: PasswdCommand,
    }

    fn parse(arguments: &str) -> Result<PasswdCommand, clap::Error> {
        Line::try_parse_from(["passwd"].into_iter().chain(arguments.split_whitespace())).map(|line| line.command)
    }

    fn quick(plain: &str) -> Password {
        Password::derive(Work::Sha512, plain.as_bytes(), [7; SALT_BYTES])
    }

    fn secret(text: &str) -> Result<Secret, String> {
        text.parse()
    }

    #[test]
    fn users_are_added_changed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let run = |options: &str, user: &str, password: &str| {
            let command = parse(&format!("{options} {} {user}", path.display())).unwrap();
            carry_out(&command, || secret(password))
        };
        // What the file says of somebody, and whether the broker takes all of it.
        let line_of = |user: &str| {
            let text = fs::read_to_string(&path).unwrap();
            Users::parse_password_file(&text, [1; 32]).unwrap();
            let line = text.lines().find(|line| line.starts_with(&format!("{user}:"))).map(str::to_owned);
            line.map(|line| line.split_once(':').unwrap().1.parse::<Password>().unwrap())
        };
        assert!(run("", "ada", "engine").unwrap_err().contains("-c makes it"));
        run("-c -H scram", "ada", "engine").unwrap();
        run("-H scram", "bob", "builder").unwrap();
        run("-H scram", "ada", "difference").unwrap();
        assert!(line_of("ada").unwrap().verify(b"difference") && line_of("bob").unwrap().verify(b"builder"));
        assert!(run("-c", "eve", "x").unwrap_err().contains("is there already"));
        run("-D", "ada", "").unwrap();
        assert!(line_of("ada").is_none() && line_of("bob").is_some());
        assert!(run("-D", "ada", "").unwrap_err().contains("no user \"ada\""));
        assert!(run("", "a:b", "x").unwrap_err().contains("colon"));
        assert!(run("", "bob", "").unwrap_err().contains("empty"));
        assert!(line_of("bob").unwrap().verify(b"builder"));
    }

    #[test]
    fn all_that_is_not_the_users_line_stays_as_it_is() {
        let text = "# ada:comment\n\n bob : x \nada:1\r\neve:y\nada:2";
        let (changed, was_there) = with_line(text, "ada", Some("ada:3"));
        assert_eq!((changed.as_str(), was_there), ("# ada:comment\n\n bob : x \nada:3\neve:y\n", true));
        let (changed, was_there) = with_line(text, "bob", None);
        assert_eq!((changed.as_str(), was_there), ("# ada:comment\n\nada:1\neve:y\nada:2\n", true));
        let (changed, was_there) = with_line("a:1", "b", Some("b:2"));
        assert_eq!((changed.as_str(), was_there), ("a:1\nb:2\n", false));
    }

    #[test]
    fn plain_passwords_are_hashed_and_hashed_ones_stay() {
        let hashed = quick("x");
        let text = format!("# all\nada:engine: no 1 \n\nbob:{hashed}\n");
        let wanted = format!("# all\nada:{}\n\nbob:{hashed}\n", quick("engine: no 1 "));
        assert_eq!(hash_plain(&text, quick).unwrap().as_str(), wanted);
        assert_eq!(hash_plain(&wanted, quick).unwrap().as_str(), wanted);
        for (text, what) in
            [("a:b\nhunter2", "line 2: not"), ("a:", "line 1: the password is"), ("a:$6$hunter2", "line 1:")]
        {
            let error = hash_plain(text, quick).unwrap_err();
            assert!(error.starts_with(what) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_is_the_first_line_of_the_input() {
        for (input, wanted) in [("a b \nc", "a b "), ("a\r\n", "a"), ("a", "a")] {
            assert_eq!(first_line(input.as_bytes()), secret(wanted));
        }
        assert!(first_line(&b"\n"[..]).is_err() && first_line(&b"\xff\n"[..]).is_err());
        assert!(first_line("x".repeat(BYTES_MAX).as_bytes()).is_ok());
        assert!(first_line("x".repeat(BYTES_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let command = parse("-b file ada hunter2").unwrap();
        assert!(!format!("{command:?}").contains("hunter2"));
        assert_eq!(parse("-H sha512-pbkdf2 -c file ada").unwrap().hash.work(), Work::PBKDF2_SHA512);
        assert!(parse("-U file").is_ok() && parse("--stdin -c file ada").is_ok() && parse("-cb file ada x").is_ok());
        for wrong in [
            "",
            "file",
            "file ada hunter2",
            "-b file ada",
            "-b --stdin file ada hunter2",
            "-D -c file ada",
            "-D --stdin file ada",
            "-U file ada",
            "-U -c file",
            "-U -b file ada hunter2",
            "-H md5 file ada",
        ] {
            let error = parse(wrong).expect_err(wrong).to_string();
            assert!(!error.contains("hunter2") || wrong == "file ada hunter2", "{error}");
        }
    }

    #[test]
    fn names_that_a_password_file_cannot_hold_are_refused() {
        for name in ["ada", "ada lovelace", "a#", "ünal"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", " a", "a ", "a:b", "#a", "a\nb", "a\u{7f}", &"x".repeat(BYTES_MAX + 1)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
