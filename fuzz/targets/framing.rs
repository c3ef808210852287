//! STUN messages and `ChannelData` in a stream, cut anywhere.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pshare_fuzz::seed;
use p2pshare_signal::framing::{Frames, MAX_FRAME};

const SEEDS: [&[u8]; 3] = [
    &[0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 0],
    &[0x40, 0, 0, 3, 1, 2, 3, 0, 0x40, 0, 0, 0],
    b"GET / HTTP/1.1",
];

/// What comes out of a stream whose pieces are of this length.
fn read(data: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut frames, mut whole) = (Frames::default(), Vec::new());
    for piece in data.chunks(piece) {
        frames.extend(piece);
        loop {
            match frames.take() {
                Ok(Some(frame)) => whole.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (whole, false),
            }
        }
    }
    (whole, true)
}

fuzz_target!(init: seed(SEEDS), |data: &[u8]| {
    let (at_once, understood) = read(data, data.len().max(1));
    assert!(at_once.iter().all(|frame| (4..=MAX_FRAME).contains(&frame.len())));
    assert!(at_once.iter().map(Vec::len).sum::<usize>() <= data.len());
    // However the stream is cut, the same comes out.
    assert_eq!(read(data, 1), (at_once, understood));
});
