//! Signals: descriptions and candidates, and the SDP that is made of them for the library.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use p2pshare::{
    net::sdp,
    proto::signal::{Candidate, CandidateHost, Description, LANE_DATA_CHANNEL, Signal},
};
use p2pshare_fuzz::{bytes, comes_back, seed};

fuzz_target!(init: seed(bytes("signal", "bytes")), |data: &[u8]| {
    let Ok(signals) = Signal::from_wire(data) else { return };
    for signal in &signals {
        match signal {
            Signal::Description(description) => describes(description),
            Signal::Candidate(candidate) => can_be_tried(candidate),
            Signal::Listener(listener) => {
                listener.addresses.iter().for_each(can_be_connected_to);
            }
            Signal::EndOfCandidates | Signal::Cancel(_) | Signal::Quic(_) => {}
        }
    }
    let wire = Signal::to_wire(&signals);
    assert!(wire.len() <= data.len(), "it grew");
    comes_back(&signals, Signal::from_wire(&wire));
});

fn describes(description: &Description) {
    assert!((4..=256).contains(&description.ufrag.as_str().len()));
    assert!((22..=256).contains(&description.password.as_str().len()));
    assert!(!format!("{description:?}").contains(description.password.as_str()));
    let sdp = sdp::render(description);
    assert_eq!(sdp.split("\r\n").count(), 17, "a line broke out: {sdp}");
    assert!(!sdp.replace("\r\n", "").contains(char::is_control), "{sdp}");
    // SDP says nothing of lanes.
    comes_back(
        &Description { lanes: vec![LANE_DATA_CHANNEL], quic: None, ..description.clone() },
        sdp::parse(&sdp),
    );
}

fn can_be_connected_to(at: &SocketAddr) {
    assert_ne!(at.port(), 0);
    can_be_a_peers(at.ip());
}

fn can_be_a_peers(address: IpAddr) {
    let v4 = address.to_canonical();
    assert!(!address.is_unspecified() && !address.is_multicast(), "{address}");
    assert!(!v4.is_unspecified() && !v4.is_multicast(), "{address}");
    assert_ne!(v4, IpAddr::from([255; 4]));
}

fn can_be_tried(candidate: &Candidate) {
    assert_ne!(candidate.port, 0);
    assert!((1..=32).contains(&candidate.foundation.as_str().len()));
    let host = candidate.host.to_string();
    if let CandidateHost::Address(address) = candidate.host {
        can_be_a_peers(address);
    } else {
        assert_eq!(host.strip_suffix(".local").map(str::len), Some(36), "{host}");
    }
    comes_back(&candidate.host, CandidateHost::try_from(host.as_str()));
    let line = sdp::render_candidate(candidate);
    assert!(!line.contains(char::is_control), "{line}");
    let words: Vec<_> = line.split(' ').collect();
    assert!(matches!(words.len(), 8 | 12), "{line}");
    assert_eq!(words[1..3], ["1", "udp"], "{line}");
    assert_eq!(words[4], host, "{line}");
}
