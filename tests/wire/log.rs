//! The log: a line for each connect and disconnect, with the facts, and no line that a client wrote.

use crate::broker::{Setup, on_shards, plain};
use crate::client::{Client, connect};
use crate::log_line::LogLine;
use crate::packets::{CONNACK, Login, V3_1, V3_1_1, V5, VERSIONS};

#[test]
fn every_connect_and_disconnect_has_its_line() {
    on_shards(plain, |broker| {
        for number in 0..30 {
            let id = format!("client {number}");
            let client = connect(broker, VERSIONS[number % 3], &id);
            let address = client.stream.local_addr().unwrap();
            if number.is_multiple_of(2) {
                client.bye()
            } else {
                client.reset()
            }
            for message in ["connected", "disconnected"] {
                let line = broker.line(message, |line| line.says(message, &id));
                assert_eq!(line.address(), Some(address), "{}", line.text());
                assert!(message == "connected" || line.member("reason").is_some(), "{}", line.text());
            }
        }
        let lines = broker.lines();
        for number in 0..30 {
            for message in ["connected", "disconnected"] {
                let count = lines.iter().filter(|line| line.says(message, &format!("client {number}"))).count();
                assert_eq!(count, 1, "{message} {number}");
            }
        }
        assert!(lines.iter().all(LogLine::is_json));
    });
}

#[test]
fn the_reason_tells_one_end_from_another() {
    on_shards(plain, |broker| {
        connect(broker, V5, "well behaved").bye();
        let mut client = connect(broker, V5, "taken over");
        let _second = connect(broker, V5, "taken over");
        client.end_at_last();
        let mut client = connect(broker, V3_1_1, "malformed");
        client.send(&[0xf0, 0x00]);
        client.end();
        let mut client = Login::new(V3_1, "silent").keep_alive(1).connect(broker);
        client.end();
        let reason = |id: &str| {
            let line = broker.line(&format!("{id} is gone"), |line| line.says("disconnected", id));
            line.member("reason").unwrap_or_else(|| panic!("no reason: {}", line.text())).to_owned()
        };
        let mut reasons = ["well behaved", "taken over", "malformed", "silent"].map(reason).to_vec();
        reasons.sort();
        reasons.dedup();
        assert_eq!(reasons.len(), 4, "{reasons:?}");
    });
}

// Whoever is refused is told of too.
#[test]
fn a_client_that_is_refused_has_a_line() {
    on_shards(plain, |broker| {
        let mut client = Client::open(broker, V3_1_1);
        let address = client.stream.local_addr().unwrap();
        // No client identifier, and no clean session. [MQTT3-3.1.3-8]
        client.send(&Login::new(V3_1_1, "").lasting(0).bytes());
        assert_eq!(client.packet_of(CONNACK).reason(), 2);
        client.end();
        broker.line("it was refused", |line| line.address() == Some(address));
    });
}

const FORGERIES: [&str; 6] = [
    "a\nforged",
    "a\r\n{\"level\":\"INFO\",\"fields\":{\"message\":\"connected\",\"client\":\"forged\"}}",
    "a\",\"client\":\"forged\",\"x\":\"",
    "a\u{1b}[2Jforged\u{7}",
    "a\u{85}forged\u{2028}forged",
    "a\u{202e}degrof\\\" client=forged",
];

#[test]
fn no_client_identifier_forges_a_line() {
    for format in ["json", "text"] {
        let broker = Setup::new(2).log_format(format).start();
        for forgery in FORGERIES {
            for version in [V3_1_1, V5] {
                let mut client = Login::new(version, forgery).send(&broker);
                // It may be refused for its control characters. [MQTT-1.5.4-3]
                client.send_if_open(&crate::packets::BYE);
                client.end_at_last();
            }
        }
        connect(&broker, V5, "the last").bye();
        broker.line("all is over", |line| line.text().contains("disconnected") && line.text().contains("the last"));
        for line in broker.lines() {
            let text = line.text();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(format == "text" || line.is_json(), "{text:?}");
            assert_ne!(line.member("client"), Some("forged"), "{text:?}");
            // A line that begins like one of ours, begins with the time.
            assert!(!text.starts_with("forged") && (format == "text" || text.starts_with('{')), "{text:?}");
        }
        broker.stop();
    }
}

// For a reader of the bare file a line separator of Unicode is none, and so it is for us; a terminal's escapes are not.
#[test]
fn topics_and_user_names_stay_in_their_line_too() {
    let broker = Setup::new(2).log_level("debug").start();
    let mut client = connect(&broker, V5, "subscriber");
    client.send(&crate::packets::subscribe(V5, 1, &[("a\n{\"forged\":1}", 0), ("$share/\n/x", 0)]));
    client.send_if_open(&crate::packets::BYE);
    client.end_at_last();
    broker.line("it is gone", |line| line.says("disconnected", "subscriber"));
    assert!(broker.lines().iter().all(LogLine::is_json));
    broker.stop();
}
