//! WebSocket of one connection (RFC 6455). What is in it is one stream of bytes, however it is cut into frames
//! [MQTT-6.0.0-2]: so the payload of a frame is passed on as it comes, and no frame, however long it says it is, takes
//! memory. No extension is offered.
//!
//! | stage     | what comes                                       | then                                       |
//! |-----------|--------------------------------------------------|--------------------------------------------|
//! | Upgrading | a request to upgrade that can be accepted        | Open                                       |
//! | Upgrading | any other                                        | Over, with an answer of HTTP               |
//! | Open      | Binary, Continuation, Ping, Pong                 | Open                                       |
//! | Open      | Close                                            | Over, with Close                           |
//! | Open      | Text                                             | Over, with Close 1003 [MQTT-6.0.0-1]       |
//! | Open      | not a frame of a client, or not one that may come now | Over, with Close 1002                 |

use super::fault::Fault;
use super::filling::Filling;
use super::transport::WebSocketRules;
use super::upgrade::Upgrade;

/// Content of a frame that is not data.
const CONTROL_BYTES_MAX: usize = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// In the first byte: the last frame of a message; and bits of extensions.
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// In the second byte.
const MASKED: u8 = 0x80;

const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Upgrading,
    Open,
    Over,
}

#[derive(Debug)]
pub struct WebSocket {
    stage: Stage,
    /// A message has begun, and its last frame has not.
    is_in_message: bool,
    /// Of the frame of data that comes now: what is still to come, and its mask from the next byte on.
    left: u64,
    mask: [u8; 4],
    /// The beginning of a request, of a frame's head, or of a frame that is not data.
    kept: Vec<u8>,
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug)]
struct Head {
    is_final: bool,
    opcode: u8,
    content: u64,
    mask: [u8; 4],
    /// Its own length.
    bytes: usize,
}

/// What a client did wrong: the code it is told, and why.
type Violation = (u16, &'static str);

impl Default for WebSocket {
    fn default() -> Self {
        Self { stage: Stage::Upgrading, is_in_message: false, left: 0, mask: [0; 4], kept: Vec::new() }
    }
}

impl WebSocket {
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// What comes is not looked at any more, and nothing more is sent.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Takes what came, all of it; puts what it contains into `plain`, and what is to be answered behind `answer`.
    pub fn take_in(
        &mut self,
        rules: &WebSocketRules,
        mut bytes: &[u8],
        plain: &mut Filling<'_>,
        answer: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        // Where several are asked for at once, the last pong is enough. (RFC 6455, 5.5.3)
        let mut pong_at = None;
        while !bytes.is_empty() && !self.is_over() {
            let used = match self.stage {
                Stage::Upgrading => self.take_request(rules, bytes, answer)?,
                _ if self.left > 0 => self.take_content(bytes, plain),
                _ => match self.take_frame(bytes, answer, &mut pong_at) {
                    Ok(used) => used,
                    Err((code, why)) => {
                        self.put_close(&code.to_be_bytes(), answer);
                        return Err(Fault::WebSocket(why));
                    }
                },
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    fn take_request(&mut self, rules: &WebSocketRules, bytes: &[u8], answer: &mut Vec<u8>) -> Result<usize, Fault> {
        let before = self.kept.len();
        self.kept.extend_from_slice(bytes);
        match Upgrade::judge(&self.kept, rules) {
            Upgrade::Incomplete => Ok(bytes.len()),
            Upgrade::Switch { bytes, answer: accepted } => {
                answer.extend_from_slice(accepted.as_bytes());
                (self.stage, self.kept) = (Stage::Open, Vec::new());
                Ok(bytes - before)
            }
            Upgrade::Refuse { answer: refused, why } => {
                answer.extend_from_slice(refused.as_bytes());
                (self.stage, self.kept) = (Stage::Over, Vec::new());
                Err(Fault::WebSocket(why))
            }
        }
    }

    fn take_content(&mut self, bytes: &[u8], plain: &mut Filling<'_>) -> usize {
        let here = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        unmask(&bytes[..here], &mut self.mask, plain.room(here));
        self.left -= here as u64;
        here
    }

    /// The head of a frame, or a whole one that is not data.
    fn take_frame(
        &mut self,
        bytes: &[u8],
        answer: &mut Vec<u8>,
        pong_at: &mut Option<usize>,
    ) -> Result<usize, Violation> {
        if self.kept.is_empty() {
            return match self.take_whole(bytes, answer, pong_at)? {
                Some(used) => Ok(used),
                None => {
                    self.kept = bytes.to_vec();
                    Ok(bytes.len())
                }
            };
        }
        // No more than what is looked at can be is put together.
        let before = self.kept.len();
        let more = bytes.len().min(Head::BYTES_MAX + CONTROL_BYTES_MAX - before);
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend_from_slice(&bytes[..more]);
        match self.take_whole(&kept, answer, pong_at)? {
            Some(used) => Ok(used - before),
            None => {
                self.kept = kept;
                Ok(more)
            }
        }
    }

    /// None: it is not whole.
    fn take_whole(
        &mut self,
        bytes: &[u8],
        answer: &mut Vec<u8>,
        pong_at: &mut Option<usize>,
    ) -> Result<Option<usize>, Violation> {
        let Some(head) = Head::parse(bytes, self.is_in_message)? else { return Ok(None) };
        if head.is_control() {
            let end = head.bytes + head.content as usize;
            let Some(content) = bytes.get(head.bytes..end) else { return Ok(None) };
            self.take_control(&head, content, answer, pong_at)?;
            return Ok(Some(end));
        }
        (self.left, self.mask, self.is_in_message) = (head.content, head.mask, !head.is_final);
        Ok(Some(head.bytes))
    }

    fn take_control(
        &mut self,
        head: &Head,
        content: &[u8],
        answer: &mut Vec<u8>,
        pong_at: &mut Option<usize>,
    ) -> Result<(), Violation> {
        let (mut plain, mut mask) = ([0; CONTROL_BYTES_MAX], head.mask);
        let plain = &mut plain[..content.len()];
        unmask(content, &mut mask, plain);
        match head.opcode {
            PING => {
                answer.truncate(*pong_at.get_or_insert(answer.len()));
                put_control(PONG, plain, answer);
            }
            CLOSE => {
                let code = close_code(plain)?;
                self.put_close(code, answer);
            }
            // A pong answers nothing that was asked.
            _ => {}
        }
        Ok(())
    }

    /// The head of a frame with so much in it.
    pub fn put_head(content: usize, wire: &mut Vec<u8>) {
        wire.push(FIN | BINARY);
        match content {
            0..=125 => wire.push(content as u8),
            126..=0xFFFF => {
                wire.push(126);
                wire.extend_from_slice(&(content as u16).to_be_bytes());
            }
            _ => {
                wire.push(127);
                wire.extend_from_slice(&(content as u64).to_be_bytes());
            }
        }
    }

    /// Takes leave of a client that has not done so.
    pub fn put_farewell(&mut self, wire: &mut Vec<u8>) {
        if self.is_open() {
            self.put_close(&NORMAL.to_be_bytes(), wire);
        }
    }

    fn put_close(&mut self, code: &[u8], wire: &mut Vec<u8>) {
        self.stage = Stage::Over;
        put_control(CLOSE, code, wire);
    }
}

impl Head {
    /// Length in 8 bytes, and a mask.
    const BYTES_MAX: usize = 14;

    /// None: it is not whole. What is wrong with it is found at the first byte that is.
    fn parse(bytes: &[u8], is_in_message: bool) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (is_final, opcode) = (first & FIN != 0, first & 0x0F);
        let is_control = opcode & 0x8 != 0;
        if first & RESERVED != 0 {
            return Err((PROTOCOL_ERROR, "a frame of an extension that was not agreed on"));
        }
        match opcode {
            TEXT => return Err((UNSUPPORTED_DATA, "a text frame, where MQTT has binary ones")),
            CONTINUATION if !is_in_message => return Err((PROTOCOL_ERROR, "a continuation of nothing")),
            BINARY if is_in_message => return Err((PROTOCOL_ERROR, "a message within a message")),
            CONTINUATION | BINARY | CLOSE | PING | PONG => {}
            _ => return Err((PROTOCOL_ERROR, "a frame of no known kind")),
        }
        if is_control && !is_final {
            return Err((PROTOCOL_ERROR, "a control frame in parts"));
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & MASKED == 0 {
            return Err((PROTOCOL_ERROR, "a frame without a mask"));
        }
        let length = second & !MASKED;
        if is_control && usize::from(length) > CONTROL_BYTES_MAX {
            return Err((PROTOCOL_ERROR, "a control frame that is too long"));
        }
        let length_bytes = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(long) = bytes.get(2..2 + length_bytes) else { return Ok(None) };
        let long = long.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let content = if length_bytes == 0 { length.into() } else { long };
        if content > i64::MAX as u64 {
            return Err((PROTOCOL_ERROR, "a length that cannot be"));
        }
        let Some(mask) = bytes[2 + length_bytes..].first_chunk() else { return Ok(None) };
        Ok(Some(Self { is_final, opcode, content, mask: *mask, bytes: 2 + length_bytes + mask.len() }))
    }

    const fn is_control(&self) -> bool {
        self.opcode & 0x8 != 0
    }
}

/// The code that a Close is answered with: its own.
fn close_code(content: &[u8]) -> Result<&[u8], Violation> {
    match content {
        [] => Ok(content),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let is_known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if is_known && str::from_utf8(reason).is_ok() {
                Ok(&content[..2])
            } else {
                Err((PROTOCOL_ERROR, "a close of no known kind"))
            }
        }
        [_] => Err((PROTOCOL_ERROR, "a close with half a code")),
    }
}

/// A frame of the server has no mask.
fn put_control(opcode: u8, content: &[u8], wire: &mut Vec<u8>) {
    wire.extend_from_slice(&[FIN | opcode, content.len() as u8]);
    wire.extend_from_slice(content);
}

/// Copies without the mask, which then is that of what follows.
fn unmask(masked: &[u8], mask: &mut [u8; 4], plain: &mut [u8]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (masked_words, masked_rest) = masked.as_chunks::<8>();
    let (plain_words, plain_rest) = plain.as_chunks_mut::<8>();
    for (plain, masked) in plain_words.iter_mut().zip(masked_words) {
        *plain = (u64::from_ne_bytes(*masked) ^ wide).to_ne_bytes();
    }
    for (index, (plain, masked)) in plain_rest.iter_mut().zip(masked_rest).enumerate() {
        *plain = masked ^ mask[index % 4];
    }
    mask.rotate_left(masked.len() % 4);
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use proptest::prelude::*;
    use tungstenite::protocol::{Role, WebSocket as Reference};
    use tungstenite::{Error, Message};

    use super::*;

    const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn frame(first: u8, content: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0xF0, 0x07, content.len() as u8];
        let mut frame = vec![first];
        match content.len() {
            0..=125 => frame.push(MASKED | content.len() as u8),
            126..=0xFFFF => {
                frame.push(MASKED | 126);
                frame.extend((content.len() as u16).to_be_bytes());
            }
            _ => {
                frame.push(MASKED | 127);
                frame.extend((content.len() as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(content.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
        frame
    }

    /// What came of all of it: content, answers, and what was wrong.
    #[derive(PartialEq, Eq, Debug)]
    struct Outcome {
        plain: Vec<u8>,
        answer: Vec<u8>,
        fault: Option<String>,
        is_over: bool,
    }

    /// An open one that is fed in parts.
    fn feed<'a>(mut websocket: WebSocket, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let rules = WebSocketRules { path: "/mqtt".into(), origins: Vec::new() };
        let (mut plain, mut answer, mut fault) = (Vec::new(), Vec::new(), None);
        for part in parts {
            let mut into = vec![0; part.len()];
            let mut filling = Filling::new(&mut into);
            if let Err(error) = websocket.take_in(&rules, part, &mut filling, &mut answer) {
                fault = Some(error.to_string());
            }
            let filled = filling.len();
            plain.extend(&into[..filled]);
            assert!(websocket.kept.len() <= Head::BYTES_MAX + CONTROL_BYTES_MAX || !websocket.is_open());
        }
        Outcome { plain, answer, fault, is_over: websocket.is_over() }
    }

    fn open() -> WebSocket {
        WebSocket { stage: Stage::Open, ..WebSocket::default() }
    }

    #[test]
    fn however_frames_are_cut_they_are_one_stream_of_bytes() {
        let long: Vec<u8> = (0..300).map(|at| at as u8).collect();
        let stream = [
            REQUEST.to_vec(),
            frame(BINARY, b"ab"),
            frame(FIN | PING, b"p"),
            frame(CONTINUATION, b""),
            frame(FIN | CONTINUATION, b"cde"),
            frame(FIN | PONG, b"unasked"),
            frame(FIN | BINARY, &long),
            frame(FIN | CLOSE, b"\x03\xE8bye"),
            b"what is behind it is not looked at".to_vec(),
        ]
        .concat();
        let whole = feed(WebSocket::default(), [&stream[..]]);
        assert_eq!(whole.plain, [b"abcde", &long[..]].concat());
        assert!(whole.answer.ends_with(b"\r\n\r\n\x8A\x01p\x88\x02\x03\xE8") && whole.is_over, "{whole:?}");
        for cut in 0..stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(feed(WebSocket::default(), [first, second]), whole, "cut at {cut}");
        }
        assert_eq!(feed(WebSocket::default(), stream.chunks(1)), whole);
    }

    #[test]
    fn who_is_no_client_of_mqtt_is_told_so_and_cut_off() {
        let unmasked = [FIN | BINARY, 1, b'x'];
        let cases: [(&[u8], u16); 15] = [
            (&frame(FIN | TEXT, b"text"), 1003),
            (&unmasked, 1002),
            (&frame(FIN | 0x40 | BINARY, b"compressed"), 1002),
            (&frame(FIN | 0x10 | BINARY, b""), 1002),
            (&frame(FIN | CONTINUATION, b""), 1002),
            (&[frame(BINARY, b""), frame(FIN | BINARY, b"")].concat(), 1002),
            (&frame(FIN | 0x3, b""), 1002),
            (&frame(FIN | 0xB, b""), 1002),
            (&frame(PING, b"in parts"), 1002),
            (&frame(FIN | PING, &[0; 126]), 1002),
            (&[&[FIN | BINARY, MASKED | 127, 0x80][..], &[0; 11]].concat(), 1002),
            (&frame(FIN | CLOSE, b"\x03"), 1002),
            (&frame(FIN | CLOSE, b"\x03\xED"), 1002),
            (&frame(FIN | CLOSE, b"\0\0"), 1002),
            (&frame(FIN | CLOSE, b"\x03\xE8\xFF\xFF"), 1002),
        ];
        for (bytes, code) in cases {
            for outcome in [feed(open(), [bytes]), feed(open(), bytes.chunks(1))] {
                let close = [&[FIN | CLOSE, 2][..], &code.to_be_bytes()].concat();
                assert_eq!((&outcome.answer, outcome.is_over), (&close, true), "{bytes:?}");
                assert!(outcome.fault.is_some() && outcome.plain.is_empty(), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_length_that_is_only_claimed_costs_nothing() {
        let head = [FIN | BINARY, MASKED | 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
        let outcome = feed(open(), [&head[..], b"as much of it", b" as comes"]);
        assert_eq!((&outcome.plain[..], outcome.is_over), (&b"as much of it as comes"[..], false));
    }

    #[test]
    fn of_many_pings_at_once_the_last_is_answered() {
        let pings = [frame(FIN | PING, b"1"), frame(FIN | BINARY, b"x"), frame(FIN | PING, b"2")].concat();
        assert_eq!(feed(open(), [&pings[..]]).answer, b"\x8A\x012");
        assert_eq!(feed(open(), [&pings[..], &pings[..]]).answer, b"\x8A\x012\x8A\x012");
    }

    /// A stream that ends.
    struct Bytes(Cursor<Vec<u8>>);

    impl Read for Bytes {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Write for Bytes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What another implementation makes of it; none where it finds a fault.
    fn reference(bytes: Vec<u8>) -> Option<Vec<u8>> {
        let mut reference = Reference::from_raw_socket(Bytes(Cursor::new(bytes)), Role::Server, None);
        let mut plain = Vec::new();
        loop {
            match reference.read() {
                Ok(Message::Binary(content)) => plain.extend_from_slice(&content),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => {}
                Ok(Message::Text(_) | Message::Frame(_)) => return None,
                Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Some(plain);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => return Some(plain),
                Err(_) => return None,
            }
        }
    }

    fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let first = prop_oneof![
            6 => prop::sample::select(vec![BINARY, CONTINUATION, FIN | BINARY, FIN | CONTINUATION, FIN | PING, FIN | PONG]),
            1 => any::<u8>(),
        ];
        prop::collection::vec((first, prop::collection::vec(any::<u8>(), 0..200)), 1..8)
    }

    proptest! {
        #[test]
        fn another_implementation_sees_the_same(frames in frames(), cuts in prop::collection::vec(1..400usize, 1..20)) {
            // Every message that has begun is ended, for the other one tells of whole messages only.
            let is_open = frames.iter().fold(false, |is_open, (first, _)| match first & 0x0F {
                CONTINUATION | BINARY => first & FIN == 0,
                _ => is_open,
            });
            let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, content)| frame(*first, content)).collect();
            if is_open {
                bytes.extend(frame(FIN | CONTINUATION, b"end"));
            }
            let mut rest = &bytes[..];
            let mut parts = Vec::new();
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = behind;
            }
            parts.push(rest);
            // But for pings, of which only the last in one part is answered.
            let (mut ours, mut whole) = (feed(open(), parts), feed(open(), [&bytes[..]]));
            [&mut ours, &mut whole].into_iter().for_each(|outcome| outcome.answer.clear());
            prop_assert_eq!(&ours, &whole);
            match (reference(bytes), &ours.fault) {
                (Some(plain), None) => prop_assert_eq!(&ours.plain, &plain),
                (None, Some(_)) => {}
                // A close without a known code is answered by the other one, as is a text by others.
                (Some(_), Some(why)) => prop_assert!(why.contains("close"), "{}", why),
                (None, None) => prop_assert!(false, "a fault was not found"),
            }
        }
    }
}
