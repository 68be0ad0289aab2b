//! Who comes in, and who does not, as people try it: openssl s_client, mosquitto_pub and _sub, paho and mqtt.js with
//! certificates, passwords and tokens.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::broker::{Broker, Reach};
use crate::certificates::{self, OTHER_HOST};
use crate::mosquitto::{client, publish, run};
use crate::program;

/// In the order of `Reach`, but all of the same kind of identity.
fn config(identity: &str) -> String {
    let tls = "certificate = \"server.pem\"\nkey = \"server.key\"\n";
    let kinds = ["", tls, "websocket = true\n", &format!("websocket = true\n{tls}")]
        .map(|kind| format!("[[listeners]]\naddress = \"127.0.0.1:0\"\nanonymous = false\n{kind}"))
        .concat();
    format!("shards = 2\npersistence = false\n{kinds}\n[log]\nformat = \"json\"\n{identity}")
}

const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

/// Nobody's, and ada's.
const WRONG: &str = "lovelace";
const RIGHT: &str = "difference engine";

fn passwords(folder: &Path) {
    certificates::write(folder);
    let file = folder.join("passwords");
    let mut thrum = Command::new(env!("CARGO_BIN_EXE_thrum"));
    let thrum = thrum.args(["passwd", "-c", "--stdin"]).arg(&file).arg("ada").stdin(Stdio::piped());
    let mut thrum = thrum.spawn().unwrap();
    thrum.stdin.take().unwrap().write_all(RIGHT.as_bytes()).unwrap();
    assert!(thrum.wait().unwrap().success());
    // Mosquitto's own tool adds to it.
    let theirs = Command::new(program::in_path("mosquitto_passwd")).arg("-b").arg(&file).args(["bob", RIGHT]).output();
    assert!(theirs.as_ref().is_ok_and(|output| output.status.success()), "{theirs:?}");
    let lines = fs::read_to_string(&file).unwrap();
    assert!(lines.starts_with("ada:$argon2id$") && lines.contains("\nbob:$7$"), "{lines}");
}

fn with_passwords(reach: Reach) -> Broker {
    Broker::start_with(&config("[access]\npassword_file = \"passwords\"\n"), reach, passwords)
}

/// A token for ada, that ends in so many seconds.
fn token(secs: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!("{{\"sub\":\"ada\",\"exp\":{}}}", now.saturating_add_signed(secs));
    let signed = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#), BASE64.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn with_tokens(reach: Reach) -> Broker {
    Broker::start_with(&config("[access.jwt]\nsecret_file = \"secret\"\n"), reach, |folder| {
        certificates::write(folder);
        fs::write(folder.join("secret"), SECRET).unwrap();
    })
}

/// Whether mosquitto_pub comes in with these options, and how it says that it does not.
fn comes_in(broker: &Broker, options: &[&str]) -> Result<(), String> {
    let done = run(&mut client("mosquitto_pub", broker, &[&["-t", "t", "-m", "hello", "-q", "1"], options].concat()));
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

fn is_refused(broker: &Broker, options: &[&str]) {
    let refusal = comes_in(broker, options).expect_err("it is let in");
    let words = refusal.to_lowercase();
    assert!(words.contains("not authori") || words.contains("user name or password"), "{refusal}");
}

#[test]
fn mosquitto_pub_comes_in_with_its_password_only() {
    for reach in [Reach::Tcp, Reach::Tls] {
        let broker = with_passwords(reach);
        for version in ["31", "311", "5"] {
            assert_eq!(comes_in(&broker, &["-V", version, "-u", "ada", "-P", RIGHT]), Ok(()));
            assert_eq!(comes_in(&broker, &["-V", version, "-u", "bob", "-P", RIGHT]), Ok(()));
            is_refused(&broker, &["-V", version, "-u", "ada", "-P", WRONG]);
            is_refused(&broker, &["-V", version, "-u", "eve", "-P", RIGHT]);
            is_refused(&broker, &["-V", version, "-u", "ada"]);
            is_refused(&broker, &["-V", version]);
        }
        assert!(!broker.log().contains(RIGHT) && !broker.log().contains(WRONG), "a password is in the log");
        broker.stop();
    }
}

#[test]
fn tokens_open_until_they_end() {
    let broker = with_tokens(Reach::Tcp);
    assert_eq!(comes_in(&broker, &["-u", "ada", "-P", &token(60)]), Ok(()));
    is_refused(&broker, &["-u", "ada", "-P", &token(-60)]);
    is_refused(&broker, &["-u", "bob", "-P", &token(60)]);
    let forged = token(60).replace('.', "x.");
    is_refused(&broker, &["-u", "ada", "-P", &forged]);
    broker.stop();
}

mod paho {
    use super::*;

    /// The theme's checks, each with what opens and what does not.
    fn identities(broker: &Broker, right: &str, wrong: &str) {
        let given = [("RIGHT", right), ("WRONG", wrong)];
        program::paho_with("identities", broker, &given);
        program::mqtt_js_with("identities", broker, &given);
    }

    #[test]
    fn and_mqtt_js_come_in_with_passwords() {
        for reach in [Reach::Tcp, Reach::Tls, Reach::WebSocket, Reach::SecureWebSocket] {
            let broker = with_passwords(reach);
            identities(&broker, RIGHT, WRONG);
            broker.stop();
        }
    }

    #[test]
    fn and_mqtt_js_come_in_with_tokens() {
        for reach in [Reach::Tls, Reach::WebSocket] {
            let broker = with_tokens(reach);
            identities(&broker, &token(600), &token(-600));
            broker.stop();
        }
    }
}

/// Who has a certificate of the authority, and none other; its name is the user's, whom the access rules know.
fn with_certificates() -> Broker {
    let text = "shards = 2\npersistence = false\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners]]\n\
                address = \"127.0.0.1:0\"\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
                more_certificates = [{ certificate = \"other.pem\", key = \"other.key\" }]\n\
                client_ca = \"ca.pem\"\nclient_certificates = \"required\"\ncrl = \"revoked.crl\"\n\
                user_name_from = \"cn\"\n[access]\nacl_file = \"acl\"\n[log]\nformat = \"json\"\n";
    Broker::start_with(text, Reach::Tls, |folder| {
        certificates::write(folder);
        fs::write(folder.join("acl"), "user ada\ntopic readwrite of/ada/#\n").unwrap();
    })
}

#[test]
fn mutual_tls_lets_in_whom_the_authority_signed_and_did_not_take_back() {
    let broker = with_certificates();
    let own = |name: &str| [broker.file(&format!("{name}.pem")), broker.file(&format!("{name}.key"))];
    let comes_in_as = |name| {
        let [certificate, key] = own(name);
        comes_in(&broker, &["--cert", &certificate, "--key", &key])
    };
    assert_eq!(comes_in_as("ada"), Ok(()));
    for refused in ["eve", "stranger"] {
        assert!(comes_in_as(refused).is_err(), "{refused} is let in");
    }
    assert!(comes_in(&broker, &[]).is_err(), "who has no certificate is let in");

    // The name in the certificate is whose rights they are.
    let [certificate, key] = own("ada");
    let ada = ["--cert", &certificate, "--key", &key, "-V", "5", "-q", "1", "-m", "hello"];
    publish(&broker, &[&ada[..], &["-t", "of/ada/x"]].concat());
    let refused = run(&mut client("mosquitto_pub", &broker, &[&ada[..], &["-t", "of/bob/x"]].concat()));
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("Not authorized") || words.contains("135"), "{refused:?}");
    broker.stop();
}

/// What openssl says of a connection with these options, after it was given MQTT's first and last packet.
fn s_client(broker: &Broker, options: &[&str]) -> Output {
    let mut openssl = Command::new(program::in_path("openssl"));
    openssl.args(["s_client", "-connect", &format!("127.0.0.1:{}", broker.port()), "-quiet", "-no_ign_eof"]);
    openssl.args(["-CAfile", &broker.file("ca.pem"), "-verify_return_error"]).args(options);
    let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = openssl.stdin.take().unwrap();
    // DISCONNECT ends the connection, and so openssl.
    stdin.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01o\xe0\0").unwrap();
    assert!(program::wait(&mut openssl, crate::TIMEOUT).is_some(), "openssl does not end");
    openssl.wait_with_output().unwrap()
}

#[test]
fn openssl_speaks_mqtt_by_tls_1_2_and_1_3_with_the_certificate_of_the_name_it_asks_for() {
    let broker = Broker::start(2, Reach::Tls);
    for version in ["-tls1_2", "-tls1_3"] {
        for host in ["localhost", OTHER_HOST] {
            let said = s_client(&broker, &[version, "-servername", host, "-verify_hostname", host, "-alpn", "mqtt"]);
            assert_eq!(said.stdout, b"\x20\x02\0\0", "{version} {host}: {said:?}");
        }
        let said = s_client(&broker, &[version, "-servername", "localhost", "-verify_hostname", OTHER_HOST]);
        assert_eq!(said.stdout, b"", "a certificate for another host is shown: {said:?}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let said = s_client(&broker, &[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.stdout.is_empty() && !said.status.success(), "{old}: {said:?}");
    }
    // Who asks for protocols of which there is none here is told so, and not taken.
    let said = s_client(&broker, &["-alpn", "h2"]);
    assert!(said.stdout.is_empty(), "{said:?}");
    broker.stop();
}

/// Clients that negotiate anew at the same time.
const STORM: usize = 20;

#[test]
fn who_negotiates_anew_is_refused_and_nobody_else_notices() {
    let broker = Broker::start(2, Reach::Tls);
    let begin = |_| {
        let mut openssl = Command::new(program::in_path("openssl"));
        openssl.args(["s_client", "-tls1_2", "-connect", &format!("127.0.0.1:{}", broker.port())]);
        let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // A line of this letter asks for it; openssl reads it when the first handshake is over.
        openssl.stdin.as_mut().unwrap().write_all(b"R\n").unwrap();
        openssl
    };
    let storm: Vec<_> = (0..STORM).map(begin).collect();
    for mut openssl in storm {
        assert!(program::wait(&mut openssl, crate::TIMEOUT).is_some_and(|status| !status.success()), "it goes on");
        let said = openssl.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr);
        assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    }
    assert_eq!(comes_in(&broker, &[]), Ok(()));
    broker.stop();
}
