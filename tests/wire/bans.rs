//! Who fails to come in too often stays out, alone and for a while; an operator sees it and lets him in again.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha512};
use socket2::{Domain, Socket, Type};

use crate::broker::{Broker, Setup, binary};
use crate::client::{Came, Client};
use crate::packets::{CONNACK, Login, V3_1_1, V5};
use crate::status::Status;
use crate::store::folder;

const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
const BANNED: u8 = 0x8A;

/// A connection from 127.0.0.`last`, on which nothing was said yet.
pub(crate) fn open_from(broker: &Broker, last: u8, version: u8) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&broker.address.into()).expect("the kernel accepts");
    Client::over(TcpStream::from(socket), version)
}

/// What CONNACK says; none: the connection ended without a word.
fn answer(broker: &Broker, last: u8, login: &Login, version: u8) -> (Client, Option<u8>) {
    let mut client = open_from(broker, last, version);
    client.send_if_open(&login.bytes());
    match client.come(Duration::from_secs(20)) {
        Came::Packet(packet) => {
            assert_eq!(packet.kind(), CONNACK, "{packet:?}");
            (client, Some(packet.reason()))
        }
        Came::End => (client, None),
        Came::Nothing => panic!("no answer"),
    }
}

fn reason(broker: &Broker, last: u8, user: &str, password: &str) -> Option<u8> {
    answer(broker, last, &Login::new(V5, format!("{user} from {last}")).user(user, password), V5).1
}

fn bans(command: &[&str], directory: &Path) -> Output {
    Command::new(binary()).arg("bans").args(command).arg("-d").arg(directory).output().expect("it runs")
}

fn listed(directory: &Path) -> String {
    let output = bans(&["list"], directory);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Users with passwords that are their names and `'s`.
fn password_file(folder: &Path, users: &[&str]) -> std::path::PathBuf {
    let line = |user: &&str| {
        let salt = b"twelve bytes";
        let hash = Sha512::new().chain_update(format!("{user}'s")).chain_update(salt).finalize();
        format!("{user}:$6${}${}\n", BASE64.encode(salt), BASE64.encode(hash))
    };
    let path = folder.join("passwords");
    fs::write(&path, users.iter().map(line).collect::<String>()).expect("a file");
    path
}

fn setup(folder: &Path, bans: &str) -> Setup {
    let passwords = password_file(folder, &["alice", "bob", "watcher"]);
    let passwords = passwords.display();
    let tables = format!("[access]\npassword_file = \"{passwords}\"\n[access.bans]\n{bans}\n");
    Setup::new(2)
        .store(&folder.join("store"))
        .option("sys_interval_secs", 1)
        .listener("anonymous = true\n")
        .tables(&tables)
}

#[test]
fn who_fails_too_often_is_banned_alone_and_can_be_let_in_again() {
    let folder = folder();
    let store = folder.path().join("store");
    let broker = setup(folder.path(), "failures_max = 3").start();
    let (mut inside, welcome) = answer(&broker, 2, &Login::new(V5, "inside").user("alice", "alice's"), V5);
    assert_eq!(welcome, Some(0));
    for _ in 0..3 {
        assert_eq!(reason(&broker, 3, "alice", "a guess"), Some(BAD_USER_NAME_OR_PASSWORD));
    }
    // The address at the door, without a word; the user from everywhere, with one.
    assert_eq!(reason(&broker, 3, "bob", "bob's"), None);
    assert_eq!(reason(&broker, 2, "alice", "alice's"), Some(BANNED));
    let v3 = Login::new(V3_1_1, "before 5.0").user("alice", "alice's");
    assert_eq!(answer(&broker, 2, &v3, V3_1_1).1, Some(5));
    assert_eq!(reason(&broker, 2, "bob", "bob's"), Some(0));
    inside.ping();
    let list = listed(&store);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("\t1\taddress 127.0.0.3\n") && list.contains("\t1\tuser alice\n"), "{list}");
    broker.line("an address is banned", |line| line.text().contains("banned") && line.text().contains("127.0.0.3"));
    assert!(Status::watch(&broker).number("$SYS/broker/thrum/refused/banned") >= 3);
    for who in ["alice", "127.0.0.3"] {
        let lifted = bans(&["lift", who], &store);
        assert!(lifted.status.success(), "{lifted:?}");
    }
    assert_eq!(listed(&store), "");
    assert_eq!(reason(&broker, 3, "alice", "alice's"), Some(0));
    let again = bans(&["lift", "alice"], &store);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is not banned"), "{again:?}");
    broker.stop();
    let late = bans(&["list"], &store);
    assert!(!late.status.success() && String::from_utf8_lossy(&late.stderr).contains("no broker"), "{late:?}");
}

#[test]
fn a_ban_ends_by_itself_and_the_next_one_is_longer() {
    let folder = folder();
    let broker = setup(folder.path(), "failures_max = 2\nban_secs = 1\nusers = false").start();
    let mut waits = Vec::new();
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(reason(&broker, 3, "alice", "a guess"), Some(BAD_USER_NAME_OR_PASSWORD));
        }
        let began = Instant::now();
        while reason(&broker, 3, "alice", "alice's").is_none() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(20));
        }
        waits.push(began.elapsed());
        assert_eq!(reason(&broker, 4, "alice", "alice's"), Some(0), "no user is banned");
    }
    println!("out for {waits:?}");
    assert!(waits[0] < Duration::from_millis(1_900) && waits[1] > Duration::from_millis(1_700), "{waits:?}");
    broker.stop();
}

#[test]
fn a_refusal_waits_and_nobody_else_does() {
    let folder = folder();
    let broker = setup(folder.path(), "failure_delay_ms = 1500").start();
    let began = Instant::now();
    let mut guess = open_from(&broker, 3, V5);
    guess.send(&Login::new(V5, "guess").user("alice", "a guess").bytes());
    assert_eq!(reason(&broker, 3, "alice", "alice's"), Some(0));
    assert!(began.elapsed() < Duration::from_millis(1_400), "{:?}", began.elapsed());
    let connack = guess.packet_of(CONNACK);
    assert_eq!(connack.reason(), BAD_USER_NAME_OR_PASSWORD);
    assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
    guess.end();
    broker.stop();
}

#[test]
fn nobody_is_banned_where_nothing_is_said_of_bans() {
    let folder = folder();
    let broker = setup(folder.path(), "").start();
    for _ in 0..20 {
        assert_eq!(reason(&broker, 3, "alice", "a guess"), Some(BAD_USER_NAME_OR_PASSWORD));
    }
    assert_eq!(reason(&broker, 3, "alice", "alice's"), Some(0));
    assert_eq!(listed(&folder.path().join("store")), "");
    broker.stop();
}
