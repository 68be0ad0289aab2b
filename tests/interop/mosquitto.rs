//! Debian's mosquitto_pub, mosquitto_sub and mosquitto_rr.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};

use crate::TIMEOUT;
use crate::broker::{Broker, Reach, SOCKET};
use crate::program::{in_path, wait};

const VERSIONS: [&str; 3] = ["31", "311", "5"];
const QOS: [&str; 3] = ["0", "1", "2"];

/// Topic, QoS, retain, payload.
const FORMAT: &str = "%t %q %r %p";

pub(crate) fn every_qos_and_version(broker: &Broker) {
    for version in VERSIONS {
        for (granted, published) in QOS.iter().flat_map(|granted| QOS.map(|published| (*granted, published))) {
            let topic = format!("{version}/{granted}/{published}");
            let options = ["-V", version, "-t", &topic, "-q", granted, "-C", "1", "-F", FORMAT];
            let mut subscriber = Subscriber::start(broker, &options);
            publish(broker, &["-V", version, "-t", &topic, "-q", published, "-m", "hello"]);
            assert_eq!(subscriber.line(), format!("{topic} {} 0 hello", granted.min(published)));
            subscriber.ends();
        }
    }
}

pub(crate) fn retained(broker: &Broker) {
    for version in VERSIONS {
        let topic = format!("kept/{version}");
        publish(broker, &["-V", version, "-t", &topic, "-q", "1", "-r", "-m", "hello"]);
        let options = ["-V", version, "-t", &topic, "-q", "1", "-C", "1", "-F", FORMAT];
        let mut subscriber = Subscriber::start(broker, &options);
        assert_eq!(subscriber.line(), format!("{topic} 1 1 hello"));
        subscriber.ends();
        publish(broker, &["-V", version, "-t", &topic, "-q", "1", "-r", "-n"]);
    }
    // Nothing is kept any more; -W gives up after a second, with an exit code of its own.
    let nothing = run(&mut client("mosquitto_sub", broker, &["-t", "kept/#", "-W", "1"]));
    assert_eq!(nothing.status.code(), Some(27), "{nothing:?}");
    assert_eq!(nothing.stdout, b"");
}

pub(crate) fn will(broker: &Broker) {
    for version in VERSIONS {
        let topic = format!("will/{version}");
        let mut witness = Subscriber::start(broker, &["-t", &topic, "-q", "2", "-F", FORMAT]);
        let will = ["--will-topic", &topic, "--will-payload", "gone", "--will-qos", "1", "--will-retain"];
        let options = [&["-V", version, "-t", "other"], &will[..]].concat();
        // Its end is a kill, not a DISCONNECT.
        drop(Subscriber::start(broker, &options));
        assert_eq!(witness.line(), format!("{topic} 1 0 gone"));
        let mut late = Subscriber::start(broker, &["-t", &topic, "-q", "2", "-C", "1", "-F", FORMAT]);
        assert_eq!(late.line(), format!("{topic} 1 1 gone"));
        late.ends();
    }
}

pub(crate) fn session(broker: &Broker) {
    for version in VERSIONS {
        let (topic, id) = (format!("session/{version}"), format!("client-{version}"));
        let mut options = vec!["-V", version, "-i", &id, "-c", "-t", &topic, "-q", "2", "-F", FORMAT];
        if version == "5" {
            options.extend(["-x", "3600"]);
        }
        // -E: it leaves when it has subscribed.
        let subscribed = run(client("mosquitto_sub", broker, &options).arg("-E"));
        assert!(subscribed.status.success(), "{subscribed:?}");
        for qos in ["1", "2"] {
            publish(broker, &["-V", version, "-t", &topic, "-q", qos, "-m", "waiting"]);
        }
        let back = run(client("mosquitto_sub", broker, &options).args(["-C", "2"]));
        assert!(back.status.success(), "{back:?}");
        let mut lines: Vec<_> = std::str::from_utf8(&back.stdout).unwrap().lines().collect();
        // The QoS 2 message is done later than one of QoS 1.
        lines.sort_unstable();
        assert_eq!(lines, [1, 2].map(|qos| format!("{topic} {qos} 0 waiting")));
    }
}

pub(crate) fn properties(broker: &Broker) {
    let format = "%C|%R|%D|%F|%P|%p";
    let mut subscriber = Subscriber::start(broker, &["-V", "5", "-t", "t", "-C", "1", "-F", format]);
    let given = [
        &["content-type", "text/plain"][..],
        &["response-topic", "answer"],
        &["correlation-data", "17"],
        &["payload-format-indicator", "1"],
        &["user-property", "a", "1"],
        &["user-property", "b", "2"],
    ];
    let given = given.iter().flat_map(|property| [&["-D", "publish"], *property].concat());
    let options: Vec<_> = ["-V", "5", "-t", "t", "-m", "hello"].into_iter().chain(given).collect();
    publish(broker, &options);
    assert_eq!(subscriber.line(), "text/plain|answer|17|1|a:1 b:2|hello");
    subscriber.ends();
}

pub(crate) fn shared(broker: &Broker) {
    const MESSAGES: usize = 20;
    let members = [0, 1].map(|_| Subscriber::start(broker, &["-V", "5", "-t", "$share/g/t/#", "-q", "1", "-F", "%p"]));
    let mut plain = Subscriber::start(broker, &["-V", "5", "-t", "t/#", "-q", "1", "-F", "%p"]);
    for number in 0..MESSAGES {
        publish(broker, &["-t", "t/a", "-q", "1", "-m", &number.to_string()]);
    }
    let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!((0..MESSAGES).map(|_| plain.line()).collect::<Vec<_>>(), expected);

    let mut lines = Vec::new();
    let end = std::time::Instant::now() + TIMEOUT;
    while lines.len() < MESSAGES && std::time::Instant::now() < end {
        lines.extend(members.iter().flat_map(|member| member.lines.try_iter()).filter(|line| !is_debug(line)));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    lines.sort_by_key(|line| line.parse::<usize>().unwrap());
    assert_eq!(lines, expected, "each message to one member");
}

pub(crate) fn request_and_response(broker: &Broker) {
    for version in VERSIONS {
        let (question, answer) = (format!("question/{version}"), format!("answer/{version}"));
        // What is retained waits for mosquitto_rr, which asks before anybody can answer.
        let format = "%R|%D|%p";
        let options = ["-V", version, "-t", &question, "-q", "1", "-C", "1", "-F", format];
        let mut answerer = Subscriber::start(broker, &options);
        let options = ["-V", version, "-t", &question, "-e", &answer, "-q", "1", "-m", "6*7", "-W", "20"];
        let asker = client("mosquitto_rr", broker, &options).stdout(Stdio::piped()).spawn().unwrap();
        let line = answerer.line();
        let [topic, correlation, asked] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(asked, "6*7");
        let mut options = vec!["-V", version, "-q", "1", "-m", "42", "-t"];
        if version == "5" {
            assert_eq!(topic, answer);
            options.extend([topic, "-D", "publish", "correlation-data", correlation]);
        } else {
            options.push(&answer);
        }
        publish(broker, &options);
        let answered = asker.wait_with_output().unwrap();
        assert!(answered.status.success(), "{answered:?}");
        assert_eq!(answered.stdout, b"42\n");
        answerer.ends();
    }
}

pub(crate) fn lines_and_files(broker: &Broker) {
    const LINES: usize = 1_000;
    let count = LINES.to_string();
    for qos in QOS {
        let topic = format!("lines/{qos}");
        let mut subscriber = Subscriber::start(broker, &["-t", &topic, "-q", qos, "-C", &count, "-F", "%p"]);
        let mut publisher = client("mosquitto_pub", broker, &["-t", &topic, "-q", qos, "-l"]);
        let mut publisher = publisher.stdin(Stdio::piped()).spawn().unwrap();
        let text: String = (0..LINES).map(|number| format!("{number}\n")).collect();
        publisher.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert_eq!((0..LINES).map(|_| subscriber.line() + "\n").collect::<String>(), text);
        subscriber.ends();
        assert!(wait(&mut publisher, TIMEOUT).is_some_and(|status| status.success()));
    }

    let file = broker.folder.join("payload");
    fs::write(&file, "x".repeat(1 << 20)).unwrap();
    let mut subscriber = Subscriber::start(broker, &["-t", "file", "-q", "1", "-C", "1", "-F", "%l"]);
    publish(broker, &["-t", "file", "-q", "1", "-f", file.to_str().unwrap()]);
    assert_eq!(subscriber.line(), (1 << 20).to_string());
    subscriber.ends();
}

/// A mosquitto_sub that has subscribed.
#[derive(Debug)]
struct Subscriber {
    process: Child,
    lines: Receiver<String>,
}

impl Subscriber {
    fn start(broker: &Broker, options: &[&str]) -> Self {
        // It flushes messages, but not what -d says: that it has subscribed.
        let mut command = Command::new(in_path("stdbuf"));
        command.arg("-oL").arg(in_path("mosquitto_sub")).args(address(broker)).args(options).arg("-d");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let subscriber = Self { process, lines };
        while !subscriber.any_line().starts_with("Subscribed (mid") {}
        subscriber
    }

    fn any_line(&self) -> String {
        self.lines.recv_timeout(TIMEOUT).expect("a line of mosquitto_sub")
    }

    fn line(&mut self) -> String {
        std::iter::repeat_with(|| self.any_line()).find(|line| !is_debug(line)).unwrap()
    }

    /// It has got as many messages as -C says.
    fn ends(mut self) {
        let status = wait(&mut self.process, TIMEOUT).expect("mosquitto_sub -C ends");
        assert!(status.success(), "mosquitto_sub ended with {status}");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_debug(line: &str) -> bool {
    line.starts_with("Client ") || line.starts_with("Subscribed (mid")
}

pub(crate) fn publish(broker: &Broker, options: &[&str]) {
    let done = run(&mut client("mosquitto_pub", broker, options));
    assert!(done.status.success(), "mosquitto_pub {options:?}: {done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "", "mosquitto_pub {options:?}");
}

pub(crate) fn client(name: &str, broker: &Broker, options: &[&str]) -> Command {
    let mut command = Command::new(in_path(name));
    command.args(address(broker)).args(options).stdin(Stdio::null());
    command
}

fn address(broker: &Broker) -> Vec<String> {
    match broker.reach {
        Reach::Unix => vec!["--unix".into(), broker.file(SOCKET)],
        Reach::Tls => {
            ["-h", "localhost", "-p", &broker.port(), "--cafile", &broker.file("ca.pem")].map(Into::into).into()
        }
        _ => ["-h", "127.0.0.1", "-p", &broker.port()].map(Into::into).into(),
    }
}

pub(crate) fn run(command: &mut Command) -> Output {
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What these print fits the pipe.
    let status = wait(&mut process, TIMEOUT);
    let output = process.wait_with_output().unwrap();
    assert!(status.is_some(), "{command:?} does not end: {output:?}");
    output
}
