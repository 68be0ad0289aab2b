//! The header that a proxy puts in front of a connection, to say who it is from: version 1, a line of text, and
//! version 2, in binary.

use std::net::SocketAddr;

use ppp::{v1, v2};

/// With its end, as the specification bounds it.
const TEXT_BYTES_MAX: usize = 107;
const TEXT_BEGIN: &[u8] = b"PROXY ";
const TEXT_END: &[u8] = b"\r\n";

/// Magic, version and command, family and protocol, length.
const BINARY_HEAD_BYTES: usize = 16;
const BINARY_BYTES_MAX: usize = 4 * 1024;

/// What the beginning of a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    Incomplete,
    /// So many bytes; and who the client is, where the header says so: a proxy that speaks for itself does not.
    Whole {
        bytes: usize,
        client: Option<SocketAddr>,
    },
    Wrong(&'static str),
}

impl ProxyHeader {
    pub fn parse(input: &[u8]) -> Self {
        if is_beginning(input, v2::PROTOCOL_PREFIX) {
            Self::parse_binary(input)
        } else if is_beginning(input, TEXT_BEGIN) {
            Self::parse_text(input)
        } else {
            Self::Wrong("there is none")
        }
    }

    fn parse_binary(input: &[u8]) -> Self {
        let Some(head) = input.get(..BINARY_HEAD_BYTES) else { return Self::Incomplete };
        let bytes = BINARY_HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
        if bytes > BINARY_BYTES_MAX {
            return Self::Wrong("it is too long");
        }
        let Some(header) = input.get(..bytes) else { return Self::Incomplete };
        let Ok(header) = v2::Header::try_from(header) else { return Self::Wrong("not one of version 2") };
        let client = match (header.command, header.addresses) {
            (v2::Command::Local, _) => None,
            (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
            (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        };
        Self::Whole { bytes, client }
    }

    fn parse_text(input: &[u8]) -> Self {
        let within = &input[..input.len().min(TEXT_BYTES_MAX)];
        let Some(end) = within.windows(TEXT_END.len()).position(|window| window == TEXT_END) else {
            return if within.len() < TEXT_BYTES_MAX { Self::Incomplete } else { Self::Wrong("it is too long") };
        };
        let bytes = end + TEXT_END.len();
        let Ok(header) = v1::Header::try_from(&input[..bytes]) else { return Self::Wrong("not one of version 1") };
        let client = match header.addresses {
            v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Unknown => None,
        };
        Self::Whole { bytes, client }
    }
}

/// As far as both go.
fn is_beginning(input: &[u8], of: &[u8]) -> bool {
    input.iter().zip(of).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAGIC: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        [MAGIC, &[0x20 | command, family], &(addresses.len() as u16).to_be_bytes(), addresses].concat()
    }

    /// Headers, and whom they name.
    fn samples() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let ipv4 = [192, 0, 2, 1, 198, 51, 100, 7, 0x30, 0x39, 0x07, 0x5B];
        let mut ipv6 = [0; 36];
        (ipv6[15], ipv6[31], ipv6[33]) = (1, 2, 9);
        let with_more = [&ipv4[..], &[4, 0, 2, 7, 7]].concat();
        let of_unix = [[b'a'; 108], [b'b'; 108]].concat();
        let unix_with_more = [&of_unix[..], &[4, 0, 2, 7, 7]].concat();
        vec![
            (b"PROXY TCP4 192.0.2.1 198.51.100.7 12345 1883\r\n".to_vec(), Some("192.0.2.1:12345")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(), Some("[2001:db8::1]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (binary(1, 0x11, &ipv4), Some("192.0.2.1:12345")),
            (binary(1, 0x11, &with_more), Some("192.0.2.1:12345")),
            (binary(1, 0x21, &ipv6), Some("[::1]:9")),
            (binary(0, 0x11, &ipv4), None),
            (binary(0, 0, &[]), None),
            (binary(1, 0, &[]), None),
            (binary(1, 0x31, &of_unix), None),
            (binary(1, 0x31, &unix_with_more), None),
        ]
    }

    #[test]
    fn a_header_is_whole_at_its_last_byte_and_no_sooner() {
        for (header, client) in samples() {
            for end in 0..header.len() {
                assert_eq!(ProxyHeader::parse(&header[..end]), ProxyHeader::Incomplete, "{end} of {header:?}");
            }
            let client = client.map(|address| address.parse().expect("an address"));
            let whole = ProxyHeader::Whole { bytes: header.len(), client };
            for behind in [&b""[..], b"\r", b"\x10\x0d\0\x04MQTT", b"\xFF\xFF"] {
                assert_eq!(ProxyHeader::parse(&[&header, behind].concat()), whole, "{behind:?} behind {header:?}");
            }
        }
    }

    #[test]
    fn anything_else_is_no_header() {
        let long_text = [TEXT_BEGIN, &[b'1'; 200]].concat();
        let long_binary = [MAGIC, &[0x21, 0x11, 0xFF, 0xFF]].concat();
        let others: [&[u8]; 12] = [
            b"\x10\x0d\0\x04MQTT",
            b"GET /mqtt HTTP/1.1\r\n",
            b"PROXX",
            b"proxy TCP4",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY \r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            &long_text,
            &long_binary,
        ];
        for other in others {
            assert!(matches!(ProxyHeader::parse(other), ProxyHeader::Wrong(_)), "{:?}", other.escape_ascii());
        }
        for short in
            [binary(1, 0x11, &[1; 11]), binary(1, 0x21, &[1; 35]), binary(1, 0x31, &[1; 215]), binary(2, 0, &[])]
        {
            assert!(matches!(ProxyHeader::parse(&short), ProxyHeader::Wrong(_)), "{short:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_judged(begin in 0..3usize, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let input = [[b"", TEXT_BEGIN, MAGIC][begin], &bytes].concat();
            if let ProxyHeader::Whole { bytes, .. } = ProxyHeader::parse(&input) {
                prop_assert!(bytes <= input.len());
            }
        }
    }
}
