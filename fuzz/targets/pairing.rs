//! The first messages of a room, and what the two ends make of them: whoever does not know the
//! words gets no further, whatever it says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pshare::proto::pairing::{Claiming, Message, Waiting};
use p2pshare_fuzz::{MEETING, Same, bytes, code, comes_back, seed};

fuzz_target!(
    init: seed(["share_message", "reply_message", "confirmation_message", "message"]
        .iter()
        .flat_map(|key| bytes("pake", key))),
    |data: &[u8]| {
        let Ok(message) = Message::from_wire(data) else { return };
        let wire = message.to_wire();
        assert!(wire.len() <= data.len(), "it grew");
        comes_back(&message, Message::from_wire(&wire));
        nobody_is_believed(&message);
    }
);

fn nobody_is_believed(message: &Message) {
    let (slot, room) = MEETING;
    let sender = || Waiting::new(&code(), slot.to_owned(), &mut Same(1));
    match message {
        Message::Share { .. } => {
            if let Ok((reply, _)) = Claiming::reply(&code(), slot, room, message, &mut Same(2)) {
                assert!(matches!(reply, Message::Reply { .. }));
            }
        }
        Message::Reply { .. } | Message::Sealed(_) => {
            assert!(sender().confirm(room, message).is_err());
        }
        Message::Confirmation { .. } => {
            let honest = sender().share();
            let (_, receiver) = Claiming::reply(&code(), slot, room, &honest, &mut Same(2))
                .expect("an honest share");
            assert!(receiver.confirmed(message).is_err());
        }
    }
}
