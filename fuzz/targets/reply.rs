//! What the rendezvous server says to a client.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pshare_fuzz::{comes_back, seed, texts};
use p2pshare_signal::protocol::{MAX_BODY, MAX_MESSAGE, Reply};

fuzz_target!(init: seed(texts("rendezvous", "text")), |data: &[u8]| {
    // The WebSocket refuses longer ones.
    let Some(text) = str::from_utf8(data).ok().filter(|text| text.len() <= MAX_MESSAGE) else {
        return;
    };
    let Ok(reply) = serde_json::from_str::<Reply>(text) else { return };
    if let Reply::Claimed { body, .. } | Reply::Message { body, .. } = &reply {
        assert!(body.as_bytes().len() <= MAX_BODY);
    }
    let again = serde_json::to_string(&reply).expect("plain data");
    comes_back(&reply, serde_json::from_str(&again));
});
