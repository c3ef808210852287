//! The first message of a lane: nobody without the keys makes one that is believed.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use p2pshare::proto::{
    Role,
    binding::{Binding, CONTROL, FIRST_DATA, Fingerprints, Hello},
    frame::Frame,
};
use p2pshare_fuzz::{bytes, keys, seed};

static BINDING: LazyLock<Binding> =
    LazyLock::new(|| Binding::new(keys(), Fingerprints { sender: [1; 32], receiver: [2; 32] }, 0));

fuzz_target!(init: seed(bytes("binding", "frame")), |data: &[u8]| {
    if let Some(hello) = hello(data) {
        believed_only_when_made(&hello);
    }
    // An honest one, with some of its bits turned over.
    let honest = BINDING.hello(Role::Sender, CONTROL, [3; 16], false);
    let mut wire = Frame::Hello(honest).to_wire();
    wire.iter_mut().zip(data).for_each(|(byte, mask)| *byte ^= mask);
    if let Some(hello) = self::hello(&wire) {
        believed_only_when_made(&hello);
    }
});

fn hello(data: &[u8]) -> Option<Hello> {
    match Frame::from_wire(&Bytes::copy_from_slice(data)) {
        Ok(Some(Frame::Hello(hello))) => Some(hello),
        _ => None,
    }
}

fn believed_only_when_made(hello: &Hello) {
    for role in [Role::Sender, Role::Receiver] {
        for lane in [CONTROL, FIRST_DATA] {
            let made = BINDING.hello(role, lane, hello.nonce, hello.verify);
            assert_eq!(BINDING.check(role, lane, hello).is_ok(), made == *hello);
        }
    }
}
