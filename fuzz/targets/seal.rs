//! Sealed messages: what a stranger makes does not open, and what the peer itself seals, well
//! formed or not, is bounded.

#![no_main]

use std::sync::LazyLock;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use libfuzzer_sys::fuzz_target;
use p2pshare::proto::{
    Role,
    pake::Keys,
    seal::{Broken, MAX_PAYLOAD, Opener, STEP, directions},
    wire::join,
};
use p2pshare_fuzz::{bytes, keys, seed};

static KEYS: LazyLock<Keys> = LazyLock::new(keys);

/// Poly1305's tag, in bytes.
const TAG: usize = 16;

fuzz_target!(init: seed(seeds()), |data: &[u8]| {
    if data.len() <= MAX_PAYLOAD {
        comes_out(data);
    }
    changed(data);
    assert_eq!(opener().open(data), Err(Broken), "made by a stranger");
    forged_by_the_peer(data);
});

/// Short ones: sealing is what takes the time.
fn seeds() -> impl Iterator<Item = Vec<u8>> {
    bytes("seal", "payload").into_iter().filter(|payload| payload.len() <= STEP)
}

fn opener() -> Opener {
    directions(&KEYS, Role::Receiver).1
}

/// What is sealed opens once, and its length tells little.
fn comes_out(payload: &[u8]) {
    let (mut sealer, mut own) = directions(&KEYS, Role::Sender);
    let mut opener = opener();
    let sealed = sealer.seal(payload);
    assert_eq!(sealed.len() % STEP, TAG);
    assert_eq!(own.open(&sealed), Err(Broken), "reflected");
    assert_eq!(opener.open(&sealed).as_deref(), Ok(payload));
    assert_eq!(opener.open(&sealed), Err(Broken), "repeated");
}

/// An honest message with some of its bits turned over.
fn changed(mask: &[u8]) {
    let honest = directions(&KEYS, Role::Sender).0.seal(b"candidate");
    let mut sealed = honest.clone();
    sealed.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    let opened = opener().open(&sealed);
    assert_eq!(opened.is_ok(), sealed == honest);
}

/// The peer has the key, and need not pad as it should.
fn forged_by_the_peer(padded: &[u8]) {
    let cipher = ChaCha20Poly1305::new(KEYS.seal.of(Role::Sender).as_bytes().into());
    let aad = join(&[b"p2pshare/1 signal", Role::Sender.label().as_bytes(), &[0; 8]]);
    let sealed = cipher
        .encrypt(&Nonce::default(), Payload { msg: padded, aad: &aad })
        .expect("short enough");
    match (opener().open(&sealed), padded.split_first_chunk()) {
        (Ok(payload), Some((length, rest))) => {
            assert_eq!(payload.len(), usize::from(u16::from_be_bytes(*length)));
            assert!(rest.starts_with(&payload));
        }
        (Err(Broken), None) => {}
        (Err(Broken), Some((length, rest))) => {
            assert!(usize::from(u16::from_be_bytes(*length)) > rest.len());
        }
        (Ok(_), None) => panic!("opened without a length"),
    }
}
