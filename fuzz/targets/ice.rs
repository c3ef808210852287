//! STUN and TURN servers that a rendezvous server, which is not trusted, names; and what a user
//! types.

#![no_main]

use std::str;

use libfuzzer_sys::fuzz_target;
use p2pshare::{IceUrl, ProxyUrl, net::ice::IceServers};
use p2pshare_fuzz::seed;
use p2pshare_signal::protocol::IceServer;

const SEEDS: [&str; 6] = [
    "stun:example.org",
    "stun:[2001:db8::1]:9477",
    "turn:example.org:9477?transport=udp",
    "turns:me:secret@relay.example:443?transport=tcp",
    "http://user:password@proxy:3128",
    "socks5h://10.0.0.1:1080",
];

fuzz_target!(init: seed(SEEDS), |data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let server = IceServer {
        urls: text.split('\n').map(str::to_owned).collect(),
        username: Some("user".to_owned()),
        credential: Some("password".to_owned()),
    };
    let servers = IceServers::new(&[server], &[]);
    let all = servers.stun.iter().chain(servers.turn.iter().map(|turn| &turn.at));
    for at in all {
        assert!(at.port != 0 && !at.host.is_empty());
        assert!(!at.host.contains(|c: char| c.is_control() || c.is_whitespace() || c == '@'));
    }
    assert!(servers.turn.len() <= 4, "too many relays");
    let _ = text.parse::<IceUrl>();
    let _ = text.parse::<ProxyUrl>();
});
