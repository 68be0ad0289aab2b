//! Any bytes as the beginning of a connection behind a proxy: no panic, and what is decided stays decided.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thrum::net::ProxyHeader;

fuzz_target!(|input: &[u8]| {
    let whole = ProxyHeader::parse(input);
    if let ProxyHeader::Whole { bytes, .. } = whole {
        assert!(bytes <= input.len(), "{whole:?} of {} bytes", input.len());
    }
    for at in 0..input.len() {
        let cut = ProxyHeader::parse(&input[..at]);
        assert!(cut == ProxyHeader::Incomplete || cut == whole, "cut at {at}: {cut:?}, whole: {whole:?}");
    }
});
