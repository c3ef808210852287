//! The receiver's machine, told anything by its peer: it neither panics nor writes outside of what
//! was offered, and says nothing more once it is done.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use p2pshare::proto::{
    digest::Hash,
    frame::{ChunkHash, Frame},
    receiver::{Action, Conflict, Found, Input, Receiver},
};
use p2pshare_fuzz::{bytes, script, seed};

fuzz_target!(init: seed(bytes("frame", "bytes")), |data: &[u8]| {
    let mut receiver = Receiver::new(data.first().is_some_and(|byte| byte % 2 == 0));
    let mut done = false;
    for message in script(data) {
        let input = match Frame::from_wire(&Bytes::copy_from_slice(message)) {
            Ok(Some(frame)) => Input::Peer(frame),
            Ok(None) => continue,
            Err(_) if message.len() == 1 => Input::PathLost,
            Err(_) if message.len() == 2 => Input::Reconnected,
            Err(_) => Input::Malformed,
        };
        receiver.handle(input);
        while let Some(action) = receiver.poll() {
            assert!(!done, "{action:?}");
            done |= matches!(action, Action::Done(_));
            carry_out(&mut receiver, action);
        }
    }
});

/// A disk on which everything works.
fn carry_out(receiver: &mut Receiver, action: Action) {
    let input = match action {
        Action::Ask => Input::Answer(Some(Conflict::Rename)),
        Action::Open(file) => Input::Opened(file, Found::default()),
        Action::Write(part) => {
            let entry = receiver.offer().entry(part.file).expect("a file that was offered");
            let end = part.position + part.bytes.len() as u64;
            assert!(entry.chunk_count().is_none() || end <= entry.size, "past the end");
            Input::Stored(part.bytes.len() as u64, 1)
        }
        Action::Check(file, chunk) => {
            Input::ChunkStored(ChunkHash { file, chunk, hash: Hash([7; 32]) })
        }
        Action::Commit(items) => {
            items.into_iter().for_each(|first| receiver.handle(Input::Committed(first)));
            return;
        }
        _ => return,
    };
    receiver.handle(input);
}
