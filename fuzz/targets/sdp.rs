//! SDP: of what the library says only a few values are taken.

#![no_main]

use std::str;

use libfuzzer_sys::fuzz_target;
use p2pshare::{
    net::sdp,
    proto::signal::{LANE_DATA_CHANNEL, Signal},
};
use p2pshare_fuzz::{bytes, comes_back, seed};

fuzz_target!(init: seed(seeds()), |data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(description) = sdp::parse(text) else { return };
    assert!(data.len() <= 64 * 1024, "too long to be looked at");
    assert_eq!(description.lanes, [LANE_DATA_CHANNEL]);
    comes_back(&description, sdp::parse(&sdp::render(&description)));
    let signals = vec![Signal::Description(description)];
    let wire = Signal::to_wire(&signals);
    comes_back(&signals, Signal::from_wire(&wire));
});

/// The descriptions of the vectors in SDP.
fn seeds() -> Vec<String> {
    let signals = bytes("signal", "bytes").into_iter().filter_map(|b| Signal::from_wire(&b).ok());
    let sdp = |signal: &Signal| match signal {
        Signal::Description(description) => Some(sdp::render(description)),
        _ => None,
    };
    signals.flat_map(|signals| signals.iter().filter_map(sdp).collect::<Vec<_>>()).collect()
}
