//! What a client says to the rendezvous server.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pshare::proto::code;
use p2pshare_fuzz::{comes_back, seed, texts};
use p2pshare_signal::protocol::{Body, MAX_BODY, MAX_MESSAGE, Nameplate, Request, RoomId};

fuzz_target!(init: seed(texts("rendezvous", "text")), |data: &[u8]| {
    // The WebSocket refuses longer ones.
    let Some(text) = str::from_utf8(data).ok().filter(|text| text.len() <= MAX_MESSAGE) else {
        return;
    };
    let Ok(request) = serde_json::from_str::<Request>(text) else { return };
    match &request {
        Request::Allocate { room, nameplate, body, .. } => {
            is_room(room);
            is_nameplate(nameplate);
            is_body(body);
        }
        Request::Claim { nameplate } => is_nameplate(nameplate),
        Request::Send { room, body, .. } => {
            is_room(room);
            is_body(body);
        }
        Request::Join { room, .. }
        | Request::Rejoin { room, .. }
        | Request::Ack { room, .. }
        | Request::Leave { room } => is_room(room),
    }
    let again = serde_json::to_string(&request).expect("plain data");
    assert!(again.len() <= text.len(), "it grew");
    comes_back(&request, serde_json::from_str(&again));
});

fn is_room(room: &RoomId) {
    let digits = room.as_str();
    assert_eq!(digits.len(), if room.is_256_bits() { 64 } else { 32 });
    assert!(digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
}

/// The client must be able to type every nameplate that the server takes.
fn is_nameplate(nameplate: &Nameplate) {
    let typed = nameplate.as_str().parse::<code::Nameplate>().expect("a nameplate");
    assert_eq!(typed.is_lan(), nameplate.is_lan());
}

fn is_body(body: &Body) {
    assert!(body.as_bytes().len() <= MAX_BODY);
    assert_eq!(format!("{body:?}"), format!("Body({} bytes)", body.as_bytes().len()));
}
