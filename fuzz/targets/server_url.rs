//! The address of a rendezvous server, from an option, a file or a link.

#![no_main]

use std::str;

use libfuzzer_sys::fuzz_target;
use p2pshare::ServerUrl;
use p2pshare_fuzz::{comes_back, seed};
use p2pshare_signal::protocol::PATH;

const SEEDS: [&str; 10] = [
    "ws://192.168.1.5",
    "ws://that-machine:9477",
    "wss://share.example.org/",
    "http://localhost:80/path?query",
    "https://example.org",
    "ws://[fe80::1]:9477",
    "wss://[2001:db8::1]",
    "ws://user:password@host",
    "ws://host:99999",
    "ws://host:",
];

fuzz_target!(init: seed(SEEDS), |data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(url) = text.parse::<ServerUrl>() else { return };
    let shown = url.to_string();
    assert!(shown.starts_with("ws://") || shown.starts_with("wss://"), "{shown}");
    assert!(!shown.contains(char::is_control) && !shown.contains('@'), "{shown}");
    // What is connected to must be that server and nothing more of what was typed.
    let whole = format!("{shown}{PATH}").parse::<http::Uri>().expect("an address");
    let authority = whole.authority().expect("a server");
    assert_eq!(shown.split_once("://").map(|(_, rest)| rest), Some(authority.as_str()));
    assert_eq!(whole.path(), PATH);
    assert!(!authority.host().is_empty(), "{shown}");
    let after_host = authority.as_str().strip_prefix(authority.host()).expect("host, then port");
    match after_host.strip_prefix(':') {
        Some(port) => assert!(port.parse::<u16>().is_ok(), "{shown}"),
        None => assert!(after_host.is_empty() && shown.starts_with("wss"), "{shown}"),
    }
    comes_back(&url, shown.parse());
});
